"""render.py: what each program must give: its picture, its scene, its size."""

import json
import os
import signal
import subprocess
import sys

import pytest

import render as rendering
from conftest import ROOT
from data.renderers import draw, pool, sandbox
from data.renderers.scene import scene_fault
from render import RenderError, SandboxMissing, render, render_many

PLOT = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(4, 3))\n"
LINE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
confined = pytest.mark.skipif(sandbox.missing_layer() is not None,
                              reason="this system lacks a layer of the sandbox")

# --- Which figure counts: (code, title of the figure that is taken) ---

TAKEN = {
    "savefig over several lines": ("plt.title('a')\n"
                                   "plt.savefig(\n    'a.png',\n    dpi=300,\n)", "a"),
    "savefig in an if": ("plt.title('a')\nif True:\n    plt.savefig('a.png')\n", "a"),
    "show in an if": ("plt.title('a')\nif __name__ == '__main__':\n    plt.show()", "a"),
    "two figures": ("plt.title('a')\nplt.figure()\nplt.title('b')", "b"),
    "the last is empty": ("plt.title('a')\nplt.figure()", "a"),
    "closed": ("plt.title('a')\nplt.savefig('a.png', bbox_inches='tight')\nplt.close('all')", "a"),
    "cleared after saving": ("plt.title('a')\nplt.savefig('a.png')\nplt.clf()", "a"),
    "cleared without saving": ("plt.title('a')\nplt.clf()\nplt.title('b')", "b"),
    "saved into a buffer": ("import io\nplt.title('a')\nb = io.BytesIO()\n"
                            "plt.savefig(b)\nb.seek(0)\n"
                            "plt.imread(b).shape[2]", "a"),
    "bars in space": ("ax = plt.axes(projection='3d')\n"
                      "ax.bar([1, 2], [3, 4], zs=1, zdir='y')\nax.set_title('a')", "a"),
    "object style": ("fig, ax = plt.subplots()\nax.set_title('a')\nfig.savefig('x/y.png')", "a"),
    "another backend": ("import matplotlib\nmatplotlib.use('TkAgg')\nplt.title('a')", "a"),
    "no pyplot": ("from matplotlib.figure import Figure\nFigure().subplots().set_title('a')", "a"),
    "functions": ("def main():\n    plt.title(name())\ndef name():\n    return 'a'\nmain()", "a")}


@pytest.mark.parametrize("name", TAKEN)
def test_which_figure_is_taken(name):
    code, title = TAKEN[name]
    _, scene = draw("chart", "import matplotlib.pyplot as plt\n" + code, 96)
    assert [a["title"] for a in scene["axes"]] == [title]


# --- What the scene says: (task, code, {path: value}) ---
# a path is keys and indices joined by dots

