"""From what the pen painted to the scene of an SVG: plain JSON, in fractions of the canvas.

Only what can be seen is in it. Outlines keep their corners; where a picture has very many points
they are thinned by the error this makes, not by their number. The picture itself is there small,
for the places where no shape tells a difference.
"""
from __future__ import annotations

import base64
import hashlib
import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data.renderers.scene import six
from data.renderers.svg_paint import bounds_of

if TYPE_CHECKING:
    from data.renderers.svg_drawing import Drawing

SMALL = 128             # px of the longest side of the small picture
MOST_POINTS = 20_000    # of all outlines of a scene
FINEST = 0.0005         # of the canvas' side: what thinning may move a line by, at first


def scene_of(pen: Drawing, image: Image.Image, viewbox: Sequence[float],
             natural: tuple[float, float]) -> dict:
    """The scene of a finished drawing; `natural` (width, height) is its own size in px."""
    pen.count_seen()
    runs = []
    for mark in pen.marks:
        if mark["seen"] and (mark["paths"] or mark["letters"]):
            if runs and _reads_on(runs[-1][-1], mark):
                runs[-1].append(mark)
            else:
                runs.append([mark])
    shapes = [_shape(marks, pen, image.size) for marks in runs]
    _thin([shape for shape in shapes if shape.get("outline")])
    for shape in shapes:
        if "outline" in shape:
            shape["outline"] = six(shape["outline"])
    return {"task": "svg", "size": list(image.size), "viewbox": six(viewbox),
            "natural": six(natural), "shapes": shapes,
            "digest": hashlib.sha256(image.tobytes()).hexdigest()[:24],
            "picture": _small(image)}


def _small(image):
    """The picture, at most SMALL px a side: its sides, then pieces of the base64 of zlib of RGB."""
    ratio = min(1, SMALL / max(image.size))
    size = [max(1, round(side * ratio)) for side in image.size]
    # bilinear: a picture drawn at another size is the same in small, which boxes of pixels are not
    small = image.resize(size, Image.Resampling.BILINEAR) if tuple(size) != image.size else image
    packed = base64.b64encode(zlib.compress(small.tobytes(), 1)).decode()
    pieces = [packed[k:k + 8000] for k in range(0, len(packed), 8000)]     # no text may be longer
    return [f"{size[0]} {size[1]}", *pieces]


def _reads_on(one, two):
    """Two pieces of one <text> that read on without a gap (a tspan)."""
    if one["text_token"] is None or one["text_token"] != two["text_token"] or \
            not (one["letters"] and two["letters"]):
        return False
    left, _, right, _ = bounds_of(one["points"])
    _, x, y = two["letters"][0]
    return abs(one["letters"][-1][2] - y) < 0.1 * one["em"] and left <= x < right + one["em"]


