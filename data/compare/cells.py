"""Texts of cells: which are numbers, how wrong a wrong one is, how far apart two are."""
import re

from data.compare.ledger import NUMBER, TYPO, severity
from data.compare.words import as_number, plain, similar, text_credit


def number_like(text: str) -> bool:
    """Whether a cell holds a quantity: digits with at most a sign, a currency, a unit, a bracket,
    an error."""
    text = plain(text)
    if not re.search(r"\d", text):
        return False
    if as_number(text) is not None and not re.search(r"[^\W\d_]{4,}", text):
        return True
    return re.fullmatch(r"[\d\s.,:;%()+*/±~<>=^$€£¥°x-]+", text) is not None


def cell_error(found: str, expected: str) -> tuple[str, int, float]:
    """(category, severity, credit) of a cell whose text is wrong.

    Numbers: 1 for another way of writing or less than 2 % off, 2 below 10 %, 3 beyond, and for a
    wrong sign, unit or no number at all. Words: 1 for a slip, 2 for another word.
    """
    found, expected = plain(found), plain(expected)
    rest = [re.sub(r"[\d.,%+$€£-]", "", text) for text in (found, expected)]
    if number_like(expected) or not expected and number_like(found):
        a, b = as_number(found), as_number(expected)
        if a is None or b is None:
            return "numeric_error", 3, 0.5 * text_credit(found, expected)
        units = [
            re.sub(r"[\d.,()+\s-]|(?<=\d)[eE](?=[-+]?\d)", "", text) for text in (found, expected)
        ]
        gap = abs(a - b) / max(abs(a), abs(b), 1e-12)
        if units[0] != units[1]:
            return "numeric_error", 3 if gap > NUMBER[1] else 2, 0.5
        if a * b < 0:
            return "numeric_error", 3, 0.25
        return "numeric_error", max(1, severity(gap, NUMBER)), max(0.0, 0.9 - 2 * gap)
    if rest[0] == rest[1] and re.search(r"\d", found + expected):
        return "numeric_error", 2, text_credit(found, expected)
    return "text_error", 1 if similar(found, expected) >= TYPO else 2, text_credit(found, expected)


def text_distance(a: str, b: str) -> float:
    """0 for the same text, up to 0.8: a cell that reads otherwise is nearer than two without a
    partner."""
    if a == b:
        return 0.0
    return 0.8 - 0.4 * similar(a, b)
