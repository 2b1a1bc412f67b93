"""What every stage script does around its ``main()``: messages instead of tracebacks, exit codes, Ctrl-C."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from cilp.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Run ``main`` and exit: 0 when done, 2 with one sentence for a ``UserError``, 130 on Ctrl-C, 143 on SIGTERM.

    A termination (a scheduler whose time is up, a shutdown) unwinds like Ctrl-C, so that temporary files go.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    print("terminated", file=sys.stderr)
    sys.exit(128 + number)
