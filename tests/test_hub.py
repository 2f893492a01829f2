"""data.hub: each public set in the layout it is published in, from small files; sentences for what
is not there.
"""
import io
import json
import tarfile
import zipfile

import pytest
from datasets import Dataset
from PIL import Image

from conftest import mistake
from data import hub
from data.bench.__main__ import main as score_judge
from data.hub import SETS, fetch, list_records, read_rows, unpack
from data.pairs import read_pairs
from data.verdict import CATEGORIES, InputError

CHART = "import matplotlib.pyplot as plt\nplt.bar(['A', 'B'], [3, 7])\nplt.show()"
SVG = '<svg viewBox="0 0 9 9"><circle r="3"/></svg>'


def png(color="red", size=(20, 10)):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(path)


def chartmimic(folder):
    for name in ("direct_600/bar_1", "customized_600/bar_1"):
        write(folder / f"{name}.py", CHART)
        write(folder / f"{name}.png", png())


def chartmimic_preview(folder):
    parquet(folder / "preview/test-00000-of-00010.parquet", [
        {"Task": "direct_600", "ExampleID": "bar_1", "Instruction": "Redraw it.",
         "GroundTruthFigureCode": CHART,
         "GroundTruthFigurePreview": {"bytes": png(), "path": None}}])


def chart2code(folder):
    said = [{"from": "human", "value": "<image>\nRedraw it."},
            {"from": "gpt", "value": f"```python\n{CHART}\n```"}]
    write(folder / "json/chart2code.json",
          [{"id": 7, "image": "images/7.png", "conversations": said},
           {"id": "8", "image": "images/8.png", "conversations": said}])
    write(folder / "images/7.png", png())


TOKENS = ["<thead>", "<tr>", "<td", ' colspan="2"', ">", "</td>", "</tr>", "</thead>", "<tbody>",
          "<tr>", "<td>", "</td>", "<td>", "</td>", "</tr>", "</tbody>"]
CELLS = [{"tokens": ["<b>", "p", "<", "1", "</b>"], "bbox": [1, 2, 3, 4]}, {"tokens": []},
         {"tokens": ["&"], "bbox": [5, 6, 7, 8]}]
TABLE = ('<table><thead><tr><td colspan="2"><b>p&lt;1</b></td></tr></thead>'
         "<tbody><tr><td></td><td>&amp;</td></tr></tbody></table>")


