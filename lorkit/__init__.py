"""Take a foundation model apart into small experts for each region, and prove what they cost and lose."""

__version__ = "0.1.0"
