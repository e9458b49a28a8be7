"""The built-in phantom regions: drawn anatomy, read like any other source."""

PAYMENTS = "payments"
"""The name of the built-in graph, which is read elsewhere."""
