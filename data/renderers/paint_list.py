"""The paint list of a chart: every call of Matplotlib to its renderer, as numbers and strings.

`Recorder` stands in for Matplotlib's Agg renderer while a figure is drawn. It paints nothing: it
notes each call with its graphics context and the stack of artists that made it. `pack` writes the
list down as bytes (JSON, then two blocks of numbers), never as a pickle, for a program may have
forged it. `data/renderers/painter.py` reads the bytes and paints.
"""
import json
import os
import struct
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import font_manager, rcParams, rcParamsDefault
from matplotlib.artist import Artist
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Transform

from data.renderers.scene import RenderError

MAX_ENTRIES = 200_000
MAX_BYTES = 96 << 20  # of a whole list, packed
# Settings that the painter needs as the program left them: they are read when text is painted.
SETTINGS = ("agg.path.chunksize", "font.", "mathtext.", "text.hinting", "text.hinting_factor",
            "text.kerning_factor")
FONTS = os.path.join(os.path.dirname(font_manager.__file__), "mpl-data", "fonts")

_stack = []  # rows of Recorder.artists: the artists whose draw() is running
_recorder = None  # the recorder that is running


def watch_artists() -> None:
    """Wrap `draw` of every Artist class that is not wrapped yet, so that each call has an owner."""
    todo, seen = [Artist], set()
    while todo:
        kind = todo.pop()
        if kind in seen:
            continue
        seen.add(kind)
        todo += kind.__subclasses__()
        draw = kind.__dict__.get("draw")
        if callable(draw) and not getattr(draw, "_watched", False):
            kind.draw = _watched(draw)

    if not getattr(RendererBase._draw_text_as_path, "_watched", False):
        RendererBase._draw_text_as_path = _watched_text(RendererBase._draw_text_as_path)


def _watched_text(draw):
    """Letters with path effects come as paths: keep what they spell while they are drawn."""
    def watched(self, gc, x, y, s, prop, *args, **kwargs):
        if _recorder is None:
            return draw(self, gc, x, y, s, prop, *args, **kwargs)
        _recorder.line += 1
        math = kwargs.get("ismath", args[1] if len(args) > 1 else False)
        _recorder.writing = {"text": str(s), "math": bool(math), "font": _recorder._font(prop),
                             "line": _recorder.line}
        try:
            return draw(self, gc, x, y, s, prop, *args, **kwargs)
        finally:
            _recorder.writing = None
    watched._watched = True
    return watched


def _watched(draw):
    def watched(self, *args, **kwargs):
        if _recorder is None:
            return draw(self, *args, **kwargs)
        _stack.append(_recorder.row(self))
        try:
            return draw(self, *args, **kwargs)
        finally:
            _stack.pop()
    watched.__dict__.update(draw.__dict__)  # Matplotlib keeps flags on its functions
    watched._watched = True
    return watched


class Recorder(RendererAgg):
    """Notes what a figure paints: `entries`, and the tables they point into.

    entries   one dict a call: "paint" (which call), "by" (row of artists), "gc" (row of contexts),
              and the arguments; arrays are (start, length) in `floats` or `octets`.
    artists   one [class name, row of the artist that drew it or None] an artist.
    """

    def __init__(self, width, height, dpi):
        self.entries, self.artists, self.contexts = [], [], []
        self.rows = {}  # (id of an artist, row of its owner) -> its row
        self.writing, self.line = None, 0  # the text that is drawn as a path
        self.rows_of = {}  # id of an artist -> all its rows
        self._contexts, self._fonts, self._paths = {}, {}, {}
        self._floats, self._octets, self._ends = [], [], [0, 0]
        self._kept = []  # artists and paths: an id must not be given twice
        super().__init__(width, height, dpi)

    def record(self, figure: Figure) -> None:
        """Draw the figure into this list."""
        global _recorder
        watch_artists()  # classes that the program made or changed
        _stack.clear()
        _recorder = self
        try:
            figure.draw(self)
        finally:
            _recorder = None

    def row(self, artist: Artist) -> int:
        """The row of an artist that begins to draw."""
        owner = _stack[-1] if _stack else None
        key = id(artist), owner
        if key not in self.rows:
            self.rows[key] = len(self.artists)
            self.rows_of.setdefault(id(artist), []).append(len(self.artists))
            self.artists.append([type(artist).__name__, owner])
            self._kept.append(artist)
        return self.rows[key]

