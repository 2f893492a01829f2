"""SVG pictures for `data/compare`: pairs shapes by outline and paint and enters what differs in a `Ledger`.

Shapes are compared by their outlines on the canvas, not by their element names: a rectangle drawn as a polygon or a
path is the same shape. What is hidden, or painted in the colour of what lies under it, is not there.
"""
import math

import numpy as np

from data.compare.matching import assign
from data.compare.words import check_text, should_be, similar
from data.compare.colors import color_distance, color_words
from data.compare.ledger import COLOR, OPACITY, PLACE, WIDTH, partial, severity

CELLS = 64                                   # side of the coarse picture that decides what can be seen
MOST = 80                                    # pictures with more shapes are compared without asking what is hidden


def examine_svg(true, pred, ledger):
    """Compare two SVG scenes; enter everything visible in `ledger`."""
    ours, theirs = (_visible(scene["shapes"]) for scene in (true, pred))
    ratio = [scene["viewbox"][2] / scene["viewbox"][3] for scene in (true, pred)]
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        ledger.differ("shapes", 0, "structure_error", 2, "canvas",
                      should_be("width to height", ratio[1], ratio[0]))
    pairs = assign(ours, theirs, _distance, gap=0.38, key=repr)
    for i, j in pairs:
        if j is None:
            ledger.differ("shapes", 0, "structure_error", 3, place(ours[i]), "missing")
        elif i is None:
            ledger.differ("shapes", 0, "structure_error", 3, place(theirs[j]), "extra")
        else:
            _shape(ours[i], theirs[j], ledger)
    _order([(ours[i], theirs[j]) for i, j in pairs if None not in (i, j)], ledger)


def place(shape):
    """'circle top left': the kind of a shape and where its centre lies in a 3 x 3 grid."""
    if _covers(shape):
        return "background"
    x, y = _centre(shape)
    column = ("left", "", "right")[min(2, max(0, int(3 * x)))]
    row = ("top", "", "bottom")[min(2, max(0, int(3 * y)))]
    return f"{shape['type']} {' '.join(word for word in (row, column) if word) or 'centre'}"


def _covers(shape):
    x0, y0, x1, y1 = shape["box"]
    return shape["type"] != "text" and shape.get("fill") and x0 <= 0.01 and y0 <= 0.01 and x1 >= 0.99 and y1 >= 0.99


def _centre(shape):
    x0, y0, x1, y1 = shape["box"]
    return (x0 + x1) / 2, (y0 + y1) / 2


def _sides(shape):
    x0, y0, x1, y1 = shape["box"]
    return x1 - x0, y1 - y0


# -------------------------------------------------------------------------------------------------------- pairs
def _distance(a, b):
    """0 for the same shape, 1 for two with nothing in common (over 1: text against a drawing)."""
    if (a["type"] == "text") != (b["type"] == "text"):
        return 2.0
    if bool(_covers(a)) != bool(_covers(b)):
        return 2.0
    away = min(1, math.dist(_centre(a), _centre(b)) / 0.4)
    size = min(1, sum(abs(x - y) for x, y in zip(_sides(a), _sides(b))) / 0.5)
    paint = min(1, _paint_distance(a, b) / 60)
    if a["type"] == "text":
        return 0.5 * (1 - similar(a["text"], b["text"])) + 0.4 * away + 0.1 * paint
    kind = a["type"] != b["type"] and not _same_outline(a, b)
    return 0.45 * away + 0.15 * size + 0.2 * paint + 0.2 * kind


def _paint_distance(a, b):
    """Distance of the colours by which two shapes are known: fill where there is one, else stroke."""
    if a.get("fill") or b.get("fill"):
        return color_distance(a.get("fill"), b.get("fill"))
    return color_distance(a.get("stroke"), b.get("stroke"))


def _points(shape):
    outline = np.asarray(shape.get("outline") or [], float).reshape(-1, 2)
    if len(outline) < 2:
        x0, y0, x1, y1 = shape["box"]
        outline = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return outline


def _segments(shape, points):
    """Starts and ends, (M, 2) each, of the straight pieces of an outline; sub-paths are not joined to each other."""
    firsts = [k for k in shape.get("starts") or [0] if k < len(points)]
    round_off = shape.get("closed") or shape.get("fill") and shape["type"] != "line"
    follows = [k + 1 for k in range(len(points))]
    for first, end in zip(firsts, [*firsts[1:], len(points)]):
        follows[end - 1] = first if round_off else end - 1
    return points, points[follows]


