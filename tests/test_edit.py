"""damage: edits of known kind are named by compare, apply to foreign programs, and keep the style
of a program.
"""
import ast
import random

import pytest

from data import edit, worlds
from data.edit import KINDS, LEVEL_1, damage
from data.experiments import labels

BARS = 'ax.bar(["A", "B", "C"], [3, 7, 5], color="red")\n'
TABLE = "<table>\n<tr><th>day</th><th>sum</th></tr>\n<tr><td>cat</td><td>12%</td></tr>\n</table>"
MARKDOWN = "Prices\n\n| a | b |\n| :-- | --: |\n| x | 1 |\n| y | 2 |"
ICON = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">\n'
        '<circle cx="12" cy="12" r="6" fill="red"/>\n</svg>')


@pytest.mark.parametrize("task", KINDS)
def test_edits_are_named_by_the_labels(task):
    """A sample of tests/labels.py, which does this 300 times a task and more."""
    seen, right, misses = labels.measure(task, 45, seed=11)
    assert right >= 0.99 * seen and seen >= 44, [miss[:3] for miss in misses]


@pytest.mark.parametrize("task, code, kinds, expected", [
    ("chart", BARS, ["color"], r'ax.bar(["A", "B", "C"], [3, 7, 5], color="orange")' + "\n"),
    ("chart", BARS, ["drop_value"], 'ax.bar(["A", "C"], [3, 5], color="red")\n'),
    ("chart", BARS, ["swap_categories"], 'ax.bar(["A", "C", "B"], [3, 5, 7], color="red")\n'),
    ("chart", BARS, ["grid"], BARS.rstrip() + "\nax.grid(True)\n"),
    ("table", TABLE, ["sign"], TABLE.replace("12%", "-12%")),
    ("table", TABLE, ["unit"], TABLE.replace("%", "")),
    ("table", TABLE, ["remove_row"], TABLE.replace("<tr><td>cat</td><td>12%</td></tr>\n", "")),
    ("table", TABLE, ["header"], TABLE.replace("th>", "td>")),
    ("table", MARKDOWN, ["swap_columns"],
     "Prices\n\n| b | a |\n| --: | :-- |\n| 1 | x |\n| 2 | y |"),
    ("svg", ICON, ["recolor"], ICON.replace("red", "brown")),
    ("svg", ICON, ["opacity"], ICON.replace('fill="red"', 'fill="red" opacity="0.4"')),
])
def test_only_what_is_meant_changes(task, code, kinds, expected):
    found = {damage(task, code, random.Random(seed), kinds)[0] for seed in range(40)}
    assert expected in found
    assert (damage(task, code, random.Random(3), kinds)
            == damage(task, code, random.Random(3), kinds))
    assert damage(task, code, random.Random(3), kinds)[1] == kinds


@pytest.mark.parametrize("task", KINDS)
def test_every_kind_applies_somewhere(task):
    applied = {kind for kind in KINDS[task]
               for code in labels.PROGRAMS[task].values() for seed in range(4)
               if edit.EDITORS[task](code, kind, random.Random(seed))}
    assert applied == set(KINDS[task])


@pytest.mark.parametrize("task", KINDS)
def test_level_1_programs_stay_in_their_style(task):
    for seed in range(150):
        rng = random.Random(seed)
        code, kinds = damage(task, worlds.draw(task, 1, rng), rng, LEVEL_1[task],
                             n=rng.randint(1, 3))
        assert (1 <= len(kinds) == len(set(kinds)) <= 3 and "\n\n" not in code
                and code == code.strip())
        if task == "chart":
            ast.parse(code)
            assert "'" not in code and all(line.startswith(("import", "fig", "ax."))
                                           for line in code.splitlines())
        else:
            assert all(line.startswith("<") and line.endswith(">") for line in code.splitlines())


@pytest.mark.parametrize("task, code, kinds, message", [
    ("chart", "x = 1", None, "none of the edits"),
    ("chart", "this is no Python", None, "none of the edits"),
    ("chart", BARS, ["remove_legend"], "none of the edits remove_legend applies"),
    ("chart", BARS, ["paint"], "no edit 'paint' for chart"),
    ("table", "no table", None, "none of the edits"),
    ("table", "", None, "none of the edits"), ("svg", "<svg", None, "none of the edits"),
    ("svg", "<html/>", None, "none of the edits"), ("plot", "", None, "cannot edit task 'plot'"),
])
def test_what_cannot_be_damaged_is_a_sentence(task, code, kinds, message):
    with pytest.raises(ValueError, match=message):
        damage(task, code, random.Random(0), kinds)
