"""Array types of the world."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
Rng = np.random.Generator
