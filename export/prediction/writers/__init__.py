"""The files that masks are written to, one module per format."""
