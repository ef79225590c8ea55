"""What recordings hold, and the vectors of their words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.flight_records import FlightRecords


def summarise_records(found: FlightRecords) -> dict[str, Any]:
    """Count flights, steps, instructions and actions by split, and what was left out."""
    records, split_of = found.records, found.records.set_index("flight_id")["split"]
    steps = found.steps.assign(split=found.steps["flight_id"].map(split_of))
    return {
        "flights": {str(k): int(v) for k, v in records["split"].value_counts().items()},
        "scenes": {str(k): int(v) for k, v in records.groupby("split")["scene"].nunique().items()},
        "steps": {str(k): int(v) for k, v in steps["split"].value_counts().items()},
        "instructions": {
            str(k): int(v) for k, v in found.instructions["split"].value_counts().items()
        },
        "actions": {
            str(split): {str(a): int(n) for a, n in rows["action"].value_counts().items()}
            for split, rows in steps.groupby("split")
        },
        "cut_steps": int((records["num_recorded"] - records["num_steps"]).sum()),
        "dropped": found.dropped,
        "findings": len(found.rejects),
    }


def read_vectors(path: Path, instructions: pd.DataFrame) -> np.ndarray:
    """Read the word vectors and see that every token has one.

    Args:
        path: Gzipped JSON, a list of vectors in the order of the tokens' numbers.
        instructions: Table with ``tokens``.

    Returns:
        Shape (V, W), row 0 set to zero: it pads.

    Raises:
        ValueError: If the file is no such list, or a token is beyond it.
    """
    try:
        vectors = np.array(json.loads(gzip.decompress(path.read_bytes())), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a gzipped JSON list of vectors: {error}.") from error
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"{path} must list vectors of one length, got shape {vectors.shape}.")
    largest = max((max(row) for row in instructions["tokens"]), default=0)
    if largest >= len(vectors):
        raise ValueError(
            f"{path} has {len(vectors)} vectors, but an instruction has the token {largest}. Both "
            "must come from one vocabulary."
        )
    vectors[0] = 0
    return vectors
