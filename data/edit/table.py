"""Damage to tables (HTML and Markdown): edits of the tree, written back as it was read.

An editor takes (`_Table`, rng), changes the tree and returns the place it hit, as `compare` calls
it, or None.
"""
import random
import re

import lxml.html
from lxml import etree

from data.edit.chart import other_word
from data.renderers.scene import RenderError
from data.renderers.table import is_html, markdown_tables, span, table_grid, table_rows
from data.worlds.level1 import WORDS


class _Table:
    """The first table of a page. `slots` maps each of `cells[r][c]` to its place in the grid."""

    def __init__(self, code):
        self.markdown = not is_html(code)
        # Of a Markdown table: its alignment marks, where it stands.
        self.marks, self.lines = [], (0, 0)
        if self.markdown:
            code = code.strip()
            self.root, self.marks, self.lines = _from_markdown(code)
        elif re.match(r"\s*<(!doctype|html)", code, re.I):
            self.root = lxml.html.document_fromstring(code)
        else:
            self.root = lxml.html.fragment_fromstring(code, create_parent="div")
        tables = self.root.xpath(".//table[not(ancestor::table)]")
        if not tables:
            raise ValueError("no table")
        self.table, self.code = tables[0], code
        self.rows = table_rows(self.table)
        self.cells = [[cell for cell in row if cell.tag in ("td", "th")] for row in self.rows]
        self.slots = {cell: (row, column) for row, column, _, _, cell in table_grid(self.table)}
        self.all = [cell for row in self.cells for cell in row]

    def written(self):
        """The table as text, in the language it came in."""
        if self.markdown:
            return _to_markdown(self.code, self.cells, self.marks, self.lines)
        text = etree.tostring(self.root, encoding="unicode", method="html")
        if self.root.tag == "html":
            doctype = re.match(r"\s*<!doctype[^>]*>\s*", self.code, re.I)
            return (doctype.group() if doctype else "") + text
        return re.sub(r"^<div>|</div>$", "", text)

    def place(self, cell):
        row, column = self.slots[cell]
        return f"row {row + 1}, column {column + 1}"

    def plain(self, spanning=False):
        """Cells that hold nothing but text, and (unless `spanning`) fill one slot."""
        return [cell for cell in self.all if not len(cell) and (spanning or not _spans(cell))]

    def regular(self):
        """Whether no cell spans and all rows are of one length."""
        return not any(map(_spans, self.all)) and len({len(row) for row in self.cells if row}) == 1


def _spans(cell):
    return span(cell, "colspan") != 1 or span(cell, "rowspan") != 1


def _from_markdown(code):
    """(tree of the first table, its alignment marks, (first line, line after the last))."""
    tables = markdown_tables(code)
    if not tables:
        raise ValueError("no table")
    first, last, _, rows = tables[0]
    root = etree.Element("div")
    table = etree.SubElement(root, "table")
    for r, row in enumerate(rows):
        line = etree.SubElement(table, "tr")
        for part in row:
            etree.SubElement(line, "td" if r else "th").text = part
    return root, re.findall(r":?-+:?", code.splitlines()[first + 1]), (first, last)


def _to_markdown(code, cells, marks, place):
    """`code` with the rows in `cells` and the line of alignment `marks` where its table stood."""
    lines, (first, last) = code.splitlines(), place
    rows = [[(cell.text or "").strip().replace("|", "\\|") for cell in row] for row in cells]
    body = ["| " + " | ".join(row) + " |" for row in rows[:1] + [marks] + rows[1:]]
    return "\n".join(lines[:first] + body + lines[last:])


# --- 1. words ---

def _pick(table, rng, test):
    cells = [cell for cell in table.plain(spanning=True) if test(cell.text or "")]
    return rng.choice(cells) if cells else None


def _digit(table, rng):
    """One digit becomes another."""
    cell = _pick(table, rng, lambda text: re.search(r"\d", text))
    if cell is None:
        return None
    k = rng.choice([m.start() for m in re.finditer(r"\d", cell.text)])
    first = k == 0 or not cell.text[k - 1].isdigit() and cell.text[k - 1] != "."
    new = rng.choice([d for d in ("123456789" if first else "0123456789") if d != cell.text[k]])
    cell.text = cell.text[:k] + new + cell.text[k + 1:]
    return table.place(cell)


