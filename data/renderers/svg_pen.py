"""Cairo's pen, watched: each node that painted has a mark, and what can be seen of it is counted.

The pixels in the box of each painting are compared before and after. What an opaque painting hides
is taken off those below; a group is a layer of its own that is merged when it is painted.
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from data.renderers.svg_paint import (
    bounds_of,
    clip_of,
    corners_of,
    letter_cell,
    letter_corners,
    paint_of,
    subpaths,
    surface_paint,
    zoom,
)
from data.renderers.svg_text import draw_lines, lines_of
from data.renderers.svg_values import SHAPES, TEXTS

if TYPE_CHECKING:
    from cairocffi import Context, FontOptions

MOST_WATCHED = 100_000_000      # px that are looked at; what is painted later counts as seen
CAPS = ("butt", "round", "square")
JOINS = ("miter", "round", "bevel")


class _Layer:
    """A surface that is painted on: its pixels, and which painting hid what lay there.

    array: (height, width) uint32 view; hidden: (height, width) number of the last opaque painting;
    paintings: [(number, mark, top, left, changed)], `changed` a bool array, None where not watched.
    """

    def __init__(self, surface):
        width, height, stride = surface.get_width(), surface.get_height(), surface.get_stride()
        self.surface = surface
        self.left, self.top = (round(-v) for v in surface.get_device_offset())
        data = np.frombuffer(surface.get_data(), np.uint32)
        self.array = data.reshape(height, stride // 4)[:, :width]
        self.hidden = np.zeros((height, width), np.int32)
        self.paintings = []

    def box(self, bounds):
        """The part of the surface within bounds (x0, y0, x1, y1 in px): (rows, columns)."""
        height, width = self.array.shape
        x0, y0 = (max(0, math.floor(v) - 1 - o) for v, o in zip(bounds, (self.left, self.top)))
        x1, y1 = (math.ceil(v) + 1 - o for v, o in zip(bounds[2:], (self.left, self.top)))
        return slice(y0, max(y0, min(height, y1))), slice(x0, max(x0, min(width, x1)))


class Pen:
    """Added to Cairo's drawing context: tells the surface what is painted, then paints it."""

    def fill_preserve(self) -> None:
        if self.surface.begins("fill", self):
            before = self.surface.painting("fill", self)
            super().fill_preserve()
            self.surface.painted(before)

    def stroke(self) -> None:
        if not self.surface.begins("stroke", self):
            self.new_path()
            return
        ratio = self.surface.unscaled(self)
        before = self.surface.painting("stroke", self)
        if ratio:                           # the pen itself is not transformed
            self.save()
            self.identity_matrix()
            self.set_line_width(self.get_line_width() * ratio)
            dashes, offset = self.get_dash()
            self.set_dash([d * ratio for d in dashes], offset * ratio)
            super().stroke()
            self.restore()
        else:
            super().stroke()
        self.surface.painted(before)

    def set_font_options(self, options: FontOptions) -> None:
        import cairocffi  # the best antialiasing would draw masks for LCD stripes
        options.set_antialias(cairocffi.ANTIALIAS_GRAY)
        super().set_font_options(options)

    def show_text(self, letter: str) -> None:
        if self.surface.boxes is not None:
            self.surface.boxes += letter_cell(letter, self)
        elif self.surface.begins("fill", self):
            x, y = self.get_current_point()
            before = self.surface.lettered(letter, self)
            super().show_text(letter)
            draw_lines(self.surface, self, self.surface.nodes[-1][0], letter, x, y)
            self.surface.painted(before)

    def push_group(self) -> None:
        super().push_group()
        self.surface.entered(self)

    def pop_group_to_source(self) -> None:
        super().pop_group_to_source()
        self.surface.left_group()

    def paint_with_alpha(self, alpha: float) -> None:
        before = self.surface.pictured(alpha, self)
        node = self.surface.nodes[-1][0]
        if node.tag == "image" and hasattr(node, "image_width") and self.surface.group is None:
            import cairocffi  # its edges are as sharp as those of a rectangle
            self.get_source().set_extend(cairocffi.EXTEND_PAD)
            self.rectangle(0, 0, node.image_width, node.image_height)
            self.clip()
        super().paint_with_alpha(alpha)
        self.surface.painted(before)


