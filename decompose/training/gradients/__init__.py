"""Gradients of several regions: balancing them, and measuring their conflict."""
