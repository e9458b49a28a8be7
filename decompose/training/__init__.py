"""Training: the verbs `train` and `pretrain`."""
