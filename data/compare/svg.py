"""SVG pictures for `data/compare`: what is painted in both is compared, property by property.

Shapes are compared by their outlines on the canvas, not by their element names: a rectangle drawn
as a polygon or a path is the same shape. Three things decide what is an error:

1. Matched shapes are compared property by property. A property that need not show (line caps,
   masks, fonts) is an error only where the pictures differ.
2. An error of a place where the two pictures are equal is none: what is hidden, drawn in two pieces
   or in another order is not there.
3. Where the pictures differ and no error says why, there is an error for that place.

A drawing of which all shapes moved or grew alike has one error, or none within 3 % of the canvas.
"""
import collections
import math

import numpy as np

from data.compare.ledger import MANY, PLACE, WIDTH, Ledger, partial, severity
from data.compare.svg_outline import (
    WHOLE,
    cell,
    centre,
    common_move,
    covers,
    moved,
    outline_gap,
    parts_gone,
    place,
    sides,
)
from data.compare.svg_pairs import pair_up
from data.compare.svg_picture import Pictures
from data.compare.svg_style import Finding, letter_findings, paint_findings
from data.compare.svg_words import reads
from data.compare.words import plain, should_be
from data.verdict import Discrepancy

MOST_TOLD = 60          # shapes that differ are told one by one up to here, the rest at once
MATCHED = 0.7           # share of the shapes that need a partner in a drawing that moved as one
MOST_ORDERED = 80       # pictures of more shapes are not asked for the order of painting


def examine_svg(true: dict, pred: dict, ledger: Ledger) -> None:
    """Compare two SVG scenes; enter everything visible in `ledger`."""
    ours, theirs = true["shapes"], pred["shapes"]
    if true.get("digest") and true.get("digest") == pred.get("digest"):
        for _ in ours:
            ledger.agree("shapes")
        return
    ratio = [_ratio(scene) for scene in (true, pred)]
    other_canvas = abs(ratio[0] / ratio[1] - 1) > 0.02
    if other_canvas:
        ledger.differ("shapes", 0, "structure_error", 2, "canvas",
                      should_be("width to height", ratio[1], ratio[0]))
    pairs = pair_up(ours, theirs)
    ranks = {id(shape): k for k, shape in enumerate(theirs)}
    order = [ranks[id(b)] for a, b in pairs if a and b]
    both = [pair for pair in pairs if None not in pair]
    mostly = len(both) >= MATCHED * len(pairs)
    move = common_move(both, mostly, other_canvas)
    if move:
        pairs = [(a, b and _moved(a, b, move)) for a, b in pairs]
        if not other_canvas:                    # that the drawing is stretched follows from that
            _tell_move(pairs, move, ledger)
    pictures = Pictures(true, pred, move)
    swaps = _swaps(pairs)
    told = more = 0
    for a, b in pairs:
        if told >= MOST_TOLD and not (a and b and _same_look(a, b)):
            more += 1
            ledger.cost("shapes", 0)
        elif a is None or b is None:
            told += _alone(a, b, pictures, ledger)
        else:
            told += _pair(a, b, swaps.get(id(a)), pictures, ledger)
    if more:
        ledger.tell("structure_error", 3, "drawing", f"{more} more shapes differ")
        pictures.explain_all()
    both = [pair for pair in pairs if None not in pair]     # now with the common move
    _order(both, order, pictures, ledger)
    _guard(pairs, pictures, ledger)
    _tell_in_one(ledger, len(both))


def _moved(a, b, move):
    """A shape after the common move; a background may have stayed where it is."""
    new = moved(b, move)
    if a and covers(a):
        off = [max(abs(x - y) for x, y in zip(a["box"], shape["box"])) for shape in (b, new)]
        return new if off[1] < off[0] else b
    return new


def _ratio(scene):
    """Width to height of a drawing as it is by itself."""
    for sides_ in (scene.get("natural"), (scene["viewbox"] or ())[2:], scene["size"]):
        if sides_ and all(side and side > 0 for side in sides_):
            return sides_[0] / sides_[1]
    return 1.0


def _tell_in_one(ledger, count):
    """What is said of more than MANY shapes or of all `count` in the same words is one error."""
    words = collections.Counter((error.category, error.description) for error in ledger.errors)
    first, errors = set(), []
    for error in ledger.errors:
        key = error.category, error.description
        if words[key] <= MANY and not 1 < words[key] == count:
            errors.append(error)
        elif key not in first:
            first.add(key)
            where = "all shapes" if words[key] >= count else f"{words[key]} shapes"
            errors.append(Discrepancy(error.category, error.severity, where, error.description))
    ledger.errors = errors


