"""data.worlds.style: other words for the same picture, and corruptions that change it."""
import random

import pytest

from data import edit, worlds
from data.build import SIZES
from data.compare import compare, fidelity
from data.metrics import text_similarity
from data.pairs import Picture, read_pairs
from data.samples import CORRUPTION_RATE, noisy_sample
from data.worlds.level1 import CHART_HEAD
from data.worlds.style import CodeStyle, corrupt
from render import render_many

HEAD, BAR = CHART_HEAD, 'ax.bar(["A"], [2], color="red")\n'


def style(order=list, spaces=False, sections=""):
    """A style with the choices given instead of drawn ones."""
    made = CodeStyle(random.Random(0))
    made.order, made.spaces, made.sections = order, spaces, sections
    return made


def backwards(names):
    return [*names][::-1]


@pytest.mark.parametrize("choices, task, code, written", [
    (dict(), "svg", '<circle cx="9" cy="8" fill="red"/>', '<circle cx="9" cy="8" fill="red"/>'),
    (dict(order=sorted), "svg", '<rect x="1" fill="red"/>', '<rect fill="red" x="1"/>'),
    (dict(order=backwards, spaces=True), "svg", '<circle cx="9" cy="8"/>',
     '<circle cy="8" cx="9" />'),
    (dict(order=sorted), "svg", '<svg xmlns="u" viewBox="0 0 64 64">\n</svg>',
     '<svg xmlns="u" viewBox="0 0 64 64">\n</svg>'),
    (dict(order=sorted), "svg", "<circle r='3' fill='red'", "<circle r='3' fill='red'"),
    (dict(sections="tbody"), "table", "<table>\n<tr><td>7</td></tr>\n</table>",
     "<table>\n<tbody>\n<tr><td>7</td></tr>\n</tbody>\n</table>"),
    (dict(sections="thead"), "table", "<table>\n<tr><th>a</th></tr>\n<tr><td>7</td></tr>\n</table>",
     "<table>\n<thead>\n<tr><th>a</th></tr>\n</thead>\n"
     "<tbody>\n<tr><td>7</td></tr>\n</tbody>\n</table>"),
    (dict(sections="thead"), "table", '<table>\n<tr class="x"><td>7</td></tr>\n</table>',
     '<table>\n<tr class="x"><td>7</td></tr>\n</table>'),
    (dict(order=backwards), "chart", HEAD + 'ax.plot(["A", "B"], [2, 4], color="red", marker="o")',
     HEAD + 'ax.plot(["A","B"],[2,4],marker="o",color="red")'),
    (dict(order=sorted, spaces=True), "chart",
     HEAD + BAR + 'ax.set_ylim(0, 10)\nax.set_title("Sales")\nax.grid(True)',
     HEAD + BAR + 'ax.grid(True)\nax.set_title("Sales")\nax.set_ylim(0, 10)'),
    (dict(order=backwards), "chart", "ax.bar(", "ax.bar("),
    (dict(), "chart", 'plt.title("Men\'s and Women\'s")', 'plt.title("Men\'s and Women\'s")'),
    (dict(), "chart", "plt.title('of a\\nBase', fontsize=14, color='red')",
     "plt.title('of a\\nBase', fontsize=14, color='red')"),
    (dict(), "chart", 'plt.xlabel("a, b", color="red")', "plt.xlabel('a, b', color='red')"),
    (dict(), "chart", "x = 0; plt.plot(x, 1)", "x = 0; plt.plot(x, 1)"),
])
def test_a_style_writes(choices, task, code, written):
    assert style(**choices).write(task, code) == written


