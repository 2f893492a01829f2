"""Marks that are compared as a whole, for `data/compare/marks.py`.

Images, boxes, patches, and what makes a pie.
"""
from data.compare.colors import check_color
from data.compare.ledger import VALUE, WIDTH, partial, severity
from data.compare.words import check_text, normal, number, should_be


def compare_whole(marks, a: dict, b: dict, where: str) -> None:
    """Images, boxes and patches."""
    if a["type"] == "image":
        return compare_image(marks, a, b, where)
    if a["type"] == "box":
        parts = [(f"{key} ", dict(value=x), dict(value=y), k)
                 for key in ("median", "q1", "q3", "low", "high")
                 for k, (x, y) in enumerate(zip(a[key], b[key])) if None not in (x, y)]
        missing = abs(len(a["median"]) - len(b["median"]))
    else:
        parts = [("", {what: x}, {what: y}, None) for what, x, y
                 in zip(("pos", "value") * 2, a["box"], b["box"]) if None not in (x, y)]
        missing = 0
    kinds = ("barh", "barh") if a.get("orient") == "h" else ("bar", "bar")
    found = {}  # number of the box -> (gap, words)
    for key, x, y, k in parts:
        gap = marks.off(x, y, kinds, next(iter(x)))
        words = f"off by {percent(gap)}" if k is None else \
            should_be(key.strip(), y["value"], x["value"])
        if gap > found.get(k, (VALUE[0], ""))[0]:
            found[k] = gap, words
    if missing:
        more = "extra" if len(b["median"]) > len(a["median"]) else "missing"
        marks.differ("data", 0, "data_error", 3, where, f"{missing} boxes {more}", missing)
    for k, (gap, words) in found.items():
        name = "" if k is None else (a.get("names") or [""] * 99)[k]
        place = where if k is None else f"box '{normal(name)}'" if name else f"box {k + 1}"
        marks.differ("data", partial(gap, VALUE), "data_error", severity(gap, VALUE), place, words)
    odd = compare_fliers(marks, a, b, where, kinds) if a["type"] == "box" and not missing else False
    if found or missing or odd:
        marks.changed |= set("xy")
    else:
        marks.ledger.agree("data", 4)
    check_color(marks.ledger, "style", marks.prefix + where, b.get("color"), a.get("color"))
    return None


def compare_fliers(marks, a: dict, b: dict, where: str, kinds: tuple[str, str]) -> bool:
    """Points beyond the whiskers; whether they differ."""
    odd = False
    for k, (x, y) in enumerate(zip(a.get("fliers") or [[]] * 999, b.get("fliers") or [[]] * 999)):
        name = (a.get("names") or [""] * 99)[k] if k < len(a.get("names") or []) else ""
        place = f"box '{normal(name)}'" if name else f"box {k + 1}"
        x, y = sorted(v for v in x if v is not None), sorted(v for v in y if v is not None)
        if len(x) != len(y):
            marks.differ("data", 0.5, "data_error", 2, place, should_be("fliers", len(y), len(x)))
            odd = True
            continue
        gaps = [marks.off({"value": v}, {"value": w}, kinds) for v, w in zip(x, y)]
        worst = gaps.index(max(gaps)) if gaps else 0
        if gaps and severity(gaps[worst], VALUE):
            marks.differ("data", partial(gaps[worst], VALUE), "data_error",
                         severity(gaps[worst], VALUE), place,
                         should_be("flier", y[worst], x[worst]))
            odd = True
    return odd


