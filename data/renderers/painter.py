"""Paints a chart from its paint list, in a process that never ran the chart's program.

`unpack` reads the bytes of `data/renderers/paint_list.py`; each value is checked when it is used
(types, lengths, bounds), and what is not sound raises ValueError: the program may have forged it.
`Painter.paint` paints entry after entry and keeps for each pixel who changed it: the last opaque
entry, and those that shine above it. What cannot be seen in the end (covered, white on white,
transparent, clipped) owns no pixel.
"""
import json
import math
import os
import struct
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib._enums import CapStyle, JoinStyle
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D, Bbox, TransformedPath
from scipy.ndimage import find_objects

from data.renderers.paint_list import FONTS, MAX_BYTES, MAX_ENTRIES, SETTINGS
from data.renderers.scene import MAX_PIXELS, MAX_SIDE

OPAQUE = 0.95  # a colour of at least this opacity hides what is below it
VISIBLE = 6  # of 255: a pixel that changes by more, in one of three colours, has changed
HUGE = 1e300  # of a number that places something: Agg clips what is far outside


class PaintList:
    """A list read from bytes. Raises ValueError where it is not sound."""

    def __init__(self, packed):
        if len(packed) < 12 or len(packed) > MAX_BYTES:
            raise ValueError("a list of no sound length")
        head, floats, octets = struct.unpack("=III", packed[:12])
        if 12 + head + floats + octets != len(packed) or floats % 8:
            raise ValueError("blocks of other lengths")
        blocks = memoryview(packed)[12:]
        # writable: Agg asks for that
        self.floats = np.frombuffer(bytearray(blocks[head:head + floats]), np.float64)
        self.octets = np.frombuffer(bytearray(blocks[head + floats:]), np.uint8)
        fields = json.loads(bytes(blocks[:head]))
        self.names = fields["names"]
        self.width, self.height = (whole(v, 1, MAX_SIDE) for v in fields["size"])
        if self.width * self.height > MAX_PIXELS:
            raise ValueError("larger than any picture")
        self.dpi = number(fields["dpi"], 1e-3, 1e5)
        self.settings = {key: value for key, value in fields["settings"].items()
                         if key.startswith(SETTINGS) and key in rcParams}
        self.contexts, self.entries = fields["contexts"], fields["entries"]
        self.artists = [(text(kind, 200), None if owner is None else whole(owner, 0, row - 1))
                        for row, (kind, owner) in enumerate(fields["artists"])]
        if not isinstance(self.entries, list) or len(self.entries) > MAX_ENTRIES:
            raise ValueError("not a list of entries")
        for entry in self.entries:
            if entry["by"] is not None:
                whole(entry["by"], 0, len(self.artists) - 1)

    def array(self, place: list[int], *shape: int, octets: bool = False) -> np.ndarray:
        """An array of one of the blocks; one side of `shape` may be -1."""
        start, length = (whole(v, 0, MAX_BYTES) for v in place)
        block = self.octets if octets else self.floats
        if start + length > len(block):
            raise ValueError("an array beyond its block")
        return block[start:start + length].reshape(shape) if length or -1 not in shape else \
            np.empty([max(0, side) for side in shape])

    def paths(self, given: dict) -> list[Path]:
        """[Path]"""
        points = self.array(given["points"], -1, 2)
        rows = self.array(given["rows"], -1, 5)
        codes = self.array(given["codes"], -1, octets=True)
        counts, coded = rows[:, 0], rows[:, 1] != 0
        if not np.isfinite(rows).all() or (counts < 0).any() or counts.sum() != len(points) or \
                counts[coded].sum() != len(codes) or not np.isin(codes, (0, 1, 2, 3, 4, 79)).all():
            raise ValueError("paths that do not fit their points")
        found, at, code = [], 0, 0
        like = SimpleNamespace()
        for count, has_codes, simplify, threshold, steps in rows.tolist():
            like._should_simplify, like._simplify_threshold = simplify != 0, threshold
            like._interpolation_steps = int(min(1000, max(1, steps)))
            count = int(count)
            of_path = codes[code:code + count] if has_codes else None
            found.append(Path._fast_from_codes_and_verts(points[at:at + count], of_path, like))
            at, code = at + count, code + count * bool(has_codes)
        return found


