"""CairoSVG, corrected: masks, clip paths, patterns, opacity and the order of painting."""
from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING

import numpy as np

from data.renderers.svg_input import prepare
from data.renderers.svg_paint import subpaths, zoom
from data.renderers.svg_pen import Pen, Watch
from data.renderers.svg_text import anchor
from data.renderers.svg_values import DRAWN, ELEMENTS, SHAPES, TEXTS, refuse

if TYPE_CHECKING:
    from cairocffi import Context
    from cairosvg.parser import Node

MOST_NESTED = 150


class _Gradients(dict):
    """Gradients by name; each reader gets a prepared copy, since CairoSVG changes what it draws."""

    def __init__(self, surface):
        super().__init__()
        self.surface = surface

    def __getitem__(self, name):
        node = fresh(super().__getitem__(name))
        prepare(node, self.surface)
        return node


class _Nowhere(dict):
    """Patterns as CairoSVG sees them: none, since they are drawn here."""

    def __init__(self, tiles):
        super().__init__()
        self.tiles = tiles

    def __setitem__(self, name, node):
        self.tiles[name] = node


def fresh(node: Node) -> Node:
    """A copy of a node and of all below it, which may be changed."""
    copy = dict.__new__(type(node))
    dict.update(copy, node)
    copy.__dict__.update(node.__dict__)
    copy.children = [fresh(child) for child in node.children]
    for child in copy.children:
        child.parent = copy
    return copy


def _has(node, key):
    return str(node.get(key, "black" if key == "fill" else "none")) not in ("none", "transparent")


def _without(node, key):
    node[key] = "none"
    for child in node.children:
        _without(child, key)


def _as_clip(node):
    """What a child of a clip path lets through: its fill, opaque."""
    node["fill"], node["stroke"], node["opacity"], node["fill-opacity"] = "black", "none", 1, 1
    node["fill-rule"] = node.get("clip-rule", "nonzero")


