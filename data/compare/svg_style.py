"""How a matched shape of an SVG is painted: what differs, each property by its own name.

A `Finding` with `sure` False is a property whose difference need not show (the caps of a closed
line, two font names of one font): it is an error only where the pictures differ in that place.
"""
import math
from dataclasses import dataclass

import numpy as np

from data.compare.colors import color_distance, color_words
from data.compare.ledger import COLOR, OPACITY, PLACE, WIDTH, partial, severity
from data.compare.words import should_be


@dataclass
class Finding:
    """One property of a pair of shapes that differs. `credit` is what the pair keeps of it."""
    category: str
    level: int
    credit: float
    words: str
    sure: bool = True


def opacity(shape: dict) -> float:
    part = "fill_opacity" if shape.get("fill") else "stroke_opacity"
    values = [shape.get(key) for key in ("opacity", part)]
    return math.prod(1.0 if value is None else value for value in values)


def paint_findings(a: dict, b: dict, same_place: bool, same_size: bool) -> list[Finding]:
    """What differs in the paint of two shapes; `a` as it should be.

    `same_place`: the outlines agree, so that what depends on them can be compared. `same_size`:
    both pictures have as many pixels, so that two tiles of a pattern can be equal to the pixel.
    """
    found = []
    for key in ("fill", "stroke"):
        found += _color(a, b, key, same_place, same_size)
    if a.get("stroke") and b.get("stroke"):
        found += _stroke(a, b)
    clear = [opacity(shape) for shape in (b, a)]
    gap = abs(clear[0] - clear[1])
    if severity(gap, OPACITY):
        found.append(Finding("style_error", severity(gap, OPACITY), partial(gap, OPACITY),
                             should_be("opacity", *clear)))
    if same_place:
        found += _cuts(a, b, 0.02 if same_size else 0.06)
    return found


def _unsure(words, level=1, category="style_error"):
    return Finding(category, level, 0.5 if level == 1 else 0.25, words, sure=False)


def _color(a, b, key, same_place, same_size):
    found, expected = b.get(key), a.get(key)
    gap = color_distance(found, expected)
    if found == expected and found in ("gradient", "pattern", "image"):
        return _paints(a, b, key, same_size) if same_place else []
    if severity(gap, COLOR):
        words = f"{key} missing" if not found else f"{key} extra" if not expected else \
            color_words(found, expected, key)
        return [Finding("style_error", severity(gap, COLOR), partial(gap, COLOR), words)]
    return []


# --- 1. gradients, patterns, images ---
def _paints(a, b, key, same_size):
    """Two gradients, or two pictures that fill a shape."""
    ours, theirs = ((shape.get("paints") or {}).get(key) or {} for shape in (a, b))
    if ours.get("kind") in ("linear", "radial") and theirs.get("kind") in ("linear", "radial"):
        return _gradients(a, ours, theirs, key)
    if ours.get("digest") == theirs.get("digest") and _near(ours.get("matrix"),
                                                            theirs.get("matrix")):
        return []
    gap = max((color_distance(x or "#ffffff", y or "#ffffff")
               for x, y in zip(ours.get("look", []), theirs.get("look", []))), default=0)
    kind = ours.get("kind", "pattern")
    other_pixels = same_size and ours.get("digest") != theirs.get("digest")
    if other_pixels or gap > (2 if same_size else 6) * COLOR[0]:
        return [_unsure(f"{key} other {kind}" if kind != "image" else "other image",
                        max(1, severity(gap, COLOR)))]
    if _near(ours.get("matrix"), theirs.get("matrix")):
        return []
    return [_unsure(f"{key} {kind} placed otherwise")]


def _gradients(a, ours, theirs, key):
    one, other = (_colors(paint, a["box"]) for paint in (ours, theirs))
    gaps = [color_distance(x, y) for x, y in zip(one, other)]
    gap = max(gaps, default=0)
    stops = list(zip(theirs.get("stops", []), ours.get("stops", [])))
    apart = [(color_distance(x[1], y[1]), x[1], y[1]) for x, y in stops]
    worst = max(apart, default=(0, None, None))
    if not severity(gap, COLOR):
        return []
    level, credit = severity(gap, COLOR), partial(gap, COLOR)
    same_offsets = len(ours.get("stops", [])) == len(theirs.get("stops", []))
    if same_offsets and severity(worst[0], COLOR):
        return [Finding("style_error", severity(worst[0], COLOR), partial(worst[0], COLOR),
                        color_words(worst[1], worst[2], key))]
    same_offsets &= all(abs(x[0] - y[0]) < 0.01 and abs(x[2] - y[2]) < 0.05 for x, y in stops)
    words = f"{key} gradient runs otherwise" if same_offsets else f"{key} gradient has other stops"
    return [Finding("style_error", level, credit, words, sure=False)]


