"""What reading raw data found wrong: stop at the first (strict) or list them all (tolerant)."""

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

ReadMode = Literal["strict", "tolerant"]

RULE_FIELD = "must be in every record"
RULE_TYPE = "must have the right type"
RULE_UTF8 = "must be valid UTF-8"
RULE_ID_PATH = "must be <building>/<file>, relative and without '..'"
RULE_SAME_IMAGE = "must name the same file for every record of one image_id"
RULE_EMPTY_TEXT = "must not be empty"
RULE_DUPLICATE = "must not repeat a caption of the same image"
RULE_ALIGNED = "must have as many boxes as sentences"
RULE_BOX_NUMBERS = "must be null or four numbers cx, cy, w, h"
RULE_BOX_FINITE = "must be finite"
RULE_BOX_AREA = "must have a width and a height above 0"
RULE_BOX_RANGE = "must lie in the image, normalised to [0, 1]"
RULE_BELOW_ROOT = "must stay below image_root"
RULE_IMAGE_EXISTS = "must exist"
RULE_IMAGE_NOT_EMPTY = "must not be a file of 0 bytes"
RULE_IMAGE_FORMAT = "must be a JPEG, PNG or WEBP named as such"
RULE_IMAGE_SIZE = "must not exceed max_pixels"
RULE_IMAGE_DECODES = "must decode completely"
RULE_IMAGE_PLAIN = "must be one upright picture with 8 bits per channel"

MISSING_IMAGE_RULES = (RULE_IMAGE_EXISTS,)
UNREADABLE_IMAGE_RULES = (
    RULE_IMAGE_NOT_EMPTY,
    RULE_IMAGE_FORMAT,
    RULE_IMAGE_SIZE,
    RULE_IMAGE_DECODES,
    RULE_IMAGE_PLAIN,
)
BOX_RULES = (RULE_BOX_NUMBERS, RULE_BOX_FINITE, RULE_BOX_AREA, RULE_BOX_RANGE)

REJECT_DTYPES = {
    "file": "str",
    "record": "int64",
    "image_id": "str",
    "field": "str",
    "rule": "str",
    "value": "str",
}
MAX_VALUE_LENGTH = 120


class RuleViolation(ValueError):
    """A value breaks a rule of its raw format.

    Args:
        rule: One of the rules of this module.
        value: The offending value.
    """

    def __init__(self, rule: str, value: object) -> None:
        super().__init__(f"{rule}, got {value!r}")
        self.rule = rule
        self.value = value


class Reject(NamedTuple):
    """One finding: which file, which record (counted from 0), which field, what is wrong."""

    file: str
    record: int
    image_id: str | None
    field: str
    rule: str
    value: str


class RejectLog:
    """Collects what is wrong with one file, or stops at the first finding.

    Args:
        file: File that is being read.
        mode: ``strict`` raises on the first finding, ``tolerant`` lists them all.
    """

    def __init__(self, file: Path, mode: ReadMode) -> None:
        if mode not in ("strict", "tolerant"):
            raise ValueError(f"mode must be 'strict' or 'tolerant', got {mode!r}.")
        self._file = file
        self._mode = mode
        self._rejects: list[Reject] = []

    def add(self, record: int, image_id: str | None, field: str, violation: RuleViolation) -> None:
        """Note a finding.

        Raises:
            ValueError: In strict mode, with file, record, field, rule, value and way out.
        """
        value = repr(violation.value)
        if len(value) > MAX_VALUE_LENGTH:
            value = f"{value[:MAX_VALUE_LENGTH]}..."
        if self._mode == "strict":
            name = "no image_id" if image_id is None else image_id
            raise ValueError(
                f"{self._file}, record {record} ({name}): {field} {violation.rule}, got {value}. "
                "Correct the record, or read with mode 'tolerant' to list it as rejected."
            ) from violation
        self._rejects.append(
            Reject(self._file.name, record, image_id, field, violation.rule, value)
        )

    def check_limit(self, num_records: int, max_rejected_fraction: float) -> None:
        """Stop if too many records have a finding.

        Args:
            num_records: Number of records in the file.
            max_rejected_fraction: Largest accepted share of records with a finding, in [0, 1].

        Raises:
            ValueError: Above the limit, with the number of findings per rule.
        """
        num_rejected = len({reject.record for reject in self._rejects})
        if num_rejected <= max_rejected_fraction * num_records:
            return
        # "bboxes[2]" and "bboxes[0]" are one kind of finding.
        per_rule = Counter(
            f"{reject.field.partition('[')[0]} {reject.rule}" for reject in self._rejects
        )
        counts = "; ".join(f"{rule}: {count}" for rule, count in per_rule.most_common())
        raise ValueError(
            f"{self._file}: {num_rejected} of {num_records} records have a finding, more than "
            f"max_rejected_fraction {max_rejected_fraction} allows. Findings: {counts}. Correct "
            "the data, or raise the limit if so many may be left out."
        )

    def table(self) -> pd.DataFrame:
        """Return the findings, in the order of the records."""
        rejects = sorted(self._rejects, key=lambda reject: reject.record)
        return pd.DataFrame(rejects, columns=list(REJECT_DTYPES)).astype(REJECT_DTYPES)
