"""Transcripts to the form in which they are learned and scored."""

import unicodedata
from typing import Literal

Case = Literal["upper", "lower", "keep"]


def normalize_text(text: str, case: Case = "keep") -> str:
    """Compose accents (Unicode NFC), put one space between words, and change the case."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    match case:
        case "upper":
            return text.upper()
        case "lower":
            return text.lower()
        case _:
            return text
