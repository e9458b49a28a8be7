"""The commands `train` and `pretrain`."""
