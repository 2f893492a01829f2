"""Tables for `data/compare`: pairs rows and columns by their content, then cells, and enters what differs.

A row that is missing is one layout_error: rows are aligned by dynamic programming on their texts, so the rows below
it are not blamed for having moved up. Columns and the cells of a row are treated alike.
"""
import re
from collections import Counter

from data.compare.matching import align, assign
from data.compare.words import as_number, check_text, normal, reads, shorten, similar, text_credit
from data.compare.colors import color_distance, color_name
from data.compare.ledger import NUMBER, TYPO, COLOR, severity


def examine_table(true, pred, ledger):
    """Compare two table scenes; enter everything visible in `ledger`."""
    check_text(ledger, "content", "text_error", "text outside", pred.get("outside"), true.get("outside"))
    ours, theirs = true["tables"], pred["tables"]
    if len(ours) != len(theirs):
        ledger.differ("layout", 0, "layout_error", 3, "page", f"tables {len(theirs)}, should be {len(ours)}", 4)
    for k in range(max(len(ours), len(theirs))):
        prefix = f"table {k + 1}: " if len(ours) > 1 else ""
        if k < min(len(ours), len(theirs)):
            _Pair(ours[k], theirs[k], prefix, ledger).examine()
        else:
            size = len((ours if k < len(ours) else theirs)[k]["cells"])
            ledger.cost("content", 0, size)
            ledger.cost("layout", 0, size)


def number_like(text):
    """Whether a cell holds a quantity: digits with at most a sign, a currency, a unit, a bracket, an error."""
    text = normal(text)
    return bool(re.search(r"\d", text)) and not re.search(r"[^\W\d_]{4,}", text) and as_number(text) is not None \
        or bool(re.fullmatch(r"[\d\s.,:;%()+*/±~<>=^$€£¥°x-]+", text) and re.search(r"\d", text))


def cell_error(found, expected):
    """(category, severity, credit) of a cell whose text is wrong.

    Numbers: 1 for another way of writing or less than 2 % off, 2 below 10 %, 3 beyond, and for a wrong sign, unit
    or no number at all. Words: 1 for a slip, 2 for another word.
    """
    found, expected = normal(found), normal(expected)
    digits = [re.sub(r"[\d.,%+$€£-]", "", text) for text in (found, expected)]
    if number_like(expected) or not expected and number_like(found):
        a, b = as_number(found), as_number(expected)
        if a is None or b is None:
            return "numeric_error", 3, 0.5 * text_credit(found, expected)
        units = [re.sub(r"[\d.,()+\s-]|(?<=\d)[eE](?=[-+]?\d)", "", text) for text in (found, expected)]
        gap = abs(a - b) / max(abs(a), abs(b), 1e-12)
        if units[0] != units[1]:
            return "numeric_error", 3 if gap > NUMBER[1] else 2, 0.5
        if a * b < 0:
            return "numeric_error", 3, 0.25
        return "numeric_error", max(1, severity(gap, NUMBER)), max(0.0, 0.9 - 2 * gap)
    if digits[0] == digits[1] and re.search(r"\d", found + expected):
        return "numeric_error", 2, text_credit(found, expected)
    return "text_error", 1 if similar(found, expected) >= TYPO else 2, text_credit(found, expected)


