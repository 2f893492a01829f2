"""data.own: programs and pictures of one's own, and whether a judge has seen their like."""
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import refine
import visual_erm
from conftest import mistake
from data.models import PRESETS
from data.own import STRANGE, distances, features, guess_task, load_own, outside, statistics_of
from data.pairs import read_pairs
from data.serve import JudgeServer
from data.verdict import Discrepancy, InputError, Verdict

TINY = PRESETS["tiny"]
CHART = "import matplotlib.pyplot as plt\nplt.bar(['A', 'B', 'C'], [3, 7, %d])\n"
ICON = '<svg viewBox="0 0 9 9"><rect x="1" y="1" width="3" height="3" fill="%s"/></svg>'
TABLE = "<table><tr><td>1</td></tr></table>"
FILES = {"a.py": CHART % 5, "b.py": CHART % 4, "a.svg": ICON % "red", "b.svg": ICON % "blue",
         "a.html": TABLE, "a.md": "| a |\n| --- |\n| 1 |\n", "broken.svg": "<svg"}


@pytest.fixture
def files(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    Image.new("RGB", (128, 128), "white").save(tmp_path / "a.png")
    Image.new("RGB", (800, 600), "white").save(tmp_path / "large.png")
    return tmp_path


@pytest.mark.parametrize("names, task, expected", [
    ("a.py b.py", "", "chart"), ("a.svg b.png", "", "svg"), ("a.png b.md", "", "table"),
    ("a.png b.png", "svg", "svg"), ("", "", ""), ("a.HTML b.md", "", "table"),
    ("a.py b.svg", "", "are of two tasks"), ("a.png b.png", "", "chart, table, svg"),
    ("a.png b.png", "poem", "'poem'"),
])
def test_the_task_is_guessed_from_the_endings(names, task, expected):
    try:
        assert guess_task(names.split(), task) == expected
    except InputError as error:
        assert expected in str(error)


@pytest.mark.parametrize("names, canvas, sizes", [
    ("a.svg b.svg", 128, [(128, 128), (128, 128)]),
    ("a.svg a.png", 128, [(128, 128), (128, 128)]),
    ("large.png b.svg", None, [(800, 600), (800, 800)]),
])
def test_a_program_is_drawn_as_large_as_the_judge_sees(files, names, canvas, sizes):
    owns = load_own([files / name for name in names.split()], "svg", TINY | {"canvas": canvas})
    assert [own.image.size for own in owns] == sizes
    assert [bool(own.scene) for own in owns] == [name.endswith("svg") for name in names.split()]


def photograph():
    """What no task draws: soft colours everywhere."""
    y, x = np.mgrid[:128, :128]
    return Image.fromarray(np.uint8(np.dstack([x * 2, y * 2, 255 - x]) * 0.9))


def test_few_pictures_of_the_benchmark_are_strange_and_other_kinds_are():
    known, far, n = statistics_of("read:data/tiny/judge"), 0, 0
    for pair in read_pairs("data/bench")[::6]:
        for image in pair.images():
            far += distances(image, known)[pair.task] > STRANGE
            n += 1
    assert n == 100 and far <= 2
    assert min(distances(photograph(), known).values()) > STRANGE


@pytest.mark.parametrize("size, canvas, words", [
    ((128, 128), 128, ""), ((800, 600), 128, "larger (800 x 600)"), ((800, 600), None, ""),
])
def test_size(size, canvas, words):
    told = outside(Image.new("RGB", size, "white"), "chart", TINY | {"canvas": canvas}, {})
    assert words in told and bool(words) == bool(told)


def test_a_picture_of_another_task_is_named():
    known = statistics_of("data/tiny/judge")
    icon = next(pair for pair in read_pairs("data/bench") if pair.task == "svg").reference.load()
    assert "more like a svg" in outside(icon, "table", TINY, known)
    assert outside(icon, "svg", TINY, known) == ""


def test_nothing_is_said_of_judges_whose_pictures_are_unknown(tmp_path):
    assert statistics_of("http://localhost:8000/v1") == statistics_of(str(tmp_path)) == {}


def test_features_see_ink_and_colour():
    plain = Image.new("RGB", (128, 128), "white")
    drawn = plain.copy()
    ImageDraw.Draw(drawn).rectangle([20, 20, 80, 80], fill="red")
    white, some = features(plain), features(drawn)
    assert len(white) == 12 and np.isfinite([white, some]).all()
    assert some[0] < white[0] and some[2] > white[2]  # less white, more colour


@pytest.fixture
def judge():
    """A server that finds one error of severity 2."""
    errors = [Discrepancy("style_error", 2, "plot", "color blue, should be red")]
    with JudgeServer(None) as running:
        running.answer = lambda body: Verdict("svg", errors).to_json()
        yield ["--judge", running.url, "--preset", "tiny"]


@pytest.mark.parametrize("names, out, err", [
    ("a.svg b.svg", "Visual-ERM 0.960", ""),
    ("a.svg b.svg", "measured from both programs: fidelity", ""),
    ("a.svg a.png", "Visual-ERM 0.960", ""),
    ("a.svg large.png", "Visual-ERM 0.960", "large.png: do not trust the judge here, it is larger"),
])
def test_two_files_are_judged_measured_and_shown(files, judge, capsys, names, out, err):
    paths = [str(files / name) for name in names.split()]
    assert visual_erm.main([*paths, *judge, "--out", str(files / "out")]) == 0
    told, page = capsys.readouterr(), (files / "out/report.html").read_text()
    assert out in told.out and err in told.err and ("do not trust" in told.err) == bool(err)
    both = names == "a.svg b.svg"
    assert ("measured" in told.out) == ("data-error=" in page) == both
    assert "color blue, should be red" in page and page.count("data:image/png") == 2
    assert "http" not in page.replace(judge[1], "")


def test_json_has_the_exact_errors_of_two_programs(files, judge, capsys):
    command = [str(files / "a.svg"), str(files / "b.svg"), *judge, "--out", str(files / "out")]
    assert visual_erm.main([*command, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["reward"] == pytest.approx(0.96) and row["fidelity"] < 100
    assert [error["type"] for error in row["exact"]] == ["style_error"]


@pytest.mark.parametrize("main, names, words", [
    (visual_erm.main, "a.svg none.svg", "There is no file"),
    (visual_erm.main, "a.svg broken.svg", "broken.svg draws nothing: "),
    (visual_erm.main, "a.svg a.html", "are of two tasks"),
    (refine.main, "none.svg", "There is no file"), (refine.main, "broken.svg", "draws nothing"),
])
def test_mistakes_get_a_sentence(files, capsys, main, names, words):
    paths = [str(files / name) for name in names.split()]
    assert words in mistake(capsys, main, *paths, "--out", str(files / "out"))[1]


def test_refining_a_program_shows_its_true_fidelity(files, capsys):
    command = [str(files / "a.svg"), "--rounds", "0", "--out", str(files / "out")]
    assert refine.main(command) == 0
    assert "draft: reward " in (told := capsys.readouterr().out) and ", fidelity " in told
