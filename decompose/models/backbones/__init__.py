"""Backbones by name: one file for each network."""
