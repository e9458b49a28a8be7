"""Whether one export is as good as another: cases, accuracy, latency, multiplicity."""
