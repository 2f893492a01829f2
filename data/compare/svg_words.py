"""Texts of SVG: as in words.py, but "$" is a letter, for no one typesets mathematics here."""
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from data.compare.ledger import TYPO


@lru_cache(100_000)
def normal(text: str | None) -> str:
    """A text as the eye sees it: white space collapsed, minus signs and quotes of one kind."""
    for odd, plain in (("\u2212", "-"), ("\u2013", "-"), ("\u2019", "'"), ("\u00a0", " ")):
        text = (text or "").replace(odd, plain)
    return " ".join(text.split())


@lru_cache(100_000)
def similar(a: str | None, b: str | None) -> float:
    """1 for equal texts, 0 for texts with nothing in common."""
    return Levenshtein.normalized_similarity(normal(a), normal(b))


def reads(found: str | None, expected: str | None) -> tuple[int, float, str]:
    """(severity, credit, words) of a text that reads otherwise."""
    level = 1 if similar(found, expected) >= TYPO else 2
    texts = [normal(found), normal(expected)]
    short = [text if len(text) <= 40 else text[:37] + "..." for text in texts]
    credit = max(0.0, 2 * similar(found, expected) - 1)
    return level, credit, f"reads '{short[0]}', should be '{short[1]}'"
