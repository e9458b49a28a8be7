"""The command `predict`: from image files to labels, masks and tables."""
