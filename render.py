"""Code to pixels: charts (Matplotlib programs), tables (HTML or Markdown) and SVG.

    picture = render("chart", "import matplotlib.pyplot as plt\\nplt.bar(['A', 'B'], [3, 7])")
    picture.image       # PIL image, RGB on white
    picture.scene       # plain JSON of what can be seen in it; SCENES shows its shape

Charts are drawn by Matplotlib (Agg), tables by PlutoPrint, SVG by CairoSVG, all with Matplotlib's
DejaVu fonts only, so that one program gives one picture on every machine. The scene is read from
the live drawing (the Matplotlib figure, the parsed table, Cairo's pen), never from the code's text,
so two programs that draw the same have the same scene. `savefig` to a file and `show` only mark a
figure as wanted; the figure taken is the last one the program made that has something in it.

The programs come from models that are rewarded for tricks: reading the reference picture from disk
and drawing it with `imshow` would be a perfect score. So every chart program runs in a process of
its own, forked from a clean worker (no torch, nothing secret in its environment, no earlier drawing
in its memory), behind layers that need neither root nor containers:
  - Landlock: it reads Python, its packages, shared libraries and time zones, writes an empty
    scratch folder, and nothing else;
  - seccomp: no network, programs, processes, signals, ptrace, mounts; no change of limits, owners;
  - limits on memory, processor time, file size and open files, and a deadline that kills all of it;
  - its answer is read with a size cap and checked against SCENES, since it may be forged.
Tables and SVG hold no model-written Python; they are drawn behind the same layers in a process that
serves many of them. What this does not cover: `stat` tells whether a path exists; a program shares
its process with Matplotlib, so it can falsify its own picture and scene (it still cannot see the
reference); bugs in the kernel. Where Landlock or seccomp is missing (macOS, gVisor) chart code is
refused, unless VISUAL_ERM_UNSAFE=1 says that you trust it.

    python render.py FILE [--task chart] --out x.png [--scene x.json] [--size 512]
"""

import argparse
import ast
import atexit
import bisect
import collections
import concurrent.futures
import contextlib
import ctypes
import functools
import gc
import html
import itertools
import json
import math
import os
import platform
import random
import re
import resource
import select
import shutil
import signal
import site
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import types
import warnings
from dataclasses import dataclass
from unittest import mock
from xml.etree.ElementTree import ParseError

import cssselect2
import tinycss2
import tinycss2.color3
from PIL import Image, ImageChops, ImageOps

TASKS = ("chart", "table", "svg")
KINDS = ("syntax", "runtime", "timeout", "memory", "forbidden", "blank", "too_large")
UNSAFE = "VISUAL_ERM_UNSAFE"    # environment variable: run chart code even where a layer is missing
MAX_SIDE, MAX_PIXELS = 10_000, 25_000_000       # of a picture at its natural size
MAX_CODE = 1_000_000                            # characters


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


class SandboxMissing(RuntimeError):
    """Chart code was refused, because this system lacks a layer of the sandbox."""


def render(task, code, *, size=None, timeout=10.0):
    """Draw one program (str, or UTF-8 bytes) in a sandboxed process.

    task     "chart", "table" or "svg".
    size     None: natural size. A number: charts and SVG are drawn so that their longest side is
             that many px, tables only shrink if they are longer. (w, h): a white canvas of exactly
             that size, the drawing as large as fits (tables: at most natural size), top left.
    timeout  seconds of wall-clock time for this program.
    Raises RenderError; SandboxMissing for charts where the sandbox is incomplete.
    """
    result = _render_one(task, code, size, timeout, _cores())
    if isinstance(result, RenderError):
        raise result
    return result


def render_many(jobs, *, size=None, timeout=10.0, workers=None):
    """Draw many (task, code) pairs on `workers` processes (default: one a processor core).

    Returns a list in the order of `jobs`: a Rendering each, or the RenderError that explains why
    there is none. The other arguments are those of `render`; the deadline is per program.
    """
    jobs = list(jobs)
    limit = min(workers or _cores(), len(jobs)) or 1
    with concurrent.futures.ThreadPoolExecutor(limit) as threads:
        found = [threads.submit(_render_one, task, code, size, timeout, limit)
                 for task, code in jobs]
        try:
            return [f.result() for f in found]
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _render_one(task, code, size, timeout, limit):
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: it must be one of {', '.join(TASKS)}")
    try:
        code = code.decode("utf-8") if isinstance(code, bytes) else code
        code.encode("utf-8")
    except UnicodeError as error:
        return RenderError("syntax", f"the program is not UTF-8 text: {error.reason} at position "
                           f"{error.start}")
    if len(code) > MAX_CODE:
        return RenderError("too_large", f"the program has {len(code)} characters; at most "
                           f"{MAX_CODE} are read")
    if task == "chart" and missing_layer() and not os.environ.get(UNSAFE):
        raise SandboxMissing(
            f"chart code cannot be confined here: this system lacks {missing_layer()}. Set "
            f"{UNSAFE}=1 (--unsafe on the command line) to run it unconfined.")
    return _the_pool().draw(task, code, size, timeout, limit)


FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.M | re.S)
LANGUAGES = {"chart": ("python", "py", "python3"), "table": ("html", "markdown", "md", "xml"),
             "svg": ("svg", "xml", "html")}


def extract_code(task, answer):
    """Code out of a model's answer: thoughts, fences and chatter go; raw code passes unchanged.

    Of several fenced blocks the longest in a fitting language counts; a block or <svg> that was
    cut off runs to the end of the answer.
    """
    text = re.sub(r"\A.*</think>", "", answer, flags=re.S)
    text = re.sub(r"<think>.*\Z", "", text, flags=re.S)
    blocks = FENCE.findall(text)
    fitting = [body for name, body in blocks if name.lower() in LANGUAGES[task]] or \
        [body for _, body in blocks]
    if fitting:
        text = max(fitting, key=len)
    tag = {"svg": "svg", "table": "table"}.get(task)
    if tag is None:
        found = None if fitting else _program_in(text)
    else:
        found = re.search(rf"<{tag}\b.*</{tag}\s*>", text, re.S | re.I) or \
            re.search(rf"<{tag}\b.*", text, re.S | re.I)
    return found[0] if found and found[0].strip() != answer.strip() else text


def _program_in(text):
    """The program in chatter without fences: from the first import to the last line that parses."""
    def parses(source):
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return True

    start = re.search(r"^(import|from) \w", text, re.M)
    if start is None or parses(text):
        return None
    lines = text[start.start():].splitlines(keepends=True)
    for cut in range(min(30, len(lines))):
        program = "".join(lines[:len(lines) - cut])
        if parses(program):
            return [program]
    return None


def draw(task, code, size=None):
    """Draw in this process: (PIL.Image, scene). No sandbox: for workers and tests only."""
    _use_own_fonts()
    try:
        return {"chart": _draw_chart, "table": _draw_table, "svg": _draw_svg}[task](code, size)
    except (RenderError, MemoryError):
        raise
    except RecursionError:
        raise RenderError("too_large", "it is nested too deeply") from None
    except Exception as error:
        raise RenderError("runtime", "it could not be drawn: "
                          f"{type(error).__name__}: {_short(error)}") from error


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
                  "twin": 0.0, "marks": [MARKS]}]},
    "table": {"task": "", "size": [0.0], "outside": "", "tables": [{
        "rows": 0.0, "cols": 0.0, "caption": "", "cells": [{     # nested: true if a table is inside
            "row": 0.0, "col": 0.0, "rowspan": 0.0, "colspan": 0.0, "text": "", "header": True,
            "align": "", "bold": True, "color": "", "background": ""}]}]},
    "svg": {"task": "", "size": [0.0], "viewbox": [0.0], "shapes": [{   # all in canvas fractions
        "type": "", "box": [0.0], "fill": "", "fill_opacity": 0.0, "stroke": "",
        "stroke_width": 0.0, "stroke_opacity": 0.0, "opacity": 0.0, "dash": True}]}}
# Shapes also have "outline" [[x, y]] and "closed", or "text" and "font_size"; if they apply,
# "stops" (gradient colours), "starts" (where sub-paths begin in the outline), "clip" (its box).


def _sound(value, example):
    """Does a scene that came from outside have the shape of the example?"""
    if example is MARKS:
        example = MARKS.get(value.get("type")) if isinstance(value, dict) else None
        return example is not None and _sound(value, example)
    if isinstance(example, dict):
        return value is None or isinstance(value, dict) and all(
            k in value and _sound(value[k], v) for k, v in example.items())
    if isinstance(example, list):
        return value is None or isinstance(value, list) and all(
            _sound(v, example[0]) for v in value)
    kinds = {str: str, bool: bool, float: (int, float)}[type(example)]
    return value is None or isinstance(value, kinds) and (
        isinstance(example, bool) or not isinstance(value, bool))


# ------------------------------------------------------------------------------------------------
# Small helpers of all three scenes
# ------------------------------------------------------------------------------------------------

def _six(value):
    """A plain JSON copy of numbers, nested or not: 6 significant digits; NaN and inf are null."""
    if type(value) is not float:        # the common case first: this is called for every point
        if value is None or isinstance(value, str):
            return value
        if hasattr(value, "__iter__"):
            return [_six(v) for v in value]
    value = float(f"{value:.6g}")
    return value if math.isfinite(value) else None


