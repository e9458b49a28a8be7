"""The command `compare`: several methods, seeds and fractions of the data under the same conditions."""