def _gap(points, shape, outline):
    """Largest distance from `points` to the line that `outline` draws as `shape`, in fractions of the canvas."""
    start, end = _segments(shape, outline)
    step = end - start                                                           # (M, 2)
    length = np.maximum((step ** 2).sum(1), 1e-12)
    along = ((points[:, None] - start) * step).sum(2) / length                   # (N, M) foot of the perpendicular
    foot = start + np.clip(along, 0, 1)[..., None] * step                        # (N, M, 2)
    return float(np.sqrt(((points[:, None] - foot) ** 2).sum(2)).min(1).max())


def outline_gap(a, b, shift=(0, 0), scale=(1, 1)):
    """Hausdorff distance of two outlines, `b` first moved by `shift` and stretched about its centre by `scale`."""
    centre = np.array(_centre(b))
    ours, theirs = _points(a), (_points(b) - centre) * scale + centre + shift
    return max(_gap(ours, b, theirs), _gap(theirs, a, ours))


def _same_outline(a, b, tolerance=PLACE[0]):
    return outline_gap(a, b) <= tolerance


# -------------------------------------------------------------------------------------------------- one shape
def _shape(a, b, ledger):
    """One shape of both pictures: text, geometry and paint, worth 5 : 3 : 2 of 1 together."""
    where = place(a)
    if a["type"] == "text":
        check_text(ledger, "shapes", "text_symbol_error", where, b["text"], a["text"], weight=0.4)
        _text_geometry(a, b, ledger, where)
    elif outline_gap(a, b) <= PLACE[0]:
        ledger.agree("shapes", 0.6)
    else:
        _geometry(a, b, ledger, where)
    _paint(a, b, ledger, where)


def _geometry(a, b, ledger, where):
    """Kind, place and size of a shape; `a` as it should be."""
    (ax, ay), (bx, by) = _centre(a), _centre(b)
    (aw, ah), (bw, bh) = _sides(a), _sides(b)
    shift = ax - bx, ay - by
    scale = tuple(x / y if y > 1e-6 else 1.0 for x, y in ((aw, bw), (ah, bh)))
    away, sized = _away((ax - bx, ay - by), (aw - bw, ah - bh)), max(abs(aw - bw), abs(ah - bh))
    errors = []
    slack = PLACE[0] * 1.5
    if a["type"] != b["type"] and outline_gap(a, b, shift, scale) > slack:
        errors.append((3, 0.6, f"type {b['type']}, should be {a['type']}"))
        sized = max(sized - 0.05, 0)                 # a shape of another kind seldom has exactly the same size
    elif outline_gap(a, b, shift, scale) > slack:
        gap = outline_gap(a, b, shift, scale)
        flipped = next((word for word, turn in (("flipped", (-1, 1)), ("upside down", (1, -1)), ("turned", (-1, -1)))
                        if outline_gap(a, b, shift, (turn[0] * scale[0], turn[1] * scale[1])) <= slack), None)
        errors.append((max(1, severity(gap, PLACE)), partial(gap, PLACE), flipped or "other outline"))
    if severity(away, PLACE):
        errors.append((severity(away, PLACE), partial(away, PLACE), _direction(-shift[0], -shift[1])))
    if severity(sized, PLACE):
        errors.append((severity(sized, PLACE), partial(sized, PLACE), _size_words((bw, bh), (aw, ah))))
    if not errors:
        errors.append((1, 0.9, "other outline"))
    credit = math.prod(credit for _, credit, _ in errors)
    ledger.cost("shapes", credit, 0.6)
    for level, _, words in errors:
        ledger.tell("shape_error", level, where, words)


def _away(shift, grown):
    """How far a shape moved; not at all along an axis where it grew at one edge and kept the other."""
    return math.hypot(*(0 if abs(abs(d) - abs(g) / 2) <= PLACE[0] / 2 else d for d, g in zip(shift, grown)))