def _rgb(rgba):
    """(r, g, b, a) in 0-1 -> "#rrggbb", or None where nothing is painted."""
    if rgba is None or rgba[3] == 0:
        return None
    return "#%02x%02x%02x" % tuple(max(0, min(255, round(255 * c))) for c in rgba[:3])


def _target(width, height, size):
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


def _on_canvas(image, canvas):
    """Paste at the top left of a white canvas; a one-colour picture is `blank`."""
    if all(low == high for low, high in image.getextrema()):
        raise RenderError("blank", "the picture is one flat colour: nothing was drawn")
    if image.size == tuple(canvas):
        return image
    page = Image.new("RGB", canvas, "white")
    page.paste(image, (0, 0))
    return page


@functools.lru_cache
def _use_own_fonts():
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


def _short(error):
    return " ".join(str(getattr(error, "msg", None) or error).split())[:200]


# ------------------------------------------------------------------------------------------------
# Charts: run the program, take its last figure, draw it once, read the live figure
# ------------------------------------------------------------------------------------------------

@functools.lru_cache
def _reset_matplotlib():
    """Settings, fonts and random numbers as they are at the start; kept until the next program."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.font_manager as fonts
    import matplotlib.pyplot as plt
    import numpy as np
    own = matplotlib.get_data_path()    # "Arial" must be DejaVu on every machine, installed or not
    fonts.fontManager.ttflist = [f for f in fonts.fontManager.ttflist if f.fname.startswith(own)]
    matplotlib.rcdefaults()
    plt.switch_backend("Agg")
    plt.close("all")
    np.random.seed(0)
    random.seed(0)


def _draw_chart(code, size):
    _reset_matplotlib()
    _reset_matplotlib.cache_clear()
    import matplotlib
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    made, wanted, cleared = [], set(), []
    start, clear, save = Figure.__init__, Figure.clear, Figure.savefig

    def started(self, *args, **kwargs):
        start(self, *args, **kwargs)
        made.append(self)

    def clear_if_unwanted(self, *args, **kwargs):   # savefig(); clf(): what was saved counts
        if self in wanted and self.axes:
            cleared.append(_finish_chart(self, size))
        return clear(self, *args, **kwargs)

    def remembering(kind, method):          # pies and boxes leave only loose artists behind
        def call(self, *args, **kwargs):
            result = method(self, *args, **kwargs)
            self.__dict__.setdefault("_calls", []).append((kind, args, kwargs, result))
            return result
        return call

    def saved(self, *args, **kwargs):
        wanted.add(self)
        if args and hasattr(args[0], "write"):      # a buffer: the program may want to read it
            save(self, *args, **kwargs)

    nothing = lambda *args, **kwargs: None
    hooks = ((Figure, "__init__", started), (Figure, "clear", clear_if_unwanted),
             (Figure, "savefig", saved),
             (Figure, "show", lambda self, *args, **kwargs: wanted.add(self)),
             (plt, "show", lambda *args, **kwargs: wanted.update(made[-1:])),
             (plt, "pause", nothing), (plt, "switch_backend", nothing),
             (matplotlib, "use", nothing), (Axes, "pie", remembering("pie", Axes.pie)),
             (Axes, "bxp", remembering("box", Axes.bxp)))
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for hook in hooks:
            stack.enter_context(mock.patch.object(*hook))
        _run_program(code)
        filled = [f for f in made if f.axes or f.texts or f.images or f.patches or f.lines]
        if not filled and not cleared:
            raise RenderError("blank", "the program's figure is empty" if made else
                              "the program drew no figure")
        return _finish_chart(filled[-1], size) if filled else cleared[-1]


def _run_program(code):
    """Compile and run; exceptions become a RenderError that names the program's line."""
    try:
        program = compile(code, "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" (line {error.lineno})" if getattr(error, "lineno", None) else ""
        raise RenderError("syntax", f"not a Python program: {_short(error)}{line}") from None
    try:
        exec(program, {"__name__": "__main__", "__builtins__": __builtins__})
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise RenderError("runtime", f"the program ended itself: exit {stop.code}") from None
    except BaseException as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                 if f.filename == "<program>"]
        where = f"line {lines[-1]}: " if lines else ""
        chain = (error, error.__cause__, error.__context__, getattr(error, "reason", None))
        kind = ("memory" if isinstance(error, MemoryError) else "forbidden" if
                any(isinstance(e, PermissionError) for e in chain) else "runtime")
        raise RenderError(kind, f"{where}{type(error).__name__}: {_short(error)}") from None


