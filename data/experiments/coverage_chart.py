"""Is every visible change of a chart named, and nothing else? Measured by changing programs at random.

    python -m data.experiments.coverage_chart FOLDER --programs 100 --changes 6

FOLDER holds Python programs that draw (Matplotlib's galleries/examples for the published figures).
Each program is changed in one place at a time: a number, a colour, a text, a keyword argument or a
whole statement. A change is visible if more than 0.1 % of the pixels differ by more than 40 of 255.
Printed: visible changes without an error, by kind; equal pictures that get an error; the slowest
comparison. With --show each miss is printed as a diff.
"""
import argparse
import ast
import collections
import difflib
import random
import re
import time
from pathlib import Path

import numpy as np

from data.compare import compare
from render import Rendering, render_many

KINDS = ("number", "color", "text", "keyword", "statement")
COLORS = {"red", "blue", "green", "black", "orange", "purple", "gray", "grey", "brown", "pink", "cyan",
          "magenta", "yellow", "white", "navy", "lightblue", "salmon", "skyblue", "k", "r", "b", "g",
          "c", "m", "y", "w"}
SKIPPED = ("show", "savefig", "subplots", "figure", "seed", "use", "pause")   # calls kept as they are
PIXELS, STEP = 0.001, 40    # a change is visible in more than this share of pixels, by more than this
SIZE, TIMEOUT = 400, 8.0


def changes(code, rng, most):
    """[(kind, changed program)]: up to `most` random changes of one place each, kinds in turn."""
    tree = ast.parse(code)
    places = collections.defaultdict(list)
    for owner in ast.walk(tree):
        for name, value in ast.iter_fields(owner):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                for kind in kinds_of(owner, name, node):
                    places[kind].append((owner, name, index, node))
    found = []
    for kind in KINDS:
        rng.shuffle(places[kind])
    while len(found) < most and any(places.values()):
        for kind in KINDS:
            if places[kind] and len(found) < most:
                changed = apply_change(tree, kind, *places[kind].pop(), rng)
                if changed != ast.unparse(tree):
                    found.append((kind, changed))
    return found


def kinds_of(owner, field, node):
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


def apply_change(tree, kind, owner, field, index, node, rng):
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
        node.value = rng.choice([before + 1, before * 2, before / 2, -before]) if isinstance(before, float) \
            else rng.choice([before + 1, before * 2, before - 1])
    elif kind == "color":
        node.value = rng.choice([c for c in ("red", "green", "blue", "orange", "black") if c != before])
    else:
        node.value = rng.choice([before + "x", before[::-1], before[:-1] or "y"])
    changed = ast.unparse(tree)
    node.value = before
    return changed


def visible_share(a, b):
    """Share of the pixels of two pictures that differ by more than STEP; 1 for other sizes."""
    if a.size != b.size:
        return 1.0
    gap = np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max(axis=2)
    return float((gap > STEP).mean())


def measure(paths, most, seed, show=False):
    """Counter of (kind, outcome), programs used, seconds of the slowest comparison, misses with diff and errors."""
    counts, used, slowest, misses = collections.Counter(), 0, 0.0, []
    for path in paths:
        code = path.read_text(errors="replace")
        try:
            code = ast.unparse(ast.parse(code))
            made = changes(code, random.Random(f"{seed} {path.name}"), most)
        except (SyntaxError, ValueError, RecursionError):
            continue
        true, again, *found = render_many([("chart", code), ("chart", code)] + [("chart", c) for _, c in made],
                                          size=SIZE, timeout=TIMEOUT)
        if not isinstance(true, Rendering) or not isinstance(again, Rendering) or \
                visible_share(true.image, again.image):
            continue                                    # it does not draw, or draws something else each time
        used += 1
        for (kind, changed), drawn in zip(made, found):
            if not isinstance(drawn, Rendering):
                continue
            share, start = visible_share(true.image, drawn.image), time.perf_counter()
            try:
                errors = compare(true.scene, drawn.scene)
            except Exception as error:                  # counted: a comparison must not raise
                counts[kind, "crash"] += 1
                misses.append((path, kind, "crash", diff(code, changed), [repr(error)]))
                continue
            slowest = max(slowest, time.perf_counter() - start)
            equal = drawn.image.tobytes() == true.image.tobytes()
            outcome = ("visible" if share > PIXELS else "equal" if equal else "slight",
                       "named" if errors else "silent")
            counts[kind, *outcome] += 1
            if outcome in (("visible", "silent"), ("equal", "named")):
                misses.append((path, kind, " ".join(outcome) + f" {share:.2%}", diff(code, changed), errors))
    return counts, used, slowest, misses


def diff(a, b):
    lines = difflib.unified_diff(a.splitlines(), b.splitlines(), n=0, lineterm="")
    return [line[:300] for line in lines if not line.startswith(("---", "+++", "@@"))]


def report(counts, used, slowest):
    """Print the table."""
    print(f"{used} programs")
    print("change      visible  unnamed           equal  with an error  crashes")
    for kind in (*KINDS, "all"):
        kinds = KINDS if kind == "all" else [kind]

        def count(*outcome):
            return sum(counts[k, *outcome] for k in kinds)
        silent, seen = count("visible", "silent"), count("visible", "silent") + count("visible", "named")
        named, equal = count("equal", "named"), count("equal", "named") + count("equal", "silent")
        print(f"{kind:10s} {seen:8d} {silent:8d} {silent / max(1, seen):7.1%} {equal:7d} {named:8d} "
              f"{named / max(1, equal):6.1%} {count('crash'):7d}")
    print(f"slowest comparison {slowest:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of Python programs, searched to any depth")
    parser.add_argument("--programs", type=int, default=100, help="how many are drawn at random (default 100)")
    parser.add_argument("--changes", type=int, default=6, help="changes of each (default 6)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print each miss")
    args = parser.parse_args()
    paths = sorted(args.folder.rglob("*.py"))
    random.Random(args.seed).shuffle(paths)
    counts, used, slowest, misses = measure(paths[:args.programs], args.changes, args.seed)
    for path, kind, outcome, lines, errors in misses if args.show else ():
        print(f"{path.name}: {kind}, {outcome}", *lines, *(f"  {error}" for error in errors), sep="\n    ")
    report(counts, used, slowest)


if __name__ == "__main__":
    main()
