"""The training loop: epochs, steps, optimiser, checkpoints, devices, validation."""
