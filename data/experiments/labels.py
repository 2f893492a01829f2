"""Proof that labels are right: damage programs in a known way and see whether the label says so.

    python -m data.experiments.labels --n 300

For each task `n` edits, all kinds in turn, on programs drawn by `data/worlds` and on the hand-
written ones below (several series, subplots, legends, log axes, error bars, annotations, spans,
groups, paths). A label is right if it is one error, with the category and the phenomenon that the
edit stands for, at the place that was hit. It prints the rates and every miss, and also pictures
that do not render. With `--programs FOLDER` all programs are those of a folder (.py, .svg, .html);
of these, edits that show nowhere and programs that are not drawn are passed over, and an edit may
have several errors, of which one must name it: a call may draw many things. Of a reference run:

    chart: 300 of 300 edits named (100.0 %)
    table: 300 of 300 edits named (100.0 %)
    svg: 300 of 300 edits named (100.0 %)

It takes a minute or two on two cores.
"""
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data.runs import flag, parse, script
from data.verdict import Discrepancy, InputError


@dataclass
class Settings:
    n: int = flag(300, "edits a task")
    task: str = flag("chart,table,svg", "tasks, with commas between")
    level: int = flag(1, "difficulty of the drawn programs, 1 to 3")
    hand_written: float = flag(0.4, "share of the programs below, 0 to 1")
    programs: str = flag("", "folder of programs instead of those")
    seed: int = flag(0, "fixes programs and edits")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # reports a wrong flag before the comparison is loaded

from data import edit, worlds
from data.compare import compare
from data.experiments.visible import SHARE, SHIFT, differing
from render import Rendering, render_many

# A path is called what it draws.
OUTLINES = ("path", "line", "rect", "polygon", "circle", "ellipse")
SUFFIXES = {"chart": "*.py", "svg": "*.svg", "table": "*.html"}

# --- 1. what an edit is called ---

# kind of edit -> (category, regular expression for the description)
MEANS = {
    "chart": {
        "value": ("data_error", r"value|share|at |x |curve"),
        "drop_value": ("data_error", "missing"),
        "add_value": ("data_error", "extra"),
        "swap_categories": ("data_error", "swapped"),
        "category": ("text_error", "reads"),
        "title": ("text_error", "reads"),
        "remove_title": ("text_error", "missing"),
        "add_title": ("text_error", "extra"),
        "xlabel": ("text_error", "reads"),
        "remove_xlabel": ("text_error", "missing"),
        "add_xlabel": ("text_error", "extra"),
        "ylabel": ("text_error", "reads"),
        "remove_ylabel": ("text_error", "missing"),
        "add_ylabel": ("text_error", "extra"),
        "legend_text": ("text_error", "reads"),
        "remove_legend": ("text_error", "missing"),
        "annotation": ("text_error", "reads"),
        "remove_annotation": ("text_error", "missing"),
        "remove_ticks": ("text_error", "missing"),
        "chart_type": ("structure_error", "type"),
        "remove_series": ("data_error", "missing"),
        "color": ("style_error", "color"),
        "line_style": ("style_error", "line "),
        "marker": ("style_error", "marker"),
        "line_width": ("style_error", "line width"),
        "bar_width": ("style_error", "bar width"),
        "opacity": ("style_error", "opacity"),
        "grid": ("style_error", "missing|extra|should be"),
        "background": ("style_error", "color"),
        "limits": ("data_error", "range"),
        "scale": ("data_error", "scale"),
    },
    "table": {
        "digit": ("numeric_error", "reads"),
        "sign": ("numeric_error", "reads"),
        "unit": ("numeric_error", "reads"),
        "word": ("text_error", "reads"),
        "empty": ("text_error|numeric_error", "empty"),
        "remove_row": ("layout_error", "missing"),
        "add_row": ("layout_error", "extra"),
        "remove_column": ("layout_error", "missing"),
        "remove_cell": ("layout_error", "missing"),
        "swap_cells": ("layout_error", "swapped"),
        "swap_rows": ("layout_error", "swapped"),
        "swap_columns": ("layout_error", "swapped"),
        "merge": ("layout_error", "spans"),
        "split": ("layout_error", "spans"),
        "align": ("layout_error", "aligned"),
        "header": ("layout_error", "header"),
    },
    "svg": {
        "move": ("shape_error", "moved"),
        "resize": ("shape_error", "size|width|height"),
        "stretch": ("shape_error", "width|height|size"),
        "flip": ("shape_error", "upside down|flipped|turned"),
        "type": ("shape_error", "type"),
        "recolor": ("style_error", "fill|stroke"),
        "stroke": ("style_error", "stroke"),
        "opacity": ("style_error", "opacity"),
        "dash": ("style_error", "stroke"),
        "remove": ("structure_error", "missing"),
        "extra": ("structure_error", "extra"),
        "order": ("structure_error", "behind|front"),
        "text": ("text_symbol_error", "reads"),
    },
}

