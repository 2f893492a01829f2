"""data.reading: both pictures become programs, and the verdict is what the comparison finds."""
import random

import pytest

from data.models import PRESETS
from data.reading import judge_by_reading
from data.worlds.drawing import DrawingStyle
from render import render
from visual_erm import VisualERM, code_messages

TRUE = '<svg viewBox="0 0 64 64"><circle cx="20" cy="20" r="9" fill="red"/></svg>'
OTHER = TRUE.replace("red", "blue")
PRESET = PRESETS["tiny"]


class Reader:
    """Answers what it is told to."""

    def __init__(self, answers):
        self.answers, self.asked, self.preset = answers, [], PRESET

    def answer(self, conversations, max_tokens, batch_size):
        self.asked += conversations
        return [(answer, "") for answer in self.answers]


def picture(code):
    return render("svg", code, size=(128, 128)).image


@pytest.mark.parametrize("answers, readable, severities", [
    ([TRUE, TRUE], True, []),
    ([TRUE, OTHER], True, [2]),
    ([f"```svg\n{TRUE}\n```", OTHER], True, [2]),
    ([TRUE, "<svg"], False, []),
    (["", TRUE], False, []),
])
def test_the_verdict_is_measured_on_the_programs_that_were_read(answers, readable, severities):
    pair = "svg", picture(TRUE), picture(OTHER)
    verdict, = judge_by_reading(Reader(answers), [pair], code_messages)
    assert verdict.readable == readable
    assert [error.severity for error in verdict.errors] == severities
    assert bool(verdict.notes) != readable


def test_a_picture_is_read_once():
    one, other = picture(TRUE), picture(OTHER)
    reader = Reader([TRUE, OTHER])
    verdicts = judge_by_reading(reader, [("svg", one, other), ("svg", one, one.copy())],
                                code_messages)
    assert len(reader.asked) == 2 and [verdict.severity for verdict in verdicts] == [2, 0]


def test_judge_by_name(monkeypatch):
    """`read:` before a model's name asks it for programs, not for a verdict."""
    style = DrawingStyle(random.Random(0)).draw("svg", TRUE)
    judge = VisualERM("read:data/tiny/judge", PRESET)
    asked = []

    def answer(conversations, *_):
        asked.extend(conversations)
        return [(TRUE, ""), (OTHER, "")]
    monkeypatch.setattr(judge, "answer", answer)
    pair = "svg", picture(style), picture(OTHER)
    assert [error.description for error in judge.judge([pair])[0].errors] == \
        ["fill blue, should be red"]
    assert [c[0]["content"][1] for c in asked] == \
        [code_messages("svg", image)[0]["content"][1] for image in pair[1:]]
