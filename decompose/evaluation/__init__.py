"""The commands `evaluate` and `compare`, and inference over prepared images."""
