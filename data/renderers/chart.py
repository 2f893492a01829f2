"""Charts: run the program, take its last figure, draw it once, read the live figure."""
import contextlib
import functools
import random
import traceback
import warnings
from unittest import mock

from PIL import Image

from data.renderers.chart_scene import axes_scene, data_artists, hex_of, legend_scene, seen_text
from data.renderers.scene import RenderError, on_canvas, short, six, target_size


@functools.lru_cache
def reset_matplotlib():
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


def draw_chart(code, size):
    reset_matplotlib()
    reset_matplotlib.cache_clear()
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
        raise RenderError("syntax", f"not a Python program: {short(error)}{line}") from None
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
        raise RenderError(kind, f"{where}{type(error).__name__}: {short(error)}") from None


def _finish_chart(figure, size):
    """Draw the figure so that its longest side is `size` px; return (RGB image, scene)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    inches = figure.get_size_inches()
    scale, w, h, canvas = target_size(*(inches * figure.dpi), size)
    if scale != 1:      # the canvas cuts inches * dpi to whole px: a hair more keeps 127.999 at 128
        figure.set_dpi(max(w / inches[0], h / inches[1]) * (1 + 1e-9))
    agg = FigureCanvasAgg(figure)
    agg.draw()
    image = Image.frombuffer("RGBA", agg.get_width_height(), bytes(agg.buffer_rgba()))
    page = Image.new("RGBA", (w, h), "white")
    page.alpha_composite(image.crop((0, 0, w, h)))
    image = on_canvas(page.convert("RGB"), canvas)
    axes = [a for ax in figure.axes for a in (ax, *ax.child_axes)
            if a.get_visible() and (a.axison or a.texts or data_artists(a))]
    axes.sort(key=lambda a: (-round(a.get_position().y1, 2), round(a.get_position().x0, 2)))
    texts = [t for t in figure.texts if t is not figure._suptitle and seen_text(t)]
    return image, {
        "task": "chart", "size": list(image.size), "title": seen_text(figure._suptitle),
        "facecolor": hex_of(figure.get_facecolor()), "legend": legend_scene(figure.legends),
        "texts": [{"text": seen_text(t)} | dict(zip("xy", six(t.get_position()))) for t in texts],
        "axes": [axes_scene(a, axes) for a in axes]}
