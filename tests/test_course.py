"""The course: its hand-out, its grading and its walk."""
import csv
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, mistake
from data.course import __main__ as course
from data.course import grade, walk
from data.course.exercises import EXERCISES, without_answers
from data.course.handout import TABLES, TESTS, without_table, write_handout
from data.renderers.sandbox import missing_layer
from data.verdict import InputError

confined = pytest.mark.skipif(missing_layer() is not None,
                              reason="this system lacks a layer of the sandbox")
PATIENCE = 300.0  # seconds: a busy machine is no mistake of a student


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    """The student's copy of the first day, and what is missing in it."""
    folder = tmp_path_factory.mktemp("course") / "handout"
    return folder, write_handout(folder)


@pytest.fixture(scope="module")
def parts():
    return grade.make_parts("tests")


@pytest.fixture(scope="module")
def cell():
    with grade.the_cell() as running:
        yield running


def handed_in(folder, changes):
    """A copy of the project's code with `changes` {file: [(old, new)]}, each found once."""
    code = [*ROOT.glob("*.py"), *ROOT.glob("data/**/*.py")]
    for source in [*code, ROOT / "data/course/siblings.csv"]:
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for file, pairs in changes.items():
        text = (folder / file).read_text()
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / file).write_text(text)
    return folder


def lost(rows):
    """{(exercise, point): why} of the points that were not earned."""
    return {(row["exercise"], row["point"]): row["why_not"] for row in rows if not row["earned"]}


# --- the hand-out ---
def test_the_handout_has_no_answers(handout):
    folder, missing = handout
    assert len(missing) == sum(len(exercise.functions) for exercise in EXERCISES) == 11
    for where, number in missing.items():
        file, name = where.split(": ")
        line = f'raise NotImplementedError("exercise {number}: {name}")'
        assert (folder / file).read_text().count(line) == 1
    assert not (folder / "data/course/siblings.csv").exists()
    texts = (folder / "data/course/README.md").read_text()
    assert "answer -->" not in texts and "the best trick, a table" not in texts
    for file, name in TESTS:
        assert name in (ROOT / file).read_text() and name not in (folder / file).read_text()
    for file, head in TABLES:
        assert head in (ROOT / file).read_text() and head not in (folder / file).read_text()


def test_signatures_and_docstrings_stay(handout):
    folder, _ = handout
    text = (folder / "train_rl.py").read_text()
    assert ">>> [round(a, 3) for a in group_advantages(" in text
    assert "centred" not in text and "def verm(" in text
    ours, theirs = ((root / "data/engine.py").read_text() for root in (ROOT, folder))
    start = ours.index("def log_probs(")
    assert theirs[:start] == ours[:start] and "_token_log_probs(base.lm_head" not in theirs
    assert theirs[theirs.index("def _token"):] == ours[ours.index("def _token"):]


SOURCE = "class A:\n    def f(self):\n        return 1\n\n\ndef g(x,\n      y):\n    '''Add.'''\n" \
         "    x += y\n    return x\n"


@pytest.mark.parametrize("names, expected", [
    ({"A.f": 1}, SOURCE.replace("return 1", 'raise NotImplementedError("exercise 1: A.f")')),
    ({"g": 2}, SOURCE.replace("x += y\n    return x",
                              'raise NotImplementedError("exercise 2: g")')),
    ({"f": 1}, None), ({"A.g": 1}, None), ({"A": 1}, None), ({"h": 1}, None),
])
def test_bodies_are_found_by_name(names, expected):
    if expected is None:
        with pytest.raises(InputError, match="list of exercises"):
            without_answers(SOURCE, names)
    else:
        assert without_answers(SOURCE, names) == expected


@pytest.mark.parametrize("text", ["no table", "| a | b |\n| a | b |\n\n| a | b |\n"])
def test_a_table_that_is_not_found_once_is_an_error(text):
    with pytest.raises(InputError, match="was found [02] times"):
        without_table(text, "| a |")