M = "axes.0.marks.0."
SCENES = {
    "bar": ("chart", PLOT + "ax.bar(['A', 'B'], [3, -7], color=['red', '#00F'], edgecolor='k')\n"
            "ax.set_title('Sales'); ax.set_xlabel('item'); ax.set_ylim(-8, 8); "
            "fig.tight_layout()", {
                M + "type": "bars", M + "orient": "v", M + "names": ["A", "B"],
                M + "value": [3.0, -7.0], M + "base": [0.0, 0.0], M + "pos": [0.0, 1.0],
                M + "thick": [0.8, 0.8], M + "colors": ["#ff0000", "#0000ff"],
                M + "edges": ["#000000", "#000000"], "axes.0.title": "Sales",
                "axes.0.xlabel": "item", "axes.0.ylim": [-8.0, 8.0], "axes.0.xticks": [
                    {"pos": 0.0, "text": "A"}, {"pos": 1.0, "text": "B"}], "title": "",
                "axes.0.spines": ["left", "right", "bottom", "top"], "axes.0.legend": None}),
    "pyplot state": ("chart", "import matplotlib.pyplot as plt\nplt.figure(figsize=(3, 3))\n"
                     "plt.barh(['u', 'v'], [1, 2], height=0.5, alpha=0.5, hatch='/')\n"
                     "plt.grid(axis='x')\nplt.suptitle('T')", {
                         M + "orient": "h", M + "names": ["u", "v"], M + "value": [1.0, 2.0],
                         M + "thick": [0.5, 0.5], M + "alpha": 0.5, M + "hatch": "/",
                         "axes.0.grid": {"x": True, "y": False}, "title": "T"}),
    "stacked and grouped": ("chart", PLOT + "ax.bar([0, 1], [1, 2], width=0.4, label='a')\n"
                            "ax.bar([0, 1], [3, 4], 0.4, bottom=[1, 2], label='b')\n"
                            "ax.bar([0.4, 1.4], [5, 6], 0.4, label='_c')\n"
                            "ax.set_xticks([0.2, 1.2], ['p', 'q']); ax.legend(title='L')", {
                                M + "label": "a", M + "names": ["p", "q"],
                                "axes.0.marks.1.base": [1.0, 2.0],
                                "axes.0.marks.1.value": [4.0, 6.0], "axes.0.marks.2.label": "",
                                "axes.0.legend": {"title": "L", "entries": [
                                    {"text": "a", "color": "#1f77b4"},
                                    {"text": "b", "color": "#ff7f0e"}]}}),
    "histogram": ("chart", PLOT + "ax.hist([1, 1, 2, 3], bins=2)", {
        M + "type": "bars", M + "value": [2.0, 2.0], M + "pos": [1.5, 2.5],
        M + "thick": [1.0, 1.0]}),
    "line": ("chart", PLOT + "ax.plot([1, 2, 3], [4, float('nan'), 6], 'r--o', lw=2, label='s')", {
        M + "type": "line", M + "x": [1.0, 3.0], M + "y": [4.0, 6.0], M + "color": "#ff0000",
        M + "linestyle": "--", M + "marker": "o", M + "linewidth": 2.0, M + "markersize": 6.0,
        M + "label": "s", M + "alpha": 1.0}),
    "markers only": ("chart", PLOT + "ax.plot([1, 2], [3, 4], 'gs')", {
        M + "linestyle": "none", M + "marker": "s", M + "color": "#008000", M + "linewidth": 0.0}),
    "axhline": ("chart", PLOT + "ax.set_xlim(0, 10); ax.axhline(0.5, color='gray')", {
        M + "type": "line", M + "x": [0.0, 10.0], M + "y": [0.5, 0.5], M + "color": "#808080"}),
    "log axes": ("chart", PLOT + "ax.loglog([1, 10, 100], [1, 10, 100])", {
        "axes.0.xscale": "log", "axes.0.yscale": "log", M + "x": [1.0, 10.0, 100.0],
        "axes.0.xticks.0": {"pos": 1.0, "text": "10^{0}"}}),
    "scatter": ("chart", PLOT + "ax.scatter([1, 2], [3, 4], s=[9, 25], c=['red', 'blue'], "
                "marker='^', alpha=0.25)", {
                    M + "type": "scatter", M + "x": [1.0, 2.0], M + "sizes": [9.0, 25.0],
                    M + "colors": ["#ff0000", "#0000ff"], M + "marker": "^", M + "alpha": 0.25}),
    "pie": ("chart", PLOT + "ax.pie([1, 3], labels=['a', 'b'], autopct='%d%%', startangle=90, "
            "explode=[0, 0.2], colors=['red', 'lime'], wedgeprops={'width': 0.4})", {
                M + "type": "pie", M + "names": ["a", "b"], M + "fractions": [0.25, 0.75],
                M + "colors": ["#ff0000", "#00ff00"], M + "start": 90.0, M + "hole": 0.6,
                M + "explode": [0.0, 0.2], M + "texts": ["25%", "75%"], M + "clockwise": False,
                "axes.0.annotations": [], "axes.0.spines": [], "axes.0.xticks": []}),
    "clockwise pie": ("chart", PLOT + "ax.pie([1, 3], counterclock=False)", {
        M + "start": 0.0, M + "clockwise": True, M + "names": ["", ""]}),
    "error bars": ("chart", PLOT + "ax.errorbar([1, 2], [3, 4], yerr=[0.5, 1], fmt='o', "
                   "capsize=3, color='k', label='e')", {
                       M + "type": "errorbar", M + "x": [1.0, 2.0], M + "ylow": [2.5, 3.0],
                       M + "yhigh": [3.5, 5.0], M + "xlow": None, M + "color": "#000000",
                       M + "marker": "o", M + "label": "e", "axes.0.marks": 1}),
    "bars with errors": ("chart", PLOT + "ax.bar([1, 2], [3, 4], yerr=1)", {
        M + "type": "bars", "axes.0.marks.1.type": "errorbar",
        "axes.0.marks.1.yhigh": [4.0, 5.0], "axes.0.marks": 2}),
    "area": ("chart", PLOT + "ax.fill_between([1, 2], [3, 4], [1, 5], color='red', alpha=0.5)", {
        M + "type": "area", M + "x": [1.0, 2.0], M + "low": [1.0, 4.0], M + "high": [3.0, 5.0],
        M + "color": "#ff0000", M + "alpha": 0.5}),
    "image": ("chart", PLOT + "ax.imshow([[1, 2], [3, 4]], cmap='hot')", {
        M + "type": "image", M + "data": [[1.0, 2.0], [3.0, 4.0]], M + "shape": [2, 2],
        M + "cmap": "hot", "axes.0.ylim": [1.5, -0.5]}),
    "mesh": ("chart", PLOT + "ax.pcolormesh([[1, 2, 3]])", {
        M + "type": "image", M + "shape": [1, 3]}),
    "box": ("chart", PLOT + "ax.boxplot([[1, 2, 3, 4, 20]], tick_labels=['p'])", {
        M + "type": "box", M + "median": [3.0], M + "q1": [2.0], M + "q3": [4.0], M + "low": [1.0],
        M + "high": [4.0], M + "names": ["p"], M + "fliers": [[20.0]], "axes.0.marks": 1}),
    "stem": ("chart", PLOT + "ax.stem([1, 2], [3, 4])", {
        M + "type": "line", M + "drawstyle": "stem", M + "y": [3.0, 4.0], "axes.0.marks": 1}),
    "patches": ("chart", PLOT + "ax.add_patch(plt.Circle((0.5, 0.5), 0.25, color='red'))\n"
                "ax.add_patch(plt.Rectangle((0, 0), 1, 0.1))", {
                    M + "type": "patch", M + "shape": "Circle", M + "color": "#ff0000",
                    M + "box": [0.25, 0.25, 0.75, 0.75], "axes.0.marks.1.type": "bars"}),
    "vlines": ("chart", PLOT + "ax.vlines([1, 2], 0, 5)", {
        M + "shape": "LineCollection",
        M + "segments": [[1.0, 0.0, 1.0, 5.0], [2.0, 0.0, 2.0, 5.0]]}),
    "subplots": ("chart", "import matplotlib.pyplot as plt\nfig, axes = plt.subplots(2, 2)\n"
                 "for a, t in zip(axes.flat[::-1], 'dcba'): a.set_title(t); a.plot([1, 2])\n"
                 "axes[1, 1].set_visible(False)", {
                     "axes": 3, "axes.0.title": "a", "axes.1.title": "b", "axes.2.title": "c"}),
    "twin": ("chart", PLOT + "ax.plot([1, 2], 'b'); t = ax.twinx(); t.plot([3, 4], 'r')", {
        "axes": 2, "axes.0.twin": None, "axes.1.twin": 0, "axes.1.marks.0.color": "#ff0000"}),
    "annotation": ("chart", PLOT + "ax.plot([0, 4], [0, 4])\nax.annotate('peak', xy=(2, 2), "
                   "xytext=(1, 3), arrowprops={'arrowstyle': '->'})\nax.text(0.5, 0.5, 'mid', "
                   "transform=ax.transAxes)\nax.text(99, 99, 'away', clip_on=True)", {
                       "axes.0.annotations": [{"text": "peak", "x": 1.0, "y": 3.0,
                                               "target": [2.0, 2.0]},
                                              {"text": "mid", "x": 2.0, "y": 2.0}]}),
    "annotated date and category": (
        "chart", PLOT + "import numpy as np\nax.plot([np.datetime64('1970-01-02')], ['a'], 'o')\n"
        "ax.annotate('first', xy=(np.datetime64('1970-01-02'), 'a'), "
        "xytext=(np.datetime64('1970-01-03'), 'a'), arrowprops={'arrowstyle': '->'})", {
            "axes.0.annotations": [{"text": "first", "x": 2.0, "y": 0.0, "target": [1.0, 0.0]}]}),
    "what cannot be seen": ("chart", PLOT + "ax.plot([1, 2], visible=False)\nax.plot([], [])\n"
                            "ax.plot([1, 2], alpha=0)\nax.bar([50], [1])\nax.set_xticks([1, 9])\n"
                            "ax.set_xlim(0, 2); ax.yaxis.set_visible(False)\n"
                            "ax.spines['top'].set_visible(False); fig.text(5, 5, 'off')", {
                                "axes.0.marks": 0, "axes.0.xticks": [{"pos": 1.0, "text": "1"}],
                                "axes.0.yticks": [], "axes.0.spines": ["left", "right", "bottom"],
                                "texts": []}),
    "dates": ("chart", PLOT + "import datetime as d\nax.plot([d.date(1970, 1, 2)], [1], 'o')", {
        M + "x": [1.0]}),
    "polar": ("chart", "import matplotlib.pyplot as plt\nax = plt.subplot(projection='polar')\n"
              "ax.plot([0, 1], [1, 2])", {"axes.0.projection": "polar", M + "y": [1.0, 2.0]}),
    "3-D": ("chart", "import matplotlib.pyplot as plt\nax = plt.figure().add_subplot("
            "projection='3d')\nax.plot([0, 1], [1, 2], [3, 4])", {
                "axes.0.projection": "3d", M + "z": [3.0, 4.0]}),
    "table": ("table", "<p>Note</p><table><caption>Cap</caption><tr><th>A</th><th>B</th></tr>"
              "<tr><td align=right>1 <br> 2</td><td><b>x</b></td></tr></table>", {
                  "outside": "Note", "tables": 1, "tables.0.rows": 2, "tables.0.cols": 2,
                  "tables.0.caption": "Cap", "tables.0.cells.0.row": 0, "tables.0.cells.0.col": 0,
                  "tables.0.cells.0.rowspan": 1, "tables.0.cells.0.colspan": 1,
                  "tables.0.cells.0.text": "A", "tables.0.cells.0.header": True,
                  "tables.0.cells.0.align": "center", "tables.0.cells.0.bold": True,
                  "tables.0.cells.0.color": "#000000", "tables.0.cells.0.background": "#eeeeee",
                  "tables.0.cells.0.pad": [3.5, 3.5], "tables.0.cells.2.breaks": [1],
                  "tables.0.cells.2.text": "1 2", "tables.0.cells.2.align": "right",
                  "tables.0.cells.2.bold": False, "tables.0.cells.2.background": None,
                  "tables.0.cells.3.bold": True}),
    "spans": ("table", "<table><thead><tr><th rowspan=2>A<th colspan=2>B<tr><th>c<th>d</thead>"
              "<tr><td>1<td>2<td rowspan=99>3<tr><td colspan=2>4</table>", {
                  "tables.0.rows": 4, "tables.0.cols": 3, "tables.0.cells.1.colspan": 2,
                  "tables.0.cells.2.col": 1, "tables.0.cells.6.rowspan": 2,
                  "tables.0.cells.7.row": 3, "tables.0.cells.7.colspan": 2}),
    "columns without width": ("table", "<table><tr><td colspan=9>a<tr><td colspan=9>b</table>", {
        "tables.0.cols": 1, "tables.0.cells.0.colspan": 1}),
    "style sheet": ("table", "<style>td{color:red} .n{background:#00f!important;display:none}"
                    "#k{text-align:center}</style><table><tr><td id=k style='background:lime'>a"
                    "<td class=n>b</table>", {
                        "tables.0.cells.0.color": "#ff0000", "tables.0.cells.0.align": "center",
                        "tables.0.cells.0.background": "#00ff00", "tables.0.cells": 1}),
    "nested": ("table", "<table><tr><td>a<table><tr><td>b</table></table>", {
        "tables": 1, "tables.0.cells": 1, "tables.0.cells.0.text": "a b",
        "tables.0.cells.0.nested": True}),
    "markdown": ("table", "Title\n\n| a | b |\n|:-:|--:|\n| **1** | x\\|y |\n| 2 |\n", {
        "outside": "Title", "tables.0.rows": 3, "tables.0.cols": 2,
        "tables.0.cells.0.header": True, "tables.0.cells.2.bold": True,
        "tables.0.cells.2.align": "center", "tables.0.cells.3.text": "x|y",
        "tables.0.cells.3.align": "right", "tables.0.cells.5.text": ""}),
    "svg shapes": ("svg", '<svg viewBox="0 0 64 64"><rect x="16" y="32" width="16" height="8" '
                   'fill="red" stroke="blue" stroke-width="2" stroke-dasharray="3"/>'
                   '<text x="32" y="60" font-size="16">Hi <tspan>you</tspan></text></svg>', {
                       "viewbox": [0.0, 0.0, 64.0, 64.0], "shapes": 2, "shapes.0.type": "rect",
                       "shapes.0.box": [0.25, 0.5, 0.5, 0.625], "shapes.0.fill": "#ff0000",
                       "shapes.0.stroke": "#0000ff", "shapes.0.stroke_width": 0.03125,
                       "shapes.0.dash": True, "shapes.0.closed": True, "shapes.0.outline": [
                           [0.25, 0.5], [0.5, 0.5], [0.5, 0.625], [0.25, 0.625]],
                       "shapes.1.type": "text", "shapes.1.text": "Hi you",
                       "shapes.1.font_size": 0.25}),
    "svg transforms": ("svg", '<svg viewBox="0 0 10 10"><g transform="translate(5 5)" opacity=".5">'
                       '<g transform="rotate(90) scale(2)"><rect width="1" height="2" '
                       'opacity=".25"/></g></g></svg>', {
                           "shapes.0.box": [0.1, 0.5, 0.5, 0.7], "shapes.0.opacity": 0.5,
                           "shapes.0.fill_opacity": 0.25}),
    "svg reuse": ("svg", '<svg viewBox="0 0 10 10"><defs><linearGradient id="g"><stop offset="0" '
                  'stop-color="red"/><stop offset="1" stop-color="lime"/></linearGradient></defs>'
                  '<symbol id="s"><rect width="2" height="2" fill="url(#g)"/></symbol>'
                  '<use xlink:href="#s" x="4" y="6"/><use href="#s" x="90"/></svg>', {
                      "shapes": 1, "shapes.0.box": [0.4, 0.6, 0.6, 0.8],
                      "shapes.0.fill": "gradient",
                      "shapes.0.paints.fill.stops": [[0.0, "#ff0000", 1.0],
                                                     [1.0, "#00ff00", 1.0]]}),
    "svg style": ("svg", '<svg viewBox="0 0 10 10"><style>.a{fill:#0f0}</style>'
                  '<path class="a" d="M1 1h4v4z"/><circle r="3" fill="none"/>'
                  '<circle r="3" style="display:none"/><line x2="9" stroke="red"/></svg>', {
                      "shapes": 2, "shapes.0.type": "polygon", "shapes.0.fill": "#00ff00",
                      "shapes.1.type": "line", "shapes.1.fill": None, "shapes.1.closed": False}),
    "svg sub-paths": ("svg", '<svg viewBox="0 0 10 10"><path d="M1 1h4v4zM6 6h2v2z"/></svg>', {
        "shapes.0.starts": [0, 3]})}


