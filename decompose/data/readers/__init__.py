"""Readers of images and annotations: one file for each format."""
