"""train_sft.py: what the loss covers, the optimiser, and a killed run that goes on to the same
losses.
"""
import copy
import csv
import json
import os
import signal
import time

import pytest
import torch
from PIL import Image

import train_sft
from conftest import mistake, script, start
from data import merge
from data.models import add_adapter, load_model
from data.optim import MuonAdamW
from data.pairs import read_pairs
from data.runs import Log
from data.samples import STOP, code_sample, judge_sample, revision_sample, training_batch
from data.sft_run import COLUMNS, Record, held_out_loss, last_state, save_judge
from data.verdict import Verdict
from visual_erm import code_messages, judge_messages

SMALL = ["--steps", 6, "--batch", 4, "--micro", 2, "--save_every", 3, "--log_every", 1,
         "--eval_pairs", 4]


@pytest.fixture(scope="module")
def loaded(untrained):
    return load_model(str(untrained))


@pytest.mark.parametrize("make", [
    judge_sample, lambda pair: code_sample(pair.task, pair.reference), revision_sample])
def test_labels_cover_the_answer_and_the_stop_token_only(pairs_folder, loaded, make):
    _, processor = loaded
    samples = [make(pair) for pair in read_pairs(pairs_folder)[:3]]
    batch = training_batch(processor, samples)
    for i, (_, answer, *_) in enumerate(samples):
        covered = batch["labels"][i] != -100
        assert torch.equal(batch["labels"][i][covered], batch["input_ids"][i][covered])
        assert processor.tokenizer.decode(batch["labels"][i][covered]) == answer + STOP
        assert not (covered & (batch["input_ids"][i] == processor.image_token_id)).any()
    assert batch["image_grid_thw"].shape[0] == 3 * (2 if make is judge_sample else 1)


@pytest.mark.parametrize("boxes, merge, expected", [
    ([], 1, ""),
    ([(0, 0, 1 / 8, 1 / 8)], 1, "0"),
    ([(.14, .26, .15, .27), (.875, .875, 1, 1)], 1, "17 63"),
    ([(1 / 16, 1 / 16, 3 / 16, 3 / 16)], 1, "0 1 8 9"),
    ([(0, 0, 1, 1)], 1, " ".join(map(str, range(64)))),
    ([(.14, .26, .15, .27)], 2, "4"),  # 2 x 2 patches are one image token
])
def test_patch_labels_say_which_patches_an_error_touches(loaded, boxes, merge, expected):
    """They do not look at the pixels: equivalent pictures differ in most of them."""
    _, processor = loaded
    images = Image.new("RGB", (128, 128), "white"), Image.new("RGB", (128, 128), "red")
    compared = judge_messages("svg", *images), "{}", boxes
    read = code_messages("svg", images[0]), "<svg/>"
    processor.image_processor.merge_size = merge
    try:
        samples = [read, compared, read, compared]
        plain = training_batch(processor, samples)
        batch = training_batch(processor, samples, differences=True)
    finally:
        processor.image_processor.merge_size = 1
    extra = batch["labels"].where(plain["labels"] == -100, -100)
    words = ["".join(processor.tokenizer.convert_ids_to_tokens(row[row != -100])) for row in extra]
    assert words[0] == words[2] == "" and words[1] == words[3] and len(words[1]) == 64 // merge ** 2
    assert ([i for i, word in enumerate(words[1]) if word == "1"]
            == [int(word) for word in expected.split()])
    assert torch.equal(batch["labels"].where(plain["labels"] != -100, -100), plain["labels"])
    at = (batch["labels"] != -100) & (plain["labels"] == -100)
    # asked right after the token
    assert (batch["input_ids"][:, :-1][at[:, 1:]] == processor.image_token_id).all()


def test_padding_does_not_change_the_loss(pairs_folder, loaded):
    model, processor = loaded
    samples = sorted((judge_sample(pair) for pair in read_pairs(pairs_folder)[:6]),
                     key=lambda sample: len(sample[1]))
    short, long = samples[0], samples[-1]
    with torch.no_grad():
        together = model(**training_batch(processor, [short, long])).logits[0]
        alone = model(**training_batch(processor, [short])).logits[0]
    assert torch.allclose(together[:len(alone)], alone, atol=1e-4)


def test_the_pictures_reach_the_loss(pairs_folder, loaded):
    model, processor = loaded
    batch = training_batch(processor, [judge_sample(read_pairs(pairs_folder)[0])])
    with torch.no_grad():
        seen = model(**batch).loss
        batch["pixel_values"] = torch.zeros_like(batch["pixel_values"])
        blind = model(**batch).loss
    assert abs(seen - blind) > 1e-4


def test_a_verdict_to_learn_is_one_the_parser_reads(pairs_folder):
    for pair in read_pairs(pairs_folder):
        answer = judge_sample(pair).answer
        read = Verdict.parse(pair.task, answer)
        assert read.readable and read.errors == pair.truth.errors and not read.notes


