"""How many visible changes of real tables are named, and how many equal pictures get an error.

Takes any folder of tables (.html, .md), changes each in many ways that no editor of ours knows of (cells, rows, spans,
styles, attributes, text around the table) and compares the pictures. A change is visible if more than 0.1 % of the
pixels differ by more than 40 of 255; if no error names it, it is a hole in the labels ("unnamed"), unless something
only moved by 2 px at most ("moved"). Rewritings that draw the same picture must have no error.

    python -m data.experiments.coverage_table FOLDER --n 12

It prints one line a kind of change, and the programs behind what is wrong with --show.
"""
import argparse
import collections
import pathlib
import random
import re
import time

import lxml.html
from lxml import etree

from data.compare import compare
from data.experiments.visible import SHARE, SHIFT, differing
from data.renderers.table import is_html, markdown_to_html, table_grid
from render import render_many

COLORS = ("red", "#1f77b4", "green", "orange", "#888")
GROUNDS = ("yellow", "#cde", "#fdd", "lightgreen", "#333")


# --- 1. changes of the tree ---
# Each takes (tree, rng) and changes the tree, or returns False where it does not apply.
def _cells(tree, text=False):
    cells = [cell for cell in tree.iter("td", "th") if not text or "".join(cell.itertext()).strip()]
    return cells


def _styled(declaration, tags=("td", "th"), text=False):
    """A change that sets a style on one element of the given tags."""
    def change(tree, rng):
        chosen = [e for e in tree.iter(*tags) if not text or "".join(e.itertext()).strip()]
        if not chosen:
            return False
        element = rng.choice(chosen)
        made = declaration(rng) if callable(declaration) else declaration
        element.set("style", f"{(element.get('style') or '').rstrip(' ;')};{made}".lstrip(";"))
        return True
    return change


def _attribute(tags, name, values):
    def change(tree, rng):
        chosen = list(tree.iter(*tags))
        if not chosen:
            return False
        rng.choice(chosen).set(name, rng.choice(values))
        return True
    return change


def _ruled(rule):
    """A change that adds a rule of a style sheet."""
    def change(tree, rng):
        sheet = etree.Element("style")
        sheet.text = rule
        tree.find("body").insert(0, sheet)
        return True
    return change


def _text(edit):
    """A change of the text of one element in a cell."""
    def change(tree, rng):
        spots = []
        for cell in _cells(tree):
            for element in cell.iter():
                if isinstance(element.tag, str) and element.tag not in ("style", "script"):
                    spots += [(element, "text")] if (element.text or "").strip() else []
                    spots += [(element, "tail")] if element is not cell and (element.tail or "").strip() else []
        rng.shuffle(spots)
        for element, name in spots:
            new = edit(getattr(element, name), rng)
            if new is not None and new != getattr(element, name):
                setattr(element, name, new)
                return True
        return False
    return change


def _digit(text, rng):
    spots = [m.start() for m in re.finditer(r"\d", text)]
    if not spots:
        return None
    k = rng.choice(spots)
    return text[:k] + rng.choice([d for d in "0123456789" if d != text[k]]) + text[k + 1:]


def _word(text, rng):
    words = re.findall(r"[^\W\d_]{3,}", text)
    return text.replace(rng.choice(words), rng.choice(("maple", "Quartz", "rivers")), 1) if words else None


def _case(text, rng):
    return text.swapcase() if re.search(r"[^\W\d_]", text) else None


def _wrapped(tag, **attributes):
    """A change that puts a word of a cell into an element."""
    def change(tree, rng):
        cells = [cell for cell in _cells(tree) if (cell.text or "").strip()]
        if not cells:
            return False
        cell = rng.choice(cells)
        word = rng.choice(list(re.finditer(r"\S+", cell.text)))
        inner = etree.Element(tag, **attributes)
        inner.text, inner.tail = word[0], cell.text[word.end():]
        cell.text = cell.text[:word.start()]
        cell.insert(0, inner)
        return True
    return change


def _break(tree, rng):
    cells = [cell for cell in _cells(tree) if len((cell.text or "").split()) > 1]
    if not cells:
        return False
    cell = rng.choice(cells)
    words = cell.text.split()
    k = rng.randrange(1, len(words))
    line = etree.Element("br")
    cell.text, line.tail = " ".join(words[:k]), " ".join(words[k:])
    cell.insert(0, line)
    return True