def _colors(paint, box):
    """The colours of a gradient at 7 x 7 places of a box, on white."""
    stops = sorted(paint.get("stops") or [], key=lambda stop: stop[0] or 0)
    if not stops:
        return []
    x0, y0, x1, y1 = box
    x, y = np.meshgrid(np.linspace(x0, x1, 7), np.linspace(y0, y1, 7))
    a, b, c, d, e, f = (v or 0 for v in paint["matrix"])
    u, v = a * x + c * y + e, b * x + d * y + f
    share = _along(paint, u, v)
    extend = paint.get("extend", 3)
    if extend == 1:                             # repeat
        share = share % 1
    elif extend == 2:                           # reflect
        share = np.abs((share + 1) % 2 - 1)
    offsets = [stop[0] or 0 for stop in stops]
    rgb = np.array([[int(stop[1][k:k + 2], 16) if stop[1] else 255 for k in (1, 3, 5)]
                    + [255 * (1 if stop[2] is None else stop[2])] for stop in stops])
    channels = [np.interp(share, offsets, rgb[:, k]) for k in range(4)]
    alpha = channels[3] / 255
    mixed = [channel * alpha + 255 * (1 - alpha) for channel in channels[:3]]
    values = np.clip(np.rint(np.stack(mixed, -1).reshape(-1, 3)), 0, 255).astype(int)
    return ["#%02x%02x%02x" % tuple(value) for value in values]


def _along(paint, u, v):
    """Where points lie between the first and the last stop of a gradient, 0 to 1 and beyond."""
    numbers = [number or 0 for number in paint["numbers"]]
    if paint["kind"] == "linear":
        x0, y0, x1, y1 = numbers
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        return ((u - x0) * (x1 - x0) + (v - y0) * (y1 - y0)) / (length or 1e-12)
    fx, fy, _, cx, cy, r = numbers              # from a point to a circle
    du, dv, dx, dy = u - fx, v - fy, cx - fx, cy - fy
    p = dx * dx + dy * dy - r * r
    q, s = du * dx + dv * dy, du * du + dv * dv
    if abs(p) < 1e-12:
        return s / np.where(np.abs(q) < 1e-12, 1e-12, 2 * q)
    root = np.sqrt(np.maximum(q * q - p * s, 0))
    return np.maximum((q + root) / p, (q - root) / p)


def _near(one, other):
    if not one or not other:
        return one == other
    return all(abs((x or 0) - (y or 0)) <= 0.01 * max(1, abs(x or 0)) for x, y in zip(one, other))


# --- 2. strokes, masks ---
def _stroke(a, b):
    found = []
    widths = [shape.get("stroke_width") or 0 for shape in (b, a)]
    gap = abs(widths[0] - widths[1]) / max(1e-6, min(widths))
    if severity(gap, WIDTH):
        sure = abs(widths[0] - widths[1]) > PLACE[0] / 2
        words = should_be("stroke width", 100 * widths[0], 100 * widths[1], "%" if sure else "")
        found.append(Finding("style_error", severity(gap, WIDTH), partial(gap, WIDTH),
                             words if sure else words.replace(",", "%,") + "%", sure))
    if bool(a.get("dash")) != bool(b.get("dash")):
        found.append(Finding("style_error", 1, 0.5,
                             f"stroke {'dashed' if b.get('dash') else 'solid'}, should be "
                             f"{'dashed' if a.get('dash') else 'solid'}"))
        return found
    ours, theirs = (shape.get("style") or {} for shape in (a, b))
    one, other = (style.get("dashes") or [] for style in (ours, theirs))
    longest = max((len(dashes) for dashes in (one, other)), default=0)
    if longest and (len(one) != len(other) or any(abs(x - y) > 0.15 * max(x, y)
                                                  for x, y in zip(one, other))):
        lengths = next((pair for pair in zip(other, one) if abs(pair[0] - pair[1]) > 1e-4),
                       (other[0], one[0]))
        found.append(_unsure(should_be("stroke dashes", 100 * lengths[0], 100 * lengths[1], "%")
                             if lengths[0] != lengths[1] else "stroke dashed otherwise"))
    elif longest and abs(ours.get("dash_offset", 0) - theirs.get("dash_offset", 0)) > PLACE[0]:
        found.append(_unsure("stroke dashes begin elsewhere"))
    for key, words in (("cap", "line caps"), ("join", "line joins")):
        if ours.get(key) != theirs.get(key):
            found.append(_unsure(f"{words} {theirs.get(key)}, should be {ours.get(key)}"))
    if ours.get("miter") and theirs.get("miter") and ours["miter"] != theirs["miter"]:
        found.append(_unsure(should_be("miter limit", theirs["miter"], ours["miter"])))
    if ours.get("first") != theirs.get("first"):
        under = theirs.get("first") == "stroke"
        found.append(_unsure(f"stroke {'below' if under else 'above'} the fill, should be "
                             f"{'above' if under else 'below'}"))
    return found


