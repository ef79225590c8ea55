"""Content keys of samples."""

import hashlib


def text_key(text: str) -> str:
    """Return the sha256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()
