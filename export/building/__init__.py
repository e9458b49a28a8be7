"""The verbs `export` and `verify`."""