def _finish_chart(figure, size):
    """Draw the figure so that its longest side is `size` px; return (RGB image, scene)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    inches = figure.get_size_inches()
    scale, w, h, canvas = _target(*(inches * figure.dpi), size)
    if scale != 1:      # the canvas cuts inches * dpi to whole px: a hair more keeps 127.999 at 128
        figure.set_dpi(max(w / inches[0], h / inches[1]) * (1 + 1e-9))
    agg = FigureCanvasAgg(figure)
    agg.draw()
    image = Image.frombuffer("RGBA", agg.get_width_height(), bytes(agg.buffer_rgba()))
    page = Image.new("RGBA", (w, h), "white")
    page.alpha_composite(image.crop((0, 0, w, h)))
    image = _on_canvas(page.convert("RGB"), canvas)
    axes = [a for ax in figure.axes for a in (ax, *ax.child_axes)
            if a.get_visible() and (a.axison or a.texts or _things(a))]
    axes.sort(key=lambda a: (-round(a.get_position().y1, 2), round(a.get_position().x0, 2)))
    texts = [t for t in figure.texts if t is not figure._suptitle and _read(t)]
    return image, {
        "task": "chart", "size": list(image.size), "title": _read(figure._suptitle),
        "facecolor": _hex(figure.get_facecolor()), "legend": _legend(figure.legends),
        "texts": [{"text": _read(t)} | dict(zip("xy", _six(t.get_position()))) for t in texts],
        "axes": [_axes(a, axes) for a in axes]}


def _axes(ax, every):
    on, framed, box = ax.axison, ax.axison and ax.get_frame_on(), ax.get_position()
    twins = [a for a in every if a in ax._twinned_axes.get_siblings(ax)] or [ax]
    base = min(twins, key=every.index)
    scene = {"box": [round(float(v), 3) for v in (box.x0, box.y0, box.width, box.height)],
             "title": " ".join(filter(None, map(_read, (ax._left_title, ax.title,
                                                        ax._right_title)))), "grid": {}}
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        shown = on and axis.get_visible()
        scene |= {f"{name}label": _read(axis.label) if shown else "",
                  f"{name}scale": axis.get_scale(), f"{name}lim": _six(axis.get_view_interval()),
                  f"{name}ticks": _ticks(axis) if shown else []}
        setattr(ax, f"_shown_{name}", scene[f"{name}ticks"])
        scene["grid"][name] = bool(shown and any(t.gridline.get_visible()
                                                 for t in axis.get_major_ticks()))
    pies = [call for call in ax.__dict__.get("_calls", []) if call[0] == "pie"]
    of_pies = {id(t) for pie in pies for texts in pie[3].texts for t in texts}
    return scene | {
        "facecolor": _hex(ax.get_facecolor()) if framed and ax.patch.get_visible() else None,
        "projection": ax.name,
        "spines": [n for n, s in ax.spines.items() if framed and s.get_visible()
                   and s.get_linewidth() > 0 and _hex(s.get_edgecolor())],
        "legend": _legend([a for a in ax.get_children() if type(a).__name__ == "Legend"]),
        "annotations": [n for n in (_note(ax, t) for t in ax.texts if id(t) not in of_pies) if n],
        "twin": every.index(base) if base is not ax else None, "marks": _marks(ax)}


def _read(text):
    """A Text's string if its centre lies on the canvas (a label that fell off cannot be read)."""
    if text is None or not text.get_visible() or not text.get_text().strip():
        return ""
    box, page = text.get_window_extent(), text.get_figure(root=True).bbox
    seen = page.contains((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    return text.get_text().strip() if seen else ""


def _ticks(axis):
    """Ticks inside the limits of which the mark or the text can be seen, with their text."""
    low, high = sorted(axis.get_view_interval())
    slack, found = 1e-9 * (high - low), []
    for tick in axis.get_major_ticks() + [t for t in axis.get_minor_ticks() if t.label1.get_text()]:
        text = _read(tick.label1) or _read(tick.label2)
        line = any(t.get_visible() and t.get_markersize() > 0
                   for t in (tick.tick1line, tick.tick2line))
        if tick.get_visible() and (text or line) and low - slack <= tick.get_loc() <= high + slack:
            text = re.sub(r"^\$\\mathdefault\{(.*)\}\$$", r"\1", text)
            found.append({"pos": _six(tick.get_loc()), "text": text})
    return sorted(found, key=lambda t: t["pos"])


def _legend(legends):
    """Figures and axes can have several legends: the first one's title, the entries of all."""
    legends = [g for g in legends if g.get_visible()]
    if not legends:
        return None
    return {"title": _read(legends[0].get_title()),
            "entries": [{"text": text.get_text(), "color": _color(handle)} for g in legends
                        for handle, text in zip(g.legend_handles, g.get_texts())]}


def _note(ax, text):
    """A text inside the axes: its anchor, and the arrow's target, in data coordinates."""
    if not _read(text) or (text.get_clip_on() and not ax.bbox.overlaps(text.get_window_extent())):
        return None
    where = ax.transData.inverted().transform(text.get_transform().transform(text.get_unitless_position()))
    note = {"text": _read(text), "x": _six(where[0]), "y": _six(where[1])}
    if not getattr(text, "arrow_patch", None):
        return note
    x, y = text.xy                                                  # may be a date or a category's name
    return note | {"target": _six((text.convert_xunits(x), text.convert_yunits(y)))}


def _hex(color):
    from matplotlib.colors import to_rgba
    try:
        return _rgb(to_rgba(color))
    except (ValueError, TypeError):
        return None


def _color(artist):
    """The colour by which a reader would name the artist: face, then line, then edge."""
    if hasattr(artist, "get_markerfacecolor"):
        return _look(artist)["color"]
    for name in ("get_facecolor", "get_color", "get_edgecolor"):
        value = getattr(artist, name, lambda: None)()
        if value is not None and len(value):
            found = _hex(value if isinstance(value, str) or not hasattr(value[0], "__len__")
                         else value[0])
            if found:
                return found
    return _color(artist[0]) if isinstance(artist, tuple) and artist else None


def _alpha(artist, color):
    """Opacity whichever way it was given: alpha=, or the fourth number of the colour."""
    from matplotlib.colors import to_rgba
    alpha = to_rgba(color)[3] if artist.get_alpha() is None else artist.get_alpha()
    return 1.0 if hasattr(alpha, "__len__") else _six(alpha)


def _label(thing):
    text = str(thing.get_label() or "") if hasattr(thing, "get_label") else ""
    return "" if text.startswith("_") else text     # "_child0" is Matplotlib's own name


def _things(ax):
    """The artists that carry data, in drawing order."""
    frame = {id(a) for a in (ax.patch, *ax.spines.values(), ax.title, ax._left_title, ax.xaxis,
                             ax.yaxis, ax._right_title, *ax.texts, *ax.child_axes)}
    things = [a for a in ax.get_children() if id(a) not in frame and a.get_visible()
              and type(a).__name__ not in ("Legend", "Axis", "ZAxis", "Shadow")]
    return sorted(things, key=lambda a: a.get_zorder())


def _marks(ax):
    from matplotlib import collections as many, image, lines, patches
    owner = {}      # id(artist) -> (kind, the call or container it belongs to)
    for kind, args, kwargs, result in ax.__dict__.get("_calls", []):
        call = (kind, (args, kwargs, result))
        parts = result.wedges if kind == "pie" else itertools.chain(*result.values())
        owner |= {id(a): call for a in parts}
    for group in ax.containers:
        if ax.name == "3d" and type(group).__name__ == "BarContainer":
            continue                                # there bars are polygons
        for part in group:
            for artist in part if isinstance(part, (list, tuple)) else [part]:
                owner[id(artist)] = (type(group).__name__, group)
    loose = [a for a in _things(ax) if type(a) is patches.Rectangle and id(a) not in owner
             and a.get_data_transform() == ax.transData]
    owner |= {id(a): ("BarContainer", loose) for a in loose}
    readers = {"BarContainer": _bars, "pie": _pie, "box": _box, "ErrorbarContainer": _errorbar,
               "StemContainer": _stem}
    classes = ((lines.Line2D, _line), (many.PathCollection, _scatter), (many.QuadMesh, _image),
               (many.FillBetweenPolyCollection, _area), (image.AxesImage, _image), (object, _patch))
    marks, done = [], set()
    for artist in _things(ax):
        kind, thing = owner.get(id(artist), (None, artist))
        if id(thing) not in done:
            done.add(id(thing))
            read = readers.get(kind) or next(r for cls, r in classes if isinstance(artist, cls))
            marks.append(read(ax, thing))
    return [m for m in marks if m]


def _inside(ax, xs, ys):
    """Does the data's bounding box touch the view? (Polar and 3-D views clip by other rules.)"""
    for values, limits in ((xs, ax.get_xlim()), (ys, ax.get_ylim())):
        values = [v for v in values if math.isfinite(v)]
        if not values or (ax.name == "rectilinear" and
                          (max(values) < min(limits) or min(values) > max(limits))):
            return False
    return True


def _thin(points, most=1000):
    """Drop non-finite rows and keep at most `most`, evenly spaced."""
    import numpy as np
    points = np.ma.filled(np.ma.asarray(points, float), np.nan)
    points = points[np.isfinite(points).all(axis=1)]
    return points[np.linspace(0, len(points) - 1, min(len(points), most)).astype(int)]


def _tick_names(ax, positions, vertical):
    """The tick text at each position; texts that are words also name what is near them."""
    ticks = [t for t in (ax._shown_x if vertical else ax._shown_y) if t["text"]]
    if not ticks:
        return [""] * len(positions)
    words = not all(re.fullmatch(r"[-−\d.,eE]+", t["text"]) for t in ticks)
    gaps = [b["pos"] - a["pos"] for a, b in zip(ticks, ticks[1:])] or [1.0]
    reach = min(gaps) * (0.5 if words else 1e-3)
    nearest = [min(ticks, key=lambda t: abs(t["pos"] - p)) for p in positions]
    names = [t["text"] if abs(t["pos"] - p) < reach else "" for t, p in zip(nearest, positions)]
    return names if words or all(names) else [""] * len(names)


def _bars(ax, group):
    bars = [b for b in getattr(group, "patches", group) if b.get_visible()
            and math.isfinite(b.get_width() * b.get_height())
            and _inside(ax, (b.get_x(), b.get_x() + b.get_width()),
                        (b.get_y(), b.get_y() + b.get_height()))]
    if not bars:
        return None
    vertical = getattr(group, "orientation", "vertical") != "horizontal"
    low, thick, base, length = zip(*((b.get_x(), b.get_width(), b.get_y(), b.get_height())
                                     for b in bars))
    if not vertical:
        low, thick, base, length = base, length, low, thick
    centre = [a + b / 2 for a, b in zip(low, thick)]
    return {"type": "bars", "orient": "v" if vertical else "h", "label": _label(group),
            "names": _tick_names(ax, centre, vertical), "pos": _six(centre), "base": _six(base),
            "value": _six(map(sum, zip(base, length))), "thick": _six(map(abs, thick)),
            "colors": [_hex(b.get_facecolor()) if b.get_fill() else None for b in bars],
            "edges": [_hex(b.get_edgecolor()) if b.get_linewidth() else None for b in bars],
            "alpha": _alpha(bars[0], bars[0].get_facecolor()), "hatch": bars[0].get_hatch() or ""}


def _look(line):
    """A Line2D's colour, line style and marker; what is not drawn is "none" and 0."""
    style, marker, none = line.get_linestyle(), line.get_marker(), ("None", "none", "", " ", None)
    style = "none" if style in none or not line.get_linewidth() else \
        style if style in ("-", "--", ":", "-.") else "--"
    marker = "none" if marker in none or not line.get_markersize() else str(marker)
    color = _hex(line.get_color()) if style != "none" else \
        _hex(line.get_markerfacecolor()) or _hex(line.get_markeredgecolor())
    return {"color": color, "linestyle": style, "marker": marker,
            "linewidth": _six(line.get_linewidth()) if style != "none" else 0.0,
            "markersize": _six(line.get_markersize()) if marker != "none" else 0.0}


def _line(ax, line):
    points, look = line.get_xydata(), _look(line)
    if line.get_transform() != ax.transData:        # axhline and friends: other coordinates
        points = ax.transData.inverted().transform(line.get_transform().transform(points))
    points = _thin(points)
    if look["color"] is None or line.get_alpha() == 0 or not _inside(ax, *points.T) or (
            look["marker"] == "none" and (look["linestyle"] == "none" or len(points) == 1)):
        return None
    mark = {"type": "line", "label": _label(line), "x": _six(points[:, 0]), "y": _six(points[:, 1]),
            **look, "alpha": _alpha(line, line.get_color())}
    if line.get_drawstyle() != "default":
        mark["drawstyle"] = line.get_drawstyle()
    if hasattr(line, "get_data_3d"):
        mark |= zip("xyz", map(_six, line.get_data_3d()))
    return mark


def _stem(ax, stem):
    mark = _line(ax, stem.markerline)
    return mark and mark | {"label": _label(stem), "drawstyle": "stem"}


@functools.lru_cache
def _marker_names():
    """Outline -> marker name: a scatter keeps the outline of its marker only."""
    from matplotlib.markers import MarkerStyle
    styles = [(name, MarkerStyle(name)) for name in "4321,.8|_dD+XxHh*Pps><^vo"]
    return {_outline_key(s.get_path().transformed(s.get_transform())): n for n, s in styles}


def _outline_key(path):
    return tuple((path.vertices.round(3) + 0.0).ravel())


def _scatter(ax, dots):
    import numpy as np
    if hasattr(dots, "_offsets3d"):
        offsets = np.ma.stack([np.ma.asarray(o, float) for o in dots._offsets3d], axis=1)
    else:
        offsets = np.ma.asarray(dots.get_offsets(), float)
    numbers = np.arange(len(offsets))[:, None]
    points = _thin(np.ma.hstack([offsets, numbers]))        # the last column: which dot it was
    faces = dots.get_facecolors() if len(dots.get_facecolors()) else dots.get_edgecolors()
    paths, sizes, which = dots.get_paths(), dots.get_sizes(), points[:, -1].astype(int)
    if not (len(faces) and len(sizes) and len(paths)) or dots.get_alpha() == 0 or \
            not _inside(ax, points[:, 0], points[:, 1]):
        return None
    mark = {"type": "scatter", "label": _label(dots),
            "colors": [_rgb(faces[i % len(faces)]) for i in which],
            "sizes": [_six(sizes[i % len(sizes)]) for i in which],
            "marker": _marker_names().get(_outline_key(paths[0]), "other"),
            "alpha": _alpha(dots, faces[0])}
    return mark | dict(zip("xyz", map(_six, points[:, :-1].T)))


def _pie(ax, call):
    _, kwargs, pie = call
    wedges = [w for w in pie.wedges if w.get_visible()]
    if not wedges:
        return None
    first, names = wedges[0], [_label(w) for w in wedges]
    clockwise = bool(len(wedges) > 1 and wedges[1].theta2 <= first.theta1 + 1e-6 < first.theta2)
    centres = [tuple(round(float(v), 9) for v in w.center) for w in wedges]
    middle, times = collections.Counter(centres).most_common(1)[0]
    middle = middle if times > 1 else kwargs.get("center", (0, 0))
    return {"type": "pie", "names": names,
            "fractions": _six((w.theta2 - w.theta1) / 360 for w in wedges),
            "colors": [_hex(w.get_facecolor()) for w in wedges],
            "start": _six((first.theta2 if clockwise else first.theta1) % 360),
            "clockwise": clockwise, "radius": _six(first.r),
            "hole": _six(first.r - first.width) if first.width else 0.0,
            "explode": _six(round(math.dist(c, middle) / w.r, 6) for c, w in zip(centres, wedges)),
            "texts": [_read(t) for t in itertools.chain(*pie.texts)
                      if _read(t) and t.get_text() not in names]}


def _box(ax, call):
    args, kwargs, artists = call
    stats = list(args[0] if args else kwargs["bxpstats"])
    pos = args[1] if len(args) > 1 else kwargs.get("positions")
    pos = list(range(1, len(stats) + 1)) if pos is None else list(pos)
    vertical = kwargs.get("vert") is not False and kwargs.get("orientation") != "horizontal"
    colors = [_color(a) for a in artists["boxes"] or artists["medians"]]
    keys = dict(median="med", q1="q1", q3="q3", low="whislo", high="whishi")
    return {"type": "box", "orient": "v" if vertical else "h", "pos": _six(pos),
            "names": _tick_names(ax, pos, vertical),
            **{name: _six(s[key] for s in stats) for name, key in keys.items()},
            "fliers": [_six(s.get("fliers", ())) for s in stats] if artists["fliers"] else [],
            "color": colors[0] if colors else None, "colors": colors}


def _errorbar(ax, group):
    line, _, stretches = group
    mark, points = {"type": "errorbar", "label": _label(group)}, []
    for name in "xy":
        mark |= {f"{name}low": None, f"{name}high": None}
    for bars, name in zip(stretches, ["x"] * group.has_xerr + ["y"] * group.has_yerr):
        segments = [s for s in bars.get_segments() if len(s)]
        ends = [sorted(s[:, "xy".index(name)]) for s in segments]
        mark |= {f"{name}low": _six(e[0] for e in ends), f"{name}high": _six(e[-1] for e in ends)}
        points = [s.mean(axis=0) for s in segments]
    if line is not None:
        points = _thin(line.get_xydata())
    if not len(points) or not _inside(ax, *zip(*points)):
        return None
    look = _look(line) if line is not None and line.get_visible() else {}
    return mark | {"x": _six(p[0] for p in points), "y": _six(p[1] for p in points),
                   "color": look.get("color") or _color(stretches[0]),
                   "linestyle": look.get("linestyle", "none"), "marker": look.get("marker", "none")}


def _area(ax, area):
    across, rows = area.t_direction == "y", []      # y: fill_betweenx
    for path in area.get_paths():                   # start, curve 1, end, curve 2 backwards, close
        points = path.vertices[:, ::-1] if across else path.vertices
        n = (len(points) - 3) // 2
        rows += [(x, min(a, b), max(a, b)) for (x, a), (_, b) in
                 zip(points[1:n + 1], points[n + 2:2 * n + 2][::-1])]
    color, rows = _color(area), _thin(rows or [(math.nan,) * 3])
    spread = (rows[:, 0], rows[:, 1:].ravel())
    if color is None or area.get_alpha() == 0 or not _inside(ax, *spread[::-1 if across else 1]):
        return None
    return {"type": "area", "orient": "h" if across else "v", "label": _label(area), "color": color,
            **dict(zip(("x", "low", "high"), map(_six, rows.T))),
            "alpha": _alpha(area, area.get_facecolor()[0])}


def _image(ax, picture):
    import numpy as np
    if picture.get_array() is None or not np.size(picture.get_array()):
        return None
    data = np.ma.filled(np.ma.asarray(picture.get_array(), float), np.nan)
    colored = data.ndim == 3
    data = data.mean(axis=2) if colored else np.atleast_2d(data)
    rows, cols = (np.linspace(0, n - 1, min(n, 64)).astype(int) for n in data.shape)
    return {"type": "image", "data": _six(data[rows][:, cols]), "shape": list(data.shape),
            "cmap": "rgb" if colored else picture.get_cmap().name,
            "clim": [] if colored else _six(picture.get_clim())}


def _patch(ax, artist):
    """Anything else that can be seen: its class, its extent in data coordinates, its colour."""
    color = _color(artist)
    if color is None or artist.get_alpha() == 0:
        return None
    mark = {"type": "patch", "shape": type(artist).__name__, "label": _label(artist),
            "color": color}
    if hasattr(artist, "get_segments"):             # hlines, vlines, event plots
        ends = [[*s[0][:2], *s[-1][:2]] for s in artist.get_segments()[:200] if len(s)]
        xs, ys = ([v for e in ends for v in e[i::2]] for i in (0, 1))
        return mark | {"box": _six((min(xs), min(ys), max(xs), max(ys))), "segments": _six(ends)} \
            if ends and _inside(ax, xs, ys) else None
    box = artist.get_window_extent(ax.figure.canvas.get_renderer())
    if not all(map(math.isfinite, box.extents)):    # some 3-D collections do not know theirs
        box = ax.bbox
    if not (box.width or box.height) or not ax.bbox.overlaps(box):
        return None
    return mark | {"box": _six(ax.transData.inverted().transform(box.get_points()).ravel())}


# ------------------------------------------------------------------------------------------------
# Tables: HTML or Markdown, laid out by PlutoPrint; the grid is read from the parsed document
# ------------------------------------------------------------------------------------------------

TABLE_CSS = """body{margin:3px;text-align:left;color:black}
body,table{font:11px "DejaVu Sans"}
table{border-collapse:collapse}
td,th{border:1px solid black;padding:2px 3px;min-width:24px;height:15px;vertical-align:middle}
th{font-weight:bold}th:not([align]){text-align:center}th:not([bgcolor]){background:#eee}"""


def _draw_table(code, size):
    import lxml.html
    import plutoprint as pp

    refused = []

    class Refuse(pp.ResourceFetcher):
        def fetch_url(self, url):
            refused.append(url)
            return pp.ResourceData(b"", "text/plain", "utf-8")

    if not code.strip():
        raise RenderError("blank", "the table is empty")
    markup = code if re.search(r"<\s*(table|tr|td|th)\b", code, re.I) else markdown_to_html(code)
    try:
        tree = lxml.html.document_fromstring(markup.replace("\0", ""))
    except (lxml.etree.LxmlError, ValueError) as error:
        raise RenderError("syntax", f"not an HTML document: {_short(error)}") from None
    depth = deepest = 0
    for event, _ in lxml.etree.iterwalk(tree, ("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(depth, deepest)
    if deepest > 200:
        raise RenderError("too_large", "the table is nested too deeply")
    scene = _table_scene(tree)
    book = pp.Book(pp.PageSize(600, 600), pp.PAGE_MARGINS_NONE, pp.MEDIA_TYPE_SCREEN)   # 800 px
    book.custom_resource_fetcher = Refuse()
    book.load_html(markup, user_style=TABLE_CSS, base_url="file:///")
    w, h = (math.ceil(v) + 1 for v in (book.get_document_width(), book.get_document_height()))
    if refused:
        raise RenderError("forbidden", "the table refers to a file or address outside itself: "
                          f"{refused[0][:80]}")
    _target(w, h, None)
    canvas = pp.ImageCanvas(w, h, pp.IMAGE_FORMAT_RGB24)
    canvas.clear_surface(1, 1, 1, 1)
    book.render_document(canvas)
    image = Image.frombuffer("RGB", (w, h), bytes(canvas.get_data()), "raw", "BGRX",
                             canvas.get_stride(), 1)
    ink = ImageChops.invert(image).getbbox()
    if ink is None:
        raise RenderError("blank", "the table draws nothing that can be seen")
    image = ImageOps.expand(image.crop(ink), 3, "white")
    scale, w, h, page = _target(*image.size, size)
    if scale < 1:
        image = image.resize((w, h), Image.Resampling.LANCZOS)
    image = _on_canvas(image, page if isinstance(size, (tuple, list)) else image.size)
    return image, {"task": "table", "size": list(image.size), **scene}


def markdown_to_html(text):
    """Markdown pipe tables -> HTML; other lines become paragraphs."""
    rule = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
    lines, out, i = text.splitlines(), [], 0
    while i < len(lines):
        if "|" in lines[i] and i + 1 < len(lines) and rule.match(lines[i + 1]):
            align = [{(True, True): ' align="center"', (True, False): ' align="left"',
                      (False, True): ' align="right"'}.get((c[:1] == ":", c[-1:] == ":"), "")
                     for c in _cells(lines[i + 1])]
            body = list(itertools.takewhile(lambda s: "|" in s and s.strip(), lines[i + 2:]))
            rows = [("th", lines[i])] + [("td", line) for line in body]
            out.append("<table>" + "".join("<tr>" + "".join(
                f"<{tag}{a}>{_inline(c)}</{tag}>" for c, a in itertools.zip_longest(
                    _cells(line)[:len(align)], align, fillvalue="")) + "</tr>"
                for tag, line in rows) + "</table>")
            i += 2 + len(body)
        else:
            out.append(f"<p>{_inline(lines[i])}</p>" if lines[i].strip() else "")
            i += 1
    return "".join(out)


def _cells(line):
    line = re.sub(r"(?<!\\)\|$", "", line.strip().removeprefix("|"))
    return [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)]


def _inline(text):
    text = html.escape(text, quote=False).replace("&lt;br&gt;", "<br>")
    return re.sub(r"`(.+?)`", r"\1", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text))


def _table_scene(tree):
    style = _cascade(tree)
    tables = [_grid(t, style) for t in tree.iter("table")
              if next(t.iterancestors("table"), None) is None and style[t]["seen"]]
    return {"outside": _text(tree, style, without="table"),
            "tables": [t for t in tables if t["cells"]]}


INLINE = {"a", "b", "i", "em", "strong", "sub", "sup", "span", "u", "s", "code", "small", "font"}


def _text(node, style, without=None):
    """The visible text in a node, white space collapsed."""
    def walk(element):
        if element.tag == without or not style.get(element, {}).get("seen"):
            return ""       # comments have no style
        parts = [element.text or ""]
        for child in element:
            gap = "" if child.tag in INLINE else " "
            parts += [gap, walk(child), gap, child.tail or ""]
        return "".join(parts)
    return " ".join(walk(node).split())


def _cascade(tree):
    """Element -> the few computed styles a scene needs: alignment, weight, colours, visibility.

    Rules in CSS order: our base style sheet, HTML attributes, <style> rules by specificity,
    style="...", then what is !important. Elements inherit only what CSS lets them inherit.
    """
    matchers = {False: cssselect2.Matcher(), True: cssselect2.Matcher()}
    sheet = "".join(s.text or "" for s in tree.iter("style"))
    for rule in tinycss2.parse_stylesheet(sheet, True, True):
        if rule.type == "qualified-rule":
            with contextlib.suppress(cssselect2.SelectorError):
                for selector in cssselect2.compile_selector_list(rule.prelude):
                    for important, matcher in matchers.items():
                        matcher.add_selector(selector, _declared(rule.content, important))
    computed, root = {}, {"align": "left", "bold": False, "color": "#000000", "background": None,
                          "seen": True}
    for wrapped in cssselect2.ElementWrapper.from_html_root(tree).iter_subtree():
        node = wrapped.etree_element
        parent = computed.get(node.getparent(), root)
        own = {"font-weight": "bold"} if node.tag in ("th", "b", "strong") else {}
        own |= {"text-align": "center", "background": "#eee"} if node.tag == "th" else {}
        own |= {css: node.get(name) for css, name in (
            ("text-align", "align"), ("background", "bgcolor"), ("color", "color"))
            if node.get(name) and not (node.tag == "table" and name == "align")}
        for important, matcher in matchers.items():
            for match in matcher.match(wrapped):
                own |= match[-1]
            own |= _declared(node.get("style") or "", important)
        align = {"start": "left", "end": "right"}.get(own.get("text-align"), own.get("text-align"))
        weight = own.get("font-weight", "inherit")
        inside_table = node.tag in ("tr", "td", "th", "tbody", "thead", "tfoot")
        computed[node] = {
            "align": align if align in ("left", "center", "right") else parent["align"],
            "bold": parent["bold"] if weight == "inherit" else
            weight in ("bold", "bolder", "600", "700", "800", "900"),
            "color": _css_color(own.get("color")) or parent["color"],
            "background": _css_color(own.get("background")) or
            (parent["background"] if inside_table else None),
            "seen": parent["seen"] and node.tag not in ("head", "script", "style", "template")
            and own.get("display") != "none" and node.get("hidden") is None
            and own.get("visibility") not in ("hidden", "collapse")}
    return computed


def _declared(content, important):
    return {d.lower_name.replace("background-color", "background"):
            tinycss2.serialize(d.value).strip().lower()
            for d in tinycss2.parse_declaration_list(content, True, True)
            if d.type == "declaration" and d.important == important}


def _css_color(value):
    """The first colour in a CSS value ("red", "#eee url(x)") as "#rrggbb", else None."""
    words = [value, *value.split()] if value else []
    colors = map(tinycss2.color3.parse_color, words)
    return next((_rgb(c) for c in colors if isinstance(c, tuple)), None)


def _grid(table, style):
    """HTML's table algorithm: the slot of every cell, then rows and columns nobody starts in go.

    A column that no cell begins in has no width, so it cannot be seen: `colspan=5` alone in its
    row is one column. `rowspan=0` and spans that are too long end with the row group.
    """
    def group(row):
        return ("thead", "tbody", "tfoot").index(row.getparent().tag) if row.getparent().tag in (
            "thead", "tfoot") else 1
    rows = sorted((r for r in table.iter("tr") if next(r.iterancestors("table")) is table
                   and style[r]["seen"]), key=group)
    taken, cells, budget = set(), [], 200_000
    for y, row in enumerate(rows):
        x, rest = 0, sum(r.getparent() is row.getparent() for r in rows[y:])
        for cell in row.iterchildren("td", "th"):
            while (y, x) in taken:
                x += 1
            wide, high = min(_span(cell, "colspan") or 1, 1000), _span(cell, "rowspan") or rest
            high = min(high, rest)
            budget -= wide * high
            if budget < 0:
                raise RenderError("too_large", "the table has more than 200,000 slots")
            taken.update((y + j, x + i) for j in range(high) for i in range(wide))
            cells.append((y, x, high, wide, cell))
            x += wide
    tops, lefts = (sorted({c[i] for c in cells}) for i in (0, 1))
    return {"rows": len(tops), "cols": len(lefts),
            "caption": next((_text(c, style) for c in table.iterchildren("caption")), ""),
            "cells": [_cell(style, cell) | {
                "row": bisect.bisect_left(tops, y), "col": bisect.bisect_left(lefts, x),
                "rowspan": bisect.bisect_left(tops, y + high) - bisect.bisect_left(tops, y),
                "colspan": bisect.bisect_left(lefts, x + wide) - bisect.bisect_left(lefts, x)}
                for y, x, high, wide, cell in cells]}


def _cell(style, cell):
    look, text = style[cell], _text(cell, style)
    holders = [k for k in cell.iterdescendants() if k in style and (k.text or "").strip()]
    loose = [cell.text, *(k.tail for k in cell)]        # text in no inner element
    bold = look["bold"] or bool(holders) and not any((t or "").strip() for t in loose) and all(
        style[k]["bold"] for k in holders)
    entry = {"text": text, "header": cell.tag == "th", "bold": bold,
             **{key: look[key] for key in ("align", "color", "background")}}
    nested = next(cell.iterdescendants("table"), None) is not None
    return entry | {"nested": True} if nested else entry


def _span(cell, name):
    """A span attribute as browsers read it: leading digits, at most 65534, else 1."""
    digits = re.match(r"\s*\+?(\d{1,9})", cell.get(name) or "")
    return min(int(digits[1]), 65534) if digits else 1


# ------------------------------------------------------------------------------------------------
# SVG: drawn by CairoSVG; the scene is recorded at Cairo's pen, where CSS, <use>, groups and
# transforms are already resolved and every path can be had flattened
# ------------------------------------------------------------------------------------------------

SVG_SPACES = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


def _draw_svg(code, size):
    import cairosvg.parser
    from cairosvg.helpers import node_format
    from defusedxml import DefusedXmlException

    def fetch(url, kind):
        if str(url).startswith("data:image/"):
            return cairosvg.url.fetch(url, kind)
        raise RenderError("forbidden", "the SVG refers to a file or address outside itself: "
                          f"{str(url)[:80]}")

    code = code.strip()
    if not code:
        raise RenderError("blank", "the SVG is empty")
    for mark, name in (("xlink:", "xmlns:xlink"), ("", "xmlns")):    # often forgotten; CSS needs it
        if mark in code and not re.search(rf"<svg\b[^>]*\b{name}\s*=", code):
            code = re.sub(r"<svg\b", f'<svg {name}="{SVG_SPACES[name]}"', code, count=1)
    try:
        tree = cairosvg.parser.Tree(bytestring=code.encode(), url_fetcher=fetch)
        if tree.tag != "svg":
            raise RenderError("syntax", f"the root element is <{tree.tag[:40]}>, not <svg>")
        page = types.SimpleNamespace(dpi=96, font_size=16, context_width=0, context_height=0)
        width, height, viewbox = node_format(page, tree)
        if not (width > 0 and height > 0):      # no size given, or a percentage of the page
            width, height = viewbox[2:] if viewbox else (300.0, 150.0)
            tree["width"], tree["height"] = str(width), str(height)
        _, w, h, canvas = _target(width, height, size)
        pen = _recorder()(tree, None, 96, output_width=w, output_height=h,
                          background_color="white")
    except ParseError as error:
        raise RenderError("syntax", f"not an XML document: {_short(error)}") from None
    except DefusedXmlException:
        raise RenderError("forbidden", "the SVG declares entities of its own") from None
    pen.cairo.flush()
    image = Image.frombuffer("RGB", (w, h), bytes(pen.cairo.get_data()), "raw", "BGRX",
                             pen.cairo.get_stride(), 1)
    image = _on_canvas(image, canvas)
    return image, {"task": "svg", "size": list(image.size), "shapes": pen.shapes(image.size),
                   "viewbox": _six(viewbox or (0, 0, width, height))}


class _Pen:
    """Added to Cairo's drawing context: tells the surface what is painted, then paints it."""

    def fill_preserve(self):
        self.surface.painted("fill", self)
        super().fill_preserve()

    def stroke(self):
        self.surface.painted("stroke", self)
        super().stroke()

    def set_font_options(self, options):    # the best antialiasing would draw masks for LCD stripes
        import cairocffi
        options.set_antialias(cairocffi.ANTIALIAS_GRAY)
        super().set_font_options(options)

    def show_text(self, letter):
        self.surface.lettered(letter, self)
        super().show_text(letter)

    def paint_with_alpha(self, alpha):
        self.surface.pictured(alpha, self)
        super().paint_with_alpha(alpha)


class _Recorder:
    """Added to CairoSVG's PNG surface: notes what is painted, node by node, for the scene."""

    def set_context_size(self, *args):      # first called right after the context is made
        if type(self.context) is not self.pen:
            self.marks, self.nodes = [], []
            self.context.__class__, self.context.surface = self.pen, self
        super().set_context_size(*args)

    def draw(self, node):
        self.nodes.append(node)
        node["text-rendering"] = "geometricPrecision"   # letters where the scale puts them
        super().draw(node)
        self.nodes.pop()

    def mark(self, pen):
        """The entry of the node being drawn; made when it is first painted."""
        node = self.nodes[-1]
        if not self.marks or self.marks[-1]["node"] is not node:
            x0, y0, x1, y1 = pen.clip_extents()
            corners = [pen.user_to_device(x, y) for x in (x0, x1) for y in (y0, y1)]
            group = math.prod(float(n.get("opacity", 1)) for n in self.nodes if n.children)
            self.marks.append({
                "node": node, "text_node": next((n for n in self.nodes if n.tag == "text"),
                                                None),
                "clip": _bounds(corners), "opacity": group, "paths": [], "points": [],
                "fill": None, "fill_opacity": 1.0, "stroke": None, "stroke_opacity": 1.0,
                "stroke_width": 0.0, "dash": False, "stops": None})
        return self.marks[-1]

    def painted(self, how, pen):
        colour, stops, alpha = _paint(pen.get_source())
        tag = self.nodes[-1].tag
        if tag in ("g", "svg", "use", "symbol", "switch", "marker", "a") or (
                how == "fill" and tag == "line") or (
                how == "stroke" and not (colour and pen.get_line_width())):
            return
        mark = self.mark(pen)
        mark |= {how: colour, f"{how}_opacity": alpha, "stops": stops or mark["stops"]}
        if how == "stroke":
            mark |= {"stroke_width": pen.get_line_width() * _zoom(pen),
                     "dash": bool(pen.get_dash()[0])}
        if not mark["paths"] and mark["text_node"] is None:
            fine = pen.get_tolerance()
            pen.set_tolerance(0.1)
            mark["paths"] = _subpaths(pen)
            pen.set_tolerance(fine)

    def lettered(self, letter, pen):
        colour, stops, alpha = _paint(pen.get_source())
        mark, (x, y) = self.mark(pen), pen.get_current_point()
        if not mark["points"]:
            mark |= {"fill": colour, "fill_opacity": alpha, "stops": stops,
                     "text": self.nodes[-1].text, "start": pen.user_to_device(x, y),
                     "em": self.font_size * _zoom(pen)}
        dx, dy, w, h, _, _ = pen.text_extents(letter)
        mark["points"] += [pen.user_to_device(x + dx + i * w, y + dy + j * h)
                           for i in (0, 1) for j in (0, 1)]

    def pictured(self, alpha, pen):
        node = self.nodes[-1]
        if node.tag == "image" and hasattr(node, "image_width"):
            points = [pen.user_to_device(x * node.image_width, y * node.image_height)
                      for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
            self.mark(pen).update(paths=[(points, True)], fill="image", fill_opacity=alpha)

    def shapes(self, canvas):
        runs = []
        for mark in self.marks:
            if runs and _same_run(runs[-1], mark):
                runs[-1]["text"] += mark["text"]
                runs[-1]["points"] += mark["points"]
            else:
                runs.append(mark)
        return [s for s in (_shape(m, self.width, self.height, canvas) for m in runs) if s]


@functools.lru_cache
def _recorder():
    """CairoSVG's PNG surface with both additions (made here, so that charts need no CairoSVG)."""
    import cairocffi
    import cairosvg.surface
    pen = type("Pen", (_Pen, cairocffi.Context), {})
    return type("Recorder", (_Recorder, cairosvg.surface.PNGSurface), {"pen": pen})


def _zoom(pen):
    """Pixels per user unit (the geometric mean where the two axes differ)."""
    a, b, c, d, _, _ = pen.get_matrix().as_tuple()
    return math.sqrt(abs(a * d - b * c))


def _paint(source):
    """A Cairo source -> (colour, gradient stops or None, opacity); colour None paints nothing."""
    import cairocffi
    if isinstance(source, cairocffi.SolidPattern):
        rgba = source.get_rgba()
        return _rgb(rgba), None, _six(rgba[3]) if rgba[3] else 1.0
    if isinstance(source, cairocffi.Gradient):
        return "gradient", [_rgb((*stop[1:4], 1)) for stop in source.get_color_stops()], 1.0
    return "pattern", None, 1.0


def _subpaths(pen):
    """The current path, flattened: a list of (points in px, closed)."""
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
    return [part for part in parts if len(part[0]) > 1]


def _bounds(points):
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs), max(ys)


def _same_run(one, two):
    """Two pieces of one <text> that read on without a visible break (a tspan without effect)."""
    if one["text_node"] is None or one["text_node"] is not two["text_node"] or \
            not (one["points"] and two["points"]):
        return False
    same = all(one[k] == two[k] for k in ("fill", "fill_opacity", "stroke", "opacity", "em"))
    left, _, right, _ = _bounds(one["points"])
    return same and abs(one["start"][1] - two["start"][1]) < 0.1 * one["em"] and \
        left <= two["start"][0] < right + one["em"]


def _shape(mark, width, height, canvas):
    """One painted node as a scene entry in fractions of the canvas; None if nothing can be seen."""
    points = mark["points"] or [p for path, _ in mark["paths"] for p in path]
    if not points or mark["opacity"] == 0 or not (mark["fill"] or mark["stroke"]):
        return None
    box, clip, reach = _bounds(points), mark["clip"], mark["stroke_width"] / 2
    if box[2] + reach <= clip[0] or box[0] - reach >= clip[2] or \
            box[3] + reach <= clip[1] or box[1] - reach >= clip[3]:
        return None
    if not mark["stroke"] and (box[2] - box[0] < 1e-6 or box[3] - box[1] < 1e-6):
        return None

    def fraction(values):
        return _six(v / canvas[i % 2] for i, v in enumerate(values))
    is_text = mark["text_node"] is not None
    shape = {"type": "text" if is_text else mark["node"].tag, "box": fraction(box),
             "stroke_width": _six(mark["stroke_width"] / canvas[0]),
             "opacity": _six(mark["opacity"]), **{key: mark[key] for key in (
                 "fill", "fill_opacity", "stroke", "stroke_opacity", "dash")}}
    if mark["stops"]:
        shape["stops"] = mark["stops"]
    seen = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
    if clip[0] > seen[0] + 1 or clip[1] > seen[1] + 1 or clip[2] < seen[2] - 1 or \
            clip[3] < seen[3] - 1:
        shape["clip"] = fraction(clip)
    if is_text:
        text = " ".join(mark.get("text", "").split())
        return shape | {"text": text, "font_size": _six(mark["em"] / canvas[1])} if text else None
    outline, starts, many = [], [], len(mark["paths"]) > 1
    for path, _ in mark["paths"]:
        starts.append(len(outline))
        share = max(4, 64 * len(path) // len(points)) if many else 64
        outline += [_six((x / canvas[0], y / canvas[1])) for x, y in _resample(path, share)]
    shape |= {"outline": outline[:64], "closed": all(closed for _, closed in mark["paths"])}
    return shape | {"starts": [s for s in starts if s < 64]} if many else shape


def _resample(path, count):
    """At most `count` points: the corners themselves, or points evenly spaced along the path."""
    if len(path) <= count:
        return path
    lengths = [0.0, *itertools.accumulate(math.dist(a, b) for a, b in zip(path, path[1:]))]
    found, i = [], 0
    for at in (lengths[-1] * k / (count - 1) for k in range(count)):
        while i < len(path) - 2 and lengths[i + 1] < at:
            i += 1
        t = (at - lengths[i]) / ((lengths[i + 1] - lengths[i]) or 1)
        found.append(tuple(a + t * (b - a) for a, b in zip(path[i], path[i + 1])))
    return found


# ------------------------------------------------------------------------------------------------
# Sandbox: what a drawing process may still do
# ------------------------------------------------------------------------------------------------

MEMORY = 2 << 30            # bytes of address space of a drawing process
FILE_BYTES = 8 << 20        # largest file a chart program may write into its scratch folder
REFUSED = {                 # what seccomp refuses: system call numbers on (x86-64, arm64)
    "network": ([41, 42, 49, 50], [198, 203, 200, 201]),
    "programs and processes": ([57, 58, 59, 322, 101, 310, 311], [221, 281, 117, 270, 271]),
    "who it is, and whether it dies with its worker (setuid, capset, prctl)": (
        [105, 106, 113, 114, 116, 117, 119, 122, 123, 126, 157],
        [146, 144, 145, 143, 159, 147, 149, 151, 152, 91, 167]),
    "signals": ([62, 129, 200, 234, 297, 424, 434, 438], [129, 138, 130, 131, 240, 424, 434, 438]),
    "limits, priorities, processors": (
        [141, 142, 144, 160, 203, 251, 256, 279, 302, 314],
        [140, 118, 119, 164, 122, 30, 238, 239, 261, 274]),
    "metadata, which Landlock does not cover: chmod, chown, utime, setxattr, truncate": (
        [76, 90, 91, 92, 93, 94, 132, 188, 189, 190, 197, 198, 199, 235, 260, 261, 268, 280, 452,
         463, 466], [45, 52, 53, 54, 55, 5, 6, 7, 14, 15, 16, 88, 452, 463, 466]),
    "what outlives a process: System V memory, queues, keys": (
        [29, 64, 68, 240, 248, 249, 250], [194, 190, 186, 180, 217, 218, 219]),
    "the system: mount, namespaces, modules, clocks, bpf, perf, io_uring, file handles": (
        [155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 172, 173, 175, 176, 227, 246, 272,
         298, 300, 303, 304, 305, 308, 313, 321, 323, 425, 428, 429, 442],
        [41, 171, 51, 89, 170, 40, 39, 224, 225, 142, 161, 105, 106, 112, 104, 97, 241, 262, 264,
         265, 266, 268, 273, 280, 282, 425, 428, 429, 442])}
MACHINES = {"x86_64": (0, 0xC000003E, 56), "aarch64": (1, 0xC00000B7, 220)}   # column, audit, clone


def _kernel(function, *args):
    """Call libc's `syscall` or `prctl`; OSError if the kernel says no."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = getattr(libc, function)(*(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@functools.lru_cache
def missing_layer():
    """The isolation layer this system lacks, as a phrase; None if chart code can be confined."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return f"Landlock (it needs Linux on x86-64 or arm64; this is {platform.platform()})"
    try:
        layer = "Landlock, which Linux has since 5.13"
        _kernel("syscall", 444, None, 0, 1)             # landlock_create_ruleset: its version
        layer = "seccomp"
        _kernel("prctl", 21, 0, 0, 0, 0)                # PR_GET_SECCOMP
    except OSError as error:
        return f"{layer} (the kernel answers: {error.strerror})"
    return None


def _landlock(scratch):
    """A ruleset descriptor: read Python and shared libraries, write `scratch` (or nowhere)."""
    abi = _kernel("syscall", 444, None, 0, 1)
    truncate = (abi >= 3) << 14
    handled = (1 << 13) - 1 | (abi >= 2) << 13 | truncate | (abi >= 5) << 15
    ruleset = _kernel("syscall", 444, struct.pack("Q", handled), 8, 0)
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages(), sys.base_prefix + "/lib",
                "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache",
                "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"}
    read, use, write = 0b1100, 0b0110, 0b1_1011_1110 | truncate     # write: no links, no devices
    for path, rights in [*((f, read) for f in folders), ("/dev/null", use), (scratch, write)]:
        if path and os.path.exists(path):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights &= -1 if os.path.isdir(path) else use | truncate
            _kernel("syscall", 445, ruleset, 1, struct.pack("=Qi", rights, beneath), 0)
            os.close(beneath)
    return ruleset


def _seccomp():
    """The BPF filter: a foreign machine dies, REFUSED gives EPERM, only threads may be cloned."""
    column, audit, clone = MACHINES[platform.machine()]
    numbers = sorted(n for group in REFUSED.values() for n in group[column])
    load, equal, at_least, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06     # BPF operations
    allow, kill, eperm, enosys = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
    code = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, kill), (load, 0, 0, 0),
            (at_least, 0, 1, 0x40000000), (give, 0, 0, eperm),      # the x32 numbering
            (equal, 0, 1, 435), (give, 0, 0, enosys),               # clone3: libc tries clone then
            (equal, 0, 4, clone), (load, 0, 0, 16),                 # clone: its flags
            (has_bit, 0, 1, 0x10000), (give, 0, 0, allow), (give, 0, 0, eperm),
            *((equal, len(numbers) - i, 0, n) for i, n in enumerate(numbers)),
            (give, 0, 0, allow), (give, 0, 0, eperm)]
    return b"".join(struct.pack("HBBI", *step) for step in code)


