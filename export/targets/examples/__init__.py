"""Scripts that are copied beside an engine; they run without lorkit."""