def _cut(element):
    before, parent = element.getprevious(), element.getparent()
    if element.tail and before is not None:
        before.tail = (before.tail or "") + element.tail
    elif element.tail:
        parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def _remove(*tags, keep=1):
    def change(tree, rng):
        found = list(tree.iter(*tags))
        if len(found) <= keep:
            return False
        _cut(rng.choice(found))
        return True
    return change


def _copy_row(tree, rng):
    rows = list(tree.iter("tr"))
    if not rows:
        return False
    row = rng.choice(rows)
    row.addnext(etree.fromstring(etree.tostring(row, with_tail=False)))
    return True


def _swap_rows(tree, rng):
    rows = [row for row in tree.iter("tr") if not any(c.get("rowspan") for c in row)]
    if len(rows) < 2:
        return False
    a, b = rng.sample(rows, 2)
    if a in b.iterancestors() or b in a.iterancestors():
        return False
    mark = etree.Element("tr")
    a.addprevious(mark)
    b.addprevious(a)
    mark.addprevious(b)
    mark.getparent().remove(mark)
    return True


def _swap_cells(tree, rng):
    cells = [cell for cell in _cells(tree) if not len(cell)]
    if len(cells) < 2:
        return False
    a, b = rng.sample(cells, 2)
    a.text, b.text = b.text, a.text
    return True


def _column(edit):
    def change(tree, rng):
        tables = list(tree.iter("table"))
        grid = table_grid(rng.choice(tables)) if tables else []
        columns = sorted({column for _, column, _, wide, _ in grid if wide == 1})
        if len(columns) < 2:
            return False
        edit([[c for _, column, _, wide, c in grid if column == k and wide == 1] for k in rng.sample(columns, 2)])
        return True
    return change


def _remove_column(columns):
    for cell in columns[0]:
        _cut(cell)


def _paint_column(columns):
    for cell in columns[0]:
        cell.set("style", (cell.get("style") or "") + ";background:#fc9")


def _span(name):
    def change(tree, rng):
        cells = _cells(tree)
        if not cells:
            return False
        cell = rng.choice(cells)
        if cell.get(name):
            del cell.attrib[name]
        else:
            cell.set(name, "2")
        return True
    return change


def _retag(tree, rng):
    cells = _cells(tree, text=True)
    if not cells:
        return False
    cell = rng.choice(cells)
    cell.tag = "th" if cell.tag == "td" else "td"
    return True


def _add_outside(place):
    def change(tree, rng):
        paragraph = etree.Element("p")
        paragraph.text = "Source: own survey"
        body = tree.find("body")
        body.insert(0 if place == "above" else len(body), paragraph)
        return True
    return change


def _caption(tree, rng):
    table = next(tree.iter("table"))
    if table.find("caption") is not None:
        table.find("caption").text = "Another caption"
    else:
        caption = etree.Element("caption")
        caption.text = "Overview"
        table.insert(0, caption)
    return True


def _image(tree, rng):
    cells = _cells(tree)
    if not cells:
        return False
    dot = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5" \
        "ErkJggg=="
    rng.choice(cells).append(etree.Element("img", src=dot, width="30", height="20"))
    return True


def _list(tree, rng):
    cells = [cell for cell in _cells(tree) if (cell.text or "").strip() and not len(cell)]
    if not cells:
        return False
    cell = rng.choice(cells)
    items = etree.SubElement(cell, "ul")
    for word in cell.text.split():
        etree.SubElement(items, "li").text = word
    cell.text = ""
    return True


def _drop_style(tree, rng):
    styled = [e for e in tree.iter() if isinstance(e.tag, str) and e.get("style")]
    if not styled:
        return False
    element = rng.choice(styled)
    parts = [part for part in element.get("style").split(";") if part.strip()]
    if not parts:
        return False
    parts.pop(rng.randrange(len(parts)))
    element.set("style", ";".join(parts))
    return True


def _drop_rule(tree, rng):
    sheets = [sheet for sheet in tree.iter("style") if (sheet.text or "").count("}") > 0]
    if not sheets:
        return False
    sheet = rng.choice(sheets)
    rules = re.findall(r"[^{}]+\{[^{}]*\}", sheet.text)
    if not rules:
        return False
    sheet.text = sheet.text.replace(rng.choice(rules), "", 1)
    return True


