"""The verb `evaluate`, and inference over prepared images."""