def test_other_tests_pass_and_those_of_exercises_fail(handout, tmp_path):
    """Told apart: some tests of each kind, and one that fails for a reason of its own."""
    folder = shutil.copytree(handout[0], tmp_path / "copy")
    (folder / "tests/test_mine.py").write_text("def test_mine():\n    assert 1 == 2\n")
    files = ("tests/test_siblings.py", "tests/test_doctests.py", "tests/test_mine.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k",
         "siblings or mine or visual_erm or verdict or train_rl or runs"],
        cwd=folder, capture_output=True, text=True)  # as a student runs them
    last = done.stdout.split("\n=")[-1]
    assert "5 failed: exercise 7 is still to be written" in done.stdout
    assert all(f"1 failed: exercise {n} is still to be written" in done.stdout for n in (1, 2, 5))
    assert "1 failed for another reason\n  tests/test_mine.py::test_mine\n" in done.stdout
    assert re.search(r"9 failed, [1-9]\d* passed", last), done.stdout


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("x")
    _, told = mistake(capsys, course.main, "handout", "--out", tmp_path)
    assert "is there already" in told and (tmp_path / "thesis.txt").exists()


# --- the grading ---
@confined
def test_the_project_has_all_points_and_the_handout_none(handout, parts, cell):
    rows = grade.grade(ROOT, parts, cell, PATIENCE)
    assert lost(rows) == {} and len(rows) == 34
    rows = grade.grade(handout[0], parts, cell, PATIENCE)
    assert sum(row["earned"] for row in rows) == 0
    assert all(why.startswith(("error: NotImplementedError: exercise", "error: FileNotFoundError"))
               for why in lost(rows).values())


@confined
def test_planted_mistakes_lose_their_points(parts, cell, tmp_path):
    folder = handed_in(tmp_path, {
        "train_rl.py": [("grouped.std(1, keepdim=True)", "grouped.std(1, False, keepdim=True)"),
                        ("d = ref_log_p - log_p ", "d = log_p - ref_log_p ")],
        "data/verdict.py": [("elif _contradicts_itself(error.description):", "elif False:")]})
    chosen = {number: parts[number] for number in (1, 2, 3, 5, 7)}
    found = lost(grade.grade(folder, chosen, cell, PATIENCE))
    assert set(found) == {(2, "over the deviation"), (2, "equal rewards"), (3, "KL"),
                          (5, "repetitions and contradictions")}
    assert all(why.startswith("case ") for why in found.values())


HOSTILE = f'''
import os, socket, struct
def forge(*_, **__):
    """Answers to what nobody asked, to all that is open; then an end as if all was well."""
    forged = b'{{"value": [1.0], "earned": 1, "error": ""}}'
    print("34/34 points")
    for number in range(3, 256):
        try:
            os.write(number, struct.pack("=I", len(forged)) + forged)
        except OSError:
            pass
    os._exit(0)
def escape(*_, **__):
    """Tries what it must not; says so in its message if one of these works."""
    for number, attempt in enumerate((
            lambda: open({str(ROOT / "train_rl.py")!r}).read(), lambda: socket.socket(),
            lambda: open({str(ROOT / "new.txt")!r}, "w"), lambda: os.kill(os.getppid(), 9),
            lambda: os.fork(), lambda: open(os.path.join(os.path.dirname(__file__), "new"), "w"),
            lambda: open(f"/proc/{{os.getppid()}}/mem", "rb"))):
        try:
            attempt()
        except OSError:
            continue
        raise RuntimeError(f"attempt {{number}} got out")
    raise RuntimeError("nothing got out")
'''


