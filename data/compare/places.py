"""Where an error is: the boxes of its place in both pictures, for pages and for patch labels.

The comparison names places in words ("bar 'B'", "row 3, column 2", "circle top left"). Here the
words are looked up in the scenes again. What is missing in a picture has the box where it should
be: that of the other picture, moved as the axes, the table or the canvas around it are.
"""
import re

from data.compare.chart import _number, _subplots
from data.compare.painted import Entries
from data.compare.series import color_bar, items, kind, scaled
from data.compare.svg_outline import place as shape_place
from data.compare.words import normal
from data.verdict import Discrepancy

Box = tuple[float, float, float, float]  # left, top, right, bottom
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
NEAR = 0.05  # of the axes' side: how far the box of a point reaches
ITEM = re.compile(r"(?:bar|point|slice|box|part) (?:'(.*)'|(\d+))$")
SERIES = re.compile(r"(?:error bars |shape |area )?series (?:'(.*?)'|(\d+))")


def boxes_of(error: Discrepancy, true: dict, pred: dict) -> tuple[list[Box], list[Box]]:
    """Boxes of an error in the reference and in the rendering, in fractions of each picture.

    A place that is not known is the whole picture.
    """
    location = re.sub(r" and \d+ more$", "", error.location)
    find = {"chart": _in_chart, "table": _in_table, "svg": _in_svg}[true["task"]]
    found = [find(location, scene) for scene in (true, pred)]
    pair = []
    for (frame, boxes), (other_frame, other) in (found, found[::-1]):
        inner = boxes or other
        pair.append([_outer(box, frame) for box in inner] or [WHOLE])
    return pair[0], pair[1]


def _outer(box, frame):
    """A box inside a frame as a box of the picture, cut at its border."""
    left, top, right, bottom = frame
    x0, y0, x1, y1 = box
    wide, high = right - left, bottom - top
    values = left + x0 * wide, top + y0 * high, left + x1 * wide, top + y1 * high
    return tuple(min(1.0, max(0.0, float(value))) for value in values)


def _inner(box, frame):
    """A box of the picture in fractions of a frame."""
    left, top, right, bottom = frame
    wide, high = (right - left) or 1.0, (bottom - top) or 1.0
    return ((box[0] - left) / wide, (box[1] - top) / high,
            (box[2] - left) / wide, (box[3] - top) / high)


# --- 1. charts ---
def _in_chart(location, scene):
    """(box of the axes, boxes of the place in fractions of them)."""
    number, _, rest = re.fullmatch(r"(?:subplot (\d+)(: ))?(.*)", location, re.S).groups()
    subplots = _subplots(scene)
    k = int(number or 1) - 1
    axes = subplots[k] if k < len(subplots) else None
    frame = _upright(axes["box"], scene) if axes else WHOLE
    entries, row = Entries(scene), _number(scene, axes) if axes else None
    if rest == "color bar":
        return WHOLE, [_upright(other["box"], scene) for other in scene["axes"] if color_bar(other)]
    if rest == "figure":
        return WHOLE, [WHOLE]
    found = _named_entries(rest, scene, axes, entries, row)
    if found:
        return frame, [_inner(_upright(entry["box"], scene), frame) for entry in found]
    if axes is None:
        return WHOLE, []
    if rest in ("plot", "background", "frame") or rest.startswith("second axis"):
        return frame, [WHOLE]
    slices = [_inner(_upright(entry["box"], scene), frame)
              for entry in _slices(rest, axes, entries, row)]
    return frame, slices or _of_marks(rest, axes)


def _upright(box, scene):
    """A box [x, y, width, height] from the lower left of the figure as a Box of the picture."""
    wide, high = scene["inches"]
    scale = min(scene["size"][0] / wide, scene["size"][1] / high)
    across, down = wide * scale / scene["size"][0], high * scale / scene["size"][1]
    x, y, width, height = box
    return x * across, (1 - y - height) * down, (x + width) * across, (1 - y) * down


def _named_entries(place, scene, axes, entries, row):
    """What was painted for a title, a label, ticks, a legend, a grid, an annotation."""
    if place.startswith("annotation '"):
        for owner, notes in ((row, (axes or {}).get("annotations", [])),
                             (None, scene.get("texts") or [])):
            for part, note in enumerate(notes):
                if f"annotation '{normal(note['text'])}'" == place:
                    return [e for e in entries.of(owner, "annotation") if e["part"] == part]
        return []
    if place == "grid":
        return entries.of(row, "x grid") + entries.of(row, "y grid")
    if place in ("x axis", "y axis", "z axis"):
        return entries.of(row, f"{place[0]} ticks")
    if place == "figure title":
        return entries.of(None, "title")
    return entries.of(row, place) or entries.of(None, place)


