"""What a rendering is: a picture and its scene, and what all renderers share.

A scene is plain JSON of what can be seen in a picture; SCENES shows its shape by example. Answers of
the sandboxed processes are checked against it, since a program may have forged them.
"""
import atexit
import functools
import math
import os
import shutil
import tempfile
from dataclasses import dataclass

from PIL import Image

TASKS = ("chart", "table", "svg")
KINDS = ("syntax", "runtime", "timeout", "memory", "forbidden", "blank", "too_large")
MAX_SIDE, MAX_PIXELS = 10_000, 25_000_000       # of a picture at its natural size


@dataclass
class Rendering:
    """A picture (PIL, RGB on white) and its scene: plain JSON of what can be seen in it."""
    image: Image.Image
    scene: dict


class RenderError(Exception):
    """Why there is no picture: `kind` (one of KINDS) and `message`, one sentence."""
    scene = None                            # nothing can be seen; as good an answer as a Rendering's

    def __init__(self, kind, message):
        super().__init__(kind, message)
        self.kind, self.message = kind, message

    def __str__(self):
        return f"{self.kind}: {self.message}"


# Scenes by example: "" stands for a string or null, 0.0 for a number or null, [x] for any number
# of x. Answers of the sandboxed processes are checked against these. Data are in the units of the
# axes; colours are "#rrggbb" or null for none; numbers keep 6 significant digits.
_SERIES = {"type": "", "label": "", "x": [0.0], "y": [0.0]}
MARKS = {
    "bars": {"type": "", "orient": "", "label": "", "names": [""], "pos": [0.0], "base": [0.0],
             "value": [0.0], "thick": [0.0], "colors": [""], "edges": [""], "alpha": 0.0,
             "hatch": ""},
    "line": _SERIES | {"color": "", "linestyle": "", "linewidth": 0.0, "marker": "",
                       "markersize": 0.0, "alpha": 0.0},            # drawstyle; z if 3-D
    "scatter": _SERIES | {"colors": [""], "sizes": [0.0], "marker": "", "alpha": 0.0},  # z if 3-D
    "errorbar": _SERIES | {"xlow": [0.0], "xhigh": [0.0], "ylow": [0.0], "yhigh": [0.0],
                           "color": "", "linestyle": "", "marker": ""},     # no x bars: null
    "area": {"type": "", "orient": "", "label": "", "x": [0.0], "low": [0.0], "high": [0.0],
             "color": "", "alpha": 0.0},
    "pie": {"type": "", "names": [""], "fractions": [0.0], "colors": [""], "start": 0.0,
            "clockwise": True, "radius": 0.0, "hole": 0.0, "explode": [0.0], "texts": [""]},
    "box": {"type": "", "orient": "", "names": [""], "pos": [0.0], "median": [0.0], "q1": [0.0],
            "q3": [0.0], "low": [0.0], "high": [0.0], "fliers": [[0.0]], "color": "",
            "colors": [""]},
    "image": {"type": "", "data": [[0.0]], "shape": [0.0], "cmap": "", "clim": [0.0]},
    "patch": {"type": "", "shape": "", "label": "", "box": [0.0], "color": ""}}     # segments
