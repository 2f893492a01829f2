"""data.worlds.style: other words for the same picture, and bad habits that change it."""
import random

import pytest

from data import edit, samples, worlds
from data.samples import SLOPPY, finding
from data.build import SIZES
from data.compare import compare, fidelity
from data.worlds.level1 import CHART_HEAD
from data.worlds.style import Hand, habits
from render import render_many
from data.metrics import text_similarity
from data.pairs import read_pairs

HEAD = CHART_HEAD


def hand(order=list, spaces=False, sections=""):
    """A hand with the choices given instead of drawn ones."""
    made = Hand(random.Random(0))
    made.order, made.spaces, made.sections = order, spaces, sections
    return made


def backwards(names):
    return [*names][::-1]


@pytest.mark.parametrize("choices, task, code, written", [
    (dict(), "svg", '<circle cx="9" cy="8" fill="red"/>', '<circle cx="9" cy="8" fill="red"/>'),
    (dict(order=sorted), "svg", '<rect x="1" fill="red"/>', '<rect fill="red" x="1"/>'),
    (dict(order=backwards, spaces=True), "svg", '<circle cx="9" cy="8"/>', '<circle cy="8" cx="9" />'),
    (dict(order=sorted), "svg", '<svg xmlns="u" viewBox="0 0 64 64">\n</svg>',
     '<svg xmlns="u" viewBox="0 0 64 64">\n</svg>'),
    (dict(order=sorted), "svg", "<circle r='3' fill='red'", "<circle r='3' fill='red'"),
    (dict(sections="tbody"), "table", "<table>\n<tr><td>7</td></tr>\n</table>",
     "<table>\n<tbody>\n<tr><td>7</td></tr>\n</tbody>\n</table>"),
    (dict(sections="thead"), "table", "<table>\n<tr><th>a</th></tr>\n<tr><td>7</td></tr>\n</table>",
     "<table>\n<thead>\n<tr><th>a</th></tr>\n</thead>\n<tbody>\n<tr><td>7</td></tr>\n</tbody>\n</table>"),
    (dict(sections="thead"), "table", '<table>\n<tr class="x"><td>7</td></tr>\n</table>',
     '<table>\n<tr class="x"><td>7</td></tr>\n</table>'),
    (dict(order=backwards), "chart", HEAD + 'ax.plot(["A", "B"], [2, 4], color="red", marker="o")',
     HEAD + 'ax.plot(["A","B"],[2,4],marker="o",color="red")'),
    (dict(order=sorted, spaces=True), "chart",
     HEAD + 'ax.bar(["A"], [2], color="red")\nax.set_ylim(0, 10)\nax.set_title("Sales")\nax.grid(True)',
     HEAD + 'ax.bar(["A"], [2], color="red")\nax.grid(True)\nax.set_title("Sales")\nax.set_ylim(0, 10)'),
    (dict(order=backwards), "chart", "ax.bar(", "ax.bar("),
    (dict(), "chart", 'plt.title("Men\'s and Women\'s")', 'plt.title("Men\'s and Women\'s")'),
    (dict(), "chart", "plt.title('of a\\nBase', fontsize=14, color='red')",
     "plt.title('of a\\nBase', fontsize=14, color='red')"),
    (dict(), "chart", 'plt.xlabel("a, b", color="red")', "plt.xlabel('a, b', color='red')"),
    (dict(), "chart", "x = 0; plt.plot(x, 1)", "x = 0; plt.plot(x, 1)"),
])
def test_a_hand_writes(choices, task, code, written):
    assert hand(**choices).write(task, code) == written


