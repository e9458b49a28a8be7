"""The verbs `train` and `pretrain`."""
