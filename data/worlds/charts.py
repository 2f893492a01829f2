"""Levels 2 and 3: charts of one to four subplots, by Matplotlib."""
import math
import re
import textwrap

from data.worlds.level1 import compositions
from data.worlds.themes import CMAPS, MONTHS, PALETTES, THEMES, calendar, pick


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
        (name, values), year = calendar(self.rng, n), self.rng.randint(2015, 2024)
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
    lying, groups, below = p.rng.random() < 0.3, pick(p.rng, p.groups, p.level - 1, p.level), []
    names, m, twin = pick(p.rng, p.names, 4, 6)[::-1 if lying else 1], len(groups), p.often(0.12) and f"twin{p.suffix}"
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
    rng, names = p.rng, pick(p.rng, p.names, p.level - 1, p.level + 1)
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
    names, n = [""] if tinted else pick(rng, p.groups, 1, p.level), rng.randint(8, 10 + 4 * p.level)
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
    names, paint = pick(rng, p.names, *((1, 2) if hist else (3, 6))), p.colors and p.often(0.4)
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
    cmap, names, rows = p.rng.choice(CMAPS), pick(p.rng, p.names, 4, 6), pick(p.rng, p.groups, 3, 3 + p.level)
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
    p.add("pie", [least + extra for extra in compositions(rng, 100 - least * n, n)], labels=names,
          explode=p.often(0.2) and [0.08] + [0] * (n - 1), colors=p.colors[:n], autopct=rng.choice(("%1.1f%%", "%d%%")),
          pctdistance=ring and 0.8, startangle=rng.choice((None, 90, 140)),
          wedgeprops=ring and {"width": 0.4, "edgecolor": "white"})
    what = p.theme.what if p.theme.parts else rng.choice(("Measurements", "Samples", "Reports"))
    p.finish(f"{rng.choice(('Share', 'Breakdown', 'Composition'))} of {what} by {p.axis}", grid=False)


def draw_chart(level, rng):
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