class Painter(RendererAgg):
    """Paints one list; then `counts` and `boxes` say how many pixels each entry owns, and where."""

    def __init__(self, listed):
        super().__init__(listed.width, listed.height, listed.dpi)
        self.listed = listed
        self.owner = np.full((listed.height, listed.width), -1, np.int32)
        self._everywhere = slice(0, listed.height), slice(0, listed.width)
        self._box = None  # of what is being painted, in px from below
        self._opacity = 1.0  # least opacity of what is being painted
        self._contexts, self._fonts = {}, {}

    def paint(self) -> None:
        """Paint all entries; `counts`: for each the number of pixels that it owns in the end."""
        settings, rows = self.listed.settings, range(len(self.listed.entries))
        with rc_context(settings) if settings else nullcontext():
            self._paint_all(rows, boxed=True)
            if self._changed(self._everywhere).any():  # a box was too small: count without boxes
                self.clear()
                self._paint_all(rows, boxed=False)
        owned = self.owner[self.owner >= 0]
        self.counts = np.bincount(owned, minlength=len(rows))
        self.boxes = find_objects(self.owner + 1, max_label=len(rows))
        for row, region, mask in self._shining:  # seen unless something opaque came later
            mask &= self.owner[region] < row
            self.counts[row] = np.count_nonzero(mask)
            if self.counts[row]:
                self.boxes[row] = tuple(
                    slice(int(side.start + seen[0]), int(side.start + seen[-1] + 1)) for side, seen
                    in zip(region, (mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0])))

    def _paint_all(self, rows, boxed):
        self._now = np.asarray(self.buffer_rgba())
        self._before = np.full_like(self._now, 255)  # the page
        self._transparent = True  # somewhere on the canvas, as far as known
        self.owner[:] = -1
        self.painted = [0] * len(rows)  # pixels that each entry changed at its time
        self._shining = []  # (row, slices, mask) of translucent entries
        for row in rows:
            entry = self.listed.entries[row]
            gc = self._context(entry["gc"])
            self._box, self._opacity = None, 1.0
            PAINT[entry["paint"]](self, gc, entry)
            if row < 4 and self._transparent:  # the figure's own patch comes first
                self._transparent = not (self._now[..., 3] == 255).all()
            self._own(row, self._region(gc) if boxed else self._everywhere)

# --- 1. whose the pixels are ---

    def _region(self, gc):
        """The slices of the canvas in which the call may have changed pixels."""
        low, high = (0.0, 0.0), (self.width, self.height)
        for box in (self._box, gc.box):
            if box is not None:
                low = [max(a, b) for a, b in zip(low, box[:2])]
                high = [min(a, b) for a, b in zip(high, box[2:])]
        if not (low[0] < high[0] and low[1] < high[1]):
            return slice(0, 0), slice(0, 0)
        top, bottom = self.height - math.ceil(high[1]), self.height - math.floor(low[1])
        return slice(max(0, top), bottom), slice(math.floor(low[0]), math.ceil(high[0]))

    def _changed(self, region):
        """Which pixels of a region look other than when they last changed their owner."""
        now, before = self._now[region], self._before[region]
        changed = now.view(np.uint32)[..., 0] != before.view(np.uint32)[..., 0] \
            if now.size else np.zeros(now.shape[:2], bool)
        if changed.any():
            a, b = now[changed], before[changed]
            if self._transparent:  # the page below is white
                a, b = _on_white(a), _on_white(b)
            gap = np.maximum(a, b) - np.minimum(a, b)
            changed[changed] = gap[:, :3].max(axis=1) > VISIBLE
        return changed

    def _own(self, row, region):
        changed = self._changed(region)
        if changed.any():
            self.painted[row] = np.count_nonzero(changed)
            if self._opacity >= OPAQUE:
                self.owner[region][changed] = row
            else:
                self._shining.append((row, region, changed))
            self._before[region][changed] = self._now[region][changed]

