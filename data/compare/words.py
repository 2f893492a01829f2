"""Texts and numbers as a reader sees them, and the sentences that say how they differ."""
import re
from collections.abc import Callable
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from data.compare.ledger import TYPO, Ledger


@lru_cache(100_000)
def plain(text: str | None) -> str:
    """A text as the eye sees it: white space collapsed, minus signs and quotes of one kind."""
    text = text or ""
    for odd, usual in (("\u2212", "-"), ("\u2013", "-"), ("\u2019", "'"), ("\u00a0", " ")):
        text = text.replace(odd, usual)
    return " ".join(text.split())


FONTS = r"\\(?:math(?:default|bf|it|rm|sf|tt|regular|cal|bb)|text)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"


def _typeset(formula):
    """A formula in letters, without commands for fonts and spaces; indices stand apart."""
    for _ in range(4):  # nested
        formula = re.sub(FONTS, r"\1", formula)
    formula = re.sub(r"\\[,;:! ]", " ", formula)
    return re.sub(r"([_^])\{?([^{}\s])\}?(?![^{}]*\})", r"\1{\2}", formula)


@lru_cache(100_000)
def normal(text: str | None) -> str:
    """A text that Matplotlib drew: as `plain`, with its mathematics as letters."""
    text = text or ""
    dollars = text.count("$") - text.count(r"\$")
    if dollars > 0 and dollars % 2 == 0:  # an odd number is not typeset
        text = re.sub(r"(?<!\\)\$(.*?)(?<!\\)\$", lambda found: _typeset(found[1]), text,
                      flags=re.S)
    return plain(text.replace(r"\$", "$"))


@lru_cache(100_000)
def similar(a: str | None, b: str | None) -> float:
    """1 for equal texts, 0 for texts with nothing in common: 1 - edit distance / longer length."""
    return Levenshtein.normalized_similarity(normal(a), normal(b))


def text_credit(found: str, expected: str) -> float:
    """Credit for a text: equal 1, one slip in ten letters 0.8, half of it wrong 0.

    Chance alone reaches a half.
    """
    return max(0.0, 2 * similar(found, expected) - 1)


def check_text(ledger: Ledger, group: str, category: str, location: str, found: str | None,
               expected: str | None, missing: int = 2, weight: float = 1.0,
               clean: Callable[[str | None], str] = normal) -> None:
    """Enter one text of both pictures; empty means that nothing is shown.

    `clean` takes off what cannot be seen.
    """
    found, expected = clean(found), clean(expected)
    if found == expected:
        if found:
            ledger.agree(group, weight)
    elif not found:
        ledger.differ(group, 0, category, missing, location, "missing", weight)
    elif not expected:
        ledger.differ(group, 0, category, missing, location, "extra", weight)
    else:
        level = 1 if similar(found, expected) >= TYPO else 2
        ledger.differ(group, text_credit(found, expected), category, level, location,
                      reads(found, expected), weight)


def reads(found: str, expected: str) -> str:
    """The sentence for a wrong text.

    >>> reads("Sale", "Sales")
    "reads 'Sale', should be 'Sales'"
    """
    return f"reads '{shorten(found)}', should be '{shorten(expected)}'"


def shorten(text: str | None, longest: int = 40) -> str:
    """`text` on one line of at most `longest` characters."""
    text = plain(text)
    return text if len(text) <= longest else text[:longest - 3] + "..."


def number(value: float, digits: int = 3) -> str:
    """A number in at most `digits` significant digits, without an exponent where that is short.

    >>> number(7.0), number(0.12345), number(12345), number(-2500000)
    ('7', '0.123', '12300', '-2.5e+06')
    """
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if rounded == int(rounded) and abs(rounded) < 1e6 else f"{rounded:g}"


def should_be(what: str, found: float, expected: float, unit: str = "") -> str:
    """'value 7, should be 5'; whole percents, else three digits; more to tell the two apart."""
    if unit == "%" and round(found) != round(expected):
        found, expected = round(found), round(expected)
    digits = next((d for d in (3, 4, 5) if number(found, d) != number(expected, d)), 6)
    found, expected = (f"{number(value, digits)}{unit}" for value in (found, expected))
    return f"{what} {found}, should be {expected}".lstrip()


def as_number(text: str | None) -> float | None:
    """The number a text stands for, or None.

    Knows thousands separators, signs, brackets, currency and units.
    """
    text = normal(text)
    power = re.fullmatch(r"([-+]?)10\^\{?([-+]?\d+)\}?", text)  # a tick of a log axis
    if power:
        return float(power[1] + "1") * 10.0 ** int(power[2])
    match = re.fullmatch(r"\(?([-+]?)\s*[^\w\s.,()+-]?\s*([-+]?)(\d[\d,]*\.?\d*|\.\d+)"
                         r"(?:[eE]([-+]?\d+))?\s*(?:%|[^\d\s]{0,4})\)?", text)
    if not match:
        return None
    value = float(match[3].replace(",", "")) * 10.0 ** int(match[4] or 0)
    return -value if "-" in (match[1], match[2]) or text.startswith("(") else value
