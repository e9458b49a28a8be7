"""Centred kernel alignment (CKA): how alike two networks see the same samples, as a loss."""