# --- 1. what Matplotlib calls ---

    def _update_methods(self):
        super()._update_methods()
        if not self._filter_renderers:  # inside a filter Agg paints: its picture is an entry
            self.draw_markers = self._draw_markers
            self.draw_path_collection = self._draw_path_collection
            self.draw_quad_mesh = self._draw_quad_mesh
            self.draw_gouraud_triangles = self._draw_gouraud_triangles
            self.draw_image = self._draw_image

    def draw_path(self, gc: GraphicsContextBase, path: Path, transform: Transform,
                  rgbFace: Sequence[float] | None = None) -> None:
        if self._filter_renderers:
            return super().draw_path(gc, path, transform, rgbFace)
        spelt = {"writes": self.writing} if self.writing else {}
        return self._note("path", gc, path=self._put_paths([path]), transform=_affine(transform),
                          face=_rgba(rgbFace), **spelt)

    def draw_text(self, gc: GraphicsContextBase, x: float, y: float, s: str, prop: FontProperties,
                  angle: float, ismath: bool | str = False, mtext: Text | None = None) -> None:
        if self._filter_renderers:
            return super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        extra = {}
        if mtext is not None and (mtext.get_fontfeatures() or mtext.get_language()):
            language = mtext.get_language()
            extra = {"features": list(mtext.get_fontfeatures() or ()),
                     "language": language if isinstance(language, str) else None}
        return self._note("text", gc, x=float(x), y=float(y), text=str(s), font=self._font(prop),
                          angle=float(angle), math=bool(ismath), **extra)

    def draw_mathtext(self, gc: GraphicsContextBase, x: float, y: float, s: str,
                      prop: FontProperties, angle: float) -> None:
        if self._filter_renderers:
            return super().draw_mathtext(gc, x, y, s, prop, angle)
        return self.draw_text(gc, x, y, s, prop, angle, True)

    def draw_tex(self, gc: GraphicsContextBase, x: float, y: float, s: str, prop: FontProperties,
                 angle: float, *, mtext: Text | None = None) -> None:
        raise RenderError("runtime", "text.usetex needs LaTeX, which the sandbox does not run")

    def stop_filter(self, post_processing: Callable) -> None:
        image = np.asarray(self.buffer_rgba())
        seen = image[..., 3].nonzero()
        self._renderer = self._filter_renderers.pop()
        self._update_methods()
        if not len(seen[0]):
            return
        (top, bottom), (left, right) = ((int(s.min()), int(s.max()) + 1) for s in seen)
        found, x, y = post_processing(image[top:bottom, left:right] / 255, self.dpi)
        if found.dtype.kind == "f":
            found = np.asarray(found * 255., np.uint8)
        self.draw_image(self.new_gc(), left + x, int(self.height) - bottom + y, found[::-1])

    def _draw_markers(self, gc, marker, marker_transform, path, transform, face=None):
        self._note("markers", gc, marker=self._put_paths([marker]), face=_rgba(face),
                   marker_transform=_affine(marker_transform), path=self._put_paths([path]),
                   transform=_affine(transform))

    def _draw_path_collection(self, gc, master, paths, transforms, offsets, offset_transform,
                              faces, edges, widths, dashes, smooth, urls, place, *,
                              hatchcolors=None):
        if not len(paths):  # Matplotlib asks thus whether hatchcolors are known
            return
        hatches = {} if hatchcolors is None else {"hatch_colors": self._put(hatchcolors)}
        self._note("collection", gc, transform=_affine(master), paths=self._put_paths(paths),
                   transforms=self._put(transforms), offsets=self._put(offsets),
                   offset_transform=_affine(offset_transform), faces=self._put(faces),
                   edges=self._put(edges), widths=self._put(widths),
                   dashes=[_dash(dash) for dash in dashes],
                   smooth=[bool(value) for value in smooth], **hatches)

    def _draw_quad_mesh(self, gc, master, columns, rows, corners, offsets, offset_transform,
                        faces, smooth, edges):
        self._note("mesh", gc, transform=_affine(master), columns=int(columns), rows=int(rows),
                   corners=self._put(corners), offsets=self._put(offsets),
                   offset_transform=_affine(offset_transform), faces=self._put(faces),
                   smooth=bool(smooth), edges=self._put(edges))

    def _draw_gouraud_triangles(self, gc, triangles, colors, transform):
        self._note("triangles", gc, corners=self._put(triangles), colors=self._put(colors),
                   transform=_affine(transform))

    def _draw_image(self, gc, x, y, image, transform=None):
        image = np.ascontiguousarray(image, np.uint8)
        self._note("image", gc, x=float(x), y=float(y), pixels=self._put(image, 1),
                   shape=list(image.shape))

