"""What a rendering is: a picture and its scene, and what all renderers share.

A scene is plain JSON of what can be seen in a picture; SCENES shows its shape by example. Answers
of the sandboxed processes are checked against it, since a program may have forged them.
"""
import atexit
import functools
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from data.renderers.schema import Between, ByType, Same, fault

TASKS = ("chart", "table", "svg")
KINDS = ("syntax", "runtime", "timeout", "memory", "forbidden", "blank", "too_large")
MAX_SIDE, MAX_PIXELS = 10_000, 25_000_000  # of a picture at its natural size
MAX_ASPECT = 150  # longest by shortest side; an image processor gives up at 200


@dataclass
class Rendering:
    """A picture (PIL, RGB on white) and its scene: plain JSON of what can be seen in it."""
    image: Image.Image
    scene: dict


class RenderError(Exception):
    """Why there is no picture: `kind` (one of KINDS) and `message`, one sentence."""
    scene = None  # nothing can be seen; as good an answer as a Rendering's

    def __init__(self, kind, message):
        super().__init__(kind, message)
        self.kind, self.message = kind, message

    def __str__(self):
        return f"{self.kind}: {self.message}"


# --- 1. scenes by example ---

# What a scene holds, in the words of data/renderers/schema.py. Data are in the units of the axes;
# colours are "#rrggbb" or null for none; numbers keep 6 significant digits.
COLOR = (re.compile("#[0-9a-f]{6}"), None)
NUMBER = (0.0, None)  # null: NaN or infinite
_BOX, _DIRECTION = [NUMBER] * 4, ("v", "h")
_SERIES = {"type": "", "label": "", "x": Same("n", NUMBER), "y": Same("n", NUMBER)}
MARKS = {
    "bars": {"type": "", "orient": _DIRECTION, "label": "", "names": Same("n", ""),
             "pos": Same("n", 0.0), "base": Same("n", 0.0), "value": Same("n", 0.0),
             "thick": Same("n", 0.0), "colors": Same("n", COLOR), "edges": Same("n", COLOR),
             "alpha": NUMBER, "hatch": ""},
    "line": _SERIES | {"color": COLOR, "linestyle": "", "linewidth": 0.0, "marker": "",
                       "markersize": 0.0, "alpha": NUMBER, "drawstyle?": "",
                       "z?": Same("n", NUMBER)},  # z if 3-D
    "scatter": _SERIES | {"colors": Same("n", COLOR), "sizes": Same("n", NUMBER), "marker": "",
                          "alpha": NUMBER, "z?": Same("n", NUMBER)},
    "errorbar": _SERIES | {"xlow": (None, Same("x", NUMBER)), "xhigh": (None, Same("x", NUMBER)),
                           "ylow": (None, Same("y", NUMBER)), "yhigh": (None, Same("y", NUMBER)),
                           "color": COLOR, "linestyle": "", "marker": ""},  # no x bars: null
    "area": {"type": "", "orient": _DIRECTION, "label": "", "x": Same("n", 0.0),
             "low": Same("n", 0.0), "high": Same("n", 0.0), "color": COLOR, "alpha": NUMBER},
    "pie": {"type": "", "names": Same("n", ""), "fractions": Same("n", NUMBER),
            "colors": Same("n", COLOR), "start": NUMBER, "clockwise": True, "radius": NUMBER,
            "hole": NUMBER, "explode": Same("n", NUMBER), "texts": [""]},
    "box": {"type": "", "orient": _DIRECTION, "names": Same("n", ""), "pos": Same("n", NUMBER),
            "median": Same("n", NUMBER), "q1": Same("n", NUMBER), "q3": Same("n", NUMBER),
            "low": Same("n", NUMBER), "high": Same("n", NUMBER),
            "fliers": ([], Same("n", [NUMBER])), "color": COLOR,
            "colors": ([], Same("n", COLOR))},
    "image": {"type": "", "data": [Same("columns", NUMBER)], "shape": ([0, 0], [0, 0, 0]),
              "cmap": "", "clim": ([], [NUMBER, NUMBER])},
    "patch": {"type": "", "shape": "", "label": "", "box": _BOX, "color": COLOR,
              "segments?": [_BOX]}}