def _tell_move(pairs, move, ledger):
    """One error for a drawing that moved or grew as a whole, none where that is little."""
    boxes = list(zip(*(b["box"] for a, b in pairs if a and b and not covers(a))))
    x0, y0 = (max(0.0, min(edge)) for edge in boxes[:2])
    x1, y1 = (min(1.0, max(edge)) for edge in boxes[2:])
    sx, sy, tx, ty = move
    was = (x0 - tx) / sx, (y0 - ty) / sy, (x1 - tx) / sx, (y1 - ty) / sy
    off = float(max(abs(v - w) for v, w in zip(was, (x0, y0, x1, y1))))
    if off <= WHOLE:
        return
    words = []
    grown = abs(sx * sy - 1) > 0.02
    away = (was[0] + was[2] - x0 - x1) / 2, (was[1] + was[3] - y0 - y1) / 2
    if max(map(abs, away)) > PLACE[int(grown)]:
        words.append(_direction(*away))
    if grown:
        words.append(should_be("size", 100 / math.sqrt(sx * sy), 100, "%"))
    ledger.differ("shapes", partial(off, PLACE), "shape_error", severity(off, PLACE), "drawing",
                  "; ".join(words) or "moved")


# --- 1. shapes without a partner, shapes that took each other's place ---
def _alone(a, b, pictures, ledger):
    """A shape of one picture only. Returns whether it was told."""
    shape = a or b
    wide, high = sides(shape)
    filled = shape.get("fill") and not shape.get("stroke")
    sliver = filled and (shape.get("seen") or 1) < 0.05 * wide * high
    if sliver and not pictures.same_size:       # the smooth edge of what is covered otherwise
        return 0
    exact = pictures.same_size and not sliver
    if not (pictures.shows(shape) if exact else pictures.shows_clearly(shape)):
        return 0
    ledger.differ("shapes", 0, "structure_error", 3, place(shape), "missing" if a else "extra")
    pictures.explain(shape)
    return 1


def _same_look(a, b):
    """Whether two shapes are plainly the same, without asking for each property."""
    keys = ("type", "fill", "stroke", "text", "opacity", "fill_opacity", "stroke_opacity", "dash",
            "style", "paints", "cuts", "runs")
    return all(a.get(key) == b.get(key) for key in keys) and max(
        abs(x - y) for x, y in zip(a["box"], b["box"])) < 1e-3 and len(
            a.get("outline") or ()) == len(b.get("outline") or ()) and abs(
                (a.get("stroke_width") or 0) - (b.get("stroke_width") or 0)) < 1e-4


def _swaps(pairs):
    """{id(a): (kind, words, first)} of shapes that took each other's place, colour or text."""
    both = [pair for pair in pairs if None not in pair]
    found = {}
    for name, value, differ in (
            ("", lambda s: tuple(round(v / 0.02) for v in centre(s)),
             lambda a, b: math.dist(centre(a), centre(b)) > PLACE[1]),
            ("fill", lambda s: s.get("fill"), lambda a, b: a.get("fill") != b.get("fill")),
            ("text", lambda s: s.get("text"), lambda a, b: a.get("text") != b.get("text"))):
        off = [(a, b) for a, b in both if differ(a, b) and value(a) and value(b)]
        if not 2 <= len(off) <= 200:
            continue
        for k, (a, b) in enumerate(off):
            for c, d in off[k + 1:]:
                if id(a) in found or id(c) in found:
                    continue
                if name:
                    crossed = value(a) == value(d) and value(b) == value(c)
                else:
                    crossed = math.dist(centre(a), centre(d)) <= 0.02 and \
                        math.dist(centre(b), centre(c)) <= 0.02
                if crossed:
                    found[id(a)] = name, f"{name} swapped with {place(c)}".lstrip(), True
                    found[id(c)] = name, "", False
    return found


# --- 2. one shape of both pictures ---
def _pair(a, b, swap, pictures, ledger):
    """Text, geometry, paint of a shape, worth 4 : 2 : 4 (no text: 6 : 4). Whether any was told."""
    where = place(a)
    is_text = a["type"] == "text"
    same_place = True
    groups = []                                 # (weight, findings)
    if is_text:
        words = _text(a, b)
        geometry = _text_geometry(a, b)
        same_place = not geometry
        if not words:
            geometry += letter_findings(a, b, same_place)
        groups += [(0.4, words), (0.2, geometry)]
    else:
        gap = outline_gap(a, b)
        geometry = _geometry(a, b) if gap > PLACE[0] else []
        same_place = not geometry
        groups.append((0.6, geometry))
    paint = paint_findings(a, b, same_place, pictures.same_size)
    if not same_place and _scaled_alike(a, b):
        paint = [finding for finding in paint if not finding.words.startswith("stroke width")]
    groups.append((0.4, paint))
    if swap:
        groups = [(weight, _swapped(findings, swap)) for weight, findings in groups]
    shows = {}
    told = 0
    for weight, findings in groups:
        kept = []
        for finding in findings:
            if finding.sure not in shows:
                ask = pictures.shows if finding.sure else pictures.shows_clearly
                shows[finding.sure] = ask(a, b)
            if shows[finding.sure]:
                kept.append(finding)
        if not kept:
            ledger.agree("shapes", weight)
            continue
        credit = math.prod(finding.credit for finding in kept)
        ledger.cost("shapes", credit, weight)
        told = 1
        for finding in kept:
            if finding.words:
                ledger.tell(finding.category, finding.level, where, finding.words)
    if told:
        pictures.explain(a, b)
    return told


