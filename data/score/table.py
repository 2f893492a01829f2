"""Scores of tables as OmniDocBench and olmOCR-bench give them.

`normalized` is OmniDocBench's: two ways of writing one table become one text. `passes` runs one of
olmOCR-bench's tests, which ask whether a cell stands beside, under or below another.
"""
import re
import unicodedata
from html.parser import HTMLParser

import lxml.html
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment

from data.renderers.scene import RenderError
from data.renderers.table import is_html, markdown_tables, markdown_to_html, table_grid

# --- 1. OmniDocBench ---

LOOKS = {"style", "height", "width", "align", "class"}  # attributes that say how it looks
BARE = {"sup", "sub", "div", "p"}  # go where nothing else is said of them
GONE = {"thead", "tbody", "span"}
VOID = {"br", "col", "hr", "img", "input", "wbr"}  # without contents


class _Writer(HTMLParser):
    """Writes HTML again by the rules of `normalized`."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.skipped = [], None  # skipped: an element that goes with its contents

    def handle_starttag(self, tag, attrs):
        if self.skipped:
            return
        tag = "td" if tag == "th" else tag
        attrs = [(name, value) for name, value in attrs if name not in LOOKS]
        if tag == "math":
            self.parts.append(f"${dict(attrs).get('alttext') or ''}$")
        if tag == "math" or tag == "colgroup" and not attrs:
            self.skipped = tag
        elif tag not in GONE and not (tag in BARE and not attrs):
            said = "".join(f' {name}="{value or ""}"' for name, value in attrs)
            self.parts.append(f"<{tag}{said}{'/' * (tag in VOID)}>")

    def handle_endtag(self, tag):
        if self.skipped:
            self.skipped = None if tag == self.skipped else self.skipped
        elif tag not in GONE | BARE | VOID:
            self.parts.append(f"</{'td' if tag == 'th' else tag}>")

    def handle_data(self, data):
        if not data.strip(" \n\t\f\r"):
            data = "\n" if "\n" in data else " "
        if not self.skipped:
            self.parts.append(data)


def normalized(code: str) -> str:
    """A table's code by OmniDocBench's rules; "" if it holds no table.

    Header cells become cells. Header and body sections, spans, super- and subscripts, paragraphs
    and columns' groups go, and so do attributes of looks. A formula is its text between dollars.
    Entities are their letters (`&lt;`, too, as published), full-width letters the usual ones, any
    white space one space. Of several tables all rows are one text. Markdown is written as HTML
    first. A departure: elements that are not closed are closed as browsers do.

    >>> normalized("<table class='a'><thead><tr><th>A&nbsp; \uff11</th></tr></thead></table>")
    '<html><body><table border="1" ><tr><td>A 1</td></tr></table></body></html>'
    """
    code = code if is_html(code) else markdown_to_html(code)
    if "<table" not in code.lower():
        return ""
    writer = _Writer()
    writer.feed(code)
    writer.close()
    text = unicodedata.normalize("NFKC", "".join(writer.parts).replace("\n", "")).strip()
    rows = "".join(re.findall(r"<table\b[^>]*>(.*)</table>", text, re.S | re.I))
    rows = re.sub(r"\s+", " ", rows)
    return f'<html><body><table border="1" >{rows}</table></body></html>'


def edit_distance(true: str, pred: str) -> tuple[int, int]:
    """(Levenshtein distance, characters of the longer) of two normalised tables.

    OmniDocBench adds both up over a page and takes the mean of the quotients over pages.
    """
    return Levenshtein.distance(true, pred), max(len(true), len(pred))


def tables_of_page(answer: str, truths: list[str]) -> list[str]:
    """For each true table of a page the table in a page's text that is most like it, or "".

    Each is taken once: the assignment with the smallest sum of edit distances.
    """
    page = re.findall(r"<table\b.*?</table>", answer, re.S | re.I)
    rest = re.sub(r"<table\b.*?</table>", "", answer, flags=re.S | re.I).split("\n")
    page += ["\n".join(rest[first:last]) for first, last, *_ in markdown_tables("\n".join(rest))]
    if not page or not truths:
        return [""] * len(truths)
    texts = [normalized(table) for table in page]
    cost = [[Levenshtein.normalized_distance(normalized(true), text) for text in texts]
            for true in truths]
    found = [""] * len(truths)
    for i, j in zip(*linear_sum_assignment(cost)):
        found[i] = page[j]
    return found


# --- 2. olmOCR-bench ---

SIDES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
HEADINGS = {"top_heading": "up", "left_heading": "left"}
PLAIN = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "＿": "_",
                       "–": "-", "—": "-", "‑": "-", "‒": "-", "−": "-", "\u00b5": "\u03bc"})


def plain(text: str) -> str:
    """A cell's text for comparison: no bold or italics, one space for white space, plain signs."""
    text = re.sub(r"<br ?/?>", " ", text)
    text = re.sub(r"</?[bi]>", "", text)
    for mark in (r"\*\*", "__", r"\*", "_"):
        text = re.sub(rf"{mark}(.*?){mark}", r"\1", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(PLAIN)


class Grid:
    """A table as olmOCR-bench asks about it: `cells` [(row, column, rowspan, colspan, text,
    heading)].
    """

    def __init__(self, cells: list[tuple[int, int, int, int, str, bool]]):
        self.cells = cells
        self.slots = {(y + j, x + i): k for k, (y, x, high, wide, *_) in enumerate(cells)
                      for j in range(high) for i in range(wide)}
        self.height = 1 + max((y for y, _ in self.slots), default=0)
        self.width = 1 + max((x for _, x in self.slots), default=0)

    def beside(self, k: int, side: str) -> set[int]:
        """The cells next to cell `k` on a side; several where it spans."""
        (down, right), (y, x, high, wide, *_) = SIDES[side], self.cells[k]
        if down:
            starts = [(y - 1 if down < 0 else y + high, column) for column in range(x, x + wide)]
        else:
            starts = [(row, x - 1 if right < 0 else x + wide) for row in range(y, y + high)]
        found = set()
        for row, column in starts:
            while 0 <= row < self.height and 0 <= column < self.width:
                if (row, column) in self.slots:
                    found.add(self.slots[row, column])
                    break
                row, column = row + down, column + right
        return found

    def headings(self, k: int, side: str) -> set[int]:
        """The headings of cell `k` on a side; where there are none, the outermost cells."""
        headings, last, seen, todo = set(), set(), {k}, [k]
        while todo:
            here = todo.pop()
            onwards = self.beside(here, side)
            if here != k and self.cells[here][5]:
                headings.add(here)
            if here != k and not onwards:
                last.add(here)
            todo += onwards - seen
            seen |= onwards
        return headings or last


def grids(answer: str) -> list[Grid]:
    """The tables in an answer, in Markdown and in HTML."""
    found = []
    for _, _, _, rows in markdown_tables(answer):
        found.append(Grid([(y, x, 1, 1, text, y == 0 or x == 0)
                           for y, row in enumerate(rows) for x, text in enumerate(row)]))
    if not re.search(r"<table\b", answer, re.I):
        return found
    try:
        page = lxml.html.document_fromstring(answer.replace("\0", ""))
        for table in page.iter("table"):
            cells = [(*place, _written(cell), cell.tag == "th" or
                      next(cell.iterancestors("thead"), None) is not None)
                     for *place, cell in table_grid(table)]
            found.append(Grid(cells))
    except (lxml.etree.LxmlError, ValueError, RenderError):
        pass  # what is no table has none
    return found


def _written(cell):
    for line_break in cell.iter("br"):
        line_break.tail = "\n" + (line_break.tail or "")
    return cell.text_content().strip()


def passes(test: dict, tables: list[Grid]) -> bool:
    """Whether a test holds: some cell reads `cell`, and the cells around it as the test says.

    `up`, `down`, `left`, `right`: a neighbour; `top_heading`, `left_heading`: a heading above or
    left. Texts are alike if their indel similarity is at least 1 - max_diffs / length, and a half.
    """
    def alike(wanted, text):
        allowed = 1 - test.get("max_diffs", 0) / max(1, len(wanted))
        return fuzz.ratio(wanted, plain(text)) / 100 >= max(0.5, allowed)

    wanted = {name: plain(test[name]) for name in (*SIDES, *HEADINGS) if test.get(name)}
    cell = plain(test["cell"])
    for table in tables:
        for k in range(len(table.cells)):
            if not alike(cell, table.cells[k][4]):
                continue
            around = {name: table.headings(k, HEADINGS[name]) if name in HEADINGS
                      else table.beside(k, name) for name in wanted}
            if all(any(alike(text, table.cells[other][4]) for other in around[name])
                   for name, text in wanted.items()):
                return True
    return False