# --- 2. hand-written programs ---

CHARTS = {
    "two series of bars with a legend": '''import matplotlib.pyplot as plt
import numpy as np
labels = ["Q1", "Q2", "Q3", "Q4"]
x = np.arange(4)
fig, ax = plt.subplots(figsize=(6, 4))
ax.bar(x - 0.2, [20, 34, 30, 35], width=0.4, label="Men", color="tab:blue")
ax.bar(x + 0.2, [25, 32, 14, 20], width=0.4, label="Women", color="tab:orange")
ax.set_xticks(x)
ax.set_xticklabels(labels)
ax.set_ylabel("Scores")
ax.set_title("Scores by group")
ax.legend()
plt.show()
''',
    "stacked bars": '''import matplotlib.pyplot as plt
names = ["North", "South", "East"]
low = [3, 5, 2]
high = [4, 1, 6]
plt.figure(figsize=(5, 4))
plt.bar(names, low, label="Coal", color="#444444")
plt.bar(names, high, bottom=low, label="Wind", color="#33aa77")
plt.legend(loc="upper left")
plt.ylabel("Energy (TWh)")
plt.title("Energy mix")
plt.tight_layout()
''',
    "three lines with markers": '''import matplotlib.pyplot as plt
years = [2018, 2019, 2020, 2021, 2022]
fig, ax = plt.subplots()
ax.plot(years, [10, 12, 9, 14, 18], label="Alpha", marker="o", color="crimson", linestyle="-")
ax.plot(years, [7, 8, 11, 12, 12], label="Beta", marker="s", color="navy", linestyle="--")
ax.plot(years, [3, 5, 4, 6, 9], label="Gamma", marker="^", color="green", linestyle=":")
ax.set_xlabel("Year")
ax.set_ylabel("Revenue")
ax.set_ylim(0, 20)
ax.grid(True)
ax.legend(title="Product")
''',
    "two subplots": '''import matplotlib.pyplot as plt
fig, (a, b) = plt.subplots(1, 2, figsize=(8, 3.5))
a.bar(["A", "B", "C"], [5, 7, 3], color="steelblue")
a.set_title("Left")
a.set_ylabel("Count")
b.plot([1, 2, 3, 4], [1.5, 3.5, 2.5, 4.0], color="red", marker="o")
b.set_title("Right")
b.set_xlabel("Step")
fig.suptitle("Overview")
fig.tight_layout()
''',
    "log axis and annotation": '''import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(5, 4))
ax.plot([1, 2, 3, 4, 5], [10, 100, 900, 8000, 70000], color="purple", linewidth=2)
ax.set_yscale("log")
ax.set_xlabel("Time")
ax.set_ylabel("Cells")
ax.annotate("doubling", xy=(3, 900), xytext=(1.5, 20000), arrowprops=dict(arrowstyle="->"))
ax.set_title("Growth of cells")
fig.tight_layout()
''',
    "error bars": '''import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.errorbar([1, 2, 3, 4], [2.0, 3.1, 4.2, 3.9], yerr=[0.2, 0.3, 0.4, 0.2], fmt="o", \
color="black", capsize=4)
ax.set_xlabel("Dose")
ax.set_ylabel("Response")
ax.set_title("Dose response")
''',
    "horizontal bars with values": '''import matplotlib.pyplot as plt
names = ["Paris", "London", "Rome", "Madrid", "Berlin"]
values = [2.1, 8.9, 2.8, 3.3, 3.6]
fig, ax = plt.subplots(figsize=(6, 3))
bars = ax.barh(names, values, color="teal", edgecolor="black")
for k, value in enumerate(values):
    ax.text(value + 0.1, k, str(value), va="center")
ax.set_xlabel("Population")
ax.set_xlim(0, 11)
fig.tight_layout()
''',
    "pie with percentages": '''import matplotlib.pyplot as plt
sizes = [15, 30, 45, 10]
labels = ["Frogs", "Hogs", "Dogs", "Logs"]
colors = ["gold", "yellowgreen", "lightcoral", "lightskyblue"]
plt.pie(sizes, labels=labels, colors=colors, autopct="%1.1f%%", startangle=90)
plt.title("Animals")
plt.axis("equal")
''',
    "scatter of two classes": '''import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(5, 5))
ax.scatter([1.0, 2.5, 3.2, 4.1], [2.2, 3.9, 1.8, 4.4], s=60, color="red", marker="o", label="yes")
ax.scatter([1.5, 2.0, 3.8], [4.5, 1.1, 3.0], s=60, color="blue", marker="x", label="no")
ax.set_xlim(0, 5)
ax.set_ylim(0, 5)
ax.set_xlabel("Height")
ax.set_ylabel("Weight")
ax.legend()
''',
    "area and line": '''import matplotlib.pyplot as plt
x = [0, 1, 2, 3, 4, 5]
fig, ax = plt.subplots()
ax.fill_between(x, [1, 2, 4, 3, 5, 6], color="skyblue", alpha=0.5)
ax.plot(x, [1, 2, 4, 3, 5, 6], color="navy")
ax.set_title("Load")
ax.set_xlabel("Hour")
''',
}

