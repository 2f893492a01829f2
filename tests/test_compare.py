"""compare and fidelity: tables of (picture as it should be, picture as it is, what compare has to
say)."""
import itertools
import json
import random

import pytest

from data import compare as comparing
from data.compare import compare, fidelity, fidelity_or_zero
from data.compare.colors import color_name, color_words
from data.compare.matching import align, assign
from data.compare.words import as_number, number, should_be
from data.renderers import draw

CHART = ("import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(4, 3))\n"
         "fig.subplots_adjust(left=0.2, bottom=0.2)\n")
BARS = CHART + 'ax.bar(["A", "B", "C"], [3, 7, 5], color="red")\n'
TITLED = BARS + 'ax.set_title("Sales")\nax.set_ylabel("Count")\n'
LINE = CHART + 'ax.plot([1, 2, 3, 4], [2, 5, 3, 6], color="blue", marker="o")\nax.set_ylim(0, 10)\n'
LOGGED = CHART + 'ax.plot([1, 2, 3, 4], [2, 50, 300, 6])\nax.set_yscale("log")\n#'
TWO = CHART + ('ax.plot([1, 2, 3], [2, 5, 3], color="blue", marker="o", label="Sales")\n'
               'ax.plot([1, 2, 3], [4, 4, 8], color="green", marker="s", label="Cost")\n'
               'ax.legend()\n')
GROUPED = CHART + ('ax.bar([-0.2, 0.8], [3, 5], width=0.4, color="red", label="a")\n'
                   'ax.bar([0.2, 1.2], [4, 2], width=0.4, color="blue", label="b")\n'
                   'ax.set_xticks([0, 1], ["Q1", "Q2"])\nax.legend()\n')
STACKED = CHART + ('ax.bar(["A", "B", "C"], [3, 5, 2], color="red", label="a")\n'
                   'ax.bar(["A", "B", "C"], [4, 1, 6], bottom=[3, 5, 2], label="b")\nax.legend()\n')
PIE = CHART + 'ax.pie([5, 3, 2], labels=["X", "Y", "Z"], colors=["red", "blue", "green"])\n'
PANELS = ("import matplotlib.pyplot as plt\nfig, (a, b) = plt.subplots(1, 2, figsize=(6, 3))\n"
          'a.bar(["A", "B"], [3, 7])\na.set_title("Left")\n'
          'b.plot([1, 2, 3], [4, 6, 5], marker="o")\nb.set_title("Right")\n')
MANY = CHART + ("for k in range(200): ax.plot([0, 1], [k, k + 30], color='k', alpha=0.1)\n"
                "ax.set_ylim(0, 250)\n")
TABLE = ("<table><tr><th>day</th><th>sum</th><th>max</th></tr>"
         "<tr><td>cat</td><td>12</td><td>34%</td></tr>"
         "<tr><td>dog</td><td>-5</td><td>7.5</td></tr><tr><td>fox</td><td>81</td><td>90</td></tr></table>")
SPANS = ('<table><tr><th rowspan="2">Region</th><th colspan="2">Sales</th></tr>'
         "<tr><th>2022</th><th>2023</th></tr><tr><td>North</td><td>1,250</td><td>1,480</td></tr>"
         "<tr><td>South</td><td>980</td><td>940</td></tr></table>")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{}</svg>'
CIRCLE = '<circle cx="20" cy="20" r="10" fill="red"/>'
RECT = '<rect x="60" y="60" width="20" height="20" fill="blue"/>'
TEXT = '<text x="70" y="25" font-size="20" fill="black">A</text>'
DISC = '<circle cx="45" cy="50" r="20" fill="red"/>'
BAND = '<rect x="50" y="40" width="30" height="20" fill="blue"/>'
ICON = SVG.format(CIRCLE + RECT + TEXT)