@pytest.mark.parametrize("level", (1, 2, 3))
@pytest.mark.parametrize("task", worlds.TASKS)
def test_every_hand_draws_the_same_picture(task, level):
    rng = random.Random(level)
    programs = [worlds.draw(task, level, rng) for _ in range(24 if level == 1 else 3)]
    if level == 1:
        programs += [edit.damage(task, code, rng, edit.LEVEL_1[task], 2)[0] for code in programs]
    written = [Hand(rng).write(task, code) for code in programs]
    made = render_many([(task, code) for code in programs + written], size=SIZES[level])
    assert [a.image.tobytes() == b.image.tobytes() for a, b in zip(made, made[len(programs):])] == [True] * len(programs)
    if (task, level) != ("table", 2) and (task, level) != ("table", 3):        # they have sections of their own
        assert sum(a != b for a, b in zip(programs, written)) >= len(programs) / 3


@pytest.mark.parametrize("task, code, share, written", [
    ("svg", '<rect fill="red"/><rect fill="green"/>', 1, '<rect fill="orange"/><rect fill="green"/>'),
    ("svg", '<rect fill="red"/>', 0, '<rect fill="red"/>'),
    ("table", "<td>-8%</td><td>12</td>", 1, "<td>3</td><td>12</td>"),
    ("chart", 'ax.bar(["A"], [8], color="blue")\nax.set_title("Sales")\nax.grid(True)\nax.set_ylim(0, 10)', 1,
     'ax.bar(["A"], [6], color="purple")\nax.set_ylim(0, 10)'),
    ("chart", 'ax.plot([1], [2], linestyle="--", marker="^")', 1, 'ax.plot([1], [2], linestyle="-", marker="o")'),
])
def test_habits(task, code, share, written):
    assert habits(task, code, random.Random(0), share) == written


@pytest.mark.parametrize("task", worlds.TASKS)
def test_habits_are_seen_by_the_comparison_and_hardly_by_the_text(task):
    """What makes rewards differ: a detail that is wrong costs little text, less than another hand does."""
    rng = random.Random(0)
    true = [worlds.draw(task, 1, rng) for _ in range(40)]
    spoilt = [habits(task, code, rng) for code in true]
    other = [Hand(rng).write(task, code) for code in true]
    changed = [i for i in range(40) if spoilt[i] != true[i]]
    made = render_many([(task, code) for code in true + spoilt], size=SIZES[1])
    scenes = [drawn.scene for drawn in made]
    assert len(changed) > 15
    assert all(compare(scenes[i], scenes[40 + i]) and fidelity(scenes[i], scenes[40 + i]) < 100 for i in changed)
    by_habits, by_hand = (sum(1 - text_similarity(a, b) for a, b in zip(true, codes)) for codes in (spoilt, other))
    assert by_habits < (1 if task == "svg" else 2) * by_hand


@pytest.mark.parametrize("side", ("gt", "pred"))
def test_found_programs(side, monkeypatch):
    """The same seed finds the same program, and as many as stated are the neighbour's."""
    pair = next(pair for pair in read_pairs("data/examples") if pair["human_errors"])
    codes = [finding(pair, side, seed)[1] for seed in range(300)]
    assert codes == [finding(pair, side, seed)[1] for seed in range(300)] and len(set(codes)) > 5
    monkeypatch.setattr(samples, "habits", lambda task, code, rng: code)
    monkeypatch.setattr(samples, "Hand", lambda rng: hand())
    codes = [finding(pair, side, seed)[1] for seed in range(300)]
    own, other = pair[f"{side}_code"], pair["pred_code" if side == "gt" else "gt_code"]
    written = {code: codes.count(hand().write(pair["category"], code)) for code in (own, other)}
    assert written[own] + written[other] == 300 and abs(written[other] / 300 - SLOPPY) < 0.1


@pytest.mark.parametrize("source, gt, pred, drafts", [
    ("infer", "svg-000001-0.png", "svg-000001-1.png", [False, True]),
    ("infer", "svg-000001-1.png", "svg-000001-0.png", [True, False]),                    # shown the other way round
    ("edit", "svg-000001-1.png", "svg-000001-0.png", [False, False]),
])
def test_a_draft_is_known_on_both_sides(source, gt, pred, drafts):
    pair = {"source": source, "gt_img_path": f"a/{gt}", "pred_img_path": f"a/{pred}"}
    assert [samples.own(pair, side) for side in ("gt", "pred")] == drafts
