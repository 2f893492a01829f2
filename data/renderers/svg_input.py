"""What CairoSVG would misread in a node is put right here, and what it cannot draw is refused.

CairoSVG reads colours of 2003, ignores what it does not know and draws on. `prepare` rewrites the
attributes of one node (CSS and inheritance are already resolved) into what CairoSVG draws right, or
raises RenderError, so that a wrong picture never comes out silently.
"""
from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from data.renderers.svg_text import prepare_text, resolve_font
from data.renderers.svg_values import (
    BASELINES,
    DRAWN,
    ELEMENTS,
    FRACTIONS,
    LENGTHS,
    NUMBER,
    REFUSED,
    SHAPES,
    SIZES,
    TEXTS,
    XLINK,
    angle,
    color,
    fraction,
    length,
    origin,
    refuse,
    transform,
)

if TYPE_CHECKING:
    from cairosvg.parser import Node

    from data.renderers.svg_drawing import Drawing


def prepare(node: Node, surface: Drawing) -> None:
    """Rewrite the attributes of a node in place; RenderError for what cannot be drawn."""
    if getattr(node, "prepared", False):
        return
    node.prepared = True
    if node.tag in ELEMENTS:
        refuse(f"the element {node.tag}")
    for key, drawn in REFUSED.items():
        if key in node and str(node[key]).strip().lower() not in drawn:
            refuse(f"{key}={str(node[key])[:30]}")
    for key in FRACTIONS:
        if key in node:
            value = fraction(node[key])
            node[key] = 1 if value is None else value
    for key in ("fill", "stroke", "stop-color"):
        if key in node:
            _paint(node, key, surface)
    for key in LENGTHS & node.keys():
        if not isinstance(node[key], str) or node.tag in TEXTS and key in "xy":
            continue
        value = length(node[key])
        if "calc(" in node[key]:
            refuse("calc()")
        if value is None:
            del node[key]
        elif value.strip().startswith("-") and key in SIZES and re.search("[1-9]", value):
            if key in ("rx", "ry"):         # as if it were not there
                del node[key]
            else:
                node["display"] = "none"
        else:
            node[key] = value
    _transform(node, surface)
    resolve_font(node)
    if node.tag == "text":
        prepare_text(node)
    if node.tag in SHAPES:
        _shape(node, surface)
    elif node.tag in TEXTS or node.tag == "a":
        _text(node)
    elif node.tag in ("linearGradient", "radialGradient"):
        _gradient(node)
    elif node.tag in ("image", "use") and ("width" in node) != ("height" in node):
        refuse(f"{node.tag} with one side only")
    elif node.tag == "switch" and node.children and node.children[0].tag not in DRAWN:
        refuse(f"switch with the element {node.children[0].tag[:30]}")
    if XLINK in node and "href" in node:
        node[XLINK] = node["href"]
    _current_color(node)
    for child in node.children if node.tag not in SHAPES else ():
        if child.tag in TEXTS or child.tag == "stop":
            prepare(child, surface)


def _current_color(node):
    """currentColor of a group stands for the colour of each child; CairoSVG takes the group's."""
    element = node.element.etree_element
    own = f"{element.get('fill')} {element.get('stroke')} {element.get('style')}".lower()
    if "currentcolor" in own and any("color" in e.attrib for e in list(element.iter())[1:]):
        refuse("currentColor of a group with children of other colours")


def _paint(node, key, surface):
    """fill, stroke or stop-color: a colour or a reference that exists."""
    value = str(node[key])
    if "context-" in value:
        refuse(value)
    match = re.match(r"\s*url\(\s*['\"]?([^'\")]*)['\"]?\s*\)\s*(.*)", value)
    if match:
        name = match[1].strip().removeprefix("#")
        known = dict.get(surface.gradients, name)
        if name in surface.tiles or known is not None and (
                known.get_href() or any(child.tag == "stop" for child in known.children)):
            node[key] = f"url(#{name})"
            return
        value = match[2] or "none"
    found = color(value)
    if found == "currentcolor":
        found = color(node.get("color", "black")) or "black"
    if found is None:           # as if it were not there: the parent's, else the default
        parent = node.parent.get(key) if node.parent is not None and key != "stop-color" else None
        found = str(parent) if parent and parent != node[key] else None
    if found is None:
        node.pop(key)
    else:
        node[key] = found


def _transform(node, surface):
    for key in ("transform", "gradientTransform", "patternTransform"):
        if key not in node:
            continue
        value = transform(str(node[key]))
        if key != "transform" and value in (None, "empty"):
            refuse(f"{key}={str(node[key])[:40]}")
        if value == "empty":
            node.flat = True
            del node[key]
        elif value:
            node[key] = value
        else:
            del node[key]
    if "transform-origin" in node:
        value = str(node.pop("transform-origin"))
        if node.tag in ("linearGradient", "radialGradient", "pattern", "clipPath", "mask"):
            refuse(f"transform-origin on {node.tag}")
        if "transform" in node:
            x, y = origin(value, surface)
            node["transform"] = (f"translate({x:.12g} {y:.12g}) {node['transform']} "
                                 f"translate({-x:.12g} {-y:.12g})")


