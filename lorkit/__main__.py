"""The program `decompose`, also as `python -m lorkit`."""

import sys

from lorkit import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes as long to import as the rest of `--version`
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command line; an install that cannot be imported ends with 70, since 1 would be a verdict."""
    if sys.argv[1:] == ["--version"] and _told_version():
        sys.exit(0)
    try:
        from lorkit.cli.main import main as run
    except Exception as error:
        from contextlib import suppress

        with suppress(OSError, ValueError, AttributeError):  # stderr may be closed or full
            sys.stderr.write(f"error: lorkit cannot be imported ({error}); required: an intact install; reinstall it\n")
            sys.stderr.flush()
        sys.exit(70)
    run()


def _told_version() -> bool:
    """Print the version; False where stdout is closed or takes nothing, which the command line reports."""
    try:
        sys.stdout.write(f"decompose (lorkit) {__version__}\n")
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


if __name__ == "__main__":
    main()
