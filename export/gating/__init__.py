"""The command `gate`: candidates against baselines, by cost, latency and accuracy."""
