"""Types of NumPy arrays by element, for all packages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
"""Inputs and outputs of networks."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.uint8]
"""Structures by pixel, 0 the background; `IGNORED` pixels count in neither loss nor score."""
IGNORED = 255
Bits = NDArray[np.uint32]
"""Structures that may overlap by pixel, one bit each; see `artifacts.masks`."""
IGNORED_BIT = 1 << 31
MOST_OVERLAPPING = 31
"""Structures of a region that may overlap."""
