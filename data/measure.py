"""The measuring instruments of `data/compare.py`: thresholds, the ledger, matching, and how numbers read in English.

`compare` walks through two scenes once. For everything that is visible in either picture it makes an entry in a
`Ledger`: either the two agree, or they differ by so much, which is called so. The entries that differ are the labels;
all entries together are the fidelity score. So the two can never contradict each other.
"""
import math
import re
from functools import lru_cache

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment

from data.verdict import CATEGORIES, Discrepancy

# --------------------------------------------------------------------------------------------------- thresholds
# Three numbers each: up to the first a difference is not counted as visible, up to the second it is minor
# (severity 1), up to the third medium (2), beyond it severe (3). The table in compare.py explains them.
VALUE = (0.005, 0.10, 0.30)         # of the axis' span (of the circle, for a slice)
LIMIT = (0.02, 0.10, 0.50)          # of the axis' span
PLACE = (0.008, 0.05, 0.15)         # of the canvas' side, for shapes and annotations
COLOR = (4.0, 25.0, math.inf)       # distance in CIE Lab (1976)
NUMBER = (0.0, 0.02, 0.10)          # relative difference of two numbers in a table
OPACITY = (0.05, 0.40, math.inf)
WIDTH = (0.15, 1.0, math.inf)       # relative difference of line widths, marker sizes, font sizes
TYPO = 0.6                          # texts at least this similar (1 - edit distance / length) differ by a slip
MANY = 4                            # more wrong marks of one series than this are told in one sentence


def severity(difference, thresholds):
    """0 (not visible), 1, 2 or 3: where `difference` lies between three `thresholds`."""
    return sum(difference > threshold for threshold in thresholds)


def partial(difference, thresholds):
    """Credit in [0, 1] for a quantity that is off by `difference`: falls on a line from 1 (none) to 0 (severe).

    >>> partial(0.15, VALUE), partial(0.003, VALUE), partial(0.4, VALUE)
    (0.5, 1.0, 0.0)
    """
    if difference <= thresholds[0]:
        return 1.0
    worst = thresholds[2] if math.isfinite(thresholds[2]) else 4 * thresholds[1]
    return max(0.0, 1 - difference / worst)


# ------------------------------------------------------------------------------------------------------- ledger
SHARES = {  # what a group of visible elements is worth in the fidelity score, percent
    "chart": {"data": 70, "axes": 15, "style": 15},
    "table": {"layout": 30, "content": 70},
    "svg": {"shapes": 100},
}


class Ledger:
    """Book of everything visible in two pictures of one task.

    errors: list of (category, severity, location, description); entries: {group: [[weight, credit], ...]}.
    """

    def __init__(self, task):
        self.task, self.errors = task, []
        self.entries = {group: [] for group in SHARES[task]}

    def agree(self, group, weight=1.0):
        """One visible element is the same in both pictures."""
        self.entries[group].append([weight, 1.0])

    def differ(self, group, credit, category, level, location, description, weight=1.0):
        """One visible element differs; it keeps `credit` (0 to 1) of its `weight`. `level` is the severity."""
        self.entries[group].append([weight, min(credit, 0.99)])
        self.tell(category, level, location, description)

    def cost(self, group, credit, weight=1.0):
        """Enter a difference that another entry has already told."""
        self.entries[group].append([weight, min(credit, 0.99)])

    def tell(self, category, level, location, description):
        """Add an error, unless the same one is already there (the same tick under two series)."""
        error = Discrepancy(category, level, location, description)
        if error not in self.errors:
            self.errors.append(error)

    def discrepancies(self):
        """The errors in the order of their categories, within one in the order in which they were met."""
        return sorted(self.errors, key=lambda error: CATEGORIES[self.task].index(error.category))

    def score(self):
        """Fidelity, 0 to 100. Groups in which neither picture shows anything do not count."""
        won = total = 0.0
        for group, share in SHARES[self.task].items():
            weight = sum(w for w, _ in self.entries[group])
            if weight:
                won += share * sum(w * credit for w, credit in self.entries[group]) / weight
                total += share
        score = 100 * won / total if total else 100.0
        return min(score, 99.9) if self.errors else 100.0