def look_up(scene, path):
    for key in path.split("."):
        scene = scene[int(key)] if isinstance(scene, list) else scene[key]
    return scene


@pytest.mark.parametrize("name", SCENES)
def test_scene(name):
    task, code, expected = SCENES[name]
    image, scene = draw(task, code, 200)
    assert scene_fault(json.loads(json.dumps(scene, allow_nan=False))) is None
    assert scene["task"] == task and scene["size"] == list(image.size) and image.mode == "RGB"
    for path, value in expected.items():
        found = look_up(scene, path)
        if isinstance(found, list) and isinstance(value, int):
            found = len(found)
        assert found == value, path


# --- Forged scenes: (task, path, value put there, where and why it is refused) ---

FORGED = [
    ("chart", "", None, "task: none of"), ("chart", "axes", None, "axes: no list"),
    ("chart", "size", [1], "size: 1 instead of 2"), ("chart", "size.0", 1.5, "size.0: no count"),
    ("chart", "size.0", True, "size.0: no count"), ("chart", "size.0", -1, "size.0: no count"),
    ("chart", "title", 3, "title: no text"), ("chart", "title", None, "title: no text"),
    ("chart", "title", "a" * 10_001, "title: no text"),
    ("chart", "more", 1, "more: not in the schema"), ("chart", "facecolor", "#FFF", "facecolor"),
    ("chart", "axes.0.xlim", [1.0], "axes.0.xlim: 1 instead of 2"),
    ("chart", "axes.0.xlim.0", float("nan"), "axes.0.xlim.0: no number"),
    ("chart", "axes.0.xlim.0", 1e101, "axes.0.xlim.0: no number"),
    ("chart", "axes.0.xlim.0", True, "axes.0.xlim.0: no number"),
    ("chart", "axes.0.twin", 9, "no such axes"),
    ("chart", "axes.0.grid", {"x": True}, "axes.0.grid.y: missing"),
    ("chart", "axes.0.marks.0.type", "cake", "axes.0.marks.0: no known type"),
    ("chart", "axes.0.marks.0.type", [], "axes.0.marks.0: no known type"),
    ("chart", "axes.0.marks.0.x", [1.0], "axes.0.marks.0.y: 2 instead of 1"),
    ("chart", "axes.0.marks.0.x", [1.0] * 100_001, "axes.0.marks.0.x: too long"),
    ("chart", "axes.0.marks.0.z", [1.0], "axes.0.marks.0.z: 1 instead of 2"),
    ("chart", "axes.0.xticks.0", None, "axes.0.xticks.0: no object"),
    ("table", "tables.0.cells.0.row", 9, "tables.0.cells.0: outside of its table"),
    ("table", "tables.0.rows", 999_999, "more rows or columns than cells"),
    ("table", "tables.0.cells.0.align", "up", "tables.0.cells.0.align"),
    ("svg", "viewbox.3", 0, "viewbox.3: no number in its bounds"),
    ("svg", "shapes.0.box.0", None, "no number"),
    ("svg", "shapes.0.type", "text", "shapes.0.text: missing"),
    ("svg", "shapes.0.outline", [[1.0]], "shapes.0.outline.0: 1 instead of 2"),
    ("svg", "shapes.0.fill", "red", "shapes.0.fill")]