@confined
def test_a_hostile_submission_gets_what_it_deserves(parts, cell, tmp_path):
    folder = handed_in(tmp_path, {"visual_erm.py": [
        ("    if scale is None:\n        scale = max", "    while True: pass\n    if scale is None:"
                                                     "\n        scale = max")]})
    with open(folder / "train_rl.py", "a") as file:
        file.write(HOSTILE + "group_advantages, grpo_loss = forge, escape\n")
    with open(folder / "data/verdict.py", "a") as file:
        file.write("\nVerdict.parse = lambda *_: exit(0)\n")
    looping = lost(grade.grade(folder, {1: parts[1]}, cell, 2.0))
    assert len(looping) == 5 and set(looping.values()) <= {
        "no answer within 2 s", "its process ended without an answer (exit -24)"}  # SIGXCPU
    chosen = {number: parts[number] for number in (2, 3, 5, 7)}
    found = lost(grade.grade(folder, chosen, cell, PATIENCE))
    assert {number for number, _ in found} == {2, 3, 5} and len(found) == 3 + 4 + 5
    assert all("nothing got out" in why for (number, _), why in found.items() if number == 3)
    assert all("SystemExit" in why for (number, _), why in found.items() if number == 5)
    assert not (ROOT / "new.txt").exists() and not (folder / "new").exists()
    assert lost(grade.grade(ROOT, {2: parts[2]}, cell, PATIENCE)) == {}  # the next has its points


@pytest.mark.parametrize("answer", [
    None, 7, "x", [], [1], [[]], [{}], [None] * 3, {"value": [1]}, [[1e400, "a"]] * 5,
    [[[[[[]]]]]] * 4, ["1"] * 5, [10 ** 400] * 3])
def test_no_form_of_answer_ends_the_grading(answer, parts):
    for asked in parts.values():
        for part in asked:
            assert grade._why_not(part, {"value": answer}) != ""


@confined
def test_the_table_and_the_csv(tmp_path, capsys, monkeypatch):
    few = dict.fromkeys((2, 7))
    monkeypatch.setattr(grade, "EXERCISES", [e for e in EXERCISES if e.number in few])
    folder = handed_in(tmp_path / "anna", {"train_rl.py": [("centred.flatten()", "grouped")]})
    assert course.main(["grade", str(folder), "--csv", str(tmp_path / "points.csv"), "--seed", "1",
                        "--timeout", str(PATIENCE)]) == 0
    out = capsys.readouterr().out
    assert "| submission | 2 | 7 | points |" in out and "| anna | 0/3 | 3/3 | 3/6 |" in out
    with open(tmp_path / "points.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["earned"] for row in rows] == list("000111")
    assert rows[0]["submission"] == "anna" and rows[0]["why_not"].startswith("case 1 of 2: ")


@pytest.mark.parametrize("arguments, words", [
    (["grade"], "Give the folders"), (["grade", "nowhere"], "There is no folder"),
    (["grade", "data", "./data"], "one name"), (["grade", "data", "--timeout", "0"], "--timeout"),
    (["handout"], "--out FOLDER"), (["walk", "data"], "takes no folders"),
    (["walk", "--task", "poem"], "is unknown"), (["handout", "--out", "data/x"], "lies in what"),
])
def test_mistakes_of_a_command(arguments, words, capsys):
    assert words in mistake(capsys, course.main, *arguments)[1]


# --- the walk ---
def test_the_walk_shows_one_real_step(tmp_path):
    step = walk.take_step("svg", walk.SEED)
    rewards, mask = step.rewards, step.batch.mask
    expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert step.advantages.tolist() == pytest.approx(expected.tolist()) and rewards.std() > 0
    first, second = step.iterations
    weighted = (step.advantages * mask.sum(1)).sum() / mask.sum()
    assert first["policy_loss"] == pytest.approx(-weighted.item(), abs=1e-5)  # all ratios are 1
    ratio = (step.new - step.old).exp()
    gain = (ratio * step.advantages[:, None]).minimum(
        ratio.clamp(0.8, 1.2) * step.advantages[:, None])
    assert second["policy_loss"] == pytest.approx(-(gain * mask).sum().item() / mask.sum().item(),
                                                  abs=1e-5)
    page = walk.page(step, "<b>")
    shown = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert all(f"<td class=n>{value:.3f}" in shown for value in rewards.tolist())
    assert all(f"A = {value:+.3f}" in shown for value in step.advantages.tolist())
    assert f"{second['policy_loss']:.5f}" in shown and "&lt;b&gt;" in shown
    assert 'content="width=device-width"' in shown
    assert not re.search(r"(src|href)=|<script|@import|url\(", re.sub(r'<img src=""', "", shown))