# ----------------------------------------------------------------------------------------------------- matching
def align(a, b, distance, gap=0.45):
    """Pair two sequences in order: [(i, j), (i, None), (None, j), ...] with the least sum of distances.

    `distance(x, y)` is 0 for equal elements; leaving an element alone costs `gap`. Dynamic programming, O(len a *
    len b). Of equally good pairings one with most pairs is taken.
    """
    n, m = len(a), len(b)
    table = [[(i + j) * gap if not (i and j) else 0.0 for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            table[i][j] = min(table[i - 1][j - 1] + distance(a[i - 1], b[j - 1]),
                              table[i - 1][j] + gap, table[i][j - 1] + gap)
    pairs, i, j = [], n, m
    while i or j:
        if i and j and table[i][j] >= table[i - 1][j - 1] + distance(a[i - 1], b[j - 1]) - 1e-9:
            i, j, pair = i - 1, j - 1, (i - 1, j - 1)
        elif i and table[i][j] >= table[i - 1][j] + gap - 1e-9:
            i, pair = i - 1, (i - 1, None)
        else:
            j, pair = j - 1, (None, j - 1)
        pairs.append(pair)
    return pairs[::-1]


def assign(a, b, distance, gap=0.5, key=None):
    """Pair two collections in any order: like `align`, with the least sum of distances (Hungarian method, O(n^3)).

    Pairs come in the order of `a`, elements of `b` without a partner last. Two elements further apart than two gaps
    are left alone. Of equal distances the pair that keeps its place in the order is taken. Where many meet many, those
    with the same `key` are paired beforehand: an edit changes few of the thousand lines of a picture.
    """
    n, m, found = len(a), len(b), {}
    if key and n * m > 2500:
        places = {}
        for j, element in enumerate(b):
            places.setdefault(key(element), []).append(j)
        for i, element in enumerate(a):
            if same := places.get(key(element)):
                found[i] = same.pop(same.index(i) if i in same else 0)
    rows, taken = [i for i in range(n) if i not in found], set(found.values())
    columns = [j for j in range(m) if j not in taken]
    cost = np.full((len(rows) + len(columns),) * 2, float(gap))          # rows: a, then blanks; columns: b, then blanks
    cost[len(rows):, len(columns):] = 0.0
    for row, i in enumerate(rows):
        for column, j in enumerate(columns):
            cost[row, column] = min(distance(a[i], b[j]), 2 * gap + 1) + 1e-6 * abs(i - j)
    _, column_of = linear_sum_assignment(cost)
    found |= {i: columns[column] for i, column in zip(rows, column_of) if column < len(columns)}
    taken = set(found.values())
    return [(i, found.get(i)) for i in range(n)] + [(None, j) for j in range(m) if j not in taken]


# -------------------------------------------------------------------------------------------------------- texts
@lru_cache(100_000)
def normal(text):
    """A text as the eye sees it: white space collapsed, minus signs and quotes of one kind, no math markers."""
    text = re.sub(r"\\mathdefault\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", text or "").replace("$", "")
    for odd, plain in (("\u2212", "-"), ("\u2013", "-"), ("\u2019", "'"), ("\u00a0", " ")):
        text = text.replace(odd, plain)
    return " ".join(text.split())


@lru_cache(100_000)
def similar(a, b):
    """1 for equal texts, 0 for texts with nothing in common: 1 - edit distance / longer length."""
    return Levenshtein.normalized_similarity(normal(a), normal(b))


def text_credit(found, expected):
    """Credit for a text: equal 1, one slip in ten letters 0.8, half of it wrong 0 (chance alone reaches that)."""
    return max(0.0, 2 * similar(found, expected) - 1)


def check_text(ledger, group, category, location, found, expected, missing=2, weight=1.0):
    """Enter one text of both pictures; empty means that nothing is shown."""
    found, expected = normal(found), normal(expected)
    if found == expected:
        if found:
            ledger.agree(group, weight)
    elif not found:
        ledger.differ(group, 0, category, missing, location, "missing", weight)
    elif not expected:
        ledger.differ(group, 0, category, missing, location, "extra", weight)
    else:
        level = 1 if similar(found, expected) >= TYPO else 2
        ledger.differ(group, text_credit(found, expected), category, level, location, reads(found, expected), weight)


def reads(found, expected):
    """The sentence for a wrong text.

    >>> reads("Sale", "Sales")
    "reads 'Sale', should be 'Sales'"
    """
    return f"reads '{shorten(found)}', should be '{shorten(expected)}'"


def shorten(text, longest=40):
    """`text` on one line of at most `longest` characters."""
    text = normal(text)
    return text if len(text) <= longest else text[:longest - 3] + "..."


# ------------------------------------------------------------------------------------------------------ numbers
def number(value, digits=3):
    """A number in at most `digits` significant digits, without an exponent where that is short.

    >>> number(7.0), number(0.12345), number(12345), number(-2500000)
    ('7', '0.123', '12300', '-2.5e+06')
    """
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if rounded == int(rounded) and abs(rounded) < 1e6 else f"{rounded:g}"


def should_be(what, found, expected, unit=""):
    """'value 7, should be 5'; whole percents, else three digits; more if they cannot tell the two apart."""
    if unit == "%" and round(found) != round(expected):
        found, expected = round(found), round(expected)
    digits = next((d for d in (3, 4, 5) if number(found, d) != number(expected, d)), 6)
    return f"{what} {number(found, digits)}{unit}, should be {number(expected, digits)}{unit}".lstrip()


def as_number(text):
    """The number a text stands for, or None. Knows thousands separators, signs, brackets, currency and units."""
    text = normal(text)
    power = re.fullmatch(r"([-+]?)10\^\{?([-+]?\d+)\}?", text)                    # a tick of a log axis
    if power:
        return float(power[1] + "1") * 10.0 ** int(power[2])
    match = re.fullmatch(r"\(?([-+]?)\s*[^\w\s.,()+-]?\s*([-+]?)(\d[\d,]*\.?\d*|\.\d+)(?:[eE]([-+]?\d+))?"
                         r"\s*(?:%|[^\d\s]{0,4})\)?", text)
    if not match:
        return None
    value = float(match[3].replace(",", "")) * 10.0 ** int(match[4] or 0)
    return -value if "-" in (match[1], match[2]) or text.startswith("(") else value


# ------------------------------------------------------------------------------------------------------- colours
NAMED = {  # the words for colours; the second value is Matplotlib's default of that name
    "black": ("#000000",), "gray": ("#808080", "#7f7f7f"), "light gray": ("#d3d3d3", "#eeeeee"),
    "dark gray": ("#404040",), "white": ("#ffffff",), "red": ("#ff0000", "#d62728"), "dark red": ("#8b0000",),
    "orange": ("#ffa500", "#ff7f0e"), "yellow": ("#ffff00", "#ffd700"), "light yellow": ("#ffffe0",),
    "brown": ("#a52a2a", "#8c564b"), "beige": ("#f5f5dc", "#f5deb3"), "olive": ("#808000", "#bcbd22"),
    "green": ("#008000", "#2ca02c"), "light green": ("#90ee90", "#00ff00"), "dark green": ("#006400",),
    "teal": ("#008080",), "cyan": ("#00ffff", "#17becf"), "blue": ("#0000ff", "#1f77b4"),
    "light blue": ("#add8e6", "#87ceeb"), "navy": ("#000080",), "purple": ("#800080", "#9467bd"),
    "magenta": ("#ff00ff",), "pink": ("#ffc0cb", "#ff69b4", "#e377c2"),
}


def lab(color):
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


def color_distance(a, b):
    """Distance of two colours in CIE Lab: 2 is just visible, red to blue is 176. None (no paint) is far from all."""
    if a == b:
        return 0.0
    if not (_is_color(a) and _is_color(b)):
        return 100.0
    return math.dist(lab(a), lab(b))


def _is_color(color):
    return isinstance(color, str) and re.fullmatch(r"#[0-9a-f]{6}", color) is not None


def color_name(color):
    """The nearest of about twenty colour words; "none" for no paint, other words ("gradient") unchanged."""
    if not _is_color(color):
        return color or "none"
    return min((color_distance(color, code), word) for word, codes in NAMED.items() for code in codes)[1]


def color_words(found, expected, what="color"):
    """'color red, should be blue'; two colours of one name are told apart as darker, lighter or other."""
    a, b = color_name(found), color_name(expected)
    if a == b and _is_color(found) and _is_color(expected):
        lighter = lab(found)[0] - lab(expected)[0]
        a = ("lighter " if lighter > 1.5 else "darker " if lighter < -1.5 else "other ") + a
    return f"{what} {a}, should be {b}"


def check_color(ledger, group, location, found, expected, what="color", weight=1.0):
    """Enter one colour of both pictures."""
    distance = color_distance(found, expected)
    level = severity(distance, COLOR)
    if level:
        ledger.differ(group, partial(distance, COLOR), "style_error", level, location,
                      color_words(found, expected, what), weight)
    else:
        ledger.agree(group, weight)
