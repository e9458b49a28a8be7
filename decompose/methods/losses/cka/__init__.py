"""Centred kernel alignment (CKA): similarity of two networks' features of the same samples, as a loss."""
