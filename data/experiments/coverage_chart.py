"""Count the visible changes of chart programs that `compare` names, and what it names that is none.

    python -m data.experiments.coverage_chart FOLDER --programs 100 --changes 6

FOLDER holds Python programs that draw (Matplotlib's galleries/examples for the published figures).
Each program is changed in one place at a time: a number, a colour, a text, a keyword argument or a
whole statement. A change is visible if more than 0.1 % of the pixels differ by more than 40 of 255.
Printed: visible changes without an error, by kind; equal pictures that get an error; the slowest
comparison. Changes of what only moves things (margins, gaps, alignments) are a row of their own:
within the thresholds of data/compare they are no error. With --show each miss is printed as a diff.
"""
import ast
import collections
import difflib
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from data.compare import compare
from data.experiments.visible import SHARE, differing
from data.runs import flag, parse, script
from render import Rendering, render_many

KINDS = ("number", "color", "text", "keyword", "statement")
COLORS = {"red", "blue", "green", "black", "orange", "purple", "gray", "grey", "brown", "pink",
          "cyan", "magenta", "yellow", "white", "navy", "lightblue", "salmon", "skyblue", "k", "r",
          "b", "g", "c", "m", "y", "w"}
# Calls that are kept as they are.
SKIPPED = ("show", "savefig", "subplots", "figure", "seed", "use", "pause")
# Calls and keywords that move things: within the thresholds of data/compare they change nothing.
LAYOUT_CALLS = ("subplots_adjust", "add_axes", "tight_layout", "set_position", "set_layout_engine",
                "add_gridspec", "GridSpec")
LAYOUT_KEYS = ("va", "ha", "verticalalignment", "horizontalalignment", "pad", "labelpad", "layout",
               "constrained_layout", "gridspec_kw", "bbox_to_anchor", "wspace", "hspace")
SIZE, TIMEOUT = 400, 8.0


@dataclass
class Settings:
    programs: int = flag(100, "so many are drawn at random")
    changes: int = flag(6, "changes of each program")
    seed: int = flag(0, "fixes programs and changes")
    show: bool = flag(False, "print each miss")


@script
def main(argv: list[str] | None = None) -> None:
    """Measure a folder."""
    settings = parse(Settings, argv, __doc__, folder=dict(
        type=Path, help="of Python programs, at any depth"))
    paths = sorted(settings.folder.rglob("*.py"))
    random.Random(settings.seed).shuffle(paths)
    paths = paths[:settings.programs]
    counts, used, slowest, misses = measure(paths, settings.changes, settings.seed)
    for path, kind, outcome, lines, errors in misses if settings.show else ():
        told = [*lines, *(f"  {error}" for error in errors)]
        print(f"{path.name}: {kind}, {outcome}", *told, sep="\n    ")
    report(counts, used, slowest)


def changes(code: str, rng: random.Random, most: int) -> list[tuple[str, str]]:
    """[(kind, changed program)]: up to `most` random changes of one place each, kinds in turn."""
    tree = ast.parse(code)
    places = collections.defaultdict(list)
    for owner in ast.walk(tree):
        for name, value in ast.iter_fields(owner):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                for kind in kinds_of(owner, name, node):
                    places[kind].append((owner, name, index, node))
    found, moving = [], layout_nodes(tree)
    for kind in KINDS:
        rng.shuffle(places[kind])
    while len(found) < most and any(places.values()):
        for kind in KINDS:
            if places[kind] and len(found) < most:
                place = places[kind].pop()
                changed = apply_change(tree, kind, *place, rng)
                if changed != ast.unparse(tree):
                    found.append(("layout" if id(place[-1]) in moving else kind, changed))
    return found


def layout_nodes(tree: ast.AST) -> set[int]:
    """ids of the nodes that only say where things stand."""
    found = set()
    for node in ast.walk(tree):
        call = node.value if isinstance(node, ast.Expr) else node
        name = getattr(getattr(call, "func", None), "attr", getattr(call, "arg", None))
        names = LAYOUT_CALLS if isinstance(call, ast.Call) else LAYOUT_KEYS
        if isinstance(call, (ast.Call, ast.keyword)) and name in names:
            found.update(map(id, ast.walk(node)))
    return found


