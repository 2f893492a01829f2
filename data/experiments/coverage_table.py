"""Count the visible changes of real tables that are named, and equal pictures with an error.

Takes any folder of tables (.html, .md), changes each in many ways that no editor of ours knows of
(cells, rows, spans, styles, attributes, text around the table) and compares the pictures. A change
is visible if more than 0.1 % of the pixels differ by more than 40 of 255; if no error names it, it
is a hole in the labels ("unnamed"), unless something only moved by 2 px at most ("moved").
Rewritings that draw the same picture must have no error.

    python -m data.experiments.coverage_table FOLDER --n 12

It prints one line a kind of change, and the programs behind what is wrong with --show.
"""
import collections
import pathlib
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import lxml.html
from lxml import etree

from data.compare import compare
from data.experiments.changes_table import CELL, CHANGES, attribute, cells_of, ruled, styled
from data.experiments.visible import SHARE, SHIFT, differing
from data.renderers.table import is_html, markdown_to_html
from data.runs import flag, parse, script
from data.verdict import InputError
from render import render_many


# --- 1. rewritings that change nothing ---
def _rename(old, new):
    def change(tree, rng):
        found = list(tree.iter(old))
        for element in found:
            element.tag = new
        return bool(found)
    return change


def _bodies(tree, rng):
    tables = [table for table in tree.iter("table") if all(child.tag == "tr" for child in table)]
    for table in tables:
        body = etree.Element("tbody")
        body.extend(list(table))
        table.append(body)
    return bool(tables)


def _spans_of_one(tree, rng):
    for cell in cells_of(tree):
        if not cell.get("colspan"):
            cell.set("colspan", "1")
    return True


def _blanks(tree, rng):
    for cell in cells_of(tree):
        if cell.text and not len(cell):
            cell.text = f"\n  {cell.text.strip()} \n"
    return True


def _wrap_all(tree, rng):
    for cell in cells_of(tree):
        if cell.text and not len(cell):
            inner = etree.SubElement(cell, "span")
            inner.text, cell.text = cell.text, ""
    return True


REWRITES = {
    "strong for b": _rename("b", "strong"),
    "em for i": _rename("i", "em"),
    "tbody": _bodies,
    "spans of one": _spans_of_one,
    "blanks": _blanks,
    "text in spans": _wrap_all,
    "a class": attribute(CELL, "class", ("k",)),
    "black text": styled("color:black"),
    "its own weight": styled("font-style:normal"),
    "an empty rule": ruled("td{} .none{color:red}"),
    "hidden paragraph": ruled("p.none{display:none}"),
}


# --- 2. measuring ---
def read_tables(folder: str | pathlib.Path) -> list[tuple[str, str]]:
    """[(name, HTML)] of the tables of a folder; Markdown is turned into HTML."""
    found = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.suffix.lower() in (".html", ".htm", ".md"):
            code = path.read_text(errors="replace")
            found.append((path.name, code if is_html(code) else markdown_to_html(code)))
    return found


def changed(code: str, change: Callable[..., bool], rng: random.Random) -> str | None:
    """The program after a change, or None where it does not apply."""
    tree = lxml.html.document_fromstring(
        code if re.search(r"<(html|body)\b", code, re.I) else f"<body>{code}"
    )
    before = etree.tostring(tree)
    if tree.find("body") is None or next(tree.iter("table"), None) is None or not change(tree, rng):
        return None
    after = etree.tostring(tree, method="html", encoding="unicode")
    return after if etree.tostring(tree) != before else None


def measure(tables: list[tuple[str, str]], n: int,
            seed: int = 0) -> tuple[dict, list[tuple], float]:
    """{kind: Counter}, and [(kind, name, code, changed code, what is wrong)]; `n` changes a table,
    all rewritings."""
    rng, jobs = random.Random(seed), []
    for name, code in tables:
        kinds = rng.sample(list(CHANGES), min(n, len(CHANGES)))
        for kind in [*kinds, *REWRITES]:
            new = changed(code, (CHANGES | REWRITES)[kind], rng)
            if new:
                jobs.append((kind, name, code, new))
    codes = list(dict.fromkeys(code for job in jobs for code in job[2:]))
    pictures = dict(zip(codes, render_many([("table", code) for code in codes], timeout=60)))
    counts, wrong, slowest = collections.defaultdict(collections.Counter), [], 0.0
    for kind, name, code, new in jobs:
        true, pred, count = pictures[code], pictures[new], counts[kind]
        if isinstance(true, Exception) or isinstance(pred, Exception):
            count["not drawn"] += 1
            continue
        count["made"] += 1
        start = time.process_time()
        try:
            errors = compare(true.scene, pred.scene)
        except Exception as error:
            count["crash"] += 1
            wrong.append((kind, name, code, new, repr(error)))
            continue
        slowest = max(slowest, time.process_time() - start)
        equal = true.image.size == pred.image.size and true.image.tobytes() == pred.image.tobytes()
        count["equal"] += equal
        if equal and errors:
            count["false"] += 1
            wrong.append((kind, name, code, new, f"equal, but {errors}"))
        elif differing(true.image, pred.image) > SHARE:
            count["visible"] += 1
            if not errors and differing(true.image, pred.image, SHIFT) <= SHARE:
                count["moved"] += 1
            elif not errors:
                count["unnamed"] += 1
                wrong.append((kind, name, code, new, "visible, but no error"))
    return counts, wrong, slowest


@dataclass
class Settings:
    n: int = flag(12, "changes of each table")
    seed: int = flag(0, "fixes the changes")
    show: bool = flag(False, "print the programs behind what is wrong")


@script
def main(argv: list[str] | None = None) -> None:
    """Measure a folder."""
    settings = parse(Settings, argv, __doc__, folder=dict(help="of tables: .html and .md"))
    tables = read_tables(settings.folder)
    if not tables:
        raise InputError(f"{settings.folder} holds no table.")
    counts, wrong, slowest = measure(tables, settings.n, settings.seed)
    columns = ("made", "visible", "unnamed", "moved", "equal", "false", "crash", "not drawn")
    print(f"{'change':24s}" + "".join(f"{column:>10s}" for column in columns))
    total = collections.Counter()
    for kind in sorted(
        counts, key=lambda kind: (-counts[kind]["unnamed"], -counts[kind]["false"], kind)
    ):
        total += counts[kind]
        print(f"{kind:24s}" + "".join(f"{counts[kind][column]:10d}" for column in columns))
    print(f"{'all':24s}" + "".join(f"{total[column]:10d}" for column in columns))
    if settings.show:
        for kind, name, code, new, why in wrong:
            print(f"\n=== {kind}, {name}: {why}\n{code}\n--->\n{new}")
    shares = {key: 100 * total[key] / max(1, total[of]) for key, of in (
        ("unnamed", "visible"), ("moved", "visible"), ("false", "equal"))}
    print(f"{len(tables)} tables; visible changes unnamed: {shares['unnamed']:.1f} %, and moved by "
          f"2 px at most: {shares['moved']:.1f} %; equal pictures with an error: "
          f"{shares['false']:.1f} %; slowest comparison {1000 * slowest:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
