"""Random programs: charts (Matplotlib), tables (HTML, Markdown) and drawings (SVG), at three levels of difficulty.

Level 1 is for the tiny models (128x128 pixels); levels 2 and 3 are for models that were trained on the internet.
Two rules make a world learnable from scratch:

1. Parts are written in the order in which the eye meets them (left to right, top to bottom); with a random
   order no reader can know which of two equal programs is wanted, and the loss never reaches zero.
2. One picture has one program: the values of a pie always sum to 10, colours are named, keyword arguments have
   one order. A reader is then either right or wrong, and exact copies can be counted.

Levels 2 and 3 keep them where a person would: subplots, rows and icons come in reading order (shapes of one icon from
back to front), arguments and setters have one order, a palette is written in one way. Words, units and ranges of a
plot or table come from one theme. Level 3 has more of everything at once. All data is written out in the programs.

    >>> import random
    >>> print(draw("svg", 1, random.Random(1)))                                            # doctest: +SKIP
"""
import math
import re
import textwrap
from functools import partial

TASKS = ("chart", "table", "svg")
COLORS = ("red", "blue", "green", "orange", "purple", "brown", "black", "hotpink")
TITLES = ("Sales", "Profit", "Cost", "Growth", "Score", "Users", "Traffic", "Rain", "Energy", "Speed", "Demand",
          "Price")
LABELS = ("Year", "Month", "Team", "City", "Group", "Level", "Size", "Count", "Rate", "Time")
LETTERS = "ABCDEFGHKLMN"
WORDS = ("cat", "dog", "fox", "hen", "ant", "bee", "cow", "owl", "pig", "rat", "bat", "eel")
VALUES = (2, 4, 6, 8)
HEADS = ("day", "sum", "max", "min", "age", "net", "tax", "qty")


def draw(task, level, rng):
    """Source code of one random program of `task` at `level` 1, 2 or 3, drawn with `rng` (random.Random).

    Raises ValueError for an unknown task or level.
    """
    if (task, level) not in WORLDS:
        raise ValueError(f"no world for task {task!r} at level {level!r}: tasks {', '.join(TASKS)}, levels 1, 2, 3")
    return WORLDS[task, level](rng)


# ---------------------------------------------------------------------------------------------- level 1: charts
CHART_HEAD = """import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(2, 2))
fig.subplots_adjust(left=0.36, bottom=0.25)
"""


def _names(rng, n):
    return sorted(rng.sample(LETTERS, n))


def _quoted(values):
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _compositions(rng, total, n):
    """`n` positive integers in random order that sum to `total`."""
    cuts = sorted(rng.sample(range(1, total), n - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, total])]


def _chart1(rng):
    kind = rng.choice(("bar", "barh", "plot", "scatter", "pie"))
    color = rng.choice(COLORS)
    lines = []
    if kind == "pie":
        values = [2 * part for part in _compositions(rng, 5, rng.randint(2, 4))]
        lines.append(f"ax.pie({values}, labels={_quoted(_names(rng, len(values)))}, "
                     f"colors={_quoted(rng.sample(COLORS, len(values)))})")
    elif kind == "scatter":
        xs = sorted(rng.sample(range(1, 10, 2), rng.randint(2, 4)))
        ys = [rng.choice(VALUES) for _ in xs]
        marker = rng.choice(("o", "o", "s", "^"))
        lines += [f'ax.scatter({xs}, {ys}, color="{color}", marker="{marker}")', "ax.set_xlim(0, 10)",
                  "ax.set_ylim(0, 10)"]
    else:
        names = _names(rng, rng.randint(2, 4))
        values = [rng.choice(VALUES) for _ in names]
        style = f', linestyle="{rng.choice(("-", "-", "--", ":"))}", marker="{rng.choice("os^")}"'
        lines += [f'ax.{kind}({_quoted(names)}, {values}, color="{color}"{style if kind == "plot" else ""})',
                  f"ax.set_{'x' if kind == 'barh' else 'y'}lim(0, 10)"]
    if rng.random() < 0.7:
        lines.append(f'ax.set_title("{rng.choice(TITLES)}")')
    if kind != "pie":
        if rng.random() < 0.4:
            lines.append(f'ax.set_xlabel("{rng.choice(LABELS)}")')
        if rng.random() < 0.4:
            lines.append(f'ax.set_ylabel("{rng.choice(LABELS)}")')
        if rng.random() < 0.3:
            lines.append("ax.grid(True)")
    return CHART_HEAD + "\n".join(lines)


# ---------------------------------------------------------------------------------------------- level 1: tables
def _number1(rng):
    """A number as tables show it: mostly two digits, some with a sign or a unit, never more than three signs."""
    return rng.choice((f"{rng.randint(1, 99)}", f"{rng.randint(10, 99)}", f"-{rng.randint(1, 9)}",
                       f"{rng.randint(1, 99)}%", f"{rng.randint(1, 9)}.{rng.randint(0, 9)}"))


def _table1(rng):
    rows, columns = rng.randint(1, 4), rng.randint(2, 4)
    out = []
    if rng.random() < 0.7:
        out.append("<tr>" + "".join(f"<th>{head}</th>" for head in rng.sample(HEADS, columns)) + "</tr>")
    words = rng.sample(WORDS, rows)
    for word in words:
        cells = [word, *(_number1(rng) for _ in range(columns - 1))]
        out.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "<table>\n" + "\n".join(out) + "\n</table>"


# ------------------------------------------------------------------------------------------------- level 1: svg
SVG_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">\n'


