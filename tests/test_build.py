"""data.build: same seed, same bytes; a killed build goes on; rows have VC-RewardBench's fields;
sentences for mistakes.
"""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from conftest import ROOT, mistake, script
from data import build
from data.build import Program, Settings, make_family
from data.experiments import sources
from data.pairs import hold_out, read_pairs
from data.verdict import CATEGORIES, InputError

FIELDS = {"id", "category", "gt_img_path", "pred_img_path", "human_errors", "gt_code", "pred_code",
          "source"}
DRAWN = {"gt_drawing", "pred_drawing", "pred_boxes"}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file()}


def test_rows_and_pictures(pairs_folder):
    rows = [json.loads(line) for line in (pairs_folder / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) == 66 and len({row["id"] for row in rows}) == 66
    for row in rows:
        assert set(row) == FIELDS | DRAWN and row["source"] == "edit"
        assert bool(row["human_errors"]) == bool(row["pred_boxes"])
        assert all(Image.open(pairs_folder / row[key]).size == (128, 128)
                   for key in ("gt_img_path", "pred_img_path"))
        for error in row["human_errors"]:
            assert set(error) == {"type", "severity", "location", "description"}
            assert error["type"] in CATEGORIES[row["category"]] and error["severity"] in (1, 2, 3)
    assert any(row["human_errors"] for row in rows) and any(not row["human_errors"] for row in rows)


def test_same_seed_same_bytes_and_a_killed_build_goes_on(pairs_folder, tmp_path):
    command = ["-m", "data.build", "--task", "table,svg", "--n", 66, "--seed", 7, "--out", tmp_path]
    running = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT,
                               stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               start_new_session=True)
    while not (tmp_path / "progress.json").exists() and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGSTOP)  # after the first chunk of 64, before the end
    second = script(*command)
    assert second.returncode == 2 and "Another process writes to" in second.stderr
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    with open(tmp_path / "pairs.jsonl", "a") as file:
        file.write('{"id": "a row cut off by the')
    done = script(*command)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(pairs_folder)


def test_pairs_of_variants_are_taken_both_ways():
    made = make_family(Settings(variants=3, equal=0.0), Program("svg", 5))
    assert (len(made.programs) == 4
            and made.pairs == [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)])


@pytest.mark.parametrize("mix, least, most", [(0.0, 0, 0), (0.5, 75, 125), (1.0, 200, 200)])
def test_mix_is_the_share_of_programs_that_the_policy_writes(mix, least, most):
    settings = Settings(source="infer", mix=mix, model="m", equal=1.0)
    made = [make_family(settings, Program("table", n)) for n in range(200)]
    assert least <= sum(f.programs[1] is None for f in made) <= most
    # `equal` leaves a policy's pairs alone; the others are one program in two styles
    for family in made:
        assert family.pairs == [(0, 1 if family.drafts else 2)]
        assert family.drafts or family.programs[2] == family.programs[0]
    assert [f.programs for f in made if not f.drafts] == [
        make_family(Settings(equal=1.0), Program("table", f.number)).programs
        for f in made if not f.drafts]


@pytest.mark.parametrize("by, sets, steps", [
    ("task", {"chart": "chart-1", "table": "table-1", "svg": "svg-1",
              "mix": "chart-1,table-1,svg-1"},
     {"chart": "9", "table": "9", "svg": "9", "mix": "27"}),
    ("source", {"edit": "edit-1", "half": "half-1", "infer": "infer-1"},
     {"edit": "9", "half": "9", "infer": "9"}),
])
def test_the_ablations_judges_learn_from_their_sets(monkeypatch, tmp_path, by, sets, steps):
    ran = {}
    monkeypatch.setattr(sources, "run",
                        lambda out, name, *command: ran.update({name: list(map(str, command))}))
    files = sources.parts(sources.Settings(by=by, steps=9), tmp_path)
    trained = {name.removeprefix("train-"): command for name, command in ran.items()
               if name.startswith("train-")}
    assert {name: c[c.index("--data") + 1].replace(f"{tmp_path}/", "")
            for name, c in trained.items()} == sets
    assert {name: c[c.index("--steps") + 1] for name, c in trained.items()} == steps
    assert ({judge for judge, _ in files} == {"start", *sets}
            and len(files) == len({*files.values()}))
    built = [command for name, command in ran.items() if name.startswith("build-")]
    assert (len(built) == (3 if by == "task" else 4)
            and len({tuple(command) for command in built}) == len(built))


def test_hold_out_keeps_families_together(pairs_folder):
    rows = read_pairs(pairs_folder)
    learn, held = hold_out(rows, 10)
    assert len(held) >= 10 and len(learn) + len(held) == len(rows)
    assert not {pair.family for pair in learn} & {pair.family for pair in held}
    assert hold_out(rows, 10) == (learn, held)


