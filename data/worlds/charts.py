"""Levels 2 and 3: charts of one to four subplots, by Matplotlib."""
import math
import random
import re
import textwrap

from data.worlds.level1 import compositions
from data.worlds.themes import CMAPS, MONTHS, PALETTES, THEMES, calendar, pick


class Code(str):
    """Python source that is written as it is, not as a string."""
    __repr__ = str.__str__


# --- 1. one plot ---

class _Panel:
    """One plot: the theme and the colours its parts share, and the lines of code so far."""

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
        """`n` rounded numbers in the theme's range or another; `smooth` ones follow a trend."""
        rng, low, high = self.rng, low or self.theme.low, high or self.theme.high
        digits = _digits(high)
        start, drift = rng.uniform(0.35, 0.6), rng.uniform(-0.3, 0.35)
        swing, phase = rng.uniform(0.02, 0.1), rng.uniform(0, 6)
        values = []
        for k in range(n):
            if smooth:
                trend = start + drift * k / n + swing * math.sin(phase + k)
                share = trend + rng.gauss(0, 0.03)
            else:
                share = rng.uniform(0.08, 0.97)
            values.append(round(low + (high - low) * min(1, max(0.02, share)), digits))
        return [int(value) for value in values] if digits < 1 else values

    def noise(self, row):
        return [round(value * self.rng.uniform(0.03, 0.09), 2) for value in row]

    def add(self, method, *args, into="", **keys):
        """Write a call of `method`, its result named `into`.

        Keywords that are None, False or empty are left out.
        """
        words = [repr(value) for value in args]
        for key, value in keys.items():
            if value or value == 0 and value is not False:
                words.append(f"{key}={value!r}")
        if self.owner == "plt":
            method = method.replace("set_", "")
        result = f"{into} = " if into else ""
        self.lines.append(f"{result}{self.owner}.{method}({', '.join(words)})")

    def let(self, name, value):
        """Write `name = value`; returns the name to be used in calls."""
        letter = "n" if name[0].isdigit() else ""
        name = Code(re.sub(r"\W+", "_", letter + name.lower()) + self.suffix)
        self.lines.append(f"{name} = {value!r}")
        return name

    def over(self, n):
        """(name of the x axis, variable with its values, their number).

        The axis is time, or what the theme depends on.
        """
        if self.theme.over and self.rng.random() < 0.7:
            name, step = self.theme.over
            return name, self.let(name.split(" (")[0], list(range(step, step * (n + 1), step))), n
        (name, values), year = calendar(self.rng, n), self.rng.randint(2015, 2024)
        if self.rng.random() < 0.2:
            name, n = "Date", 12
            values = Code(f"np.arange('{year}-01', '{year + 1}-01', dtype='datetime64[M]')")
            formatter = "mdates.DateFormatter('%b %Y')"
            self.lines.append(f"{self.axes}.xaxis.set_major_formatter({formatter})")
        return name, self.let(name + "s", values), n

    def legend(self, names, top=None, side="y"):
        """A legend beside the plot, above the data (up to `top`), or where Matplotlib puts it."""
        m = len(names)
        one_row = sum(map(len, names)) * 0.085 + 0.6 * m < self.wide - 1.2
        if m > 1 and self.wide >= 5.5 and self.rng.random() < 0.3:
            self.add("legend", bbox_to_anchor=(1.02, 1), loc="upper left")
        elif top:
            if side == "x":
                rows, loc, columns = 4, "lower right", None
            elif one_row:
                rows, loc, columns = 1.5, "upper center", m
            else:
                rows, loc, columns = m, "upper right", None
            room = (m > 1) / 10 * rows
            self.add(f"set_{side}lim", 0, _tidy(top * (1.1 + room)))
            if m > 1:
                self.add("legend", loc=loc, ncols=columns, fontsize=8)
        elif m > 1:
            self.add("legend", fontsize=self.rng.choice((8, 9)))

    def finish(self, title, xlabel="", ylabel="", ticks=(), grid=True, by=""):
        """Title (if empty, made of the labels), axis labels, long `ticks` turned, grid, frame."""
        rng, size = self.rng, self.rng.choice((11, 12, 13, 14) if self.wide > 5 else (10,))
        if not title:
            form = rng.choice(("{} by {}", "{} per {}", "Comparison of {} by {}"))
            title = form.format(self.theme.what, xlabel if xlabel != self.unit else ylabel)
            if by:
                title += f" and {by}"
        title = textwrap.fill(title, int(self.wide * 116 / size) - 3)
        self.add("set_title", title, fontsize=size, fontweight=rng.choice(("", "", "bold")))
        for method, label in ("set_xlabel", xlabel), ("set_ylabel", ylabel):
            if label:
                self.add(method, label)
        if sum(len(str(name)) + 2 for name in ticks) * 0.09 > self.wide - 1:
            self.add("tick_params", axis="x", rotation=45 if len(ticks) > 6 else 30)
        if grid and self.often(0.4):
            self.add("grid", True, axis=rng.choice(("", "y")),
                     linestyle=rng.choice(("", "--", ":")), alpha=0.5)
        if grid and self.often(0.25):
            self.lines.append(f"{self.axes}.spines[['top', 'right']].set_visible(False)")


