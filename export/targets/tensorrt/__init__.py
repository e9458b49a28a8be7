"""TensorRT, TensorRT-RTX and Torch-TensorRT."""