def _shape(node, surface):
    node.children = ()                      # descriptions, animations: nothing that is drawn
    if node.tag in ("rect", "ellipse"):     # the other radius is as long as this one
        for one, other, side in (("rx", "ry", surface.context_width),
                                 ("ry", "rx", surface.context_height)):
            value = str(node.get(one, "auto"))
            if value != "auto" and node.get(other, "auto") == "auto":
                if value.endswith("%"):
                    value = float(value[:-1]) * (side or 0) / 100
                node[one] = node[other] = value
    if node.tag == "path" and not re.match(r"\s*[Mm]", str(node.get("d", ""))):
        node.flat = True
    _markers(node, surface)
    if "stroke-dasharray" in node:
        parts = re.split(r"[\s,]+", str(node["stroke-dasharray"]).strip())
        if any(part.startswith("-") or length(part) is None for part in parts):
            del node["stroke-dasharray"]
        elif len(parts) % 2 == 0 and "0" in (*map("".join, (set(parts[::2]), set(parts[1::2]))),):
            refuse("dashes or gaps of length 0")
    match = re.fullmatch(NUMBER, str(node.get("stroke-miterlimit", "4")).strip())
    if not match or float(match[0]) < 1:
        del node["stroke-miterlimit"]


def _markers(node, surface):
    """Drop markers that do not exist; refuse those whose angle CairoSVG gets wrong."""
    node.pop("marker", None) if node.element.etree_element.get("marker") else None
    for key in ("marker", "marker-start", "marker-mid", "marker-end"):
        if key not in node:
            continue
        name = re.sub(r"^\s*url\(\s*['\"]?#?|['\"]?\s*\)\s*$", "", str(node[key]))
        found = surface.markers.get(name)
        if found is None or str(node.get("stroke-width", "1")).strip() in ("0", "0px"):
            del node[key]
            continue
        if node.tag in ("rect", "circle", "ellipse"):
            refuse(f"markers on the element {node.tag}")
        _marker(found, surface)
        path = str(node.get("d", ""))
        turned = str(found.get("orient", "")).startswith("auto")
        if len(re.findall("[Mm]", path)) > 1 or turned and re.search(
                "[zZ]" if key == "marker-end" else "[cCsSqQtTaAzZ]", path):
            refuse("markers on curves or on several lines of a path")


def _marker(node, surface):
    if "viewBox" not in node and not getattr(node, "boxed", False):
        node.boxed = True
        if "overflow" in node and node["overflow"] != "hidden":
            refuse("a marker that is not clipped")
        sides = [str(node.get(key, "3")) for key in ("markerWidth", "markerHeight")]
        if not all(re.fullmatch(NUMBER, side) for side in sides):
            refuse(f"a marker of {sides[0]} x {sides[1]}")
        node["viewBox"] = f"0 0 {sides[0]} {sides[1]}"
    orient = str(node.get("orient", "0"))
    if orient not in ("auto", "auto-start-reverse"):
        node["orient"] = angle(orient) or "0"


def _gradient(node):
    node.children = [child for child in node.children if child.tag == "stop"]
    if re.match(r"\s*(-|0*\.?0*%?\s*$)", str(node.get("r", "1"))):
        refuse("a gradient of radius 0")
    for stop in node.children:
        value = fraction(stop.get("offset", "0"))
        stop["offset"] = 0 if value is None else value


def _text(node):
    for letter in node.text or "":
        if ord(letter) > 0x2ff and (unicodedata.bidirectional(letter) in ("R", "AL")
                                    or unicodedata.combining(letter)):
            refuse("letters that join or run from right to left")
    if len({str(node[key]) for key in ("dominant-baseline", "alignment-baseline")
            if key in node}) > 1:
        refuse("two baselines")
    baseline = str(node.get("dominant-baseline", node.get("alignment-baseline", "auto"))).strip()
    for key in ("dominant-baseline", "alignment-baseline"):
        node.pop(key, None)
    if baseline in BASELINES and node.tag == "text":
        node.lowered = BASELINES[baseline]
    elif baseline not in ("auto", "alphabetic", "baseline", "inherit", "use-script", "no-change"):
        parent = node.parent
        if not (baseline in BASELINES and getattr(parent, "lowered", None) == BASELINES[baseline]):
            refuse(f"the baseline {baseline}")
        node.lowered = parent.lowered