# --- 2. contexts, fonts, boxes ---

    def _context(self, row):
        """The graphics context of a row of the table, and `box`: where it lets paint through."""
        if row not in self._contexts:
            given = self.listed.contexts[whole(row, 0, MAX_ENTRIES)]
            self._contexts[row] = self._new_context(given)
        return self._contexts[row]

    def _new_context(self, given):
        gc = self.new_gc()
        alpha = given["alpha"]
        gc._alpha = None if alpha is None else number(alpha, 0, 1)
        gc._forced_alpha, gc._antialiased = bool(given["forced"]), int(bool(given["smooth"]))
        gc._capstyle, gc._joinstyle = CapStyle(given["cap"]), JoinStyle(given["join"])
        gc._dashes, gc._linewidth = dash(given["dash"]), number(given["width"], 0, 1e6)
        gc._rgb = rgba(given["color"])
        gc._hatch = None if given["hatch"] is None else text(given["hatch"], 1000)
        gc._hatch_color = rgba(given["hatch_color"])
        gc._hatch_linewidth = number(given["hatch_width"], 0, 1e6)
        gc._snap = None if given["snap"] is None else bool(given["snap"])
        sketch = given["sketch"]
        gc._sketch = None if sketch is None else tuple(number(v, 0, 1e6) for v in listed(sketch, 3))
        gc.box = None
        if given["clip"] is not None:
            x, y, width, height = (number(v, -HUGE, HUGE) for v in listed(given["clip"], 4))
            gc._cliprect = Bbox.from_bounds(x, y, width, height)
            gc.box = x - 2, y - 2, x + width + 2, y + height + 2
        if given["outline"] is not None:
            path, = self.listed.paths(given["outline"]["path"])
            gc._clippath = TransformedPath(path, affine(given["outline"]["transform"]))
        return gc

    def _font(self, given):
        key = repr(given)
        if key not in self._fonts:
            file = None
            if given["file"] is not None:
                file = os.path.realpath(os.path.join(FONTS, text(given["file"], 1000)))
                if not file.startswith(os.path.realpath(FONTS) + os.sep):
                    raise ValueError("not a font of Matplotlib's")
            self._fonts[key] = FontProperties(
                family=[text(name, 200) for name in given["family"]], style=given["style"],
                variant=given["variant"], weight=given["weight"], stretch=given["stretch"],
                size=number(given["size"], 0, 1e5), fname=file, math_fontfamily=given["math"])
        return self._fonts[key]

    def _around(self, points, transform, pad):
        """Keep the box of transformed points, `pad` px wider, as that of the call."""
        if not len(points):
            self._box = 0, 0, 0, 0
            return
        points = transform.transform(points)
        low, high = np.fmin.reduce(points), np.fmax.reduce(points)
        box = [*(low - pad - 2), *(high + pad + 2)]
        self._box = [0, 0, 0, 0] if any(map(math.isnan, box)) else box

    def _shines(self, gc, *colors):
        """Keep the least opacity of some colours as that of the call."""
        for color in colors:
            if color is not None:
                own = color[3] if len(color) > 3 else 1.0
                use_gc = gc._alpha is not None and (gc._forced_alpha or len(color) == 3)
                self._opacity = min(self._opacity, gc._alpha if use_gc else own)

    def _shining_colors(self, *colors):
        """The same for arrays of colours, the opacity last."""
        self._opacity = min([1.0] + [float(c[..., -1].min()) for c in colors if c.size])

    def _stroked(self, gc):
        """How far a stroke reaches beyond its path: half its width, at the tips of joins more."""
        return 2.5 * gc._linewidth * self.dpi / 72 + (math.inf if gc._sketch else 0)

    def _draw_text_glyphs_and_boxes(self, gc, x, y, angle, glyphs, boxes):
        glyphs, boxes = list(glyphs), list(boxes)
        reach = 2.0 * max((size for _, size, *_ in glyphs), default=0) * self.dpi / 72
        points = [(dx, dy) for *_, dx, dy in glyphs]
        for dx, dy, width, height in boxes:
            points += [(dx, dy), (dx + width, dy + height)]
        turned = Affine2D().rotate_deg(angle).translate(x, self.height - y)
        self._around(np.array(points, float).reshape(-1, 2), turned, reach)
        super()._draw_text_glyphs_and_boxes(gc, x, y, angle, glyphs, boxes)

