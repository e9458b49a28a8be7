"""Which foundation model a training uses, and how one is pretrained."""
