"""Marks that are compared as a whole, for `data/compare/marks.py`: images, boxes and patches."""
from data.compare.colors import check_color
from data.compare.ledger import VALUE, partial, severity
from data.compare.words import normal, number, should_be


def compare_whole(marks, a, b, where):
    """Images, boxes and patches."""
    if a["type"] == "image":
        return compare_image(marks, a, b, where)
    if a["type"] == "box":
        parts = [(f"{key} ", dict(value=x), dict(value=y), k) for key in ("median", "q1", "q3", "low", "high")
                 for k, (x, y) in enumerate(zip(a[key], b[key])) if None not in (x, y)]
        missing = abs(len(a["median"]) - len(b["median"]))
    else:
        parts = [("", {what: x}, {what: y}, None) for what, x, y
                 in zip(("pos", "value") * 2, a["box"], b["box"]) if None not in (x, y)]
        missing = 0
    kinds = ("barh", "barh") if a.get("orient") == "h" else ("bar", "bar")
    found = {}                                                   # number of the box -> (gap, words)
    for key, x, y, k in parts:
        gap = marks.off(x, y, kinds, next(iter(x)))
        words = should_be(key.strip(), y["value"], x["value"]) if k is not None else f"off by {percent(gap)}"
        if gap > found.get(k, (VALUE[0], ""))[0]:
            found[k] = gap, words
    if missing:
        more = "extra" if len(b["median"]) > len(a["median"]) else "missing"
        marks.differ("data", 0, "data_error", 3, where, f"{missing} boxes {more}", missing)
    for k, (gap, words) in found.items():
        name = "" if k is None else (a.get("names") or [""] * 99)[k]
        place = where if k is None else f"box '{normal(name)}'" if name else f"box {k + 1}"
        marks.differ("data", partial(gap, VALUE), "data_error", severity(gap, VALUE), place, words)
    if found or missing:
        marks.changed |= set("xy")
    else:
        marks.ledger.agree("data", 4)
    check_color(marks.ledger, "style", marks.prefix + where, b.get("color"), a.get("color"))
    return None


def compare_image(marks, a, b, where):
    """Heat maps: cell by cell if few differ; the map of colours."""
    if a["shape"][:2] != b["shape"][:2]:
        return marks.differ("data", 0, "data_error", 3, where, "cells {} x {}, should be {} x {}".format(
            *b["shape"][:2], *a["shape"][:2]), 4)
    cells = [(r, c, x, y) for r, rows in enumerate(zip(a["data"], b["data"])) for c, (x, y) in enumerate(zip(*rows))
             if isinstance(x, (int, float)) and isinstance(y, (int, float))]
    values = [x for _, _, x, _ in cells]
    length = max(values, default=1) - min(values, default=0) or 1.0
    wrong, n = [], max(1, len(cells))
    for r, c, x, y in cells:
        gap = abs(x - y) / length
        marks.ledger.entries["data"].append([min(1, 20 / n), partial(gap, VALUE)])
        if gap > VALUE[0]:
            marks.shift.append((dict(value=x), dict(value=y)))
            wrong.append((severity(gap, VALUE), f"row {r + 1}, column {c + 1}", should_be("value", y, x)))
    marks.tell_many("data_error", wrong, where, len(cells), "values wrong")
    if a.get("cmap") != b.get("cmap"):
        marks.differ("style", 0, "style_error", 2, where, f"colors {b.get('cmap')}, should be {a.get('cmap')}")
    else:
        marks.ledger.agree("style")
    return None


def percent(share):
    return f"{number(min(100, 100 * share), 2)}%"
