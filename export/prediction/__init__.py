"""The verb `predict`: files in; labels, masks and tables out."""