def _swapped(findings, swap):
    """The findings of a shape that took the place, fill or text of another, in one."""
    name, words, first = swap
    starts = {"": "moved", "fill": "fill", "text": "reads"}[name]
    kept = []
    for finding in findings:
        if finding.words.startswith(starts):
            finding = Finding(finding.category, 2, finding.credit, words if first else "")
        kept.append(finding)
    return kept


def _text(a, b):
    found, expected = plain(b["text"]), plain(a["text"])
    if found == expected:
        return []
    level, credit, words = reads(found, expected)
    return [Finding("text_symbol_error", level, min(credit, 0.99), words)]


def _geometry(a, b):
    """Kind, place and size of a shape; `a` as it should be."""
    gone = parts_gone(a, b)
    if gone:
        missing, extra, total = gone
        share = (missing or extra) / max(total, 1)
        words = f"{missing} of {total} parts missing" if missing else f"{extra} parts extra"
        return [Finding("shape_error", 3 if share > 0.3 else 2, max(0.0, 1 - share), words)]
    (ax, ay), (bx, by) = centre(a), centre(b)
    (aw, ah), (bw, bh) = sides(a), sides(b)
    shift = ax - bx, ay - by
    scale = tuple(x / y if y > 1e-6 else 1.0 for x, y in ((aw, bw), (ah, bh)))
    away = _away(shift, (aw - bw, ah - bh))
    sized = max(abs(aw - bw), abs(ah - bh))
    slack = PLACE[0] * 1.5
    gap = outline_gap(a, b, shift, scale)
    errors = []
    if a["type"] != b["type"] and gap > slack:
        errors.append(Finding("shape_error", 3, 0.6, f"type {b['type']}, should be {a['type']}"))
        sized = max(sized - 0.05, 0)            # another kind seldom has exactly the same size
    elif gap > slack:
        words = "other outline"
        for word, turn in (("flipped", (-1, 1)), ("upside down", (1, -1)), ("turned", (-1, -1))):
            if outline_gap(a, b, shift, (turn[0] * scale[0], turn[1] * scale[1])) <= slack:
                words = word
                break
        level = max(1, severity(gap, PLACE))
        errors.append(Finding("shape_error", level, partial(gap, PLACE), words))
        if words == "other outline" and max(away, sized) > PLACE[0]:
            if gap > max(away, sized):          # its other size and place follow from that
                return errors
            if gap < 0.3 * max(away, sized):    # its corners follow from the other size
                errors.clear()
    if severity(away, PLACE):
        errors.append(Finding("shape_error", severity(away, PLACE), partial(away, PLACE),
                              _direction(-shift[0], -shift[1])))
    if severity(sized, PLACE):
        errors.append(Finding("shape_error", severity(sized, PLACE), partial(sized, PLACE),
                              _size_words((bw, bh), (aw, ah))))
    return errors or [Finding("shape_error", 1, 0.9, "other outline")]


def _scaled_alike(a, b):
    """Whether the stroke of a shape grew as the shape did."""
    ratios = [y / x for x, y in zip(sides(a), sides(b)) if x > 1e-6]
    width = (b.get("stroke_width") or 0) / (a.get("stroke_width") or 1)
    return width > 0 and ratios and all(abs(ratio / width - 1) < 0.1 for ratio in ratios)


def _away(shift, grown):
    """How far a shape moved; not at all along an axis where it grew at one edge only."""
    kept = [abs(abs(d) - abs(g) / 2) <= PLACE[0] / 2 for d, g in zip(shift, grown)]
    return math.hypot(*(0 if edge else d for d, edge in zip(shift, kept)))


def _text_geometry(a, b):
    """Size and place of a text. One that reads otherwise or grew may have kept its anchor."""
    found = []
    sizes = [shape.get("font_size") or 0 for shape in (b, a)]
    ratio = abs(sizes[0] - sizes[1]) / (min(s for s in sizes if s) if all(sizes) else 1)
    shift = [y - x for x, y in zip(centre(a), centre(b))]
    fonts = [(shape.get("style") or {}).get("font") for shape in (a, b)]
    if a["text"] != b["text"] or severity(ratio, WIDTH) or fonts[0] != fonts[1]:
        slack = 0.15 * max(sizes)               # letters reach up and down by themselves
        free = [abs(x - y) / 2 + slack for x, y in zip(sides(a), sides(b))]
        shift = [0 if abs(d) <= most else d for d, most in zip(shift, free)]
    away = math.hypot(*shift)
    if severity(ratio, WIDTH):
        found.append(Finding("shape_error", severity(ratio, WIDTH), partial(ratio, WIDTH),
                             should_be("font size", 100 * sizes[0], 100 * sizes[1], "%")))
    if severity(away, PLACE):
        found.append(Finding("shape_error", severity(away, PLACE), partial(away, PLACE),
                             _direction(*shift)))
    return found