# task, true program, (old, new) replaced in it, [(category, severity, location, description), ...]
DIFFERENCES = [
    ("chart", BARS, ("7", "4"), [("data_error", 3, "bar 'B'", "value 4, should be 7")]),
    ("chart", BARS, ("7", "6.8"), [("data_error", 1, "bar 'B'", "value 6.8, should be 7")]),
    ("chart", BARS, ("7", "6"), [("data_error", 2, "bar 'B'", "value 6, should be 7")]),
    ("chart", BARS, ('["A", "B", "C"], [3, 7, 5]', '["A", "C"], [3, 5]'),
     [("data_error", 3, "bar 'B'", "missing")]),
    ("chart", BARS, ('["A", "B", "C"], [3, 7, 5]', '["A", "B", "C", "D"], [3, 7, 5, 6]'),
     [("data_error", 3, "bar 'D'", "extra")]),
    ("chart", BARS, ('["A", "B", "C"], [3, 7, 5]', '["B", "A", "C"], [7, 3, 5]'),
     [("data_error", 2, "bar 'A'", "swapped with 'B'")]),
    ("chart", BARS, ('["A", "B", "C"], [3, 7, 5]', '["C", "A"], [5, 3]'),
     [("data_error", 2, "bar 'A'", "swapped with 'C'"), ("data_error", 3, "bar 'B'", "missing")]),
    ("chart", BARS.replace("7", "3"), ('"A", "B"', '"B", "A"'),
     [("data_error", 2, "bar 'A'", "swapped with 'B'")]),
    ("chart", BARS, ('"A", "B"', '"B", "A"'),
     [("text_error", 2, "x ticks", "reads 'B', should be 'A'"),
      ("text_error", 2, "x ticks", "reads 'A', should be 'B'")]),
    ("chart", BARS, ('"B"', '"Q"'), [("text_error", 2, "x ticks", "reads 'Q', should be 'B'")]),
    ("chart", BARS, ("red", "blue"), [("style_error", 2, "plot", "color blue, should be red")]),
    ("chart", BARS, ("red", "#ee1100"),
     [("style_error", 1, "plot", "color darker red, should be red")]),
    ("chart", BARS, ('"red"', '["red", "blue", "red"]'),
     [("style_error", 2, "bar 'B'", "color blue, should be red")]),
    ("chart", BARS, (".bar(", ".barh("),
     [("structure_error", 3, "plot", "type barh, should be bar")]),
    ("chart", BARS, (".bar(", ".plot("),
     [("structure_error", 3, "plot", "type line, should be bar")]),
    ("chart", BARS, ('ax.bar(["A", "B", "C"], [3, 7, 5], color="red")',
                     'ax.pie([3, 7, 5], labels=["A", "B", "C"])'),
     [("structure_error", 3, "plot", "type pie, should be bar")]),
    ("chart", BARS, ("[3, 7, 5], ", "[3, 7, 5], width=0.4, "),
     [("style_error", 1, "plot", "bar width 0.4, should be 0.8")]),
    ("chart", BARS, ('"red"', '"red", alpha=0.3'),
     [("style_error", 2, "plot", "opacity 0.3, should be 1")]),
    ("chart", BARS, ('"red"', '"red", hatch="/"'),
     [("style_error", 1, "plot", "pattern /, should be none")]),
    ("chart", TITLED, ("Sales", "Sale"),
     [("text_error", 1, "title", "reads 'Sale', should be 'Sales'")]),
    ("chart", TITLED, ("Sales", "Profit"),
     [("text_error", 2, "title", "reads 'Profit', should be 'Sales'")]),
    ("chart", TITLED, ('ax.set_title("Sales")', ""), [("text_error", 2, "title", "missing")]),
    ("chart", TITLED, ("Count", "Amount"),
     [("text_error", 1, "y-axis label", "reads 'Amount', should be 'Count'")]),
    ("chart", TITLED, ('ax.set_title("Sales")', 'ax.set_title("Sales")\nax.set_xlabel("Team")'),
     [("text_error", 2, "x-axis label", "extra")]),
    ("chart", TITLED, ('ax.set_title("Sales")', 'ax.set_title("Sales")\nax.grid(True)'),
     [("style_error", 1, "grid", "extra")]),
    ("chart", TITLED,
     ('ax.set_title("Sales")', 'ax.set_title("Sales")\nax.set_facecolor("lightblue")'),
     [("style_error", 1, "background", "color light blue, should be white")]),
    ("chart", TITLED, ('ax.set_title("Sales")', 'ax.set_title("Sales")\nax.set_xticks([])'),
     [("text_error", 2, "x ticks", "missing")]),
    ("chart", LINE, ("[2, 5, 3, 6]", "[2, 5, 8, 6]"),
     [("data_error", 3, "point 3", "value 8, should be 3")]),
    ("chart", LINE, ("[1, 2, 3, 4], [2, 5, 3, 6]", "[1, 2, 4], [2, 5, 6]"),
     [("data_error", 3, "point 3", "missing")]),
    ("chart", LINE, ("ylim(0, 10)", "ylim(0, 8)"),
     [("data_error", 2, "y axis", "range 0 to 8, should be 0 to 10")]),
    ("chart", LINE, ("ylim(0, 10)", "ylim(10, 0)"), [("data_error", 3, "y axis", "reversed")]),
    ("chart", LINE, ("ylim(0, 10)", 'yscale("log")'),
     [("data_error", 2, "y axis", "scale log, should be linear")]),
    # The lower bar C ends where the logarithmic axis begins: it went with the scale.
    ("chart", STACKED, ("ax.legend()", 'ax.legend()\nax.set_yscale("log")'),
     [("data_error", 2, "y axis", "scale log, should be linear")]),
    # Marks of major ticks go with their labels, minor ones stay.
    ("chart", LOGGED, ("#", "ax.set_yticks([])\n#"),
     [("text_error", 2, "y ticks", "missing")]),
    ("chart", LINE, ('"o"', '"o", linestyle="--"'),
     [("style_error", 1, "plot", "line dashed, should be solid")]),
    ("chart", LINE, ('"o"', '"s"'),
     [("style_error", 1, "plot", "marker square, should be circle")]),
    ("chart", LINE, ('"o"', '"o", linewidth=4'),
     [("style_error", 2, "plot", "line width 4, should be 1.5")]),
    ("chart", LINE, ("[2, 5, 3, 6]", "[4, 7, 5, 8]"),
     [("data_error", 2, f"point {k}", f"value {v + 2}, should be {v}")
      for k, v in ((1, 2), (2, 5), (3, 3), (4, 6))]),
    ("chart", CHART + "ax.bar(range(6), [3, 4, 5, 6, 7, 8])", ("[3, 4, 5, 6, 7", "[5, 6, 7, 8, 9"),
     [("data_error", 2, "plot", "5 of 6 values wrong")]),
    ("chart", TWO, ("[2, 5, 3]", "[2, 7, 3]"),
     [("data_error", 3, "series 'Sales', point 2", "value 7, should be 5")]),
    ("chart", TWO, ('"Cost"', '"Costs"'),
     [("text_error", 1, "legend", "reads 'Costs', should be 'Cost'")]),
    ("chart", TWO, ("ax.legend()", ""), [("text_error", 2, "legend", "missing")]),
    ("chart", TWO, ('"green"', '"orange"'),
     [("style_error", 2, "series 'Cost'", "color orange, should be green")]),
    ("chart", TWO, ('ax.plot([1, 2, 3], [4, 4, 8], color="green", marker="s", label="Cost")', ""),
     [("data_error", 3, "series 'Cost'", "missing")]),
    ("chart", TWO, ('ax.legend()',
                    'ax.plot([1, 2, 3], [1, 1, 2], color="red", label="New")\nax.legend()'),
     [("data_error", 3, "series 'New'", "extra")]),
    ("chart", GROUPED, ("[4, 2]", "[4, 3]"),
     [("data_error", 2, "series 'b', bar 'Q2'", "value 3, should be 2")]),
    ("chart", GROUPED,
     ("[0.2, 1.2], [4, 2], width=0.4", "[-0.2, 0.8], [4, 2], bottom=[3, 5], width=0.4"),
     [("structure_error", 3, "plot", "bars stacked, should be grouped")]),
    ("chart", PIE, ("[5, 3, 2]", "[5, 6, 2]"),
     [("data_error", 2, "slice 'Y'", "share 46%, should be 30%")]),
    ("chart", PIE, ('[5, 3, 2], labels=["X", "Y", "Z"], colors=["red", "blue", "green"]',
                    '[5, 2], labels=["X", "Z"], colors=["red", "green"]'),
     [("data_error", 3, "slice 'Y'", "missing")]),
    ("chart", PIE, ('"Y"', '"W"'), [("text_error", 2, "slice 'Y'", "reads 'W', should be 'Y'")]),
    ("chart", PIE, ('"blue"', '"black"'),
     [("style_error", 2, "slice 'Y'", "color black, should be blue")]),
    ("chart", PANELS, ("[4, 6, 5]", "[4, 6, 6]"),
     [("data_error", 3, "subplot 2: point 3", "value 6, should be 5")]),
    ("chart", PANELS, ('b.set_title("Right")', ""),
     [("text_error", 2, "subplot 2: title", "missing")]),
    ("chart", PANELS, ("subplots(1, 2", "subplots(2, 1"),
     [("structure_error", 2, "plot", "subplots 2 x 1, should be 1 x 2")]),
    ("chart", PANELS,
     ('b.plot([1, 2, 3], [4, 6, 5], marker="o")\nb.set_title("Right")', "b.remove()"),
     [("structure_error", 3, "plot", "subplots 1, should be 2")]),
    ("chart", CHART + 'ax.errorbar([1, 2], [3, 4], yerr=[0.5, 0.5], fmt="o")',
     ("yerr=[0.5, 0.5]", "yerr=[0.5, 0.1]"),
     [("data_error", 2, "plot", "1 of 2 error bars wrong")]),
    ("chart", LINE + 'ax.annotate("peak", xy=(4, 6), xytext=(2, 8))\n', ("peak", "top"),
     [("text_error", 2, "annotation 'peak'", "reads 'top', should be 'peak'")]),
    ("chart", CHART + 'ax.imshow([[1, 2], [3, 4]], cmap="viridis")', ("3, 4", "3, 2"),
     [("data_error", 3, "row 2, column 2", "value 2, should be 4")]),
    ("chart", CHART + 'ax.plot([0, 9], [1, 2])\nax.twinx().plot([0, 9], [5, 5], color="red")',
     ('"red"', '"green"'),
     [("style_error", 2, "second axis: plot", "color green, should be red")]),
    ("chart", MANY, ("[k, k + 30]", "[k, k + 30 + 90 * (k == 70)]"),
     [("data_error", 3, "series 71, point 2", "value 190, should be 100")]),
    # consequences of one cause: a number on its bar, ticks, automatic and shared limits, the cycle
    # of colours
    ("chart", BARS + "ax.bar_label(ax.containers[0])\n", ("7", "9"),
     [("data_error", 2, "bar 'B'", "value 9, should be 7")]),
    ("chart", CHART + "ax.plot([1, 2, 3], [2, 5, 3], marker='o')\n", ("5", "50"),
     [("data_error", 3, "point 2", "value 50, should be 5")]),
    ("chart", PANELS.replace("subplots(1, 2", "subplots(1, 2, sharey=True"), ("[3, 7]", "[3, 12]"),
     [("data_error", 3, "subplot 1: bar 'B'", "value 12, should be 7")]),
    ("chart", CHART + 'for v in (1, 2, 3):\n    ax.bar([v], [v], label=f"s{v}")\nax.legend()\n',
     ("(1, 2, 3)", "(1, 3)"), [("data_error", 3, "series 's2'", "missing")]),
    ("chart", CHART + 'ax.bar(["A", "B"], [3, 4])\nax.bar(["A", "B"], [1, 2], bottom=[3, 4])\n',
     ("[3, 4])\nax.bar([\"A\", \"B\"], [1, 2], bottom=[3, 4]",
      "[3, 6])\nax.bar([\"A\", \"B\"], [1, 2], bottom=[3, 6]"),
     [("data_error", 3, "series 1, bar 'B'", "value 6, should be 4")]),

    ("table", TABLE, ("12", "17"),
     [("numeric_error", 3, "row 2, column 2", "reads '17', should be '12'")]),
    ("table", TABLE, ("81", "82"),
     [("numeric_error", 1, "row 4, column 2", "reads '82', should be '81'")]),
    ("table", TABLE, ("-5", "5"),
     [("numeric_error", 3, "row 3, column 2", "reads '5', should be '-5'")]),
    ("table", TABLE, ("34%", "34"),
     [("numeric_error", 2, "row 2, column 3", "reads '34', should be '34%'")]),
    ("table", TABLE, ("dog", "hen"),
     [("text_error", 2, "row 3, column 1", "reads 'hen', should be 'dog'")]),
    ("table", TABLE, ("dog", "dogs"),
     [("text_error", 1, "row 3, column 1", "reads 'dogs', should be 'dog'")]),
    ("table", TABLE, ("dog", ""), [("text_error", 2, "row 3, column 1", "empty, should be 'dog'")]),
    ("table", TABLE, ("81", ""),
     [("numeric_error", 3, "row 4, column 2", "empty, should be '81'")]),
    ("table", TABLE, ("<tr><td>dog</td><td>-5</td><td>7.5</td></tr>", ""),
     [("layout_error", 3, "row 3", "missing")]),
    ("table", TABLE, ("<tr><td>dog", "<tr><td>hen</td><td>6</td><td>8</td></tr><tr><td>dog"),
     [("layout_error", 3, "row 3", "extra")]),
    ("table", TABLE, ("<td>-5</td>", ""), [("layout_error", 3, "row 3, column 2", "missing")]),
    ("table", TABLE, ("<td>cat</td><td>12</td>", "<td>12</td><td>cat</td>"),
     [("layout_error", 2, "row 2, column 1", "swapped with row 2, column 2")]),
    ("table", TABLE,
     ("<tr><td>cat</td><td>12</td><td>34%</td></tr><tr><td>dog</td><td>-5</td><td>7.5</td></tr>",
      "<tr><td>dog</td><td>-5</td><td>7.5</td></tr><tr><td>cat</td><td>12</td><td>34%</td></tr>"),
     [("layout_error", 2, "row 2", "swapped with row 3")]),
    ("table", TABLE, ("<td>81</td>", '<td style="text-align:right">81</td>'),
     [("layout_error", 1, "row 4, column 2", "aligned right, should be left")]),
    ("table", TABLE, ("<td>81</td><td>90</td>", '<td colspan="2">81</td>'),
     [("layout_error", 3, "row 4, column 2", "spans 2 columns, should be 1")]),
    ("table", TABLE,
     ("<th>day</th><th>sum</th><th>max</th>", "<td>day</td><td>sum</td><td>max</td>"),
     [("layout_error", 2, "row 1", "no header, should be header")]),
    ("table", TABLE.replace("</table>", "<tr><td>pig</td><td>61</td><td>73</td></tr></table>"),
     ("<tr><td>cat</td><td>12</td><td>34%</td></tr><tr><td>dog</td><td>-5</td><td>7.5</td></tr>"
      "<tr><td>fox</td><td>81</td><td>90</td></tr>", "<tr><td>fox</td><td>81</td><td>90</td></tr>"
      "<tr><td>cat</td><td>12</td><td>34%</td></tr>"),
     [("layout_error", 2, "row 2", "swapped with row 4"), ("layout_error", 3, "row 3", "missing")]),
    ("table", SPANS, ("1,480", "1,408"),
     [("numeric_error", 2, "row 3, column 3", "reads '1,408', should be '1,480'")]),
    ("table", SPANS, ("1,480", "1480"),
     [("numeric_error", 1, "row 3, column 3", "reads '1480', should be '1,480'")]),
    ("table", SPANS, ('<th colspan="2">Sales</th>', "<th>Sales</th><th></th>"),
     [("layout_error", 3, "row 1, column 2", "spans 1 column, should be 2")]),
    ("table", SPANS, ('<th rowspan="2">Region</th>', "<th>Region</th>"),
     [("layout_error", 3, "row 1, column 1", "spans 1 row, should be 2")]),

    ("svg", ICON, (CIRCLE, ""), [("structure_error", 3, "circle top left", "missing")]),
    ("svg", ICON, (RECT, RECT + '<circle cx="20" cy="80" r="9" fill="green"/>'),
     [("structure_error", 3, "circle bottom left", "extra")]),
    ("svg", ICON, ('cx="20"', 'cx="40"'),
     [("shape_error", 3, "circle top left", "moved right by 20%")]),
    ("svg", ICON, ('r="10"', 'r="16"'),
     [("shape_error", 2, "circle top left", "size 32%, should be 20%")]),
    ("svg", ICON, ('height="20"', 'height="24"'),
     [("shape_error", 1, "rect bottom right", "height 24%, should be 20%")]),
    ("svg", ICON, (CIRCLE, '<rect x="10" y="10" width="20" height="20" fill="red"/>'),
     [("shape_error", 3, "circle top left", "type rect, should be circle")]),
    ("svg", ICON, ("blue", "orange"),
     [("style_error", 2, "rect bottom right", "fill orange, should be blue")]),
    ("svg", ICON, ('"blue"', '"blue" opacity="0.4"'),
     [("style_error", 2, "rect bottom right", "opacity 0.4, should be 1")]),
    ("svg", ICON, ('"blue"', '"blue" stroke="black" stroke-width="3"'),
     [("style_error", 2, "rect bottom right", "stroke extra")]),
    ("svg", ICON, (">A<", ">B<"),
     [("text_symbol_error", 2, "text top right", "reads 'B', should be 'A'")]),
    ("svg", ICON, ('font-size="20"', 'font-size="30"'),
     [("shape_error", 1, "text top right", "font size 30%, should be 20%")]),
    ("svg", SVG.format('<polygon points="50,30 70,70 30,70" fill="red"/>'),
     ("50,30 70,70 30,70", "50,70 70,30 30,30"),
     [("shape_error", 3, "polygon centre", "upside down")]),
    ("svg", SVG.format(DISC + BAND), (DISC + BAND, BAND + DISC),
     [("structure_error", 2, "circle centre", "in front of rect centre, should be behind")]),
    ("svg", SVG.format('<line x1="10" y1="50" x2="90" y2="50" stroke="red" stroke-width="4"/>'),
     ('stroke-width="4"', 'stroke-width="4" stroke-dasharray="6"'),
     [("style_error", 1, "line centre", "stroke dashed, should be solid")]),
]

