"""data.tiny: the tokenizer, the schedule, the log of a resumed run, and the shipped models."""
from pathlib import Path

import pytest

from conftest import ROOT
from data.batches import reading
from data.tiny.__main__ import schedule, write_log
from visual_erm import CATEGORIES, code_prompt, generate, judge_prompt, load_model, load_processor, read_pairs


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


def test_shipped_base_draws_what_it_sees():
    """Programs of all three tasks, and many icons to the letter; not all, or nothing were left to learn."""
    model, processor = load_model("data/tiny/base")
    pairs = [pair for task in CATEGORIES for pair in read_pairs("data/bench") if pair["category"] == task]
    pairs = pairs[:3] + pairs[50:53] + pairs[100:112]
    answers = generate(model, processor, [reading(pair, "gt")[0] for pair in pairs], max_new_tokens=200, batch_size=18)
    starts = {"chart": "import matplotlib", "table": "<table>", "svg": "<svg"}
    assert all(answer.startswith(starts[pair["category"]]) for pair, answer in zip(pairs, answers))
    right = [answer == pair["gt_code"] for pair, answer in zip(pairs, answers) if pair["category"] == "svg"]
    assert len(right) == 12 and 4 <= sum(right) < 12


def test_models_and_benchmark_stay_small():
    folders = [ROOT / "data" / name for name in ("tiny", "bench", "examples")]
    size = sum(path.stat().st_size for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    assert size <= 40e6