def _shape(marks, pen, canvas):
    """The marks of one painted node (of a text: of its pieces) as a scene entry."""
    mark = max(marks, key=lambda m: len(m["letters"]))

    def fraction(values):
        return six(v / canvas[i % 2] for i, v in enumerate(values))

    points = [point for m in marks for point in m["points"]]
    points = points or [point for path, _ in mark["paths"] for point in path]
    is_text = mark["text_token"] is not None
    box, clip = bounds_of(points), mark["clip"]
    if mark["tag"] == "path" and _flat(points):
        mark = mark | {"fill": None}            # a line has nothing to fill
    shape = {"type": "text" if is_text else _kind(mark, box), "box": fraction(box),
             "stroke_width": six(mark["stroke_width"] / canvas[0]),
             "opacity": six(mark["opacity"]), **{key: mark[key] for key in (
                 "fill", "fill_opacity", "stroke", "stroke_opacity", "dash")},
             "seen": six(min(1, sum(m["seen"] for m in marks) / (canvas[0] * canvas[1])))}
    if mark["paints"]:
        shape["paints"] = {how: _paint(paint, canvas) for how, paint in mark["paints"].items()}
    seen = (max(box[0], 0), max(box[1], 0), min(box[2], pen.width), min(box[3], pen.height))
    if clip[0] > seen[0] + 1 or clip[1] > seen[1] + 1 or clip[2] < seen[2] - 1 or \
            clip[3] < seen[3] - 1:
        shape["clip"] = fraction(clip)
    cuts = [_cut(cut, box, canvas) for cut in mark["cuts"]]
    for cut in cuts:
        shape["opacity"] = six(shape["opacity"] * cut.pop("opacity", 1))
    if any(cuts):
        shape["cuts"] = [cut for cut in cuts if cut]
    style = _style(mark, canvas)
    if style:
        shape["style"] = style
    if is_text:
        text = " ".join("".join(m.get("text") or "" for m in marks).split())
        shape |= {"text": text, "font_size": six(mark.get("em", 0) / canvas[1]),
                  "turn": six(mark.get("turn")),
                  "letters": [fraction(xy) for m in marks for _, *xy in m["letters"]]}
        if len(marks) > 1:
            shape["runs"] = [{"letters": len(m["letters"]), "text": m.get("text") or "",
                              "font_size": six(m.get("em", 0) / canvas[1]),
                              "style": _style(m, canvas), "turn": six(m.get("turn")), **{
                                  key: m[key] for key in ("fill", "fill_opacity", "stroke")}}
                             for m in marks]
        return shape
    outline, starts = [], []
    for path, _ in mark["paths"]:
        starts.append(len(outline))
        outline += [(x / canvas[0], y / canvas[1]) for x, y in path]
    shape |= {"outline": outline, "closed": all(closed for _, closed in mark["paths"])}
    return shape | {"starts": starts} if len(starts) > 1 else shape


def _flat(points):
    """Whether all points lie on one line."""
    points = np.asarray(points, float) - points[0]
    far = points[np.hypot(*points.T).argmax()]
    return bool(np.abs(points @ (-far[1], far[0])).max() <= 1e-6 * max(1.0, far @ far))


def _kind(mark, box):
    """What an outline is, whichever element drew it: a path may be a circle, a rectangle, a line.

    A path that is none of these, and images, keep the name of their element.
    """
    if mark["tag"] not in ("path", "polygon", "polyline", "circle", "ellipse") or \
            len(mark["paths"]) != 1:
        return mark["tag"]
    points, closed = mark["paths"][0]
    points = np.asarray(points, float)
    points = points[:-1] if len(points) > 2 and np.allclose(points[0], points[-1]) else points
    width, height = box[2] - box[0], box[3] - box[1]
    if len(points) == 2 or len(points) > 2 and _flat(points):
        return "line" if len(points) == 2 else mark["tag"]
    if len(points) >= 12 and min(width, height) > 0:
        middle = (box[0] + width / 2, box[1] + height / 2)
        reach = (((points - middle) / (width / 2, height / 2)) ** 2).sum(1)
        if abs(reach - 1).max() < 0.02:
            return "circle" if abs(width / height - 1) < 0.01 else "ellipse"
    if not closed and mark["stroke"] or len(points) > 12:
        return mark["tag"]
    corners = sorted({(round(x, 3), round(y, 3)) for x, y in points})
    straight = [abs(points - np.roll(points, 1, 0)).min(1).max() < 1e-3]
    return "rect" if len(points) == len(corners) == 4 and all(straight) else "polygon"


def _style(mark, canvas):
    """What else shows: caps, joins and dashes of a stroke, rule of a fill, font, order."""
    style, found = mark["style"], {}
    if mark["stroke"]:
        found |= {key: style[key] for key in ("cap", "join") if key in style}
        if style.get("join") == "miter":
            found["miter"] = six(style["miter"])
        if "dashes" in style:
            found["dashes"] = six(d / canvas[0] for d in style["dashes"])
            found["dash_offset"] = six(style["dash_offset"] / canvas[0])
        if mark["fill"] and mark["first"] == "stroke":
            found["first"] = "stroke"
    if mark["fill"] and len(mark["paths"]) and "rule" in style:
        found["rule"] = style["rule"]
    for key in ("font", "decoration"):
        if key in style:
            found[key] = style[key]
    return found