# task, two programs that draw the same picture
EQUAL = [
    ("chart", BARS, BARS.replace('"red"', '"#ff0000"')),
    ("chart", BARS, BARS.replace('"red"', "(1, 0, 0)")),
    ("chart", BARS,
     CHART + 'ax.bar(color="r", height=[3, 7, 5], x=["A", "B", "C"], width=0.8, alpha=1)\n'),
    ("chart", BARS, "import matplotlib.pyplot as plt\nplt.figure(figsize=(4, 3))\n"
                    "plt.subplots_adjust(0.2, 0.2)\n"
                    'plt.bar(["A", "B", "C"], [3, 7, 5], color="red")\n'),
    ("chart", BARS, CHART + 'ax.bar([0, 1, 2], [3, 7, 5], color="red")\nax.set_xticks([0, 1, 2])\n'
                            'ax.set_xticklabels(["A", "B", "C"])\n'),
    ("chart", BARS, BARS.replace("7", "7.002")),
    ("chart", TITLED,
     TITLED.replace('ax.set_title("Sales")', 'ax.set_title("Sales", loc="center")')),
    ("chart", TITLED, TITLED.replace('ax.set_title("Sales")', 'fig.suptitle("Sales")')),
    ("chart", TITLED, BARS + 'ax.set(ylabel="Count", title="Sales")\n'),
    ("chart", LINE, LINE.replace('color="blue", marker="o"', '"-o", color="b", lw=1.5')),
    ("chart", CHART + 'ax.scatter([1, 2], [3, 4], color="red", s=36)',
     CHART + 'ax.plot([1, 2], [3, 4], "o", color="red")'),
    ("chart", CHART + 'ax.scatter([1, 2, 5], [3, 4, 1], color="red")',
     CHART + 'ax.scatter([5, 1, 2], [1, 3, 4], c="red")'),
    ("chart", CHART + "ax.plot([0, 1, 2], [0, 2, 4])", CHART + "ax.plot([0, 2], [0, 4])"),
    # right to left
    ("chart", LINE, LINE.replace("[1, 2, 3, 4], [2, 5, 3, 6]", "[4, 3, 2, 1], [6, 3, 5, 2]")),
    ("chart", LINE + "ax.plot([2, 2], [9, 0])\nax.plot([3, 3], [10, 0])",
     LINE + "ax.plot([2, 2], [0, 9])\nax.plot([3, 3], [0, 10])"),
    ("chart", TWO, TWO.replace("ax.legend()", 'ax.legend(loc="best")')),
    ("chart",
     CHART + "ax.plot([1, 2, 3], [1, 2, 3], 'b')\nax.twinx().plot([1, 2, 3], [9, 5, 1], 'r')\n",
     CHART + "ax.plot([1, 2, 3], [9, 5, 1], 'r')\nb = ax.twinx()\n"
     "b.plot([1, 2, 3], [1, 2, 3], 'b')\nb.yaxis.tick_left()\nax.yaxis.tick_right()\n"),
    ("chart", PIE, PIE.replace("[5, 3, 2]", "[50, 30, 20]")),
    ("chart", BARS, BARS + "ax.set_yscale('linear')\nax.grid(False)\nax.set_xlim(-0.54, 2.54)\n"),
    ("table", TABLE, TABLE.replace("<table>", '<table border="1"><tbody>')
                          .replace("</table>", "</tbody></table>")),
    ("table", TABLE, "| day | sum | max |\n| --- | --- | --- |\n| cat | 12 | 34% |\n"
                     "| dog | -5 | 7.5 |\n| fox | 81 | 90 |"),
    ("table", TABLE, TABLE.replace("<td>81</td>", '<td align="left" colspan="1">\n  81 </td>')),
    ("table", SPANS, SPANS.replace("<table>", "<html><body><table>")
                          .replace("</table>", "</table></body></html>")),
    ("svg", ICON, SVG.format('<circle fill="#f00" r="10" cy="20" cx="20"/>' + RECT + TEXT)),
    ("svg", ICON, SVG.format(
        CIRCLE + '<rect x="60%" y="60%" width="20%" height="20%" style="fill:rgb(0,0,255)"/>'
        + TEXT)),
    ("svg", ICON, SVG.format(
        CIRCLE + '<polygon points="60,60 80,60 80,80 60,80" fill="blue"/>' + TEXT)),
    ("svg", ICON, SVG.format(CIRCLE + '<path d="M60 60h20v20h-20z" fill="blue"/>' + TEXT)),
    ("svg", ICON, SVG.format(
        '<ellipse cx="20" cy="20" rx="10" ry="10" fill="red"/>' + RECT + TEXT)),
    ("svg", ICON, SVG.format(
        '<g transform="translate(10 10)"><circle cx="10" cy="10" r="10" fill="red"/></g>'
        + RECT + TEXT)),
    ("svg", ICON, SVG.format(
        '<g fill="red"><circle cx="20" cy="20" r="10" stroke="none"/></g>' + RECT + TEXT)),
    ("svg", ICON, SVG.format(TEXT + RECT + CIRCLE)),
    ("svg", ICON, SVG.format(
        '<rect width="100" height="100" fill="white"/>' + CIRCLE + RECT + TEXT)),
    ("svg", ICON, SVG.format(
        '<circle cx="70" cy="70" r="5" fill="green"/>' + CIRCLE + RECT + TEXT)),
    ("svg", ICON, ICON.replace("viewBox", 'width="300" height="300" viewBox')),
]


