"""Decompose a foundation model into small experts for each region, and measure their cost and accuracy."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it once, before its first session

__version__ = "0.1.0"