def _shape1(rng, x, y):
    """One shape with its centre at (x, y) in a 64 x 64 canvas."""
    kind = rng.choice(("circle", "rect", "ellipse", "polygon", "text", "line"))
    color, r = rng.choice(COLORS), rng.choice((4, 8))
    border = ' stroke="black" stroke-width="2"' if rng.random() < 0.25 and color != "black" else ""
    if kind == "circle":
        return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{color}"{border}/>'
    if kind == "ellipse":
        rx, ry = rng.choice(((8, 4), (4, 8)))
        return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{color}"{border}/>'
    if kind == "rect":
        w, h = rng.choice((8, 16)), rng.choice((8, 16))
        return f'<rect x="{x - w // 2}" y="{y - h // 2}" width="{w}" height="{h}" fill="{color}"{border}/>'
    if kind == "polygon":
        return f'<polygon points="{x},{y - r} {x + r},{y + r} {x - r},{y + r}" fill="{color}"{border}/>'
    if kind == "line":
        dx, dy = rng.choice(((8, 0), (0, 8), (8, 8), (8, -8)))
        return f'<line x1="{x - dx}" y1="{y - dy}" x2="{x + dx}" y2="{y + dy}" stroke="{color}" stroke-width="3"/>'
    return f'<text x="{x - 6}" y="{y + 6}" font-size="16" fill="{color}">{rng.choice(LETTERS)}</text>'


