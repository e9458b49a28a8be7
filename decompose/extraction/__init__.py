"""The verb `extract`: the plain network of a region, with proof of equality and a model card."""
