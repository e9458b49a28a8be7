"""The command `extract`: the plain network of one region, a proof of equality, a model card."""