def test_muon_and_adamw_are_torchs_own(monkeypatch):
    # Torch's Muon in float32, as ours
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)

    def network():
        torch.manual_seed(0)
        return torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 4), "up": torch.nn.Linear(4, 6),
                                    "across": torch.nn.Linear(6, 6), "down": torch.nn.Linear(6, 4)})

    def loss(net):
        hidden = net["across"](net["up"](net["embed"](torch.arange(5))).tanh()).tanh()
        return net["down"](hidden).square().sum()

    ours, theirs = network(), network()
    optimiser = MuonAdamW(ours, lr=0.1)
    matrices = [theirs[name].weight for name in ("up", "across", "down")]
    others = [theirs["embed"].weight, *(theirs[name].bias for name in ("up", "across", "down"))]
    pair = [torch.optim.Muon(matrices, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=0.1 / 3, betas=(0.9, 0.98), weight_decay=0.0)]
    for step in range(4):
        for net, steppers in ((ours, [optimiser]), (theirs, pair)):
            net.zero_grad()
            loss(net).backward()
            for stepper in steppers:
                stepper.step()
        if step == 1:  # a saved and loaded state goes on the same way
            state = optimiser.state_dict()
            optimiser = MuonAdamW(ours, lr=0.1)
            optimiser.load_state_dict(state)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def rows(out):
    """(step, loss) of the losses, (step, F1h) of the scores."""
    found = list(csv.DictReader(open(out / "log.csv")))
    return ([(row["step"], row["loss"]) for row in found if row["loss"]],
            [(row["step"], row["f1h"]) for row in found if row["f1h"]])


