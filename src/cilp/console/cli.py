"""What every stage script does around its ``main()``: messages instead of tracebacks, exit codes, Ctrl-C."""

import sys
from collections.abc import Callable

from cilp.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Run ``main`` and exit: 0 when done, 2 with one sentence for a ``UserError``, 130 on Ctrl-C."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
