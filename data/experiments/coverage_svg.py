"""Count the visible changes of SVG programs that `compare` names, and what it names that is none.

    python -m data.experiments.coverage_svg FOLDER                      # all *.svg below it
    python -m data.experiments.coverage_svg FOLDER --changes 4 --show   # and what was not named

Each program is changed at one place: a number, a colour, a text, an attribute, a transform, an
element removed, drawn twice, or moved to the front. A change is visible where over 0.1 % of the
pixels differ by more than 40 of 255, and beyond the thresholds where this also holds against the
neighbourhood of 0.8 % of the side, within which a shift is no difference. Each program is also
written otherwise without a change (another order of attributes, style sheets, groups, colours in
another notation), drawn at another size, and moved or scaled as a whole by less than 3 % of the
canvas; these, and changes that no pixel shows, must have no error. Programs that are refused are
counted and left out. Prints one line a kind and, last, a summary.

With --files 130 --changes 6 on a renderer's test suite (masking, paint servers, painting, shapes,
structure, text), of which 40 programs are refused, and with --files 100 --changes 6 on a set of
icons it printed, here and before every painted property was compared:

                                             suite        before         icons      before
    visible changes, unnamed              2 of 447     99 of 624      4 of 503    4 of 504
    those beyond the thresholds, unnamed  2 of 436     85 of 598      0 of 497    0 of 498
    equal pictures, with an error         1 of 793   246 of 1044      0 of 614  203 of 613
"""
import collections
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from data.compare import compare
from data.experiments.svg_changes import ALIKE, changes_of, rewritten
from data.runs import flag, parse, script
from data.verdict import InputError
from render import RenderError, Rendering, render_many

SIZE, OTHER_SIZE = 300, 220  # px of the longest side
FAR, SHARE = 40, 0.001  # a pixel differs by more than 40; a change is more than 0.1 % of them
SHIFT = 5  # px: the neighbourhood within which a shift of 0.8 % is no difference


@dataclass
class Settings:
    changes: int = flag(10, "changes of each program")
    files: int = flag(0, "so many programs, drawn by chance; 0: all")
    seed: int = flag(0, "fixes programs and changes")
    show: bool = flag(False, "print each miss")


@script
def main(argv: list[str] | None = None) -> None:
    """Measure a folder."""
    settings = parse(Settings, argv, __doc__, folder=dict(help="of SVG programs, at any depth"))
    rng = random.Random(settings.seed)
    paths = sorted(Path(settings.folder).rglob("*.svg"))
    if not paths:
        raise InputError(f"{settings.folder} holds no .svg.")
    if 0 < settings.files < len(paths):
        paths = sorted(rng.sample(paths, settings.files))
    tables = measure(paths, settings.changes, rng, settings.show)
    report(*tables)


def measure(paths: list[Path], changes: int, rng: random.Random,
            show: bool) -> tuple[dict, dict, collections.Counter]:
    """({kind: Counter of changes}, {kind: Counter of equal pictures}, Counter of the rest)."""
    changed, equal = (collections.defaultdict(collections.Counter) for _ in range(2))
    rest = collections.Counter()
    for path in paths:
        code = path.read_bytes().decode("utf-8", "replace")
        first = render_many([("svg", code)], size=SIZE, workers=1)[0]
        rest["programs"] += 1
        if isinstance(first, RenderError):
            rest[f"refused ({first.kind})"] += 1
            continue
        made = list(changes_of(code, changes, rng)) + list(rewritten(code, rng))
        pictures = render_many([("svg", new) for _, new in made], size=SIZE, workers=1)
        pictures += render_many([("svg", code)], size=OTHER_SIZE, workers=1)
        for (kind, new), picture in zip([*made, ("drawn smaller", code)], pictures):
            if isinstance(picture, RenderError):
                rest["changes refused"] += 1
                continue
            count(kind, new, path, (first, picture), changed, equal, rest, show)
    return changed, equal, rest


