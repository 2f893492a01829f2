"""Say what two programs draw differently: charts (.py), SVG, tables (.html, .md), no model needed.

    python -m data.compare reference.py attempt.py
    python -m data.compare references/ attempts/ --html runs/compare.html

Of two folders the files of one name are compared. Printed are the fidelity (100: no error) and the
errors, most severe marked `***`. `--html` writes a page with both pictures and a box where each
error is; `--json` prints everything, boxes included, and nothing else. The exit code is that of
diff: 0 equal, 1 different, 2 trouble.
"""
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from data.runs import flag, parse, script, write_text
from data.verdict import InputError

FILES = dict(a=dict(metavar="A", help="program or folder: how it should be"),
             b=dict(metavar="B", help="program or folder: how it is"))


@dataclass
class Settings:
    task: str = flag("", "chart, svg or table; default: by the ending of the file")
    html: str = flag("", "page to write")
    json: bool = flag(False, "print JSON and nothing else")


if __name__ == "__main__":
    parse(Settings, None, __doc__, **FILES)  # reports a wrong flag before the comparison is loaded

from data.compare import compare, fidelity
from data.compare.page import page, section
from data.compare.places import boxes_of
from render import SUFFIXES, TASKS, RenderError, Rendering, render_many


def pairs_of(a: Path, b: Path) -> list[tuple[Path, Path]]:
    """The files to compare. Raises InputError if there are none, or one of two is missing."""
    for path in (a, b):
        if not path.exists():
            raise InputError(f"There is no file {path}.")
    if a.is_dir() != b.is_dir():
        raise InputError("Give two programs or two folders.")
    if not a.is_dir():
        return [(a, b)]
    names = [{path.relative_to(side) for path in side.rglob("*") if path.suffix in SUFFIXES}
             for side in (a, b)]
    if alone := sorted(names[0] ^ names[1]):
        raise InputError(f"{alone[0]} is in only one of the folders.")
    if not names[0]:
        raise InputError(f"{a} holds no program ({', '.join(SUFFIXES)}).")
    return [(a / name, b / name) for name in sorted(names[0])]


def task_of(path: Path, task: str) -> str:
    """The task of a file. Raises InputError."""
    task = task or SUFFIXES.get(path.suffix.lower(), "")
    if task not in TASKS:
        raise InputError(f"Cannot tell what {path} draws: add --task {', '.join(TASKS)}.")
    return task


@script
def main(argv: list[str] | None = None) -> int:
    """Compare and print; the exit code says whether anything differs."""
    settings = parse(Settings, argv, __doc__, **FILES)
    pairs = pairs_of(Path(settings.a), Path(settings.b))
    jobs = [(task_of(path, settings.task), path.read_text(encoding="utf-8", errors="replace"))
            for pair in pairs for path in pair]
    drawn = render_many(jobs)
    rows, sections, trouble = [], [], []
    for k, (pair, true, pred) in enumerate(zip(pairs, drawn[::2], drawn[1::2])):
        names = tuple(map(str, pair))
        broken = [f"{name}: {one}" for name, one in zip(names, (true, pred))
                  if isinstance(one, RenderError)]
        if broken:
            trouble += broken
            continue
        rows.append(compare_pair(k, names, true, pred, sections))
        if not settings.json:
            tell(rows[-1])
    if settings.json:
        print(json.dumps(rows, ensure_ascii=False))
    if settings.html:
        write_text(settings.html, page("What differs", sections))
    for line in trouble:
        print(line, file=sys.stderr)
    return 2 if trouble else int(any(row["errors"] for row in rows))


def compare_pair(number: int, names: tuple[str, str], true: Rendering, pred: Rendering,
                 sections: list[str]) -> dict:
    """What is printed of one pair; its part of the page is added to `sections`. InputError."""
    if true.scene["task"] != pred.scene["task"]:
        raise InputError(f"{names[0]} and {names[1]} are of two tasks.")
    errors, score = compare(true.scene, pred.scene), fidelity(true.scene, pred.scene)
    found = [(error, *boxes_of(error, true.scene, pred.scene)) for error in errors]
    sections.append(section(number, names, (true.image, pred.image), score, found))
    return {"a": names[0], "b": names[1], "fidelity": round(score, 1),
            "errors": [{**asdict(error), "boxes_a": ours, "boxes_b": theirs}
                       for error, ours, theirs in found]}


def tell(row: dict) -> None:
    """Print one pair: a line of its own, then a line an error."""
    print(f"{row['b']}: fidelity {row['fidelity']}")
    for error in row["errors"]:
        print(f"  {'*' * error['severity']:3} {error['category']}, {error['location']}: "
              f"{error['description']}")


if __name__ == "__main__":
    sys.exit(main())
