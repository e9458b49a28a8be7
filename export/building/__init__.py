"""The commands `export` and `verify`."""