class Watch:
    """Added to a surface: notes what its pen paints; `marks` has an entry per node that did."""

    def watch(self) -> None:
        """Start, right after the context is made."""
        self.marks, self.nodes, self.token = [], [], 0
        self.layers, self.number, self.watched = [_Layer(self.cairo)], 0, 0
        self.quiet, self.cuts, self.boxes, self.group = 0, [], None, None

    # --- 1. what is painted ---
    def mark(self, pen: Context) -> dict:
        """The entry of the node being drawn; made when it is first painted."""
        node, token = self.nodes[-1]
        if not self.marks or self.marks[-1]["token"] != token:
            group = math.prod(float(getattr(n, "group_opacity", n.get("opacity", 1)))
                              for n, _ in self.nodes if n.children or hasattr(n, "group_opacity"))
            text = next((t for n, t in self.nodes if n.tag == "text"), None)
            self.marks.append({
                "token": token, "tag": node.tag, "text_token": text, "seen": 0,
                "clip": clip_of(pen), "cuts": [cut for cuts in self.cuts for cut in cuts],
                "opacity": group, "paths": [], "letters": [], "points": [], "paints": {},
                "fill": None, "fill_opacity": 1.0, "stroke": None, "stroke_opacity": 1.0,
                "stroke_width": 0.0, "dash": False, "style": {}, "first": None})
        return self.marks[-1]

    def painting(self, how: str, pen: Context) -> tuple | None:
        """Before a fill or stroke: note how it is painted, and how the pixels are now."""
        node = self.nodes[-1][0]
        colour, paint, alpha = paint_of(pen.get_source(), pen)
        wide = pen.get_line_width() if how == "stroke" else 0
        if self.quiet or node.tag not in SHAPES and node.tag not in TEXTS or \
                how == "fill" and node.tag == "line" or how == "stroke" and not (colour and wide):
            return None
        mark = self.mark(pen)
        mark["first"] = mark["first"] or (colour and how)
        mark |= {how: colour, f"{how}_opacity": alpha}
        if paint:
            mark["paints"][how] = paint
        zoomed = self.unscaled(pen) or zoom(pen)
        if how == "stroke":
            mark["stroke_width"] = wide * zoomed
            mark["style"] |= {"cap": CAPS[pen.get_line_cap()], "join": JOINS[pen.get_line_join()],
                              "miter": pen.get_miter_limit()}
            dashes, offset = pen.get_dash()
            mark["dash"] = bool(dashes)
            if dashes:
                mark["style"] |= {"dashes": [d * zoomed for d in dashes],
                                  "dash_offset": offset * zoomed}
        elif pen.get_fill_rule():
            mark["style"]["rule"] = "evenodd"
        if not mark["paths"] and mark["text_token"] is None:
            mark["paths"] = subpaths(pen, max(0.1, 0.0004 * max(self.width, self.height)))
        corners = corners_of(pen, *pen.path_extents())
        reach = wide * zoomed * max(1.5, pen.get_miter_limit() / 2)
        return self._watch(pen, mark, corners, reach, colour, alpha)

    def lettered(self, letter: str, pen: Context) -> tuple | None:
        """Before a letter is painted."""
        if self.quiet:
            return None
        colour, paint, alpha = paint_of(pen.get_source(), pen)
        mark, (x, y) = self.mark(pen), pen.get_current_point()
        node = self.nodes[-1][0]
        if not mark["letters"]:
            face = pen.get_font_face()
            a, b, c, d, _, _ = pen.get_matrix().as_tuple()
            mark["first"] = mark["first"] or (colour and "fill")
            mark |= {"fill": colour, "fill_opacity": alpha, "text": node.text,
                     "em": self.font_size * zoom(pen),
                     "turn": [v / (zoom(pen) or 1) for v in (a, b, c, d)]}
            mark["style"] |= {
                "font": [face.get_family(), str(node.get("font-weight", "normal")),
                         str(node.get("font-style", "normal"))]}
            if paint:
                mark["paints"]["fill"] = paint
        mark["letters"].append([letter, *pen.user_to_device(x, y)])
        corners = letter_corners(letter, pen)
        mark["points"] += corners
        lines = lines_of(node)
        if lines:
            mark["style"]["decoration"] = " ".join(lines)
        return self._watch(pen, mark, corners, self.font_size * zoom(pen) if lines else 1, colour,
                           alpha)

    def pictured(self, alpha: float, pen: Context) -> tuple | None:
        """Before a raster image or a group is painted."""
        node = self.nodes[-1][0]
        if self.quiet:
            return None
        if self.group is not None or node.tag != "image" or not hasattr(node, "image_width"):
            return self.composed(pen, alpha)
        points = corners_of(pen, 0, 0, node.image_width, node.image_height)
        points[2:] = points[3], points[2]       # around, not crosswise
        mark = self.mark(pen)
        mark.update(paths=[(points, True)], fill="image", fill_opacity=alpha)
        mark["paints"]["fill"] = surface_paint(pen.get_source(), pen, "image")
        return self._watch(pen, mark, points, 1, "image", alpha)

    # --- 2. what can be seen of it ---
    def _watch(self, pen, mark, corners, reach, colour, alpha):
        """The pixels in the box of a painting, before it is done."""
        layer = self.layers[-1]
        bounds, clip = bounds_of(corners), clip_of(pen)
        box = layer.box([max(bounds[0] - reach, clip[0]), max(bounds[1] - reach, clip[1]),
                         min(bounds[2] + reach, clip[2]), min(bounds[3] + reach, clip[3])])
        area = (box[0].stop - box[0].start) * max(0, box[1].stop - box[1].start)
        self.watched += area
        self.number += 1
        if not colour or area <= 0:
            return None
        if self.watched > MOST_WATCHED:
            layer.paintings.append((self.number, mark, 0, 0, None))
            return None
        layer.surface.flush()
        solid = None
        if colour.startswith("#") and alpha >= 1:
            solid = 0xff000000 | int(colour[1:], 16)
        elif colour == "gradient" and alpha >= 1 and mark["paints"].get(
                "fill", mark["paints"].get("stroke", {})).get("opaque"):
            solid = "changed"
        return layer, box, layer.array[box].copy(), mark, solid

    def painted(self, before: tuple | None) -> None:
        """After a painting: which pixels it changed, and which of them it hid wholly."""
        if before is None:
            return
        layer, box, old, mark, solid = before
        layer.surface.flush()
        new = layer.array[box]
        changed = new != old
        if not changed.any():
            return
        top, left = box[0].start, box[1].start
        if type(mark) is _Layer:
            self._merge(mark, layer, box, changed, solid)
            return
        layer.paintings.append((self.number, mark, top, left, changed))
        if solid is not None:
            hidden = changed if solid == "changed" else changed & (new == solid)
            layer.hidden[box][hidden] = self.number

    def entered(self, pen: Context) -> None:
        if not self.quiet:
            self.layers.append(_Layer(pen.get_group_target()))

    def left_group(self) -> None:
        if not self.quiet:
            self.group = self.layers.pop()

    def composed(self, pen: Context, alpha: float) -> tuple | None:
        """Before a group is painted on what lies below it."""
        group, self.group = self.group, None
        if self.quiet or group is None or not group.paintings:
            return None
        layer = self.layers[-1]
        height, width = group.array.shape
        box = layer.box((group.left, group.top, group.left + width, group.top + height))
        layer.surface.flush()
        self.watched += height * width
        return layer, box, layer.array[box].copy(), group, alpha

    def _merge(self, group, layer, box, changed, alpha):
        """The paintings of a group become paintings of the layer below."""
        top, left = (box[0].start + layer.top - group.top, box[1].start + layer.left - group.left)
        height, width = group.array.shape
        rows, columns = (slice(max(0, -top), min(changed.shape[0], height - top)),
                         slice(max(0, -left), min(changed.shape[1], width - left)))
        inside = np.zeros((height, width), bool)
        inside[rows.start + top:rows.stop + top, columns.start + left:columns.stop + left] = \
            changed[rows, columns]
        below = (box[0].start + rows.start, box[1].start + columns.start)
        shift = below[0] - rows.start - top, below[1] - columns.start - left
        for number, mark, y, x, mask in group.paintings:
            if mask is not None:
                part = slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1])
                mask = mask & inside[part] & (group.hidden[part] <= number)
                if not mask.any():
                    continue
            layer.paintings.append((number, mark, y + shift[0], x + shift[1], mask))
        opaque = inside & (group.array >> 24 == 255) if alpha >= 1 else np.zeros_like(inside)
        y, x = np.nonzero(opaque)
        now = layer.array[y + shift[0], x + shift[1]]
        same = now == group.array[y, x]
        y, x = y[same], x[same]
        layer.hidden[y + shift[0], x + shift[1]] = np.maximum(
            group.hidden[y, x], group.paintings[0][0])

    def count_seen(self) -> None:
        """Into each mark: how many pixels it changed and still owns, as a share of all."""
        layer = self.layers[0]
        for number, mark, y, x, mask in layer.paintings:
            if mask is None:
                mark["seen"] += layer.array.size
                continue
            # the margin of a box may lie outside the layer below
            rows = slice(max(0, y), y + mask.shape[0])
            columns = slice(max(0, x), x + mask.shape[1])
            hidden = layer.hidden[rows, columns]
            part = mask[rows.start - y:, columns.start - x:][:hidden.shape[0], :hidden.shape[1]]
            mark["seen"] += int((part & (hidden <= number)).sum())
