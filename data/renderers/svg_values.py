"""Values of SVG attributes as CairoSVG reads them; what it cannot draw is refused."""
from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, NoReturn

import tinycss2
import tinycss2.color4

from data.renderers.scene import RenderError

if TYPE_CHECKING:
    from cairosvg.surface import Surface

SHAPES = frozenset(("circle", "ellipse", "line", "path", "polygon", "polyline", "rect"))
TEXTS = frozenset(("text", "tspan", "textPath", "tref"))
DRAWN = SHAPES | TEXTS | {"svg", "g", "a", "switch", "use", "symbol", "image"}
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
XLINK = "{http://www.w3.org/1999/xlink}href"
KNOWN_UNITS = ("", "%", "px", "mm", "cm", "in", "pt", "pc", "em", "ex")
LENGTHS = {"x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "x1", "y1", "x2", "y2",
           "stroke-width", "stroke-dashoffset", "fx", "fy", "letter-spacing", "startOffset",
           "markerWidth", "markerHeight", "refX", "refY"}
SIZES = ("width", "height", "r", "rx", "ry")
FRACTIONS = ("opacity", "fill-opacity", "stroke-opacity", "stop-opacity")
FONT_SIZES = {"xx-small": 9, "x-small": 10, "small": 13, "medium": 16, "large": 18, "x-large": 24,
              "xx-large": 32}
# How far below its own place the baseline lies, in em; from the metrics of DejaVu Sans.
BASELINES = {"middle": 0.2735, "central": 0.346, "hanging": 0.729, "mathematical": 0.5,
             "text-before-edge": 0.928, "before-edge": 0.928, "text-top": 0.928, "top": 0.928,
             "text-after-edge": -0.236, "after-edge": -0.236, "text-bottom": -0.236,
             "ideographic": -0.236, "bottom": -0.236}
REFUSED = {     # attribute: the values (lower case) that are drawn; all others are refused
    "filter": ("none", ""), "mix-blend-mode": ("normal",), "clip": ("auto",),
    "writing-mode": ("lr", "lr-tb", "horizontal-tb"), "textLength": (),
    "baseline-shift": ("baseline", "0"), "word-spacing": ("normal", "0"),
    "font-variant": ("normal", "none"), "font-size-adjust": ("none",), "direction": ("ltr",),
    "fr": ("0", "0%"), "systemLanguage": (), "color-interpolation": ("auto", "srgb"),
    "mask-type": ("luminance", "alpha"), "font-variation-settings": ("normal",),
    "glyph-orientation-vertical": ("auto",), "overflow": ("hidden", "visible"),
    "transform-box": ("view-box",)}
ELEMENTS = {"foreignObject": "foreignObject"}


def refuse(what: str) -> NoReturn:
    raise RenderError("forbidden", f"the SVG uses {what}, which is not drawn here")


# --- 1. the text of the program ---
VAR = re.compile(r"var\(\s*(--[\w-]+)\s*(?:,((?:[^()]|\([^()]*\))*))?\)")


def resolve_variables(code: str) -> str:
    """Write the values of CSS variables where they are used; one that has two values is refused."""
    if "systemLanguage" in code:
        refuse("systemLanguage")
    if "var(" not in code:
        return code
    values = {}
    for name, value in re.findall(r"(--[\w-]+)\s*:\s*([^;}\"']+)", code):
        values.setdefault(name, set()).add(value.strip())

    def value_of(match):
        known = values.get(match[1], ())
        if len(known) > 1:
            refuse(f"the variable {match[1]} with several values")
        return next(iter(known)) if known else (match[2] or "unset").strip()

    for _ in range(8):                      # a variable may stand for another
        code, count = VAR.subn(value_of, code)
        if not count:
            return code
    return refuse("variables that stand for each other")