def _confine(ruleset, filter_):
    """Close every door for good. What is open stays open, so descriptors must be closed before."""
    _kernel("prctl", 38, 1, 0, 0, 0)                        # PR_SET_NO_NEW_PRIVS
    _kernel("syscall", 446, ruleset, 0)                     # landlock_restrict_self
    os.close(ruleset)
    steps = ctypes.create_string_buffer(filter_, len(filter_))
    whole = struct.pack("HxxxxxxQ", len(filter_) // 8, ctypes.addressof(steps))
    _kernel("prctl", 22, 2, whole, 0, 0)                    # PR_SET_SECCOMP


# ------------------------------------------------------------------------------------------------
# Worker: a clean process that holds the libraries and forks the processes that draw
# ------------------------------------------------------------------------------------------------

WARM_UP = {     # one drawing a task with text, so that fonts and lazy imports are there to inherit
    "chart": "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n"
             "ax.plot([1, 2], label='a')\nax.bar(['A'], [1])\nax.scatter([1], [1])\n"
             "ax.set_title('$x$')\nax.legend()",
    "svg": '<svg viewBox="0 0 9 9"><text y="8" font-weight="bold">Aa</text></svg>',
    "table": "<table><tr><th>Aa</th><td>1</td></tr></table>"}


def _worker(channel, folder):
    """Serve jobs until the parent is gone. Each message is a descriptor on which the job comes.

    The worker never reads a job or an answer itself: both pass between the parent and the child
    that draws, so a chart program finds nothing in its memory of what was drawn before it.
    A chart gets a fresh child; tables and SVG share one until it is late, dies or is old. That
    one imports their libraries itself: the less this process holds, the cheaper is each fork.
    """
    gc.disable()                                # garbage would leave holes in pages shared later
    tempfile.tempdir = folder
    scratch = tempfile.mkdtemp(prefix="scratch_")
    draw("chart", WARM_UP["chart"], 64)
    _reset_matplotlib()
    locks = None if missing_layer() else (_landlock(scratch), _landlock(None), _seccomp())
    gc.freeze()                                 # the children need not touch these objects
    channel.sendall(b"r")                       # ready
    shared, served, parent_is_there = None, 0, True
    while parent_is_there:
        message, job, _, _ = socket.recv_fds(channel, 16, 1)
        if not job:
            break
        is_chart, timeout = struct.unpack("=?f", message)
        child = not is_chart and shared or _fork(scratch if is_chart else None, timeout, locks)
        with contextlib.suppress(OSError):
            if not is_chart and not shared:
                child[1].recv(1)                # it has imported its libraries
            socket.send_fds(child[1], [b"j"], job)
        os.close(job[0])
        ready = select.select([child[1], channel], [], [], timeout)[0]
        served += 1
        status, shared_lives = "ok", False
        with contextlib.suppress(OSError):
            shared_lives = not is_chart and child[1] in ready and child[1].recv(1) == b"d" \
                and served % 1000 > 0
        if not shared_lives:
            status = _end(child, child[1] not in ready)
        if not is_chart:
            shared = child if shared_lives else None
        elif os.listdir(scratch):               # find copes with folders nested 100,000 deep
            subprocess.run(["find", scratch, "-mindepth", "1", "-delete"], check=False)
        parent_is_there = channel not in ready
        with contextlib.suppress(OSError):
            channel.sendall(status.encode().ljust(16))
    if shared:
        _end(shared, True)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):          # the last worker of a dead parent
        os.rmdir(os.path.dirname(folder))


