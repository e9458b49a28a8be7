"""The command `compare`: several methods, seeds and fractions of the data in one harness."""
