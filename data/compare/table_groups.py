"""The words for looks of letters and cells, and one sentence for many cells."""
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from data.compare.colors import color_distance, color_name
from data.compare.ledger import COLOR, severity
from data.compare.words import shorten

SIZE, BORDER_WIDTH, BORDER_COLOR = 0.10, 1.0, 15.0      # see data/compare/table_looks.py


def _flag(yes, no):
    return lambda value: yes if value else no


def _back(value):
    return f"highlighted {color_name(value)}" if value else "not highlighted"


LOOKS = {  # key: how its value reads
    "bold": _flag("bold", "not bold"),
    "italic": _flag("italic", "not italic"),
    "color": lambda value: f"text {color_name(value)}",
    "back": _back,
    "family": lambda value: f"letters {value}",
    "size": lambda value: f"letters {value:g} px",
    "lines": lambda value: value or "no line",
    "shift": lambda value: {"sup": "raised", "sub": "lowered"}.get(value, "on the line"),
}
CELL_LOOKS = {
    "header": _flag("header", "no header"), "align": lambda value: f"aligned {value}",
    "valign": lambda value: f"aligned {value}", "background": color_name}


def say(word: Callable[..., str], found: Any, expected: Any) -> str:
    """'bold, should be not bold'; two colours of one name are told apart as darker or lighter."""
    a, b = word(found), word(expected)
    if a == b and found and expected and str(found).startswith("#"):
        a = "another " + a
    return f"{a}, should be {b}".replace("be aligned ", "be ").replace("be letters ", "be ")


def differ(key: str, found: Any, expected: Any) -> bool:
    """Whether two values of a look are visibly different."""
    if found == expected:
        return False
    if key in ("color", "back", "background"):
        return severity(color_distance(found, expected), COLOR) > 0
    if key == "size":
        return abs(found / expected - 1) > SIZE
    if key in ("align", "valign"):
        return None not in (found, expected)
    return True


@lru_cache(10_000)
def style_differences(found: tuple, expected: tuple) -> list[tuple]:
    """[(key, found, expected)] of two styles, each a tuple of its values in the order of LOOKS."""
    return [(key, a, b) for key, a, b in zip(LOOKS, found, expected) if differ(key, a, b)]


def _border(text):
    style, width, color = text.split()
    return style, float(width), color


@lru_cache(10_000)
def border_difference(found: str | None, expected: str | None) -> str:
    """How two borders differ, in words; "" if they do not. Each is "solid 1 #000000" or None.

    >>> border_difference("solid 3 #ff0000", "solid 1 #000000")
    '3 px red, should be 1 px black'
    >>> border_difference(None, "dashed 1 #000000")
    'missing'
    """
    if found == expected:
        return ""
    if not found or not expected:
        return "extra" if found else "missing"
    a, b = _border(found), _border(expected)
    words = [[], []]
    if a[0] != b[0] and max(a[1], b[1]) >= 1:
        words[0].append(a[0])
        words[1].append(b[0])
    if abs(a[1] - b[1]) > BORDER_WIDTH + 0.05:
        words[0].append(f"{a[1]:g} px")
        words[1].append(f"{b[1]:g} px")
    if color_distance(a[2], b[2]) > BORDER_COLOR:
        names = [color_name(a[2]), color_name(b[2])]
        words[0].append("another " * (names[0] == names[1]) + names[0])
        words[1].append(names[1])
    return f"{' '.join(words[0])}, should be {' '.join(words[1])}" if words[0] else ""


class Groups:
    """Collects how cells differ; what holds for a whole row, column or table is told once."""

    def __init__(self, ledger, prefix, cells):
        self.ledger, self.prefix, self.cells = ledger, prefix, [a for a, _ in cells]
        self.groups, self.single, self.texts = {}, [], set()

    def has(self, cell: dict) -> bool:
        """Whether letters of a cell differ in a way that may change how wide they are."""
        return id(cell) in self.texts

    def add(self, cell: dict, key: str, found: Any, expected: Any) -> None:
        if key in LOOKS:
            self.texts.add(id(cell))
        self.groups.setdefault((key, found, expected), []).append(cell)
        self.ledger.cost("layout", 0.5, 0.5)

    def part(self, cell: dict, text: str, description: str) -> None:
        self.texts.add(id(cell))
        self.only(cell, f"'{shorten(text)}' {description}")

    def only(self, cell: dict, description: str) -> None:
        self.single.append((cell, description))
        self.ledger.cost("layout", 0.5, 0.5)

    def tell(self) -> None:
        order = {key: k for k, key in enumerate(("header", "align", "bold", "color", "background"))}
        for (key, found, expected), group in sorted(
            self.groups.items(), key=lambda item: order.get(item[0][0], 9)
        ):
            level = 2 if key == "header" else 1
            for place in self.places(key, group):
                self.ledger.tell(
                    "layout_error", level, self.prefix + place, _sentence(key, found, expected)
                )
        for cell, description in self.single:
            self.ledger.tell("layout_error", 1, self.prefix + _place(cell), description)

    def places(self, key: str, group: list[dict]) -> list[str]:
        """Fewest places that cover exactly these cells: the table, rows, columns, else the
        cells."""
        chosen = {id(c) for c in group}
        if len(chosen) == len(self.cells) > 1 and len({c["row"] for c in self.cells}) > 1:
            return ["table"]
        if key in ("height", "width"):
            name, axis = ("row", "row") if key == "height" else ("column", "col")
            return [f"{name} {k + 1}" for k in sorted({c[axis] for c in group})]
        filled = key in ("background", "border", "pad") or key.endswith(" border")
        for axis, name in (("row", "row"), ("col", "column")):
            lines = {c[axis] for c in group}
            whole = [c for c in self.cells if c[axis] in lines and (filled or c["text"])]
            if len(group) > 1 and {id(c) for c in whole} <= chosen and len(whole) > len(lines):
                return [f"{name} {k + 1}" for k in sorted(lines)]
        return [_place(c) for c in group]


def _sentence(key, found, expected):
    if key in LOOKS or key in CELL_LOOKS:
        return say((LOOKS | CELL_LOOKS)[key], found, expected)
    if key.endswith("border"):
        return f"{key} {found}"
    if key == "pad":
        (left, right), (a, b) = found, expected
        if left == right and a == b:
            # half of a border that is shared counts to it
            return f"padding {int(left)} px, should be {int(a)}"
        return f"padding {int(left)} and {int(right)} px, should be {int(a)} and {int(b)}"
    words = {
        "indent": "indented",
        "spacing": "letters spaced to",
        "height": "height",
        "width": "width",
    }
    return f"{words[key]} {found:.0f} px, should be {expected:.0f}"


def _place(cell):
    return f"row {cell['row'] + 1}, column {cell['col'] + 1}"
