"""Colours as a reader sees them: how far apart they are, and what they are called."""
import math
import re
from functools import lru_cache

from data.compare.ledger import COLOR, Ledger, partial, severity

NAMED = {  # the words for colours; the second value is Matplotlib's default of that name
    "black": ("#000000",), "gray": ("#808080", "#7f7f7f"), "light gray": ("#d3d3d3", "#eeeeee"),
    "dark gray": ("#404040",), "white": ("#ffffff",), "red": ("#ff0000", "#d62728"),
    "dark red": ("#8b0000",), "orange": ("#ffa500", "#ff7f0e"), "yellow": ("#ffff00", "#ffd700"),
    "light yellow": ("#ffffe0",), "brown": ("#a52a2a", "#8c564b"), "beige": ("#f5f5dc", "#f5deb3"),
    "olive": ("#808000", "#bcbd22"), "green": ("#008000", "#2ca02c"),
    "light green": ("#90ee90", "#00ff00"), "dark green": ("#006400",),
    "teal": ("#008080",), "cyan": ("#00ffff", "#17becf"), "blue": ("#0000ff", "#1f77b4"),
    "light blue": ("#add8e6", "#87ceeb"), "navy": ("#000080",), "purple": ("#800080", "#9467bd"),
    "magenta": ("#ff00ff",), "pink": ("#ffc0cb", "#ff69b4", "#e377c2"),
}


@lru_cache(20_000)
def lab(color: str) -> tuple[float, float, float]:
    """CIE Lab (D65) of "#rrggbb": (lightness 0-100, a, b)."""
    linear = []
    for i in (1, 3, 5):
        c = int(color[i:i + 2], 16) / 255
        linear.append(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
    r, g, b = linear
    xyz = ((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505, 0.2126 * r + 0.7152 * g + 0.0722 * b,
           (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@lru_cache(20_000)
def color_distance(a: str | None, b: str | None) -> float:
    """Distance of two colours in CIE Lab: 2 is just visible, red to blue is 176.

    None (no paint) is far from all.
    """
    if a == b:
        return 0.0
    if not (_is_color(a) and _is_color(b)):
        return 100.0
    return math.dist(lab(a), lab(b))


def _is_color(color):
    return isinstance(color, str) and re.fullmatch(r"#[0-9a-f]{6}", color) is not None


@lru_cache(20_000)
def color_name(color: str | None) -> str:
    """The nearest of about twenty colour words; "none" for no paint, other words unchanged."""
    if not _is_color(color):
        return color or "none"
    here = lab(color)
    return min((math.dist(here, lab(code)), word)
               for word, codes in NAMED.items() for code in codes)[1]


def color_words(found: str | None, expected: str | None, what: str = "color") -> str:
    """'color red, should be blue'; two of one name are told apart as darker, lighter or other."""
    a, b = color_name(found), color_name(expected)
    if a == b and _is_color(found) and _is_color(expected):
        lighter = lab(found)[0] - lab(expected)[0]
        a = ("lighter " if lighter > 1.5 else "darker " if lighter < -1.5 else "other ") + a
    return f"{what} {a}, should be {b}"


def check_color(ledger: Ledger, group: str, location: str, found: str | None,
                expected: str | None, what: str = "color", weight: float = 1.0) -> None:
    """Enter one colour of both pictures."""
    distance = color_distance(found, expected)
    level = severity(distance, COLOR)
    if level:
        ledger.differ(group, partial(distance, COLOR), "style_error", level, location,
                      color_words(found, expected, what), weight)
    else:
        ledger.agree(group, weight)