def _tidy(value):
    """`value` rounded to two digits, for an axis limit."""
    return float(f"{value:.2g}") if value < 10 else int(float(f"{value:.2g}"))


def _digits(high):
    """How many decimals numbers up to `high` are written with; -1 rounds to tens."""
    if high < 10:
        return 2
    if high < 200:
        return 1
    return 0 if high < 1000 else -1


# --- 2. kinds of plots ---

def _bars(p):
    """Single, grouped or stacked bars, upright or lying.

    Some have errors, values written on, a line on a second axis.
    """
    lying, groups = p.rng.random() < 0.3, pick(p.rng, p.groups, p.level - 1, p.level)
    names, m = pick(p.rng, p.names, 4, 6), len(groups)
    if lying:
        names.reverse()
    n, twin = len(names), p.often(0.12) and f"twin{p.suffix}"
    lying = lying and not twin
    stacked = p.theme.parts and m > 1 and p.often(0.4)
    grouped = m > 1 and not stacked
    edge = p.rng.choice(("", "black", "white"))
    rows = [p.numbers(n) for _ in groups]
    errors = p.often(0.2) and not stacked
    written = p.often(0.3) and p.wide / n / (m if grouped else 1) > 0.6
    if grouped:
        x, width = p.let("x", Code(f"np.arange({n})")), 0.8 / m
    else:
        x, width = names, p.rng.choice((None, 0.6))
    if lying:
        method, size, base, error = "barh", "height", "left", "xerr"
    else:
        method, size, base, error = "bar", "width", "bottom", "yerr"
    below = []
    for k, (group, row) in enumerate(zip(groups, rows)):
        value, at = p.let(group, row) if stacked else row, x
        shift = (k - (m - 1) / 2) * width if grouped else 0
        if shift:
            at = Code(f"{x} {'-' if shift < 0 else '+'} {abs(shift):.3g}")
        under = below[0] if len(below) == 1 else below and Code(f"np.sum({below}, 0)")
        keys = {size: width and round(width, 3), base: under,
                error: errors and p.noise(row), "capsize": errors and 3}
        color = p.colors[:n] if m == 1 and p.often(0.2) else p.color(k)
        bars = Code(f"bars_{k + 1}{p.suffix}")
        p.add(method, at, value, **keys, color=color, edgecolor=edge, label=m > 1 and group,
              into=written and bars)
        if written:
            where = "center" if stacked or errors else ""
            p.add("bar_label", bars, label_type=where, fontsize=8)
        if stacked:
            below.append(value)
    top = max(map(sum, zip(*rows))) if stacked else max(map(max, rows))
    p.legend(groups, 1.1 * top, "x" if lying else "y")
    if grouped:
        p.add("set_yticks" if lying else "set_xticks", x, names)
    labels = (p.unit, p.axis, ()) if lying else (p.axis, p.unit, names)
    p.finish("", *labels, grid=not twin, by=m > 1 and p.by)
    if twin:
        p.add("twinx", into=twin)
        p.owner, line = twin, p.numbers(n, p.theme.low2, p.theme.high2)
        p.add("plot", x, line, color="black", linestyle=p.rng.choice(("", "--")),
              marker=p.rng.choice("os^"))
        p.add("set_ylim", 0, _tidy(1.3 * max(line)))
        p.add("set_ylabel", f"{p.theme.other} ({p.theme.unit2})")


