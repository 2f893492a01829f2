"""The published judge: its prompts, a second try, what an unreadable verdict is worth, rewards."""
import math

import pytest
import torch
from PIL import Image

import train_rl
import visual_erm
from conftest import mistake
from data.bench.__main__ import arguments
from data.models import PRESETS, preset_for
from data.pairs import Example
from data.prompts import read_prompts, split_prompts, with_prompts
from data.published import published, settle, worth
from data.runs import parse
from data.serve import JudgeServer, question
from data.verdict import CATEGORIES, Discrepancy, InputError, Verdict
from render import RenderError, Rendering

LONG = "Compare the two pictures. " * 10
REPOSITORY = f'''
import openai_is_not_installed_here
PROMPT_CHART2CODE_JUDGEMENT = """\\
chart {LONG}"""
MODEL = "a short name"
OTHER = [{LONG!r}]

def build_prompt_for_svg() -> str:
    prompt = """
svg {LONG}
"""
    raise SystemExit("this must not run")
'''
TABLES = f"def build_error_prompt():\n    prompt = {'table ' + LONG!r}\n    return prompt\n"


@pytest.fixture
def places(tmp_path):
    """{name: place}: a folder of texts, a file of a repository, a folder of such files."""
    for task in CATEGORIES:
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / f"texts/{task}.txt").write_text(f"{task}: what differs?")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/judge.py").write_text(REPOSITORY)
    (tmp_path / "code/table_reward.py").write_text(TABLES)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.py").write_text("def (")
    return tmp_path


def test_prompts_are_read_and_never_executed(places):
    assert read_prompts(places / "texts") == {t: f"{t}: what differs?" for t in CATEGORIES}
    assert read_prompts(places / "code/judge.py") == {"chart": f"chart {LONG}",
                                                      "svg": f"\nsvg {LONG}\n"}
    assert read_prompts(places / "code")["table"] == f"table {LONG}"
    assert set(read_prompts(places / "code")) == set(CATEGORIES)
    for nothing in ("empty", "broken.py", "missing", "missing.py"):
        with pytest.raises(InputError, match="prompts"):
            read_prompts(places / nothing)


def test_they_are_part_of_a_judges_name(places):
    name = with_prompts(str(places / "texts"), "http://localhost:8000/v1#m")
    judge, prompts = split_prompts(name)
    assert judge == "http://localhost:8000/v1#m" and prompts["svg"] == "svg: what differs?"
    assert with_prompts("", None) is None
    assert preset_for("", with_prompts(str(places / "texts"), "data/tiny/judge")) is PRESETS["tiny"]
    for settings in (visual_erm.Settings, train_rl.Settings):
        asked = parse(settings, ["--judge_prompts", str(places / "texts")], "x").judge
        assert split_prompts(asked) == ("", prompts)
    args = arguments(["x", "--judge", "a", "--judge", "b", "--judge_prompts", "p"])
    assert args.judge == ["prompts:p:a", "prompts:p:b"]


def test_a_judge_is_asked_with_its_own_prompts(places, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    white = Image.new("RGB", (40, 40), "white")
    with JudgeServer(lambda body: '{"errors": []}') as server:
        for place, expected in (("texts", "chart: what differs?"),
                                ("code", f"chart {LONG}")):
            judge = visual_erm.VisualERM(f"prompts:{places / place}:{server.url}", PRESETS["8b"])
            assert judge.judge([("chart", white, white)])[0].readable
            assert question(server.bodies[-1]) == expected
        assert server.bodies[-1]["max_tokens"] == 4096


PUBLISHED_ANSWERS = [  # counts first; tables have "type" and no location
    ("table", '{"layout_error_count": 0, "text_error_count": 1, "numeric_error_count": 0, '
              '"errors": [{"type": "text_error", "description": "Sal for Sales", "severity": 2}]}',
     [Discrepancy("text_error", 2, "", "Sal for Sales")]),
    ("chart", '{"structure_error_count": 0, "data_error_count": 1, "text_error_count": 0, '
              '"style_error_count": 0, "errors": [{"category": "data_error", "severity": 3, '
              '"location": "Red line", "description": "too high"}]}',
     [Discrepancy("data_error", 3, "Red line", "too high")]),
    ("table", '{"layout_error_count": 0, "text_error_count": 0, "numeric_error_count": 0, '
              '"errors": []}', []),
]


@pytest.mark.parametrize("task, answer, expected", PUBLISHED_ANSWERS)
def test_the_published_schema_is_read(task, answer, expected):
    verdict = Verdict.parse(task, answer)
    assert verdict.readable and verdict.errors == expected and not verdict.notes


@pytest.mark.parametrize("replies, tries, readable, asked", [
    (["what?", '{"errors": []}'], 2, True, 2), (["what?", "what?", '{"errors": []}'], 2, False, 2),
    (['{"errors": []}'], 2, True, 1), (["what?", '{"errors": []}'], 1, False, 1)])
def test_an_unreadable_answer_is_asked_for_once_more(replies, tries, readable, asked, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    white, left = Image.new("RGB", (40, 40), "white"), list(replies)
    with JudgeServer(lambda body: left.pop(0)) as server:
        judge = visual_erm.VisualERM(server.url, PRESETS["8b"] | {"tries": tries})
        [verdict] = judge.judge([("svg", white, white)])
        assert verdict.readable is readable and len(server.bodies) == asked
        temperatures = [body["temperature"] for body in server.bodies]
        assert temperatures == [0.0, 0.7][:asked]
    assert [PRESETS[name]["tries"] for name in ("tiny", "2b", "4b", "8b")] == [1, 2, 2, 2]


class Judge:
    """Gives ready verdicts."""

    def __init__(self, *verdicts):
        self.verdicts = list(verdicts)

    def judge(self, pairs):
        return [self.verdicts.pop(0) for _ in pairs]


def verdict(task, *severities):
    if severities == (None,):
        return Verdict(task, readable=False)
    return Verdict(task, [Discrepancy(CATEGORIES[task][0], s, "", "") for s in severities])


def scored(task, programs, **options):
    """Totals of programs for one picture: severities each, None unreadable, "fails" not drawn."""
    drawn = Rendering(Image.new("RGB", (4, 4)), {})
    one = Example(task, drawn.image, None)
    renderings = [RenderError("runtime", "x") if p == "fails" else drawn for p in programs]
    judge = Judge(*[verdict(task, *p) for p in programs if p != "fails"])
    settings = train_rl.Settings(**options)
    examples, codes = [one] * len(programs), [""] * len(programs)
    return train_rl.score(examples, codes, renderings, judge, settings, settings.scale or None)


PROGRAMS = [(), (3, 2), (None,), "fails"]
REWARDS = [  # task, options, totals
    ("chart", {"reward": "published"}, [2, 1.9, 1.5, 0]),
    ("svg", {"reward": "published"}, [2, 1.9, 1.5, 0]),
    ("table", {"reward": "published"}, [0, -5, -4, -4]),
    ("table", {"scale": 50, "unreadable": "middle"}, [2, 1.9, 1.5, 0]),
    ("chart", {"scale": 50}, [2, 1.9, 1, 0]), ("chart", {}, [2, 1, 1, 0]),
    ("chart", {"scale": 50, "unreadable": "out"}, [2, 1.9, 3.9 / 3, 0]),  # its siblings' mean
]


@pytest.mark.parametrize("task, options, expected", REWARDS)
def test_rewards(task, options, expected):
    totals, unreadable = scored(task, PROGRAMS, **options)
    assert totals == pytest.approx(expected, abs=1e-6) and unreadable == 1
    advantages = train_rl.group_advantages(torch.tensor(totals), 4, scale_rewards=False)
    if options.get("unreadable") == "out":
        assert advantages[2] == pytest.approx(0, abs=1e-6)


def test_nothing_else_is_changed():
    totals = [2.0, 1.0, 0.0]
    drawn, one = Rendering(None, {}), Example("table", None, None)
    assert settle("verm", [one] * 3, [drawn, drawn, RenderError("runtime", "x")], totals) == totals
    assert settle("verm", [one], [drawn], [math.nan]) == [1.5]
    assert published([], judge=Judge()) == ([], 0) and math.isnan(worth("out"))


def test_an_unknown_choice_gets_a_sentence(tmp_path, capsys):
    _, told = mistake(capsys, train_rl.main, "--unreadable", "half", "--out", tmp_path)
    assert "--unreadable 'half' is unknown; choose among 0, middle, out." in told