_TICK, _LEGEND = {"pos": 0.0, "text": ""}, {"title": "", "entries": [{"text": "", "color": ""}]}
_NOTE = {"text": "", "x": 0.0, "y": 0.0}                                        # target: arrow tip
SCENES = {
    "chart": {"task": "", "size": [0.0], "title": "", "facecolor": "", "texts": [_NOTE],
              "legend": _LEGEND, "axes": [{
                  "box": [0.0], "title": "", "xlabel": "", "ylabel": "", "xscale": "",
                  "yscale": "", "xlim": [0.0], "ylim": [0.0], "xticks": [_TICK],
                  "yticks": [_TICK], "grid": {"x": True, "y": True}, "facecolor": "",
                  "projection": "", "spines": [""], "legend": _LEGEND, "annotations": [_NOTE],
                  "twin": 0.0, "dates": {"x": True, "y": True}, "view": [0.0],
                  "marks": [MARKS]}],
              # What was painted, from back to front, boxes and pixels in fractions of the canvas.
              "inches": [0.0], "painted": [{
                  "axes": 0.0, "place": "", "mark": 0.0, "part": 0.0, "kind": "", "z": 0.0,
                  "artist": "", "size": 0.0,
                  "pixels": 0.0, "box": [0.0], "count": 0.0, "fill": [""], "stroke": [""],
                  "opacity": [0.0], "width": [0.0], "dash": [0.0], "hatch": "", "text": "",
                  "font": "", "angle": 0.0}],
              "digest": "", "pixels": ""},  # the picture, small: data/renderers/painted.py packs it
    "table": {"task": "", "size": [0.0], "outside": "", "tables": [{
        "rows": 0.0, "cols": 0.0, "caption": "", "cells": [{     # nested: true if a table is inside
            "row": 0.0, "col": 0.0, "rowspan": 0.0, "colspan": 0.0, "text": "", "header": True,
            "align": "", "bold": True, "color": "", "background": ""}]}]},
    "svg": {"task": "", "size": [0.0], "viewbox": [0.0], "shapes": [{   # all in canvas fractions
        "type": "", "box": [0.0], "fill": "", "fill_opacity": 0.0, "stroke": "",
        "stroke_width": 0.0, "stroke_opacity": 0.0, "opacity": 0.0, "dash": True}]}}
# Shapes also have "outline" [[x, y]] and "closed", or "text" and "font_size"; if they apply,
# "stops" (gradient colours), "starts" (where sub-paths begin in the outline), "clip" (its box).


def is_sound(value, example):
    """Does a scene that came from outside have the shape of the example?"""
    if example is MARKS:
        example = MARKS.get(value.get("type")) if isinstance(value, dict) else None
        return example is not None and is_sound(value, example)
    if isinstance(example, dict):
        return value is None or isinstance(value, dict) and all(
            k in value and is_sound(value[k], v) for k, v in example.items())
    if isinstance(example, list):
        return value is None or isinstance(value, list) and all(
            is_sound(v, example[0]) for v in value)
    kinds = {str: str, bool: bool, float: (int, float)}[type(example)]
    return value is None or isinstance(value, kinds) and (
        isinstance(example, bool) or not isinstance(value, bool))


def six(value):
    """A plain JSON copy of numbers, nested or not: 6 significant digits; NaN and inf are null."""
    if type(value) is not float:        # the common case first: this is called for every point
        if value is None or isinstance(value, str):
            return value
        if hasattr(value, "__iter__"):
            return [six(v) for v in value]
    value = float(f"{value:.6g}")
    return value if math.isfinite(value) else None


def rgb_hex(rgba):
    """(r, g, b, a) in 0-1 -> "#rrggbb", or None where nothing is painted."""
    if rgba is None or rgba[3] == 0:
        return None
    return "#%02x%02x%02x" % tuple(max(0, min(255, round(255 * c))) for c in rgba[:3])


def target_size(width, height, size):
    """Natural (width, height) in px and `size` -> (scale, drawn width, drawn height, canvas).

    The drawing is as large as fits: never resampled, always drawn anew at that scale.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise RenderError("too_large", f"the picture would be {width:.6g} x {height:.6g} px; "
                          f"at most {MAX_SIDE} px a side and {MAX_PIXELS} px in all are drawn")
    box = (size, size) if isinstance(size, int) else size or (width, height)
    scale = min(box[0] / width, box[1] / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    return scale, w, h, (tuple(size) if isinstance(size, (tuple, list)) else (w, h))


def on_canvas(image, canvas):
    """Paste at the top left of a white canvas; a one-colour picture is `blank`."""
    if all(low == high for low, high in image.getextrema()):
        raise RenderError("blank", "the picture is one flat colour: nothing was drawn")
    if image.size == tuple(canvas):
        return image
    page = Image.new("RGB", canvas, "white")
    page.paste(image, (0, 0))
    return page


@functools.lru_cache
def use_own_fonts():
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


def short(error):
    return " ".join(str(getattr(error, "msg", None) or error).split())[:200]
