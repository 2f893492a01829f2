"""Exact labels: two scenes in, their visible discrepancies out, and a fidelity score from 0 to 100.

Nobody asserts these labels, they are measured. So an edit needs no label, two edits cannot
contradict each other, and what a model gets wrong by itself is labelled as exactly as what was
damaged on purpose. Rules:

1. Causes, not consequences. A bar that changed is one data_error; ticks and automatic limits that
   follow are none.
2. Only what can be seen counts: below the first threshold of the table there is no difference.
3. Two programs that draw the same picture have no errors, however they are written.
4. Where the chart type differs the values are still compared: a bar chart drawn as a line is one
   structure_error.
5. More than four wrong marks of one series are one error ("5 of 8 values wrong"), and so is what
   is said in the same words of more than four series, texts or subplots.

| task | what | category | 1 | 2 | 3 |
| --- | --- | --- | --- | --- | --- |
| chart | type, number of subplots | structure | | | always |
| | places of subplots | structure | | always | |
| | value or position, of the axis' span | data | > 0.5 % | > 10 % | > 30 % |
| | share of a slice, of the circle | data | > 0.5 % | > 10 % | > 30 % |
| | mark or series missing, extra | data | | | always |
| | swapped categories | data | | always | |
| | limits, of the span | data | > 2 % | > 10 % | > 50 %, reversed |
| | scale (log, linear) | data | | always | |
| | a text missing, extra | text | | always | |
| | a text that reads otherwise | text | similarity >= 0.6 | else | |
| | colour, CIE Lab distance | style | > 4 | > 25 | |
| | opacity | style | > 0.05 | > 0.4 | |
| | line width, marker size, bar width, relative | style | > 15 % | > 150 % | |
| | line style, marker, pattern, grid, frame | style | always | | |
| | dashes, of the width | style | > 25 % | | |
| | edges, fills of markers, arrows, boxes: as colours and widths above | style | | | |
| | font (family, weight, slant) | style | always | | |
| | font size, relative; turn of a text | style | > 15 %; > 5 deg | > 150 % | |
| | place of a title or label, of the axes' side | style | > 25 % | | |
| | place of a legend, of the axes' side; its columns | style | > 20 %; always | | |
| | side of tick labels, tick marks, place of the frame | style | always | | |
| | length of tick marks, relative | style | > 160 % | | |
| | cut of a pie: start, of the circle | data | > 0.5 % | > 10 % | |
| | direction of a pie; its hole | data; style | | always | |
| | error bars, fliers, of the span | data | > 0.5 % | always | |
| | view of a space, turn of a polar chart | style | | > 2 deg | |
| | width to height of the axes (of an image) | structure | > 30 % (10 %) | > 100 % | |
| | width to height of the figure | style | > 15 % | | |
| | gaps between subplots, of all of them | structure | > 3 % | | |
| | margins of a figure | style | > 10 % | | |
| | what is painted by nothing that has a name | structure | | always | |
| | pixels that no error explains, of the picture | data, style | > 0.04 % | | |
| table | row, column, cell missing or extra; span | layout | | | always |
| | rows, columns, cells swapped or moved; header | layout | | always | |
| | alignment, bold, slant, typeface, lines at letters, colours (> 4 Lab) | layout | always | | |
| | border missing, extra, of another style; > 1 px wider, > 15 Lab | layout | always | | |
| | letters > 10 % larger, > 8 % wider spaced | layout | always | | |
| | padding > 4 px, indent > 6 px | layout | always | | |
| | row > 6 px and 15 % higher than its text needs | layout | always | | |
| | column > 10 px and 15 % wider than its text needs | layout | always | | |
| | lines of a cell, caption's place, gaps between cells > 2 px | layout | always | | |
| | text around tables moved > 15 px across, > 20 px down | layout | always | | |
| | lines, painted areas around tables | layout | always | | |
| | image missing or extra | layout | | always | |
| | text on the other side of a table; tables swapped | layout | | always | |
| | word | text | similarity >= 0.6 | else, empty | |
| | number, relative | numeric | other writing, < 2 % | < 10 %, unit | else, sign, empty |
| svg | shape missing, extra | structure | | | always |
| | painting order, proportions of the canvas | structure | | always | |
| | place, size, outline, of the canvas' side | shape | > 0.8 % | > 5 % | > 15 %, other type |
| | fill, stroke; widths; opacity; dash | style | as for charts | | |
| | gradient, at 7 x 7 places of its shape | style | colour as above | | |
| | dash lengths, relative; dash offset | style | > 15 %; > 0.8 % | | |
| | caps, joins, miter limit, order of fill and stroke | style | always | other look | |
| | font, weight, slant, lines; pattern, image | style | always | other look | |
| | fill rule; letters' places, of the canvas' side | shape | always; > 0.8 % | | |
| | clip path, mask: what it lets through | shape | | > 2 % | |
| | parts of a path missing, extra | shape | | always | > 30 % |
| | two shapes, fills or texts that took each other's place | as their kind | | always | |
| | drawing moved or scaled as a whole, of the canvas' side | shape | > 3 % | > 5 % | > 15 % |
| | a full difference without an error, of the canvas | shape, structure | > 0.013 % | > 0.5 % | |
| | text | text_symbol | similarity >= 0.6 | else, missing | |

In SVG a property of these rows that need not show (caps, fonts, masks) is an error only where the
small pictures of the scenes differ, and nothing is said of a place in which they are equal. What is
equal there differs by at most 1.5 of 255 in each of 128 x 128 cells (4 between two sizes); the
guard counts cells that differ by over 16, also from their neighbours within 0.8 %.

Charts that are equivalent have no error: margins, font sizes, the place of a legend and the size of
a figure within the thresholds; edges and lines that lie up to a pixel of the small picture of a
scene beside where they should (another way of drawing the same, antialiasing); a series that is
missing or extra where the pictures look the same. The last row of the charts is the guard
(`data/compare/guard.py`): a pixel counts if one of its colours is off by more than 12 of 255, and
where few do, if no pixel around it in the other picture comes within 24.

Fidelity is read from the same book (`data/compare/ledger.py`): every visible element of either
picture is an entry with a weight and a credit between 0 and 1, in groups with fixed shares:

    fidelity = 100 * sum_g share_g * (sum weight * credit / sum weight)_g / sum_g share_g

chart: data (the marks and their values) 70, axes (limits and all texts) 15, style 15; table: layout
30, content 70; svg: one group. A value that is off by a tenth of the axis keeps 1 - 0.1/0.3 = 2/3
of its credit; elements that are missing or extra have none; under the wrong chart type values are
worth half. A chart of 3 bars of which one is off by a tenth of the axis has
100 * (0.70 * (1 + 1 + 2/3) / 3 + 0.15 + 0.15) = 92.2. With half of its bars wholly wrong and all
else right a chart has 65. Fidelity is 100 if and only if there is no error.
"""
import collections
import logging