@pytest.fixture(scope="module")
def scene():
    cache = {}

    def of(task, code):
        if (task, code) not in cache:
            cache[task, code] = json.loads(json.dumps(draw(task, code, 300)[1]))
        return cache[task, code]
    return of


@pytest.mark.parametrize("task, code, change, expected", DIFFERENCES,
                         ids=[f"{d[0]}-{k}" for k, d in enumerate(DIFFERENCES)])
def test_a_difference_is_named(scene, task, code, change, expected):
    changed = code.replace(*change, 1)
    assert changed != code
    true, pred = scene(task, code), scene(task, changed)
    found = [(e.category, e.severity, e.location, e.description) for e in compare(true, pred)]
    assert found == expected
    assert 0 < fidelity(true, pred) < 100 or len(true.get("shapes", "12")) == 1


@pytest.mark.parametrize("task, one, other", EQUAL,
                         ids=[f"{e[0]}-{k}" for k, e in enumerate(EQUAL)])
def test_equal_pictures_have_no_errors(scene, task, one, other):
    for a, b in ((one, other), (other, one), (one, one), (other, other)):
        assert compare(scene(task, a), scene(task, b)) == []
        assert fidelity(scene(task, a), scene(task, b)) == 100


def test_same_pixels_no_render_and_wrong_tasks(scene):
    true, pred = scene("chart", BARS), scene("chart", LINE)
    assert compare(true, pred) and compare(true, pred, same_pixels=True) == []
    assert fidelity(true, None) == 0
    with pytest.raises(ValueError, match="cannot compare a chart with a table"):
        compare(true, scene("table", TABLE))