def test_a_policys_errors_are_measured(tmp_path, monkeypatch, capsys):
    answers = {"same": lambda code: f"```html\n{code}\n```",
               "wrong": lambda code: code.replace("<td>", "<td>9", 1), "broken": lambda code: ""}
    codes = [make_family(Settings(), Program("table", n)).programs[0] for n in range(64)]
    kinds = [*answers] * 22
    asked = []

    def policy(shown):
        asked.extend(shown)
        return [answers[kind](code) for kind, code in zip(kinds, codes)]

    monkeypatch.setattr(build, "load_policy", lambda settings: policy)
    assert build.main(["--task", "table", "--n", "40", "--source", "infer", "--model", "m",
                       "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) == 40 and len(asked) == 64  # a chunk is asked at once
    assert all(task == "table" and picture.size == (128, 128) for task, picture in asked)
    for row in rows:
        number = int(row["id"].split("-")[1])
        assert row["source"] == "infer" and row["policy_output"] == ["pred"]
        assert row["gt_code"] == codes[number]
        assert row["pred_code"].strip() == answers[kinds[number]](codes[number]).strip("`html\n")
        assert bool(row["human_errors"]) == (kinds[number] == "wrong")
    assert "21 answers that draw nothing" in capsys.readouterr().out


def test_a_policy_that_draws_nothing_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "load_policy", lambda settings: lambda shown: ["no"] * len(shown))
    command = ["--task", "svg", "--n", 9, "--source", "infer", "--model", "m", "--out", tmp_path]
    _, told = mistake(capsys, build.main, *command)
    assert "None of 64 answers of m can be drawn" in told


def test_the_same_samples_whether_killed_or_not(untrained, tmp_path, monkeypatch):
    """The untrained model draws nothing, so its samples are looked at; the seed of a chunk is what
    makes them equal.
    """
    sampled = []
    settings = Settings(source="infer", model=str(untrained), preset="tiny")
    monkeypatch.setitem(build.preset_for("tiny"), "code_tokens", 4)
    policy = build.load_policy(settings)

    def listen(shown):
        sampled.append(policy(shown))
        return sampled[-1]

    for first in (0, 64, 64, 0):  # 64 again: what a resumed build does
        families = [make_family(settings, Program("svg", n)) for n in range(first, first + 3)]
        build.draw(families, (128, 128))
        build.infer(families, listen, settings, build.Counter())
    assert sampled[0] == sampled[3] and sampled[1] == sampled[2] and sampled[0] != sampled[1]


SVG = '<svg viewBox="0 0 {0} {0}"><circle cx="4" cy="4" r="3" fill="red"/></svg>'
HUB = [SVG.format(9), "<svg", SVG.format(19), "plain text", SVG.format(29)]


def test_public_programs_go_the_same_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "CHUNK", 2)
    rows = [{"Filename": f"{n}.svg", "Svg": code} for n, code in enumerate(HUB)]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out"
    command = ["--programs", f"starvector={tmp_path / 'set.jsonl'}", "--level", "2",
               "--out", str(out)]
    # it goes on each time
    for n, words in ((1, "1 pairs"), (3, "3 pairs"), (9, "has no more programs")):
        assert build.main([*command, "--n", str(n)]) == 0
        assert words in (said := capsys.readouterr().out)
    made = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert [row["origin"] for row in made] == ["starvector/0.svg", "starvector/2.svg",
                                               "starvector/4.svg"]
    assert ([row["gt_code"] for row in made] == [HUB[0], HUB[2], HUB[4]]
            and "2 programs that no edit applies to" in said)
    assert Image.open(out / made[0]["gt_img_path"]).size == (512, 512)


@pytest.mark.parametrize("arguments, words", [
    (["--task", "charts"], "--task 'charts' is unknown"),
    (["--level", "9"], "--level 9 does not exist"),
    (["--seed", "8"], "other settings"),
    (["--source", "hub"], "edit or infer, not 'hub'"),
    (["--source", "infer"], "go together"),
    (["--model", "data/tiny/base"], "go together"),
    (["--mix", "0.5"], "share of --source infer"),
    (["--source", "infer", "--model", "data/tiny/none", "--out", "OUT"],
     "There is no folder 'data/tiny/none'"),
    (["--programs", "chart3code", "--out", "OUT"], "no set 'chart3code'"),
])
def test_mistakes_get_a_sentence(pairs_folder, capsys, tmp_path, arguments, words):
    out = tmp_path / "out"
    arguments = [argument.replace("OUT", str(out)) for argument in arguments]
    command = ["--task", "table,svg", "--n", 66, "--seed", 7, "--out", pairs_folder, *arguments]
    _, told = mistake(capsys, build.main, *command)
    assert words in told
    assert not out.exists()  # nothing in the way of a second try


@pytest.mark.parametrize("file, text, words", [
    ("progress.json", '{"chunks": 1', "progress.json is broken"),
    ("progress.json", "[]", "progress.json is broken"),
    ("progress.json", '{"chunks": 1, "bytes": "9", "pairs": 1}', "progress.json is broken"),
    ("progress.json", '{"chunks": 1, "bytes": 9999999, "pairs": 64}', "lines are lost"),
    ("config.json", "{", "config.json is broken"), ("config.json", "null", "config.json is broken"),
])
def test_a_broken_folder_gets_a_sentence_and_loses_nothing(pairs_folder, tmp_path, capsys, file,
                                                           text, words):
    for name in ("pairs.jsonl", "config.json", "progress.json"):
        (tmp_path / name).write_text((pairs_folder / name).read_text())
    (tmp_path / file).write_text(text)
    before = (tmp_path / "pairs.jsonl").read_text()
    command = ["--task", "table,svg", "--n", 99, "--seed", 7, "--out", tmp_path]
    _, told = mistake(capsys, build.main, *command)
    assert words in told and (tmp_path / "pairs.jsonl").read_text() == before


@pytest.mark.parametrize("text, words", [(None, "holds one"), ("{}\n", "pairs.jsonl:1"),
                                         ("[1]\n", ":1"), ("\xff\n", ":1")])
def test_broken_pairs_are_named_by_file_and_line(tmp_path, text, words):
    if text is not None:
        (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        read_pairs(tmp_path)
