"""Damage to SVG programs, for `data/edit`: edits of the XML tree, written back as it was read.

An editor takes (`_Drawing`, element, rng), changes the tree and returns True if it applied. Shapes
inside <defs>, <symbol> and the like are left alone. A shape of any kind can be moved: its transform
is used where it has no centre.
"""
import random
import re

from lxml import etree

from data.edit.chart import COLORS, LETTERS, other_word

SHAPES = ("circle", "ellipse", "rect", "line", "polyline", "polygon", "path", "text")
HIDDEN = ("defs", "symbol", "clipPath", "mask", "pattern", "marker", "linearGradient",
          "radialGradient")
WORDS = ("OK", "Go", "Hi", "No", "On", "Up")
KEYS = {  # tag -> (attributes along x, along y): positions; the rest of its geometry is in SIZES
    "circle": (("cx",), ("cy",)), "ellipse": (("cx",), ("cy",)), "rect": (("x",), ("y",)),
    "text": (("x",), ("y",)), "line": (("x1", "x2"), ("y1", "y2")),
}
SIZES = {"circle": ("r",), "ellipse": ("rx", "ry"), "rect": ("width", "height"),
         "text": ("font-size",)}
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


# --- 1. reading and writing ---

class _Drawing:
    """A parsed SVG. Raises ValueError (etree.XMLSyntaxError is one kind) for text that is not."""

    def __init__(self, code):
        parser = etree.XMLParser(resolve_entities=False, no_network=True,
                                 remove_blank_text=False, huge_tree=False)
        self.head = re.match(r"\s*(<\?xml[^>]*\?>\s*)?", code).group()
        self.root = etree.fromstring(code[len(self.head):].encode(), parser)
        if _tag(self.root) != "svg":
            raise ValueError("no <svg> element")
        box = [float(v) for v in re.split(r"[\s,]+", self.root.get("viewBox", "").strip()) if v]
        sides = [_number(self.root.get(key)) for key in ("width", "height")]
        self.box = box if len(box) == 4 else [0, 0, sides[0] or 100, sides[1] or 100]
        self.shapes = [e for e in self.root.iter() if _tag(e) in SHAPES
                       and not any(_tag(up) in HIDDEN for up in e.iterancestors())]

    def code(self):
        return self.head + etree.tostring(self.root, encoding="unicode", with_tail=False)

    def background(self, shape):
        """Whether a shape is a rectangle over the whole canvas."""
        sides = [shape.get(key, "") for key in ("width", "height")]
        if _tag(shape) != "rect":
            return False
        return all(side == "100%" or (_number(side) or 0) >= 0.99 * full
                   for side, full in zip(sides, self.box[2:]))

    def centre(self, shape):
        """Centre of a simple shape in user units, or None (paths, transforms)."""
        around = [shape, *shape.iterancestors()]
        if _tag(shape) == "text" and not any(e.get("transform") for e in around):
            x, y = (_number(shape.get(key, "0")) for key in "xy")
            return (x, y) if None not in (x, y) else None
        box = self.bounds(shape)
        return box and ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)

    def cell(self, x, y):
        """(row, column) of a point in a 3 x 3 grid: reading order."""
        return int(3 * (y - self.box[1]) / self.box[3]), int(3 * (x - self.box[0]) / self.box[2])

    def bounds(self, shape):
        """[x0, y0, x1, y1] of a simple shape without transforms, or None."""
        tag = _tag(shape)
        for e in [shape, *shape.iterancestors()]:
            if e.get("transform") or _tag(e) == "svg" and e is not self.root:
                return None
        if tag in ("polygon", "polyline"):
            numbers = [float(v) for v in re.findall(NUMBER, shape.get("points", ""))]
            xs, ys = numbers[::2], numbers[1::2]
            return [min(xs), min(ys), max(xs), max(ys)] if xs and ys else None
        if tag not in KEYS or tag == "text":
            return None
        x, y = ([_number(shape.get(key, "0")) for key in keys] for keys in KEYS[tag])
        sizes = [_number(shape.get(key)) for key in SIZES.get(tag, ())]
        if None in x + y + sizes:
            return None
        if tag == "line":
            return [min(x), min(y), max(x), max(y)]
        w, h = sizes[0], sizes[-1]
        if tag == "rect":
            return [x[0], y[0], x[0] + w, y[0] + h]
        return [x[0] - w, y[0] - h, x[0] + w, y[0] + h]


def _tag(element):
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _number(text):
    """A number in user units ("12", "12px"), else None."""
    match = re.fullmatch(rf"\s*({NUMBER})(?:px)?\s*", text or "")
    return float(match[1]) if match else None