def _paint(paint, canvas):
    """A gradient, pattern or image; its matrix takes fractions of the canvas to its own space."""
    found = {key: value for key, value in paint.items() if key != "opaque"}
    if "matrix" in paint:
        a, b, c, d, e, f = paint["matrix"]
        found["matrix"] = six((a * canvas[0], b * canvas[0], c * canvas[1], d * canvas[1], e, f))
    for key in ("numbers", "stops"):
        if key in paint:
            found[key] = six(paint[key])
    return found


def _cut(cut, box, canvas):
    """A clip path or mask, as 12 x 12 values of what it lets through; {} for one of one value."""
    surface = cut["surface"]
    if "alpha" not in cut:
        surface.flush()
        width, height = surface.get_width(), surface.get_height()
        stride = surface.get_stride()
        data = np.frombuffer(surface.get_data(), np.uint8).reshape(height, stride)
        left, top = (round(-v) for v in surface.get_device_offset())
        cut["alpha"] = data[:, 3:4 * width:4], left, top
    alpha, left, top = cut["alpha"]
    x0, y0 = max(0, math.floor(box[0]) - left), max(0, math.floor(box[1]) - top)
    x1, y1 = math.ceil(box[2]) - left, math.ceil(box[3]) - top
    inside = alpha[y0:max(y0 + 1, y1), x0:max(x0 + 1, x1)]
    whole = inside.size >= 0.98 * max(1, x1 - x0) * max(1, y1 - y0)
    if inside.size and whole and int(inside.max()) - int(inside.min()) <= 2:
        value = float(inside.mean()) / 255
        return {"opacity": 1.0 if value > 0.99 else value}
    if not inside.size:
        return {"kind": cut["kind"], "look": ""}
    small = Image.fromarray(np.ascontiguousarray(inside)).resize((12, 12), Image.Resampling.BOX)
    rows, columns = np.nonzero(inside > 127)
    area = [0, 0, 0, 0]
    if len(rows):
        area = [(columns.min() + x0 + left) / canvas[0], (rows.min() + y0 + top) / canvas[1],
                (columns.max() + 1 + x0 + left) / canvas[0],
                (rows.max() + 1 + y0 + top) / canvas[1]]
    return {"kind": cut["kind"], "box": six(float(v) for v in area), "look": small.tobytes().hex()}


# --- 1. outlines ---
def _thin(shapes):
    """Leave out points that lie on the line of their neighbours, more where there are too many."""
    error = FINEST
    while sum(len(shape["outline"]) for shape in shapes) > MOST_POINTS and error < 0.2:
        for shape in shapes:
            outline, starts = [], []
            firsts = shape.get("starts", [0])
            for start, end in zip(firsts, [*firsts[1:], len(shape["outline"])]):
                starts.append(len(outline))
                outline += _corners(shape["outline"][start:end], error)
            shape["outline"] = outline
            if "starts" in shape:
                shape["starts"] = starts
        error *= 4


def _corners(path, error):
    """The points of a path that are needed to stay within `error` of it (Douglas and Peucker)."""
    if len(path) < 4:
        return path
    points = np.array(path)
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    while parts:
        i, j = parts.pop()
        if j - i < 2:
            continue
        step, away = points[j] - points[i], points[i + 1:j] - points[i]
        span = math.hypot(*step)
        gaps = np.abs(away[:, 0] * step[1] - away[:, 1] * step[0]) / span if span > 1e-9 else \
            np.hypot(away[:, 0], away[:, 1])
        k = int(gaps.argmax())
        if gaps[k] > error:
            keep[i + 1 + k] = True
            parts += [(i, i + 1 + k), (i + 1 + k, j)]
    return [path[k] for k in np.flatnonzero(keep)]