def test_fidelity_worked_number(scene):
    """The number of the docstring: one of three bars is off by a tenth of the y axis (0 to 10)."""
    code = BARS + "ax.set_ylim(0, 10)\n"
    expected = 100 * (0.70 * (1 + 1 + 2 / 3) / 3 + 0.15 + 0.15)
    assert fidelity(scene("chart", code),
                    scene("chart", code.replace("7", "8"))) == pytest.approx(expected, abs=1e-3)
    four = CHART + "ax.bar(range(4), [1, 1, 2, 2])\nax.set_ylim(0, 10)\n"
    assert fidelity(scene("chart", four),
                    scene("chart", four.replace("1, 1", "9, 9"))) == pytest.approx(65, abs=1e-3)


FALLING = [  # from better to worse; the first is the true picture
    ("chart", [BARS.replace("7", v) + "ax.set_ylim(0, 10)\n"
               for v in ("7", "6.5", "6", "5", "4.5")]),
    ("chart", [TITLED, TITLED.replace("Sales", "Sale"), TITLED.replace("Sales", "Profit")
               .replace("red", "blue"), LINE]),
    ("table", [TABLE, TABLE.replace("dog", "dogs"),
               TABLE.replace("dog", "hen").replace("81", "20"), SPANS]),
    ("svg", [ICON] + [ICON.replace('cx="20"', f'cx="{x}"') for x in (22, 25, 30)]
     + [SVG.format(RECT), SVG.format('<circle cx="50" cy="90" r="4" fill="green"/>')]),
]