def _lines(p):
    """Lines, steps, stems, error bars or stacked areas.

    Some have a band, a remark, a threshold or a logarithmic axis.
    """
    rng, names = p.rng, pick(p.rng, p.names, p.level - 1, p.level + 1)
    (axis, x, n), m = p.over(rng.randint(5, 12)), len(names)
    stack = "stem" if m == 1 else "stackplot" if p.theme.parts else "plot"
    kind = rng.choice(("plot", "plot", "plot", "plot", "step", "errorbar", stack))
    rows = [p.numbers(n, smooth=True) for _ in names]
    growth = kind == "plot" and p.often(0.12)
    if growth:
        for row in rows:
            ratio = rng.uniform(1.3, 2.3)
            row[:] = [_tidy(row[0] * ratio ** k) for k in range(n)]
    marks, dashes = rng.choice(([""], "o", "os^D")), rng.choice(([""], ["-", "--", "-.", ":"]))
    wide = rng.choice((None, 2))
    for k, (name, row) in enumerate(zip(names, rows) if kind != "stackplot" else ()):
        keys = {}
        if kind == "errorbar":
            keys |= {"yerr": p.noise(row), "capsize": 3}
        if kind != "stem":
            keys |= {"color": p.color(k), "linestyle": dashes[k % len(dashes)], "linewidth": wide,
                     "marker": marks[k % len(marks)], "label": m > 1 and name}
        p.add(kind, x, row, **keys, where=kind == "step" and "mid")
    low, high, best = min(map(min, rows)), max(map(max, rows)), rows[0].index(max(rows[0]))
    if kind == "stackplot":
        p.add("stackplot", x, *rows, labels=names, colors=p.colors[:m],
              alpha=rng.choice((None, 0.8)))
    elif growth:
        p.add("set_yscale", "log")
    elif kind == "plot" and p.often(0.2):
        errors = p.noise(rows[0])
        lower = [round(value - error, 2) for value, error in zip(rows[0], errors)]
        upper = [round(value + error, 2) for value, error in zip(rows[0], errors)]
        p.add("fill_between", x, lower, upper, color=p.color(0), alpha=0.2)
    elif kind != "errorbar" and 0 < best < n - 1 and axis != "Date" and p.often(0.5):
        # words stand at 0, 1, 2, ...
        at = best if axis in ("Month", "Quarter") else Code(f"{x}[{best}]")
        remark = f"{rng.choice(('Peak', 'Max'))}: {rows[0][best]}"
        p.add("annotate", remark, (at, rows[0][best]), xytext=(0, 26),
              textcoords="offset points", ha="center", arrowprops={"arrowstyle": "->"})
        p.add("set_ylim", round(low - 0.1 * (high - low), 1), round(high + 0.35 * (high - low), 1))
    elif p.often(0.3):
        p.add("axhline", round(low + 0.7 * (high - low), 1), color="gray", linestyle="--",
              label=m > 1 and "Target")
    p.legend(names, kind == "stackplot" and max(map(sum, zip(*rows))))
    if axis in ("Year", "Week", "Epoch"):
        p.add("set_xticks", Code(f"{x}[::{2 if n > 6 else 1}]"))
    ticks = {"Date": ["Jan 2020"] * 7, "Month": MONTHS[:n], "Quarter": ["Q1/20"] * n}
    title = rng.choice(("", f"Development of {p.theme.what}"))
    p.finish(title, axis, p.unit, ticks.get(axis, ()), by=m > 1 and p.axis)