def _drop_attribute(tree, rng):
    found = [(e, name) for e in tree.iter("table", "tr", "td", "th", "col", "p", "div", "span", "font")
             for name in e.attrib if name in ("align", "valign", "bgcolor", "color", "size", "width", "border", "class")]
    if not found:
        return False
    element, name = rng.choice(found)
    del element.attrib[name]
    return True


ROW, TABLE, CELL = ("tr",), ("table",), ("td", "th")
CHANGES = {
    "digit": _text(_digit), "word": _text(_word), "letter case": _text(_case),
    "minus sign": _text(lambda text, rng: "-" + text if text.strip()[:1].isdigit() else None),
    "currency": _text(lambda text, rng: "$" + text if text.strip()[:1].isdigit() else text.replace("$", "")),
    "text removed": _text(lambda text, rng: ""), "bold word": _wrapped("b"), "italic word": _wrapped("i"),
    "underlined word": _wrapped("u"), "struck word": _wrapped("s"), "raised word": _wrapped("sup"),
    "lowered word": _wrapped("sub"), "code": _wrapped("code"), "marked word": _wrapped("mark"),
    "small word": _wrapped("small"), "link": _wrapped("a", href="#x"), "colored word": _wrapped("span",
                                                                                                style="color:red"),
    "large word": _wrapped("span", style="font-size:160%"), "line break": _break, "list": _list, "image": _image,
    "row removed": _remove("tr"), "row twice": _copy_row, "rows swapped": _swap_rows, "cells swapped": _swap_cells,
    "cell removed": _remove("td", "th"), "column removed": _column(_remove_column),
    "column painted": _column(_paint_column), "colspan": _span("colspan"), "rowspan": _span("rowspan"),
    "header": _retag, "caption": _caption, "text above": _add_outside("above"), "text below": _add_outside("below"),
    "text color": _styled(lambda rng: "color:" + rng.choice(COLORS), text=True),
    "ground of a cell": _styled(lambda rng: "background:" + rng.choice(GROUNDS)),
    "ground of a row": _styled(lambda rng: "background:" + rng.choice(GROUNDS), ROW),
    "ground of a table": _styled(lambda rng: "background:" + rng.choice(GROUNDS), TABLE),
    "bold": _styled("font-weight:bold", text=True), "not bold": _styled("font-weight:normal", text=True),
    "italic": _styled("font-style:italic", text=True), "underline": _styled("text-decoration:underline", text=True),
    "line through": _styled("text-decoration:line-through", text=True),
    "letter size": _styled(lambda rng: f"font-size:{rng.choice((60, 75, 130, 150, 200))}%", text=True),
    "letter size of a table": _styled(lambda rng: f"font-size:{rng.choice((8, 14, 18))}px", TABLE),
    "typeface": _styled(lambda rng: f"font-family:{rng.choice(('serif', 'monospace'))}", (*TABLE, *CELL)),
    "capitals": _styled("text-transform:uppercase", text=True), "small capitals": _styled("font-variant:small-caps",
                                                                                         text=True),
    "letter spacing": _styled("letter-spacing:3px", text=True), "opacity": _styled("opacity:0.3", text=True),
    "hidden": _styled("visibility:hidden", text=True), "not displayed": _styled("display:none"),
    "white text": _styled("color:white", text=True), "align": _styled(
        lambda rng: "text-align:" + rng.choice(("left", "center", "right")), text=True),
    "vertical align": _styled(lambda rng: "vertical-align:" + rng.choice(("top", "bottom")), text=True),
    "align of a row": _attribute(ROW, "align", ("left", "center", "right")),
    "padding": _styled(lambda rng: f"padding:{rng.choice((12, 20))}px"), "indent": _styled("text-indent:20px",
                                                                                         text=True),
    "no border": _styled("border:none"), "thick border": _styled("border:3px solid black"),
    "dashed border": _styled("border:2px dashed black"), "colored border": _styled("border-color:red"),
    "one border": _styled("border-bottom:3px solid blue"), "no borders in a row": _ruled("tr:last-child td{border:0}"),
    "no borders": _ruled("td,th{border:none}"), "only rules": _ruled("td,th{border-width:1px 0}"),
    "separate borders": _styled("border-collapse:separate;border-spacing:6px", TABLE),
    "frame": _styled("border:4px solid black", TABLE), "cell width": _styled("width:320px"),
    "table width": _styled("width:1200px", TABLE), "cell height": _styled("height:60px"),
    "rounded": _styled("border-radius:9px;border:2px solid red"), "right to left": _attribute(TABLE, "dir", ("rtl",)),
    "bgcolor": _attribute((*TABLE, *ROW, *CELL), "bgcolor", ("yellow", "#ccddff")),
    "valign": _attribute(CELL, "valign", ("top", "bottom")), "cellpadding": _attribute(TABLE, "cellpadding", ("12",)),
    "table border": _attribute(TABLE, "border", ("0", "3")), "zebra": _ruled("tr:nth-child(even){background:#cdf}"),
    "content": _ruled("td:first-child::before{content:'> '}"), "heads painted": _ruled("th{background:navy;color:white}"),
    "page ground": _ruled("body{background:#def}"), "style removed": _drop_style, "rule removed": _drop_rule,
    "attribute removed": _drop_attribute}


