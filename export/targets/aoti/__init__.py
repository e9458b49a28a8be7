"""AOTInductor: a shared library compiled for this machine's instruction sets."""
