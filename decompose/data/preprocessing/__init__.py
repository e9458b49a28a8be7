"""Preprocessing as data: the recipe of a region's images, and the check that an image is of the region."""
