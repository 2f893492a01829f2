"""Code out of answers: tables of (task, answer, code)."""
import time
import timeit

import pytest

from conftest import field_cases
from render import TASKS, extract_code

LINE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"

# ---- Code out of answers: (task, answer, code)

ANSWERS = [
    ("chart", LINE, LINE),
    ("chart", "x = '''```'''\n", "x = '''```'''\n"),
    ("chart", "Sure!\n```python\nimport a\n```\nDone.", "import a\n"),
    ("chart", "```bash\npip install a\n```\n```py\nx = 1\n```", "x = 1\n"),
    ("chart", "```\nx = 1\n```", "x = 1\n"),
    ("chart", "```python\nx = 1\ny =", "x = 1\ny ="),
    ("chart", "<think>```python\nbad\n```</think>\n```python\ngood\n```", "good\n"),
    ("chart", "thought</think>import a\nx = 1", "import a\nx = 1"),
    ("chart", "<think>never ends", ""),
    ("chart", "Here you are:\nimport a\nx = 1\n\nHope that helps!", "import a\nx = 1\n\n"),
    ("svg", "<svg><g/></svg>", "<svg><g/></svg>"),
    ("svg", "The icon:\n<svg a='1'>\n<g/>\n</svg>\nEnjoy", "<svg a='1'>\n<g/>\n</svg>"),
    ("svg", "```xml\n<?xml version='1.0'?>\n<svg></svg>\n```", "<svg></svg>"),
    ("svg", "```svg\n<svg><rect/>", "<svg><rect/>"),
    ("table", "```html\n<table><tr></tr></table>\n```", "<table><tr></tr></table>"),
    ("table", "Two: <table>1</table> and <table>2</table>.", "<table>1</table> and <table>2</table>"),
    ("table", "| a |\n|---|\n| 1 |", "| a |\n|---|\n| 1 |"),
    ("table", "```markdown\n| a |\n|---|\n```", "| a |\n|---|\n"),
    ("table", "", "")]


@pytest.mark.parametrize("task, answer, code", ANSWERS)
def test_extract_code(task, answer, code):
    assert extract_code(task, answer) == code


CASES = field_cases("code")


@pytest.mark.parametrize("name", CASES)
def test_extract_code_of_answers_from_the_field(name):
    case = CASES[name]
    assert extract_code(case["task"], case["input"]) == case["expected"]


@pytest.mark.parametrize("text", ["```", "```\n", "<svg", "<table>", "|\n|-\n", "<style>", "import a\n", "<|a", "*"])
def test_extract_code_is_quick_on_hostile_text(text):
    for task in TASKS:
        seconds = min(timeit.repeat(lambda: extract_code(task, text * (100_000 // len(text))), number=1, repeat=2,
                                    timer=time.process_time))
        assert seconds < 0.5