def _slices(place, axes, entries, row):
    """What was painted for a slice of a pie, or for all of it."""
    item, found = ITEM.search(place), []
    for m, mark in enumerate(axes["marks"]):
        if kind(mark) == "pie":
            names = [normal(name) for name in mark["names"]]
            found += [entry for entry in entries.of(row, "mark", m)
                      if not item or entry["part"] is not None and (
                          names[entry["part"]] == item[1] if item[1] is not None
                          else entry["part"] + 1 == int(item[2]))]
    return found


def _of_marks(place, axes):
    """Boxes of series and of their bars, points and slices, in fractions of the axes."""
    series, item = SERIES.match(place), ITEM.search(place)
    marks = axes["marks"]
    if series:
        name, number = series.groups()
        marks = [mark for k, mark in enumerate(marks)
                 if normal(mark.get("label")) == name or number and k + 1 == int(number)]
    found = []
    for mark in marks:
        if kind(mark) not in ("bar", "barh", "line", "scatter", "errorbar", "area"):
            continue
        shown = items(mark, axes)
        chosen = shown
        if item:
            name, number = item.groups()
            chosen = [one for k, one in enumerate(shown)
                      if (one["name"] == name if name is not None else k + 1 == int(number))]
        found += [_item_box(one, mark, axes) for one in chosen]
    return found


def _item_box(item, mark, axes):
    """The box of one bar or point in fractions of its axes, from the upper left."""
    def along(axis, value):
        low, high = (scaled(v, axes.get(axis + "scale")) for v in axes[axis + "lim"])
        share = (scaled(value, axes.get(axis + "scale")) - low) / ((high - low) or 1)
        return min(1.5, max(-0.5, share))
    lying, upright = kind(mark) == "barh", kind(mark) in ("bar", "barh")
    x, y = ("y", "x") if lying else ("x", "y")
    if upright:
        thick = (mark.get("thick") or [0.8])[0]
        across = [along(x, item["pos"] - thick / 2), along(x, item["pos"] + thick / 2)]
        up = [along(y, item["base"]), along(y, item["value"])]
    else:
        middle = along(x, item["pos"]), along(y, item["value"])
        across, up = ([v - NEAR, v + NEAR] for v in middle)
    if lying:
        across, up = up, across
    return min(across), 1 - max(up), max(across), 1 - min(up)


# --- 2. tables ---
def _in_table(location, scene):
    """(box of the table, boxes of the place in fractions of it)."""
    number, rest = re.fullmatch(r"(?:table (\d+): )?(.*)", location, re.S).groups()
    tables, k = scene["tables"], int(number or 1) - 1
    if k >= len(tables):
        return WHOLE, []
    table = tables[k]
    frame = _on_page(table["box"], scene)
    if rest == "table":
        return frame, [WHOLE]
    row, column = (re.search(rf"{word} (\d+)", rest) for word in ("row", "column"))
    if not (row or column):
        return frame, []
    chosen = [cell for cell in table["cells"]
              if _covers(cell, "row", row) and _covers(cell, "col", column)]
    boxes = ([x, y, x + wide, y + high] for x, y, wide, high in (c["box"] for c in chosen))
    return frame, [_inner(_on_page(box, scene), frame) for box in boxes]


def _covers(cell, key, found):
    return not found or cell[key] <= int(found[1]) - 1 < cell[key] + cell[f"{key}span"]


def _on_page(box, scene):
    """A box in px of the page as a Box of the picture, which shows a window of the page."""
    left, top, right, bottom = scene["window"]
    wide, high = right - left, bottom - top
    scale = min(1.0, scene["size"][0] / wide, scene["size"][1] / high)
    across, down = scale / scene["size"][0], scale / scene["size"][1]
    return ((box[0] - left) * across, (box[1] - top) * down,
            (box[2] - left) * across, (box[3] - top) * down)


# --- 3. drawings ---
def _in_svg(location, scene):
    """(the canvas, boxes of the shapes of that name, or of that part of the canvas)."""
    found = [shape["box"] for shape in scene["shapes"] if shape_place(shape) == location]
    if found or location in ("drawing", "canvas", "all shapes") or location.endswith(" shapes"):
        return WHOLE, found
    words = location.split()
    if words and set(words) <= {"top", "bottom", "left", "right", "centre"}:
        columns = {"left": 0, "right": 2}.get(words[-1], 1)
        rows = {"top": 0, "bottom": 2}.get(words[0], 1)
        return WHOLE, [(columns / 3, rows / 3, (columns + 1) / 3, (rows + 1) / 3)]
    return WHOLE, []
