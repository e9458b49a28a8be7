"""Baselines of RAGFormer on graphs: one file for each."""
