"""Baselines: single and shared students, fine-tuning, linear probe, LoRA, gradient balancers."""