def _direction(dx, dy):
    """'moved right by 12%' or 'moved right by 12%, down by 5%', in percent of the canvas."""
    parts = [f"{words[int(d > 0)]} by {100 * abs(d):.0f}%" for d, words
             in ((dx, ("left", "right")), (dy, ("up", "down"))) if abs(d) > PLACE[0]]
    if not parts:
        parts = [f"{'right' if dx > 0 else 'left'} by {100 * abs(dx):.0f}%"]
    return "moved " + ", ".join(parts)


def _size_words(found, expected):
    """'width 30%, should be 20%', in percent of the canvas; 'size' if both differ in one ratio."""
    ratios = [f / e if e > 1e-6 else math.inf for f, e in zip(found, expected)]
    if abs(ratios[0] - ratios[1]) < 0.05 * max(ratios) and math.isfinite(max(ratios)):
        return should_be("size", 100 * found[0], 100 * expected[0], "%")
    both = [abs(f - e) > PLACE[0] for f, e in zip(found, expected)]
    words = [should_be(what, 100 * f, 100 * e, "%") for what, f, e, off
             in zip(("width", "height"), found, expected, both) if off]
    return "; ".join(words)


# --- 3. order of painting ---
def _order(pairs, ranks, pictures, ledger):
    """Shapes that overlap and are painted in another order, where that can be seen."""
    if len(pairs) > MOST_ORDERED or ranks == sorted(ranks) or not pictures.known:
        return
    masks, wrong = {}, []
    for m, (a, _) in enumerate(pairs):
        for n, (c, _) in enumerate(pairs[m + 1:], m + 1):       # a lies under c
            alike = all(a.get(key) == c.get(key) for key in ("fill", "stroke"))
            if ranks[m] < ranks[n] or alike or not _boxes_meet(a, c):
                continue
            for shape in (a, c):
                if id(shape) not in masks:
                    masks[id(shape)] = pictures.mask(shape)
            both = masks[id(a)] & masks[id(c)]
            if both.sum() > 8 and pictures.off[both].max() > 8:
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
        pictures.explain(blamed)
        wrong = [pair for pair in wrong if blamed is not pair[0] and blamed is not pair[1]]


def _boxes_meet(a, c):
    ax0, ay0, ax1, ay1 = a["box"]
    cx0, cy0, cx1, cy1 = c["box"]
    return ax0 < cx1 and cx0 < ax1 and ay0 < cy1 and cy0 < ay1


# --- 4. the guard ---
def _guard(pairs, pictures, ledger):
    """Where the pictures differ and no error says why, there is one for that place."""
    if not pictures.known:
        return
    for a, b in pairs[:400]:
        widths = [shape and shape.get("stroke_width") for shape in (a, b)]
        if all(widths) and widths[0] != widths[1]:      # told above, or too little to be told
            pictures.explain({**a, "fill": None})
    for _ in range(4):
        rest = pictures.unexplained()
        if rest is None:
            return
        y, x = np.unravel_index(int(rest.argmax()), rest.shape)
        best, shape = 0.0, None
        for a, b in pairs[:400]:
            rows, columns = pictures.cells(a or b)
            inside = float(rest[rows, columns].sum())
            if inside and rows.start <= y < rows.stop and columns.start <= x < columns.stop:
                area = (rows.stop - rows.start) * (columns.stop - columns.start)
                share = inside / math.sqrt(1 + area)
                if share > best:
                    best, shape = share, a or b
        level = 2 if rest.sum() / 255 > 0.005 * rest.size else 1
        if shape is not None and pictures.mask(shape)[y, x]:
            ledger.differ("shapes", 0.5, "shape_error", level, place(shape), "looks different", 0.5)
            pictures.explain(shape)
        else:
            where = cell((x + 0.5) / pictures.width, (y + 0.5) / pictures.height)
            ledger.differ("shapes", 0, "structure_error", level, where, "looks different", 0.5)
            rows = slice(max(0, y - pictures.height // 6), y + pictures.height // 6 + 1)
            columns = slice(max(0, x - pictures.width // 6), x + pictures.width // 6 + 1)
            pictures.told[rows, columns] = True
    if pictures.unexplained() is not None:
        ledger.tell("structure_error", 2, "drawing", "looks different in more places")
