"""The verbs `evaluate` and `compare`, and inference over prepared images."""