_TICK = {"pos": 0.0, "text": ""}
_LEGEND = (None, {"title": "", "entries": [{"text": "", "color": COLOR}]})
_NOTE = {"text": "", "x": NUMBER, "y": NUMBER}
_FILL = (re.compile("#[0-9a-f]{6}|gradient|pattern|image"), None)
_LENGTH = Between(1e-9, 1e9)
_STYLE = {"cap?": "", "join?": "", "miter?": NUMBER, "dashes?": [NUMBER], "dash_offset?": NUMBER,
          "first?": "", "rule?": "", "font?": ["", "", ""], "decoration?": ""}
_PAINT = {"kind": "", "numbers?": [NUMBER], "stops?": [[NUMBER, COLOR, NUMBER]], "extend?": 0,
          "matrix?": [NUMBER] * 6, "digest?": "", "look?": [COLOR]}
_SHAPE = {"type": "", "box": [0.0] * 4, "fill": _FILL, "fill_opacity": 0.0, "stroke": _FILL,
          "stroke_width": 0.0, "stroke_opacity": 0.0, "opacity": 0.0, "dash": True, "seen": 0.0,
          "clip?": [0.0] * 4, "style?": _STYLE, "paints?": {"fill?": _PAINT, "stroke?": _PAINT},
          "cuts?": [{"kind": "", "box?": [0.0] * 4, "look": ""}]}  # all in canvas fractions
_TURN = (None, [NUMBER] * 4)
_LETTERS = {"text": "", "font_size": 0.0, "turn": _TURN, "letters": [[0.0, 0.0]], "runs?": [{
    "letters": 0, "text": "", "font_size": 0.0, "style": _STYLE, "turn": _TURN, "fill": _FILL,
    "fill_opacity": 0.0, "stroke": _FILL}]}
# Of tables, in px of the page. window: the part of it that the picture shows. styles: how letters
# look; edges: how the four sides of a cell are drawn; both are referred to by number. breaks:
# letters before each line break; width, ink, indent: of the text; nested, tables: the tables
# inside.
_RUN, _PLACE = {"text": "", "style": 0}, [0.0] * 4
_MARK = {"kind": "", "color": "", "box": _PLACE}
_ALIGN = ("left", "center", "right", None)  # null: there is no room to tell
_CELL = {"row": 0, "col": 0, "rowspan": 0, "colspan": 0, "text": "", "header": True,
         "align": _ALIGN, "valign": ("top", "middle", "bottom", None), "bold": True, "color": COLOR,
         "background": COLOR, "box": _PLACE, "pad": [0.0, 0.0], "edges": 0, "lines": 0, "style?": 0,
         "runs?": [_RUN], "breaks?": [0], "marks?": [_MARK], "width?": 0.0, "ink?": _LENGTH,
         "indent?": [0.0, 0.0], "nested?": True}
_TABLE = {"rows": 0, "cols": 0, "box": _PLACE, "apart?": [0, 0], "caption": "", "edges": 0,
          "ground": COLOR, "caption_look": (None, {"side": ("top", "bottom"), "align": _ALIGN,
                                                   "ground?": COLOR, "runs": [_RUN]}),
          "cells": [_CELL]}