@pytest.mark.parametrize("how, weights", [
    (["--rank", 4], "adapter_model.safetensors"),
    # how data/tiny/judge was made
    (["--full", "--optim", "muon", "--differences"], "model.safetensors"),
], ids=["lora", "full"])
def test_a_killed_run_goes_on_to_the_same_losses(pairs_folder, tmp_path, how, weights):
    command = ["train_sft.py", "--data", pairs_folder, *how, *SMALL, "--out"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # side by side: two cores, half the time
    one, other = start(*command, whole), start(*command, broken)
    while not (broken / "state/checkpoint-3/trainer_state.json").exists() and other.poll() is None:
        time.sleep(0.02)
    os.killpg(other.pid, signal.SIGKILL)
    other.wait()
    resumed = start(*command, broken, "--resume")
    for done in (one, resumed):
        said, _ = done.communicate()
        assert done.returncode == 0, said
    assert rows(broken) == rows(whole) and [len(part) for part in rows(whole)] == [6, 2]
    scored = [row for row in csv.DictReader(open(whole / "log.csv")) if row["f1h"]]
    held = read_pairs(whole / "held.jsonl")
    for folder, step in (("checkpoint", "6"), ("best", max(scored, key=lambda row: float(
            row["f1h"]))["step"])):
        loss = next(float(row["eval_loss"]) for row in scored if row["step"] == step)
        for out in (whole, broken):  # saved in 16 bits
            judge = load_model(str(out / folder))
            assert held_out_loss(*judge, held, 3) == pytest.approx(loss, rel=0.02)
            assert getattr(judge[0].config, "use_cache", True)
    for name in ("config.json", "log.csv", "curves.png", "held.json", f"checkpoint/{weights}",
                 f"best/{weights}"):
        assert (whole / name).is_file(), name
    assert json.loads((whole / "config.json").read_text())["full"] == ("--full" in how)
    assert "always no error" in said
    model, _ = load_model(str(whole / "checkpoint"))
    assert (sum(p.numel() for p in model.parameters()) > 1e6
            and getattr(model.config, "use_cache", True))
    assert "peak_gb" in (whole / "log.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_the_held_out_loss_is_the_mean_over_all_tokens(pairs_folder, loaded, at_once):
    model, processor = loaded
    held, losses = read_pairs(pairs_folder)[:5], []
    for pair in held:
        batch = training_batch(processor, [judge_sample(pair)])
        with torch.no_grad():
            logs = model(**{name: value for name, value in batch.items()
                            if name != "labels"}).logits[0].log_softmax(-1)
        places = (batch["labels"][0] != -100).nonzero()[:, 0]
        losses += [-logs[at - 1, batch["labels"][0, at]].item() for at in places.tolist()]
    assert held_out_loss(model, processor, held, at_once) == pytest.approx(
        sum(losses) / len(losses), rel=1e-5)


class Told:
    """Pretends to be a judge whose verdicts are all wrong, or all true, as it is told."""

    def __init__(self, pairs, processor):
        self.pairs, self.processor, self.right = pairs, processor, 0

    def judge(self, asked):
        return [pair.truth if i < self.right else Verdict(pair.task)
                for i, pair in enumerate(self.pairs)]


def test_best_is_the_judge_of_the_highest_score(pairs_folder, loaded, tmp_path):
    """Better, worse, equal, better: saved at the first, second and last of five scores."""
    from types import SimpleNamespace

    model, processor = copy.deepcopy(loaded[0]), loaded[1]
    held = [pair for pair in read_pairs(pairs_folder) if pair.truth.errors][:4]
    judge = Told(held, processor)
    settings = SimpleNamespace(report_to="", batch=1)
    record = Record(tmp_path, settings, judge, held)
    record.log = Log(tmp_path / "log.csv", COLUMNS)
    weight, saved = next(model.parameters()), []
    for step, right in enumerate((1, 2, 1, 2, 4)):
        judge.right = right
        with torch.no_grad():
            weight.fill_(step)
        record.on_save(SimpleNamespace(train_batch_size=2), SimpleNamespace(
            is_world_process_zero=True, global_step=step), None, model=model)
        saved.append(next(load_model(str(tmp_path / "best"))[0].parameters()).flatten()[0].item())
    assert saved == [0, 1, 1, 1, 4] and record.best()["step"] == "4"


def test_training_goes_on_from_an_adapter_and_is_merged(pairs_folder, untrained, tmp_path):
    """Without a learning rate it ends where it began; merged, transformers has the same logits."""
    from transformers import Qwen3VLForConditionalGeneration

    first = add_adapter(load_model(str(untrained))[0], {"adapt": "all-linear"}, 4, "default")
    torch.manual_seed(0)
    for name, p in first.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.05)
    save_judge(first, load_model(str(untrained))[1], tmp_path / "first")
    done = script("train_sft.py", "--data", pairs_folder, "--adapter", tmp_path / "first", "--lr",
                  0, "--rank", 9, "--steps", 2, "--batch", 2, "--eval_pairs", 1, "--out",
                  tmp_path / "second")
    assert done.returncode == 0, done.stderr
    first, second = (load_model(str(tmp_path / out))[0].state_dict()
                     for out in ("first", "second/checkpoint"))
    assert any("lora_B" in name and first[name].abs().max() > 0.1 for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)

    done = script("-m", "data.merge", tmp_path / "second/checkpoint", "--out", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    whole = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "whole").eval()
    model, processor = load_model(str(tmp_path / "second/checkpoint"))
    assert load_model(str(tmp_path / "whole"))[1].chat_template == processor.chat_template
    batch = training_batch(processor, [judge_sample(read_pairs(pairs_folder)[0])])
    with torch.no_grad():
        merged, expected = whole(**batch).logits, model(**batch).logits
        with model.disable_adapter():
            base = model(**batch).logits
    assert torch.allclose(merged, expected, atol=1e-4)
    assert not torch.allclose(base, expected, atol=1e-3)


@pytest.mark.parametrize("arguments, words", [
    (["data/tiny/base"], "holds no adapter"), (["nowhere/at/all"], "There is no folder"),
    (["data/tiny/base", "--out", "data"], "data is not empty"),
    (["http://localhost:1/v1"], "behind a URL"),
])
def test_mistakes_of_a_merge(capsys, tmp_path, arguments, words):
    out = [] if "--out" in arguments else ["--out", tmp_path / "x"]
    assert words in mistake(capsys, merge.main, *arguments, *out)[1]


@pytest.mark.parametrize("states, chosen", [
    ({}, None),
    ({3: "{}", 6: "{}"}, "checkpoint-6"),
    ({9: "{}", 12: '{"epoch": 0.'}, "checkpoint-9"),  # killed while it was written
    ({6: None}, None),
])
def test_resume_takes_the_last_whole_state(tmp_path, states, chosen):
    for step, text in states.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        if text is not None:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(text)
    found = last_state(tmp_path)
    assert (found and found.rpartition("/")[2]) == chosen


def test_qlora_trains_an_adapter_on_a_base_in_4_bits(pairs_folder, tmp_path):
    done = script("train_sft.py", "--data", pairs_folder, "--out", tmp_path, "--quantize", "--rank",
                  4, "--steps", 2, "--batch", 2, "--micro", 2, "--log_every", 1, "--save_every", 9,
                  "--eval_pairs", 2)
    assert done.returncode == 0, done.stderr
    losses, _ = rows(tmp_path)
    assert all(float(loss) > 0 for _, loss in losses) and len(losses) == 2
    model, _ = load_model(str(tmp_path / "checkpoint"), quantize=True)
    layer = model.get_submodule("base_model.model.model.language_model.layers.0.mlp.up_proj")
    assert (type(layer.base_layer).__name__ == "Linear4bit"
            and layer.lora_B["default"].weight.abs().max() > 0)


@pytest.mark.parametrize("arguments, words", [
    (("--data", "nowhere"), "neither a .jsonl file nor a folder"),
    (("--model", "./nowhere"), "nowhere"),
    (("--preset", "3b"), "preset"),
    (("--eval_pairs", 66), "held out"),
    (("--batch", 5), "--micro_batch_size"),
    (("--optim", "sgd"), "--optim"),
    (("--adapter", "data/tiny/base"), "holds no adapter"),
])
def test_mistakes_get_a_sentence(pairs_folder, untrained, tmp_path, capsys, arguments, words):
    command = {"--data": pairs_folder, "--model": untrained, "--out": tmp_path, "--steps": 1,
               "--batch": 2, "--micro": 2, "--eval_pairs": 10}
    command |= dict([arguments])
    assert train_sft.main([*(str(word) for pair in command.items() for word in pair)]) == 2
    assert words in capsys.readouterr().err
