"""Charts: run the program, record what its figure paints, paint it, join both to a scene.

`record_chart` runs in the program's own process, `paint_chart` in one that never ran a program.
"""
import builtins
import contextlib
import functools
import io
import os
import random
import sys
import traceback
import warnings
from unittest import mock

from PIL import Image

from data.renderers.chart_scene import (
    axes_scene,
    data_artists,
    hex_of,
    legend_scene,
    plain_names,
    seen_text,
)
from data.renderers.scene import RenderError, on_canvas, short, six, target_size

PROGRAM = "program.py"  # what a program finds as its name, in an empty folder


@functools.lru_cache
def reset_matplotlib() -> None:
    """Settings, fonts and random numbers as they are at the start; kept until the next program."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.font_manager as fonts
    import matplotlib.pyplot as plt
    import numpy as np

    from data.renderers.paint_list import watch_artists
    own = matplotlib.get_data_path()  # "Arial" must be DejaVu on every machine, installed or not
    fonts.fontManager.ttflist = [f for f in fonts.fontManager.ttflist if f.fname.startswith(own)]
    matplotlib.rcdefaults()
    plt.switch_backend("Agg")
    plt.close("all")
    np.random.seed(0)
    random.seed(0)
    watch_artists()


def draw_chart(code: str, size: int | tuple[int, int] | None) -> tuple[Image.Image, dict]:
    """Both halves in this process: (RGB image, scene)."""
    return paint_chart(record_chart(code, size), size)


def record_chart(code: str, size: int | tuple[int, int] | None) -> bytes:
    """Run a program; the packed paint list of its figure. Nothing is painted here.

    The figure is the last one that has something in it, as it was when it was saved or shown last,
    or else as it is when the program ends.
    """
    reset_matplotlib()
    reset_matplotlib.cache_clear()
    import matplotlib
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    made, kept, files = [], {}, {}
    start, save = Figure.__init__, Figure.savefig

    def started(self, *args, **kwargs):
        start(self, *args, **kwargs)
        made.append(self)

    def keep(figure):
        if _filled(figure) and (figure.stale or figure not in kept):
            kept[figure] = _record(figure, size)
            figure.stale = False

    def remembering(kind, method):  # pies and boxes leave only loose artists behind
        def call(self, *args, **kwargs):
            result = method(self, *args, **kwargs)
            self.__dict__.setdefault("_calls", []).append((kind, args, kwargs, result))
            return result
        return call

    def saved(self, *args, **kwargs):
        target = args[0] if args else kwargs.get("fname")
        keep(self)
        if hasattr(target, "write"):  # a buffer: the program may want to read it
            save(self, *args, **kwargs)
        elif isinstance(target, (str, os.PathLike)) and self in kept:
            files[os.path.abspath(target)] = kept[self]

    nothing = lambda *args, **kwargs: None
    hooks = ((Figure, "__init__", started), (Figure, "savefig", saved),
             (Figure, "show", lambda self, *args, **kwargs: keep(self)),
             (plt, "show", lambda *args, **kwargs: [keep(figure) for figure in made[-1:]]),
             (plt, "pause", nothing), (plt, "switch_backend", nothing),
             (matplotlib, "use", nothing), (Axes, "pie", remembering("pie", Axes.pie)),
             (Axes, "bxp", remembering("box", Axes.bxp)), (sys, "argv", [PROGRAM]),
             *_reading_hooks(files))
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for hook in hooks:
            stack.enter_context(mock.patch.object(*hook))
        _run_program(code)
        drawn = [figure for figure in made if figure in kept or _filled(figure)]
        if not drawn:
            raise RenderError("blank", "the program's figure is empty" if made else
                              "the program drew no figure")
        return kept.get(drawn[-1]) or _record(drawn[-1], size)


def _filled(figure):
    return bool(figure.axes or figure.texts or figure.images or figure.patches or figure.lines)


def _reading_hooks(files):
    """Hooks that write a saved picture to its file when the program reads it, and not before."""
    def reading(function):
        def call(path, *args, **kwargs):
            mode = kwargs.get("mode", args[0] if args and function is open else "r")
            if files and isinstance(path, (str, os.PathLike)) and "r" in str(mode):
                full = os.path.abspath(path)
                if full in files:
                    return function(write(full), *args, **kwargs)
            return function(path, *args, **kwargs)
        return call

    def write(full):
        packed = files.pop(full)
        image = picture_of(packed)
        for path in (full, os.path.basename(full)):  # outside its folder nothing can be written
            with contextlib.suppress(OSError):
                image.save(path, *([] if os.path.splitext(path)[1] else ["PNG"]))
                return path
        return full

    return (builtins, "open", reading(open)), (io, "open", reading(open)), \
        (os, "stat", reading(os.stat))


def _run_program(code):
    """Compile and run; exceptions become a RenderError that names the program's line."""
    try:
        program = compile(code, "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" (line {error.lineno})" if getattr(error, "lineno", None) else ""
        raise RenderError("syntax", f"not a Python program: {short(error)}{line}") from None
    try:
        exec(program, {"__name__": "__main__", "__builtins__": __builtins__,
                       "__file__": os.path.abspath(PROGRAM)})
    except RenderError:
        raise
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
        raise RenderError(kind, f"{where}{type(error).__name__}: {short(error)}") from None


def _record(figure, size):
    """The packed paint list of a figure whose longest side is to have `size` px."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from data.renderers.paint_list import Recorder
    inches, dpi = figure.get_size_inches(), figure.dpi
    scale, w, h, _ = target_size(*(inches * dpi), size)
    if scale != 1:  # the canvas cuts inches * dpi to whole px: a hair more keeps 127.999 at 128
        figure.set_dpi(max(w / inches[0], h / inches[1]) * (1 + 1e-9))
    old_canvas = figure.canvas
    try:
        agg = FigureCanvasAgg(figure)
        key = *agg.get_width_height(), figure.dpi
        agg.renderer, agg._lastKey = Recorder(*key), key
        agg.renderer.record(figure)
        names = plain_names(_names(figure), agg.renderer.rows_of)
        return agg.renderer.pack(names | {"page": [w, h]})
    finally:
        if scale != 1:
            figure.set_dpi(dpi)
        figure.set_canvas(old_canvas)


def _names(figure):
    """What the figure's objects say of themselves: the scene, with the artists of each part."""
    axes = [a for ax in figure.axes for a in (ax, *ax.child_axes)
            if a.get_visible() and (a.axison or a.texts or data_artists(a))]
    axes.sort(key=lambda a: (-round(a.get_position().y1, 2), round(a.get_position().x0, 2)))
    texts = [t for t in figure.texts if t is not figure._suptitle and seen_text(t)]
    return {
        "task": "chart", "title": seen_text(figure._suptitle),
        "by": {"background": figure.patch, "legend": list(figure.legends)},
        "facecolor": hex_of(figure.get_facecolor()), "legend": legend_scene(figure.legends),
        "texts": [{"text": seen_text(t)} | dict(zip("xy", six(t.get_position()))) for t in texts],
        "axes": [axes_scene(a, axes) for a in axes]}


def paint_chart(packed: bytes, size: int | tuple[int, int] | None) -> tuple[Image.Image, dict]:
    """Paint a packed list: (RGB image, scene). The list may be forged; the picture is then, too."""
    from data.renderers.painted import painted_scene
    painter, page = _paint(packed)
    canvas = tuple(size) if isinstance(size, (tuple, list)) else (size or page.width,) * 2
    if page.width > canvas[0] or size is not None and page.height > canvas[1]:
        raise ValueError("a list of another size")
    image = on_canvas(page, size if isinstance(size, (tuple, list)) else page.size)
    return image, painted_scene(painter, image)


def picture_of(packed: bytes) -> Image.Image:
    """The picture of a packed list alone."""
    return _paint(packed)[1]


def _paint(packed):
    """(Painter after painting, RGB picture on white)"""
    from data.renderers.painter import Painter, PaintList, whole
    listed = PaintList(packed)
    w, h = (whole(side, drawn - 1, drawn + 1) for side, drawn in
            zip(listed.names["page"], (listed.width, listed.height)))
    painter = Painter(listed)
    painter.paint()
    image = Image.frombuffer("RGBA", (listed.width, listed.height), bytes(painter.buffer_rgba()))
    page = Image.new("RGBA", (w, h), "white")
    page.alpha_composite(image.crop((0, 0, w, h)))
    return painter, page.convert("RGB")
