"""Refuse outputs of a network that are no answer.

The largest of logits with NaN is the first class for NumPy, so that a broken network would answer every image alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import DataError


def require_finite(outputs: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Check all outputs of a batch, each (N, ...), by their names.

    Args:
        outputs: What the network returned for finite inputs.
        path: The artifact that the network is of.

    Raises:
        DataError: A value is NaN or infinite.
    """
    for name, values in outputs.items():
        # one pass over the memory: a sum is finite unless a value is not (or the values are beyond 1e38)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(values.sum()) or np.isfinite(values).all()
        if finite:
            continue
        bad_N = ~np.isfinite(values.reshape(len(values), -1)).all(1)
        raise DataError(
            f"{path} answers {int(bad_N.sum())} of {len(values)} inputs with NaN or infinity ({name})",
            required="finite outputs for finite inputs",
            fix="use the export of another precision, or look for NaN in the weights and train again",
        )
