"""What the command line prints: results on stdout, progress and notices on stderr."""
