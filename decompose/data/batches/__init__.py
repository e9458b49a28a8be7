"""Batches: loading, sampling by region, augmentation, and splitting into microbatches."""
