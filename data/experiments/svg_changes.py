"""Changes of SVG programs at one place, and other ways of writing one, for `coverage_svg`."""

import random
import re
from collections.abc import Iterator

from lxml import etree

NUMBER = re.compile(r"(?<![\w#.])[-+]?(?:\d+\.?\d*|\.\d+)(?![\w.]*\()")
COLOR = re.compile(
    r"#[0-9a-fA-F]{3,8}\b|\b(?:red|green|blue|black|white|gray|grey|orange|yellow|purple|navy|lime|"
    r"gold|pink|brown|teal|silver|currentColor|darkblue|lightblue)\b"
)
COLORS = ("#ff0000", "#0000ff", "#00aa00", "#ffcc00", "#000000", "#888888", "#aa00aa", "#00cccc")
GEOMETRY = (
    "x",
    "y",
    "width",
    "height",
    "cx",
    "cy",
    "r",
    "rx",
    "ry",
    "x1",
    "y1",
    "x2",
    "y2",
    "d",
    "points",
    "font-size",
    "dx",
    "dy",
    "offset",
    "fx",
    "fy",
    "refX",
    "refY",
    "markerWidth",
    "stroke-width",
)
CHOICES = {
    "fill-rule": ("evenodd", "nonzero"),
    "stroke-linecap": ("butt", "round", "square"),
    "stroke-linejoin": ("miter", "round", "bevel"),
    "stroke-dasharray": ("4 2", "9 9", "none"),
    "opacity": ("0.3", "0.6", "1"),
    "fill-opacity": ("0.3", "1"),
    "stroke-opacity": ("0.3", "1"),
    "stroke-width": ("1", "3", "8"),
    "font-weight": ("bold", "normal"),
    "font-style": ("italic", "normal"),
    "font-family": ("serif", "monospace", "sans-serif"),
    "text-anchor": ("start", "middle", "end"),
    "visibility": ("hidden", "visible"),
    "spreadMethod": ("pad", "reflect", "repeat"),
    "fill": ("none",),
    "stroke": ("none", "red"),
    "gradientUnits": ("userSpaceOnUse", "objectBoundingBox"),
    "clip-path": ("none",),
    "mask": ("none",),
    "letter-spacing": ("3", "0"),
    "stroke-dashoffset": ("5",),
}
DRAWN = (
    "circle",
    "ellipse",
    "line",
    "path",
    "polygon",
    "polyline",
    "rect",
    "text",
    "g",
    "use",
    "image",
    "tspan",
)


