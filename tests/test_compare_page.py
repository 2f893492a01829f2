"""python -m data.compare: exit codes as diff has them, folders, JSON, a page that stands alone."""
import importlib
import json
import re

import pytest

command = importlib.import_module("data.compare.__main__")
ICON = '<svg viewBox="0 0 9 9"><rect x="1" y="1" width="3" height="3" fill="%s"/></svg>'


@pytest.fixture
def files(tmp_path):
    texts = {"a/x.svg": ICON % "red", "a/y.html": "<table><tr><td>1</td></tr></table>",
             "b/x.svg": ICON % "blue", "b/y.html": "<table><tr><td>1</td></tr></table>",
             "c/x.svg": ICON % "red", "c/y.html": "<table><tr><td>1</td></tr></table>",
             "d/x.svg": "<svg", "d/y.html": "<table><tr><td>1</td></tr></table>",
             "e/x.svg": ICON % "red", "f/notes.txt": "nothing to draw"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("a, b, code, out, err", [
    ("a/x.svg", "b/x.svg", 1, "fill blue, should be red", ""),
    ("a/x.svg", "c/x.svg", 0, "fidelity 100.0", ""),
    ("a", "b", 1, "y.html: fidelity 100.0", ""),
    ("a", "c", 0, "fidelity 100.0", ""),
    ("a/x.svg", "d/x.svg", 2, "", "x.svg: "),
    ("a", "d", 2, "y.html: fidelity 100.0", "x.svg: "),
    ("a", "e", 2, "", "y.html is in only one of the folders."),
    ("a", "a/x.svg", 2, "", "Give two programs or two folders."),
    ("f", "f", 2, "", "holds no program"),
    ("f/notes.txt", "f/notes.txt", 2, "", "Cannot tell what"),
    ("a/x.svg", "a/y.html", 2, "", "are of two tasks."),
    ("a/none.svg", "a/x.svg", 2, "", "There is no file"),
])
def test_exit_codes(files, capsys, a, b, code, out, err):
    assert command.main([str(files / a), str(files / b)]) == code
    told = capsys.readouterr()
    assert out in told.out and err in told.err
    assert bool(err) == bool(told.err)


def test_json_has_the_boxes(files, capsys):
    assert command.main([str(files / "a/x.svg"), str(files / "b/x.svg"), "--json"]) == 1
    row, = json.loads(capsys.readouterr().out)
    error, = row["errors"]
    assert error["severity"] == 2 and row["fidelity"] < 100
    assert error["boxes_a"][0] == pytest.approx([1 / 9, 1 / 9, 4 / 9, 4 / 9], abs=0.01)


def test_the_page_needs_nothing_else(files, capsys):
    path = files / "new" / "page.html"
    assert command.main([str(files / "a"), str(files / "b"), "--html", str(path)]) == 1
    page = path.read_text()
    assert page.count("data:image/png;base64,") == 4 and page.count("<section>") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert len(re.findall(r'data-error="0-0"', page)) == 3  # the line and a box in each picture
    assert "No difference found." in page
