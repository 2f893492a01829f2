"""Files of JSON lines are read alike everywhere, and public sets in another layout are refused."""
import json

import pytest
from PIL import Image

from data import bench
from data.bench.matchers import LLMMatcher
from data.hub import read_rows
from data.pairs import read_jsonl, read_pairs
from data.teacher import Paid
from data.verdict import InputError

B = {"a": 1}
PLAIN = json.dumps(B)


def test_lines_of_a_killed_run_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text(f'{{"a": \n{PLAIN}\n3\n{{"a"')
    assert [row for _, row in read_jsonl(tmp_path / "a.jsonl", torn=True)] == [B]
    with pytest.raises(InputError, match="cannot be read: .*No such file"):
        list(read_jsonl(tmp_path / "b.jsonl", torn=True))


TEXT = "x\u2028y\u0085"
ERROR = {"type": "text_error", "severity": 1, "location": "row 1", "description": f"reads '{TEXT}'"}
PAIR = {"id": "table-000001-0", "category": "table", "gt_img_path": "a.png", "pred_img_path": "a.png",
        "human_errors": [ERROR, ERROR], "gt_code": TEXT, "pred_code": TEXT}


@pytest.fixture
def folder(tmp_path):
    """A folder of one pair whose texts hold separators of Unicode, in a file that a Windows editor saved."""
    (tmp_path / "pairs.jsonl").write_bytes(f"\ufeff\r\n{json.dumps(PAIR, ensure_ascii=False)}\r\n".encode())
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    return tmp_path


def test_every_reader_reads_the_same_lines(folder, monkeypatch):
    (pair,) = read_pairs(folder)
    assert pair.reference.code == TEXT
    texts = [error.description for error in pair.truth.errors]
    assert texts == [ERROR["description"]] * 2  # who lists two alike errors means two
    row = {"id": PAIR["id"], "category": "table", "pred_json": {"errors": [ERROR]}}
    (folder / "answers.jsonl").write_text("\n" + json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    (verdict,) = bench.read_answers(folder / "answers.jsonl", [pair])
    assert [error.description for error in verdict.errors] == texts[:1]

    row = {"id": "1", "answer": TEXT, "tokens": [1, 2]}
    (folder / "paid.jsonl").write_text(json.dumps(row, ensure_ascii=False) + '\n{"id": "torn', "utf-8")
    assert Paid(folder / "paid.jsonl").rows == {"1": row}

    row = {"key": TEXT, "matches": [[0, 0]]}
    (folder / "matcher.jsonl").write_text(json.dumps(row, ensure_ascii=False) + '\n{"key": "torn', "utf-8")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert LLMMatcher("http://localhost:1", "m", folder / "matcher.jsonl").known == {TEXT: [(0, 0)]}

    tokens, cell = ["<tr>", "<td>", "</td>", "</tr>"], {"tokens": ["x", "\u2028", "y"]}
    row = {"filename": "a.png", "html": {"structure": {"tokens": tokens}, "cells": [cell]}}
    (folder / "set.jsonl").write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    (read,) = read_rows(f"pubtabnet={folder / 'set.jsonl'}")
    assert read.code == "<table><tr><td>x\u2028y</td></tr></table>"


OTHER_LAYOUTS = [  # tokens of the structure, number of cells, words of the sentence
    (["<tr>", "<td>[", "]</td>", "</tr>"], 1, "the token '<td>['"),
    (["<tr>", "<td></td>", "<td>", "</td>", "</tr>"], 2, "the token '<td></td>'"),
    (["<tr>", "<eb></eb>", "</tr>"], 1, "the token '<eb></eb>'"),
    (["<tr>", "<td>", "</td>", "</tr>"], 2, "more cells than its structure"),
    (["<tr>", "<td>", "</td>", "<td>", "</td>", "</tr>"], 1, "fewer cells than its structure"),
]


@pytest.mark.parametrize("tokens, cells, words", OTHER_LAYOUTS)
def test_a_set_in_another_layout_is_refused(tokens, cells, words, tmp_path):
    html = {"structure": {"tokens": tokens}, "cells": [{"tokens": ["7"]}] * cells}
    (tmp_path / "a.jsonl").write_text(json.dumps({"filename": "a.png", "split": "train", "html": html}))
    with pytest.raises(InputError, match="a.jsonl:1 is no record of pubtabnet") as caught:
        list(read_rows(f"pubtabnet={tmp_path}"))
    assert words in str(caught.value)


def test_a_conversation_in_another_order_is_refused(tmp_path):
    said = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Redraw it."}]
    (tmp_path / "chart2code.json").write_text(json.dumps([{"id": 1, "image": "a.png", "conversations": said}]))
    with pytest.raises(InputError, match="its second turn is no answer"):
        list(read_rows(f"chart2code={tmp_path}"))
