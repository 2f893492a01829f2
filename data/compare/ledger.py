"""The book of a comparison: thresholds, and what was found equal or different.

`compare` walks through two scenes once. For everything that is visible in either picture it makes
an entry in a `Ledger`: either the two agree, or they differ by so much, which is called so. The
entries that differ are the labels; all entries together are the fidelity score. So the two can
never contradict each other.
"""
import math

from data.verdict import CATEGORIES, Discrepancy

# --- 1. thresholds ---

# Three numbers each: up to the first a difference is not counted as visible, up to the second it is
# minor (severity 1), up to the third medium (2), beyond it severe (3). The table in
# data/compare/__init__.py explains them.
VALUE = (0.005, 0.10, 0.30)  # of the axis' span (of the circle, for a slice)
LIMIT = (0.02, 0.10, 0.50)  # of the axis' span
PLACE = (0.008, 0.05, 0.15)  # of the canvas' side, for shapes and annotations
COLOR = (4.0, 25.0, math.inf)  # distance in CIE Lab (1976)
NUMBER = (0.0, 0.02, 0.10)  # relative difference of two numbers in a table
OPACITY = (0.05, 0.40, math.inf)
TICK = (1.6, math.inf, math.inf)  # relative difference of the lengths of tick marks
WIDTH = (0.15, 1.5, math.inf)  # relative difference of line widths, marker sizes, font sizes
TYPO = 0.6  # texts at least this similar (1 - edit distance / length) differ by a slip
MANY = 4  # more wrong marks of one series than this are told in one sentence


def severity(difference: float, thresholds: tuple[float, float, float]) -> int:
    """0 (not visible), 1, 2 or 3: where `difference` lies between three `thresholds`."""
    return sum(difference > threshold for threshold in thresholds)


def partial(difference: float, thresholds: tuple[float, float, float]) -> float:
    """Credit for a quantity that is off by `difference`: on a line from 1 (none) to 0 (severe).

    >>> partial(0.15, VALUE), partial(0.003, VALUE), partial(0.4, VALUE)
    (0.5, 1.0, 0.0)
    """
    if difference <= thresholds[0]:
        return 1.0
    worst = thresholds[2] if math.isfinite(thresholds[2]) else 4 * thresholds[1]
    return max(0.0, 1 - difference / worst)


# --- 2. the book ---

SHARES = {  # what a group of visible elements is worth in the fidelity score, percent
    "chart": {"data": 70, "axes": 15, "style": 15},
    "table": {"layout": 30, "content": 70},
    "svg": {"shapes": 100},
}


class Ledger:
    """Book of everything visible in two pictures of one task.

    errors: list of (category, severity, location, description);
    entries: {group: [[weight, credit], ...]}.
    """

    def __init__(self, task):
        self.task, self.errors, self.told = task, [], set()
        self.entries = {group: [] for group in SHARES[task]}

    def agree(self, group: str, weight: float = 1.0) -> None:
        """One visible element is the same in both pictures."""
        self.entries[group].append([weight, 1.0])

    def differ(self, group: str, credit: float, category: str, level: int, location: str,
               description: str, weight: float = 1.0) -> None:
        """One visible element differs; it keeps `credit` (0 to 1) of its `weight`.

        `level` is the severity.
        """
        self.entries[group].append([weight, min(credit, 0.99)])
        self.tell(category, level, location, description)

    def cost(self, group: str, credit: float, weight: float = 1.0) -> None:
        """Enter a difference that another entry has already told."""
        self.entries[group].append([weight, min(credit, 0.99)])

    def tell(self, category: str, level: int, location: str, description: str) -> None:
        """Add an error, unless the same one is already there (the same tick under two series)."""
        key = category, level, location, description
        if key not in self.told:
            self.told.add(key)
            self.errors.append(Discrepancy(*key))

    def discrepancies(self) -> list[Discrepancy]:
        """The errors by category, within one in the order in which they were met."""
        return sorted(self.errors, key=lambda error: CATEGORIES[self.task].index(error.category))

    def score(self) -> float:
        """Fidelity, 0 to 100. Groups in which neither picture shows anything do not count."""
        won = total = 0.0
        for group, share in SHARES[self.task].items():
            weight = sum(w for w, _ in self.entries[group])
            if weight:
                won += share * sum(w * credit for w, credit in self.entries[group]) / weight
                total += share
        score = 100 * won / total if total else 100.0
        return min(score, 99.9) if self.errors else 100.0
