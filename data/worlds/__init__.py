"""Random charts (Matplotlib), tables (HTML, Markdown) and drawings (SVG), at three levels.

Level 1 is for the tiny models (128x128 pixels); levels 2 and 3 are for models that were trained on
the internet. Two rules make a world learnable from scratch:

1. Parts are written in the order in which the eye meets them (left to right, top to bottom); with a
   random order no reader can know which of two equal programs is wanted, and the loss never reaches
   zero.
2. One picture has one program: the values of a pie always sum to 10, colours are named, keyword
   arguments have one order. A reader is then either right or wrong, and exact copies can be
   counted.

Levels 2 and 3 keep them where a person would: subplots, rows and icons come in reading order
(shapes of one icon from back to front), arguments and setters have one order, a palette is written
in one way. Words, units and ranges of a plot or table come from one theme. Level 3 has more of
everything at once. All data is written out in the programs.

    >>> import random
    >>> print(draw("svg", 1, random.Random(1)))  # doctest: +SKIP
"""
import hashlib
import random
from functools import partial

from data.worlds.charts import draw_chart
from data.worlds.icons import draw_svg
from data.worlds.level1 import TASKS, chart_level1, svg_level1, table_level1
from data.worlds.tables import draw_table

HELD_OUT = 8  # of 256 programs


def is_held_out(code: str) -> bool:
    """Whether a program is for tests only: its hash decides, so it is in no training set."""
    return hashlib.sha256(code.encode()).digest()[0] < HELD_OUT


def draw(task: str, level: int, rng: random.Random, held_out: bool | None = None) -> str:
    """Source code of one random program of `task` at `level` 1, 2 or 3, drawn with `rng`.

    `held_out`: only programs that are held out, or only such that are not. Raises ValueError for an
    unknown task or level.
    """
    if (task, level) not in WORLDS:
        raise ValueError(f"no world for task {task!r} at level {level!r}: "
                         f"tasks {', '.join(TASKS)}, levels 1, 2, 3")
    while True:
        code = WORLDS[task, level](rng)
        if held_out in (None, is_held_out(code)):
            return code


WORLDS = {
    ("chart", 1): chart_level1, ("chart", 2): partial(draw_chart, 2),
    ("chart", 3): partial(draw_chart, 3),
    ("table", 1): table_level1, ("table", 2): partial(draw_table, 2),
    ("table", 3): partial(draw_table, 3),
    ("svg", 1): svg_level1, ("svg", 2): partial(draw_svg, 2),
    ("svg", 3): partial(draw_svg, 3),
}