@pytest.mark.parametrize("task, codes", FALLING)
def test_fidelity_falls(scene, task, codes):
    scores = [fidelity(scene(task, codes[0]), scene(task, code)) for code in codes]
    assert scores[0] == 100 and all(a > b for a, b in zip(scores, scores[1:])), scores
    assert scores[-1] < 25 or task == "chart" and len(codes) == 5, scores


def test_unrelated_pictures_score_low_and_raise_nothing(scene):
    codes = {"chart": [BARS, LINE, TWO, GROUPED, PIE, PANELS],
             "table": [TABLE, SPANS, "<table><tr><td>x</td></tr></table>"],
             "svg": [ICON, SVG.format(RECT), SVG.format(TEXT)]}
    for task, programs in codes.items():
        for one, other in itertools.permutations(programs, 2):
            true, pred = scene(task, one), scene(task, other)
            assert compare(true, pred) and 0 <= fidelity(true, pred) < 60


# --- instruments ---
def test_assign_is_optimal():
    rng = random.Random(0)
    for _ in range(60):
        n = rng.randint(1, 5)
        cost = [[rng.random() for _ in range(n)] for _ in range(n)]
        best = min(sum(cost[i][j] for i, j in enumerate(order))
                   for order in itertools.permutations(range(n)))
        pairs = assign(range(n), range(n), lambda i, j: cost[i][j], gap=10)
        assert sum(cost[i][j] for i, j in pairs) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("a, b, pairs", [
    ("abc", "abc", [(0, 0), (1, 1), (2, 2)]), ("abc", "ac", [(0, 0), (1, None), (2, 1)]),
    ("ac", "abc", [(0, 0), (None, 1), (1, 2)]), ("", "a", [(None, 0)]),
    ("abc", "axc", [(0, 0), (1, 1), (2, 2)]),
])
def test_align(a, b, pairs):
    assert align(a, b, lambda x, y: 0.8 * (x != y)) == pairs