@pytest.fixture(scope="module")
def sound_scenes():
    return {task: json.dumps(draw(task, code, 64)[1])
            for task, code in (("chart", LINE), ("svg", SMALL_SVG), ("table", SMALL_TABLE))}


@pytest.mark.parametrize("task, path, value, why", FORGED)
def test_forged_scenes_are_refused(task, path, value, why, sound_scenes):
    scene = json.loads(sound_scenes[task])
    assert scene_fault(scene) is None
    *before, key = path.split(".")
    if path:
        holder = look_up(scene, ".".join(before)) if before else scene
        holder[int(key) if isinstance(holder, list) else key] = value
    assert why in scene_fault(scene if path else value)


# --- Sizes: (task, code, size, size of the picture) ---

WIDE = "import matplotlib.pyplot as plt\nplt.figure(figsize=(6.4, 4.8))\nplt.plot([1, 2])"
SMALL_SVG = '<svg viewBox="0 0 64 64"><rect width="64" height="9" fill="red"/></svg>'
SMALL_TABLE = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>"
SIZES = [("chart", WIDE, None, (640, 480)), ("chart", WIDE, 128, (128, 96)),
         ("chart", WIDE, 127, (127, 95)), ("chart", WIDE, (128, 128), (128, 128)),
         ("chart", WIDE.replace("figsize", "dpi=50, figsize"), None, (320, 240)),
         ("svg", SMALL_SVG, None, (64, 64)), ("svg", SMALL_SVG, 128, (128, 128)),
         ("svg", '<svg width="40" height="20"><circle r="5"/></svg>', None, (40, 20)),
         ("svg", '<svg width="40" height="20"><circle r="5"/></svg>', 100, (100, 50)),
         ("svg", '<svg width="100%"><circle r="5"/></svg>', None, (300, 150)),
         ("svg", '<svg width="2in" height="25.4mm"><circle r="5"/></svg>', None, (192, 96)),
         ("svg", '<svg width="40" height="20"><circle r="5"/></svg>', (64, 64), (64, 64)),
         ("table", SMALL_TABLE, None, (69, 47)), ("table", SMALL_TABLE, 500, (69, 47)),
         ("table", SMALL_TABLE, (128, 128), (128, 128)), ("table", SMALL_TABLE, 30, (30, 20))]


