"""A MONAI bundle."""
