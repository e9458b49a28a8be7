"""Norm layers that keep one set of statistics and weights for each region."""