def _end(child, late):
    """Kill the child with all its threads and processes, reap it, say how it ended."""
    pid, link = child
    done = status = 0
    for _ in range(0 if late else 100):         # it closed its link: it is about to exit
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)          # with all its threads and processes
    if not done:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)        # it may not have founded its group yet
        os.waitpid(pid, 0)
    link.close()
    code = os.waitstatus_to_exitcode(status)
    return "timeout" if late else f"exit {code}" if code else "ok"


def _fork(scratch, timeout, locks):
    """Start a drawing process; returns (pid, our end of its link)."""
    ours, theirs = socket.socketpair()
    worker, pid = os.getpid(), os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        os.setsid()
        _child(theirs, scratch, timeout, locks, worker)
        os._exit(0)
    finally:
        os._exit(70)


def _child(link, scratch, timeout, locks, worker):
    """Lock the doors, then draw: one chart (scratch given), or tables and SVG until killed."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    ruleset = os.dup(locks[0 if scratch else 1]) if locks else 2
    keep = [2, *sorted({link.fileno(), ruleset} - {2})]
    for low, high in zip(keep, [*keep[1:], 4096]):
        os.closerange(low + 1, high)
    for task in () if scratch else ("table", "svg"):
        draw(task, WARM_UP[task], 64)
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)
    os.environ.clear()
    os.chdir(scratch or "/")
    limits = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 256,
              resource.RLIMIT_FSIZE: FILE_BYTES if scratch else 0}
    if scratch:
        limits[resource.RLIMIT_CPU] = math.ceil(timeout) + 1
    for which, most in limits.items():
        with contextlib.suppress(ValueError, OSError):      # macOS cannot limit memory
            resource.setrlimit(which, (most, most))
    if locks:
        _kernel("prctl", 1, signal.SIGKILL, 0, 0, 0)        # PR_SET_PDEATHSIG: die with the worker
        if os.getppid() != worker:
            return
        _confine(ruleset, locks[2])
    while True:
        if not scratch:
            link.sendall(b"d")                              # ready, or done with the last
        _, job, _, _ = socket.recv_fds(link, 1, 1)
        if not job:
            return
        with socket.socket(fileno=job[0]) as answer_to:
            answer_to.sendall(_answer(answer_to))
        if scratch:
            return


def _answer(link):
    """Read one job, draw it, pack the answer: lengths, scene (or error) as JSON, pixels."""
    task, code, size = json.loads(_receive(link, *struct.unpack("=I", _receive(link, 4))))
    width = height = 0
    pixels = b""
    try:
        image, answer = draw(task, code, tuple(size) if isinstance(size, list) else size)
        (width, height), pixels = image.size, image.tobytes()
    except RenderError as error:
        answer = [error.kind, error.message]
    except MemoryError:
        answer = ["memory", f"it needs more than {MEMORY >> 30} GiB of memory"]
    text = json.dumps(answer, allow_nan=False).encode()
    return struct.pack("=III", len(text), width, height) + text + pixels


def _receive(link, count):
    """Exactly `count` bytes; ConnectionError if the other side ends before."""
    data, got = bytearray(count), 0
    while got < count:
        more = link.recv_into(memoryview(data)[got:])
        if not more:
            raise ConnectionError("the other side closed the connection")
        got += more
    return bytes(data)


# ------------------------------------------------------------------------------------------------
# Pool: the parent's side
# ------------------------------------------------------------------------------------------------

GRACE = 30.0                # seconds an answer may be late beyond the job's own deadline
LARGEST_SCENE = 4 << 20     # bytes


class _Worker:
    """One worker process, seen from the parent."""

    def __init__(self, pool_folder):
        self.folder = folder = tempfile.mkdtemp(dir=pool_folder)
        self.channel, theirs = socket.socketpair()
        kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "MPLCONFIGDIR", "XDG_CACHE_HOME")
        environment = {k: os.environ[k] for k in kept if k in os.environ} | {
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        with tempfile.TemporaryFile("w+", dir=folder) as log, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-BP", os.path.abspath(__file__), "--worker",
                 str(theirs.fileno()), folder], pass_fds=[theirs.fileno()], env=environment,
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)             # Ctrl-C is for the parent
            theirs.close()
            self.channel.settimeout(120)            # the first import on a machine can be slow
            try:
                _receive(self.channel, 1)
            except OSError:
                self.stop()
                log.seek(0)
                last = (log.read().strip().splitlines() or ["it said nothing"])[-1]
                raise RuntimeError(f"a drawing process could not start: {last}") from None

    def draw(self, task, code, size, timeout):
        """Rendering or RenderError of one job; OSError if the worker itself is lost."""
        ours, theirs = socket.socketpair()
        self.channel.settimeout(timeout + GRACE)
        ours.settimeout(timeout + GRACE)
        with ours, theirs:
            socket.send_fds(self.channel, [struct.pack("=?f", task == "chart", timeout)],
                            [theirs.fileno()])
            theirs.close()
            answer, job = None, json.dumps([task, code, size]).encode()
            try:
                ours.sendall(struct.pack("=I", len(job)) + job)
                answer = _read_answer(ours, task, size)
            except TimeoutError:
                raise
            except Exception:       # cut off or forged: whatever it is, it is no answer
                pass
        status = _receive(self.channel, 16).decode().strip()
        return answer or _how_it_ended(status, timeout)

    def stop(self):
        self.channel.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _read_answer(link, task, size):
    """Decode an answer, which the program may have forged: any exception means unsound."""
    def number(digits):
        if len(digits) > 25 or not math.isfinite(float(digits)):
            raise ValueError("not a number that a scene holds")
        return float(digits) if set(digits) & set(".eEn") else int(digits)

    length, width, height = struct.unpack("=III", _receive(link, 12))
    most = size if isinstance(size, (tuple, list)) else (size or MAX_SIDE,) * 2
    if length > LARGEST_SCENE or width * height > MAX_PIXELS or width > most[0] or height > most[1]:
        raise ValueError("larger than any answer")
    answer = json.loads(_receive(link, length), parse_int=number, parse_float=number,
                        parse_constant=number)
    if not width:
        kind, message = answer
        return RenderError(kind if kind in KINDS else "runtime",
                           " ".join(str(message).split())[:300])
    if not _sound(answer, SCENES[task]) or answer["task"] != task or \
            answer["size"] != [width, height]:
        raise ValueError("not a scene")
    pixels = _receive(link, 3 * width * height)
    return Rendering(Image.frombytes("RGB", (width, height), pixels), answer)


def _how_it_ended(status, timeout):
    if status in ("timeout", f"exit {-signal.SIGXCPU}"):
        return RenderError("timeout", f"not finished after {timeout:g} seconds")
    if status in (f"exit {-signal.SIGKILL}", f"exit {-signal.SIGABRT}"):
        return RenderError("memory", f"it needs more than {MEMORY >> 30} GiB of memory")
    return RenderError("runtime", "its process ended without giving a picture"
                       + (f" ({status})" if status != "ok" else ""))


class _Pool:
    """The workers of this process, started when first needed and replaced when lost."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="visual_erm_")
        self.workers, self.idle, self.count = set(), [], 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self, limit, fresh=False):
        """A worker of at most `limit`, a new one if `fresh`; who leaves with an exception lost it."""
        with self.changed:
            self.changed.wait_for(lambda: self.idle or self.count < limit)
            worker = self.idle.pop() if self.idle else None
            self.count += worker is None
        try:
            if worker and (fresh or worker.process.poll() is not None):     # killed while idle
                worker.stop()
                self.workers.discard(worker)
                worker = None
            worker = worker or _Worker(self.folder)
            self.workers.add(worker)
            yield worker
            self.idle.append(worker)
        except BaseException:
            with self.changed:
                self.count -= 1
            if worker:
                worker.stop()
                self.workers.discard(worker)
            raise
        finally:
            with self.changed:
                self.changed.notify()

    def draw(self, task, code, size, timeout, limit):
        for fresh in (False, True):     # once more if killed from outside: others may be, too
            try:
                with self.borrow(limit, fresh) as worker:
                    return worker.draw(task, code, size, timeout)
            except TimeoutError:
                return RenderError("timeout", f"no answer after {timeout + GRACE:g} seconds")
            except ConnectionError:
                answer = RenderError("runtime", "the drawing process was killed")
        return answer