def _cuts(a, b, most):
    """Fill rule, clip paths and masks that let through another share than `most`."""
    found = []
    rules = [(shape.get("style") or {}).get("rule", "nonzero") for shape in (b, a)]
    if rules[0] != rules[1]:
        found.append(_unsure(f"fill rule {rules[0]}, should be {rules[1]}", category="shape_error"))
    ours, theirs = (shape.get("cuts") or [] for shape in (a, b))
    for kind, words in (("clip-path", "clipped"), ("mask", "masked")):
        one, other = ([cut for cut in cuts if cut.get("kind") == kind] for cuts in (ours, theirs))
        if len(one) != len(other):
            how = f"not {words}, should be {words}" if one and not other else \
                f"{words}, should not be" if other and not one else f"{words} otherwise"
            found.append(_unsure(how, 2, "shape_error"))
        elif any(_cut_gap(x, y) > most for x, y in zip(one, other)):
            found.append(_unsure(f"{words} otherwise", 2, "shape_error"))
    return found


def _cut_gap(one, other):
    """Mean difference of what two masks let through, 0 to 1."""
    looks = [bytes.fromhex(cut.get("look") or "") for cut in (one, other)]
    if len(looks[0]) != len(looks[1]) or not looks[0]:
        return float(len(looks[0]) != len(looks[1]))
    values = [np.frombuffer(look, np.uint8).astype(float) for look in looks]
    return float(np.abs(values[0] - values[1]).mean()) / 255


# --- 3. letters ---
def letter_findings(a: dict, b: dict, same_place: bool) -> list[Finding]:
    """Font, lines and colours of the letters of two texts that read alike."""
    found = []
    ours, theirs = (shape.get("style") or {} for shape in (a, b))
    for key, one, other in zip(("font", "weight", "slant"), ours.get("font") or (),
                               theirs.get("font") or ()):
        if one != other:
            found.append(_unsure(f"{key} {other}, should be {one}"))
    if ours.get("decoration") != theirs.get("decoration"):
        one, other = ours.get("decoration"), theirs.get("decoration")
        found.append(_unsure(f"{one} missing" if not other else f"{other} extra" if not one else
                             f"{other}, should be {one}"))
    turns = [shape.get("turn") or [1, 0, 0, 1] for shape in (a, b)]
    if max(abs((x or 0) - (y or 0)) for x, y in zip(*turns)) > 0.05:
        (a0, b0, c0, d0), (a1, b1, c1, d1) = turns
        mirrored = (a0 * d0 - b0 * c0) * (a1 * d1 - b1 * c1) < 0
        words = "turned" if not mirrored else "flipped" if a0 * a1 < 0 else "upside down"
        found.append(_unsure(words, 2, "shape_error"))
    elif same_place and not found and _letters_off(a, b):
        found.append(_unsure("letters placed otherwise", category="shape_error"))
    return found + _pieces(a, b)


def _letters_off(a, b):
    one, other = (shape.get("letters") or [] for shape in (a, b))
    return len(one) == len(other) and any(math.dist(x, y) > PLACE[0] for x, y in zip(one, other))


def _pieces(a, b):
    """Colours and sizes of the pieces of a text, letter by letter."""
    if not (a.get("runs") or b.get("runs")):
        return []
    ours, theirs = (_by_letter(shape) for shape in (a, b))
    if len(ours) != len(theirs):
        return []
    for key, words in (("fill", "fill"), ("stroke", "stroke"), ("font_size", "font size"),
                       ("font", "font")):
        pairs = [(x[key], y[key]) for x, y in zip(theirs, ours) if x[key] != y[key]]
        if key == "font_size":
            pairs = [(x, y) for x, y in pairs if abs(x - y) > 0.15 * max(x, y)]
        if not pairs:
            continue
        x, y = pairs[0]
        if key == "font_size":
            return [Finding("shape_error", 1, 0.5, should_be(words, 100 * x, 100 * y, "%"))]
        if key == "font":
            return [_unsure("letters in another font")]
        gap = color_distance(x, y)
        if severity(gap, COLOR) and (key != "fill" or a.get("fill") == b.get("fill")):
            return [Finding("style_error", severity(gap, COLOR), partial(gap, COLOR),
                            color_words(x, y, words))]
    return []


def _by_letter(shape):
    runs = shape.get("runs") or [shape | {"letters": len(shape.get("letters") or [])}]
    found = []
    for run in runs:
        look = {"fill": run.get("fill"), "stroke": run.get("stroke"),
                "font_size": run.get("font_size") or 0,
                "font": str((run.get("style") or {}).get("font"))}
        found += [look] * int(run.get("letters") or 0)
    return found