@pytest.mark.parametrize("task, code, size, expected", SIZES)
def test_size(task, code, size, expected):
    assert draw(task, code, size)[0].size == expected


def test_table_begins_at_pixel_3_3():
    image, _ = draw("table", SMALL_TABLE)
    assert image.getpixel((3, 3)) == (0, 0, 0)
    assert image.getpixel((2, 2)) == image.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("task, code", [
    ("svg", '<svg viewBox="0 0 40 40"><text y="30" font-size="30">Wxk</text></svg>'),
    ("table", "<table><tr><td>Wxk</td></tr></table>"), ("chart", PLOT + "ax.set_title('Wxk')")])
def test_black_text_has_no_coloured_fringes(task, code):
    red, green, blue = draw(task, code, 200)[0].split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_worker_and_this_process_draw_the_same():
    jobs = [(task, code) for task, code, _ in SCENES.values()]
    for (task, code), result in zip(jobs, render_many(jobs, size=(128, 128), timeout=60)):
        if not (isinstance(result, RenderError) and sandbox.missing_layer()):
            image, scene = draw(task, code, (128, 128))
            assert result.scene == scene and result.image.tobytes() == image.tobytes(), code


@confined
def test_settings_do_not_leak_into_the_next_render():
    change = "import matplotlib.pyplot as plt\nplt.rcParams['lines.linewidth'] = 9\n" \
             "plt.style.use('dark_background')\n" + LINE
    first, changed, again = render_many([("chart", LINE), ("chart", change), ("chart", LINE)],
                                        size=64, workers=1, timeout=60)
    assert first.image.tobytes() == again.image.tobytes() != changed.image.tobytes()
    draw("chart", change, 64)  # nor in one process
    assert draw("chart", LINE, 64)[0].tobytes() == first.image.tobytes()


