"""Texts of SVG: as in words.py, but "$" is a letter, for no one typesets mathematics here."""
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from data.compare.ledger import TYPO
from data.compare.words import plain


@lru_cache(100_000)
def similar(a: str | None, b: str | None) -> float:
    """1 for equal texts, 0 for texts with nothing in common."""
    return Levenshtein.normalized_similarity(plain(a), plain(b))


def reads(found: str | None, expected: str | None) -> tuple[int, float, str]:
    """(severity, credit, words) of a text that reads otherwise."""
    level = 1 if similar(found, expected) >= TYPO else 2
    texts = [plain(found), plain(expected)]
    short = [text if len(text) <= 40 else text[:37] + "..." for text in texts]
    credit = max(0.0, 2 * similar(found, expected) - 1)
    return level, credit, f"reads '{short[0]}', should be '{short[1]}'"
