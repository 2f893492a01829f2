"""refine.py: the loop of Eq. 7-9 with a scripted policy, what is kept, one picture, and the
comparison on many.
"""
import csv
import json
from itertools import islice
from types import SimpleNamespace

import pytest
from PIL import Image

import refine as r
from data.build import reference_examples
from data.models import PRESETS
from data.pairs import Example, read_pairs
from data.report import film_strip
from data.verdict import Discrepancy, Verdict
from render import RenderError, Rendering, render

SVG = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
       '<circle cx="32" cy="32" r="20" fill="{}"/></svg>')
RED, BLUE, GREEN = (SVG.format(color) for color in ("red", "blue", "green"))


class Scripted:
    """A policy that answers each picture from its own list, one program a turn, and remembers what
    it was asked.
    """

    def __init__(self, *answers, preset=PRESETS["tiny"]):
        self.answers, self.preset = [list(a) for a in answers], preset
        self.asked, self.tokens = [], 0

    def write(self, conversations, temperature=0.0):
        self.asked.append([c[0]["content"][-1]["text"] for c in conversations])
        waiting = [a for a in self.answers if a]
        self.tokens += len(conversations)
        return [answers.pop(0) for answers in waiting[:len(conversations)]]


def item(code=RED):
    drawn = render("svg", code, size=(128, 128))
    return Example("svg", drawn.image, (128, 128), code, drawn.scene, "a")


@pytest.mark.parametrize("answers, rounds, rewards", [
    ([RED], 3, [1.0]),  # right at once: nothing to revise
    ([BLUE, RED], 3, [0.96, 1.0]),
    ([BLUE, GREEN, BLUE, RED], 2, [0.96, 0.96, 0.96]),  # the rounds are used up
    (["<svg", RED], 3, [0.0, 1.0]),  # cannot be drawn, then can
])
def test_rounds_go_on_until_the_oracle_finds_nothing(answers, rounds, rewards):
    policy = Scripted(answers)
    (history,) = r.refine([item()], policy, r.by_oracle, rounds, 1.0)
    assert [x.reward for x in history] == pytest.approx(rewards)
    for question, before in zip(policy.asked[1:], history):
        assert before.code in question[0] and before.feedback in question[0]  # word for word
    if answers[0] == "<svg":
        assert history[0].feedback.startswith("It cannot be drawn: syntax")
        assert isinstance(history[0].rendering, RenderError)


def test_each_picture_stops_for_itself():
    policy = Scripted([RED], [RED, GREEN], [BLUE, BLUE, BLUE])
    first, second, third = r.refine([item(RED), item(GREEN), item(RED)], policy, r.by_oracle, 2,
                                    1.0)
    assert [len(history) for history in (first, second, third)] == [1, 2, 3]
    assert [len(questions) for questions in policy.asked] == [3, 2, 1]


def test_feedback_of_each_critic():
    thing, drawn = item(RED), render("svg", BLUE, size=(128, 128))
    verdict = Verdict("svg", [Discrepancy("style_error", 3, "circle", "fill blue, should be red")])
    judge = SimpleNamespace(judge=lambda pairs: [verdict])
    policy = Scripted(['{"errors":[{"category":"shape_error","severity":2,"location":"x",'
                       '"description":"y"}]}'])
    assert r.by_judge([thing], [drawn], judge)[0][:2] == (verdict.to_json(), 0.94)
    assert "fill blue, should be red" in r.by_oracle([thing], [drawn])[0][0]
    assert (r.by_itself([thing], [drawn], policy)[0][1] == 0.96
            and "first image is the reference" in policy.asked[0][0])
    assert r.by_itself([thing], [drawn], Scripted(["no idea"]))[0][:2] == ("no idea", 0.0)
    assert r.by_nobody([thing], [drawn])[0][1:] == (0.0, None)


def rounds_of(*rewards):
    drawn = Rendering(Image.new("RGB", (8, 8)), {})
    broken = RenderError("syntax", "broken")
    return [r.Round(str(t), drawn if reward is not None else broken, "", reward or 0.0)
            for t, reward in enumerate(rewards)]


@pytest.mark.parametrize("rewards, best, last", [
    ((0.2, 0.9, 0.5), "1", "2"), ((0.5, 0.5), "0", "1"), ((None, 0.0), "1", "1"),
    ((None, None), "0", "1"),
])
def test_which_round_is_the_answer(rewards, best, last):
    assert r.answer_of(rounds_of(*rewards), "best").code == best
    assert r.answer_of(rounds_of(*rewards), "last").code == last


def test_measure_takes_the_best_so_far():
    thing = item(RED)
    # never satisfied
    histories = r.refine([thing], Scripted([BLUE, RED, GREEN]), r.by_oracle, 2, 2.0)
    best, last = (r.measure([thing], histories, 2, keep) for keep in ("best", "last"))
    assert (best[0] == last[0] and best[1] == last[1] == best[2] == (100.0, 100.0)
            and last[2][0] < 100)


def test_best_of_n_is_the_judges_favourite_of_each_prefix():
    wrong = Verdict("svg", r.compare(item().scene, render("svg", BLUE).scene))
    judge = SimpleNamespace(judge=lambda pairs: [
        wrong if pairs[0][2].getpixel((64, 64)) != (255, 0, 0) else Verdict("svg")])
    (history,) = r.best_of([item()], Scripted([BLUE, RED, BLUE]), judge, 3, 1.0)
    assert [x.code for x in history] == [BLUE, RED, RED]


