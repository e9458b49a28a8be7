"""Reprogramming distillation: RD and DRD."""
