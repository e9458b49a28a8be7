"""What the readers return: sources, and the checked samples of a region."""