def pubtabnet(folder):
    html = {"structure": {"tokens": TOKENS}, "cells": CELLS}
    rows = [{"filename": f"{split}.png", "split": split, "imgid": 1, "html": html}
            for split in ("val", "train")]
    write(folder / "PubTabNet_2.0.0.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    write(folder / "train/train.png", png())


def pubtabnet_hub(folder):
    parquet(folder / "data/train-00000-of-00001.parquet", [
        {"imgid": 3, "split": "train", "filename": "a.png",
         "html_table": f"<html><body>{TABLE}</body></html>",
         "image": {"bytes": png(), "path": None}}])


def omnidocbench(folder):
    page = {"page_info": {"image_path": "p.png", "width": 20, "height": 10}, "layout_dets": [
        {"category_type": "title", "poly": [0, 0, 9, 0, 9, 2, 0, 2], "text": "T"},
        {"category_type": "table", "poly": [2.2, 1, 12, 1, 12, 8.6, 2.2, 8.6], "html": TABLE,
         "ignore": False},
        {"category_type": "table", "poly": [0] * 8, "html": TABLE, "ignore": True}]}
    write(folder / "OmniDocBench.json", [page])
    write(folder / "images/p.png", png())


def unisvg(folder):
    row = {"type": "ISVGEN", "image_path": "a.png", "q_text": "Redraw it.",
           "a_text": f"Here it is: {SVG}"}
    write(folder / "train.json", [row | {"type": "ISVGUN_color", "a_text": "red"}, row])
    write(folder / "test.json", [row | {"image_path": "b.png"}])
    write(folder / "png/a.png", png())


def starvector(folder):
    rows = [{"Filename": "a.svg", "Svg": SVG}, {"Filename": "b", "Svg": " "}]
    parquet(folder / "data/train-00000-of-00012.parquet", rows)


@pytest.mark.parametrize("name, make, expected", [  # (id, size of the picture or None, code)
    ("chartmimic", chartmimic, [("customized_600/bar_1", (20, 10), CHART),
                                ("direct_600/bar_1", (20, 10), CHART)]),
    ("chartmimic", chartmimic_preview, [("direct_600/bar_1", (20, 10), CHART)]),
    ("chart2code", chart2code, [("7", (20, 10), CHART), ("8", None, CHART)]),
    ("pubtabnet", pubtabnet, [("train.png", (20, 10), TABLE)]),
    ("pubtabnet", pubtabnet_hub, [("3", (20, 10), TABLE)]),
    ("omnidocbench", omnidocbench, [("p.png/1", (10, 8), TABLE)]),
    ("unisvg", unisvg, [("a.png", (20, 10), SVG)]),
    ("starvector", starvector, [("a.svg", None, SVG)]),
])
def test_every_set_is_read_as_it_is_published(tmp_path, name, make, expected):
    make(tmp_path)
    rows = list(read_rows(f"{name}={tmp_path}"))
    assert [(row.id, row.image and row.image.size, row.code.strip()) for row in rows] == expected
    assert {row.task for row in rows} == {
        "chart" if "chart" in name else "svg" if "v" in name else "table"}
    assert all(row.image is None or row.image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
               for row in rows)


@pytest.mark.parametrize("which, content, words", [
    ("chart3code", None, "no set 'chart3code'"),
    ("chart2code", None, "Fetch it first: python -m data.hub chart2code"),
    ("chart2code=PATH/none", None, "no folder or file"),
    ("chart2code=PATH", None, "holds no chart2code.json"),
    ("vc-rewardbench=PATH", None, "no code"),
    ("chart2code=PATH", [{"id": 1}],
     r"chart2code.json, record 1 is no record of chart2code \(KeyError: 'image'\)"),
    ("chart2code=PATH", '[{"id": 1, "image": "a", "conv',
     "record 1 is not JSON, or the file is cut off"),
    ("chart2code=PATH", '{"id": 1', "chart2code.json:1: this line is not JSON"),
    ("chart2code=PATH", "\n[1, 2]", "record 1 is no record"),
    ("starvector=PATH/a.parquet", b"PAR1", "no whole parquet file"),
    ("starvector", None,
     "could not be read from the Hugging Face hub; check the name and the network"),
])
def test_what_is_not_there_gets_a_sentence(tmp_path, monkeypatch, which, content, words):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    if content is not None:
        write(tmp_path / ("a.parquet" if isinstance(content, bytes) else "chart2code.json"),
              content)
    with pytest.raises(InputError, match=words):
        list(read_rows(which.replace("PATH", str(tmp_path))))


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_long_list_is_read_piece_by_piece(piece):
    items = [{"a": "]},{[\\\"", "b": [1, {"c": None}]}, {"a": "ü" * 20}, {}]

    class Pieces(io.StringIO):
        def read(self, _):
            return super().read(piece)

    lines = Pieces(" " + json.dumps(items, indent=1) + "\n")
    assert [record for _, record in list_records("f", lines, lines.read(1))] == items


def test_archives_stay_in_their_folder(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with zipfile.ZipFile(out / "png.zip", "w") as packed:
        packed.writestr("png/a.png", png())
        packed.writestr("../outside.txt", "x")
    unpack(out)
    assert (out / "png/a.png").read_bytes() == png() and not (tmp_path / "outside.txt").exists()
    with tarfile.open(out / "json.tar.gz", "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("../outside.txt"))
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(out)
    assert not (tmp_path / "outside.txt").exists()
    (out / "json.tar.gz").write_bytes(b"cut off")
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(out)


def test_fetch_asks_for_the_files_and_unpacks(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options["allow_patterns"]))
        with tarfile.open(tmp_path / "dataset-iclr.tar.gz", "w:gz") as packed:
            entry = tarfile.TarInfo("direct_600/bar_1.py")
            entry.size = len(CHART)
            packed.addfile(entry, io.BytesIO(CHART.encode()))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    fetch("chartmimic", tmp_path)
    assert asked == [("ChartMimic/ChartMimic", "dataset-iclr.tar.gz")]
    assert [row.id for row in read_rows(f"chartmimic={tmp_path}")] == ["direct_600/bar_1"]


@pytest.mark.parametrize("name, words", [("unisvg", "could not be fetched"),
                                         ("nonsense", "no set 'nonsense'")])
def test_what_cannot_be_fetched_gets_a_sentence(tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _, told = mistake(capsys, hub.main, name, "--out", tmp_path)
    assert words in told


def test_the_list_has_licence_and_place(capsys):
    assert hub.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(SETS) and all("Licence: " in line for line in lines[1::2])


def test_the_snapshot_of_vc_rewardbench_is_scored(tmp_path):
    errors = [{"type": "text_error", "severity": 2,
               "description": "The title reads 'A' instead of 'B'."}]
    rows = [{"id": n, "idx": n, "category": task, "gt_img_path": f"{task}/gt/{n}.png",
             "pred_img_path": f"{task}/{n}.png", "human_errors": errors if task != "svg" else []}
            for n, task in enumerate(CATEGORIES)]
    write(tmp_path / "VC-RewardBench.jsonl", "\n".join(map(json.dumps, rows)))
    for row in rows:
        write(tmp_path / row["gt_img_path"], png())
        write(tmp_path / row["pred_img_path"], png("blue"))
    pairs = read_pairs(tmp_path)
    assert ([(pair.task, len(pair.truth.errors)) for pair in pairs]
            == [("chart", 1), ("table", 1), ("svg", 0)])
    assert score_judge([str(tmp_path), "--baselines", "--out", str(tmp_path / "scores.json")]) == 0
