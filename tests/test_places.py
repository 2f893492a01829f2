"""data.compare.places: the boxes of an error in both pictures, in fractions from the upper left."""
import pytest

from data.compare import compare
from data.compare.places import boxes_of
from data.renderers import draw

CHART = ("import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(4, 4))\n"
         "fig.subplots_adjust(left=0.2, bottom=0.2, right=0.8, top=0.8)\n")
BARS = CHART + "ax.bar(['A', 'B'], [4, 8], width=1)\nax.set_xlim(-.5, 1.5)\nax.set_ylim(0, 10)\n"
POINT = CHART + "ax.scatter([5], [5])\nax.set_xlim(0, 10)\nax.set_ylim(0, 10)\n"
PIE = CHART + "ax.pie([1, 1], labels=['X', 'Y'], colors=['red', 'blue'])\n"
ICON = ('<svg viewBox="0 0 100 100"><rect x="10" y="10" width="20" height="20" fill="red"/>'
        '<circle cx="70" cy="70" r="10"/></svg>')
TABLE = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>"
CASES = [  # task, program, old, new, box in the true picture, box in the other; None: not looked at
    ("chart", BARS, "[4, 8]", "[4, 2]", (.5, .32, .8, .8), (.5, .68, .8, .8)),
    ("chart", BARS, "['A', 'B'], [4, 8]", "['A'], [4]", (.5, .32, .8, .8), (.5, .32, .8, .8)),
    ("chart", BARS, "0.2, bottom=0.2, right=0.8, top=0.8)\nax.bar(['A', 'B'], [4, 8]",
     "0.3, bottom=0.2, right=0.9, top=0.8)\nax.bar(['A', 'B'], [4, 2]", (.5, .32, .8, .8),
     (.6, .68, .9, .8)),
    ("chart", POINT, "'", "'", None, None),
    ("chart", POINT, "[5], [5]", "[5], [5], marker='s'", (.2, .2, .8, .8), (.2, .2, .8, .8)),
    ("chart", PIE, "'red'", "'green'", (.26, .26, .74, .5), (.26, .26, .74, .5)),
    ("svg", ICON, "red", "blue", (.1, .1, .3, .3), (.1, .1, .3, .3)),
    ("svg", ICON, '<circle cx="70" cy="70" r="10"/>', "", (.6, .6, .8, .8), (.6, .6, .8, .8)),
    ("table", TABLE, ">d<", ">x<", (.5, .5, .95, .94), (.5, .5, .95, .94)),
]


@pytest.mark.parametrize("task, code, old, new, true_box, pred_box", CASES)
def test_boxes(task, code, old, new, true_box, pred_box):
    (_, true), (_, pred) = draw(task, code, 200), draw(task, code.replace(old, new), 200)
    errors = compare(true, pred)
    assert len(errors) == (true_box is not None)
    for error in errors:
        for boxes, expected in zip(boxes_of(error, true, pred), (true_box, pred_box)):
            assert len(boxes) == 1
            assert boxes[0] == pytest.approx(expected, abs=0.06)


def test_words_that_name_no_place_stand_for_the_whole_picture():
    _, scene = draw("svg", ICON, 100)
    error = compare(scene, draw("svg", ICON.replace("red", "blue"), 100)[1])[0]
    for location in ("", "somewhere", "drawing"):
        lost = type(error)(error.category, 1, location, "")
        assert boxes_of(lost, scene, scene) == ([(0, 0, 1, 1)], [(0, 0, 1, 1)])
