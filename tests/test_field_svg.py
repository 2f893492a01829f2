"""Pairs of SVG programs with the right answer: field_svg.jsonl has id, a, b and expected.

expected: "no error"; "refused: WORD" (b is not drawn, the reason has WORD); or "CATEGORY: WORDS",
two patterns of which one error must have both ("shape|structure: ." is an error of either one).
errors: how many there are, where b differs in more than one property.
"""

import json
import re
from pathlib import Path

import pytest

from data.compare import compare, fidelity
from data.renderers import draw
from data.renderers.scene import RenderError

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "field_svg.jsonl").read_text().splitlines()
]
FAILS = {}  # id: why the right answer is not given


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case["id"],
            marks=[pytest.mark.xfail(strict=True, reason=FAILS[case["id"]])]
            if case["id"] in FAILS
            else [],
        )
        for case in CASES
    ],
)
def test_field(case):
    category, words = case["expected"].split(": ", 1) if ": " in case["expected"] else ("", "")
    if category == "refused":
        with pytest.raises(RenderError, match=words):
            draw("svg", case["b"], 300)
        return
    a, b = (draw("svg", case[key], 300)[1] for key in "ab")
    for true, pred in ((a, b), (b, a)):
        errors = compare(true, pred)
        if not category:
            assert errors == [] and fidelity(true, pred) == 100
        elif true is a:
            assert any(
                re.search(category, e.category)
                and re.search(words, f"{e.location}: {e.description}")
                for e in errors
            ), errors
            assert len(errors) == case.get("errors", 1), "one cause, one error"
        else:
            assert errors
