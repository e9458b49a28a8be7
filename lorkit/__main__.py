"""`python -m lorkit`: the command line."""

from lorkit.cli.main import main

if __name__ == "__main__":
    main()
