"""Open the FiftyOne App on the subset, with what every model says of it.

    PYTHONPATH=src python -m cilp.app [--port 5151] [--address 127.0.0.1] [--browser]

Shows ``data/subset`` with the predictions of the first seed (``data/predictions.csv``), the views "mistakes" and "test
set", and CILP's embeddings (``data/embeddings``) as scatter plots. What is missing is left out. The dataset is built
anew each time, in a database that ends with this command; your own FiftyOne datasets are not touched, nor is ``data/``.

The App has no login, and hands out any file that you may read: serve it to an address other than loopback only where
you trust everyone.
"""

import argparse
import signal
import tempfile
import webbrowser
from pathlib import Path

from cilp import params
from cilp.app.dataset import build
from cilp.app.server import SIGNALS, host, listen, serve
from cilp.console import cli
from cilp.training.seeds import check_seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=5151, help="port to serve at; 0 takes a free one (default: 5151)")
    parser.add_argument("--address", default="127.0.0.1", help="address to serve at (default: 127.0.0.1, loopback)")
    parser.add_argument("--browser", action="store_true", help="open it in the browser, too")
    arguments = parser.parse_args()
    settings = params.load()
    seed = check_seeds(params.lookup(settings, "seeds"))[0]
    listener = listen(arguments.address, arguments.port)  # before anything that takes its time
    with listener, tempfile.TemporaryDirectory(prefix="cilp-app-") as folder:
        dataset = build(Path(folder), seed)
        url = f"http://{host(arguments.address)}:{listener.getsockname()[1]}"

        def announce() -> None:
            print(f"The App is at {url}; Ctrl-C ends it.", flush=True)
            if arguments.browser:
                webbrowser.open(url)

        serve(dataset, listener, announce)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not keep the database from being removed


if __name__ == "__main__":
    cli.run(main)
