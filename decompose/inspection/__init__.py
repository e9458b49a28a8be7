"""The verb inspect: what lorkit reads in a file, and whether an artifact is what it says."""
