"""Proof that equivalent pictures have no error: draw programs again in other styles.

    python -m data.experiments.equivalence --n 300
    python -m data.experiments.equivalence --task chart --programs FOLDER

Every program is drawn in two styles (data/worlds/drawing.py): that pair must have no error. Then
one of the two is damaged (data/edit): the errors named must be those that the same damage has when
both are drawn in one style, up to percentages of the canvas, which are measured on the other
drawing. Programs are those of data/worlds, or the .py, .svg and .html files of a folder. It prints,
for each task, how often both hold, with 95 % intervals (Wilson), and how much the equivalent
pictures differ: the share of pairs with over 2 % of their pixels off by more than 40 of 255, and
the mean SSIM.
"""
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script
from data.verdict import Discrepancy, InputError

AMOUNT = re.compile(r"[\d.]+%")


@dataclass
class Settings:
    n: int = flag(300, "programs a task")
    task: str = flag("chart,table,svg", "tasks, with commas between")
    level: int = flag(1, "difficulty of the drawn programs, 1 to 3")
    programs: str = flag("", "folder of programs instead of drawn ones")
    seed: int = flag(0, "fixes programs, styles and damages")
    show: bool = flag(False, "print every pair that fails, with both programs")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # reports a wrong flag before the comparison is loaded

from data import edit, worlds
from data.build import SIZES
from data.compare import compare
from data.experiments.labels import SUFFIXES
from data.experiments.visible import differing
from data.metrics import ssim
from data.worlds.drawing import DrawingStyle
from render import Rendering, render_many


def collect(settings: Settings, task: str, rng: random.Random) -> list[str]:
    """`n` programs of a task. Raises InputError if the folder holds none."""
    if not settings.programs:
        return [worlds.draw(task, settings.level, rng) for _ in range(settings.n)]
    paths = sorted(Path(settings.programs).rglob(SUFFIXES[task]))
    if not paths:
        raise InputError(f"{settings.programs} holds no {SUFFIXES[task]}.")
    paths = rng.sample(paths, min(settings.n, len(paths)))
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def measure(task: str, settings: Settings) -> dict[str, list]:
    """Lists of what was found for each pair: equal, alike (damages), apart, ssim."""
    rng = random.Random(f"{settings.seed}/{task}/{settings.level}")
    kinds = edit.LEVEL_1[task] if settings.level == 1 and not settings.programs else None
    jobs = []
    for code in collect(settings, task, rng):
        one, other = (DrawingStyle(rng) for _ in range(2))
        try:
            damaged = edit.damage(task, code, rng, kinds)[0]
        except ValueError:
            damaged = ""
        jobs.append((one.draw(task, code), other.draw(task, code), one.draw(task, damaged),
                     other.draw(task, damaged)))
    found = {"equal": [], "alike": [], "apart": [], "ssim": []}
    size = SIZES[settings.level]
    drawn = render_many([(task, code) for job in jobs for code in job], size=size)
    for k, job in enumerate(jobs):
        compare_styles(found, job, drawn[4 * k:4 * k + 4], settings.show)
    return found


def compare_styles(found: dict, codes: tuple, drawn: list, show: bool) -> None:
    """Enter one program: drawn in two styles, and damaged in either."""
    true, again, damaged, other = drawn
    if not (isinstance(true, Rendering) and isinstance(again, Rendering)):
        return
    errors = compare(true.scene, again.scene)
    found["equal"].append(not errors)
    found["apart"].append(differing(true.image, again.image) > 0.02)
    found["ssim"].append(ssim(true.image, again.image))
    if errors and show:
        print("NOT EQUAL", *map(told, errors), codes[0], "---", codes[1], "", sep="\n")
    if not (isinstance(damaged, Rendering) and isinstance(other, Rendering)):
        return
    plain = compare(true.scene, damaged.scene)
    if plain:
        styled = compare(true.scene, other.scene)
        alike = [AMOUNT.sub("", told(error)) for error in plain] == \
            [AMOUNT.sub("", told(error)) for error in styled]
        found["alike"].append(alike)
        if not alike and show:
            print("NOT ALIKE", *map(told, plain), "but in another style", *map(told, styled),
                  codes[0], "---", codes[3], "", sep="\n")


def told(error: Discrepancy) -> str:
    """An error on one line."""
    return f"{error.category} {error.severity}, {error.location}: {error.description}"


def share(values: list[bool]) -> str:
    """"99.3 % of 300 [97.6, 99.8]": a share with its interval of Wilson."""
    n = len(values)
    if not n:
        return "-"
    p, z = sum(values) / n, 1.96
    middle, half = p + z * z / 2 / n, z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return f"{100 * p:.1f} % of {n} [{100 * low:.1f}, {100 * high:.1f}]"


@script
def main(argv: list[str] | None = None) -> None:
    """Print the shares of each task."""
    settings = parse(Settings, argv, __doc__)
    print("| task | other style: no error | damaged: errors as in one style | "
          "over 2 % of pixels differ | SSIM |\n| --- | --- | --- | --- | --- |")
    for task in settings.task.split(","):
        found = measure(task, settings)
        mean = sum(found["ssim"]) / max(1, len(found["ssim"]))
        print(f"| {task} | {share(found['equal'])} | {share(found['alike'])} | "
              f"{share(found['apart'])} | {mean:.2f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