class _Pair:
    """One table of each picture: `t` as it should be, `p` as it is."""

    def __init__(self, t, p, prefix, ledger):
        self.t, self.p, self.prefix, self.ledger = t, p, prefix, ledger
        self.ours, self.theirs = _by_row(t), _by_row(p)

    def layout(self, level, location, description):
        self.ledger.tell("layout_error", level, self.prefix + location, description)

    def examine(self):
        check_text(self.ledger, "content", "text_error", self.prefix + "caption", self.p.get("caption"),
                   self.t.get("caption"))
        rows = self.lines(self.ours, self.theirs, "row")
        columns = self.lines(_by_column(self.t), _by_column(self.p), "column")
        cells = []                                                     # pairs of cells that face each other
        for i, j in rows:
            if i is not None and j is not None:
                cells += self.cells(i, j, columns)
        self.contents(cells)
        self.looks(cells)

    # -------------------------------------------------------------------------------------- rows and columns
    def lines(self, ours, theirs, word):
        """Pair rows (or columns) and tell which are missing, extra, swapped or moved."""
        pairs = _pairs(ours, theirs)
        matched = [(i, j) for i, j in pairs if None not in (i, j)]
        order = sorted(j for _, j in matched)
        fixed = {k: order.index(j) for k, (_, j) in enumerate(matched) if order.index(j) != k}
        self.moved(fixed, [i for i, _ in matched], ours, word)
        for i, j in pairs:
            if i is None or j is None:
                line = theirs[j] if i is None else ours[i]
                self.ledger.cost("layout", 0, max(1, len(line)))
                self.ledger.cost("content", 0, max(1, len(line)))
                self.layout(3, f"{word} {(j if i is None else i) + 1}", "extra" if i is None else "missing")
            else:
                likeness = 1 - 1.5 * _line_distance(ours[i], theirs[j])          # a line of strangers is no line
                self.ledger.entries["layout"].append([max(1, len(ours[i])) / 2, max(0.0, likeness)])
        return pairs

    def moved(self, fixed, numbers, ours, word):
        """Tell swaps and moves. `fixed` maps the rank of a line to its rank now; `numbers` are the lines by rank.

        A line that moved pushes those in between by one; only the one that went furthest is told.
        """
        rest = dict(fixed)
        while rest:
            i = max(rest, key=lambda k: (abs(rest[k] - k), -k))
            j = rest.pop(i)
            swap = rest.get(j) == i
            rest.pop(j if swap else None, None)
            if not swap:
                rest = {k: l for k, l in rest.items() if l - k != (1 if j < i else -1)}
            self.ledger.cost("layout", 0.3, len(ours[numbers[i]]))
            a, b = sorted((i, j)) if swap else (i, j)
            self.layout(2, f"{word} {numbers[a] + 1}",
                        f"{'swapped with' if swap else 'moved to'} {word} {numbers[b] + 1}")

    # -------------------------------------------------------------------------------------------------- cells
    def cells(self, i, j, columns):
        """Pair the cells of row `i` of the true table with those of row `j`; tell missing, extra and merged ones."""
        partner = {a: b for a, b in columns}
        gone = {a for a, b in columns if b is None}
        new = {b for a, b in columns if a is None}
        ours = [c for c in self.ours[i] if not set(range(c["col"], c["col"] + c["colspan"])) <= gone]
        theirs = [c for c in self.theirs[j] if not set(range(c["col"], c["col"] + c["colspan"])) <= new]

        def distance(a, b):
            return 0.6 * _cell_distance(a, b) + 0.1 * (partner.get(a["col"]) != b["col"])
        if len(ours) == len(theirs):
            order = sorted(ours, key=lambda c: partner.get(c["col"]) or 0)
            pairs = list(zip(order, theirs))
        else:
            pairs = [(None if a is None else ours[a], None if b is None else theirs[b])
                     for a, b in align(ours, theirs, distance, 0.33)]
        faced = []
        for a, b in pairs:
            if a is None or b is None:
                self.lonely(a, b, [pair for pair in pairs if None not in pair], i)
            else:
                faced.append((a, b))
                self.spans(a, b)
        return faced

    def lonely(self, a, b, pairs, row):
        """A cell without a partner in its row, unless a span that changed took or gave its place."""
        for x, y in pairs:
            wide, narrow = (y, x) if b is None else (x, y)
            if wide["colspan"] > narrow["colspan"] or wide["rowspan"] > narrow["rowspan"]:
                self.ledger.cost("content", 0)
                return
        cell = a or b
        above = [c for c in (self.p if b is None else self.t)["cells"]
                 if c["rowspan"] > 1 and c["row"] < cell["row"] < c["row"] + c["rowspan"] and c["col"] == cell["col"]]
        if above:
            return
        self.ledger.cost("layout", 0)
        self.ledger.cost("content", 0)
        self.layout(3, f"row {row + 1}, column {cell['col'] + 1}", "missing" if b is None else "extra")

    def spans(self, a, b):
        for key, word in (("colspan", "column"), ("rowspan", "row")):
            if a[key] != b[key]:
                self.ledger.cost("layout", 0, 2)
                self.layout(3, _place(a), f"spans {b[key]} {word}{'s' * (b[key] > 1)}, should be {a[key]}")
            elif a[key] > 1:
                self.ledger.agree("layout")

    def contents(self, cells):
        """Tell wrong texts; two cells that hold each other's text are swapped."""
        wrong = [(a, b) for a, b in cells if normal(a["text"]) != normal(b["text"])]
        swapped = set()
        for n, (a, b) in enumerate(wrong):
            for c, d in wrong[n + 1:]:
                if not {id(a), id(c)} & swapped and normal(a["text"]) == normal(d["text"]) != "" != normal(b["text"]) \
                        and normal(b["text"]) == normal(c["text"]):
                    swapped |= {id(a), id(c)}
                    self.layout(2, _place(a), f"swapped with {_place(c)}")
        for a, b in cells:
            found, expected = normal(b["text"]), normal(a["text"])
            if found == expected:
                self.ledger.agree("content")
            elif id(a) in swapped:
                self.ledger.cost("content", 0.3)
            elif not found or not expected:
                category = "numeric_error" if number_like(found or expected) else "text_error"
                self.ledger.differ("content", 0, category, 3 if category == "numeric_error" else 2,
                                   self.prefix + _place(a), f"empty, should be '{shorten(expected)}'" if expected
                                   else f"reads '{shorten(found)}', should be empty")
            else:
                category, level, credit = cell_error(found, expected)
                self.ledger.differ("content", credit, category, level, self.prefix + _place(a),
                                   reads(found, expected))

    def looks(self, cells):
        """Header, alignment, bold and colours of cells; told once for a row, a column or the table where it can be."""
        looks = (("header", 2, lambda v: "header" if v else "no header"), ("align", 1, lambda v: f"aligned {v}"),
                 ("bold", 1, lambda v: "bold" if v else "not bold"),
                 ("color", 1, lambda v: f"text {color_name(v)}"), ("background", 1, color_name))
        for key, level, word in looks:
            wrong = {}
            for a, b in cells:
                if key != "header" and a.get("header") != b.get("header") and b.get("header") is not None:
                    continue                                     # bold and centred because it became a header
                same = a.get(key) == b.get(key)
                if key in ("color", "background"):
                    same = same or not severity(color_distance(a.get(key), b.get(key)), COLOR)
                if key == "align" and not (normal(a["text"]) and normal(b["text"])):
                    same = True
                if not same:
                    wrong.setdefault((b.get(key), a.get(key)), []).append(a)
                    self.ledger.cost("layout", 0.5, 0.5)
            for (found, expected), group in wrong.items():
                for place in self.groups(group, [a for a, _ in cells]):
                    self.layout(level, place, f"{word(found)}, should be {word(expected)}".replace("be aligned", "be"))

    def groups(self, group, cells):
        """Fewest places that cover exactly the cells of `group`: the table, rows, columns, else the cells."""
        chosen = {id(c) for c in group}
        if len(chosen) == len(cells) > 1 and len({c["row"] for c in cells}) > 1:
            return ["table"]
        for key in ("row", "col"):
            lines = sorted({c[key] for c in group})
            whole = [c for c in cells if c[key] in lines and normal(c["text"])]
            if len(group) > 1 and {id(c) for c in whole} <= chosen and len(whole) > len(lines):
                return [f"{'row' if key == 'row' else 'column'} {k + 1}" for k in lines]
        return [_place(c) for c in group]