def _text_geometry(a, b, ledger, where):
    """Size and place of a text. One that reads otherwise or grew still has its place if its anchor may be the same."""
    sizes = [shape.get("font_size") or 0 for shape in (b, a)]
    ratio = abs(sizes[0] - sizes[1]) / (min(s for s in sizes if s) if all(sizes) else 1)
    shift = [y - x for x, y in zip(_centre(a), _centre(b))]
    if a["text"] != b["text"] or severity(ratio, WIDTH):
        slack = 0.15 * max(sizes)                                        # letters reach up and down by themselves
        shift = [0 if abs(d) <= abs(x - y) / 2 + slack else d for d, x, y in zip(shift, _sides(a), _sides(b))]
    away = math.hypot(*shift)
    if not severity(away, PLACE) and not severity(ratio, WIDTH):
        return ledger.agree("shapes", 0.2)
    ledger.cost("shapes", partial(away, PLACE) * partial(ratio, WIDTH), 0.2)
    if severity(ratio, WIDTH):
        ledger.tell("shape_error", severity(ratio, WIDTH), where,
                    should_be("font size", 100 * sizes[0], 100 * sizes[1], "%"))
    if severity(away, PLACE):
        ledger.tell("shape_error", severity(away, PLACE), where, _direction(*shift))


def _direction(dx, dy):
    """'moved right by 12%' or 'moved right by 12%, down by 5%', in percent of the canvas."""
    parts = [f"{words[d > 0]} by {100 * abs(d):.0f}%" for d, words
             in ((dx, ("left", "right")), (dy, ("up", "down"))) if abs(d) > PLACE[0]]
    if not parts:
        parts = [f"{'right' if dx > 0 else 'left'} by {100 * abs(dx):.0f}%"]
    return "moved " + ", ".join(parts)


def _size_words(found, expected):
    """'width 30%, should be 20%', in percent of the canvas; 'size' if both sides differ in the same ratio."""
    ratios = [f / e if e > 1e-6 else math.inf for f, e in zip(found, expected)]
    if abs(ratios[0] - ratios[1]) < 0.05 * max(ratios) and math.isfinite(max(ratios)):
        return should_be("size", 100 * found[0], 100 * expected[0], "%")
    both = [abs(f - e) > PLACE[0] for f, e in zip(found, expected)]
    words = [should_be(what, 100 * f, 100 * e, "%") for what, f, e, off
             in zip(("width", "height"), found, expected, both) if off]
    return "; ".join(words)


def _paint(a, b, ledger, where):
    """Fill, stroke, width, dash and opacity of a shape; together worth 0.4."""
    errors = []                                                                  # (severity, credit, words)
    for key in ("fill", "stroke"):
        found, expected = b.get(key), a.get(key)
        gap = color_distance(found, expected)
        if found == expected == "gradient":
            stops = list(zip(b.get("stops", []), a.get("stops", [])))
            gap, (found, expected) = max(((color_distance(x, y), (x, y)) for x, y in stops), default=(0, (None, None)))
        if severity(gap, COLOR):
            words = f"{key} missing" if not found else f"{key} extra" if not expected else \
                color_words(found, expected, key)
            errors.append((severity(gap, COLOR), partial(gap, COLOR), words))
    if a.get("stroke") and b.get("stroke"):
        widths = [shape.get("stroke_width") or 0 for shape in (b, a)]
        gap = abs(widths[0] - widths[1]) / max(1e-6, min(widths))
        if severity(gap, WIDTH) and abs(widths[0] - widths[1]) > PLACE[0] / 2:
            errors.append((severity(gap, WIDTH), partial(gap, WIDTH),
                           should_be("stroke width", 100 * widths[0], 100 * widths[1], "%")))
        if bool(a.get("dash")) != bool(b.get("dash")):
            errors.append((1, 0.5, f"stroke {'dashed' if b.get('dash') else 'solid'}, should be "
                                   f"{'dashed' if a.get('dash') else 'solid'}"))
    clear = [_opacity(shape) for shape in (b, a)]
    if severity(abs(clear[0] - clear[1]), OPACITY):
        gap = abs(clear[0] - clear[1])
        errors.append((severity(gap, OPACITY), partial(gap, OPACITY), should_be("opacity", *clear)))
    credit = math.prod(credit for _, credit, _ in errors)
    ledger.entries["shapes"].append([0.4, min(credit, 0.99) if errors else 1.0])
    for level, _, words in errors:
        ledger.tell("style_error", level, where, words)