def _write(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _style(shape, key):
    """Value of a paint property, from the style or attribute of the shape or its ancestors."""
    for element in [shape, *shape.iterancestors()]:
        inline = re.search(rf"(?:^|;)\s*{key}\s*:\s*([^;]+)", element.get("style", ""))
        if inline:
            return inline[1].strip()
        if element.get(key):
            return element.get(key)
    return None


def _set_style(shape, key, value):
    """Set a paint property where it is written, else as an attribute."""
    style = shape.get("style", "")
    if re.search(rf"(?:^|;)\s*{key}\s*:", style):
        old = rf"((?:^|;)\s*{key}\s*:\s*)[^;]+"
        shape.set("style", re.sub(old, lambda m: m[1] + value, style))
    else:
        shape.set(key, value)


# --- 2. geometry ---

def _move(drawing, shape, rng):
    """Shift by a tenth or a fifth of the canvas, staying inside it where the place is known."""
    x0, y0, w, h = drawing.box
    centre = drawing.centre(shape)
    steps = (0.1, 0.2) if centre else (0.1,)  # not out of the picture
    for _ in range(20):
        dx, dy = (rng.choice((-1, 0, 1)) * round(rng.choice(steps) * side, 0 if side > 20 else 2)
                  for side in (w, h))
        inside = centre is None or (x0 + 0.1 * w < centre[0] + dx < x0 + 0.9 * w
                                    and y0 + 0.1 * h < centre[1] + dy < y0 + 0.9 * h)
        if (dx or dy) and inside:
            break
    else:
        return False
    tag = _tag(shape)
    if tag in KEYS and not shape.get("transform"):
        for keys, shift in zip(KEYS[tag], (dx, dy)):
            for key in keys:
                if shift and _number(shape.get(key, "0")) is None:
                    return False
                if shift:
                    shape.set(key, _write(_number(shape.get(key, "0")) + shift))
    elif tag in ("polygon", "polyline") and not shape.get("transform"):
        _map_points(shape, lambda x, y: (x + dx, y + dy))
    else:
        shift = f"translate({_write(dx)} {_write(dy)})"
        shape.set("transform", f"{shift} {shape.get('transform', '')}".strip())
    return True


def _map_points(shape, function):
    numbers = [float(v) for v in re.findall(NUMBER, shape.get("points", ""))]
    moved = [function(x, y) for x, y in zip(numbers[::2], numbers[1::2])]
    shape.set("points", _written_points(*moved))


def _written_points(*points):
    return " ".join(f"{_write(x)},{_write(y)}" for x, y in points)


def _factor(drawing, shape, size):
    """Half for what is large, double for what is small: both stay visible and in the picture."""
    wide = 2 * size if _tag(shape) in ("circle", "ellipse") else size
    return 0.5 if wide >= 0.2 * drawing.box[2] else 2


def _resize(drawing, shape, rng):
    """Half or twice as large about the same centre."""
    tag = _tag(shape)
    if tag in ("polygon", "polyline"):
        centre = drawing.centre(shape)
        if centre is None:
            return False
        box = drawing.bounds(shape)
        factor = _factor(drawing, shape, max(box[2] - box[0], box[3] - box[1]))

        def scale(x, y):
            x, y = centre[0] + factor * (x - centre[0]), centre[1] + factor * (y - centre[1])
            return (round(x), round(y)) if drawing.box[2] > 20 else (x, y)

        _map_points(shape, scale)
        return True
    if tag not in SIZES or None in [_number(shape.get(key)) for key in SIZES[tag]]:
        return False
    factor = _factor(drawing, shape, max(_number(shape.get(key)) for key in SIZES[tag]))
    for key, corner in zip(SIZES[tag], ("x", "y")):
        old = _number(shape.get(key))
        new = round(old * factor) if drawing.box[2] > 20 else old * factor
        if tag == "rect":
            new = round(old * factor / 2) * 2 if drawing.box[2] > 20 else new
            shape.set(corner, _write((_number(shape.get(corner, "0")) or 0) + (old - new) / 2))
        shape.set(key, _write(max(new, 1e-3)))
    return True


def _stretch(drawing, shape, rng):
    """Other width or height of a rectangle or an ellipse."""
    if _tag(shape) not in ("rect", "ellipse"):
        return False
    k = rng.randrange(2)
    key, position = SIZES[_tag(shape)][k], ("x", "y")[k]
    old = _number(shape.get(key))
    if old is None:
        return False
    new = old * _factor(drawing, shape, old)
    if _tag(shape) == "rect":
        shape.set(position, _write((_number(shape.get(position, "0")) or 0) + (old - new) / 2))
    shape.set(key, _write(new))
    return True


def _flip(drawing, shape, rng):
    """Upside down, for shapes that are given by points."""
    box = drawing.bounds(shape)
    if _tag(shape) not in ("polygon", "polyline", "line") or box is None:
        return False
    if _tag(shape) == "line":
        if shape.get("y1") == shape.get("y2") or shape.get("x1") == shape.get("x2"):
            return False
        y1, y2 = shape.get("y1"), shape.get("y2")
        shape.set("y1", y2)
        shape.set("y2", y1)
    else:
        _map_points(shape, lambda x, y: (x, box[1] + box[3] - y))
    return True


def _type(drawing, shape, rng):
    """Another kind of shape of the same size in the same place."""
    box = drawing.bounds(shape)
    if box is None or _tag(shape) not in ("circle", "rect", "ellipse", "polygon"):
        return False
    x0, y0, x1, y1 = box
    points = re.findall(NUMBER, shape.get("points", ""))
    others = {"circle": ["rect", "polygon"], "ellipse": ["rect", "polygon"],
              "rect": ["circle", "ellipse", "polygon"], "polygon": ["circle", "rect", "ellipse"]}
    new = rng.choice([tag for tag in others[_tag(shape)]
                      if not (tag == "rect" and len(points) == 8)])
    x, y, rx, ry = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    if new in ("circle", "ellipse"):
        new = "circle" if abs(rx - ry) < 1e-6 else "ellipse"
    geometry = {
        "circle": {"cx": x, "cy": y, "r": min(rx, ry)},
        "ellipse": {"cx": x, "cy": y, "rx": rx, "ry": ry},
        "rect": {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
        "polygon": {"points": _written_points((x, y0), (x1, y1), (x0, y1))},
    }[new]
    gone = ("cx", "cy", "r", "rx", "ry", "x", "y", "width", "height", "points")
    rest = {key: value for key, value in shape.attrib.items() if key not in gone}
    shape.attrib.clear()
    for key, value in geometry.items():
        shape.set(key, value if isinstance(value, str) else _write(value))
    for key, value in rest.items():
        shape.set(key, value)
    shape.tag = shape.tag.replace(_tag(shape), new)
    return True


# --- 3. paint ---

def _recolor(drawing, shape, rng):
    """Another fill; another stroke for what has no fill."""
    fill, stroke = _style(shape, "fill"), _style(shape, "stroke")
    key = "stroke" if _tag(shape) == "line" or fill == "none" else "fill"
    old = stroke if key == "stroke" else fill or "black"
    if not old or old == "none" or old.startswith("url"):
        return False
    # a shape in the colour of another one could vanish
    taken = {_style(s, paint) for s in drawing.shapes for paint in ("fill", "stroke")}
    free = [c for c in COLORS if c not in taken] or [c for c in COLORS if c != old]
    _set_style(shape, key, rng.choice(free))
    return True


def _stroke(drawing, shape, rng):
    """A border where there is none; none, or one of another width, where there is one."""
    if _tag(shape) in ("text", "image"):
        return False
    stroke, fill = _style(shape, "stroke"), _style(shape, "fill")
    only = _tag(shape) == "line" or fill == "none"
    width = 0.03 * drawing.box[2]
    if not stroke or stroke == "none":
        is_black = fill in (None, "black", "#000", "#000000")
        _set_style(shape, "stroke", "orange" if is_black else "black")
        _set_style(shape, "stroke-width", _write(round(width) or width))
    elif not only and rng.random() < 0.5 and shape.get("stroke"):
        del shape.attrib["stroke"]
        shape.attrib.pop("stroke-width", None)
        return _style(shape, "stroke") is None
    else:
        old = _number(_style(shape, "stroke-width") or "1")
        if old is None:
            return False
        new = 2 * old if old < 0.06 * drawing.box[2] else old / 2
        _set_style(shape, "stroke-width", _write(new))
    return True


def _opacity(drawing, shape, rng):
    old = _number(_style(shape, "opacity") or "1")
    _set_style(shape, "opacity", "0.4" if old is None or old > 0.7 else "1")
    return True


def _dash(drawing, shape, rng):
    stroke = _style(shape, "stroke")
    if not stroke or stroke == "none":
        return False
    if (_style(shape, "stroke-dasharray") or "none") != "none":
        _set_style(shape, "stroke-dasharray", "none")
    else:
        _set_style(shape, "stroke-dasharray", _write(0.06 * drawing.box[2]))
    return True


# --- 4. composition ---

def _remove(drawing, shape, rng):
    if len([s for s in drawing.shapes if not drawing.background(s) and s is not shape]) < 1:
        return False
    parent, before = shape.getparent(), shape.getprevious()
    if shape.tail:  # keep the line break of the line before
        if before is None or shape.getnext() is None:
            shape.tail = shape.tail if before is None else None
            if before is not None:
                before.tail = parent.text if parent.text and "\n" in parent.text else before.tail
    parent.remove(shape)
    return True


def _extra(drawing, shape, rng):
    """One more circle, rectangle or triangle, in a free part of the canvas where there is one."""
    x0, y0, w, h = drawing.box
    boxes = [drawing.bounds(s) for s in drawing.shapes if not drawing.background(s)]
    free = []
    for cell in range(9):
        x, y = x0 + w * (cell % 3 + 0.5) / 3, y0 + h * (cell // 3 + 0.5) / 3
        if not any(b and b[0] - 0.1 * w < x < b[2] + 0.1 * w
                   and b[1] - 0.1 * h < y < b[3] + 0.1 * h for b in boxes):
            free.append((x, y))
    if not free or None in boxes and len(free) == 9:
        return False
    x, y = (round(v) if w > 20 else v for v in rng.choice(free))
    r = round(0.1 * w) or 0.1 * w
    space = re.match(r"\{[^}]*\}", shape.tag)
    tag = rng.choice(("circle", "rect", "polygon"))
    element = etree.Element((space.group() if space else "") + tag)
    geometry = {
        "circle": {"cx": x, "cy": y, "r": r},
        "rect": {"x": x - r, "y": y - r, "width": 2 * r, "height": 2 * r},
        "polygon": {"points": _written_points((x, y - r), (x + r, y + r), (x - r, y + r))},
    }[tag]
    for key, value in geometry.items():
        element.set(key, value if isinstance(value, str) else _write(value))
    element.set("fill", rng.choice(COLORS))
    after = []
    for s in drawing.root:
        centre = drawing.centre(s) if _tag(s) in SHAPES and not drawing.background(s) else None
        if centre and drawing.cell(*centre) > drawing.cell(x, y):
            after.append(s)
    element.tail = "\n"
    # in reading order, where there is one
    if after and drawing.shapes[-1].getparent() is drawing.root:
        after[0].addprevious(element)
    else:
        drawing.root.append(element)
    return True


def _order(drawing, shape, rng):
    """To the front, for a shape that another one covers in part."""
    box, after = drawing.bounds(shape), list(shape.itersiblings())
    if box is None:
        return False
    others = [e for e in after if _tag(e) in SHAPES and _style(e, "fill") != _style(shape, "fill")]
    over = [b for b in map(drawing.bounds, others) if b]
    if not any(min(box[2], b[2]) - max(box[0], b[0]) > 0.04 * drawing.box[2]
               and min(box[3], b[3]) - max(box[1], b[1]) > 0.04 * drawing.box[3] for b in over):
        return False
    parent = shape.getparent()
    tail, shape.tail = shape.tail, None
    parent.remove(shape)
    parent.append(shape)
    shape.tail = tail
    return True


def _text(drawing, shape, rng):
    old = shape.text or ""
    if _tag(shape) != "text" or not old.strip() or len(shape):
        return False
    if len(old.strip()) == 1:
        shape.text = rng.choice([c for c in LETTERS if c != old.strip()])
    else:
        shape.text = other_word(old, rng, WORDS)
    return True


EDITS = {
    "move": _move, "resize": _resize, "stretch": _stretch, "flip": _flip, "type": _type,
    "recolor": _recolor, "stroke": _stroke, "opacity": _opacity, "dash": _dash,
    "remove": _remove, "extra": _extra, "order": _order, "text": _text,
}
# edits that may also hit a rectangle over the whole canvas
ANYWHERE = ("recolor", "extra", "remove")


def damage_svg(code: str, kind: str, rng: random.Random) -> tuple[str, str] | None:
    """(damaged code, tag of the shape hit) or None if `kind` does not apply to the program."""
    try:
        count = len(_Drawing(code).shapes)
    except (ValueError, SyntaxError):  # XMLSyntaxError is a SyntaxError
        return None
    for k in rng.sample(range(count), count):
        drawing = _Drawing(code)
        shape = drawing.shapes[k]
        if drawing.background(shape) and kind not in ANYWHERE:
            continue
        place = "background" if drawing.background(shape) else _tag(shape)
        if EDITS[kind](drawing, shape, rng) and (new := drawing.code()) != code:
            return new, "" if kind == "extra" else place
    return None