def _sign(table, rng):
    """A minus sign more or less."""
    cell = _pick(table, rng, lambda text: re.match(r"\s*[-\u2212]?\d", text)
                 and not re.search(r"\d[-/:]\d", text))
    if cell is None:
        return None
    text = cell.text.strip()
    cell.text = text[1:] if text[0] in "-\u2212" else "-" + text
    return table.place(cell)


def _unit(table, rng):
    """A percent sign or a unit more or less."""
    pattern = r"\s*[-+]?[\d.,]+\s*(%|[a-zA-Z]{1,3})?\s*"
    cell = _pick(table, rng, lambda text: re.fullmatch(pattern, text))
    if cell is None:
        return None
    number = re.match(r"\s*[-+]?[\d.,]+", cell.text).group()
    cell.text = number if number.strip() != cell.text.strip() else number.rstrip() + "%"
    return table.place(cell)


def _word(table, rng):
    """Another word, or a slip."""
    cell = _pick(table, rng, lambda text: re.search(r"[^\W\d_]{2}", text)
                 and not re.search(r"\d", text))
    if cell is None:
        return None
    words = (cell.text or "").split(" ")
    k = max(range(len(words)), key=lambda i: (len(words[i]), i))
    taken = {(c.text or "").strip() for c in table.all}
    words[k] = other_word(words[k], rng, [w for w in WORDS if w not in taken] or WORDS)
    cell.text = " ".join(words)
    return table.place(cell)


def _empty(table, rng):
    cell = _pick(table, rng, lambda text: text.strip())
    if cell is None:
        return None
    cell.text = ""
    return table.place(cell)


# --- 2. layout ---

def _cut(element, drop_line=True):
    """Take an element out with the white space after it."""
    before, parent = element.getprevious(), element.getparent()
    if drop_line and before is not None and element.getnext() is None:
        before.tail = element.tail
    element.tail = None
    parent.remove(element)


def _remove_row(table, rng):
    if len(table.rows) < 2 or any(span(cell, "rowspan") > 1 for cell in table.all):
        return None
    # The first row of Markdown is always the header.
    k = rng.randrange(table.markdown, len(table.rows))
    _cut(table.rows[k])
    del table.cells[k]
    return f"row {k + 1}"


def _add_row(table, rng):
    """A copy of a row with other texts, after it."""
    rows = [k for k, row in enumerate(table.cells)
            if row and not any(map(_spans, row)) and row[0].tag == "td"]
    if not rows or any(span(cell, "rowspan") > 1 for cell in table.all):
        return None
    k = rng.choice(rows)
    new = etree.fromstring(etree.tostring(table.rows[k], with_tail=False))
    for cell in new:
        text = "".join(cell.itertext())
        for child in list(cell):
            cell.remove(child)
        if re.search(r"\d", text):
            cell.text = re.sub(r"\d", lambda m: rng.choice("123456789"), text)
        else:
            cell.text = other_word(text, rng, WORDS) if text.strip() else ""
    row = table.rows[k]
    new.tail = row.tail
    following = row.getnext()
    if following is not None or not row.tail:
        row.tail = row.tail if row.tail else None
    row.addnext(new)
    if new.tail is None or new.getnext() is None:
        first = row.getprevious()
        row.tail = first.tail if first is not None else row.getparent().text
    table.cells.insert(k + 1, list(new))
    return f"row {k + 2}"


def _remove_column(table, rng):
    if not table.regular() or len(table.cells[0]) < 2:
        return None
    k = rng.randrange(len(table.cells[0]))
    for row in table.cells:
        if row:
            _cut(row[k])
            del row[k]
    del table.marks[k:k + 1]
    return f"column {k + 1}"


def _remove_cell(table, rng):
    cells = [cell for cell in table.plain()
             if (cell.text or "").strip() and len(cell.getparent()) > 1]
    if not cells or table.markdown or len(table.rows) < 2:
        return None
    cell = rng.choice(cells)
    place = table.place(cell)
    _cut(cell)
    return place


def _swap(a, b):
    """Exchange two cells, with what they contain and how they are aligned."""
    a.text, b.text, a.tag, b.tag = b.text, a.text, b.tag, a.tag
    one, two = dict(a.attrib), dict(b.attrib)
    inside = list(a), list(b)
    for cell, attributes, children in ((a, two, inside[1]), (b, one, inside[0])):
        cell.attrib.clear()
        cell.attrib.update(attributes)
        cell.extend(children)


