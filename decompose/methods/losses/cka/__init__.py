"""Centred kernel alignment (CKA): how alike two networks see the same samples, as a loss."""

from __future__ import annotations

from lorkit.decompose.methods.losses.cka.loss import CKALoss
from lorkit.decompose.methods.losses.cka.products import Estimator, ProductSpace
from lorkit.decompose.methods.losses.cka.similarity import cka
from lorkit.decompose.methods.losses.cka.views import View

__all__ = ["CKALoss", "Estimator", "ProductSpace", "View", "cka"]