@confined
def test_order_is_kept():
    jobs = [("chart", PLOT + f"import time; time.sleep({0.3 * (i == 0)})\nax.set_title('{i}')")
            if i % 2 == 0 else ("svg", f'<svg viewBox="0 0 9 9"><text y="9">{i}</text></svg>')
            for i in range(8)]
    found = [r.scene["axes"][0]["title"] if "axes" in r.scene else r.scene["shapes"][0]["text"]
             for r in render_many(jobs, size=64, timeout=60)]
    assert found == [str(i) for i in range(8)]


@confined
def test_lost_workers_are_replaced(monkeypatch):
    pool.close()
    ours = pool.the_pool()
    with ours.borrow(2), ours.borrow(2):  # two workers
        pass
    for worker in list(ours.workers):
        os.kill(worker.process.pid, signal.SIGKILL)
        monkeypatch.setattr(worker.process, "poll", lambda: None)  # not yet seen as dead
    assert len(ours.workers) == 2
    assert render("chart", LINE, size=64, timeout=60).image.size == (64, 48)
    monkeypatch.setattr(pool, "GRACE", 0.5)
    for worker in list(ours.workers):
        os.kill(worker.process.pid, signal.SIGSTOP)
    with pytest.raises(RenderError) as caught:
        render("chart", LINE, timeout=0.5)
    assert caught.value.kind == "timeout"
    monkeypatch.setattr(pool, "GRACE", 60)
    pool.close()
    assert render("chart", LINE, size=64, timeout=60).image.size == (64, 48)


