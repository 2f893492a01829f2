"""Texts that CairoSVG places wrongly: anchors of texts in several pieces, lines, font sizes."""
from __future__ import annotations

import re
from typing import TYPE_CHECKING

from data.renderers.svg_values import FONT_SIZES, NUMBER, refuse

if TYPE_CHECKING:
    from cairocffi import Context
    from cairosvg.parser import Node
    from cairosvg.surface import Surface

# Lines of text-decoration in DejaVu Sans: (top, bottom) below the baseline, in em.
LINES = {"underline": (0.0415, 0.0854), "line-through": (-0.284, -0.234),
         "overline": (-0.928, -0.884)}
PIECES = ("tspan", "textPath", "a", "tref")


def prepare_text(node: Node) -> None:
    """Once for each <text>: refuse what is placed wrongly, resolve what its pieces inherit."""
    pieces = list(_pieces(node))
    for piece in pieces[1:]:
        for key in ("transform", "clip-path", "mask"):      # not for pieces of a text
            piece.pop(key, None)
    paths = [piece for piece in pieces if piece.tag == "textPath"]
    if paths:
        written = [piece for piece in pieces if (piece.text or "").strip()]
        if len(pieces) > 2 and len(written) > 1 or "rotate" in paths[0] or any(
                key in paths[0] for key in ("method", "side", "spacing", "path")):
            refuse("a text path with other pieces of text, rotated letters or a method")


def resolve_font(node: Node) -> None:
    """font, font-size and font-weight of one node as CairoSVG reads them."""
    from cairosvg.surface import parse_font
    if "font" in node:
        for key, value in parse_font(str(node.pop("font"))).items():
            if value and key not in node:
                node[key] = value
    weight = {"bolder": "bold", "lighter": "normal"}.get(str(node.get("font-weight")))
    if weight:
        node["font-weight"] = weight
    parent = node.parent
    node.raw_size = raw = str(node.get("font-size", "16")).strip()
    outer = getattr(parent, "font_px", 16.0)
    if getattr(parent, "raw_size", None) == raw:        # inherited, not of its own
        node.font_px = outer
    else:
        node.font_px = _font_size(raw, outer)
    if "font-size" in node:
        node["font-size"] = node.font_px


FONT_UNITS = {"": 1, "px": 1, "pt": 96 / 72, "pc": 16, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4,
              "rem": 16}


def _font_size(value, outer):
    """A font size in user units; `outer` is that of the parent."""
    if value in FONT_SIZES:
        return FONT_SIZES[value]
    if value in ("larger", "smaller"):
        return outer * (1.2 if value == "larger" else 1 / 1.2)
    match = re.fullmatch(rf"({NUMBER})\s*([a-z%]*)", value)
    scale = FONT_UNITS | {"em": outer, "ex": outer / 2, "%": outer / 100}
    if not match or match[2] not in scale or float(match[1]) < 0:
        refuse(f"font-size {value[:30]}")
    return float(match[1]) * scale[match[2]]


def anchor(surface: Surface, node: Node) -> None:
    """Move the first piece of each chunk so that a chunk of several pieces ends where it should."""
    pieces = list(_pieces(node))
    if len(pieces) < 2 or all(p.get("text-anchor", "start") == "start" for p in pieces):
        return
    from cairosvg.helpers import normalize, size
    chunks = []
    for piece in pieces:
        if piece is node or "x" in piece and piece.text:
            chunks.append([])
        if piece.text:
            chunks[-1].append(piece)
    for chunk in chunks:
        if not chunk:
            continue
        place = chunk[0].get("text-anchor", "start")
        for piece in chunk:
            piece["text-anchor"] = "start"
        if place not in ("middle", "end"):
            continue
        holder = chunk[0] if "x" in chunk[0] else node
        values = [normalize(str(piece.get(key, ""))).split() for piece in chunk
                  for key in ("x", "dx", "y")]
        if any(len(value) > 1 for value in values) or len(chunk) > 1 and any(
                "x" in piece for piece in chunk[1:]):
            refuse("text-anchor on a text whose letters are placed one by one")
        wide = sum(_advance(surface, piece) for piece in chunk)
        x = size(surface, holder.get("x", 0), "x")
        holder["x"] = f"{x - wide * (0.5 if place == 'middle' else 1):.9g}"


def _advance(surface, piece):
    """How far a piece moves the pen, in user units."""
    from cairosvg.helpers import size
    select(surface, piece)
    wide = sum(surface.context.text_extents(letter)[4] for letter in piece.text)
    spacing = size(surface, piece.get("letter-spacing"))
    return wide + spacing * (len(piece.text) - 1) + size(surface, piece.get("dx", 0), "x")


def select(surface: Surface, piece: Node) -> None:
    """Set the pen's font to that of a piece."""
    import cairocffi
    from cairosvg.helpers import size
    family = (piece.get("font-family") or "sans-serif").split(",")[0].strip("\"' ")
    slant = {"italic": cairocffi.FONT_SLANT_ITALIC, "oblique": cairocffi.FONT_SLANT_OBLIQUE}.get(
        piece.get("font-style"), cairocffi.FONT_SLANT_NORMAL)
    weight = str(piece.get("font-weight", ""))
    bold = weight == "bold" or weight.isdigit() and int(weight) >= 550
    surface.context.select_font_face(family, slant, int(bold))
    surface.context.set_font_size(size(surface, piece.get("font-size", 16)))


def lines_of(node: Node) -> tuple[str, ...]:
    """The lines drawn along a piece of text: a tuple of keys of LINES."""
    value = f"{node.get('text-decoration', '')} {node.get('text-decoration-line', '')}".lower()
    return tuple(line for line in LINES if line in value)


def draw_lines(surface: Surface, pen: Context, node: Node, letter: str, x: float,
               y: float) -> None:
    """The lines along one letter at (x, y) in user units, joined to those of the letter before."""
    lines = lines_of(node)
    if not lines:
        return
    size, advance = surface.font_size, pen.text_extents(letter)[4]
    last = getattr(node, "line_end", None)
    start = last[0] if last and abs(last[1] - y) < 1e-6 and 0 <= x - last[0] < size else x
    node.line_end = (x + advance, y)
    pen.save()
    pen.new_path()
    for line in lines:
        top, bottom = LINES[line]
        pen.rectangle(start, y + top * size, x + advance - start, (bottom - top) * size)
    pen.fill()
    pen.restore()


def _pieces(node):
    yield node
    for child in node.children:
        if child.tag in PIECES:
            yield from _pieces(child)
