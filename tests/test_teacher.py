"""data/teacher.py against a local server that also misbehaves: labels, filters, edits, never two
bills for a pair.
"""
import json
import os
import re
import shutil
import signal
import time
from collections import Counter

import pytest
from test_build import FIELDS

from conftest import ROOT, mistake
from data import teacher
from data.pairs import read_pairs
from data.samples import judge_sample
from data.serve import JudgeServer, pictures, question
from data.verdict import Discrepancy, Verdict
from render import render_many

EXAMPLES = ROOT / "tests/six_pairs"  # each with errors, both pictures in one style
PAIRS = read_pairs(EXAMPLES)


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The four examples that are no charts, which take longest to draw."""
    folder = tmp_path_factory.mktemp("quick")
    shutil.copytree(EXAMPLES / "images", folder / "images")
    rows = [row for row in lines(EXAMPLES / "pairs.jsonl") if row["category"] != "chart"]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


QUICK = {pair.id: 1 for pair in PAIRS if pair.task != "chart"}


def pair_of(body):
    """The pair that a request is about: its programs stand in the question."""
    return next(pair for pair in PAIRS if pair.reference.code in question(body))


def perfect(body):
    return pair_of(body).truth.to_json()


def shown(pair):
    """The two pictures in what train_sft.py makes of a pair, as bytes."""
    messages = judge_sample(pair).messages
    return [part["image"].tobytes() for part in messages[0]["content"][:2]]


def run(server, out, *flags, folder=EXAMPLES):
    return teacher.main([str(folder), "--teacher", f"{server.url}#wise", "--out", str(out),
                         *map(str, flags)])


def bills(*servers):
    """How often each pair was answered, and so paid for."""
    return Counter(pair_of(body).id for server in servers for body in server.answered)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- labels ---
def test_a_perfect_teacher_gives_the_measured_labels(tmp_path, capsys):
    with JudgeServer(perfect) as server:
        assert run(server, tmp_path, "--price_in", 1000, "--price_out", 5000, "--workers", 2) == 0
    told, made = capsys.readouterr().out, read_pairs(tmp_path)
    assert ("6 answers paid so far: 6000 tokens read, 60 written, 6.30 dollars" in told
            and "left out" not in told)
    assert (re.search(r"\| wise +\| 100.0/100.0/.*\| 0 of 6", told) and "6 of 6 pairs" in told
            and server.most <= 2)
    rows, sources = lines(tmp_path / "pairs.jsonl"), lines(EXAMPLES / "pairs.jsonl")
    assert len(rows) == len(made) == len(PAIRS) == 6
    for row, source in zip(rows, sources):
        assert set(row) == FIELDS and row["source"] == source["source"]
        assert all(row[key] == source[key]
                   for key in ("id", "category", "human_errors", "gt_code", "pred_code"))
    bodies = sorted(server.bodies, key=lambda body: PAIRS.index(pair_of(body)))
    for pair, source, body in zip(made, PAIRS, bodies, strict=True):
        assert shown(pair) == [picture.tobytes() for picture in pictures(body)]
        assert '"errors":[{' in judge_sample(pair)[1]
        assert source.rendering.code in question(body) and "data URL" not in question(body)
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("wise", 0.0, 8192)


def test_what_is_left_out(tmp_path, capsys):
    invented = Verdict("chart",
                       [Discrepancy("text_error", 2, "x ticks", "reads 'Zebra'")]).to_json()
    cut_off = PAIRS[3].truth.to_json()[:-60] + ',{"category":"text_er'
    answers = {PAIRS[0].id: invented, PAIRS[1].id: "I would rather not.",
               PAIRS[2].id: '{"errors":[]}', PAIRS[3].id: cut_off}
    with JudgeServer(lambda body: answers.get(pair_of(body).id) or perfect(body)) as server:
        assert run(server, tmp_path) == 0
    told = capsys.readouterr().out
    assert "left out, 1 errors: name what neither picture shows" in told and "2 of 6" in told
    assert "left out, 2 pairs: unreadable" in told and "left out, 2 pairs: no error left" in told
    assert [pair.id for pair in read_pairs(tmp_path)] == [pair.id for pair in PAIRS[4:]]


TABLE = [{"task": "table",
          "tables": [{"cells": [{"text": "Net income"}, {"text": "-88"}, {"text": "7.5 %"}]}]}] * 2
# Location, description, does filter 1 leave it out, does filter 2; row 3, column 2 is measured
# to be wrong
FILTERS = [
    ("row 3, column 2", "reads '-88', should be '7.5 %'", False, False),
    ("third row, 2nd column", "the number is wrong", False, False),
    ("row 3, column 2", "reads “net  Income”", False, False),
    ("row 3, column 2", "is 'red', should be '#00f'", False, False),
    ("row 3, column 2", "reads '99', should be '-88'", True, False),
    ("row 3, column 2", "reads 'come'", True, False),
    ("row 3, column 2", "reads 'Net inc...'", False, False),
    ("row 2, column 3", "reads '-88'", False, True),
    ("column 'Costs'", "empty", True, True),
    ("row 3", "is wrong", False, False),
]


@pytest.mark.parametrize("location, description, first, second", FILTERS)
def test_filters(location, description, first, second):
    error = Discrepancy("text_error", 2, location, description)
    measured = [Discrepancy("numeric_error", 3, "row 3, column 2",
                            "reads '-88', should be '7.5 %'")]
    assert (teacher.invents(error, TABLE) == first
            and teacher.contradicts("table", error, measured) == second)


def test_exact_labels_pass_both_filters_and_those_of_other_pairs_do_not():
    pairs = [pair for pair in read_pairs(ROOT / "data/bench") if pair.task != "chart"]
    programs = [(pair.task, side.code) for pair in pairs
                for side in (pair.reference, pair.rendering)]
    drawn = render_many(programs, size=128)
    scenes = [[one.scene, two.scene] for one, two in zip(drawn[::2], drawn[1::2])]
    errors = [pair.truth.errors for pair in pairs]

    def left_out(shift):
        """Share of the errors that do not pass, each held against the pair `shift` places further
        on.
        """
        found = []
        for i in range(len(pairs)):
            j = (i + shift) % len(pairs)
            found += [teacher.invents(error, scenes[j])
                      or teacher.contradicts(pairs[j].task, error, errors[j])
                      for error in errors[i]]
        return sum(found) / len(found)

    assert left_out(0) == 0 and left_out(2) > 0.8  # tables and drawings come in turn


# --- bills ---
@pytest.mark.parametrize("trouble, missing", [
    (["429", "ok", "429"], 0), (["500", "500"], 0), (["stall"], 0), (["cut", "drop"], 0),
    (["later"], 0), (["ok", "400"], 1), (["ok", "json", "html", "shape"], 3),
    (["ok"] + ["500"] * 7, 1),
])
def test_a_second_run_asks_only_for_what_got_no_answer(trouble, missing, quick, tmp_path, capsys):
    flags = "--workers", 1, "--timeout", 1.5 if "stall" in trouble else 60
    with JudgeServer(perfect, *trouble) as first:
        assert run(first, tmp_path, *flags, folder=quick) == 0
    told = capsys.readouterr().out
    assert (len(lines(tmp_path / "pairs.jsonl")) == 4 - missing
            and ("asked again next time" in told) == bool(missing))
    with JudgeServer(perfect) as second:
        assert run(second, tmp_path, *flags, folder=quick) == 0
    assert len(second.bodies) == missing and bills(first, second) == QUICK
    assert len(lines(tmp_path / "answers.jsonl")) == len(lines(tmp_path / "pairs.jsonl")) == 4


def test_nonsense_is_paid_once_and_a_larger_limit_goes_on(quick, tmp_path):
    with JudgeServer(lambda body: "no idea") as server:
        for limit, asked in ((2, 2), (2, 2), (4, 4), (1, 4)):
            assert (run(server, tmp_path, "--limit", limit, folder=quick) == 0
                    and len(server.bodies) == asked)
    assert (tmp_path / "pairs.jsonl").read_text() == ""


def test_ctrl_c_keeps_every_answer_that_was_paid(tmp_path, capsys):
    # a shell's background jobs are deaf to it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    once = iter([True])

    def slow(body):
        if len(server.bodies) >= 3:
            if next(once, False):
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)  # so that not all are answered before the signal arrives
        return perfect(body)

    with JudgeServer(slow) as server:
        assert run(server, tmp_path, "--workers", 2) == 130
    kept = len(lines(tmp_path / "answers.jsonl"))
    assert (3 <= kept == len(server.answered) < len(PAIRS)
            and f"Stopped; {kept} answers are kept" in capsys.readouterr().err)
    with open(tmp_path / "answers.jsonl", "a") as file:
        file.write('{"id": "chart-0')  # and then it was killed, too
    with JudgeServer(perfect) as again:
        assert run(again, tmp_path) == 0
    assert (bills(server, again) == {pair.id: 1 for pair in PAIRS}
            and len(lines(tmp_path / "pairs.jsonl")) == 6)


def test_a_server_that_dies_ends_the_run_and_costs_nothing(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(teacher, "CHUNK", 2)
    monkeypatch.setattr(teacher, "RETRIES", 1)
    with JudgeServer(perfect, "ok", "ok", *["drop"] * 99) as dying:
        assert run(dying, tmp_path, "--workers", 1, folder=quick) == 2
    assert ("gave no answer at all" in (told := capsys.readouterr().err)
            and "2 answers are kept" in told)
    assert len(dying.bodies) == 6  # 2 answers, 2 questions asked twice
    with JudgeServer(perfect) as again:
        assert run(again, tmp_path, folder=quick) == 0
    assert bills(dying, again) == QUICK


# --- edits ---
def test_edits_are_rendered_and_measured(tmp_path, capsys):
    one, two, three, four = [pair for pair in PAIRS if pair.task != "chart"]
    answers = {one.id: f"Here:\n```html\n{one.rendering.code}\n```", two.id: two.reference.code,
               three.id: "<svg><circle", four.id: four.rendering.code}
    broken = "import matplotlib.pyplot as plt\n1/0"
    with JudgeServer(lambda body: answers.get(pair_of(body).id, broken)) as server:
        assert run(server, tmp_path, "--edit") == 0
        assert run(server, tmp_path, "--edit") == 0  # nothing is asked
    told, made = capsys.readouterr().out, read_pairs(tmp_path)
    assert ("left out, 1 pairs: nothing visible changed" in told
            and "left out, 3 pairs: do not render" in told)
    assert [(pair.id, pair.truth.errors, pair.rendering.code) for pair in made] == [
        (pair.id, pair.truth.errors, pair.rendering.code) for pair in (one, four)]
    assert [set(row) for row in lines(tmp_path / "pairs.jsonl")] == [FIELDS | {"pred_boxes"}] * 2
    assert list(map(shown, made)) == list(map(shown, (one, four)))
    assert len(server.bodies) == 6 and server.bodies[0]["temperature"] == 1.0
    kinds = [re.findall(r"^- (\w+): ", question(body), re.M) for body in server.bodies]
    assert all(1 <= len(set(names)) == len(names) <= 4 for names in kinds)
    assert all(isinstance(body["messages"][0]["content"], list) and not pictures(body)
               for body in server.bodies)


# --- mistakes ---
MISTAKES = {  # flags, words of the sentence
    "no teacher": ([], "--teacher names server and model"),
    "no model": (["--teacher", "http://127.0.0.1:9/v1"], "--teacher names server and model"),
    "no URL": (["--teacher", "localhost#m"], "'localhost#m' is no URL"),
    "no server": (["--teacher", "http://127.0.0.1:9/v1#m"], "0 answers are kept"),
    "no key": (["--teacher", "{url}#m"], "this is a 401"),
    "out is the folder": (["--teacher", "{url}#m", "--out", "{tmp}/same", "--folder", "{tmp}/same"],
                          "another --out"),
    "other settings": (["--teacher", "{url}#m", "--out", "{tmp}/made"], "made with other settings"),
    "broken answers": (["--teacher", "{url}#m", "--out", "{tmp}/broken"],
                       "answers.jsonl:1 is no answer"),
    "no folder": (["--teacher", "{url}#m", "--folder", "{tmp}/none"],
                  "none is neither a .jsonl file nor a folder that holds one"),
    "no programs": (["--teacher", "{url}#m", "--folder", "{tmp}/bare"],
                    "pairs.jsonl:2 lacks gt_code or pred_code"),
    "an id twice": (["--teacher", "{url}#m", "--folder", "{tmp}/twice"], "the same id twice"),
    "out is a file": (["--teacher", "{url}#m", "--out", "{tmp}/file"],
                      "could not be read or written"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_a_sentence(name, tmp_path, capsys, monkeypatch):
    flags, words = MISTAKES[name]
    monkeypatch.setattr(teacher, "RETRIES", 0)
    for made in ("made", "broken", "bare", "twice"):
        (tmp_path / made).mkdir()
    (tmp_path / "file").write_text("")
    shutil.copytree(EXAMPLES, tmp_path / "same")
    (tmp_path / "made/config.json").write_text("{}")
    (tmp_path / "broken/answers.jsonl").write_text('{"id": 3}\n')
    rows = lines(EXAMPLES / "pairs.jsonl")
    bare = [rows[0], rows[1] | {"pred_code": None}]
    twice = [rows[0], rows[2] | {"id": rows[0]["id"]}]
    for made, chosen in (("bare", bare), ("twice", twice)):
        shutil.copytree(EXAMPLES / "images", tmp_path / made / "images")
        (tmp_path / made / "pairs.jsonl").write_text("\n".join(map(json.dumps, chosen)))
    with JudgeServer(perfect, *["401"] * 6) as server:
        flags = [flag.format(url=server.url, tmp=tmp_path) for flag in flags]
        folder = flags.pop(flags.index("--folder") + 1) if "--folder" in flags else EXAMPLES
        flags = [flag for flag in flags if flag != "--folder"]
        out = [] if "--out" in flags else ["--out", str(tmp_path / "out")]
        _, told = mistake(capsys, teacher.main, folder, *flags, *out)
    assert words in told


def test_two_runs_at_once_do_not_pay_twice(tmp_path, capsys):
    paid = teacher.Paid(tmp_path / "answers.jsonl")
    with JudgeServer(perfect) as server:
        assert run(server, tmp_path) == 2 and not server.bodies
    paid.file.close()
    assert "Another run writes to" in capsys.readouterr().err