# --- 1. changes ---
def changes_of(code: str, count_: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, changed code), each changed at one place; at most so many."""
    kinds = list(CHANGES)
    made = 0
    for turn in range(6 * count_):
        kind = kinds[turn % len(kinds)] if turn < len(kinds) else rng.choice(kinds)
        root = _parse(code)
        if root is None:
            return
        if CHANGES[kind](root, rng):
            new = etree.tostring(root, encoding="unicode")
            made += 1
            yield kind, new
        if made == count_:
            return


def _parse(code):
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        return etree.fromstring(code.encode(), parser)
    except etree.XMLSyntaxError:
        return None


def _elements(root, tags=DRAWN):
    return [
        e
        for e in root.iter()
        if isinstance(e.tag, str) and etree.QName(e).localname in tags and e is not root
    ]


def _number(root, rng):
    """Another number in the geometry of an element, half to twice as large or shifted."""
    places = [
        (e, key)
        for e in root.iter()
        if isinstance(e.tag, str)
        for key in GEOMETRY
        if NUMBER.search(e.get(key, ""))
    ]
    if not places:
        return False
    element, key = rng.choice(places)
    matches = list(NUMBER.finditer(element.get(key)))
    match = rng.choice(matches)
    value = float(match[0])
    new = (
        value * rng.choice((0.5, 0.7, 1.4, 2))
        if value and rng.random() < 0.7
        else value + rng.choice((-15, 15, 30))
    )
    text = element.get(key)
    element.set(
        key,
        f"{text[: match.start()]} {new:g} {text[match.end() :]}".strip()
        if key in ("d", "points")
        else text[: match.start()] + f"{new:g}" + text[match.end() :],
    )
    return True


def _color(root, rng):
    places = [
        (e, key)
        for e in root.iter()
        if isinstance(e.tag, str)
        for key, value in e.attrib.items()
        if key in ("fill", "stroke", "stop-color", "style", "color") and COLOR.search(value)
    ]
    if not places:
        return False
    element, key = rng.choice(places)
    old = element.get(key)
    element.set(key, COLOR.sub(rng.choice([c for c in COLORS if c != old]), old, count=1))
    return True


def _text(root, rng):
    places = [e for e in _elements(root, ("text", "tspan")) if (e.text or "").strip()]
    if not places:
        return False
    element = rng.choice(places)
    letters = list(element.text)
    k = rng.choice([k for k, letter in enumerate(letters) if letter.strip()])
    letters[k] = rng.choice([c for c in "ABCDEFXYZ0123456789" if c != letters[k]])
    element.text = "".join(letters)
    return True


def _attribute(root, rng):
    """An attribute of CHOICES set to another value, or any attribute of paint removed."""
    elements = _elements(root, (*DRAWN, "linearGradient", "radialGradient", "stop"))
    if not elements:
        return False
    element = rng.choice(elements)
    present = [key for key in element.attrib if key in CHOICES]
    if present and rng.random() < 0.3:
        del element.attrib[rng.choice(present)]
        return True
    key = rng.choice(present if present and rng.random() < 0.5 else list(CHOICES))
    values = [value for value in CHOICES[key] if value != element.get(key)]
    if values:
        element.set(key, rng.choice(values))
    return bool(values)


def _transform(root, rng):
    elements = _elements(root)
    if not elements:
        return False
    element = rng.choice(elements)
    box = [float(v) for v in re.findall(r"[-+.\deE]+", root.get("viewBox", "0 0 100 100"))][
        -2:
    ] or [100, 100]
    size = max(box)
    new = rng.choice(
        (
            f"translate({0.1 * size:g} 0)",
            f"translate(0 {0.2 * size:g})",
            "scale(0.6)",
            "scale(1.3)",
            f"rotate(30 {box[0] / 2:g} {box[1] / 2:g})",
            "skewX(20)",
            f"matrix(-1 0 0 1 {box[0]:g} 0)",
        )
    )
    element.set("transform", f"{new} {element.get('transform', '')}".strip())
    return True


def _remove(root, rng):
    elements = _elements(root, (*DRAWN, "stop", "clipPath", "mask", "pattern", "linearGradient"))
    if len(elements) < 2:
        return False
    element = rng.choice(elements)
    element.getparent().remove(element)
    return True


def _double(root, rng):
    """An element once more, elsewhere."""
    elements = _elements(root)
    if not elements:
        return False
    element = rng.choice(elements)
    copy = _parse(etree.tostring(element, with_tail=False).decode())
    copy.attrib.pop("id", None)
    copy.set("transform", f"translate(20 12) {copy.get('transform', '')}".strip())
    element.addnext(copy)
    return True


def _front(root, rng):
    elements = [e for e in _elements(root) if e.getnext() is not None]
    if not elements:
        return False
    element = rng.choice(elements)
    element.getparent().append(element)
    return True


CHANGES = {
    "number": _number,
    "color": _color,
    "attribute": _attribute,
    "transform": _transform,
    "remove": _remove,
    "number again": _number,
    "drawn twice": _double,
    "to the front": _front,
    "text": _text,
}


# --- 2. the same picture, written otherwise ---
def rewritten(code: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, code of the same picture)."""
    for kind, change in REWRITES.items():
        root = _parse(code)
        if root is not None and change(root, rng):
            yield kind, etree.tostring(root, encoding="unicode")


def _shuffle(root, rng):
    for element in root.iter():
        items = list(element.attrib.items())
        rng.shuffle(items)
        element.attrib.clear()
        element.attrib.update(items)
    return True


