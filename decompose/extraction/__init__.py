"""The command `extract`: the plain network of one region, a check of equality, a model card."""
