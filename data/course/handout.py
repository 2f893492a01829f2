"""The hand-out: a copy of this project without the answers."""
import re
import shutil
from pathlib import Path

from data.course.exercises import EXERCISES, without_answers, without_function
from data.renderers.pool import ROOT
from data.runs import write_text
from data.verdict import InputError

COPIED = ("*.py", "README.md", "requirements.txt", ".gitignore", ".ci", "data", "tests")
# Tests of the grading need the answers; the CSV is one.
LEFT_OUT = ("tests/test_course.py", "data/course/siblings.csv")
# This one works an answer out.
TESTS = (("tests/test_rl.py", "test_log_probs_equal_those_of_the_plain_forward_pass"),)
TABLES = (  # (file, head of a table) whose figures an exercise asks for
    ("README.md", "| | chart | table | svg |"),
    ("data/README.md", "| reward | chart, same style | another |"),
)
ANSWER = re.compile(r"<!-- answer -->.*?<!-- end of answer -->\n", re.S)
INSTEAD = "(These figures are an exercise: data/course/README.md.)\n"


def without_table(text: str, head: str) -> str:
    """Markdown in which the one table with this head is a sentence. Raises InputError.

    >>> print(without_table("So:\\n| a | b |\\n| --- | --- |\\n| 1 | 2 |\\nEnd.", "| a |"))
    So:
    (These figures are an exercise: data/course/README.md.)
    End.
    """
    pattern = rf"^{re.escape(head)}.*\n(\|.*(\n|\Z))*"
    text, found = re.subn(pattern, INSTEAD, text, flags=re.M)
    if found != 1:
        raise InputError(f"The table {head!r} was found {found} times; put TABLES in "
                         "data/course/handout.py right.")
    return text


def write_handout(out: Path | str) -> dict[str, int]:
    """Write the student's copy into a new folder; {"file: function": exercise} of what is missing.

    Raises InputError: `out` is there and not empty, or a name in the list of exercises is wrong.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already; choose another --out or delete it.")
    if out.resolve().is_relative_to(ROOT / "data") or out.resolve().is_relative_to(ROOT / "tests"):
        raise InputError(f"{out} lies in what is to be copied; choose another --out.")
    changed, missing = {}, {}
    for file in dict.fromkeys(file for exercise in EXERCISES for file, _ in exercise.functions):
        names = {name: exercise.number for exercise in EXERCISES
                 for place, name in exercise.functions if place == file}
        changed[file] = without_answers((ROOT / file).read_text("utf-8"), names)
        missing |= {f"{file}: {name}": number for name, number in names.items()}
    for file, name in TESTS:
        changed[file] = without_function((ROOT / file).read_text("utf-8"), name)
    for file, head in TABLES:
        changed[file] = without_table((ROOT / file).read_text("utf-8"), head)
    texts = (ROOT / "data/course/README.md").read_text("utf-8")
    changed["data/course/README.md"], found = ANSWER.subn("", texts)
    if "answer -->" in changed["data/course/README.md"] or not found:
        raise InputError("An answer in data/course/README.md does not end: write "
                         "<!-- end of answer --> on a line of its own.")

    out.mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.tmp")
    for source in sorted(path for pattern in COPIED for path in ROOT.glob(pattern)):
        if source.is_dir():
            shutil.copytree(source, out / source.name, ignore=ignore)
        else:
            shutil.copy(source, out / source.name)
    for name in LEFT_OUT:
        (out / name).unlink()
    for name, text in changed.items():
        write_text(out / name, text)
    return missing
