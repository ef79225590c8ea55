"""Reads the CSV files in which recorders keep what the robot measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aquatint.data.robot_rows import (
    RULE_COLUMNS,
    RULE_FINITE_NUMBERS,
    RULE_LONG_ENOUGH,
    RULE_PRESENT,
    STATE_NAMES,
    FieldViolation,
    check_times,
)


def read_states(path: Path, time_column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read times and states.

    Args:
        path: CSV with a column of Unix times, ``joint_1`` to ``joint_6`` and ``pose_x`` to
            ``pose_r``; further columns are left alone.
        time_column: Name of the column of times.

    Returns:
        Times in seconds, shape (M,); joints and pose, shape (M, 12).

    Raises:
        FieldViolation: If the file or a column is missing, or a value is no finite number.
    """
    if not path.is_file():
        raise FieldViolation(path.name, RULE_PRESENT, "no such file")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise FieldViolation(path.name, RULE_COLUMNS, str(error)) from error
    missing = [name for name in (time_column, *STATE_NAMES) if name not in table.columns]
    if missing:
        raise FieldViolation(path.name, RULE_COLUMNS, f"without {', '.join(missing)}")
    if len(table) < 2:
        raise FieldViolation(path.name, RULE_LONG_ENOUGH, f"{len(table)} rows")
    columns = [time_column, *STATE_NAMES]
    values = np.stack([_numbers(path, table, name) for name in columns], axis=1)
    return check_times(f"{path.name}: {time_column}", values[:, 0]), values[:, 1:]


def _numbers(path: Path, table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    faulty = np.nonzero(~np.isfinite(values))[0]
    if len(faulty):
        # Counted as an editor does: from 1, the heading included.
        line = int(faulty[0]) + 2
        value = table[name].iloc[faulty[0]]
        raise FieldViolation(f"{path.name}: {name}", RULE_FINITE_NUMBERS, f"line {line}: {value!r}")
    return values
