"""Reading chart scenes for `data/compare/chart.py`: axes, their limits, and what stands in them.

Marks of different types meet on common ground: a bar, a point and a slice all have a name, a
position and a value (`items`). So a bar chart drawn as a line is one structure_error, and its
values still count one by one.
"""
import datetime
import math
from collections.abc import Iterable

import numpy as np

from data.compare.ledger import VALUE
from data.compare.words import as_number, normal, should_be

# Types whose marks can be compared, and what they are called; all others have points.
POINTS = ("bar", "barh", "line", "scatter", "pie", "errorbar", "area")
NOUNS = {"bar": "bar", "barh": "bar", "pie": "slice"}


def kind(mark: dict) -> str:
    """bar, barh, line, scatter, ... plot(x, y, "o") and scatter(x, y) are both a scatter."""
    if mark["type"] == "bars":
        return "barh" if mark.get("orient") == "h" else "bar"
    if mark["type"] == "line" and mark.get("linestyle") == "none":
        return "scatter"
    return mark["type"]


def axis_of(of_kind: str) -> tuple[str, str]:
    """(axis along which marks are placed, axis along which values are read)."""
    return ("y", "x") if of_kind == "barh" else ("x", "y")


def fill(values: Iterable | None, n: int, empty: object = "") -> list:
    """`values` repeated or cut to length n."""
    values = list(values or [empty])
    return (values * (n // len(values) + 1))[:n]


# --- 1. items ---
def word_ticks(axes: dict, axis: str) -> list[tuple[float, str]]:
    """Ticks of an axis that name things: [(position, text)], empty if the texts are numbers."""
    ticks = [(tick["pos"], normal(tick["text"])) for tick in axes.get(axis + "ticks", [])]
    return ticks if any(text and as_number(text) is None for _, text in ticks) else []


def items(mark: dict, axes: dict) -> list[dict]:
    """The marks of a series in the order in which they stand along their axis.

    [{"name", "pos", "value", "base", "color", ...}]: positions and values in data units, for slices
    as fractions of the circle; "z" in three dimensions, "ends" of error bars. Names are words only:
    "" for numbers.
    """
    of_kind = kind(mark)
    if of_kind not in POINTS:
        return []
    if of_kind == "pie":
        n = len(mark["fractions"])
        columns = range(n), mark["fractions"], [], mark["colors"]
        names = [normal(name) for name in fill(mark["names"], n)]
    else:
        if of_kind in ("bar", "barh"):
            columns = mark["pos"], mark["value"], mark["base"], mark["colors"]
        elif of_kind == "area":
            columns = mark["x"], mark["high"], mark["low"], [mark.get("color")]
        else:
            columns = mark["x"], mark["y"], [], mark.get("colors") or [mark.get("color")]
        names = _names(mark, of_kind, columns[0], axes)
    pos, values, bases, colors = columns
    n = len(values)
    ends = _ends(mark, pos, values) if of_kind == "errorbar" else []
    rows = zip(names, pos, values, fill(bases, n, 0), fill(colors, n),
               fill(mark.get("z"), n, None), fill(ends, n, None))
    found = [dict(name=name, pos=x, value=v, base=b or 0, color=c, z=z, ends=e)
             for name, x, v, b, c, z, e in rows if v is not None and x is not None]
    if of_kind in ("line", "area") and found:
        first, last = ((item["pos"], item["value"]) for item in (found[0], found[-1]))
        if first > last:
            return found[::-1]  # drawn from right to left it looks the same
    if of_kind in ("line", "area", "pie"):
        return found
    return sorted(found, key=lambda item: item["pos"])


def _ends(mark, xs, ys):
    """How far the error bars of each point reach left, right, down, up; None where none is."""
    columns = []
    for key, values, sign in (("xlow", xs, -1), ("xhigh", xs, 1),
                              ("ylow", ys, -1), ("yhigh", ys, 1)):
        ends = mark.get(key)
        columns.append([sign * (end - value) if None not in (end, value) else None
                        for end, value in zip(ends, values)]
                       if ends and len(ends) == len(values) else [None] * len(values))
    return list(zip(*columns))


def _names(mark, of_kind, positions, axes):
    """The word that the axis shows at each position; a bar of a group takes that of its group."""
    ticks = word_ticks(axes, axis_of(of_kind)[0])
    gap = min((abs(b[0] - a[0]) for a, b in zip(ticks, ticks[1:])), default=1)
    reach = (0.45 if of_kind in ("bar", "barh") else 0.01) * gap
    if (axes.get("dates") or {}).get(axis_of(of_kind)[0]) and not all(
            any(abs(at - x) <= reach for at, _ in ticks) for x in positions if x is not None):
        return [""] * len(positions)  # a date between two ticks has no name
    own = fill(mark.get("names"), len(positions))
    own = own if any(name and as_number(name) is None for name in own) else [""] * len(own)
    return [normal(name) or next((text for at, text in ticks if abs(at - x) <= reach), "")
            for x, name in zip(positions, own)]


def regular(found: list[dict]) -> bool:
    """Whether items stand at equal distances, as categories and numbered points do."""
    steps = [b["pos"] - a["pos"] for a, b in zip(found, found[1:])]
    return all(abs(step - steps[0]) <= 1e-6 * abs(steps[0]) for step in steps)


def shares(found: list[dict]) -> list[dict]:
    """The items with values as shares of their sum, to compare bars with slices."""
    total = sum(abs(item["value"]) for item in found) or 1
    return [{**item, "value": item["value"] / total} for item in found]


def rescaled(ours: list[dict], theirs: list[dict]) -> list[dict]:
    """Slices of `theirs` rescaled so that as many as possible equal `ours`.

    If one slice of a pie grows, all others shrink; the cause is the one whose ratio to the others
    changed.
    """
    values = {item["name"]: item["value"] for item in ours}
    partner = [values.get(item["name"]) if item["name"]
               else (ours[k]["value"] if k < len(ours) else None)
               for k, item in enumerate(theirs)]
    ratios = [1.0] + [value / item["value"] for item, value in zip(theirs, partner)
                      if value and item["value"]]

    def agreeing(ratio):
        return sum(value is not None and abs(item["value"] * ratio - value) <= VALUE[0]
                   for item, value in zip(theirs, partner))
    best = max(ratios, key=lambda ratio: (agreeing(ratio), -abs(ratio - 1)))
    if agreeing(best) < min(2, len(theirs) - 1):
        best = 1.0
    return [item if value is None or abs(item["value"] * best - value) > VALUE[0]
            else {**item, "value": value} for item, value in zip(theirs, partner)]


def interpolate(found: list[dict], xs: list[float]) -> list[float]:
    """Values at `xs` on the line through items of rising positions, constant beyond its ends."""
    pos, values = ([item[key] for item in found] for key in ("pos", "value"))
    return np.interp(xs, pos, values).tolist()


class Namer:
    """Noun phrases of items: "bar 'B'" where the name is shown and unique, else "bar 3"."""

    def __init__(self, ours, theirs, noun, where=""):
        self.sides, self.noun, self.where = (ours, theirs), noun, where

    def __call__(self, i: int | None, j: int | None) -> str:
        found, k = (self.sides[1], j) if i is None else (self.sides[0], i)
        name = found[k]["name"]
        unique = name and [item["name"] for item in found].count(name) == 1
        place = f"{self.noun} '{name}'" if unique else f"{self.noun} {k + 1}"
        return f"{self.where}, {place}" if self.where else place


def value_words(a: dict, b: dict, off: float, moved: float, kinds: tuple[str, str],
                dates: dict | None = None) -> str:
    """Description of a mark off in value, in position or in both; `b` is found, `a` expected."""
    if "pie" in kinds:
        return should_be("share", 100 * b["value"], 100 * a["value"], "%")
    axis = axis_of(kinds[0])[0]
    if (dates or {}).get(axis) and moved > VALUE[0]:
        days = [str(datetime.date(1970, 1, 1) + datetime.timedelta(days=item["pos"]))
                for item in (b, a)]
        return "{} {}, should be {}".format(axis, *days)
    if off > VALUE[0] and moved > VALUE[0]:
        return f"{should_be('x', b['pos'], a['pos'])}; {should_be('value', b['value'], a['value'])}"
    if off > VALUE[0]:
        return should_be("value", b["value"], a["value"])
    return should_be(axis_of(kinds[0])[0], b["pos"], a["pos"])


# --- 2. axes ---
def scaled(value: float, scale: str | None) -> float:
    """A data value as a length on its axis."""
    if scale == "log":
        return math.log10(value) if value > 0 else -300.0
    return math.copysign(math.log1p(abs(value)), value) if scale == "symlog" else value


def span(axes: dict, axis: str) -> float:
    """Length of an axis in scaled units, never 0."""
    low, high = (scaled(v, axes.get(axis + "scale")) for v in axes[axis + "lim"])
    return abs(high - low) or 1.0


def clip(value: float, limits: list[float]) -> float:
    return min(max(value, min(limits)), max(limits))


def stretched(axes: dict, target: dict) -> dict:
    """`axes` with lines and bands that reach its limits (axhline) reaching those of `target`."""
    marks = []
    for mark in axes["marks"]:
        for k, axis in enumerate("xy"):
            slack, ends = 1e-3 * span(axes, axis), sorted(axes[axis + "lim"])
            if (mark["type"] == "line" and len(mark["x"]) == 2
                    and mark["yx"[k]][0] == mark["yx"[k]][1]
                    and all(abs(a - b) <= slack for a, b in zip(sorted(mark[axis]), ends))):
                mark = {**mark, axis: sorted(target[axis + "lim"])}
            elif mark["type"] == "patch" and None not in mark["box"]:
                box = list(mark["box"])
                touching = box[k] <= ends[0] + slack, box[k + 2] >= ends[1] - slack
                for end, low, reached in zip((k, k + 2), (True, False), touching):
                    box[end] = sorted(target[axis + "lim"])[not low] if reached else box[end]
                mark = {**mark, "box": box}
        marks.append(mark)
    return {**axes, "marks": marks}


def follows(axes: dict, scene: dict, axis: str) -> bool:
    """Whether limits are those Matplotlib chooses for the data (shared axes included)."""
    space = axes.get("projection") == "3d"
    if axes.get("projection", "rectilinear") != "rectilinear" and not space:
        return True
    limits = axes[axis + "lim"]
    sharing = [other for other in scene["axes"] if other.get(axis + "lim") == limits]
    more = 0.05 + 1.1 / 48 * space  # of the data's extent, at both ends
    return any(_fits(group, axis, axes.get(axis + "scale"), limits, more)
               for group in ([axes], sharing))


def _fits(group, axis, scale, limits, more):
    extent = [scaled(v, scale) for axes in group for mark in axes["marks"]
              for v in _extent(mark, axis) if v is not None and (v > 0 or scale != "log")]
    if not extent:
        return True
    low, high = min(extent), max(extent)
    margin, ends = more * (high - low), sorted(scaled(v, scale) for v in limits)
    slack = 0.015 * (ends[1] - ends[0])
    if high - low < 1e-9:  # one value: limits lie evenly around it
        return abs(sum(ends) / 2 - low) <= slack
    return (min(abs(ends[0] - low), abs(ends[0] - low + margin)) <= slack
            and min(abs(ends[1] - high), abs(ends[1] - high - margin)) <= slack)


def _extent(mark, axis):
    """The data values along one axis that Matplotlib makes room for."""
    of_kind = kind(mark)
    if of_kind in ("bar", "barh"):
        if axis_of(of_kind)[1] == axis:
            return [*mark["value"], *mark["base"]]
        widths = fill(mark["thick"], len(mark["pos"]), 0.8)
        return [x + side * w / 2 for x, w in zip(mark["pos"], widths) for side in (-1, 1)]
    keys = {"x": ("x", "xlow", "xhigh"), "y": ("y", "ylow", "yhigh", "low", "high"),
            "z": ("z",)}[axis]
    values = [v for key in keys for v in (mark.get(key) or [])]
    if of_kind == "box":
        values = ([v for flier in mark.get("fliers") or [] for v in flier] + values if axis == "y"
                  else [x + side for x in mark.get("pos", []) for side in (-0.5, 0.5)])
    if "box" in mark:
        values += mark["box"][axis == "y"::2]
    return values


def stacked(mark: dict, axes: dict) -> bool:
    """Whether the bars or the area of a series stand on those of another series.

    What stands at a limit of the axes may stand on something that is not in the picture.
    """
    of_kind = kind(mark)
    if (of_kind not in ("bar", "barh", "area")
            or not any(item["base"] for item in items(mark, axes))):
        return False
    limits = axes["xlim" if of_kind == "barh" else "ylim"]
    tops = {(item["pos"], item["value"]) for other in axes["marks"]
            if other is not mark and kind(other) == of_kind for item in items(other, axes)}
    return all(not item["base"] or clip(item["base"], limits) in limits or any(
        abs(x - item["pos"]) < 1e-6 and abs(y - item["base"]) < 1e-4 * max(1, abs(y))
        for x, y in tops) for item in items(mark, axes))


def color_bar(axes: dict) -> bool:
    """Whether an axes is the colour bar of another."""
    width, height = axes["box"][2:]
    kinds = {mark["type"] for mark in axes["marks"]}
    slim = min(width, height) < 0.07 and max(width, height) > 5 * min(width, height)
    return slim and bool(kinds) and kinds <= {"image", "patch"}
