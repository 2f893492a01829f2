"""data.recogniser: a table recogniser of two packages as a policy; without them a sentence.

A small recogniser stands in for the packages, under their names; where they are installed, the last
test reads a picture for real.
"""
import re
import sys
import types
from importlib.util import find_spec

import pytest
from PIL import Image

import refine
from conftest import mistake
from data import build
from data.models import Chat, preset_for
from data.pairs import read_pairs
from data.recogniser import ONLY, QUESTION, RAPID_TABLE, RapidTable
from data.score.__main__ import main as score_main
from render import render
from visual_erm import VisualERM, code_messages, code_prompt, judge_messages, revise_messages

TABLE = "<table><tr><td>cat</td><td>7</td></tr><tr><td>dog</td><td>15</td></tr></table>"
SEEN = "<html><body>" + TABLE.replace("15", "16") + "</body></html>"


def picture(code=TABLE, size=(128, 128)):
    return render("table", code, size=size).image


@pytest.fixture
def installed(monkeypatch):
    """The packages' names, with a recogniser that reads one table in everything; what it got."""
    shapes = []

    class Recogniser:
        def ocr_engine(self, pixels):
            shapes.append(pixels.shape)
            return ([["box", "cat", 0.9]] if pixels.min() < 100 else None), [0.1]

        def __call__(self, pixels, lines):
            return SEEN, [], 0.1

    monkeypatch.setitem(sys.modules, "rapid_table", types.SimpleNamespace(RapidTable=Recogniser))
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", types.SimpleNamespace(RapidOCR=None))
    return shapes


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapid_table", None)


@pytest.mark.parametrize("size, seen", [((128, 128), (384, 384, 3)), ((200, 60), (120, 400, 3)),
                                        ((600, 400), (400, 600, 3))])
def test_it_reads_a_picture_as_html(installed, size, seen):
    policy = Chat(RAPID_TABLE, preset_for("", RAPID_TABLE))
    blank = Image.new("RGB", size, "white")
    asked = [code_messages("table", image) for image in (picture(size=size), blank)]
    assert policy.write(asked) == [SEEN, ""] and installed[0] == seen


@pytest.mark.parametrize("conversation", [
    code_messages("chart", picture()), code_messages("svg", picture()),
    revise_messages("table", picture(), TABLE, "row 1 is missing"),
    judge_messages("table", picture(), picture())], ids=["chart", "svg", "revision", "verdict"])
def test_it_does_nothing_else(installed, conversation):
    with pytest.raises(refine.InputError, match="rapid-table reads the picture of a table"):
        RapidTable().answer(conversation)


def test_it_knows_the_question():
    assert code_prompt("table").startswith(QUESTION)


def test_pairs_of_its_errors_and_its_scores(installed, tmp_path, capsys):
    assert build.main(["--task", "table", "--source", "infer", "--model", RAPID_TABLE, "--n", "3",
                       "--out", str(tmp_path)]) == 0
    pairs = read_pairs(tmp_path)
    assert [pair.rendering.code for pair in pairs] == [SEEN[12:-14]] * 3
    assert all(pair.truth.errors and pair.rendering.is_policy_output for pair in pairs)
    assert re.search(r"errors a pair, \w+_error \d+", capsys.readouterr().out)
    assert score_main([str(tmp_path), "--model", RAPID_TABLE, "--out", str(tmp_path / "s.json")]) \
        == 0
    assert re.search(r"table +\| n +\| teds.*\n.*\n\| rapid-table +\| 3 ", capsys.readouterr().out)


@pytest.mark.parametrize("main, arguments", [
    (build.main, ["--task", "svg", "--source", "infer"]), (score_main, ["data/examples"]),
    (score_main, ["data/examples", "--judge", "read:rapid-table"])])
def test_other_tasks_get_a_sentence(installed, tmp_path, capsys, main, arguments):
    assert ONLY in mistake(capsys, main, *arguments, "--model", RAPID_TABLE,
                           "--out", tmp_path / "x")[1]


def test_a_picture_becomes_html_and_a_list(installed, tmp_path, capsys):
    picture(TABLE, (300, 200)).save(tmp_path / "photo.png")
    arguments = [str(tmp_path / "photo.png"), "--task", "table", "--model", RAPID_TABLE,
                 "--out", str(tmp_path / "out")]
    assert ONLY in mistake(capsys, refine.main, *arguments)[1]  # it revises nothing
    assert refine.main([*arguments, "--rounds", "0"]) == 0
    assert "draft: reward 1.00" in capsys.readouterr().out  # by default it reads both pictures
    assert (tmp_path / "out/answer.html").read_text() == SEEN[12:-14] + "\n"


def test_it_judges_by_reading(installed):
    judge = VisualERM("read:rapid-table", preset_for("", "read:rapid-table"))
    verdict, = judge.judge([("table", picture(), picture(TABLE.replace("7", "8")))])
    assert verdict.readable and not verdict.errors  # this one reads the same in both


@pytest.mark.parametrize("main, arguments", [
    (build.main, ["--task", "table", "--source", "infer", "--model", RAPID_TABLE]),
    (score_main, ["data/examples", "--model", RAPID_TABLE]),
    (refine.main, ["data/examples/images/table-000022-0.png", "--task", "table", "--rounds", "0",
                   "--model", RAPID_TABLE])], ids=["build", "score", "refine"])
def test_without_the_packages_there_is_a_sentence(missing, tmp_path, capsys, main, arguments):
    said = mistake(capsys, main, *arguments, "--out", tmp_path / "x")[1]
    assert "pip install rapid_table==0.3.0 rapidocr_onnxruntime==1.4.4" in said


@pytest.mark.skipif(not find_spec("rapid_table") or not find_spec("rapidocr_onnxruntime"),
                    reason="the recogniser's packages are not installed")
def test_the_real_one_reads_a_table():
    rows = ["name", "weight"], ["cat", "703"], ["cow", "154"]
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    table = f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    assert RapidTable().read(picture(table, None)) == f"<html><body>{table}</body></html>"
