"""The server of the App, in this process."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from typing import Any

from cilp.app.embeddings import workspace
from cilp.errors import UserError
from cilp.subset.database import connect

GRID_ZOOM = 8
"""Out of 10: tiles large enough for the labels on them."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends the App: Ctrl-C, ``kill``, and a terminal that is closed."""
SECONDS_TO_STOP = 3.0
"""How long open pages may keep the server from ending."""


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens at address and port.

    Raises:
        UserError: they are taken, or not to be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        taken = isinstance(error, OverflowError) or error.errno in (errno.EADDRINUSE, errno.EACCES)
        option = "--port" if taken else "--address"
        raise UserError(
            f"{host(address)}:{port} cannot be served ({reason}); choose another one with {option}."
        ) from None


def host(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def serve(dataset: Any, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve the App on ``dataset`` until one of ``SIGNALS``; ``announce`` is called once it can be interrupted.

    It runs in this process, which holds the database; ``fiftyone.launch_app`` starts another one, joins a server that
    it finds at the port, and cannot end it while a page is open.
    """
    fo = connect()
    from fiftyone.core.state import StateDescription, build_color_scheme
    from fiftyone.server.app import app
    from fiftyone.server.events.state import set_state

    fo.config.singleton_cache = False  # as in FiftyOne's own server, whose threads must not share datasets
    config = fo.app_config.copy()
    config.grid_zoom = GRID_ZOOM
    set_state(
        StateDescription(
            dataset=dataset,
            config=config,
            group_slice=dataset.group_slice,
            spaces=workspace() if dataset.has_brain_runs else None,
            color_scheme=build_color_scheme(None, dataset),
        )
    )
    asyncio.run(_serve(app, listener, announce))


async def _serve(app: Any, listener: socket.socket, announce: Callable[[], None]) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    stop = asyncio.Event()
    for number in SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # below nohup it goes on without the terminal
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "CRITICAL"
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    stopped = asyncio.create_task(stop.wait())
    announce()
    await asyncio.wait({server, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await asyncio.wait({server}, timeout=SECONDS_TO_STOP)
    if server.done():
        server.result()
    else:  # what is cut off now complains about it
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
