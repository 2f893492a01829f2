"""The GPU benchmark at a nano shape: what its stages measure, and what a kill or a limit leaves."""
import json
import os
import signal
import time

import pytest
import torch

from conftest import start
from data import models
from data.experiments import gpu_stages, speed_gpu, speed_grpo

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="of a CPU")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Rows by stage, of the stages that are done within seconds."""
    with pytest.MonkeyPatch.context() as patch:  # what the stages set is taken back
        patch.setattr(models, "Qwen3VLForConditionalGeneration", None)
        return measure(tmp_path_factory.mktemp("work"))


def measure(work):
    rows = {}
    bench = gpu_stages.Bench("nano", work,
                             lambda row: rows.setdefault(row.pop("stage"), []).append(row))
    for line in speed_gpu.PLAN:
        bench.stage, small = line[0].strip("*"), line[-1]
        if bench.stage in ("check", "sft", "logp", "judge") and small.get("card") != 48:
            gpu_stages.STAGES[bench.stage](bench, **small)
        if bench.stage == "grpo" and small["length"] == 4:
            gpu_stages.grpo(bench, **small)
    return rows


def test_a_4_bit_product_is_near_the_exact_one(measured):
    assert [row["tokens"] for row in measured["check"]] == [1, 8]
    for row in measured["check"]:
        assert 0 < float(row["error"]) < 0.01 and 0 < float(row["backward_error"]) < 0.01
    assert measured["machine"][0]["torch"] == torch.__version__


def test_each_stage_says_how_long_it_took(measured):
    assert [row["at_once"] for row in measured["sft"]] == [1, 2]
    assert [row["at_once"] for row in measured["judge"]] == [2, 4]
    assert [row["what"] for row in measured["load"]] == ["training 4 bits", "roles"]
    for stage in ("sft", "judge", "grpo"):
        for row in measured[stage]:
            seconds = float(row.get("s_step") or row["s"])
            assert seconds > 0 and "note" not in row
            assert row["card_gb"] == row["peak_gb"] == ""  # no GPU: not measured


def test_siblings_in_one_sequence_have_the_log_probabilities_that_they_have_alone(measured):
    apart, together, difference = measured["logp"]
    assert (apart["siblings"], together["siblings"]) == (1, 2)
    assert float(difference["largest_difference"]) < 1e-4 and float(difference["log_p"]) < -1


def test_a_step_of_reinforcement_learning_teaches(measured):
    (row,) = measured["grpo"]
    assert float(row["grad_norm"]) > 0 == row["equal_groups"]


def test_a_step_that_does_not_fit_is_tried_with_fewer_at_once(tmp_path, monkeypatch):
    rows, tried = [], []

    def step(policy, judge, optimizer, pictures, settings, preset, programs):
        tried.append((preset["sample_batch"], preset["judge_batch"]))
        if preset["sample_batch"] > 16:
            raise torch.OutOfMemoryError("tried to allocate")
        names = "s", "sample_s", "reference_s", "judge_s", "update_s", "grad_norm"
        return dict.fromkeys(names, 2.0) | {"zero_std_groups": 0}

    monkeypatch.setattr(models, "Qwen3VLForConditionalGeneration", None)
    monkeypatch.setattr(gpu_stages, "cannot_draw", str)
    monkeypatch.setattr(speed_grpo, "timed_step", step)
    bench = gpu_stages.Bench("nano", tmp_path, rows.append)
    gpu_stages.grpo(bench, 24, 2, 2, 64, 8, ((64, 8), (32, 8), (16, 4), (8, 2)))
    assert tried == [(64, 8), (32, 8), (16, 4)]
    assert [row.get("note") for row in rows[1:]] == ["out of memory", "out of memory", None]
    assert rows[-1]["tokens_s"] == "16"


def test_a_profile_names_what_takes_longest(measured):
    whole, *parts = [row for row in measured["where"] if row["of"] == "sft"]
    times = [float(row["device_s"]) for row in parts]
    assert len(parts) == 8 and times == sorted(times, reverse=True)
    assert sum(times) <= float(whole["device_s"]) + 0.01


@pytest.mark.parametrize("flags, words", [
    ([], "finds no GPU"), (["--shape", "9b"], "--shape is one of nano"),
    (["--stages", "sft,rl"], "--stages are some of check,sft,"),
    (["--seconds", "0"], "must be greater than 0"),
])
def test_mistakes_get_a_sentence(capsys, flags, words):
    try:
        assert speed_gpu.main(flags) == 2
    except SystemExit as stop:
        assert stop.code == 2
    assert words in capsys.readouterr().err


def test_rows_of_another_machine_are_not_mixed_in(tmp_path, capsys):
    row = {"gpu": "A", "shape": "8b", "number": 0, "stage": "check", "done": True}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert speed_gpu.main(["--shape", "nano", "--out", str(tmp_path)]) == 2
    assert "holds rows of 8b on A; give another --out" in capsys.readouterr().err


@pytest.mark.parametrize("numbers, expected", [
    ([0, 1, 2, 3], [[0, 1], [2, 3]]), ([1, 3, 4], [[1], [3, 4]]), ([5, 6, 9], [[5, 6], [9]]),
    ([0, 9], [[0], [9]]), ([], []),
])
def test_stages_that_share_a_model_share_a_process(numbers, expected):
    assert speed_gpu.groups(numbers) == expected


def test_what_is_late_or_killed_is_noted_and_done_by_the_next_call(tmp_path, capsys):
    rows, table = tmp_path / "rows.jsonl", tmp_path / "table.md"
    flags = ["--shape", "nano", "--stages", "check", "--out", str(tmp_path)]
    assert speed_gpu.main([*flags, "--patience", "0.001"]) == 1
    assert "note not done in time" in capsys.readouterr().out
    killed = start("-m", "data.experiments.speed_gpu", *flags)
    deadline = time.monotonic() + 120
    while "| tokens |" not in table.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert found[0]["tokens"] == 1 and not any("note" in row for row in found)
    assert speed_gpu.main(flags) == 0
    assert "nothing is left to measure" in capsys.readouterr().out
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row.get("tokens") for row in found] == [1, 8, None, None] and found[-1]["done"]
    assert speed_gpu.main(flags) == 0  # nothing is measured twice
    assert len(rows.read_text().splitlines()) == 4
