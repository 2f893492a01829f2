"""The course: make the hand-out, grade submissions, or write a page on one step of GRPO.

    python -m data.course handout --out runs/course
    python -m data.course grade runs/submissions/anna runs/submissions/ben --csv runs/points.csv
    python -m data.course walk --out runs/walk.html

README.md in this folder has the exercises. Grading one submission takes under half a minute on one
core, a page for `walk` some ten seconds.
"""
import sys
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script, write_csv
from data.verdict import InputError


@dataclass
class Settings:
    out: str = flag("", "handout: new folder for the student's copy; walk: file, runs/walk.html")
    csv: str = flag("runs/points.csv", "grade: file with a line for each point")
    timeout: float = flag(30.0, "grade: seconds for one exercise of one submission")
    seed: str = flag("", "grade: fixes the cases, new ones by default; walk: picture and samples")
    task: str = flag("svg", "walk: chart, table or svg")


POSITIONAL = dict(
    command=dict(choices=("handout", "grade", "walk"), help="what to do"),
    folders=dict(nargs="*", help="grade: folders handed in"))
if __name__ == "__main__":
    parse(Settings, None, __doc__, **POSITIONAL)  # before the slow imports of torch


def hand_out(settings: Settings) -> None:
    """Write the student's copy."""
    from data.course.handout import write_handout

    if not settings.out:
        raise InputError("Say where the hand-out is to go: --out FOLDER.")
    for name, exercise in write_handout(settings.out).items():
        print(f"exercise {exercise}: {name}")
    print(f"Wrote {settings.out} without these.")


def grade_all(settings: Settings) -> None:
    """Grade the folders, print a table, write the CSV after each."""
    import secrets

    from data.course import grade

    folders = [Path(folder).resolve() for folder in settings.folders]
    if not folders:
        raise InputError("Give the folders that were handed in.")
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}.")
    names = {folder.name for folder in folders}
    if len(names) < len(folders):
        raise InputError("Two of the folders have one name; the table could not tell them apart.")
    if settings.timeout <= 0:
        raise InputError("--timeout must be greater than 0.")
    seed = settings.seed or secrets.token_hex(4)
    print(f"cases of --seed {seed}", flush=True)
    parts, rows = grade.make_parts(seed), []
    with grade.the_cell() as cell:
        for folder in folders:
            mine = grade.grade(folder, parts, cell, settings.timeout)
            rows += mine
            for row in mine:
                if not row["earned"]:
                    print(f"{folder.name}: exercise {row['exercise']}, {row['point']}: "
                          f"{row['why_not']}", flush=True)
            write_csv(settings.csv, tuple(mine[0]), rows)
    print(f"\n{grade.table(rows, parts)}\n\nEvery point: {settings.csv}")


def write_walk(settings: Settings) -> None:
    """Write the page on one step of GRPO."""
    from data.course.walk import walk

    out = settings.out or "runs/walk.html"
    try:
        walk(out, settings.task, settings.seed)
    except NotImplementedError as error:
        raise InputError("The walk needs a function that is still to be written: "
                         f"{error}.") from None
    print(f"Wrote {out}.")


@script
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    settings = parse(Settings, argv, __doc__, **POSITIONAL)
    if settings.folders and settings.command != "grade":
        raise InputError(f"{settings.command} takes no folders; --out says where to write.")
    {"handout": hand_out, "grade": grade_all, "walk": write_walk}[settings.command](settings)


if __name__ == "__main__":
    sys.exit(main())