class Drawing(Watch):
    """Added to CairoSVG's PNG surface: draws right what it draws wrongly."""

    def set_context_size(self, *args) -> None:  # first called right after the context is made
        if type(self.context) is not self.pen:
            self.watch()
            self.clipping = 0
            self.gradients, self.tiles = _Gradients(self), {}
            self.patterns = _Nowhere(self.tiles)
            self.context.__class__, self.context.surface = self.pen, self
        super().set_context_size(*args)
        if args[2]:
            self.context_width, self.context_height = args[2][2:]
        if not self.nodes:
            self.root_zoom = zoom(self.context)

    # --- 1. drawing ---
    def draw(self, node: Node) -> None:
        if not self.nodes:
            from cairosvg.defs import parse_all_defs
            parse_all_defs(self, node)
        if node.tag in ELEMENTS:
            prepare(node, self)
        if node.tag not in DRAWN or len(self.nodes) > MOST_NESTED:
            _check_depth(self.nodes)
            return
        prepare(node, self)
        if node.get("display") == "none" or getattr(node, "flat", False):
            return
        if self.clipping:
            node.pop("mask", None)
            if node.tag in SHAPES | TEXTS:
                _as_clip(node)
            elif self.nodes[-1][0].tag == "use":    # only shapes and texts are let through
                return
        self.token += 1
        self.nodes.append((node, self.token))
        node["text-rendering"] = "geometricPrecision"   # letters where the scale puts them
        pen = self.context
        pen.save()
        cuts = [(key, self._cut(node, key)) for key in ("clip-path", "mask")]
        if any(cut for _, cut in cuts):
            self._draw_cut(node, [(key, cut) for key, cut in cuts if cut])
        else:
            self._draw_uncut(node)
        pen.restore()
        self.nodes.pop()

    def _draw_uncut(self, node):
        """A node, its opacity put around fill and stroke alike, its stroke first if it says so."""
        opacity = node.get("opacity", 1)
        leaf = node.tag == "use" or not node.children and node.tag in SHAPES | {"text"} and \
            _has(node, "fill") and _has(node, "stroke")
        group = opacity < 1 and leaf
        if group:
            node.group_opacity, node["opacity"] = opacity, 1
            self.context.push_group()
        order = str(node.get("paint-order", "normal")).split()
        if len(set(order)) < len(order) or set(order) - {"fill", "stroke", "markers"}:
            order = ["normal"]
        marked = any(key.startswith("marker-") for key in node) and node.tag in SHAPES
        if marked and "markers" in order and order[2:3] != ["markers"]:
            refuse("paint-order with markers in between")
        if node.tag == "text":
            anchor(self, node)
            if any(str(node.get(key, "")).startswith("url") for key in ("fill", "stroke")) and \
                    "bounding_box" not in node and self.boxes is None:
                node["bounding_box"] = self.bounds(node)
        lowered = getattr(node, "lowered", 0) if node.tag == "text" else 0
        if lowered:
            from cairosvg.helpers import size
            shift = f"translate(0 {lowered * size(self, node.get('font-size', 16)):.9g})"
            node["transform"] = f"{node.get('transform', '')} {shift}"
        if order[:1] == ["stroke"] or order[:2] == ["markers", "stroke"]:
            self._stroke_first(node)
        else:
            super().draw(node)
        if group:
            node["opacity"] = opacity
            self.context.pop_group_to_source()
            self.context.paint_with_alpha(opacity)

    def _stroke_first(self, node):
        for key in ("fill", "stroke"):
            part = fresh(node)
            for marker in [k for k in part if k.startswith("marker") and key == "fill"]:
                del part[marker]
            _without(part, key)
            self.nodes[-1] = (part, self.nodes[-1][1])
            super().draw(part)

    # --- 2. clips and masks ---
    def _cut(self, node, key):
        """The node of a clip path or mask that applies, or None."""
        match = re.match(r"\s*url\(\s*['\"]?#([^'\")]*)", str(node.get(key, "")))
        found = (self.paths if key == "clip-path" else self.masks).get(match[1]) if match else None
        if found is None or found.tag not in ("clipPath", "mask"):
            node.pop(key, None)
            return None
        return found

    def _draw_cut(self, node, cuts):
        import cairocffi
        from cairosvg.helpers import transform
        pen = self.context
        keys = {key: node.pop(key, None) for key in ("clip-path", "mask", "transform")}
        transform(self, keys["transform"])
        shapes = [self._cut_shape(node, key, cut) for key, cut in cuts]
        self.cuts.append([note for _, note in shapes])
        for _ in shapes:
            pen.push_group()
        self._draw_uncut(node)
        for surface, _ in reversed(shapes):
            pen.pop_group_to_source()
            before = self.composed(pen, 1)
            pen.save()
            pen.identity_matrix()
            pen.mask(cairocffi.SurfacePattern(surface))
            pen.restore()
            self.painted(before)
        self.cuts.pop()
        node.update({key: value for key, value in keys.items() if value is not None})

    def _cut_shape(self, node, key, cut):
        """(image surface whose alpha lets through, note for the scene) of a clip path or mask."""
        import cairocffi
        from cairosvg.helpers import size, transform
        _check_depth(self.nodes)
        pen = self.context
        cut = fresh(cut)
        prepare(cut, self)
        for child in cut.children:
            prepare(child, self)
        units = "clipPathUnits" if key == "clip-path" else "maskContentUnits"
        by_box = cut.get(units) == "objectBoundingBox"
        region = key == "mask" and cut.get("maskUnits") != "userSpaceOnUse"
        box = self.bounds(node) if by_box or region else None
        self.quiet += 1
        pen.save()
        if key == "clip-path":
            transform(self, cut.get("transform"))
        pen.push_group()
        pen.save()
        if key == "mask":
            sides = [cut.get(k, d) for k, d in zip(("x", "y", "width", "height"),
                                                   ("-10%", "-10%", "120%", "120%"))]
            if region:
                x, y, w, h = (size(self, side, 1) for side in sides)
                x, y, w, h = box[0] + x * box[2], box[1] + y * box[3], w * box[2], h * box[3]
            else:
                x, y, w, h = (size(self, side, ref) for side, ref in zip(sides, "xyxy"))
            pen.rectangle(x, y, w, h)
            pen.clip()
        if by_box:
            pen.translate(*box[:2])
            pen.scale(*(side or 1e-9 for side in box[2:]))
        if not getattr(cut, "flat", False):
            for child in cut.children:
                if key == "mask" or child.tag in SHAPES | {"text", "use"}:
                    self.clipping += key == "clip-path"
                    self.draw(child)
                    self.clipping -= key == "clip-path"
        pen.restore()
        surface = pen.pop_group().get_surface()
        pen.restore()
        self.quiet -= 1
        inner = self._cut(cut, key)
        if inner is not None:
            other, _ = self._cut_shape(node, key, inner)
            inside = cairocffi.Context(surface)
            inside.set_operator(cairocffi.OPERATOR_DEST_IN)
            inside.set_source_surface(other, 0, 0)
            inside.paint()
        if key == "mask" and cut.get("mask-type") != "alpha":
            _luminance_to_alpha(surface)
        return surface, {"kind": key, "surface": surface}

    # --- 3. patterns ---
    def begins(self, how: str, pen: Context) -> bool:
        """Whether something is to be painted; a pattern is put in place of its stand-in."""
        node = self.nodes[-1][0]
        if self.boxes is not None:
            self.boxes += [point for path, _ in subpaths(pen, 0.1) for point in path]
            if how == "stroke":
                pen.new_path()
            return False
        name = re.match(r"url\(#(.*)\)$", str(node.get(how, "")))
        if name and name[1] in self.tiles and node.tag in SHAPES | TEXTS:
            opacity = float(node.get(f"{how}-opacity", 1))
            if not node.children:
                opacity *= float(node.get("opacity", 1))
            return self._set_pattern(node, name[1], opacity, pen)
        return True

    def _set_pattern(self, node, name, opacity, pen):
        """Set the pattern as the pen's source; False where it paints nothing."""
        import cairocffi
        from cairosvg.defs import update_def_href
        from cairosvg.helpers import size, transform
        _check_depth(self.nodes)
        update_def_href(self, name, self.tiles)
        tile = fresh(self.tiles[name])
        if str(tile.get("overflow", "hidden")) != "hidden":
            refuse("a pattern that is not clipped")
        prepare(tile, self)
        by_box = tile.get("patternUnits") != "userSpaceOnUse"
        content_by_box = tile.get("patternContentUnits") == "objectBoundingBox"
        box = self.bounds(node) if by_box or content_by_box else (0, 0, 1, 1)
        refs = (1, 1, 1, 1) if by_box else "xyxy"
        x, y, w, h = (size(self, tile.get(key, 0), ref)
                      for key, ref in zip(("x", "y", "width", "height"), refs))
        if by_box:
            x, y, w, h = box[0] + x * box[2], box[1] + y * box[3], w * box[2], h * box[3]
        if w <= 0 or h <= 0:
            return False
        pen.save()
        before = pen.get_matrix()
        transform(self, tile.get("patternTransform"))
        after = pen.get_matrix()
        pen.restore()
        before.invert()
        turn = after.multiply(before)
        a, b, c, d, _, _ = after.as_tuple()
        px = [min(4096, max(1, math.ceil(side * math.hypot(*axis) - 1e-3)))
              for side, axis in ((w, (a, b)), (h, (c, d)))]
        surface = cairocffi.ImageSurface(cairocffi.FORMAT_ARGB32, *px)
        outer, sides = self.context, (self.context_width, self.context_height)
        self.context = self.pen(surface)
        self.context.surface = self
        self.quiet += 1
        self.context.scale(px[0] / w, px[1] / h)
        if tile.get("viewBox"):
            vx, vy, vw, vh = (float(v) for v in re.findall(r"[-+.\deE]+", tile["viewBox"]))
            scale = _fit(tile.get("preserveAspectRatio"), w, h, vw, vh)
            self.context.translate(*scale[2:])
            self.context.scale(*scale[:2])
            self.context.translate(-vx, -vy)
            self.context_width, self.context_height = vw, vh
        elif content_by_box:
            self.context.scale(*box[2:])
        self.context.push_group()
        for child in tile.children:
            self.draw(child)
        self.context.pop_group_to_source()
        self.context.paint_with_alpha(opacity)
        self.context, (self.context_width, self.context_height) = outer, sides
        self.quiet -= 1
        surface.flush()
        pattern = cairocffi.SurfacePattern(surface)
        pattern.set_extend(cairocffi.EXTEND_REPEAT)
        turn.invert()
        pattern.set_matrix(turn.multiply(cairocffi.Matrix(1, 0, 0, 1, -x, -y)).multiply(
            cairocffi.Matrix(px[0] / w, 0, 0, px[1] / h, 0, 0)))
        pen.set_source(pattern)
        return True

    def bounds(self, node: Node) -> tuple[float, float, float, float]:
        """(x, y, width, height) of what a node draws, without strokes, in its user space."""
        pen, boxes, self.boxes = self.context, self.boxes, []
        keys = {key: node.pop(key, None) for key in ("transform", "clip-path", "mask", "opacity")}
        saved = fresh(node)
        path = pen.copy_path()
        pen.save()
        pen.new_path()
        saved.prepared = True
        self.quiet += 1
        self._draw_uncut(saved)
        self.quiet -= 1
        pen.restore()
        pen.new_path()
        pen.append_path(path)
        node.update({key: value for key, value in keys.items() if value is not None})
        points = [pen.device_to_user(*point) for point in self.boxes]
        self.boxes = boxes
        if not points:
            return 0, 0, 0, 0
        xs, ys = zip(*points)
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)

    def unscaled(self, pen: Context) -> float | None:
        """Px a unit of the pen's width where it is not scaled with its shape, else None."""
        node = self.nodes[-1][0]
        return self.root_zoom if node.get("vector-effect") == "non-scaling-stroke" else None


