"""Distillation of a foundation's features and logits into students."""
