"""data.worlds: every program renders, no two look alike, the same seed draws the same program in
any process.
"""
import hashlib
import random

import pytest

from conftest import script
from data import worlds
from data.compare import compare
from data.worlds.drawing import DrawingStyle
from render import render, render_many

LEVELS = [(task, level) for task in worlds.TASKS for level in (1, 2, 3)]
LEVEL_1 = "8098f484ede442c6"  # of what level 1 draws: trained models know no other world
SEEN = {  # what must turn up among 300 programs of both higher levels
    "chart": ("plt.bar(", "ax.bar(", "barh(", "bottom=", "np.arange", "bar_label(", "yerr=",
              "twinx(", "linestyle='--'", "marker=", ".step(", ".stem(", ".errorbar(",
              ".stackplot(", "fill_between(", "annotate(", "axhline(", "set_yscale('log')",
              "set_xscale('log')", "datetime64", "scatter(", "s=[", "cmap=", "colorbar(", ".hist(",
              "boxplot(", "imshow(", ".text(", "pie(", "autopct=", "wedgeprops=", "explode=",
              "legend(", "grid(", "spines[", "subplots(1, 2", "subplots(2, 1", "subplots(2, 2",
              "suptitle(", "set_xticks(", "set_ylim(", "color='#", "color='steelblue'",
              "style.use(", "(mm)", "rotation="),
    "table": ("rowspan=", "colspan=", "<caption>", "text-align: right", "<b>Total</b>", "n/a", "%",
              " ± ", "$", "<td>+", "<td>-", "*</td>", "<p>* ", "| ---: |", "**Total**"),
    "svg": ("translate(", "scale(", "rotate(", "<path", "<polygon", "<ellipse", "<line ", "<text",
            "linearGradient", "stroke-dasharray", "opacity", "stroke=", " A1", " Q", " C",
            'viewBox="0 0 24 24"', "url(#sky)"),
}


def programs(task, level, n):
    return [worlds.draw(task, level, random.Random(seed)) for seed in range(n)]


def digest(texts):
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]


def test_level_1_draws_what_it_always_drew():
    assert digest(text for task in worlds.TASKS for text in programs(task, 1, 100)) == LEVEL_1


@pytest.mark.parametrize("task, level", LEVELS)
def test_programs_render_and_differ(task, level):
    texts = programs(task, level, 8 if task == "chart" else 15)  # a chart takes up to 0.4 s
    pictures = [render(task, text, size=512, timeout=60) for text in texts]
    assert (len(set(texts)) == len({(p.image.size, p.image.tobytes()) for p in pictures})
            == len(texts))
    assert all(max(picture.image.size) <= 512 for picture in pictures)


def test_the_same_seed_draws_the_same_program_in_another_process():
    program = ("import hashlib, random; from data.worlds import TASKS, draw; "
               "texts = [draw(t, l, random.Random(s)) "
               "for t in TASKS for l in (1, 2, 3) for s in range(40)]; "
               "print(hashlib.sha256(''.join(texts).encode()).hexdigest()[:16])")
    done = script("-c", program)
    expected = digest(text for pair in LEVELS for text in programs(*pair, 40))
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("task", SEEN)
def test_the_higher_levels_are_rich(task):
    texts = "\n".join(programs(task, 2, 300) + programs(task, 3, 300))
    assert [word for word in SEEN[task] if word not in texts] == []


@pytest.mark.parametrize("task", worlds.TASKS)
def test_levels_grow(task):
    sizes = [sum(map(len, programs(task, level, 100))) for level in (1, 2, 3)]
    assert sizes[0] * 1.5 < sizes[1] and sizes[1] * 1.2 < sizes[2]


def test_data_is_written_out():
    assert not [text for level in (2, 3) for text in programs("chart", level, 200)
                if "random" in text]


def test_markdown_is_for_level_2_only():
    shares = [sum("<table>" not in text for text in programs("table", level, 200)) / 200
              for level in (1, 2, 3)]
    assert shares[0] == shares[2] == 0 and 0.2 < shares[1] < 0.4


@pytest.mark.parametrize("task, level", [("chart", 4), ("poem", 1), ("svg", "2")])
def test_unknown_worlds(task, level):
    with pytest.raises(ValueError, match="no world for task"):
        worlds.draw(task, level, random.Random(0))


@pytest.mark.parametrize("task", worlds.TASKS)
def test_a_program_in_two_styles_of_drawing_has_no_error(task):
    """Other pixels, the same picture to a reader; data/experiments/equivalence.py counts more."""
    rng = random.Random(task)
    codes = [worlds.draw(task, 1, rng) for _ in range(12)]
    jobs = [(task, DrawingStyle(rng).draw(task, code)) for code in codes for _ in range(2)]
    drawn = render_many(jobs, size=(128, 128))
    for code, true, pred in zip(codes, drawn[::2], drawn[1::2]):
        assert compare(true.scene, pred.scene) == [], code
        assert true.image.tobytes() != pred.image.tobytes(), code


@pytest.mark.parametrize("task, code, kept", [
    ("chart", "# a remark\nimport numpy\nplt.plot([1, 2])", "# a remark\nimport matplotlib\n"),
    ("svg", '<svg width="9"><circle r="3"/></svg>', '<svg width="9"><circle r="3"/></svg>'),
    ("svg", '<svg viewBox="0 0 9 9">\n<rect width="9" height="9" fill="red"/>\n</svg>',
     '<rect width="9" height="9" fill="red"/><g transform='),
    ("table", "| a |\n| - |\n| 1 |", "</style>\n| a |\n"),
])
def test_what_a_style_of_drawing_leaves_alone(task, code, kept):
    assert kept in DrawingStyle(random.Random(3)).draw(task, code)


@pytest.mark.parametrize("task", worlds.TASKS)
def test_held_out_programs_are_in_no_training_set(task):
    """One program in 32 is held out; a draw gives one side only."""
    rng = random.Random(task)
    for held_out in (False, True):
        codes = [worlds.draw(task, 1, rng, held_out) for _ in range(40)]
        assert {worlds.is_held_out(code) for code in codes} == {held_out}
    share = sum(worlds.is_held_out(worlds.draw(task, 1, rng)) for _ in range(4000)) / 4000
    assert 0.02 < share < 0.045
