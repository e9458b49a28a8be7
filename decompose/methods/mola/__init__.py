"""MoLA: a backbone and low-rank adapters trained together, with or without a known region."""
