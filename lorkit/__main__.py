"""The program `decompose`, also as `python -m lorkit`."""

import sys
from contextlib import suppress
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; an install that cannot be imported ends with 70, since 1 would be a verdict."""
    try:
        from lorkit.cli.main import main as run
    except Exception as error:
        with suppress(OSError, ValueError, AttributeError):  # stderr may be closed or full
            sys.stderr.write(f"error: lorkit cannot be imported ({error}); required: an intact install; reinstall it\n")
            sys.stderr.flush()
        sys.exit(70)
    run()


if __name__ == "__main__":
    main()