# --- 2. values ---
@functools.lru_cache(4096)
def color(value: str) -> str | None:
    """A CSS colour as CairoSVG reads it; None for what is no colour, "currentcolor" unchanged."""
    value = re.sub(r"\s*icc-color\(.*\)\s*$", "", value.strip())
    if re.fullmatch(r"#(?:[0-9a-fA-F]{3}){1,2}|none|transparent", value):
        return value
    try:
        found = tinycss2.color4.parse_color(re.sub(r"\b\d{3,}(\.\d+)?%", "100%", value))
    except Exception:                       # what tinycss2 stumbles over is no colour
        found = None
    if found is None:
        return None
    if found == "currentcolor":
        return found
    if re.fullmatch(r"[a-zA-Z]+", value):
        return value
    try:
        *rgb, alpha = found.to("srgb")
    except NotImplementedError:
        refuse(f"the colour {value[:40]}")
    r, g, b = (f"{255 * min(1, max(0, part or 0)):.6g}" for part in rgb)
    return f"rgba({r}, {g}, {b}, {min(1, max(0, alpha)):.6g})"


def fraction(value: str | float) -> float | None:
    """An opacity in 0..1; None where it is none."""
    match = re.fullmatch(rf"\s*({NUMBER})(%?)\s*", str(value))
    if not match:
        return None
    return min(1.0, max(0.0, float(match[1]) / (100 if match[2] else 1)))


def length(value: str) -> str | None:
    """A length as CairoSVG reads it; None where it is none."""
    match = re.fullmatch(rf"\s*({NUMBER})\s*([a-zA-Z%]*)\s*", str(value))
    if not match:
        return None
    unit = match[2].lower()
    if unit in KNOWN_UNITS:
        return value
    return refuse(f"the unit {unit}")


TURNS = {"": 1, "deg": 1, "rad": 180 / math.pi, "grad": 0.9, "turn": 360}


def angle(value: str) -> str | None:
    """An angle in degrees; None where it is none."""
    match = re.fullmatch(rf"\s*({NUMBER})\s*(deg|rad|grad|turn|)\s*", value)
    return f"{float(match[1]) * TURNS[match[2]]:.9g}" if match else None


CALL = re.compile(r"\s*(matrix|translate|scale|rotate|skewX|skewY)\s*\(([^()]*)\)\s*,?")
COUNTS = {"matrix": (6,), "translate": (1, 2), "scale": (1, 2), "rotate": (1, 3), "skewX": (1,),
          "skewY": (1,)}


def transform(value: str) -> str | None:
    """A transform as CairoSVG reads it; None where it is none, "empty" where nothing is left."""
    parts, end, flat = [], 0, False
    for match in CALL.finditer(value):
        if match.start() != end:
            return None
        end, kind = match.end(), match[1]
        numbers = re.findall(rf"({NUMBER})\s*(deg|rad|grad|turn|px|)", match[2])
        left = re.sub(rf"{NUMBER}\s*(?:deg|rad|grad|turn|px|)|[\s,]+", "", match[2])
        if left or len(numbers) not in COUNTS[kind]:
            if re.search(r"%|em|calc", match[2]):
                refuse(f"transform {value[:40]}")
            return None
        turns = kind in ("rotate", "skewX", "skewY")
        values = [float(n) * (TURNS.get(unit, 1) if turns else 1) for n, unit in numbers]
        flat |= kind == "scale" and 0 in values
        flat |= kind == "matrix" and values[0] * values[3] == values[1] * values[2]
        parts.append(f"{kind}({' '.join(f'{v:.12g}' for v in values)})")
    if value[end:].strip() not in ("", "none"):
        if re.match(r"\s*\w+(3d|X|Y|Z)?\(", value[end:]):
            refuse(f"transform {value[end:end + 40].strip()}")
        return None
    return "empty" if flat else " ".join(parts)


def origin(value: str, surface: Surface) -> list[float]:
    """transform-origin -> (x, y) in user units; keywords and percents are of the viewport."""
    words = {"left": "0%", "right": "100%", "top": "0%", "bottom": "100%", "center": "50%"}
    parts = value.split()[:2]
    if len(parts) == 1:
        parts = ["50%", parts[0]] if parts[0] in ("top", "bottom") else [parts[0], "50%"]
    if parts[0] in ("top", "bottom") or parts[1] in ("left", "right"):
        parts.reverse()
    found = []
    for part, side in zip(parts, (surface.context_width, surface.context_height)):
        match = re.fullmatch(rf"({NUMBER})(%|px|)", words.get(part, part))
        if not match:
            refuse(f"transform-origin {value[:40]}")
        found.append(float(match[1]) * (side / 100 if match[2] == "%" else 1))
    return found