def test_without_a_sandbox_charts_are_refused(monkeypatch):
    monkeypatch.delenv(sandbox.UNSAFE, raising=False)
    monkeypatch.setattr(rendering, "missing_layer", lambda: "Landlock, which Linux has since 5.13")
    with pytest.raises(SandboxMissing, match=r"lacks Landlock.*VISUAL_ERM_UNSAFE=1 \(--unsafe"):
        render("chart", LINE)
    render("table", SMALL_TABLE, timeout=60)  # these hold no program
    monkeypatch.setenv(sandbox.UNSAFE, "1")
    render("chart", LINE, timeout=60)


def test_unknown_task_is_a_sentence():
    with pytest.raises(ValueError,
                       match="unknown task 'graph': it must be one of chart, table, svg"):
        render("graph", LINE)


# --- The command line: (file name, content, more arguments, exit code, words on standard error) ---

COMMANDS = {
    "chart": ("a.py", LINE, ["--size", "64", "--scene", "a.json"], 0, ""),
    "svg by its ending": ("a.svg", SMALL_SVG, [], 0, ""),
    "no task": ("a.txt", LINE, [], 2, "add --task chart, table or svg"),
    "wrong code": ("a.py", "1 / 0", [], 2, "a.py: line 1: ZeroDivisionError: division by zero"),
    "no file": ("", "", [], 2, "No such file or directory"),
    "not a picture name": ("a.py", LINE, ["--out", "a.unknown"], 2, "unknown file extension"),
    "not UTF-8": ("a.svg", b"\xff", [], 2, "not UTF-8 text")}


@confined
@pytest.mark.parametrize("name", COMMANDS)
def test_command_line(name, tmp_path):
    file, content, more, code, words = COMMANDS[name]
    if file:
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = subprocess.run([sys.executable, os.path.join(ROOT, "render.py"), file or "missing.py",
                           "--timeout", "60", "--out", "x.png", *more], cwd=tmp_path, text=True,
                          capture_output=True)
    assert done.returncode == code and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "x.png").exists() == (code == 0)
    if "--scene" in more:
        assert json.loads((tmp_path / "a.json").read_text())["task"] == "chart"
