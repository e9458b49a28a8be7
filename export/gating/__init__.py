"""The verb `gate`: candidates against baselines, by cost, latency and accuracy."""