_CELL["tables?"] = [_TABLE]
_EDGE = (re.compile(r"[a-z]+ [\d.]+(e[-+]?\d+)? #[0-9a-f]{6}"), None)
SCENES = {
    "chart": {"task": "chart", "size": [0, 0], "title": "", "facecolor": COLOR, "texts": [_NOTE],
              "legend": _LEGEND, "axes": [{
                  "box": [0.0] * 4, "title": "", "xlabel": "", "ylabel": "", "xscale": "",
                  "yscale": "", "xlim": [0.0, 0.0], "ylim": [0.0, 0.0], "xticks": [_TICK],
                  "yticks": [_TICK], "zlabel?": "", "zscale?": "", "zlim?": [0.0, 0.0],
                  "zticks?": [_TICK], "grid": {"x": True, "y": True}, "facecolor": COLOR,
                  "projection": "", "spines": [""], "legend": _LEGEND, "annotations": [
                      _NOTE | {"target?": [NUMBER, NUMBER]}],  # target: arrow tip
                  "twin": (0, None), "dates": {"x": True, "y": True}, "view": [NUMBER],
                  "marks": [ByType(MARKS)]}],
              # What was painted, from back to front, boxes and pixels in fractions of the canvas.
              "inches": [0.0, 0.0], "painted": [{
                  "axes": (0, None), "place": "", "mark": (0, None), "part": (0, None), "kind": "",
                  "artist": "", "z": 0, "pixels": 0.0, "box": [0.0] * 4, "count": 0, "size": 0.0,
                  "fill": [COLOR], "stroke": [COLOR], "opacity": [0.0], "width": [0.0],
                  "dash": [0.0], "hatch": "", "text": "", "font": "", "angle": 0.0}],
              "digest": "", "pixels": [""]},  # the picture, small, in pieces
    "table": {"task": "table", "size": [0, 0], "window": [0.0] * 4, "outside": "",
              "ground": COLOR, "around": {
        "runs": [_RUN], "lines": [{"above": 0, "x": 0.0, "y": 0.0, "letters": 0}],
        "marks": [_MARK | {"above": 0}]}, "tables": [_TABLE], "edges": [[_EDGE] * 4],
        "styles": [{"family": "", "size": _LENGTH, "bold": True, "italic": True, "color": COLOR,
                    "lines": "", "shift": re.compile("|sup|sub"), "back": COLOR}]},
    "svg": {"task": "svg", "size": [0, 0], "viewbox": [0.0, 0.0, _LENGTH, _LENGTH],
            "natural": [_LENGTH, _LENGTH], "digest": "", "picture": [""],
            "shapes": [ByType({"text": _SHAPE | _LETTERS},
                              _SHAPE | {"outline": [[0.0, 0.0]], "closed": True, "starts?": [0]})]}}
# Of SVG: the picture in small and its digest; "seen", the share of pixels a shape owns; "starts",
# where sub-paths begin in the outline; "clip", a box; "cuts", clip paths and masks; "paints",
# gradients, patterns and images; "runs", the pieces of a text; "turn", the matrix of its letters.


def scene_fault(scene: object) -> str | None:
    """Where and why a scene that came from outside cannot be one; None if it is sound."""
    task = scene.get("task") if isinstance(scene, dict) else None
    if task not in TASKS:
        return "task: none of " + ", ".join(TASKS)
    why = fault(scene, SCENES[task])
    if why is not None:
        return why
    for i, axes in enumerate(scene.get("axes", [])):
        if axes["twin"] is not None and axes["twin"] >= len(scene["axes"]):
            return f"axes.{i}.twin: no such axes"
    if task == "table" and any(run["style"] >= len(scene["styles"])
                               for run in scene["around"]["runs"]):
        return "around.runs: no such style"
    return _table_fault(scene, scene.get("tables", []))


def _table_fault(scene, tables):
    for i, table in enumerate(tables):
        if max(table["rows"], table["cols"]) > len(table["cells"]):  # one begins in each
            return f"tables.{i}: more rows or columns than cells"
        if table["edges"] >= max(1, len(scene["edges"])):
            return f"tables.{i}: no such edges"
        if any(run["style"] >= len(scene["styles"])
               for run in (table.get("caption_look") or {}).get("runs", ())):
            return f"tables.{i}.caption_look: no such style"
        for j, cell in enumerate(table["cells"]):
            if cell["row"] + cell["rowspan"] > table["rows"] or \
                    cell["col"] + cell["colspan"] > table["cols"]:
                return f"tables.{i}.cells.{j}: outside of its table"
            runs = cell.get("runs", [{"style": cell.get("style", 0)}] * ("style" in cell))
            if any(run["style"] >= len(scene["styles"]) for run in runs) or \
                    cell["edges"] >= len(scene["edges"]):
                return f"tables.{i}.cells.{j}: no such style"
            why = _table_fault(scene, cell.get("tables", []))
            if why is not None:
                return f"tables.{i}.cells.{j}.{why}"
    return None


