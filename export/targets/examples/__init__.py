"""Scripts that are copied beside an engine and run without lorkit."""
