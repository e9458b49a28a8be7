"""The one training loop: epochs, steps, optimiser, checkpoints, devices, validation."""
