"""What Cairo's pen knows while it paints: places in px of the canvas, colours, gradients, tiles."""
from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data.renderers.scene import rgb_hex, six

if TYPE_CHECKING:
    from cairocffi import Context, Pattern, SurfacePattern


def zoom(pen: Context) -> float:
    """Pixels per user unit (the geometric mean where the two axes differ)."""
    a, b, c, d, _, _ = pen.get_matrix().as_tuple()
    return math.sqrt(abs(a * d - b * c))


def bounds_of(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs), max(ys)


def corners_of(pen: Context, x0: float, y0: float, x1: float,
               y1: float) -> list[tuple[float, float]]:
    """The corners of a box in user units, in px."""
    a, b, c, d, e, f = pen.get_matrix().as_tuple()
    return [(a * x + c * y + e, b * x + d * y + f) for x in (x0, x1) for y in (y0, y1)]


def clip_of(pen: Context) -> tuple[float, float, float, float]:
    """Bounds of what the pen is clipped to, in px."""
    return bounds_of(corners_of(pen, *pen.clip_extents()))


def letter_corners(letter: str, pen: Context) -> list[tuple[float, float]]:
    """Corners of the ink of a letter, in px."""
    x, y = pen.get_current_point()
    dx, dy, w, h, _, _ = pen.text_extents(letter)
    return corners_of(pen, x + dx, y + dy, x + dx + w, y + dy + h)


def letter_cell(letter: str, pen: Context) -> list[tuple[float, float]]:
    """Corners of the place a letter takes in its line."""
    x, y = pen.get_current_point()
    ascent, descent, *_ = pen.font_extents()
    wide = pen.text_extents(letter)[4]
    return corners_of(pen, x, y - ascent, x + wide, y + descent)


def paint_of(source: Pattern, pen: Context) -> tuple[str | None, dict | None, float]:
    """A Cairo source -> (colour, its record or None, opacity); colour None paints nothing."""
    import cairocffi
    if isinstance(source, cairocffi.SolidPattern):
        rgba = source.get_rgba()
        return rgb_hex(rgba), None, six(rgba[3]) if rgba[3] else 1.0
    if isinstance(source, cairocffi.Gradient):
        stops = [[stop[0], rgb_hex((*stop[1:4], 1)), stop[4]] for stop in source.get_color_stops()]
        linear = isinstance(source, cairocffi.LinearGradient)
        numbers = source.get_linear_points() if linear else source.get_radial_circles()
        strongest = max((stop[2] for stop in stops), default=0)
        for stop in stops:                  # what all share is the opacity of the shape
            stop[2] /= strongest or 1
        return ("gradient" if strongest else None), {
            "kind": "linear" if linear else "radial", "numbers": list(numbers), "stops": stops,
            "matrix": _from_device(source, pen), "extend": source.get_extend(),
            "opaque": all(stop[2] >= 1 for stop in stops) and strongest >= 1}, strongest or 1.0
    return "pattern", surface_paint(source, pen, "pattern"), 1.0


def _from_device(source, pen):
    """The 6 numbers that take px of the device to the space of a source."""
    matrix = pen.get_matrix()
    try:
        matrix.invert()
    except Exception:                       # a flat matrix paints nothing
        return [0.0] * 6
    return list(matrix.multiply(source.get_matrix()).as_tuple())


def surface_paint(source: SurfacePattern, pen: Context, kind: str) -> dict:
    """What is in a pattern or image: a digest of its pixels and 4 x 4 of their colours."""
    import cairocffi
    surface = source.get_surface()
    if not isinstance(surface, cairocffi.ImageSurface):
        return {"kind": kind}
    surface.flush()
    width, height, stride = surface.get_width(), surface.get_height(), surface.get_stride()
    data = bytes(surface.get_data())
    image = Image.frombuffer("RGBa", (width, height), data, "raw", "BGRa", stride, 1)
    small = image.resize((4, 4), Image.Resampling.BOX).convert("RGBA")
    look = [rgb_hex(pixel / 255) for pixel in np.asarray(small).reshape(16, 4)]
    a, b, c, d, e, f = _from_device(source, pen)        # to px of the tile; kept: to shares of it
    matrix = [a / width, b / height, c / width, d / height, e / width, f / height]
    return {"kind": kind, "digest": hashlib.sha256(data).hexdigest()[:16], "look": look,
            "matrix": matrix}


def subpaths(pen: Context, fine: float) -> list[list]:
    """The current path, flattened to within `fine` px: a list of (points in px, closed)."""
    tolerance = pen.get_tolerance()
    pen.set_tolerance(fine)
    a, b, c, d, e, f = pen.get_matrix().as_tuple()
    parts = []
    for kind, point in pen.copy_path_flat():        # 0: move, 1: line, 3: close
        if kind == 3 and parts:
            parts[-1][1] = True
        elif kind != 3:
            x, y = point
            if kind == 0:
                parts.append([[], False])
            parts[-1][0].append((a * x + c * y + e, b * x + d * y + f))
    pen.set_tolerance(tolerance)
    return [part for part in parts if len(part[0]) > 1]
