"""data.build: same seed, same bytes; a killed build goes on; rows have VC-RewardBench's fields; sentences for mistakes."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from conftest import ROOT, script
from data import build
from data.build import family, hold_out
from visual_erm import CATEGORIES, InputError, read_pairs

FIELDS = {"id", "category", "gt_img_path", "pred_img_path", "human_errors", "gt_code", "pred_code", "source"}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_and_pictures(pairs_folder):
    rows = [json.loads(line) for line in (pairs_folder / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) == 66 and len({row["id"] for row in rows}) == 66
    for row in rows:
        assert set(row) == FIELDS and row["source"] == "edit"
        assert all(Image.open(pairs_folder / row[key]).size == (128, 128) for key in ("gt_img_path", "pred_img_path"))
        for error in row["human_errors"]:
            assert set(error) == {"type", "severity", "location", "description"}
            assert error["type"] in CATEGORIES[row["category"]] and error["severity"] in (1, 2, 3)
    assert any(row["human_errors"] for row in rows) and any(not row["human_errors"] for row in rows)


def test_same_seed_same_bytes_and_a_killed_build_goes_on(pairs_folder, tmp_path):
    command = ["-m", "data.build", "--task", "table,svg", "--n", 66, "--seed", 7, "--out", tmp_path]
    running = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, start_new_session=True)
    while not (tmp_path / "progress.json").exists() and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)                               # after the first chunk of 64, before the end
    running.wait()
    with open(tmp_path / "pairs.jsonl", "a") as file:
        file.write('{"id": "a row cut off by the')
    done = script(*command)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(pairs_folder)


def test_pairs_of_variants_are_taken_both_ways():
    class Settings:
        seed, level, variants, equal = 0, 1, 3, 0.0

    programs, pairs = family("svg", Settings, 5)
    assert len(programs) == 4 and pairs == [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)]


def test_hold_out_keeps_families_together(pairs_folder):
    rows = read_pairs(pairs_folder)
    learn, held = hold_out(rows, 10)
    assert len(held) >= 10 and len(learn) + len(held) == len(rows)
    assert not {row["family"] for row in learn} & {row["family"] for row in held}
    assert hold_out(rows, 10) == (learn, held)


@pytest.mark.parametrize("arguments, words", [
    (["--task", "charts"], "unknown task 'charts'"),
    (["--level", "9"], "no level 9"),
    (["--seed", "8"], "other settings"),
])
def test_mistakes_get_a_sentence(pairs_folder, monkeypatch, arguments, words):
    command = ["--task", "table,svg", "--n", "66", "--seed", "7", "--out", str(pairs_folder), *arguments]
    monkeypatch.setattr(sys, "argv", ["data.build", *command])
    with pytest.raises(InputError, match=words):                         # the script prints it and exits with code 2
        build.main()


@pytest.mark.parametrize("text, words", [(None, "does not exist"), ("{}\n", "pairs.jsonl:1"), ("[1]\n", ":1"),
                                         ("\xff\n", ":1")])
def test_broken_pairs_are_named_by_file_and_line(tmp_path, text, words):
    if text is not None:
        (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        read_pairs(tmp_path)
