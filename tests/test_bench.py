"""data/bench.py and data/bench/matchers.py: tables of input and expected output, worked by hand."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import visual_erm
from conftest import mistake
from data import bench
from data.bench import matchers
from data.bench.__main__ import main
from data.bench.scores import pearson, score
from data.models import PRESETS
from data.serve import JudgeServer, question
from data.verdict import CATEGORIES, Discrepancy, InputError, Verdict

ROOT = Path(__file__).resolve().parent.parent


def error(category, location, description, severity=2):
    return Discrepancy(category, severity, location, description)


# --- the offline matcher ---

PLACES = [  # task, true (location or description), predicted location, expected
    ("table", "row 2, column 3", "Row 2, Column 3", "same"),
    ("table", "row 2, column 3", "third column of the 2nd row", "same"),
    ("table", "row 2, column 3", "cell (2, 3)", "same"),
    ("table", "row 2, column 3", "row 3, column 2", ""),
    ("table", "row 2", "row 2, column 3", "wider"),
    ("table", "row 2, column 3", "column 3", "wider"),
    ("table", "table 1: row 2", "table 2: row 2", ""),
    ("table", "row two", "the second row", "same"),
    ("table", "last row", "the last row of the table", "same"),
    ("table", "column 'Price'", "column 'price'", "same"),
    ("chart", "x-axis label", "label of the x axis", "same"),
    ("chart", "x-axis label", "xlabel", "same"),
    ("chart", "x-axis label", "y-axis label", ""),
    ("chart", "x ticks", "x-axis tick labels", "same"),
    ("chart", "x ticks", "x axis", ""),
    ("chart", "title", "Chart title", "same"),
    ("chart", "title", "The title at the top of the figure", "same"),
    ("chart", "bar 'B'", "bar B", "same"),
    ("chart", "bar 'B'", "the 'B' bar", "same"),
    ("chart", "bar 'B'", "bar 'A'", ""),
    ("chart", "bar 2", "second bar", "same"),
    ("chart", "bar 'B'", "bars", "wider"),
    ("chart", "series 'Sales', point 3", "series 'Sales'", "wider"),
    ("chart", "series 'Sales', point 3", "series 'Costs', point 3", ""),
    ("chart", "subplot 2: title", "subplot 1: title", ""),
    ("chart", "annotation 'x axis'", "x axis", ""),
    ("chart", "legend", "Legend area", "same"),
    ("chart", "plot", "bar chart", "same"),
    ("svg", "circle top left", "the circle in the upper left", "same"),
    ("svg", "circle top left", "circle left", ""),
    ("svg", "circle top left", "rect top left", ""),
    ("svg", "rect centre", "square in the middle", "same"),
    ("svg", "circle top left", "circle", "wider"),
    ("svg", "train wheel", "Wheel of the train", "same"),
    ("svg", "background", "canvas", ""),
]


@pytest.mark.parametrize("task, true, predicted, expected", PLACES)
def test_place(task, true, predicted, expected):
    assert matchers.same_place(task, error("c", true, ""), error("c", predicted, "")) == expected
    assert matchers.same_place(task, error("c", predicted, ""), error("c", true, "")) == expected


FREE_PLACES = [  # task, description of an error without location, location of the other, expected
    ("chart", "The legend is missing in the generated chart.", "legend", "same"),
    ("chart", "The title reads 'Sale' instead of 'Sales'", "title", "same"),
    ("chart", "Bar B has the wrong value (7 instead of 5)", "bar 'B'", "same"),
    ("chart", "The y-axis range goes up to 10 instead of 8", "y axis", "same"),
    ("chart", "The y-axis range goes up to 10 instead of 8", "x axis", ""),
    ("chart", "Line chart instead of a bar chart", "plot", "same"),
    ("chart", "Line Chart instead of a Bar Chart", "plot", "same"),
    ("chart", "Bar Chartres has the wrong value", "bar 'Chartres'", "same"),
    ("chart", "The chart type is line instead of bar", "plot", "same"),
    ("chart", "The chart's title is too small", "title", "same"),
    ("table", "In the 3rd row, the number is 12 instead of 21", "row 3, column 2", "wider"),
    ("table", "Value in second row, third column should be 5", "row 2, column 3", "same"),
    ("svg", "The circle at the top left has moved to the right", "circle top left", "same"),
    ("svg", "Circle is red", "circle top left", "wider"),
    ("svg", "", "circle top left", ""),
]


@pytest.mark.parametrize("task, description, location, expected", FREE_PLACES)
def test_place_in_a_description(task, description, location, expected):
    free, located = error("c", "", description), error("c", location, "whatever")
    assert (matchers.same_place(task, free, located) == matchers.same_place(task, located, free)
            == expected)


# Task, descriptions of the same phenomenon; every line differs from every other line of the task
PHENOMENA = [
    ("chart", "value 7, should be 5", "bar is taller than it should be", "3 of 5 values wrong",
     "7 instead of 5", "share 41.7%, should be 50%", "The bar on the left is 7 instead of 5",
     "curve off by 5% over 30%"),
    ("chart", "color red, should be blue", "drawn in red instead of blue", "fill is #ff0000",
     "2 of 3 colors wrong"),
    ("chart", "missing", "'A' missing", "The legend is not shown", "bars missing",
     "title has been removed"),
    ("chart", "extra", "points extra", "An additional bar was drawn"),
    ("chart", "reads 'Sale', should be 'Sales'", "Misspelled label", "'Sale' instead of 'Sales'"),
    ("chart", "type barh, should be bar", "rendered as a line chart"),
    ("chart", "range 0 to 5, should be 0 to 10", "wrong axis limits"),
    ("chart", "scale log, should be linear", "uses a logarithmic y-scale"),
    ("chart", "line dashed, should be solid", "Dotted line rather than solid"),
    ("chart", "marker circle, should be square", "markers differ"),
    ("chart", "marker size 7, should be 5", "size of the dots is too small"),
    ("chart", "swapped with 'B'", "in another order", "reversed"),
    ("chart", "opacity 0.5, should be 1", "semi-transparent"),
    ("chart", "in another place", "legend at the upper right"),
    ("svg", "moved right by 12%, down by 5%", "shifted to the left", "positioned too high",
     "should be lower"),
    ("svg", "reads 'E', should be 'M'", "The letter on the left is not an M"),
    ("svg", "size 30%, should be 20%", "width 30%, should be 20%", "circle is too small",
     "larger than the reference"),
    ("svg", "fill red, should be blue", "the color is wrong", "red instead of green"),
    ("svg", "stroke red, should be blue", "outline is black"),
    ("svg", "stroke width 3%, should be 1%", "line thickness", "thinner outline"),
    ("svg", "missing", "The red wheel is absent"),
    ("svg", "fill missing"),
    ("svg", "stroke missing", "has no longer an outline"),
    ("svg", "other outline", "The corners are distorted"),
    ("svg", "flipped", "upside down", "rotated by 90 degrees"),
    ("svg", "behind rect centre, should be in front of"),
    ("table", "reads '12', should be '21'", "the text is wrong", "5 instead of 7", "wrong number"),
    ("table", "empty, should be '12'", "missing"),
    ("table", "spans 2 columns, should be 1", "cells merged"),
    ("table", "aligned left, should be right", "wrong alignment"),
    ("table", "swapped with row 3", "the order of the rows is changed"),
    ("table", "text red, should be black", "red, should be white", "wrong background colour"),
    ("table", "bold, should be not bold"),
    ("table", "header, should be no header", "no header, should be header"),
]


def test_phenomena():
    names = {}
    for task, *descriptions in PHENOMENA:
        found = {matchers.phenomenon(task, description) for description in descriptions}
        assert len(found) == 1, (task, descriptions, found)
        first = names.setdefault((task, *found), descriptions)
        assert first is descriptions, (descriptions, first)


LEVELS = [  # true (category, location, description), predicted, level
    (("text_error", "title", "reads 'Sale', should be 'Sales'"),
     ("text_error", "title", "reads 'a', not 'b'"), "yes"),
    (("text_error", "title", "reads 'Sale', should be 'Sales'"), ("text_error", "title", "missing"),
     "partial"),
    (("text_error", "title", "missing"), ("style_error", "title", "missing"), ""),
    (("text_error", "title", "missing"), ("text_error", "legend", "missing"), ""),
    (("data_error", "bar 'B'", "value 7, should be 5"), ("data_error", "bars", "value wrong"),
     "partial"),
    (("data_error", "bar 'B'", "value 7, should be 5"), ("data_error", "bars", "missing"), ""),
    (("data_error", "", "The height of bar B is 7 instead of 5"),
     ("data_error", "bar 'B'", "value 9, not 5"), "yes"),
]


@pytest.mark.parametrize("true, predicted, expected", LEVELS)
def test_level(true, predicted, expected):
    assert matchers.level("chart", error(*true), error(*predicted)) == expected


def test_match_is_the_best_one_to_one_assignment():
    rng = random.Random(0)
    for _ in range(200):
        sides = [[error("data_error", f"bar '{rng.choice('AB')}'",
                        rng.choice(["missing", "extra", "value 3"]))
                  for _ in range(rng.randint(0, 5))] for _ in range(2)]
        short, long = sorted(sides, key=len)
        best = max(([matchers.level("chart", a, b) for a, b in zip(short, order)]
                    for order in itertools.permutations(long, len(short))),
                   key=lambda ls: (ls.count("yes"), ls.count("partial")))
        found = matchers.match("chart", *sides)
        assert [sum(m[2] == name for m in found) for name in ("yes", "partial")] == \
            [best.count(name) for name in ("yes", "partial")]
        assert len({m[0] for m in found}) == len({m[1] for m in found}) == len(found)
        assert found == matchers.match("chart", *sides)  # deterministic
    many = [error("data_error", f"bar {i}", "missing") for i in range(60)]
    assert matchers.match("chart", many, many[::-1]) == [(i, 59 - i, "yes") for i in range(60)]


def test_any_text_can_be_matched():
    rng, letters = random.Random(1), "ab 12'\"@~^#%().,:;-\\[]{}()*+?\n\0é字xyz"
    for _ in range(2000):
        a, b = ("".join(rng.choices(letters, k=rng.randint(0, 30))) for _ in range(2))
        for task in CATEGORIES:
            assert matchers.level(task, error("c", a, b), error("c", a, b)) in ("yes", "")
            matchers.level(task, error("c", a, b), error("c", "", a))


# --- counting ---

SCORES = [  # true, predicted, yes, partial -> f1h, f1s
    ((5 + 2, 5 + 1, 3, 2), (6 / 9, 8 / 11)),
    ((0, 0, 0, 0), (1, 1)),
    ((2, 0, 0, 0), (0, 0)),
    ((0, 2, 0, 0), (0, 0)),
    ((2, 2, 0, 2), (0, 1)),  # partial matches alone are no perfect score
    ((4, 4, 4, 0), (1, 1)),
    ((4, 2, 1, 0), (2 * 1 / (2 + 1 + 3), 1 / 3)),
]


@pytest.mark.parametrize("counts, expected", SCORES)
def test_score(counts, expected):
    true, predicted, yes, partial = counts
    one = {"true": [0] * true, "predicted": [0] * predicted, "severity_true": true,
           "severity_predicted": predicted, "dropped_true": 0, "dropped_predicted": 0,
           "matches": [{"level": "yes"}] * yes + [{"level": "partial"}] * partial}
    scores, _ = score([one])
    assert (scores["f1h"], scores["f1s"]) == pytest.approx(expected)
    assert scores["sc"] is None
    # pooled: the same errors spread over two pairs count the same
    rest = {**one, "true": [], "predicted": [], "matches": []}
    assert score([one, rest])[0]["f1h"] == scores["f1h"]


def test_pearson_against_numpy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 9, (2, 12)).tolist()
        assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert (pearson([1, 1, 1], [1, 2, 3]) is pearson([1], [1])
            is pearson([], []) is None)


# --- a small benchmark in a folder ---

# Category, id, human_errors; ids repeat between tasks, as they may; the first two are free text
ROWS = [
    ("chart", 1, [{"type": "text_error", "severity": "2",
                   "description": "The title reads 'Sale' instead of 'Sales'"},
                  {"type": "data_error", "severity": 3,
                   "description": "Bar B is much too tall (7 instead of 5)"}]),
    ("chart", 2,
     [{"type": "style_error", "severity": "minor", "description": "The legend is missing"}]),
    ("chart", 3, []),
    ("table", 1, [{"type": "numeric_error", "severity": 3, "location": "row 2, column 3",
                   "description": "reads '12', should be '21'"},
                  {"type": "data_error", "severity": 3,
                   "description": "not a category of tables"}]),
    ("svg", 1, [{"type": "shape_error", "severity": 1, "location": "circle top left",
                 "description": "size 3%"}]),
]
ANSWERS = [  # category, id, errors as (category, severity, location, description), or a raw string
    ("chart", 1, [("text_error", 2, "title", "reads 'Sal', should be 'Sales'"),  # yes
                  ("data_error", 2, "bar 'B'", "missing"),  # partial
                  ("data_error", 1, "bar 'A'", "missing"),  # FP
                  ("numeric_error", 3, "plot", "no category of charts: dropped")]),
    ("chart", 2, []),  # FN
    ("chart", 3, []),
    ("table", 1, [("numeric_error", 3, "row 2, column 3", "reads '12', should be '13'")]),  # yes
    ("svg", 1, "I see no difference, sorry."),  # unreadable
]
# chart: yes 1, partial 1, FP 1, FN 1: F1h 2/(2+2) = 50.0, F1s 3/(3+2) = 60.0;
# severities 5 5, 0 1, 0 0
CHART_SC = np.corrcoef([5, 0, 0], [5, 1, 0])[0, 1]
# pooled: yes 2, partial 1, FP 1, FN 1: F1h 4/(4+2) = 66.7, F1s 5/(5+2) = 71.4;
# severities 5 5, 0 1, 0 0, 3 3
ALL_SC = np.corrcoef([5, 0, 0, 3], [5, 1, 0, 3])[0, 1]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bench"
    (folder / "images").mkdir(parents=True)
    lines = []
    for task, n, errors in ROWS:
        reference = Image.new("RGB", (60, 60), "white")
        rendering = reference.copy()
        if errors:
            ImageDraw.Draw(rendering).rectangle((2, 2, 12, 9), fill="red")
        names = [f"images/{task}-{n}-{side}.png" for side in ("gt", "pred")]
        reference.save(folder / names[0])
        rendering.save(folder / names[1])
        lines.append({"id": n, "idx": n, "category": task, "gt_img_path": names[0],
                      "pred_img_path": names[1], "human_errors": errors})
    text = [json.dumps(line) + "\n" for line in lines]
    (folder / "a.jsonl").write_text("".join(text[:3]) + "\n")
    (folder / "b.jsonl").write_text("".join(text[3:]))
    return folder


def verdict(task, errors):
    if isinstance(errors, str):
        return errors
    return Verdict(task, [Discrepancy(*e) for e in errors]).to_json()


def write_answers(path, as_object=False):
    rows = [{"id": n, "category": task, "pred_json": verdict(task, errors)}
            for task, n, errors in ANSWERS]
    for row in rows[:-1] if as_object else ():
        row["pred_json"] = json.loads(row["pred_json"])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(folder, *arguments):
    command = [sys.executable, "-m", "data.bench", str(folder), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_command_line(folder, tmp_path):
    answers = write_answers(tmp_path / "ready.jsonl", as_object=True)
    out = tmp_path / "out" / "r.json"
    done = run(folder, "--predictions", answers, "--baselines", "--out", out)
    assert done.returncode == 0, done.stderr
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
             for line in done.stdout.split("With 95 %")[0].splitlines() if line.startswith("|")}
    assert cells["judge (F1h/F1s/Sc)"] == ["chart", "table", "svg", "average", "unreadable"]
    assert cells[str(answers)] == [f"50.0/60.0/{100 * CHART_SC:.1f}", "100.0/100.0/-", "-",
                                   f"66.7/71.4/{100 * ALL_SC:.1f}", "1 of 5"]
    assert cells["always no error"] == ["0.0/0.0/-"] * 4 + ["0 of 5"]
    assert cells["pixel difference"][-1] == "0 of 5"
    assert "1 predicted and 1 true errors dropped" in done.stdout
    # one FN more: 4/(4+3)
    assert "counted as \"no error\" the average F1h would be 57.1" in done.stdout
    content = json.loads(out.read_text())
    ready, nothing, pixels = content["rows"]
    assert ready["unreadable_ids"] == [1] and ready["items"][4]["raw"] == ANSWERS[4][2]
    assert ready["items"][0]["matches"] == [{"true": 0, "predicted": 0, "level": "yes"},
                                            {"true": 1, "predicted": 1, "level": "partial"}]
    assert (ready["scores"]["chart"]["tp_soft"] == 1.5
            and ready["scores"]["chart"]["sc"] == pytest.approx(CHART_SC))
    assert [len(item["predicted"]) for item in pixels["items"]] == [1, 1, 0, 1, 1]
    assert pixels["items"][3]["predicted"][0] == {  # 88 of 3,600 pixels differ: 2.4 %
        "category": "numeric_error", "severity": 2, "location": "top left", "description": "extra"}


def test_answers_are_on_disk_as_they_come(folder, tmp_path, monkeypatch, capsys):
    raw = {(task, i): verdict(task, errors) for i, (task, _, errors) in enumerate(ANSWERS)}
    out = tmp_path / "j.json"
    asked = []

    class Judge:
        server, reads = None, False

        def __init__(self, name, preset):
            assert name == "some/judge" and preset["canvas"] == 128

        def judge(self, pairs):
            first = len(asked)
            asked.extend(pairs)
            assert all(image.mode == "RGB" for pair in pairs for image in pair[1:])
            return [Verdict.parse(pair[0], raw[pair[0], first + i]) for i, pair in enumerate(pairs)]

    monkeypatch.setattr(visual_erm, "VisualERM", Judge, raising=False)
    assert main([str(folder), "--judge", "some/judge", "--preset", "tiny", "--out", str(out)]) == 0
    by_judge = json.loads(out.read_text())["rows"][0]
    answers = tmp_path / "j.answers.jsonl"
    assert len(answers.read_text().splitlines()) == 5
    # ready answers in the judge's own file, and objects instead of strings, give the same figures
    for file in (answers, write_answers(tmp_path / "o.jsonl", as_object=True)):
        assert main([str(folder), "--predictions", str(file),
                     "--out", str(tmp_path / "p.json")]) == 0
        again = json.loads((tmp_path / "p.json").read_text())["rows"][0]
        assert again["scores"] == by_judge["scores"] and again["unreadable"] == 1

    def fails(self, pairs):
        if len(asked) >= 2:
            raise InputError("The server is down.")
        return [Verdict(pair[0]) for pair in pairs if not asked.append(pair)]

    asked.clear()
    monkeypatch.setattr(Judge, "judge", fails)
    pairs = bench.named_pairs(folder)
    for n in (1, 2):  # what earlier runs were told is kept
        asked.clear()
        with pytest.raises(InputError):
            bench.ask_judge("some/judge", PRESETS["tiny"] | {"judge_batch": 2}, pairs, answers)
        assert len(answers.read_text().splitlines()) == 2
        old = answers.with_name(f"j.answers.old{n}.jsonl")
        assert len(old.read_text().splitlines()) == (5 if n == 1 else 2)


def test_limit_is_spread_evenly(folder, tmp_path):
    out = tmp_path / "r.json"
    assert main([str(folder), "--baselines", "--limit", "2", "--out", str(out)]) == 0
    items = json.loads(out.read_text())["rows"][0]["items"]
    assert [(i["category"], i["id"]) for i in items] == [("chart", 1), ("chart", 3)]


def test_some_answers_are_not_there(folder, tmp_path, capsys):
    file = tmp_path / "part.jsonl"
    file.write_text(json.dumps({"id": 3, "idx": 3, "pred_json": {"errors": []}}) + "\n" +
                    json.dumps({"id": 1, "pred_json": {"errors": []}}) + "\n")  # which of three?
    assert main([str(folder), "--predictions", str(file), "--out", str(tmp_path / "r.json")]) == 0
    assert "4 of 5" in capsys.readouterr().out


GOOD = {"id": 1, "category": "chart", "gt_img_path": "g.png", "pred_img_path": "p.png",
        "human_errors": []}
BAD_BENCHMARKS = [  # lines of d.jsonl, a part of the message
    (["{}", '{"id": 1'], ":1: category is None"),
    ([json.dumps(GOOD), '{"id": 1,'], ":2: this line is not JSON"),
    (["", "[1, 2]"], ":1: expected an object"),
    ([json.dumps(GOOD | {"category": "map"})], ":1: category is 'map'"),
    ([json.dumps(GOOD | {"category": ["chart"]})], ":1: category is ['chart']"),
    ([json.dumps(GOOD | {"human_errors": "none"})], ":1: human_errors is missing or not a list"),
    ([json.dumps({k: v for k, v in GOOD.items() if k != "human_errors"})],
     ":1: human_errors is missing"),
    ([json.dumps(GOOD | {"gt_img_path": None})], ":1: gt_img_path is missing or not text"),
    ([json.dumps(GOOD | {"pred_img_path": "no.png"})], ":1: there is no image"),
    ([json.dumps(GOOD | {"pred_img_path": "bad.png"})], ":1: "),
    ([json.dumps(GOOD), json.dumps(GOOD)],
     ":1: the pair has no id, or another pair has the same one"),
    ([], "holds no pairs"),
]


@pytest.mark.parametrize("lines, message", BAD_BENCHMARKS)
def test_bad_benchmarks_get_a_sentence(lines, message, tmp_path, capsys):
    for name in ("g.png", "p.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n but not really")
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    _, told = mistake(capsys, main, tmp_path / "d.jsonl", "--baselines",
                      "--out", tmp_path / "r.json")
    assert message in told and "d.jsonl" in told and told.endswith(".")


BAD_ANSWERS = [("nope", "this line is not JSON"),
               ('{"id": 1}', "needs the fields id and pred_json"),
               ('{"id": 99, "pred_json": {}}', "no answer to any of the 5 pairs"),
               (None, "cannot be read")]


@pytest.mark.parametrize("text, message", BAD_ANSWERS)
def test_bad_answers_get_a_sentence(text, message, folder, tmp_path, capsys):
    file = tmp_path / "answers.jsonl"
    if text:
        file.write_text(text)
    _, told = mistake(capsys, main, folder, "--predictions", file, "--out", tmp_path / "r.json")
    assert message in told and "answers.jsonl" in told


def test_bad_command_lines(folder, tmp_path, capsys):
    _, told = mistake(capsys, main, tmp_path / "nothing", "--baselines")
    assert "nothing is neither a .jsonl file nor a folder that holds one" in told
    _, told = mistake(capsys, main, folder, "--baselines", "--out", folder / "a.jsonl" / "r.json")
    assert "could not be read or written" in told
    for bad in ([str(folder)], [str(folder), "--baselines", "--limit", "0"]):
        with pytest.raises(SystemExit) as end:
            main(bad)
        assert end.value.code == 2


REGIONS = [  # boxes painted in the reference, in the rendering (100 x 100 px), expected
    ([], [], []),
    ([(0, 0, 9, 9)], [], [(2, "top left", "missing")]),
    ([], [(45, 45, 50, 50)], [(1, "centre", "extra")]),
    ([(60, 40, 95, 60)], [(60, 40, 95, 60)], []),
    ([(0, 0, 9, 9)], [(90, 90, 99, 99)],
     [(2, "top left", "missing"), (2, "bottom right", "extra")]),
    ([], [(0, 66, 99, 99)], [(3, "bottom", "extra")]),
]


@pytest.mark.parametrize("reference, rendering, expected", REGIONS)
def test_pixel_difference(reference, rendering, expected):
    pictures = []
    for boxes in (reference, rendering):
        picture = Image.new("RGB", (100, 100), "white")
        for box in boxes:
            ImageDraw.Draw(picture).rectangle(box, fill="blue")
        pictures.append(picture)
    assert bench.differing_regions(*pictures) == expected
    assert (len(bench.differing_regions(pictures[0], pictures[1].crop((0, 0, 80, 100))))
            <= len(expected) + 1)
    assert (bench.differing_regions(Image.new("RGB", (50, 50), "red"),
                                    Image.new("RGB", (50, 50), "blue"))
            == [(3, "centre", "color differs")])


# --- the LLM matcher ---


def replying(replies):
    """A server that gives the next of `replies` to each request, then the last one again."""
    replies = list(replies)
    return JudgeServer(lambda body: replies.pop(0) if len(replies) > 1 else replies[0])


TRUE = [error("text_error", "title", "missing"), error("style_error", "grid", "missing")]
PREDICTED = [error("style_error", "grid lines", "are not there"),
             error("text_error", "title", "reads 'a'")]
REPLIES = [  # replies of the server, expected matches, questions, fallbacks
    (['{"matches": [{"first": 1, "second": 0, "level": "yes"}]}'], [(1, 0, "yes")], 1, 0),
    (['Well:\n```json\n{"matches": [{"first": 0, "second": 1, "level": "partial"}, '
      '{"first": 0, "second": 0, "level": "yes"}, {"first": 7, "second": 0, "level": "yes"}, '
      '{"first": 1, "second": 0, "level": "no"}]}\n```'], [(0, 1, "partial")], 1, 0),
    (['{"matches": [{"first": 0, "second": 0, "level": "yes"}]}'], [], 1, 0),  # of other categories
    (["no idea", '{"matches": 3}', '{"matches": []}'], [], 3, 0),
    (["no idea"], matchers.match("chart", TRUE, PREDICTED), 3, 1),
    ([None], matchers.match("chart", TRUE, PREDICTED), 3, 1),
]


@pytest.mark.parametrize("replies, expected, asked, fell_back", REPLIES)
def test_llm_matcher(replies, expected, asked, fell_back, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with replying(replies) as server:
        for repeat in range(2):
            matcher = matchers.LLMMatcher(server.url, "some-model", tmp_path / "m.jsonl")
            assert matcher("chart", TRUE, PREDICTED) == expected
            assert matcher("chart", TRUE, []) == matcher("chart", [], PREDICTED) == []
            assert ((matcher.asked, matcher.fell_back)
                    == ((asked, fell_back) if not repeat or fell_back else (0, 0)))
        prompt = question(server.bodies[0])
        assert "grid lines" in prompt and "severity" not in prompt


def test_llm_matcher_on_the_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    answers = write_answers(tmp_path / "a.jsonl")
    with replying(['{"matches": [{"first": 0, "second": 0, "level": "yes"}]}']) as server:
        command = [str(folder), "--predictions", str(answers), "--out", str(tmp_path / "r.json"),
                   "--matcher", server.url, "some-model"]
        assert main(command) == 0
    # chart 1: yes 1, FP 2, FN 1; chart 2: FN 1; table: yes 1. Two pairs have errors on both sides.
    assert "2 questions asked; 0 pairs fell back" in (told := capsys.readouterr().out)
    assert "| 33.3/33.3" in told.replace("  ", " ")
    assert json.loads((tmp_path / "r.json").read_text())["matcher"] == [server.url, "some-model"]
    command[command.index("--out") + 1] = str(tmp_path / "other" / "r.json")
    _, told = mistake(capsys, main, *command)
    assert "did not answer" in told


def test_a_judge_behind_a_url(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    out = tmp_path / "r.json"
    with replying(['```json\n{"errors": []}\n```']) as server:
        assert main([str(folder), "--judge", f"{server.url}#m", "--baselines",
                     "--out", str(out)]) == 0
    judge, nothing, _ = json.loads(out.read_text())["rows"]
    assert (len(server.bodies) == 5 and judge["scores"] == nothing["scores"]
            and judge["unreadable"] == 0)
    assert ([part["type"] for part in server.bodies[0]["messages"][0]["content"]]
            == ["image_url", "image_url", "text"])