@pytest.mark.parametrize("text, value", [
    ("12", 12), ("-3.5", -3.5), ("\u22123", -3), ("1,234", 1234), ("$1,200", 1200), ("(5)", -5),
    ("12%", 12), ("3.5 kg", 3.5), ("10^{3}", 1000), ("Q1", None), ("cat", None), ("", None)])
def test_as_number(text, value):
    assert as_number(text) == value


def test_words():
    assert [color_name(c) for c in ("#ff0000", "#1f77b4", "#ff69b4", None, "gradient")] == \
        ["red", "blue", "pink", "none", "gradient"]
    assert color_words("#000090", "#000080") == "color lighter navy, should be navy"
    assert should_be("value", 1234.4, 1234.9) == "value 1234, should be 1235"
    assert [number(v) for v in (0.30000001, 5.0, 123456)] == ["0.3", "5", "123000"]


def test_a_comparison_that_raises_is_worth_0_and_is_counted(caplog):
    scene = draw("svg", ICON, 96)[1]
    broken = scene | {"digest": "", "shapes": None}
    comparing.failures.clear()
    assert [fidelity_or_zero(scene, scene), fidelity_or_zero(scene, None)] == [100, 0] \
        and not comparing.failures
    assert [fidelity_or_zero(scene, broken) for _ in range(2)] == [0, 0]
    assert list(comparing.failures.values()) == [2] \
        and "TypeError in data.compare.svg" in next(iter(comparing.failures))
    assert "worth 0 (2 so far)" in caplog.text