def _luminance_to_alpha(surface):
    surface.flush()
    width, height, stride = surface.get_width(), surface.get_height(), surface.get_stride()
    data = np.frombuffer(surface.get_data(), np.uint8).reshape(height, stride)[:, :4 * width]
    pixels = data.reshape(height, width, 4)             # premultiplied: blue, green, red, alpha
    light = pixels[..., :3] @ np.array([0.0721, 0.7154, 0.2125])
    pixels[...] = np.rint(light).astype(np.uint8)[..., None]
    surface.mark_dirty()


def _fit(ratio, width, height, inner_width, inner_height):
    """preserveAspectRatio -> (scale x, scale y, shift x, shift y) of a viewBox in a viewport."""
    align, *meet = (ratio or "xMidYMid").split()
    scales = width / inner_width, height / inner_height
    if align == "none":
        return *scales, 0, 0
    scale = max(scales) if meet == ["slice"] else min(scales)
    shares = {"Min": 0, "Mid": 0.5, "Max": 1}
    return (scale, scale, shares.get(align[1:4], 0.5) * (width - scale * inner_width),
            shares.get(align[5:8], 0.5) * (height - scale * inner_height))


def _check_depth(nodes):
    if len(nodes) > MOST_NESTED:
        raise RecursionError


@functools.lru_cache
def recorder() -> type[Drawing]:
    """CairoSVG's PNG surface with both additions (made here, so that charts need no CairoSVG)."""
    import cairocffi
    import cairosvg.surface
    pen = type("Pen", (Pen, cairocffi.Context), {})
    return type("Recorder", (Drawing, cairosvg.surface.PNGSurface), {"pen": pen})