from data.compare.chart import examine_chart
from data.compare.ledger import Ledger
from data.compare.svg import examine_svg
from data.compare.table import examine_table
from data.verdict import Discrepancy, Verdict

EXAMINE = {"chart": examine_chart, "table": examine_table, "svg": examine_svg}


def compare(scene_true: dict, scene_pred: dict, *,
            same_pixels: bool = False) -> list[Discrepancy]:
    """What is visibly wrong in the second scene, in category order, then in reading order.

    `same_pixels`: the pictures are known to be equal, so there is no error. Raises ValueError for
    two tasks.
    """
    return [] if same_pixels else _examine(scene_true, scene_pred).discrepancies()


def fidelity(scene_true: dict, scene_pred: dict | None) -> float:
    """How much of the picture is right, 0 to 100; 0 for None: the code did not render."""
    return 0.0 if scene_pred is None else _examine(scene_true, scene_pred).score()


failures = collections.Counter()  # comparisons that raised in this process, by exception and place


def fidelity_or_zero(scene_true: dict, scene_pred: dict | None) -> float:
    """`fidelity` for a reward: a comparison that raises is worth 0, counted in `failures`, logged.

    The second scene comes from a program that may have been written to break the comparison. It
    must not end a training run.
    """
    return _or_counted(fidelity, scene_true, scene_pred) or 0.0


def errors_or_none(scene_true: dict, scene_pred: dict) -> list[Discrepancy] | None:
    """`compare`, or None, counted and logged as above, where it raises."""
    return _or_counted(compare, scene_true, scene_pred)


def exact_verdict(task: str, scene_true: dict, scene_pred: dict) -> Verdict:
    """What a perfect judge would say; unreadable where the comparison raises."""
    errors = errors_or_none(scene_true, scene_pred)
    return Verdict(task, errors or [], errors is not None)


def _or_counted(measure, scene_true, scene_pred):
    try:
        return measure(scene_true, scene_pred)
    except Exception as error:
        last = error.__traceback__
        while last.tb_next:
            last = last.tb_next
        place = f"{last.tb_frame.f_globals.get('__name__')}:{last.tb_lineno}"
        failures[f"{type(error).__name__} in {place}"] += 1
        logging.getLogger(__name__).warning(
            "A comparison failed and is worth 0 (%d so far): %s in %s: %.200s",
            failures.total(), type(error).__name__, place, error)
        return None


def _examine(true, pred):
    if true["task"] != pred["task"] or true["task"] not in EXAMINE:
        raise ValueError(f"cannot compare a {true['task']} with a {pred['task']}")
    ledger = Ledger(true["task"])
    EXAMINE[true["task"]](true, pred, ledger)
    return ledger