def _swap_cells(table, rng):
    cells = [cell for cell in table.plain(spanning=True)
             if (cell.text or "").strip() and cell.tag == "td"]
    pairs = [(a, b) for i, a in enumerate(cells) for b in cells[i + 1:]
             if a.text.strip() != b.text.strip()]
    pairs = [(a, b) for a, b in pairs if table.slots[a][0] == table.slots[b][0]
             or table.slots[a][1] == table.slots[b][1]]
    if not pairs or len(table.rows) < 2:  # in one row it is a swap of columns
        return None
    a, b = rng.choice(pairs)
    a.text, b.text = b.text, a.text
    return table.place(a)


def _swap_rows(table, rng):
    rows = [k for k, row in enumerate(table.cells)
            if row and row[0].tag == "td" and not any(map(_spans, row))]
    if len(rows) < 2 or len({len(table.cells[k]) for k in rows}) > 1:
        return None
    i, j = sorted(rng.sample(rows, 2))
    for a, b in zip(table.cells[i], table.cells[j]):
        _swap(a, b)
    return f"row {i + 1}"


def _swap_columns(table, rng):
    if not table.regular() or len(table.cells[0]) < 2:
        return None
    i, j = sorted(rng.sample(range(len(table.cells[0])), 2))
    for row in table.cells:
        if row:
            _swap(row[i], row[j])
    if table.marks:
        table.marks[i], table.marks[j] = table.marks[j], table.marks[i]
    return f"column {i + 1}"


def _merge(table, rng):
    """A cell swallows its right neighbour."""
    pairs = [(a, b) for row in table.cells for a, b in zip(row, row[1:])
             if not _spans(a) and not _spans(b)]
    if not pairs or table.markdown or len(table.rows) < 2:
        return None
    a, b = rng.choice(pairs)
    a.set("colspan", "2")
    _cut(b)
    return table.place(a)


def _split(table, rng):
    """A cell that spans columns shrinks to one; empty cells take the place."""
    cells = [cell for cell in table.all
             if span(cell, "colspan") > 1 and span(cell, "rowspan") == 1]
    if not cells:
        return None
    cell = rng.choice(cells)
    for _ in range(span(cell, "colspan") - 1):
        new = etree.Element(cell.tag)
        new.text = ""
        new.tail, cell.tail = cell.tail, None
        cell.addnext(new)
    del cell.attrib["colspan"]
    return table.place(cell)


def _align(table, rng):
    """Another alignment of one cell."""
    cells = [cell for cell in table.plain(spanning=True) if (cell.text or "").strip()]
    if not cells or table.markdown:
        return None
    cell = rng.choice(cells)
    style = cell.get("style", "")
    styled = re.search(r"text-align:\s*(\w+)", style)
    usual = "center" if cell.tag == "th" else "left"
    old = cell.get("align") or (styled.group(1) if styled else usual)
    new = rng.choice([a for a in ("left", "center", "right") if a != old])
    cell.attrib.pop("align", None)
    rest = re.sub(r"text-align:\s*\w+;?\s*", "", style)
    cell.set("style", f"text-align: {new}" + (f"; {rest}" if rest else ""))
    return table.place(cell)


def _header(table, rng):
    """The first row loses its header cells, or gets them."""
    if table.markdown or not table.cells[0]:
        return None
    old = table.cells[0][-1].tag
    for cell in table.cells[0]:
        cell.tag = "td" if old == "th" else "th"
    return "row 1"


EDITS = {"digit": _digit, "sign": _sign, "unit": _unit, "word": _word, "empty": _empty,
         "remove_row": _remove_row, "add_row": _add_row, "remove_column": _remove_column,
         "remove_cell": _remove_cell, "swap_cells": _swap_cells, "swap_rows": _swap_rows,
         "swap_columns": _swap_columns, "merge": _merge, "split": _split, "align": _align,
         "header": _header}


def damage_table(code: str, kind: str, rng: random.Random) -> tuple[str, str] | None:
    """(damaged code, place) or None if `kind` does not apply to the program."""
    try:
        table = _Table(code)
    except (ValueError, etree.LxmlError, RenderError):
        return None
    if not table.all:
        return None
    place = EDITS[kind](table, rng)
    new = table.written() if place else code
    return (new, place) if new != code else None