def _opacity(shape):
    part = "fill_opacity" if shape.get("fill") else "stroke_opacity"
    values = [shape.get(key) for key in ("opacity", part)]
    return math.prod(1.0 if value is None else value for value in values)


# ------------------------------------------------------------------------------------- what can be seen, order
def _mask(shape):
    """Where a shape paints on the coarse picture: (CELLS, CELLS) bool."""
    centres = (np.arange(CELLS) + 0.5) / CELLS
    x, y = np.meshgrid(centres, centres)
    points = _points(shape)
    painted = np.zeros((CELLS, CELLS), bool)
    if shape["type"] in ("text", "image"):
        x0, y0, x1, y1 = shape["box"]
        painted |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    elif shape.get("fill"):
        for (x0, y0), (x1, y1) in zip(*_segments(shape, points)):                # even-odd rule, one edge at a time
            if y0 != y1:
                painted ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    if shape.get("stroke") or not painted.any():
        start, end = _segments(shape, points)
        share = np.linspace(0, 1, 16)[:, None, None]
        dots = (start * (1 - share) + end * share).reshape(-1, 2)
        column, row = np.clip((dots * CELLS).astype(int), 0, CELLS - 1).T
        painted[row, column] = True
    if shape.get("clip"):
        x0, y0, x1, y1 = shape["clip"]
        painted &= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return painted


def _color(shape):
    """RGB and opacity of a shape in the coarse picture; a gradient takes its first colour."""
    paint = shape.get("fill") or shape.get("stroke") or "#000000"
    if paint == "gradient":
        paint = (shape.get("stops") or [None])[0]
    if not (paint or "").startswith("#"):                                        # a pattern or an image
        paint = "#808080"
    return np.array([int(paint[k:k + 2], 16) for k in (1, 3, 5)], float), _opacity(shape)


def _coarse(layers):
    """Paint (mask, colour, opacity) layers, first at the bottom: (CELLS, CELLS, 3) floats."""
    picture = np.full((CELLS, CELLS, 3), 255.0)
    for mask, color, opacity in layers:
        picture[mask] += opacity * (color - picture[mask])
    return picture


def _visible(shapes):
    """The shapes without which the picture would be another."""
    if len(shapes) > MOST:
        return [{**shape, "rank": k} for k, shape in enumerate(shapes)]
    layers = [(_mask(shape), *_color(shape)) for shape in shapes]
    whole = _coarse(layers)
    kept = []
    for k, shape in enumerate(shapes):
        edged = shape.get("fill") and shape.get("stroke") and shape["stroke"] != shape["fill"]
        mask = layers[k][0]
        above = np.zeros_like(mask)
        for other, _, opacity in layers[k + 1:]:
            if opacity >= 0.99:
                above |= other
        if edged and (mask & ~above).any() or np.abs(_coarse(layers[:k] + layers[k + 1:]) - whole).max() > 4:
            kept.append({**shape, "rank": k})
    return kept


def _order(pairs, ledger):
    """Shapes that overlap and are painted in another order, where that can be seen."""
    if len(pairs) > MOST:
        return
    layers = {id(a): (_mask(a), *_color(a)) for a, _ in pairs}
    theirs = {id(a): b for a, b in pairs}
    original = [a for a, _ in pairs]
    wrong = []
    for m, a in enumerate(original):
        for c in original[m + 1:]:                                              # a lies under c
            if theirs[id(a)]["rank"] > theirs[id(c)]["rank"]:
                both = layers[id(a)][0] & layers[id(c)][0]
                if both.sum() > 2 and severity(_paint_distance(a, c), COLOR):
                    wrong.append((a, c))
    while wrong:
        counts = {}
        for pair in wrong:
            for shape in pair:
                counts[id(shape)] = counts.get(id(shape), 0) + 1
        a, c = max(wrong, key=lambda pair: max(counts[id(s)] for s in pair))
        blamed, other = (a, c) if counts[id(a)] >= counts[id(c)] else (c, a)
        front, back = ("in front of", "behind") if blamed is a else ("behind", "in front of")
        ledger.differ("shapes", 0, "structure_error", 2, place(blamed),
                      f"{front} {place(other)}, should be {back}", 0.5)
        wrong = [pair for pair in wrong if blamed is not pair[0] and blamed is not pair[1]]
