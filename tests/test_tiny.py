"""data.tiny: the tokenizer, the schedule, the log of a resumed run, and the shipped models."""
import random
from pathlib import Path

import pytest
import torch

from conftest import ROOT
from data.tiny.__main__ import Settings, choose, drawn, exact, schedule, write_log
from render import Rendering
from data.verdict import CATEGORIES, Verdict
from data.models import load_model, load_processor
from data.pairs import read_pairs
from visual_erm import NOTHING_SAID, code_prompt, judge_prompt


@pytest.mark.parametrize("text, tokens", [
    ("123", ["1", "2", "3"]),
    ('"A", "B"', None),
    ("<td>cat</td><td>12</td>", None),
    (code_prompt("chart"), [code_prompt("chart")]),
    (judge_prompt("svg"), [judge_prompt("svg")]),
])
def test_shipped_tokenizer(text, tokens):
    tokenizer = load_processor("data/tiny/base").tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([i]) for i in ids]
    assert tokens is None or pieces == tokens
    assert "<td>cat" not in text or "cat" in pieces
    assert '"A"' not in text or {"A", "B"} <= set(pieces)


@pytest.mark.parametrize("step, share", [(0, 0.01), (99, 1.0), (500, 1.0), (600, 1.0), (800, 0.51), (999, 0.0225)])
def test_schedule(step, share):
    assert schedule(step, 1000) == pytest.approx(share, abs=0.012)


def test_log_of_a_resumed_run_has_each_step_once(tmp_path):
    for step in (50, 100, 150, 100, 150):
        write_log(tmp_path / "log.csv", step, "0.5", "10.0", {"chart": 0.25} if step == 100 else {})
    assert [row.split(",")[0] for row in (tmp_path / "log.csv").read_text().splitlines()] == ["step", "50", "100", "150"]


def samples(step, **changes):
    """What 40 programs of a step are trained to say, beside the pair they come from."""
    settings = Settings(steps=100, batch=40, **changes)
    pairs = {task: [p for p in read_pairs("data/examples") if p["category"] == task] for task in CATEGORIES}
    readings = {task: [(len(p[f"{side}_code"]), p, side) for p in rows for side in ("gt", "pred")]
                for task, rows in pairs.items()}
    return pairs, choose(random.Random(0), readings, pairs, step, settings, 0, 1)


def test_found_programs_are_taken_as_they_are_found():
    """With `found` answers differ from the code, without it none; the same seed chooses the same."""
    true = {p[f"{side}_img_path"]: p[f"{side}_code"] for p in read_pairs("data/examples") for side in ("gt", "pred")}
    for found, least, most in ((False, 0, 0), (True, 20, 40)):
        answers = [(messages[0]["content"][0]["image"].filename, answer)
                   for messages, answer in samples(30, found=found)[1]]
        assert least <= sum(answer != true[path] for path, answer in answers) <= most
        assert [answer for _, answer in answers] == [answer for _, answer in samples(30, found=found)[1]]


def test_revisions_do_what_they_are_told():
    """The exact list leads to the true code; where nothing is named the draft stays."""
    pairs, made = samples(60, revise=1.0)
    by_draft = {p["pred_code"]: p for rows in pairs.values() for p in rows}
    kept = 0
    for messages, answer in made:
        asked = messages[0]["content"][-1]["text"]
        (pair,) = [p for code, p in by_draft.items() if f"\n{code}\n" in asked]
        empty = NOTHING_SAID in asked or Verdict(pair["category"], []).to_json() in asked
        kept += empty
        assert answer == (pair["pred_code"] if empty else pair["gt_code"])
    assert 2 <= kept <= 20


def test_shipped_base_has_habits_to_lose():
    """Some of its sampled programs are right to the pixel, or there were nothing to reward; many are not."""
    model, processor = load_model("data/tiny/base")
    pairs = [pair for task in CATEGORIES for pair in [p for p in read_pairs("data/bench") if p["category"] == task][:8]]
    torch.manual_seed(0)
    answers, drawings = drawn(model, processor, pairs, temperature=1.0)
    assert 3 <= sum(exact(pair, drawing) for pair, drawing in zip(pairs, drawings)) <= 14
    assert sum(isinstance(drawing, Rendering) for drawing in drawings) >= 18
    assert sum(answer == pair["gt_code"] for answer, pair in zip(answers, pairs)) <= 6      # each in another hand


def test_models_and_benchmark_stay_small():
    folders = [ROOT / "data" / name for name in ("tiny", "bench", "examples")]
    size = sum(path.stat().st_size for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    assert size <= 40e6
