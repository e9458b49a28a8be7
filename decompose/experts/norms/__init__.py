"""Norm layers with statistics and weights for each region."""