def compare_pie(marks, a: dict, b: dict, where: str, same: bool) -> None:
    """How a pie is cut (start, direction, hole, radius, slices that stand out), and its texts.

    `same`: the pictures look the same there: a hole may be a white circle.
    """
    count = len(a["fractions"])
    names = [normal(name) for name in a["names"]] + [""] * count
    places = [f"slice '{name}'" if name else f"slice {k + 1}"
              for k, name in enumerate(names[:count])]
    if not same and not pie_geometry(marks, a, b, where):
        return
    if count != len(b["fractions"]):
        return
    for place, x, y in zip(places, a["explode"], b["explode"]):
        if abs(x - y) > 0.02 and not same:
            marks.differ("style", 0.5, "style_error", 1 if abs(x - y) < 0.2 else 2, place,
                         should_be("distance from the middle", y, x))
    same_shares = all(abs(x - y) <= VALUE[0] for x, y in zip(a["fractions"], b["fractions"]))
    texts = [[normal(text) for text in mark["texts"]] for mark in (a, b)]
    if bool(texts[0]) != bool(texts[1]):
        marks.differ("axes", 0, "text_error", 2, where,
                     "texts on the slices " + ("missing" if texts[0] else "extra"))
    elif same_shares and len(texts[0]) == len(texts[1]) == count:
        for place, x, y in zip(places, *texts):
            check_text(marks.ledger, "axes", "text_error", marks.prefix + place, y, x)


def pie_geometry(marks, a: dict, b: dict, where: str) -> bool:
    """Start, direction, hole and radius of a pie; False if its direction is another.

    The rest follows from that.
    """
    if a["clockwise"] != b["clockwise"] and len(a["fractions"]) > 2:
        words = ["clockwise" if mark["clockwise"] else "counterclockwise" for mark in (b, a)]
        marks.differ("data", 0.5, "data_error", 2, where, "slices {}, should be {}".format(*words))
        return False
    turn = abs((a["start"] - b["start"] + 180) % 360 - 180) / 360
    if severity(turn, VALUE) and len(a["fractions"]) > 1:
        marks.differ("data", partial(turn, VALUE), "data_error", min(2, severity(turn, VALUE)),
                     where, should_be("start", b["start"], a["start"], "°"))
    if bool(a["hole"]) != bool(b["hole"]):
        marks.differ("style", 0.5, "style_error", 2, where,
                     "hole " + ("missing" if a["hole"] else "extra"))
    level = severity(abs(a["radius"] - b["radius"]) / (min(a["radius"], b["radius"]) or 1), WIDTH)
    if level:
        marks.differ("style", 0.5, "style_error", level, where,
                     should_be("radius", b["radius"], a["radius"]))
    return True


def compare_image(marks, a: dict, b: dict, where: str) -> None:
    """Heat maps: cell by cell if few differ; the map of colours."""
    if a["shape"][:2] != b["shape"][:2]:
        words = "cells {} x {}, should be {} x {}".format(*b["shape"][:2], *a["shape"][:2])
        return marks.differ("data", 0, "data_error", 3, where, words, 4)
    cells = [(r, c, x, y) for r, rows in enumerate(zip(a["data"], b["data"]))
             for c, (x, y) in enumerate(zip(*rows))
             if isinstance(x, (int, float)) and isinstance(y, (int, float))]
    values = [x for _, _, x, _ in cells]
    length = max(values, default=1) - min(values, default=0) or 1.0
    wrong, n = [], max(1, len(cells))
    for r, c, x, y in cells:
        gap = abs(x - y) / length
        marks.ledger.entries["data"].append([min(1, 20 / n), partial(gap, VALUE)])
        if gap > VALUE[0]:
            marks.shift.append((dict(value=x), dict(value=y)))
            wrong.append((severity(gap, VALUE), f"row {r + 1}, column {c + 1}",
                          should_be("value", y, x)))
    marks.tell_many("data_error", wrong, where, len(cells), "values wrong")
    limits = a.get("clim") or [], b.get("clim") or []
    if not wrong and all(len(ends) == 2 and None not in ends for ends in limits):
        gap = max(abs(x - y) for x, y in zip(*limits)) / (abs(limits[0][1] - limits[0][0]) or 1)
        if gap > 0.02:
            ends = [" to ".join(number(v) for v in found) for found in limits]
            marks.differ("style", 0.5, "style_error", 1 if gap < 0.5 else 2, where,
                         f"colors for {ends[1]}, should be for {ends[0]}")
    if a.get("cmap") != b.get("cmap"):
        marks.differ("style", 0, "style_error", 2, where,
                     f"colors {b.get('cmap')}, should be {a.get('cmap')}")
    else:
        marks.ledger.agree("style")
    return None


def percent(share: float) -> str:
    return f"{number(min(100, 100 * share), 2)}%"
