"""The verb `predict`: from image files to labels, masks and tables."""