# --- 2. tables ---

    def _note(self, kind, gc, **what):
        if len(self.entries) >= MAX_ENTRIES:
            raise RenderError("too_large", f"it paints more than {MAX_ENTRIES} things")
        self.entries.append({"paint": kind, "by": _stack[-1] if _stack else None,
                             "gc": self._context(gc), **what})

    def _put(self, values, octets=0):
        """Append an array to one of the two blocks: (start, length) there."""
        block = self._octets if octets else self._floats
        values = np.ma.filled(np.ma.asarray(values, float), np.nan) if not octets else values
        values = np.ascontiguousarray(values, np.uint8 if octets else np.float64).ravel()
        start = self._ends[octets]
        self._ends[octets] += len(values)
        block.append(values)
        if 8 * self._ends[0] + self._ends[1] > MAX_BYTES:
            raise RenderError("too_large", f"what it paints takes more than {MAX_BYTES >> 20} MB")
        return [start, len(values)]

    def _put_paths(self, paths):
        """Paths, all in one: their points, their codes, and a row of five numbers each."""
        single = id(paths[0]) if len(paths) == 1 else None
        if single in self._paths:
            return self._paths[single]
        points = [np.asarray(path.vertices, float) for path in paths]
        codes = [path.codes for path in paths if path.codes is not None]
        rows = [(len(path.vertices), path.codes is not None, path.should_simplify,
                 path.simplify_threshold, path._interpolation_steps) for path in paths]
        found = {"points": self._put(np.concatenate(points)), "rows": self._put(rows),
                 "codes": self._put(np.concatenate(codes) if codes else [], 1)}
        if single is not None and getattr(paths[0], "_readonly", False):
            self._paths[single] = found  # a marker's: the same at each tick
            self._kept.append(paths[0])
        return found

    def _font(self, prop):
        """What picks a font, as plain data. Fonts other than Matplotlib's own are refused."""
        key = hash(prop)
        if key not in self._fonts:
            for file in font_manager.fontManager._find_fonts_by_props(prop)[:1]:
                if not os.path.realpath(file).startswith(os.path.realpath(FONTS) + os.sep):
                    raise RenderError("forbidden", f"the font {file} is not one of Matplotlib's")
            file = prop.get_file()
            self._fonts[key] = {
                "family": list(prop.get_family()), "style": prop.get_style(),
                "variant": prop.get_variant(), "weight": prop.get_weight(),
                "stretch": prop.get_stretch(), "size": float(prop.get_size_in_points()),
                "math": prop.get_math_fontfamily(),
                "file": os.path.relpath(os.path.realpath(file), os.path.realpath(FONTS))
                if file else None}
        return self._fonts[key]

    def _context(self, gc):
        """The row of a graphics context."""
        clip, (outline, transform) = gc.get_clip_rectangle(), gc.get_clip_path()
        paint = {
            "alpha": _number(gc.get_alpha()), "forced": bool(gc.get_forced_alpha()),
            "smooth": bool(gc.get_antialiased()), "cap": str(gc.get_capstyle()),
            "join": str(gc.get_joinstyle()), "dash": _dash(gc.get_dashes()),
            "width": float(gc.get_linewidth()), "color": _rgba(gc.get_rgb()),
            "clip": None if clip is None else [float(v) for v in clip.bounds],
            "hatch": gc.get_hatch(), "hatch_color": _rgba(gc.get_hatch_color()),
            "hatch_width": float(gc.get_hatch_linewidth()),
            "snap": None if gc.get_snap() is None else bool(gc.get_snap()),
            "sketch": gc.get_sketch_params() and [float(v) for v in gc.get_sketch_params()]}
        key = repr(paint), id(outline) if outline is not None else None, \
            None if outline is None else transform.get_matrix().tobytes()
        if key not in self._contexts:
            paint["outline"] = None if outline is None else {
                "path": self._put_paths([outline]), "transform": _affine(transform)}
            self._kept.append(outline)
            self._contexts[key] = len(self.contexts)
            self.contexts.append(paint)
        return self._contexts[key]

    def pack(self, names: dict) -> bytes:
        """The list as bytes. `names`: what the program's objects say of themselves, plain JSON."""
        settings = {key: value for key, value in rcParams.items() if key.startswith(SETTINGS)
                    and value != rcParamsDefault[key]}
        head = json.dumps({"size": [int(self.width), int(self.height)], "dpi": float(self.dpi),
                           "settings": settings, "artists": self.artists, "names": names,
                           "contexts": self.contexts, "entries": self.entries}).encode()
        floats, octets = (np.concatenate(block).tobytes() if block else b""
                          for block in (self._floats, self._octets))
        packed = struct.pack("=III", len(head), len(floats), len(octets)) + head + floats + octets
        if len(packed) > MAX_BYTES:
            raise RenderError("too_large", f"what it paints takes more than {MAX_BYTES >> 20} MB")
        return packed


# --- 3. plain values ---

def _number(value):
    return None if value is None else float(value)


def _rgba(color):
    """A colour that Matplotlib hands to a renderer: 3 or 4 numbers, or None."""
    return None if color is None else [float(v) for v in color]


def _dash(dash):
    offset, lengths = dash
    return [float(offset or 0), None if lengths is None else [float(v) for v in lengths]]


def _affine(transform):
    """The six numbers of an affine transform."""
    matrix = getattr(transform, "get_matrix", None)
    matrix = matrix() if matrix else transform.frozen().get_matrix()
    return matrix[:2].ravel().tolist()


