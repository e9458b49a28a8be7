"""Non-inferiority tests of one export against another: accuracy and latency."""