TABLES = {
    "header over two rows": '''<table>
<tr><th rowspan="2">Region</th><th colspan="2">Sales</th><th rowspan="2">Growth</th></tr>
<tr><th>2022</th><th>2023</th></tr>
<tr><td>North</td><td>1,250</td><td>1,480</td><td>+18.4%</td></tr>
<tr><td>South</td><td>980</td><td>940</td><td>-4.1%</td></tr>
<tr><td>West</td><td>2,310</td><td>2,375</td><td>+2.8%</td></tr>
</table>''',
    "groups of rows": '''<html><body><table border="1">
<thead><tr><th>Group</th><th>Item</th><th>Price</th><th>Stock</th></tr></thead>
<tbody>
<tr><td rowspan="2">Fruit</td><td>Apple</td><td>$1.20</td><td>140</td></tr>
<tr><td>Pear</td><td>$1.45</td><td>85</td></tr>
<tr><td rowspan="3">Dairy</td><td>Milk</td><td>$0.99</td><td>60</td></tr>
<tr><td>Butter</td><td>$2.75</td><td>32</td></tr>
<tr><td>Cheese</td><td>$5.10</td><td>18</td></tr>
</tbody></table></body></html>''',
    "units and words": '''<table>
<tr><th>Planet</th><th>Diameter</th><th>Day</th><th>Moons</th></tr>
<tr><td>Mercury</td><td>4879 km</td><td>1408 h</td><td>0</td></tr>
<tr><td>Earth</td><td>12756 km</td><td>24 h</td><td>1</td></tr>
<tr><td>Mars</td><td>6792 km</td><td>25 h</td><td>2</td></tr>
<tr><td>Jupiter</td><td>142984 km</td><td>10 h</td><td>95</td></tr>
<tr><td>Total</td><td colspan="2">mixed units</td><td>98</td></tr>
</table>''',
    "Markdown": '''| Model | Score | Time |
| :--- | ---: | :---: |
| small | 71.5 | 12 s |
| base | 78.2 | 34 s |
| large | 81.9 | 96 s |''',
}