def kinds_of(owner: ast.AST, field: str, node: object) -> list[str]:
    """The kinds of change that a node of the syntax tree can take."""
    if isinstance(node, ast.Constant) and not (isinstance(owner, ast.Expr)):
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return ["number"]
        if isinstance(node.value, str) and node.value:
            color = node.value in COLORS or re.fullmatch(r"#[0-9a-fA-F]{6}|C\d|tab:\w+", node.value)
            return ["color"] if color else ["text"] if not isinstance(owner, ast.Dict) else []
    if isinstance(owner, ast.Call) and field == "keywords":
        return ["keyword"]
    if isinstance(node, ast.Expr) and field == "body" and isinstance(node.value, ast.Call):
        name = getattr(node.value.func, "attr", getattr(node.value.func, "id", ""))
        return [] if name in SKIPPED else ["statement"]
    return []


def apply_change(tree: ast.AST, kind: str, owner: ast.AST, field: str, index: int, node: ast.AST,
                 rng: random.Random) -> str:
    """The program with one node changed; the tree is as before afterwards."""
    if kind in ("keyword", "statement"):
        nodes = getattr(owner, field)
        nodes[index:index + 1] = [ast.Pass()] if kind == "statement" else []
        changed = ast.unparse(tree)
        nodes[index:index + 1] = [node] if kind == "statement" else []
        if kind == "keyword":
            nodes.insert(index, node)
        return changed
    before = node.value
    if kind == "number":
        others = [before / 2, -before] if isinstance(before, float) else [before - 1]
        node.value = rng.choice([before + 1, before * 2, *others])
    elif kind == "color":
        colors = ("red", "green", "blue", "orange", "black")
        node.value = rng.choice([color for color in colors if color != before])
    else:
        node.value = rng.choice([before + "x", before[::-1], before[:-1] or "y"])
    changed = ast.unparse(tree)
    node.value = before
    return changed


def measure(paths: list[Path], most: int,
            seed: int) -> tuple[collections.Counter, int, tuple[float, str], list]:
    """Counter of (kind, outcome), programs used, the slowest comparison, misses.

    A miss: (path, kind, outcome, lines of the diff, errors).
    """
    counts, used, slowest, misses = collections.Counter(), 0, (0.0, ""), []
    for path in paths:
        code = path.read_text(errors="replace")
        try:
            code = ast.unparse(ast.parse(code))
            made = changes(code, random.Random(f"{seed} {path.name}"), most)
        except (SyntaxError, ValueError, RecursionError):
            continue
        programs = [code, code, *(changed for _, changed in made)]
        true, again, *found = render_many([("chart", program) for program in programs],
                                          size=SIZE, timeout=TIMEOUT)
        if not isinstance(true, Rendering) or not isinstance(again, Rendering) or \
                differing(true.image, again.image):
            continue  # it does not draw, or draws something else each time
        used += 1
        for (kind, changed), drawn in zip(made, found):
            if not isinstance(drawn, Rendering):
                continue
            share, start = differing(true.image, drawn.image), time.process_time()
            try:
                errors = compare(true.scene, drawn.scene)
            except Exception as error:  # counted: a comparison must not raise
                counts[kind, "crash"] += 1
                misses.append((path, kind, "crash", diff(code, changed), [repr(error)]))
                continue
            slowest = max(slowest, (time.process_time() - start, path.name))
            equal = drawn.image.tobytes() == true.image.tobytes()
            outcome = ("visible" if share > SHARE else "equal" if equal else "slight",
                       "named" if errors else "silent")
            counts[kind, *outcome] += 1
            if outcome in (("visible", "silent"), ("equal", "named")):
                outcome = " ".join(outcome) + f" {share:.2%}"
                misses.append((path, kind, outcome, diff(code, changed), errors))
    return counts, used, slowest, misses


def diff(a: str, b: str) -> list[str]:
    """The lines that differ between two programs."""
    lines = difflib.unified_diff(a.splitlines(), b.splitlines(), n=0, lineterm="")
    return [line[:300] for line in lines if not line.startswith(("---", "+++", "@@"))]


def report(counts: collections.Counter, used: int, slowest: tuple[float, str]) -> None:
    """Print the table."""
    print(f"{used} programs")
    print("change      visible  unnamed           equal  with an error  crashes")
    for kind in (*KINDS, "all", "layout"):
        kinds = KINDS if kind == "all" else [kind]

        def count(*outcome):
            return sum(counts[k, *outcome] for k in kinds)
        silent, named = count("visible", "silent"), count("equal", "named")
        seen = silent + count("visible", "named")
        equal = named + count("equal", "silent")
        print(f"{kind:10s} {seen:8d} {silent:8d} {silent / max(1, seen):7.1%} "
              f"{equal:7d} {named:8d} {named / max(1, equal):6.1%} {count('crash'):7d}")
    print(f"slowest comparison {slowest[0]:.2f} s of one core: {slowest[1]}")


if __name__ == "__main__":
    sys.exit(main())