# --- 2. rewritings that change nothing ---
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
    for cell in _cells(tree):
        if not cell.get("colspan"):
            cell.set("colspan", "1")
    return True


def _blanks(tree, rng):
    for cell in _cells(tree):
        if cell.text and not len(cell):
            cell.text = f"\n  {cell.text.strip()} \n"
    return True


def _wrap_all(tree, rng):
    for cell in _cells(tree):
        if cell.text and not len(cell):
            inner = etree.SubElement(cell, "span")
            inner.text, cell.text = cell.text, ""
    return True


REWRITES = {"strong for b": _rename("b", "strong"), "em for i": _rename("i", "em"), "tbody": _bodies,
            "spans of one": _spans_of_one, "blanks": _blanks, "text in spans": _wrap_all,
            "a class": _attribute(CELL, "class", ("k",)), "black text": _styled("color:black"),
            "its own weight": _styled("font-style:normal"), "an empty rule": _ruled("td{} .none{color:red}"),
            "hidden paragraph": _ruled("p.none{display:none}")}


# --- 3. measuring ---
def read_tables(folder):
    """[(name, HTML)] of the tables of a folder; Markdown is turned into HTML."""
    found = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.suffix.lower() in (".html", ".htm", ".md"):
            code = path.read_text(errors="replace")
            found.append((path.name, code if is_html(code) else markdown_to_html(code)))
    return found


def changed(code, change, rng):
    """The program after a change, or None where it does not apply."""
    tree = lxml.html.document_fromstring(code if re.search(r"<(html|body)\b", code, re.I) else f"<body>{code}")
    before = etree.tostring(tree)
    if tree.find("body") is None or next(tree.iter("table"), None) is None or not change(tree, rng):
        return None
    after = etree.tostring(tree, method="html", encoding="unicode")
    return after if etree.tostring(tree) != before else None


def measure(tables, n, seed=0):
    """{kind: Counter}, and [(kind, name, code, changed code, what is wrong)]; `n` changes a table, all rewritings."""
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


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of tables: .html and .md")
    parser.add_argument("--n", type=int, default=12, help="changes a table (default 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the programs behind what is wrong")
    args = parser.parse_args(argv)
    tables = read_tables(args.folder)
    counts, wrong, slowest = measure(tables, args.n, args.seed)
    columns = ("made", "visible", "unnamed", "moved", "equal", "false", "crash", "not drawn")
    print(f"{'change':24s}" + "".join(f"{column:>10s}" for column in columns))
    total = collections.Counter()
    for kind in sorted(counts, key=lambda kind: (-counts[kind]["unnamed"], -counts[kind]["false"], kind)):
        total += counts[kind]
        print(f"{kind:24s}" + "".join(f"{counts[kind][column]:10d}" for column in columns))
    print(f"{'all':24s}" + "".join(f"{total[column]:10d}" for column in columns))
    if args.show:
        for kind, name, code, new, why in wrong:
            print(f"\n=== {kind}, {name}: {why}\n{code}\n--->\n{new}")
    print(f"{len(tables)} tables; visible changes unnamed: {100 * total['unnamed'] / max(1, total['visible']):.1f} %, "
          f"and moved by 2 px at most: {100 * total['moved'] / max(1, total['visible']):.1f} %; "
          f"equal pictures with an error: {100 * total['false'] / max(1, total['equal']):.1f} %; "
          f"slowest comparison {1000 * slowest:.0f} ms")


if __name__ == "__main__":
    main()