def _svg1(rng):
    cells = sorted(rng.sample(range(9), rng.randint(1, 4)))               # 3 x 3 grid, in reading order
    out = []
    if rng.random() < 0.3:
        out.append(f'<rect width="64" height="64" fill="{rng.choice(("lightyellow", "lightblue", "lightgray"))}"/>')
    for cell in cells:
        out.append(_shape1(rng, 12 + 20 * (cell % 3), 12 + 20 * (cell // 3)))
    return SVG_HEAD + "\n".join([*out, "</svg>"])


# ------------------------------------------------------------------------------------- levels 2 and 3: what about
class Theme:
    """A subject whose words, units and ranges fit together; `more`: "parts" (values add up) or what they depend on."""

    def __init__(self, quantity, names, groups, other, more=""):
        (self.what, self.unit, self.low, self.high), (self.other, self.unit2, self.low2, self.high2) = (
            (what, unit, float(low), float(high)) for what, unit, low, high in
            (re.fullmatch(r"(.+) \((.+)\) (\S+) (\S+)", text).groups() for text in (quantity, other)))
        self.sides = [(axis, words.split(", ")) for axis, words in (text.split(": ") for text in (names, groups))]
        over, _, step = more.rpartition(" ")
        self.parts, self.over = more == "parts", over and (over, int(step))


THEMES = [Theme(*words) for words in (
    ("Revenue (million USD) 12 95", "Region: North America, Europe, Asia Pacific, Latin America, Middle East, Africa",
     "Segment: Hardware, Software, Services, Licences", "Margin (%) 8 34", "parts"),
    ("Electricity Generation (TWh) 20 480", "Source: Coal, Gas, Nuclear, Hydro, Wind, Solar",
     "Country: Germany, France, Spain, Italy, Poland", "Capacity Factor (%) 18 92", "parts"),
    ("Accuracy (%) 52 97", "Model: ResNet-50, ViT-B/16, ConvNeXt-T, Swin-T, MLP-Mixer, DeiT-S",
     "Dataset: CIFAR-100, Places365, Flowers, Pets", "Model Size (million) 5 90", "Epoch 10"),
    ("Rainfall (mm) 15 240", "City: Mumbai, London, Sydney, Lima, Oslo, Tokyo",
     "Season: Spring, Summer, Autumn, Winter", "Mean Temperature (°C) 4 31"),
    ("Grain Yield (t/ha) 1.8 9.6", "Crop: Wheat, Maize, Rice, Barley, Soybean, Sorghum",
     "Treatment: Control, Compost, Nitrogen, Irrigated", "Water Use (mm) 220 780", "Nitrogen (kg/ha) 20"),
    ("Systolic Pressure (mmHg) 104 168", "Dose: Placebo, 5 mg, 10 mg, 20 mg, 40 mg, 80 mg",
     "Age Group: 18-34, 35-49, 50-64, 65+", "Heart Rate (bpm) 58 96", "Week 2"),
    ("Passengers (thousand) 120 2400", "Mode: Metro, Bus, Tram, Ferry, Rail, Bike",
     "Day: Mon, Tue, Wed, Thu, Fri, Sat", "Punctuality (%) 71 99", "parts"),
    ("Response Time (ms) 12 640", "Database: PostgreSQL, MySQL, Redis, MongoDB, SQLite, DuckDB",
     "Operation: Read, Write, Scan, Join", "Throughput (kops/s) 3 120", "Concurrent Users 50"),
    ("CO2 Emissions (Mt) 24 690", "Country: Japan, Brazil, Canada, Mexico, Turkey, Egypt",
     "Sector: Power, Transport, Industry, Buildings, Farming", "Emissions per Capita (t) 1.6 17", "parts"),
    ("Units Sold (thousand) 3 58", "Product: Laptops, Phones, Tablets, Monitors, Cameras, Printers",
     "Channel: Online, Store, Partner, Export", "Return Rate (%) 0.8 9.5", "parts"))]
PALETTES = [words.split() for words in (     # each is written in one way: names where there are names; "" = default
    "", "steelblue darkorange seagreen firebrick mediumpurple goldenrod", "navy teal coral gold crimson slategray",
    "#4c72b0 #dd8452 #55a868 #c44e52 #8172b3 #937860", "#264653 #2a9d8f #e9c46a #f4a261 #e76f51 #8ab17d",
    "#1b9e77 #d95f02 #7570b3 #e7298a #66a61e #e6ab02", "#66c2a5 #fc8d62 #8da0cb #e78ac3 #a6d854 #ffd92f",
    "#003f5c #ff6361 #58508d #ffa600 #bc5090 #7a9e9f")]
CMAPS = ("viridis", "plasma", "magma", "cividis", "Blues", "YlGnBu", "Oranges", "Greens")
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def _pick(rng, words, low, high):
    """Between `low` and `high` of the `words`, in their order."""
    return sorted(rng.sample(words, rng.randint(min(low, len(words)), min(high, len(words)))), key=words.index)


def _calendar(rng, n):
    """(name of a time axis, its `n` values, at most 12)."""
    year = rng.randint(2000, 2025 - n)
    quarters = [f"Q{k % 4 + 1}/{(year + k // 4) % 100:02}" for k in range(n)]
    return rng.choice((("Year", list(range(year, year + n))), ("Month", MONTHS[:n]), ("Quarter", quarters)))


# -------------------------------------------------------------------------------------- levels 2 and 3: charts
class Code(str):
    """Python source that is written as it is, not as a string."""
    __repr__ = str.__str__


class _Panel:
    """One plot: the theme and the colours its parts share, and the lines of code written so far."""

    def __init__(self, rng, level, owner, wide, suffix):
        self.rng, self.level, self.owner, self.wide, self.suffix = rng, level, owner, wide, suffix
        self.axes = "plt.gca()" if owner == "plt" else owner
        self.theme, self.colors, self.lines = rng.choice(THEMES), rng.choice(PALETTES), []
        self.unit = f"{self.theme.what} ({self.theme.unit})"
        (self.axis, self.names), (self.by, self.groups) = rng.sample(self.theme.sides, 2)

    def often(self, share):
        return self.rng.random() < share * (1 if self.level == 2 else 1.6)

    def color(self, k):
        return self.colors and self.colors[k]

    def numbers(self, n, low=None, high=None, smooth=False):
        """`n` numbers in the theme's range, or another one, rounded as one does; the `smooth` ones follow a trend."""
        rng, low, high = self.rng, low or self.theme.low, high or self.theme.high
        digits = 2 if high < 10 else 1 if high < 200 else 0 if high < 1000 else -1
        start, drift, swing, phase = (rng.uniform(*ends) for ends in ((0.35, 0.6), (-0.3, 0.35), (0.02, 0.1), (0, 6)))
        shares = [start + drift * k / n + swing * math.sin(phase + k) + rng.gauss(0, 0.03) if smooth
                  else rng.uniform(0.08, 0.97) for k in range(n)]
        values = [round(low + (high - low) * min(1, max(0.02, share)), digits) for share in shares]
        return [int(value) for value in values] if digits < 1 else values

    def noise(self, row):
        return [round(value * self.rng.uniform(0.03, 0.09), 2) for value in row]

    def add(self, method, *args, into="", **keys):
        """Write a call of `method`; keywords that are None, False or empty are left out. `into` names the result."""
        words = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in keys.items() if v or v == 0 and v is not False]
        method = method.replace("set_", "") if self.owner == "plt" else method
        self.lines.append(f"{into} = " * bool(into) + f"{self.owner}.{method}({', '.join(words)})")

    def let(self, name, value):
        """Write `name = value`; returns the name to be used in calls."""
        name = Code(re.sub(r"\W+", "_", ("n" if name[0].isdigit() else "") + name.lower()) + self.suffix)
        self.lines.append(f"{name} = {value!r}")
        return name

    def over(self, n):
        """(name of the x axis, the variable with its values, their number): time, or what the theme depends on."""
        if self.theme.over and self.rng.random() < 0.7:
            name, step = self.theme.over
            return name, self.let(name.split(" (")[0], list(range(step, step * (n + 1), step))), n
        (name, values), year = _calendar(self.rng, n), self.rng.randint(2015, 2024)
        if self.rng.random() < 0.2:
            name, n, values = "Date", 12, Code(f"np.arange('{year}-01', '{year + 1}-01', dtype='datetime64[M]')")
            self.lines.append(f"{self.axes}.xaxis.set_major_formatter(mdates.DateFormatter('%b %Y'))")
        return name, self.let(name + "s", values), n

    def legend(self, names, top=None, side="y"):
        """A legend where there is room: beside the plot, above the data (up to `top`), or where Matplotlib likes."""
        m, row = len(names), sum(map(len, names)) * 0.085 + 0.6 * len(names) < self.wide - 1.2     # fits in one row
        if m > 1 and self.wide >= 5.5 and self.rng.random() < 0.3:
            self.add("legend", bbox_to_anchor=(1.02, 1), loc="upper left")
        elif top:
            self.add(f"set_{side}lim", 0, _tidy(top * (1.1 + (m > 1) / 10 * (4 if side == "x" else 1.5 if row else m))))
            self.add("legend", loc="lower right" if side == "x" else "upper center" if row else "upper right",
                     ncols=row and side == "y" and m, fontsize=8) if m > 1 else None
        elif m > 1:
            self.add("legend", fontsize=self.rng.choice((8, 9)))

    def finish(self, title, xlabel="", ylabel="", ticks=(), grid=True, by=""):
        """Title (if empty, made of the labels), axis labels, long `ticks` turned, grid and frame, in this order."""
        rng, size = self.rng, self.rng.choice((11, 12, 13, 14) if self.wide > 5 else (10,))
        title = title or rng.choice(("{} by {}", "{} per {}", "Comparison of {} by {}")).format(
            self.theme.what, xlabel if xlabel != self.unit else ylabel) + f" and {by}" * bool(by)
        self.add("set_title", textwrap.fill(title, int(self.wide * 116 / size) - 3), fontsize=size,
                 fontweight=rng.choice(("", "", "bold")))
        for method, label in ("set_xlabel", xlabel), ("set_ylabel", ylabel):
            if label:
                self.add(method, label)
        if sum(len(str(name)) + 2 for name in ticks) * 0.09 > self.wide - 1:
            self.add("tick_params", axis="x", rotation=45 if len(ticks) > 6 else 30)
        if grid and self.often(0.4):
            self.add("grid", True, axis=rng.choice(("", "y")), linestyle=rng.choice(("", "--", ":")), alpha=0.5)
        if grid and self.often(0.25):
            self.lines.append(f"{self.axes}.spines[['top', 'right']].set_visible(False)")


def _tidy(value):
    """`value` rounded to two digits, for an axis limit."""
    return float(f"{value:.2g}") if value < 10 else int(float(f"{value:.2g}"))


def _bars(p):
    """Single, grouped or stacked bars, upright or lying, with errors, values written on, a line on a second axis."""
    lying, groups, below = p.rng.random() < 0.3, _pick(p.rng, p.groups, p.level - 1, p.level), []
    names, m, twin = _pick(p.rng, p.names, 4, 6)[::-1 if lying else 1], len(groups), p.often(0.12) and f"twin{p.suffix}"
    n, stacked, edge = len(names), p.theme.parts and m > 1 and p.often(0.4), p.rng.choice(("", "black", "white"))
    grouped, rows, lying = m > 1 and not stacked, [p.numbers(n) for _ in groups], lying and not twin
    errors, written = p.often(0.2) and not stacked, p.often(0.3) and p.wide / n / (m if grouped else 1) > 0.6
    x, width = (p.let("x", Code(f"np.arange({n})")), 0.8 / m) if grouped else (names, p.rng.choice((None, 0.6)))
    method, size, base, error = (("bar", "width", "bottom", "yerr"), ("barh", "height", "left", "xerr"))[lying]
    for k, (group, row) in enumerate(zip(groups, rows)):
        shift, value = (k - (m - 1) / 2) * width if grouped else 0, p.let(group, row) if stacked else row
        under = below[0] if len(below) == 1 else below and Code(f"np.sum({below}, 0)")
        keys = {size: width and round(width, 3), base: under, error: errors and p.noise(row), "capsize": errors and 3}
        color, bars = p.colors[:n] if m == 1 and p.often(0.2) else p.color(k), Code(f"bars_{k + 1}{p.suffix}")
        p.add(method, Code(f"{x} {'-' if shift < 0 else '+'} {abs(shift):.3g}") if shift else x, value, **keys,
              color=color, edgecolor=edge, label=m > 1 and group, into=written and bars)
        if written:
            p.add("bar_label", bars, label_type="center" if stacked or errors else "", fontsize=8)
        below += [value] if stacked else []
    p.legend(groups, 1.1 * max(map(sum, zip(*rows)) if stacked else map(max, rows)), "x" if lying else "y")
    if grouped:
        p.add("set_yticks" if lying else "set_xticks", x, names)
    p.finish("", *((p.unit, p.axis, ()) if lying else (p.axis, p.unit, names)), grid=not twin, by=m > 1 and p.by)
    if twin:
        p.add("twinx", into=twin)
        p.owner, line = twin, p.numbers(n, p.theme.low2, p.theme.high2)
        p.add("plot", x, line, color="black", linestyle=p.rng.choice(("", "--")), marker=p.rng.choice("os^"))
        p.add("set_ylim", 0, _tidy(1.3 * max(line)))
        p.add("set_ylabel", f"{p.theme.other} ({p.theme.unit2})")


def _lines(p):
    """Lines, steps, stems, error bars or stacked areas, with a band, a remark, a threshold or a logarithmic axis."""
    rng, names = p.rng, _pick(p.rng, p.names, p.level - 1, p.level + 1)
    (axis, x, n), m = p.over(rng.randint(5, 12)), len(names)
    stack = "stem" if m == 1 else "stackplot" if p.theme.parts else "plot"
    kind = rng.choice(("plot", "plot", "plot", "plot", "step", "errorbar", stack))
    rows, growth = [p.numbers(n, smooth=True) for _ in names], kind == "plot" and p.often(0.12)
    if growth:
        rows = [[_tidy(row[0] * ratio ** k) for k in range(n)] for row in rows for ratio in [rng.uniform(1.3, 2.3)]]
    marks, dashes, wide = map(rng.choice, (([""], "o", "os^D"), ([""], ["-", "--", "-.", ":"]), (None, 2)))
    for k, (name, row) in enumerate(zip(names, rows) if kind != "stackplot" else ()):
        keys = {"color": p.color(k), "linestyle": dashes[k % len(dashes)], "linewidth": wide,
                "marker": marks[k % len(marks)], "label": m > 1 and name} if kind != "stem" else {}
        errors = {"yerr": p.noise(row), "capsize": 3} if kind == "errorbar" else {}
        p.add(kind, x, row, **errors, **keys, where=kind == "step" and "mid")
    low, high, best = min(map(min, rows)), max(map(max, rows)), rows[0].index(max(rows[0]))
    if kind == "stackplot":
        p.add("stackplot", x, *rows, labels=names, colors=p.colors[:m], alpha=rng.choice((None, 0.8)))
    elif growth:
        p.add("set_yscale", "log")
    elif kind == "plot" and p.often(0.2):
        band = [(round(value - error, 2), round(value + error, 2)) for value, error in zip(rows[0], p.noise(rows[0]))]
        p.add("fill_between", x, *map(list, zip(*band)), color=p.color(0), alpha=0.2)
    elif kind != "errorbar" and 0 < best < n - 1 and axis != "Date" and p.often(0.5):
        at = best if axis in ("Month", "Quarter") else Code(f"{x}[{best}]")            # words stand at 0, 1, 2, ...
        p.add("annotate", f"{rng.choice(('Peak', 'Max'))}: {rows[0][best]}", (at, rows[0][best]),
              xytext=(0, 26), textcoords="offset points", ha="center", arrowprops={"arrowstyle": "->"})
        p.add("set_ylim", round(low - 0.1 * (high - low), 1), round(high + 0.35 * (high - low), 1))
    elif p.often(0.3):
        p.add("axhline", round(low + 0.7 * (high - low), 1), color="gray", linestyle="--", label=m > 1 and "Target")
    p.legend(names, kind == "stackplot" and max(map(sum, zip(*rows))))
    if axis in ("Year", "Week", "Epoch"):
        p.add("set_xticks", Code(f"{x}[::{2 if n > 6 else 1}]"))
    p.finish(rng.choice(("", f"Development of {p.theme.what}")), axis, p.unit, by=m > 1 and p.axis,
             ticks={"Date": ["Jan 2020"] * 7, "Month": MONTHS[:n], "Quarter": ["Q1/20"] * n}.get(axis, ()))


def _scatter(p):
    """Groups of points, of equal or different sizes, or points coloured by a third quantity."""
    rng, t, slope, tinted, sized = p.rng, p.theme, p.rng.choice((-0.7, 0.6, 0.8)), p.often(0.25), p.often(0.3)
    names, n = [""] if tinted else _pick(rng, p.groups, 1, p.level), rng.randint(8, 10 + 4 * p.level)
    for k, name in enumerate(names):
        across = [rng.uniform(0.02, 1) for _ in range(n)]
        up = [min(1, max(0.02, 0.5 + slope * (share - 0.5) + rng.gauss(0.05 * k, 0.1))) for share in across]
        p.add("scatter", [round(t.low2 + (t.high2 - t.low2) * share, 1) for share in across],
              [round(t.low + (t.high - t.low) * share, 1) for share in up], marker="os^D"[k], alpha=sized and 0.7,
              s=[rng.randint(2, 30) * 10 for _ in up] if sized else rng.choice((None, 50)), label=names[1:] and name,
              c=tinted and [rng.randint(1, 99) for _ in up], cmap=tinted and rng.choice((*CMAPS[:3], "turbo", "jet")),
              color=not tinted and p.color(k), edgecolors=rng.choice(("", "k")), into=tinted and f"points{p.suffix}")
    if tinted:
        p.lines.append(f"plt.colorbar(points{p.suffix}, ax={p.axes}, label='{rng.choice(('Index', 'Age', 'Rank'))}')")
    if t.high2 > 6 * t.low2 and p.often(0.2):
        p.add("set_xscale", "log")
    p.legend(names)
    p.finish(f"{t.what} {rng.choice(('vs.', 'and'))} {t.other}", f"{t.other} ({t.unit2})", p.unit)


def _samples(p):
    """Histograms or box plots of samples."""
    rng, hist, spread = p.rng, p.rng.random() < 0.5, (p.theme.high - p.theme.low) / 9
    names, paint = _pick(rng, p.names, *((1, 2) if hist else (3, 6))), p.colors and p.often(0.4)
    middles = p.numbers(len(names), p.theme.low + 3 * spread, p.theme.high - 3 * spread)
    data = [[round(rng.gauss(middle, spread), 1) for _ in range(60 if hist else 12)] for middle in middles]
    for k, (name, row) in enumerate(zip(names, data) if hist else ()):
        p.add("hist", p.let(name, row), bins=rng.choice((8, 12, 15)), color=p.color(k), edgecolor="white",
              alpha=names[1:] and 0.6, label=names[1:] and name)
    if hist:
        p.legend(names)
        return p.finish(f"Distribution of {p.theme.what}", p.unit, rng.choice(("Frequency", "Count")))
    p.add("boxplot", p.let("data", data), tick_labels=names, showmeans=p.often(0.3), patch_artist=bool(paint),
          boxprops=paint and {"facecolor": p.color(0)})
    p.finish("", p.axis, p.unit, names)


def _heat(p):
    """A heat map with its colour bar, the values written in the cells or not."""
    cmap, names, rows = p.rng.choice(CMAPS), _pick(p.rng, p.names, 4, 6), _pick(p.rng, p.groups, 3, 3 + p.level)
    data, middle = p.let("data", [p.numbers(len(names)) for _ in rows]), _tidy((p.theme.low + p.theme.high) / 2)
    p.add("imshow", data, cmap=cmap, aspect="auto", into=f"image{p.suffix}")
    p.lines.append(f"plt.colorbar(image{p.suffix}, ax={p.axes}, label='{p.unit}')")
    p.add("set_xticks", list(range(len(names))), names)
    p.add("set_yticks", list(range(len(rows))), rows)
    if p.wide / len(names) > 0.8 and p.often(0.5):
        color = f"'white' if {data}[i][j] {'<' if cmap in CMAPS[:4] else '>'} {middle} else 'black'"
        p.lines.append(f"for i in range({len(rows)}):\n    for j in range({len(names)}):\n        {p.owner}.text("
                       f"j, i, {data}[i][j], ha='center', va='center', color={color})")
    p.finish("", p.axis, p.by, names + [p.by * 2], grid=False, by=p.by)


def _pie(p):
    """A pie or a ring whose slices carry their share."""
    rng, names, ring = p.rng, p.names[:p.rng.randint(3, 6)], p.often(0.3)
    n, least = len(names), 60 // len(names)
    p.add("pie", [least + extra for extra in _compositions(rng, 100 - least * n, n)], labels=names,
          explode=p.often(0.2) and [0.08] + [0] * (n - 1), colors=p.colors[:n], autopct=rng.choice(("%1.1f%%", "%d%%")),
          pctdistance=ring and 0.8, startangle=rng.choice((None, 90, 140)),
          wedgeprops=ring and {"width": 0.4, "edgecolor": "white"})
    what = p.theme.what if p.theme.parts else rng.choice(("Measurements", "Samples", "Reports"))
    p.finish(f"{rng.choice(('Share', 'Breakdown', 'Composition'))} of {what} by {p.axis}", grid=False)


def _chart(level, rng):
    rows, columns = rng.choices(((1, 1), (1, 2), (2, 1), (2, 2)), ((80, 10, 7, 3), (40, 22, 13, 25))[level - 2])[0]
    wide = rng.choice((5, 6, 6.4, 7, 8) if columns == 1 else (8, 9) if level == 2 else (10, 12))
    size, n = (wide, rng.choice((4, 4.5, 5) if rows == 1 else (7, 8))), rows * columns
    pyplot, style = n == 1 and rng.random() < 0.4, rng.choice(("ggplot", "bmh", "seaborn-v0_8-whitegrid"))
    kinds = rng.sample((_bars, _lines, _scatter, _samples, _heat, _pie), n, counts=(5, 6, 2, 2, 1, 1))      # how often
    lines = [f"plt.style.use('{style}')"] if rng.random() < 0.15 and _heat not in kinds else []
    lines.append(f"plt.figure(figsize={size})" if pyplot else f"fig, ax = plt.subplots(figsize={size})" if n == 1 else
                 f"fig, axes = plt.subplots({rows}, {columns}, figsize={size})")
    for k, kind in enumerate(kinds):
        owner = "plt" if pyplot else "ax" if n == 1 else f"axes[{k}]" if n == 2 else f"axes[{k // 2}, {k % 2}]"
        panel = _Panel(rng, level, owner, wide / columns, f"_{k + 1}" if n > 1 else "")
        kind(panel)
        lines += panel.lines
    if n > 1 and rng.random() < 0.5:
        lines.append(f"fig.suptitle('{rng.choice(('Report', 'Overview'))} {rng.randint(2010, 2025)}', fontsize=15)")
    text = "\n".join([*lines, "plt.tight_layout()"])
    uses = ("np.", "import numpy as np\n"), ("mdates.", "import matplotlib.dates as mdates\n")
    return "import matplotlib.pyplot as plt\n" + "".join(line for mark, line in uses if mark in text) + text


# -------------------------------------------------------------------------------------- levels 2 and 3: tables
COLUMNS = (  # head, smallest and largest number v, how it is written (1: 1.15 v, 2: v / 10), whether it has a sum
    ("Change (%)", -19, 19, "{0:+.1f}", 0), ("Share", 1, 60, "{0:.1f}%", 0), ("n", 12, 980, "{0:,.0f}", 1),
    ("p-value", 0.001, 0.2, "{0:.3f}", 0), ("Cost", 90, 9800, "${0:,.2f}", 1), ("Rank", 1, 30, "{0:.0f}", 0),
    ("Mean ± SD", 2, 80, "{0:.1f} ± {2:.1f}", 0), ("95% CI", 0.4, 6, "({0:.2f}, {1:.2f})", 0),
    ("Index", 82, 131, "{0:.1f}", 0), ("Balance", -900, 2400, "{0:+,.0f}", 1), ("Growth", -9, 28, "{0:+.2f}%", 0))


def _element(_tag, _text=None, **keys):
    """One element of HTML or SVG; keywords that are empty are left out, "_" in their names is "-"."""
    head = _tag + "".join(f' {key.replace("_", "-")}="{value}"' for key, value in keys.items() if value)
    return f"<{head}/>" if _text is None else f"<{head}>{_text}</{_tag}>"


def _table(level, rng):
    """A table of one theme: row spans in its first column, column spans in its head, a sum, a note, missing values."""
    theme, markdown = rng.choice(THEMES), level == 2 and rng.random() < 0.3
    shares = (0, 0, 0, 0.5) if markdown else (0.25, 0.35, 0.2, 0.5) if level == 2 else (0.5, 0.6, 0.4, 0.6)
    nested, double, marked, total = (rng.random() < share for share in shares)
    (axis, words), (by, groups) = rng.sample(theme.sides, 2)
    inner, words = _pick(rng, groups, 2, level), _pick(rng, words, 2, level + 2) if nested else words
    spans = ["Baseline", "Follow-up"] if nested else _pick(rng, groups, 2, 3)
    if not nested and rng.random() < 0.5:
        axis, words = _calendar(rng, rng.randint(3 * level - 2, 12))
    kinds = [(f"{what} ({unit})", low, high, f"{{0:,.{0 if high > 200 else 1 if high > 10 else 2}f}}", add)
             for what, unit, low, high, add in ((theme.what, theme.unit, theme.low, theme.high, theme.parts),
                                                (theme.other, theme.unit2, theme.low2, theme.high2, False))]
    kinds += rng.sample(COLUMNS, rng.randint(0, len(spans) < 3) if double else rng.randint(1, level + 1))
    n, columns = len(words) * (len(inner) if nested else 1), kinds * (len(spans) if double else 1)
    total = total and any(kind[4] for kind in kinds)
    texts = []                                                                              # column by column
    for _, low, high, form, add in columns:
        values = [round(rng.uniform(low, high), int(form.partition(".")[2][0])) for _ in range(n)]
        texts.append([form.format(v, v * 1.15, abs(v) / 10) for v in values])
        texts[-1] += [f"<b>{form.format(sum(values)) if add else '–'}</b>"] * total
    for _ in range(0 if total else rng.choice((0, 1, level))):                              # values that are missing
        rng.choice(texts)[rng.randrange(n)] = rng.choice(("–", "n/a", ""))
    texts[0][rng.randrange(n)] += "*" * marked
    if markdown:
        rule = [rng.choice((":---", "---"))] + [rng.choice(("---:", ":---:", "---"))] * len(columns)
        rows = [[axis, *(kind[0] for kind in columns)], rule, *zip([*words, "<b>Total</b>"], *texts)]
        return re.sub("</?b>", "**", "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows))
    style = rng.choice(("", "text-align: right", "text-align: center"))
    rows = ["".join(_element("td", text, style=style) for text in row) for row in zip(*texts)]
    heads = [_element("td", word, rowspan=nested and len(inner)) for word in words]
    stubs = [heads[k // len(inner)] * (k % len(inner) == 0) + _element("td", inner[k % len(inner)]) for k in range(n)]
    stubs = (stubs if nested else heads) + [_element("td", "<b>Total</b>", colspan=nested and 2)]
    top = "".join(_element("th", head, rowspan=double and 2) for head in [axis, by][:1 + nested])
    ends = "".join(_element("th", kind[0]) for kind in columns)
    spread = "".join(_element("th", span, colspan=len(kinds)) for span in spans)
    head = [top + spread, ends] if double else [top + ends]
    rows = [f"<tr>{row}</tr>" for row in head + [stub + row for stub, row in zip(stubs, rows)]]
    title = f"<caption>Table {rng.randint(1, 9)}. {theme.what} by {axis}{f' and {by}' * nested}</caption>"
    body = ["<thead>", *rows[:1 + double], "</thead>", "<tbody>", *rows[1 + double:], "</tbody>", "</table>"]
    note = f"<p>* {rng.choice(('Provisional', 'Estimated', 'Revised', 'Excludes outliers'))}.</p>"
    return "\n".join(["<table>", *[title] * (rng.random() < 0.35), *body, *[note] * marked])


# ----------------------------------------------------------------------------------------- levels 2 and 3: svg
SHAPES = {  # letter of the notation below -> element and the attributes that its words are
    "R": "rect x y width height fill rx", "C": "circle cx cy r fill", "E": "ellipse cx cy rx ry fill",
    "P": "polygon points fill", "D": "path d fill", "T": "text x y font-size fill", "S": "path d stroke stroke-width",
    "L": "line x1 y1 x2 y2 stroke stroke-width"}
INKS = {"w": "white", "k": "#333333", "g": "forestgreen", "n": "saddlebrown", "y": "gold", "s": "skyblue", "p": "pink"}
# Icons in a box of 100 x 100, shapes from back to front. a-d are colours of a palette, other letters are INKS, "_" is
# a space, {i} and {j} a random digit, {m} one of 5-9; "12*" is repeated on a circle; "?" may be left out.
ICONS = {
    "House": "R 64 22 9 20 d; R 24 46 52 42 a; P 14,48_50,1{i}_86,48 b; R 44 62 13 26 c; ?R 29 54 9 9 w; R 63 54 9 9 w",
    "Tree": "R 45 62 10 28 n; C 50 40 2{i} g; C 34 54 15 g; C 66 54 15 g; ?C 40 40 4 a; ?C 58 52 4 a",
    "Forest": "R 45 76 10 14 n; P 50,1{i}_72,42_28,42 g; P 50,28_78,62_22,62 g; P 50,46_84,80_16,80 g",
    "Car": "D M9,78_V63_L30,60_L40,46_H64_L76,60_L90,64_V78_Z a; P 36,60_43,50_62,50_69,60 s; C 30 79 9 k; C 71 79 9 k",
    "Sun": "{m}*L 50 6 50 18 y 5; C 50 50 2{i} y",
    "Cloud": "D M28,70_A16,16_0_0_1_28,40_A20,20_0_0_1_66,34_A18,18_0_0_1_74,70_Z s; ?S M38,76_V88_M54,76_V88 s 3",
    "Face": "C 50 50 38 y; C 36 42 5 k; C 64 42 5 k; S M32,62_Q50,{m}2_68,62 k 4; ?S M22,56_H30_M70,56_H78 p 5",
    "Time": "C 50 50 40 a; C 50 50 34 w; 12*L 50 19 50 25 k 2; L 50 50 50 2{i} k 4; L 50 50 6{i} 5{j} b 3; C 50 50 4 k",
    "Flag": "L 22 12 22 92 k 4; R 24 14 5{i} 13 a; R 24 27 5{i} 13 w; R 24 40 5{i} 13 b; ?C 40 33 9 c",
    "Data": "S M18,14_V84_H90 k 3; L 30 82 30 5{i} a 9; L 46 82 46 3{j} b 9; L 62 82 62 4{i} c 9; ?L 78 82 78 2{j} d 9",
    "Mail": "R 12 26 76 50 a 6; S M14,30_L50,5{i}_L86,30 w 4; ?C 84 28 9 b",
    "Health": "D M50,84_C14,58_12,24_34,22_C44,22_50,32_50,36_C50,32_56,22_66,22_C88,24_86,58_50,84_Z a",
    "Sign": "P 36,12_64,12_88,36_88,64_64,88_36,88_12,64_12,36 a; T 50 58 22 w STOP",
    "Warning": "P 50,12_92,86_8,86 y; L 50 38 50 62 k 7; C 50 74 5 k",
    "Flower": "S M50,50_Q5{i},76_50,94 g 4; {m}*E 50 28 8 14 a; C 50 50 1{j} y",
    "Boat": "L 50 12 50 66 n 3; P 53,16_53,58_8{i},58 a; P 47,24_47,58_2{j},58 b; D M14,66_H86_L74,84_H26_Z c",
    "Lock": "S M34,46_V34_A16,16_0_0_1_66,34_V46 k 7; R 26 46 48 40 a 5; C 50 62 6 k; L 50 64 50 7{i} k 4",
    "Award": "C 50 50 40 a; P 50,18_59,38_81,41_65,56_69,78_50,68_31,78_35,56_19,41_41,38 y; ?C 50 52 7 b",
    "Wireless": "S M18,44_A44,44_0_0_1_82,44 a 6; S M30,58_A28,28_0_0_1_70,58 a 6; C 50 8{i} 6 a",
    "Settings": "{m}*R 44 8 12 20 a; C 50 50 30 a; C 50 50 1{i} w",
    "Rosette": "C 50 50 46 d; 12*E 50 2{i} 5 14 a; {m}*P 50,34_56,50_50,54_44,50 b; C 50 50 8 c"}


def _icon(rng, name, colors):
    """The lines of one icon."""
    digits, lines = {"i": rng.randrange(10), "j": rng.randrange(10), "m": rng.randint(5, 9)}, []
    inks = INKS | dict(zip("abcd", colors))
    for part in ICONS[name].split("; "):
        if part[0] == "?" and rng.random() < 0.4:
            continue
        n, _, part = part.strip("?").format(**digits).rpartition("*")
        (letter, *words), n = part.split(), int(n or 1)
        tag, *keys = SHAPES[letter].split()
        keys = {k: inks.get(word, word.replace("_", " ")) for k, word in zip(keys, words)}
        keys |= {"S": {"fill": "none"}, "T": {"text-anchor": "middle"}}.get(letter, {})
        lines += [_element(tag, words[4] if letter == "T" else None, **keys,
                           transform=k and f"rotate({360 * k / n:.4g} 50 50)") for k in range(n)]
    return lines


def _svg(level, rng):
    """Icons in rows, with captions and frames, or (at level 3) a landscape under a sky of two colours."""
    colors, scene = rng.sample(rng.choice(PALETTES[1:]), 6), level == 3 and rng.random() < 0.3
    columns, rows = rng.choice((((1, 1), (1, 1), (2, 1), (3, 1)), ((3, 2), (3, 3), (4, 2), (2, 3), (4, 3)))[level - 2])
    named, framed, edge, faded = (not scene and rng.choice(values) for values in (
        (0, 1), ("", "", "none", colors[5]), ("", "", "#333333"), ("", "", 0.85)))
    wide, high = (260, 150) if scene else (100 * columns, (100 + 18 * named) * rows)
    back, out = "url(#sky)" if scene else rng.choice(("", "url(#sky)", "whitesmoke", "aliceblue", "ivory")), []
    if "sky" in back:
        stops = "".join(_element("stop", offset=str(k), stop_color=rng.choice(colors)) for k, colors in enumerate((
            ("skyblue", "mistyrose", "lightsteelblue", "navajowhite"), ("ivory", "white"))))
        out.append(f'<defs>{_element("linearGradient", stops, id="sky", x2="0", y2="1")}</defs>')
    out += [_element("rect", width=wide, height=high, rx=rng.choice((0, 12)), fill=back)] if back else []
    names = rng.sample(list(ICONS), rows * columns)
    places = [(k % columns * 100, k // columns * (100 + 18 * named), 1, name) for k, name in enumerate(names)]
    if scene:
        places = [(x, rng.randint(2, 9), 0.4, rng.choice(("Sun", "Cloud"))) for x in (9, 99, 190)[:rng.randint(1, 3)]]
        places += [(0, 0, 0, "")]                                                              # the hills
        places += [(x, rng.randint(104, 116) - 90 * size, size, rng.choice(("House", "Tree", "Forest", "Car")))
                   for x in range(rng.randint(4, 12), 230, 60) for size in [rng.choice((0.5, 0.6, 0.7))]]
    for x, y, size, name in places:
        if framed:
            out.append(_element("rect", x=x + 4, y=y + 4, width=92, height=92, rx=8, fill=framed, stroke="gray",
                                stroke_dasharray=framed == "none" and "4 2"))
        if not name:
            out.append(f'<path d="M0,100 Q{rng.randint(40, 90)},76 130,100 T260,96 V150 H0 Z" fill="yellowgreen"/>')
            continue
        icon, place = "\n".join(_icon(rng, name, colors)), f"translate({x:g} {y:g})" + f" scale({size})" * (size != 1)
        out.append(_element("g", f"\n{icon}\n", transform=(x or y) and place, stroke=edge, opacity=faded))
        if named:
            out.append(_element("text", name, x=x + 50, y=y + 110, font_size=12, text_anchor="middle", fill="#333333"))
    unit = rng.choice((1, 1, 0.24, 2, 5))
    out = out if unit == 1 else [f'<g transform="scale({unit})">', *out, "</g>"]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide * unit:g} {high * unit:g}">'
    return "\n".join([head, *out, "</svg>"])


WORLDS = {("chart", 1): _chart1, ("table", 1): _table1, ("svg", 1): _svg1} | {
    (task, level): partial(world, level) for level in (2, 3)
    for task, world in (("chart", _chart), ("table", _table), ("svg", _svg))}