_pool, _pool_lock = None, threading.Lock()


def _the_pool():
    global _pool
    with _pool_lock:
        _pool = _pool or _Pool()
        return _pool


def close():
    """Stop all workers, remove their folder. Runs at exit; rendering again starts new ones."""
    global _pool
    pool, _pool = _pool, None
    for worker in pool.workers if pool else ():
        worker.stop()
    if pool:
        shutil.rmtree(pool.folder, ignore_errors=True)


def _forget_pool():
    """A fork of this process owns no workers: close its copies, so that the parent's end counts."""
    global _pool, _pool_lock
    for worker in _pool.workers if _pool else ():
        worker.channel.close()
    _pool, _pool_lock = None, threading.Lock()


atexit.register(close)
os.register_at_fork(after_in_child=_forget_pool)


def main():
    """The command line; exit code 2 and one sentence where there is no picture."""
    suffixes = {".py": "chart", ".html": "table", ".md": "table", ".svg": "svg"}
    parser = argparse.ArgumentParser(description="Draw a chart program, a table or an SVG file.")
    parser.add_argument("file", help="the code; - reads standard input")
    parser.add_argument("--task", choices=TASKS, help="default: by the file's ending "
                        "(.py chart, .html and .md table, .svg svg)")
    parser.add_argument("--out", required=True, help="the picture to write, e.g. x.png")
    parser.add_argument("--scene", help="also write the scene as JSON to this file")
    parser.add_argument("--size", type=int, help="longest side in px (default: natural size)")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds (default 10)")
    parser.add_argument("--unsafe", action="store_true", help="run chart code even where this "
                        f"system lacks a layer of the sandbox (like {UNSAFE}=1)")
    args = parser.parse_args()
    task = args.task or suffixes.get(os.path.splitext(args.file)[1].lower())
    if task is None:
        parser.error(f"cannot tell the task from the name {args.file!r}: add --task chart, "
                     "table or svg")
    if args.unsafe:
        os.environ[UNSAFE] = "1"
    try:
        code = sys.stdin.buffer.read() if args.file == "-" else open(args.file, "rb").read()
        picture = render(task, code, size=args.size, timeout=args.timeout)
        picture.image.save(args.out)
        if args.scene:
            with open(args.scene, "w") as file:
                json.dump(picture.scene, file, indent=1)
    except (RenderError, OSError, ValueError, RuntimeError) as error:
        sentence = error.message if isinstance(error, RenderError) else error
        parser.exit(2, f"{args.file}: {sentence}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(socket.socket(fileno=int(sys.argv[2])), sys.argv[3])
    else:
        main()
