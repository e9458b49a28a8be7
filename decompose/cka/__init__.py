"""Centred kernel alignment (CKA): how alike two networks see the same samples, as a loss and as a metric."""

from __future__ import annotations

from lorkit.decompose.cka.loss import CKALoss
from lorkit.decompose.cka.metric import CKAMetric
from lorkit.decompose.cka.products import Estimator, Space
from lorkit.decompose.cka.similarity import cka
from lorkit.decompose.cka.views import View

__all__ = ["CKALoss", "CKAMetric", "Estimator", "Space", "View", "cka"]
