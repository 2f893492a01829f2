"""Pairs of chart programs from the field, with the error that must be found between them, or none.

`expected` in field_chart.jsonl: "no error", or "CATEGORY: WORDS", both regular expressions, of
which one error must match both. What does not hold yet stands in PENDING with the reason.
"""
import json
import re
from pathlib import Path

import pytest

from data.compare import compare, fidelity
from data.renderers.scene import RenderError
from render import render_many

CASES = [json.loads(line)
         for line in (Path(__file__).parent / "field_chart.jsonl").read_text().splitlines()]
PENDING = {
    "twinx_order": "twinx() sets the first axes' numbers back to the left: there both scales "
                   "stand on the left",
    "same_hist2": "the y axis ends at 2 and not at 2.1, which can be seen: every bar is 5 % longer",
    "same_under_fill": "the area lies above the frame there and covers half of the lower axis line",
}


@pytest.fixture(scope="module")
def renderings():
    jobs = [("chart", case[side]) for case in CASES for side in "ab"]
    found = render_many(jobs, size=400, timeout=60)
    return {case["id"]: found[2 * k:2 * k + 2] for k, case in enumerate(CASES)}


def holds(expected, errors):
    """Whether a list of errors is what was expected."""
    if expected.startswith("no error"):
        also = expected.removeprefix("no error").removeprefix(" or ")
        return all(also and e.category.startswith(also) for e in errors)
    category, words = expected.split(": ", 1)
    return any(re.match(category, e.category)
               and re.search(words, f"{e.location} {e.description}") for e in errors)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.xfail(reason=PENDING[case["id"]], strict=True)]
                          if case["id"] in PENDING else []) for case in CASES],
    ids=[case["id"] for case in CASES])
def test_field(case, renderings):
    a, b = renderings[case["id"]]
    for drawn in (a, b):
        assert not isinstance(drawn, RenderError), drawn
    errors = compare(a.scene, b.scene)
    assert holds(case["expected"], errors), errors
    assert (fidelity(a.scene, b.scene) == 100) == (not errors)
