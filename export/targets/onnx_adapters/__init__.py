"""The `onnx-adapters` target: one base, and an ONNX Runtime adapter file for each region."""