# --- Spaces, texts of the figure, many of one sort: (program, old, new, what is said) ---
SPACE = ("ax = plt.figure().add_subplot(projection='3d')\nax.plot([1, 2], [1, 2], [1, 2], lw=3)\n"
         "ax.set_zlabel('Depth')\nax.set_zlim(0, 5)\n")
WORDS = "fig, ax = plt.subplots()\nax.plot([1, 2])\nfig.text(.5, .95, 'words', family='serif')\n"
SECOND = ("fig, ax = plt.subplots()\nax.plot([1, 2])\ns = ax.secondary_yaxis('right')\n"
          "s.set_ylabel('Heat')\n")
MANY_TITLES = ("fig, axes = plt.subplots(2, 3)\nfor a in axes.flat:\n    a.plot([1, 2])\n"
               "    a.set_title('Tag')\n")
SAID = [
    (SPACE, "Depth", "Deep", "z-axis label: reads 'Deep', should be 'Depth'"),
    (SPACE, "(0, 5)", "(0, 6)", "z axis: range 0 to 6, should be 0 to 5"),
    (SPACE, "lw=3", "lw=3, alpha=.4", "plot: opacity 0.4, should be 1"),
    (WORDS, ", family='serif'", "", "annotation 'words': font sans-serif normal normal, should be "
                                    "serif normal normal"),
    (WORDS, "(.5", "(.1", "annotation 'words': in another place"),
    (SECOND, "s.set_ylabel('Heat')", "", "subplot 2: y-axis label: missing"),
    (MANY_TITLES, "Tag", "Teg", "subplot 1: title and 5 more: reads 'Teg', should be 'Tag'"),
]


@pytest.mark.parametrize("code, old, new, said", SAID)
def test_what_is_said_of_charts(code, old, new, said):
    start = "import matplotlib.pyplot as plt\n"
    (_, true), (_, pred) = (draw("chart", start + program, 300)
                            for program in (code, code.replace(old, new)))
    errors = compare(true, pred)
    assert [f"{error.location}: {error.description}" for error in errors] == [said]