def _scatter(p):
    """Groups of points, of equal or different sizes, or points coloured by a third quantity."""
    rng, t, slope = p.rng, p.theme, p.rng.choice((-0.7, 0.6, 0.8))
    tinted, sized = p.often(0.25), p.often(0.3)
    names = [""] if tinted else pick(rng, p.groups, 1, p.level)
    n = rng.randint(8, 10 + 4 * p.level)
    for k, name in enumerate(names):
        across = [rng.uniform(0.02, 1) for _ in range(n)]
        up = []
        for share in across:
            trend = 0.5 + slope * (share - 0.5)
            up.append(min(1, max(0.02, trend + rng.gauss(0.05 * k, 0.1))))
        xs = [round(t.low2 + (t.high2 - t.low2) * share, 1) for share in across]
        ys = [round(t.low + (t.high - t.low) * share, 1) for share in up]
        if sized:
            sizes = [rng.randint(2, 30) * 10 for _ in up]
        else:
            sizes = rng.choice((None, 50))
        tints = tinted and [rng.randint(1, 99) for _ in up]
        cmap = tinted and rng.choice((*CMAPS[:3], "turbo", "jet"))
        p.add("scatter", xs, ys, marker="os^D"[k], alpha=sized and 0.7, s=sizes,
              label=len(names) > 1 and name, c=tints, cmap=cmap,
              color=not tinted and p.color(k), edgecolors=rng.choice(("", "k")),
              into=tinted and f"points{p.suffix}")
    if tinted:
        label = rng.choice(("Index", "Age", "Rank"))
        p.lines.append(f"plt.colorbar(points{p.suffix}, ax={p.axes}, label='{label}')")
    if t.high2 > 6 * t.low2 and p.often(0.2):
        p.add("set_xscale", "log")
    p.legend(names)
    p.finish(f"{t.what} {rng.choice(('vs.', 'and'))} {t.other}", f"{t.other} ({t.unit2})", p.unit)


def _samples(p):
    """Histograms or box plots of samples."""
    rng, hist, spread = p.rng, p.rng.random() < 0.5, (p.theme.high - p.theme.low) / 9
    names = pick(rng, p.names, 1, 2) if hist else pick(rng, p.names, 3, 6)
    n, several = 60 if hist else 12, len(names) > 1
    paint = p.colors and p.often(0.4)
    middles = p.numbers(len(names), p.theme.low + 3 * spread, p.theme.high - 3 * spread)
    data = []
    for middle in middles:
        data.append([round(rng.gauss(middle, spread), 1) for _ in range(n)])
    if not hist:
        p.add("boxplot", p.let("data", data), tick_labels=names, showmeans=p.often(0.3),
              patch_artist=bool(paint), boxprops=paint and {"facecolor": p.color(0)})
        p.finish("", p.axis, p.unit, names)
        return
    for k, (name, row) in enumerate(zip(names, data)):
        p.add("hist", p.let(name, row), bins=rng.choice((8, 12, 15)), color=p.color(k),
              edgecolor="white", alpha=several and 0.6, label=several and name)
    p.legend(names)
    p.finish(f"Distribution of {p.theme.what}", p.unit, rng.choice(("Frequency", "Count")))


def _heat(p):
    """A heat map with its colour bar, the values written in the cells or not."""
    cmap, names = p.rng.choice(CMAPS), pick(p.rng, p.names, 4, 6)
    rows = pick(p.rng, p.groups, 3, 3 + p.level)
    data = p.let("data", [p.numbers(len(names)) for _ in rows])
    middle = _tidy((p.theme.low + p.theme.high) / 2)
    p.add("imshow", data, cmap=cmap, aspect="auto", into=f"image{p.suffix}")
    p.lines.append(f"plt.colorbar(image{p.suffix}, ax={p.axes}, label='{p.unit}')")
    p.add("set_xticks", list(range(len(names))), names)
    p.add("set_yticks", list(range(len(rows))), rows)
    if p.wide / len(names) > 0.8 and p.often(0.5):
        dark = "<" if cmap in CMAPS[:4] else ">"
        color = f"'white' if {data}[i][j] {dark} {middle} else 'black'"
        p.lines += [f"for i in range({len(rows)}):",
                    f"    for j in range({len(names)}):",
                    f"        {p.owner}.text(j, i, {data}[i][j], ha='center', va='center', "
                    f"color={color})"]
    p.finish("", p.axis, p.by, names + [p.by * 2], grid=False, by=p.by)