# ----------------------------------------------------------------------------------------------------- helpers
def _place(cell):
    return f"row {cell['row'] + 1}, column {cell['col'] + 1}"


def _by_row(table):
    rows = [[] for _ in range(table["rows"])]
    for cell in sorted(table["cells"], key=lambda c: (c["row"], c["col"])):
        rows[cell["row"]].append(cell)
    return rows


def _by_column(table):
    columns = [[] for _ in range(table["cols"])]
    for cell in sorted(table["cells"], key=lambda c: (c["col"], c["row"])):
        columns[cell["col"]].append(cell)
    return columns


def _pairs(ours, theirs, gap=0.42):
    """Pairs of lines by content: in order, or, where that explains more, in any order at the price of a gap a move."""
    pairs = align(ours, theirs, _line_distance, gap)
    if max(len(ours), len(theirs)) > 60:
        return pairs
    free = assign(ours, theirs, _line_distance, gap)

    def cost(chosen):
        return sum(gap if None in pair else _line_distance(ours[pair[0]], theirs[pair[1]]) for pair in chosen)
    moves = len([i for i, _ in free if i is not None]) - _rising([j for _, j in free])
    return free if cost(free) + gap * max(1, moves) < cost(pairs) - 1e-6 else pairs


def _rising(places):
    """Length of the longest rising subsequence of `places` (None aside, which counts as in order)."""
    best = []
    for k, place in enumerate(places):
        below = [best[m] for m in range(k) if places[m] is not None and place is not None and places[m] < place]
        best.append(1 + max(below, default=0) if place is not None else 0)
    return max(best, default=0) + sum(place is None for place in places)


def _cell_distance(a, b):
    """0 for cells with the same text, up to 0.8: a cell that reads otherwise is nearer than two without a partner."""
    if normal(a["text"]) == normal(b["text"]):
        return 0.0
    return 0.8 - 0.4 * similar(a["text"], b["text"])


def _line_distance(a, b):
    """0 for two rows with the same cells in the same order, almost 0 in any order, near 1 for two that share none."""
    if not a and not b:
        return 0.0
    texts = [Counter(normal(cell["text"]) for cell in line) for line in (a, b)]
    strange = 0.05 + 0.8 * (1 - (texts[0] & texts[1]).total() / max(len(a), len(b)))
    pairs = align(a, b, lambda x, y: _cell_distance(x, y), 0.5)
    off = sum(0.5 if None in pair else _cell_distance(a[pair[0]], b[pair[1]]) for pair in pairs)
    return min(strange, off / max(len(a), len(b)))