def test_film_strip_shows_every_round():
    images = [item(code).image for code in (RED, BLUE, RED)]
    frames = [("reference", images[0], ""), ("draft", None, "It cannot be drawn")]
    strip = film_strip(frames + [(f"round {n}", images[n], "* circle: fill blue\nand more")
                                 for n in (1, 2)])
    assert strip.width == 4 * 268 + 12 and strip.height > 300
    red, blue = (255, 0, 0), (0, 0, 255)
    assert [strip.getpixel((12 + n * 268 + 128, 26 + 128)) for n in (0, 2, 3)] == [red, blue, red]


def fakes(monkeypatch, answers):
    policy = Scripted(*answers)
    judge = SimpleNamespace(judge=lambda pairs: [Verdict(p[0]) for p in pairs])
    monkeypatch.setattr(r, "load", lambda *_: (policy, judge))
    return policy


def test_one_picture_leaves_code_strip_and_report(monkeypatch, tmp_path, capsys):
    item().image.save(tmp_path / "x.png")
    fakes(monkeypatch, [[RED]])
    assert r.main([str(tmp_path / "x.png"), "--task", "svg", "--out", str(tmp_path / "out")]) == 0
    assert ({p.name for p in (tmp_path / "out").iterdir()}
            == {"answer.svg", "strip.png", "report.html"})
    assert ((tmp_path / "out/answer.svg").read_text() == RED + "\n"
            and "draft: reward 1.00" in capsys.readouterr().out)


def test_comparison_on_many_pictures_and_resume(monkeypatch, pairs_folder, tmp_path, capsys):
    arguments = ["--eval", str(pairs_folder), "--limit", "3", "--rounds", "1", "--seeds", "1",
                 "--out", str(tmp_path)]
    items = list(islice(reference_examples(read_pairs(pairs_folder), PRESETS["tiny"]), 3))
    wrong = ["<table><tr><td>x</td></tr></table>" if i.task == "table" else BLUE for i in items]
    # None: wrong twice; oracle: then right
    fakes(monkeypatch, [[w, w, w, i.code] for w, i in zip(wrong, items)])
    assert r.main([*arguments, "--feedback", "none,oracle"]) == 0
    rows = list(csv.DictReader(open(tmp_path / "rounds.csv")))
    assert [(row["feedback"], row["round"]) for row in rows] == [
        ("none", "0"), ("none", "1"), ("oracle", "0"), ("oracle", "1")]
    assert (float(rows[1]["fidelity"]) < 60 and float(rows[3]["fidelity"]) == 100
            and rows[3]["executes"] == "100.00")
    policy = fakes(monkeypatch, [["<svg"]] * 3)
    # all was done
    assert r.main([*arguments, "--feedback", "none,oracle", "--resume"]) == 0 and not policy.asked
    assert "| oracle | " in capsys.readouterr().out
    assert r.main([*arguments, "--feedback", "none,oracle", "--resume",
                   "--beside", str(tmp_path)]) == 0
    assert Image.open(tmp_path / "rounds.png").width == 600  # its own folder beside itself
    assert r.main([*arguments, "--rounds", "2", "--resume"]) == 2
    assert "made with other settings (--rounds 1, not 2)" in capsys.readouterr().err
    assert (r.main(arguments) == 2
            and "holds a finished run: --resume goes on" in capsys.readouterr().err)
    assert (tmp_path / "rounds.png").is_file() and rows == list(
        csv.DictReader(open(tmp_path / "rounds.csv")))


@pytest.mark.parametrize("arguments, words", [
    ([], "Give one picture, or --eval FOLDER"), (["x.png", "--task", "svg"], "no picture x.png"),
    (["x.png"], "--task says what"),
    (["--eval", "y", "--compare", "z"], "there is no z/rounds.csv"),
    (["x.png", "--task", "svg", "--keep", "first"], "--keep is best or last"),
    (["--eval", "nowhere"], "neither a .jsonl file nor a folder"),
    (["x.png", "--eval", "y"], "Give one picture, or"),
])
def test_mistakes_get_a_sentence(arguments, words, tmp_path, capsys):
    assert r.main([*arguments, "--out", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_unknown_feedback_is_a_sentence(monkeypatch, pairs_folder, tmp_path, capsys):
    fakes(monkeypatch, [])
    assert r.main(["--eval", str(pairs_folder), "--feedback", "gossip",
                   "--out", str(tmp_path)]) == 2
    assert "'gossip' is unknown" in capsys.readouterr().err


def test_an_unreadable_verdict_is_not_handed_on_as_no_error():
    class Mumbling:
        def judge(self, pairs):
            return [Verdict.parse(task, answer)
                    for (task, *_), answer in zip(pairs, ("It looks odd.", ""))]

    drawn = render("svg", BLUE)
    said = r.by_judge([item(), item()], [drawn, drawn], Mumbling())
    assert ([(feedback, reward) for feedback, reward, _ in said]
            == [("It looks odd.", 0.0), ("no answer", 0.0)])


def test_pairs_without_code_get_a_sentence(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({
        "id": "1", "category": "svg", "gt_img_path": "a.png", "pred_img_path": "a.png",
        "human_errors": []}))
    assert r.main(["--eval", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "has no gt_code" in capsys.readouterr().err