SVGS = {
    "house in a group": '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200" \
width="200" height="200">
  <rect width="200" height="200" fill="#cce6ff"/>
  <g transform="translate(40,60)">
    <rect x="0" y="40" width="100" height="80" fill="tan" stroke="#553311" stroke-width="3"/>
    <polygon points="-10,40 50,-10 110,40" fill="firebrick"/>
    <rect x="38" y="75" width="24" height="45" fill="saddlebrown"/>
    <rect x="10" y="55" width="20" height="20" fill="white" stroke="black"/>
  </g>
  <circle cx="170" cy="32" r="18" fill="gold"/>
  <text x="60" y="194" font-size="12" fill="#333">home</text>
</svg>''',
    "paths and strokes": '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" \
width="240" height="240">
<path d="M12 21 C5 15 2 11 2 7.5 A5 5 0 0 1 12 6 A5 5 0 0 1 22 7.5 C22 11 19 15 12 21 Z" \
fill="crimson"/>
<path d="M4 4 L8 2" stroke="navy" stroke-width="1" fill="none"/>
<circle cx="19" cy="19" r="3" fill="none" stroke="green" stroke-width="1"/>
<line x1="2" y1="22" x2="9" y2="22" stroke="orange" stroke-width="1" stroke-dasharray="2"/>
</svg>''',
    "overlap and opacity": '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">
<rect x="10" y="10" width="50" height="50" fill="blue"/>
<circle cx="60" cy="60" r="25" fill="orange" opacity="0.9"/>
<ellipse cx="75" cy="20" rx="15" ry="9" style="fill:purple;stroke:black;stroke-width:2"/>
<polyline points="5,95 20,75 35,90 50,70" fill="none" stroke="teal" stroke-width="3"/>
<text x="70" y="95" font-size="14" fill="black">Go</text>
</svg>''',
}
PROGRAMS = {"chart": CHARTS, "table": TABLES, "svg": SVGS}

# --- 3. edits and labels ---


@dataclass
class Edit:
    """A program and what was done to it."""

    task: str
    kind: str
    place: str  # what was hit, as a label's location names it
    code: str
    damaged: str


class Miss(NamedTuple):
    """An edit that was not named: what the label says instead, or why there is no picture."""

    edit: Edit
    said: list[Discrepancy] | Exception

    def __str__(self) -> str:
        """The edit, the label, and the lines of code that changed."""
        before, after = self.edit.code.splitlines(), self.edit.damaged.splitlines()
        lines = [f"  {self.edit.task} {self.edit.kind} at {self.edit.place or 'any place'}"]
        for said in self.said if isinstance(self.said, list) else [self.said]:
            lines.append(f"    label: {said}")
        lines += [f"    - {line}" for line in before if line not in after]
        lines += [f"    + {line}" for line in after if line not in before]
        return "\n".join(lines)


def edits(task: str, n: int, level: int = 1, hand_written: float = 0.4, seed: int = 0,
          programs: str = "") -> list[Edit]:
    """`n` edits: all kinds in turn, a share of them on the hand-written programs.

    `programs`: a folder whose programs are edited instead of all others.
    """
    rng, found, kinds = random.Random(seed), [], edit.KINDS[task]
    written = list(PROGRAMS[task].values())
    if programs:
        paths = sorted(Path(programs).rglob(SUFFIXES[task]))
        written, hand_written = [path.read_text(errors="replace") for path in paths], 1.0
        if not written:
            raise InputError(f"{programs} holds no {SUFFIXES[task]}.")
    for turn in range(50 * n):
        kind = kinds[turn % len(kinds)]
        if rng.random() < hand_written:
            code = rng.choice(written)
        else:
            code = worlds.draw(task, level, rng)
        if changed := edit.EDITORS[task](code, kind, rng):
            damaged, place = changed
            found.append(Edit(task, kind, place, code, damaged))
        if len(found) == n:
            break
    return found


def named(made: Edit, errors: list[Discrepancy]) -> bool:
    """Whether there is one error, which names the category, the phenomenon and the place.

    A place of "plot" stands for any series: the editor knows the call it changed, not its number in
    the picture.
    """
    return len(errors) == 1 and says(made, errors[0])


def says(made: Edit, error: Discrepancy) -> bool:
    """Whether an error names category, phenomenon and place of an edit."""
    category, words = MEANS[made.task][made.kind]
    place = " ".join(made.place.split())
    places = OUTLINES if made.task == "svg" and place == "path" else (place,)
    return (re.fullmatch(category, error.category) is not None
            and re.search(words, error.description) is not None
            and (place == "plot" or any(name in error.location for name in places)))


def measure(task: str, n: int, **options) -> tuple[int, int, list[Miss]]:
    """(number of edits, number named, misses). `options` are those of `edits`.

    Another alignment of a cell that has no room for it, so that its text moves by 2 px at most, is
    not counted; the next edit takes its place. Of a folder's programs neither is what is not drawn
    or shows nowhere.
    """
    foreign = options.get("programs")
    made = edits(task, n * 3 if foreign else n + n // 10, **options)
    jobs = []
    for one in made:
        jobs += [(task, one.code), (task, one.damaged)]
    pictures = render_many(jobs, size=300, timeout=60)
    misses, seen = [], 0
    for one, true, damaged in zip(made, pictures[::2], pictures[1::2]):
        if seen == n:
            break
        seen += 1
        failed = [drawn for drawn in (true, damaged) if not isinstance(drawn, Rendering)]
        if foreign and (failed or differing(true.image, damaged.image) <= SHARE):
            seen -= 1
            continue
        if failed:
            misses.append(Miss(one, failed[0]))
            continue
        if one.kind == "align" and not differing(true.image, damaged.image, SHIFT):
            seen -= 1
            continue
        errors = compare(true.scene, damaged.scene)
        if not (any(says(one, error) for error in errors) if foreign else named(one, errors)):
            misses.append(Miss(one, errors))
    return seen, seen - len(misses), misses


# --- 4. command line ---


@script
def main(argv: list[str] | None = None) -> None:
    """Print the rates and every miss."""
    settings = parse(Settings, argv, __doc__)
    tasks = settings.task.split(",")
    if unknown := [task for task in tasks if task not in PROGRAMS]:
        raise InputError(f"--task {unknown[0]!r} is unknown; choose among {', '.join(PROGRAMS)}.")
    for task in tasks:
        made, right, misses = measure(task, settings.n, level=settings.level, seed=settings.seed,
                                      hand_written=settings.hand_written,
                                      programs=settings.programs)
        for miss in misses:
            print(miss)
        print(f"{task}: {right} of {made} edits named ({100 * right / max(1, made):.1f} %)")


if __name__ == "__main__":
    sys.exit(main())
