"""Output of the command line: results on stdout, progress and notices on stderr."""
