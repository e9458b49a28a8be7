"""The verb `gate`: exports against a baseline, judged by costs, latency and accuracy."""