# --- 3. the calls ---

    def _path(self, gc, entry):
        path, = self.listed.paths(entry["path"])
        transform = affine(entry["transform"])
        drawn = path.vertices if path.codes is None else path.vertices[path.codes != Path.CLOSEPOLY]
        self._around(drawn, transform, self._stroked(gc))
        if "writes" in entry and not self._spells(path, entry["writes"]):
            del entry["writes"]
        face = rgba(entry["face"])
        self._shines(gc, face, gc._rgb if gc._linewidth else None)
        self.draw_path(gc, path, transform, face)

    def _spells(self, path, writes):
        """Whether a path is that of the letters that it is said to be."""
        whole(writes["line"], 0, MAX_ENTRIES)
        points, _ = text_to_path.get_text_path(
            self._font(writes["font"]), text(writes["text"], 20_000), ismath=bool(writes["math"]))
        return np.array_equal(np.reshape(points, (-1, 2)), path.vertices)

    def _markers(self, gc, entry):
        (marker,), (path,) = (self.listed.paths(entry[key]) for key in ("marker", "path"))
        small, transform = affine(entry["marker_transform"]), affine(entry["transform"])
        size = small.transform(marker.vertices) if len(marker.vertices) else np.zeros((1, 2))
        reach = float(np.nanmax(np.abs(size), initial=0)) + self._stroked(gc)
        self._around(path.vertices, transform, reach)
        face = rgba(entry["face"])
        self._shines(gc, face, gc._rgb if gc._linewidth else None)
        self.draw_markers(gc, marker, small, path, transform, face)

    def _collection(self, gc, entry):
        array = self.listed.array
        hatches = {"hatchcolors": array(entry["hatch_colors"], -1, 4)} \
            if "hatch_colors" in entry else {}
        dashes = [dash(given) for given in listed(entry["dashes"])]
        faces, edges = array(entry["faces"], -1, 4), array(entry["edges"], -1, 4)
        self._shining_colors(faces, edges)
        self.draw_path_collection(
            gc, affine(entry["transform"]), self.listed.paths(entry["paths"]),
            array(entry["transforms"], -1, 3, 3), array(entry["offsets"], -1, 2),
            affine(entry["offset_transform"]), faces, edges, array(entry["widths"], -1), dashes,
            np.array(listed(entry["smooth"]), bool), [None], "screen", **hatches)

    def _mesh(self, gc, entry):
        array = self.listed.array
        columns, rows = whole(entry["columns"], 0, 1e5), whole(entry["rows"], 0, 1e5)
        faces = array(entry["faces"], -1, 4)
        self._shining_colors(faces)
        self.draw_quad_mesh(
            gc, affine(entry["transform"]), columns, rows,
            array(entry["corners"], rows + 1, columns + 1, 2), array(entry["offsets"], -1, 2),
            affine(entry["offset_transform"]), faces, bool(entry["smooth"]),
            array(entry["edges"], -1, 4))

    def _triangles(self, gc, entry):
        array = self.listed.array
        corners, colors = array(entry["corners"], -1, 3, 2), array(entry["colors"], -1, 3, 4)
        if len(corners) != len(colors):
            raise ValueError("triangles without colours")
        self._shining_colors(colors)
        self.draw_gouraud_triangles(gc, corners, colors, affine(entry["transform"]))

    def _image(self, gc, entry):
        height, width, depth = (whole(v, 0, 4 * MAX_SIDE) for v in listed(entry["shape"], 3))
        if depth != 4:
            raise ValueError("not an image")
        x, y = (number(entry[key], -HUGE, HUGE) for key in "xy")
        self._box = x - 2, y - 2, x + width + 2, y + height + 2
        pixels = self.listed.array(entry["pixels"], height, width, 4, octets=True)
        self._shining_colors(pixels[..., 3:] / 255)
        self.draw_image(gc, x, y, pixels)

    def _text(self, gc, entry):
        extra = None
        if "language" in entry:
            features = tuple(text(v, 100) for v in listed(entry["features"])) or None
            extra = SimpleNamespace(get_fontfeatures=lambda: features,
                                    get_language=lambda: entry["language"])
        x, y, angle = (number(entry[key], -HUGE, HUGE) for key in ("x", "y", "angle"))
        self._shines(gc, gc._rgb)
        self.draw_text(gc, x, y, text(entry["text"], 20_000), self._font(entry["font"]), angle,
                       bool(entry["math"]), extra)


PAINT = {"path": Painter._path, "markers": Painter._markers, "collection": Painter._collection,
         "mesh": Painter._mesh, "triangles": Painter._triangles, "image": Painter._image,
         "text": Painter._text}


def _on_white(colors):
    alpha = colors[:, 3:].astype(np.uint16)
    return (colors[:, :3] * alpha // 255 + 255 - alpha).astype(np.uint8)


# --- 4. values of a list, checked ---

def number(value: object, low: float, high: float) -> float:
    """A finite number in bounds."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"no number between {low} and {high}")
    return value


def whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"no whole number between {low} and {high}")
    return value


def text(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError("no text, or too long a one")
    return value


def listed(value: object, length: int | None = None) -> list:
    if not isinstance(value, list) or length is not None and len(value) != length:
        raise ValueError("no list of that length")
    return value


def rgba(value: object) -> tuple[float, ...] | None:
    """A colour: 3 or 4 numbers, or None."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise ValueError("no colour")
    return tuple(number(v, 0, 1) for v in value)


def dash(value: object) -> tuple[float, list[float] | None]:
    offset, lengths = listed(value, 2)
    return number(offset, -1e6, 1e6), None if lengths is None else \
        [number(v, 0, 1e6) for v in listed(lengths)]


def affine(value: object) -> Affine2D:
    a, b, c, d, e, f = (number(v, -HUGE, HUGE) for v in listed(value, 6))
    return Affine2D(np.array([[a, b, c], [d, e, f], [0.0, 0.0, 1.0]]))
