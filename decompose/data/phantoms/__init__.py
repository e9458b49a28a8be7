"""The built-in phantom regions: drawn anatomy, read like any other source."""
