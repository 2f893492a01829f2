"""data.tiny: the tokenizer, the schedule, the log of a resumed run, and the shipped models."""
import random

import pytest
import torch

from conftest import ROOT
from data.models import load_model, load_processor
from data.pairs import read_pairs
from data.runs import read_csv
from data.samples import code_sample, judge_sample, training_batch
from data.tiny import __main__ as tiny
from data.tiny.__main__ import (
    Settings,
    answer_loss,
    choose,
    drawn,
    exact,
    references,
    schedule,
)
from data.verdict import CATEGORIES, Verdict
from render import Rendering
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


@pytest.mark.parametrize("step, share", [
    (0, 0.01), (99, 1.0), (500, 1.0), (600, 1.0), (800, 0.51), (999, 0.0225)])
def test_schedule(step, share):
    assert schedule(step, 1000) == pytest.approx(share, abs=0.012)


def test_short_cuts_change_nothing(pairs_folder):
    """The loss on the answers' tokens only, and patches embedded by a product."""
    model, processor = load_model("data/tiny/base", dtype=torch.float32)
    pairs = read_pairs(pairs_folder)
    inputs = training_batch(processor, [*map(judge_sample, pairs[:3]),
                                        code_sample(pairs[3].task, pairs[3].reference)], True)
    embed = model.model.visual.patch_embed
    patches = inputs["pixel_values"]
    convolved = embed.proj(patches.view(-1, 3, 2, 16, 16)).flatten(1)
    assert torch.allclose(embed(patches), convolved, atol=1e-4)
    losses, gradients = [], []
    for loss in (model(**inputs).loss, answer_loss(model, inputs)):
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients.append(embed.proj.weight.grad.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(*gradients, atol=1e-5) and gradients[0].abs().max() > 1e-3


def test_a_resumed_run_logs_each_step_once(monkeypatch, tmp_path, pairs_folder, untrained):
    monkeypatch.setattr(tiny, "HELD", 4)
    command = ["--data", pairs_folder, "--model", untrained, "--batch", "1",
               "--out", tmp_path, "--noisy", "--steps"]
    command = list(map(str, command))
    assert tiny.main([*command, "2"]) == 0
    with open(tmp_path / "log.csv", "a") as file:
        file.write("3,9.9,1.0,,,\n")  # of a run that was killed before its next state
    assert tiny.main([*command, "4", "--resume"]) == 0
    rows = read_csv(tmp_path / "log.csv")
    assert list(rows[0]) == ["step", "loss", "samples_per_s", *CATEGORIES]
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row["loss"]) > 0 and row["chart"] == "" and row["svg"] for row in rows)
    assert tiny.main([*command, "3", "--resume"]) == 2  # beyond --steps


def samples(step, **changes):
    """(pairs by task, what 40 programs of a step are trained to say)."""
    settings = Settings(steps=100, batch=40, **changes)
    pairs, readings = {task: [] for task in CATEGORIES}, {task: [] for task in CATEGORIES}
    for pair in read_pairs(ROOT / "tests/six_pairs"):
        pairs[pair.task].append(pair)
        for picture, other in ((pair.reference, pair.rendering), (pair.rendering, pair.reference)):
            readings[pair.task].append((len(picture.code), picture, other))
    return pairs, choose(random.Random(0), readings, pairs, step, settings, 0, 1)


@pytest.mark.parametrize("noisy, least, most", [(False, 0, 0), (True, 20, 40)])
def test_noisy_programs_are_taken_as_they_are_found(noisy, least, most):
    """With `noisy` answers differ from the code, without it none; a seed chooses the same again."""
    true = {}
    for pair in read_pairs(ROOT / "tests/six_pairs"):
        for picture in (pair.reference, pair.rendering):
            true.setdefault(picture.load().tobytes(), set()).add(picture.code)
    made = samples(30, noisy=noisy)[1]
    shown = [messages[0]["content"][0]["image"].tobytes() for messages, *_ in made]
    answers = [sample.answer for sample in made]
    wrong = sum(answer not in true[pixels] for pixels, answer in zip(shown, answers))
    assert least <= wrong <= most
    assert answers == [sample.answer for sample in samples(30, noisy=noisy)[1]]


def test_revisions_do_what_they_are_told():
    """The exact list leads to the true code; where nothing is named the draft stays."""
    pairs, made = samples(60, revise=1.0)
    by_draft = {pair.rendering.code: pair for of_task in pairs.values() for pair in of_task}
    kept = 0
    for messages, answer, _ in made:
        asked = messages[0]["content"][-1]["text"]
        (pair,) = [pair for code, pair in by_draft.items() if f"\n{code}\n" in asked]
        empty = NOTHING_SAID in asked or Verdict(pair.task, []).to_json() in asked
        kept += empty
        assert answer == (pair.rendering.code if empty else pair.reference.code)
    assert 2 <= kept <= 20


def test_shipped_base_has_mistakes_to_lose():
    """Some of its sampled programs are exact, or there were nothing to reward; many are not."""
    model, processor = load_model("data/tiny/base")
    pairs = []
    for task in CATEGORIES:
        pairs += [pair for pair in read_pairs("data/bench") if pair.task == task][:8]
    torch.manual_seed(0)
    answers, renderings = drawn(model, processor, pairs, temperature=1.0)
    assert 1 <= sum(map(exact, references(pairs), renderings)) <= 14
    assert sum(isinstance(rendering, Rendering) for rendering in renderings) >= 18
    same = [answer == pair.reference.code for answer, pair in zip(answers, pairs)]
    assert sum(same) <= 6  # each in another style


def test_models_and_benchmark_stay_small():
    folders = [ROOT / "data" / name for name in ("tiny", "bench", "examples")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
