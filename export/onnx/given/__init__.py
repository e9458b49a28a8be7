"""ONNX files of other tools: read and checked, brought into the form of this project, and run as they are."""
