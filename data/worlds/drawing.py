"""How programs are drawn: with other margins, letters, lines and cells, and no other meaning.

A reference chart comes from somebody's program and a table from a document. What a model's code
draws never has the same margins. `DrawingStyle` draws a program in a layout of its own. Each choice
stays within half of a threshold of `data.compare`, so two styles of one program have no error, yet
most of their pixels differ.

| task | what a style chooses |
| --- | --- |
| chart | margins, size of the figure and of letters, widths of lines and frame, length of ticks |
| table | padding, size of letters, least width of cells, shade and width of borders, stripes |
| svg | place and size of the whole drawing, widths of lines, the element that draws an outline |

    >>> import random
    >>> DrawingStyle(random.Random(1)).draw("table", "<table><tr><td>1</td></tr></table>")
    ... # doctest: +ELLIPSIS
    '<style>td,th{...}</style>\\n<table><tr><td>1</td></tr></table>'
"""
import math
import random
import re

from data.worlds.style import ELEMENT

# rcParams of widths and sizes that a style scales, with Matplotlib's own values.
WIDTHS = {"lines.linewidth": 1.5, "lines.markersize": 6, "axes.linewidth": 0.8,
          "grid.linewidth": 0.8}
SIDES = {"left": (0.36, 0.125), "right": (0.9, 0.9), "bottom": (0.25, 0.11), "top": (0.88, 0.88)}
ADJUST = re.compile(r"^fig\.subplots_adjust\([^)\n]*\)$", re.M)
FIGSIZE = re.compile(r"figsize=\(([\d.]+), ([\d.]+)\)")
HEAD = re.compile(r"(?:from __future__ .*\n|\s*#.*\n)*")
CANVAS = re.compile(r'(<svg\b[^>]*\bviewBox="\s*[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)\s*"'
                    r'[^>]*>\s*(?:<rect width="\2" height="\3"[^>]*/>)?)(.*)(</svg>\s*)$', re.S)


class DrawingStyle:
    """A way of drawing, drawn with `rng`. The same style may draw any number of programs."""

    def __init__(self, rng: random.Random):
        self.seed = rng.getrandbits(32)

    def draw(self, task: str, code: str) -> str:
        """A program of the same picture in this style. What a style cannot reach stays as it is."""
        rng = random.Random(self.seed)
        return {"chart": self._chart, "table": self._table, "svg": self._svg}[task](code, rng)

    def _chart(self, code, rng):
        values = {"font.size": 10 * rng.uniform(0.94, 1.06)}
        width = rng.uniform(0.94, 1.06)
        values |= {name: usual * width for name, usual in WIDTHS.items()}
        ticks = rng.uniform(2, 5)
        values |= {"xtick.major.size": ticks, "ytick.major.size": ticks}
        stretch = 2
        while abs(math.log(stretch)) > 0.12:                # the axes keep their proportions
            shifts = {side: rng.uniform(-0.04, 0.04) for side in SIDES}
            scale = [rng.uniform(0.96, 1.04) for _ in range(2)]
            sides = [1 + (shifts[high] - shifts[low]) / (SIDES[high][0] - SIDES[low][0])
                     for low, high in (("left", "right"), ("bottom", "top"))]
            stretch = sides[0] * scale[0] / (sides[1] * scale[1])
        values |= {f"figure.subplot.{side}": SIDES[side][1] + shifts[side] for side in SIDES}
        values["figure.figsize"] = [6.4 * scale[0], 4.8 * scale[1]]
        margins = ", ".join(f"{side}={SIDES[side][0] + shifts[side]:.3f}" for side in SIDES)
        code = ADJUST.sub(f"fig.subplots_adjust({margins})", code)
        code = FIGSIZE.sub(lambda size: "figsize=({:.3f}, {:.3f})".format(
            *(float(side) * by for side, by in zip(size.groups(), scale))), code)
        texts = [f"{name!r}: {_short(value)}" for name, value in values.items()]
        head = HEAD.match(code)[0]
        settings = f"import matplotlib\nmatplotlib.rcParams.update({{{', '.join(texts)}}})\n"
        return head + settings + code[len(head):]

    def _table(self, code, rng):
        shade = rng.choice(("000", "111", "222"))
        cell = {"padding": f"{rng.uniform(1, 3):.2f}px {rng.uniform(1.2, 4.8):.2f}px",
                "font-size": f"{11 * rng.uniform(0.96, 1.04):.2f}px",
                "min-width": f"{rng.uniform(20, 28):.1f}px",
                "border": f"{rng.choice((0.7, 1, 1.4))}px solid #{shade}"}
        rules = ["td,th{" + ";".join(f"{name}:{value}" for name, value in cell.items()) + "}"]
        if rng.random() < 0.4:
            rules.append(f"tr:nth-child({rng.choice(('odd', 'even'))}) td{{background:#f7f7f7}}")
        return f"<style>{''.join(rules)}</style>\n{code}"

    def _svg(self, code, rng):
        canvas = CANVAS.match(code)
        if not canvas:
            return code
        head, wide, high, shapes, end = canvas.groups()
        scale = rng.uniform(0.99, 1.01)
        x, y = ((1 - scale) / 2 * side + rng.uniform(-0.009, 0.009) * side
                for side in (float(wide), float(high)))
        width, other = rng.uniform(0.94, 1.06), rng.random() < 0.5
        shapes = re.sub(r'stroke-width="([\d.]+)"',
                        lambda old: f'stroke-width="{float(old[1]) * width:.3f}"', shapes)
        if other:
            shapes = ELEMENT.sub(_other_element, shapes)
        place = f"translate({x:.3f} {y:.3f}) scale({scale:.4f})"
        return f'{head}<g transform="{place}">{shapes}</g>{end}'


def _short(value):
    return [round(part, 3) for part in value] if isinstance(value, list) else round(value, 3)


def _other_element(match):
    """An element's outline by another one: a circle as an ellipse, a rectangle as a path."""
    tag, values = match[1], dict(re.findall(r'([\w:-]+)="([^"]*)"', match[2]))
    try:
        if tag == "circle":
            tag, radius = "ellipse", values.pop("r")
            values = values | {"rx": radius, "ry": radius}
        elif tag == "rect" and not {"rx", "ry"} & values.keys():
            x, y, w, h = (float(values.pop(name, 0)) for name in ("x", "y", "width", "height"))
            tag, values = "path", {"d": f"M{x:g} {y:g}h{w:g}v{h:g}h{-w:g}z"} | values
        elif tag == "line":
            ends = [values.pop(name, "0") for name in ("x1", "y1", "x2", "y2")]
            tag, values = "path", {"d": "M{} {}L{} {}".format(*map(float, ends))} | values
        elif tag == "polygon":
            tag, values = "path", {"d": f"M{values.pop('points')}z"} | values
    except (KeyError, ValueError):                          # percentages: stays as it is
        return match[0]
    return f"<{tag}" + "".join(f' {name}="{value}"' for name, value in values.items())