def _pie(p):
    """A pie or a ring whose slices carry their share."""
    rng, names, ring = p.rng, p.names[:p.rng.randint(3, 6)], p.often(0.3)
    n, least = len(names), 60 // len(names)
    values = [least + extra for extra in compositions(rng, 100 - least * n, n)]
    p.add("pie", values, labels=names,
          explode=p.often(0.2) and [0.08] + [0] * (n - 1), colors=p.colors[:n],
          autopct=rng.choice(("%1.1f%%", "%d%%")), pctdistance=ring and 0.8,
          startangle=rng.choice((None, 90, 140)),
          wedgeprops=ring and {"width": 0.4, "edgecolor": "white"})
    what = p.theme.what if p.theme.parts else rng.choice(("Measurements", "Samples", "Reports"))
    word = rng.choice(("Share", "Breakdown", "Composition"))
    p.finish(f"{word} of {what} by {p.axis}", grid=False)


# --- 3. a figure of one to four plots ---

KINDS = {_bars: 5, _lines: 6, _scatter: 2, _samples: 2, _heat: 1, _pie: 1}  # and how often each


def draw_chart(level: int, rng: random.Random) -> str:
    """A figure of one to four plots; level 3 has more plots of more parts."""
    shares = (80, 10, 7, 3) if level == 2 else (40, 22, 13, 25)
    rows, columns = rng.choices(((1, 1), (1, 2), (2, 1), (2, 2)), shares)[0]
    n = rows * columns
    if columns == 1:
        wide = rng.choice((5, 6, 6.4, 7, 8))
    else:
        wide = rng.choice((8, 9) if level == 2 else (10, 12))
    size = wide, rng.choice((4, 4.5, 5) if rows == 1 else (7, 8))
    pyplot = n == 1 and rng.random() < 0.4
    style = rng.choice(("ggplot", "bmh", "seaborn-v0_8-whitegrid"))
    kinds = rng.sample(list(KINDS), n, counts=list(KINDS.values()))
    lines = []
    if rng.random() < 0.15 and _heat not in kinds:
        lines.append(f"plt.style.use('{style}')")
    if pyplot:
        owners = ["plt"]
        lines.append(f"plt.figure(figsize={size})")
    elif n == 1:
        owners = ["ax"]
        lines.append(f"fig, ax = plt.subplots(figsize={size})")
    else:
        owners = ["axes[0]", "axes[1]"]
        if n == 4:
            owners = ["axes[0, 0]", "axes[0, 1]", "axes[1, 0]", "axes[1, 1]"]
        lines.append(f"fig, axes = plt.subplots({rows}, {columns}, figsize={size})")
    for k, (owner, kind) in enumerate(zip(owners, kinds)):
        panel = _Panel(rng, level, owner, wide / columns, f"_{k + 1}" if n > 1 else "")
        kind(panel)
        lines += panel.lines
    if n > 1 and rng.random() < 0.5:
        title = f"{rng.choice(('Report', 'Overview'))} {rng.randint(2010, 2025)}"
        lines.append(f"fig.suptitle('{title}', fontsize=15)")
    text = "\n".join([*lines, "plt.tight_layout()"])
    head = "import matplotlib.pyplot as plt\n"
    if "np." in text:
        head += "import numpy as np\n"
    if "mdates." in text:
        head += "import matplotlib.dates as mdates\n"
    return head + text