def count(kind: str, new: str, path: Path, pair: tuple[Rendering, Rendering], changed: dict,
          equal: dict, rest: collections.Counter, show: bool) -> None:
    """Enter one pair of pictures into the tables."""
    true, pred = pair
    start = time.perf_counter()
    try:
        errors = compare(true.scene, pred.scene)
    except Exception as error:  # a crash is what is looked for
        rest["crashes"] += 1
        print(f"crash: {path.name}: {type(error).__name__}: {error}")
        return
    rest["slowest, ms"] = max(rest["slowest, ms"], round(1000 * (time.perf_counter() - start)))
    rest["named"] += bool(errors)
    rest["named by place only"] += bool(errors) and all(
        "looks different" in e.description for e in errors
    )
    rest["errors"] += len(errors)
    if kind in ALIKE or true.image.size == pred.image.size and _off(true, pred).max() <= 8:
        equal[kind]["equal"] += 1
        equal[kind]["with an error"] += bool(errors)
        if errors and show:
            print(
                f"  EQUAL {kind} {path.name}: {errors[0]}\n{new}"
                if len(new) < 900
                else f"  EQUAL {path.name} {errors}"
            )
        return
    row = changed[kind]
    row["changes"] += 1
    if true.image.size != pred.image.size:
        visible = beyond = True
    else:
        off = _off(true, pred)
        visible = (off > FAR).mean() > SHARE
        beyond = visible and (_beyond(true, pred) > FAR).mean() > SHARE
    row["visible"] += visible
    row["beyond"] += beyond
    row["unnamed"] += visible and not errors
    row["beyond, unnamed"] += beyond and not errors
    if visible and not errors and show:
        print(
            f"  MISS {'' if beyond else '(shift) '}{kind} {path.name}\n{new}"
            if len(new) < 900
            else f"  MISS {'' if beyond else '(shift) '}{kind} {path.name}"
        )


def _arrays(true, pred):
    return [np.asarray(picture.image, np.int16) for picture in (true, pred)]


def _off(true, pred):
    one, other = _arrays(true, pred)
    return np.abs(one - other).max(2)


def _beyond(true, pred):
    """How far the pixels of one picture lie outside of the neighbourhood in the other."""
    one, other = _arrays(true, pred)
    size = (SHIFT, SHIFT, 1)
    worst = [
        np.maximum(x - maximum_filter(y, size), minimum_filter(y, size) - x).max(2)
        for x, y in ((one, other), (other, one))
    ]
    return np.maximum(*worst)


def report(changed: dict, equal: dict, rest: collections.Counter) -> None:
    """Print the tables."""
    print(
        f"{'change':24s} {'made':>6s} {'visible':>8s} {'unnamed':>8s}      %   "
        f"{'beyond the thresholds':>22s} "
        f"{'unnamed':>8s}      %"
    )
    total = sum(changed.values(), collections.Counter())
    for kind, row in [*sorted(changed.items()), ("all", total)]:
        shares = [
            100 * row[miss] / max(1, row[all_])
            for miss, all_ in (("unnamed", "visible"), ("beyond, unnamed", "beyond"))
        ]
        print(
            f"{kind:24s} {row['changes']:6d} {row['visible']:8d} {row['unnamed']:8d} "
            f"{shares[0]:6.1f}   "
            f"{row['beyond']:22d} {row['beyond, unnamed']:8d} {shares[1]:6.1f}"
        )
    print(f"\n{'equal pictures':24s} {'pairs':>6s} {'with an error':>14s}      %")
    for kind, row in [*sorted(equal.items()), ("all", sum(equal.values(), collections.Counter()))]:
        print(
            f"{kind:24s} {row['equal']:6d} {row['with an error']:14d} "
            f"{100 * row['with an error'] / max(1, row['equal']):6.1f}"
        )
    print("\n" + "; ".join(f"{name}: {value}" for name, value in sorted(rest.items())))
    print(f"crashes: {rest['crashes']}")


if __name__ == "__main__":
    sys.exit(main())
