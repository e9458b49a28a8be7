"""The results of the commands as typed documents: what the Python API returns, `--json` prints and artifacts hold."""