@pytest.mark.parametrize("level", (1, 2, 3))
@pytest.mark.parametrize("task", worlds.TASKS)
def test_every_style_draws_the_same_picture(task, level):
    rng = random.Random(level)
    programs = [worlds.draw(task, level, rng) for _ in range(24 if level == 1 else 3)]
    if level == 1:
        programs += [edit.damage(task, code, rng, edit.LEVEL_1[task], 2)[0] for code in programs]
    written = [CodeStyle(rng).write(task, code) for code in programs]
    made = render_many([(task, code) for code in programs + written], size=SIZES[level])
    same = [a.image.tobytes() == b.image.tobytes() for a, b in zip(made, made[len(programs):])]
    assert same == [True] * len(programs)
    if (task, level) not in (("table", 2), ("table", 3)):  # they have sections of their own
        assert sum(a != b for a, b in zip(programs, written)) >= len(programs) / 3


@pytest.mark.parametrize("task, code, share, written", [
    ("svg", '<rect fill="red"/><rect fill="green"/>', 1,
     '<rect fill="orange"/><rect fill="green"/>'),
    ("svg", '<rect fill="red"/>', 0, '<rect fill="red"/>'),
    ("table", "<td>-8%</td><td>12</td>", 1, "<td>3</td><td>12</td>"),
    ("chart",
     'ax.bar(["A"], [8], color="blue")\nax.set_title("Sales")\nax.grid(True)\nax.set_ylim(0, 10)',
     1, 'ax.bar(["A"], [6], color="purple")\nax.set_ylim(0, 10)'),
    ("chart", 'ax.plot([1], [2], linestyle="--", marker="^")', 1,
     'ax.plot([1], [2], linestyle="-", marker="o")'),
])
def test_corruptions(task, code, share, written):
    assert corrupt(task, code, random.Random(0), share) == written


@pytest.mark.parametrize("task", worlds.TASKS)
def test_corruptions_are_seen_by_the_comparison_and_hardly_by_the_text(task):
    """What makes rewards differ: a wrong detail changes less of the text than another style."""
    rng = random.Random(0)
    true = [worlds.draw(task, 1, rng) for _ in range(40)]
    spoilt = [corrupt(task, code, rng) for code in true]
    other = [CodeStyle(rng).write(task, code) for code in true]
    changed = [i for i in range(40) if spoilt[i] != true[i]]
    made = render_many([(task, code) for code in true + spoilt], size=SIZES[1])
    scenes = [drawn.scene for drawn in made]
    assert len(changed) > 15
    for i in changed:
        assert compare(scenes[i], scenes[40 + i]) and fidelity(scenes[i], scenes[40 + i]) < 100
    by_corruption = sum(1 - text_similarity(a, b) for a, b in zip(true, spoilt))
    by_style = sum(1 - text_similarity(a, b) for a, b in zip(true, other))
    assert by_corruption < (1 if task == "svg" else 2) * by_style


def answers(task, own, other, n=300, **of_other):
    """What `n` noisy samples with the seeds 0, 1, ... say; the codes are texts no style changes."""
    (pair, *_) = read_pairs("data/examples")
    picture = Picture(pair.reference.path, own)
    beside = Picture(pair.rendering.path, other, **of_other)
    return [noisy_sample(task, picture, beside, seed)[1] for seed in range(n)]


@pytest.mark.parametrize("side", ("reference", "rendering"))
def test_noisy_programs_are_many_and_fixed_by_their_seed(side):
    pair = next(pair for pair in read_pairs("data/examples") if pair.truth.errors)
    picture, other = pair.reference, pair.rendering
    if side == "rendering":
        picture, other = other, picture
    codes = [noisy_sample(pair.task, picture, other, seed)[1] for seed in range(100)]
    assert codes == [noisy_sample(pair.task, picture, other, seed)[1] for seed in range(100)]
    assert len(set(codes)) > 5


def test_as_many_noisy_programs_as_stated_draw_something_else():
    codes = answers("svg", "its own", "its neighbour's")
    assert set(codes) == {"its own", "its neighbour's"}
    assert abs(codes.count("its neighbour's") / 300 - CORRUPTION_RATE) < 0.1


def test_a_policys_draft_is_nobodys_noisy_program():
    assert set(answers("svg", "its own", "a draft", is_policy_output=True)) == {"its own"}