def six(value: float | str | Iterable | None) -> float | str | list | None:
    """A plain JSON copy of numbers, nested or not: 6 significant digits; NaN and inf are null."""
    if type(value) is not float:  # the common case first: this is called for every point
        if value is None or isinstance(value, str):
            return value
        if hasattr(value, "__iter__"):
            return [six(v) for v in value]
    value = float(f"{value:.6g}")
    return value if math.isfinite(value) else None


def rgb_hex(rgba: Sequence[float] | None) -> str | None:
    """(r, g, b, a) in 0-1 -> "#rrggbb", or None where nothing is painted."""
    if rgba is None or rgba[3] == 0:
        return None
    return "#%02x%02x%02x" % tuple(max(0, min(255, round(255 * c))) for c in rgba[:3])


def target_size(width: float, height: float, size: int | tuple[int, int] | None) \
        -> tuple[float, int, int, tuple[int, int]]:
    """Natural (width, height) in px and `size` -> (scale, drawn width, drawn height, canvas).

    The drawing is as large as fits: never resampled, always drawn anew at that scale.
    """
    check_size(width, height)
    box = (size, size) if isinstance(size, int) else size or (width, height)
    scale = min(box[0] / width, box[1] / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = tuple(size) if isinstance(size, (tuple, list)) else (w, h)
    check_size(*canvas)
    return scale, w, h, canvas


def check_size(width: float, height: float) -> None:
    """RenderError if a picture has no area, is too large, or is too flat for a model to look at."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise RenderError("too_large", f"the picture would be {width:.6g} x {height:.6g} px; "
                          f"at most {MAX_SIDE} px a side and {MAX_PIXELS} px in all are drawn")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RenderError("too_large", f"the picture would be {width:.6g} x {height:.6g} px; one "
                          f"side may be at most {MAX_ASPECT} times as long as the other")


def on_canvas(image: Image.Image, canvas: tuple[int, int]) -> Image.Image:
    """Paste at the top left of a white canvas; a one-colour picture is `blank`."""
    if all(low == high for low, high in image.getextrema()):
        raise RenderError("blank", "the picture is one flat colour: nothing was drawn")
    if image.size == tuple(canvas):
        return image
    page = Image.new("RGB", canvas, "white")
    page.paste(image, (0, 0))
    return page


@functools.lru_cache
def use_own_fonts() -> None:
    """Make fontconfig (SVG, tables) see Matplotlib's DejaVu fonts and no others.

    Must run before the first text is drawn. Hinting is off: it differs between FreeType versions.
    """
    import matplotlib
    folder = tempfile.mkdtemp(prefix="visual_erm_fonts_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with open(os.path.join(folder, "fonts.conf"), "w") as file:
        file.write(FONTS_CONF.format(fonts=os.path.join(matplotlib.get_data_path(), "fonts", "ttf"),
                                     folder=folder))
    os.environ["FONTCONFIG_FILE"] = file.name


FONTS_CONF = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<dir>{fonts}</dir><cachedir>{folder}</cachedir><config><rescan><int>0</int></rescan></config>
<selectfont><rejectfont><glob>*/cm*.ttf</glob></rejectfont><rejectfont><glob>*/STIX*</glob>
</rejectfont><rejectfont><glob>*Display*</glob></rejectfont></selectfont>
<alias binding="same"><family>serif</family><prefer><family>DejaVu Serif</family></prefer></alias>
<alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer>
</alias><match target="pattern"><edit name="family" mode="append_last" binding="same">
<string>DejaVu Sans</string></edit></match>
<match target="font"><edit name="antialias" mode="assign"><bool>true</bool></edit>
<edit name="hinting" mode="assign"><bool>false</bool></edit>
<edit name="hintstyle" mode="assign"><const>hintnone</const></edit>
<edit name="rgba" mode="assign"><const>none</const></edit></match></fontconfig>"""


def short(error: BaseException) -> str:
    """The message of an exception on one line of at most 200 characters."""
    return " ".join(str(getattr(error, "msg", None) or error).split())[:200]
