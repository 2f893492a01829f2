"""data.report: the page of an RL run opens with what was gained, then what changed most."""
import json
import re
from types import SimpleNamespace

import pytest
from PIL import Image

from data.pairs import Example
from data.report import html_report, most_changed, stages_report
from data.verdict import Discrepancy, Verdict
from render import render

ICON = '<svg viewBox="0 0 9 9"><rect x="1" y="1" width="3" height="3" fill="%s"/></svg>'


@pytest.mark.parametrize("before, after, expected", [
    ([(1, 50)], [(1, 50)], {}),
    ([(1, 50)], [(2, 60)], {0: "best"}),
    ([(1, 50)], [(2, 40)], {0: "hacked"}),
    ([(1, 50)], [(1, 40)], {0: "worst"}),
    ([(1, 50)] * 3, [(2, 55), (2, 90), (0, 10)], {1: "best", 0: "best", 2: "worst"}),
    ([(1, 50)] * 6, [(2, 51 + i) for i in range(6)],
     {5: "best", 4: "best", 3: "best", 2: "best"}),
])
def test_what_changed_most(before, after, expected):
    stage = lambda rows: [("", *row) for row in rows]
    found = most_changed(stage(before), stage(after))
    assert {i: kind.split(":")[0] for i, kind in found.items()} == expected
    assert list(found) == list(expected)


def test_the_page_of_a_run(tmp_path):
    held = []
    for color in ("red", "blue", "green"):
        drawn = render("svg", ICON % color, size=(64, 64))
        held.append(Example("svg", drawn.image, (64, 64), ICON % color, drawn.scene))
    red, broken = ICON % "red", "<svg"
    stages = {0: [(red, 1.0, 60.0), (broken, 0.0, 0.0), (red, 0.5, 70.0)],
              9: [(red, 2.0, 100.0), (red, 1.0, 60.0), (red, 0.9, 60.0)]}
    errors = [Discrepancy("shape_error", 1, "<rect>", "the judge's word")]
    judge = SimpleNamespace(judge=lambda pairs: [Verdict("svg", errors) for _ in pairs])
    (tmp_path / "config.json").write_text(json.dumps({"lr": 0.123, "out": "<b>"}))
    Image.new("RGB", (40, 20)).save(tmp_path / "curves.png")
    stages_report(tmp_path / "report.html", held, stages, judge, "verm")
    page = (tmp_path / "report.html").read_text()
    order = [page.index(words) for words in (
        "43.3<td>73.3<td>2 up, 1 down", "curves of the run", "<td>lr<td>0.123", "svg 2, best",
        "svg 1, best", "svg 3, hacked: reward up, fidelity down")]
    assert order == sorted(order) and "&lt;b&gt;" in page and "<rect>" not in page
    # Six programs, one of which draws nothing: a verdict and the true errors of each other.
    assert page.count("the judge&#x27;s word") == page.count("True errors:") == 5
    assert "fill red, should be blue" in page and "width=device-width" in page
    assert {one[:5] for one in re.findall(r'src="([^"]*)', page)} == {"data:"}
    assert "href" not in page


def test_verdicts_stand_beside_each_other():
    card = {"title": "", "images": [], "beside": [{"one": Verdict("svg"), "two": Verdict("svg")}]}
    page = html_report("t", [card])
    assert page.count("<section>") == 2 and page.index("one") < page.index("two")