def _as_style(root, rng):
    """Paint attributes become a style."""
    done = False
    for element in _elements(root):
        if element.get("style") or element.get("class"):
            continue
        keys = [
            key
            for key in ("fill", "stroke", "stroke-width", "fill-opacity", "opacity")
            if element.get(key)
        ]
        if keys:
            element.set("style", "; ".join(f"{key}: {element.attrib.pop(key)}" for key in keys))
            done = True
    return done


def _grouped(root, rng):
    elements = [
        e
        for e in _elements(
            root, ("circle", "ellipse", "line", "path", "polygon", "polyline", "rect")
        )
        if etree.QName(e.getparent()).localname in ("g", "svg")
    ]
    if not elements:
        return False
    element = rng.choice(elements)
    group = etree.Element(element.tag.replace(etree.QName(element).localname, "g"))
    element.addprevious(group)
    group.append(element)
    return True


def _long_colors(root, rng):
    done = False
    for element in root.iter():
        for key in ("fill", "stroke", "stop-color"):
            match = re.fullmatch(
                r"#([0-9a-f])([0-9a-f])([0-9a-f])", str(element.get(key)), re.IGNORECASE
            )
            if match:
                element.set(
                    key, "rgb({}, {}, {})".format(*(int(2 * digit, 16) for digit in match.groups()))
                )
                done = True
            elif element.get(key) in ("red", "black", "white"):
                element.set(
                    key,
                    {"red": "hsl(0, 100%, 50%)", "black": "#000f", "white": "rgb(100% 100% 100%)"}[
                        element.get(key)
                    ],
                )
                done = True
    return done


def _rect_as_path(root, rng):
    done = False
    for element in _elements(root, ("rect",)):
        values = [element.get(key, "0") for key in ("x", "y", "width", "height")]
        if (
            element.get("rx")
            or element.get("ry")
            or not all(re.fullmatch(r"[\d.]+", value) for value in values)
        ):
            continue
        x, y, w, h = map(float, values)
        for key in ("x", "y", "width", "height"):
            element.attrib.pop(key, None)
        element.tag = element.tag[:-4] + "path"
        element.set("d", f"M{x:g} {y:g}h{w:g}v{h:g}h{-w:g}z")
        done = True
    return done


def _circle_as_ellipse(root, rng):
    done = False
    for element in _elements(root, ("circle",)):
        if re.fullmatch(r"[\d.]+", element.get("r", "")):
            element.tag = element.tag[:-6] + "ellipse"
            element.set("rx", element.get("r"))
            element.set("ry", element.attrib.pop("r"))
            done = True
    return done


def _whole(root, place):
    """All that is drawn in one group, moved or scaled."""
    group = etree.Element(root.tag[:-3] + "g", transform=place)
    for child in list(root):
        if not isinstance(child.tag, str) or etree.QName(child).localname not in (
            "defs",
            "style",
            "title",
            "desc",
        ):
            group.append(child)
    root.append(group)
    return len(group) > 0


def _box(root):
    numbers = re.findall(r"[-+.\deE]+", root.get("viewBox", ""))
    return [float(number) for number in numbers] if len(numbers) == 4 else None


def _moved(root, rng):
    box = _box(root)
    return bool(box) and _whole(root, f"translate({0.02 * box[2]:g} {-0.015 * box[3]:g})")


def _scaled(root, rng):
    box = _box(root)
    if not box:
        return False
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return _whole(root, f"translate({0.04 * x:g} {0.04 * y:g}) scale(0.96)")


ALIKE = (
    "drawn smaller",
    "all moved by 2 %",
    "all scaled by 4 %",
)  # within the thresholds, though pixels differ
REWRITES = {
    "all moved by 2 %": _moved,
    "all scaled by 4 %": _scaled,
    "order of attributes": _shuffle,
    "style": _as_style,
    "group": _grouped,
    "notation of colors": _long_colors,
    "rect as path": _rect_as_path,
    "circle as ellipse": _circle_as_ellipse,
}
