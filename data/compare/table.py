"""Tables for `data/compare`: pairs tables, rows, columns and cells by their content, and enters
what differs.

A row that is missing is one layout_error: rows are aligned by dynamic programming on their texts,
so the rows below it are not blamed for having moved up. Columns and the cells of a row are treated
alike. How the cells that face each other are drawn is compared in data/compare/table_looks.py.
"""
import bisect
from collections import Counter

from data.compare.cells import cell_error, number_like, text_distance
from data.compare.ledger import Ledger
from data.compare.matching import align, assign
from data.compare.table_looks import Looks
from data.compare.table_pages import compare_marks, compare_outside
from data.compare.words import check_text, plain, reads, shorten

BUDGET = 100_000  # cells compared to find who faces whom; then lines are paired in their order


def examine_table(true: dict, pred: dict, ledger: Ledger) -> None:
    """Compare two table scenes; enter everything visible in `ledger`."""
    ours, theirs = true["tables"], pred["tables"]
    if len(ours) != len(theirs):
        ledger.differ(
            "layout",
            0,
            "layout_error",
            3,
            "page",
            f"tables {len(theirs)}, should be {len(ours)}",
            4,
        )
    pairs = _pair_tables(ours, theirs)
    faced = [(i, j) for i, j in pairs if None not in (i, j)]
    looks = Looks(true, pred, ledger)
    compare_outside(
        looks, [j for _, j in faced] == sorted(j for _, j in faced) and len(ours) == len(theirs)
    )
    if len(faced) > 1:
        _tell_moves(
            ledger,
            [j for _, j in faced],
            [i for i, _ in faced],
            "table",
            lambda i: len(ours[i]["cells"]),
            "",
        )
    for i, j in pairs:
        if i is None or j is None:
            size = len((theirs[j] if i is None else ours[i])["cells"])
            ledger.cost("content", 0, size)
            ledger.cost("layout", 0, size)
        else:
            _Pair(ours[i], theirs[j], f"table {i + 1}: " if len(ours) > 1 else "", looks).examine()


def _pair_tables(ours, theirs):
    if len(ours) == len(theirs) == 1:
        return [(0, 0)]
    words = {
        id(table): Counter(plain(cell["text"]) for cell in table["cells"])
        for table in (*ours, *theirs)
    }

    def distance(a, b):
        most = max(len(a["cells"]), len(b["cells"]), 1)
        return 0.9 * (1 - (words[id(a)] & words[id(b)]).total() / most)
    if len(ours) * len(theirs) > 2500:
        return align(ours[:100], theirs[:100], distance, 0.48)
    return assign(ours, theirs, distance, 0.48)


class _Pair:
    """One table of each picture: `t` as it should be, `p` as it is."""

    def __init__(self, t, p, prefix, looks):
        self.t, self.p, self.prefix, self.looks, self.ledger = t, p, prefix, looks, looks.ledger
        self.ours, self.theirs = _by_row(t), _by_row(p)
        self.budget, self.distances, self.read = BUDGET, {}, {}
        self.whole = True               # rows, columns and cells face each other one to one
        self.words = {True: looks.true.words, False: looks.pred.words}

    def layout(self, level, location, description):
        self.ledger.tell("layout_error", level, self.prefix + location, description)

    def text(self, cell, ours):
        return self.words[ours](cell)

    def examine(self):
        check_text(
            self.ledger,
            "content",
            "text_error",
            self.prefix + "caption",
            self.p.get("caption"),
            self.t.get("caption"),
            clean=plain,
        )
        rows = self.lines(self.ours, self.theirs, "row")
        self.columns = _by_column(self.t), _by_column(self.p)  # kept: lines are known by their id
        columns = self.lines(*self.columns, "column")
        partner, gone = dict(columns), {a for a, b in columns if b is None}
        new = {b for a, b in columns if a is None}
        cells = []  # pairs of cells that face each other
        for i, j in rows:
            if i is not None and j is not None:
                cells += self.cells(i, j, partner, gone, new)
        wrong = self.contents(cells)
        self.looks.compare(self.t, self.p, cells, wrong, self.prefix, self.whole)
        self.inside(cells, wrong)

    def inside(self, cells, wrong):
        """What cells hold besides text: images, lines, other tables."""
        for a, b in cells:
            if a.get("marks") or b.get("marks"):
                compare_marks(
                    self.ledger,
                    self.prefix + _place(a),
                    a.get("marks", []),
                    b.get("marks", []),
                    id(a) not in wrong,
                )
            ours, theirs = a.get("tables", []), b.get("tables", [])
            if len(ours) != len(theirs):
                self.ledger.cost("layout", 0)
                self.layout(3, _place(a), f"tables {len(theirs)}, should be {len(ours)}")
            else:
                for one, other in zip(ours, theirs):
                    _Pair(
                        one, other, f"{self.prefix}{_place(a)}, table inside: ", self.looks
                    ).examine()

    # --- 1. rows and columns ---
    def lines(self, ours, theirs, word):
        """Pair rows (or columns) and tell which are missing, extra, swapped or moved."""
        pairs = self.pair_lines(ours, theirs)
        matched = [(i, j) for i, j in pairs if None not in (i, j)]
        moved = _tell_moves(self.ledger, [j for _, j in matched], [i for i, _ in matched], word,
                            lambda i: len(ours[i]), self.prefix)
        self.whole = self.whole and not moved and len(matched) == len(pairs)
        for i, j in pairs:
            if i is None or j is None:
                line = theirs[j] if i is None else ours[i]
                self.ledger.cost("layout", 0, max(1, len(line)))
                self.ledger.cost("content", 0, max(1, len(line)))
                self.layout(
                    3, f"{word} {(j if i is None else i) + 1}", "extra" if i is None else "missing"
                )
            else:
                likeness = 1 - 1.5 * self.distance(
                    ours[i], theirs[j]
                )  # a line of strangers is no line
                self.ledger.entries["layout"].append([max(1, len(ours[i])) / 2, max(0.0, likeness)])
        return pairs

    def distance(self, a, b):
        """0 for two lines with the same cells in the same order, almost 0 in any order, near 1 for
        two strangers."""
        if not a or not b:
            return 0.0 if not a and not b else 1.0
        key = id(a), id(b)
        if key not in self.distances:
            self.distances[key] = self.measure(a, b)
        return self.distances[key]

    def measure(self, a, b):
        ours, theirs = self.texts(a, True), self.texts(b, False)
        if ours == theirs:
            return 0.0
        longest, shared = max(len(a), len(b)), (Counter(ours) & Counter(theirs)).total()
        strange = 0.05 + 0.8 * (1 - shared / longest)
        if self.budget < 0:
            return strange
        if len(a) == len(b) and shared <= sum(x == y for x, y in zip(ours, theirs)):
            self.budget -= len(a)  # no cell of one is elsewhere in the other
            return min(strange, sum(map(text_distance, ours, theirs)) / longest)
        self.budget -= len(a) * len(b)
        pairs = align(ours, theirs, text_distance, 0.5)
        off = sum(
            0.5 if None in pair else text_distance(ours[pair[0]], theirs[pair[1]])
            for pair in pairs
        )
        return min(strange, off / longest)

    def texts(self, line, ours):
        """The texts of the cells of a row or column."""
        if id(line) not in self.read:
            self.read[id(line)] = [self.words[ours](cell) for cell in line]
        return self.read[id(line)]

    def pair_lines(self, ours, theirs, gap=0.42):
        """Pairs of lines by content: in order, or, where that explains more, in any order at a gap
        a move."""
        n, m = len(ours), len(theirs)
        if n == m:
            if all(self.texts(a, True) == self.texts(b, False) for a, b in zip(ours, theirs)):
                return [(k, k) for k in range(n)]
        if max(n, m) > 60:
            return self.pair_many(ours, theirs, gap)
        pairs = align(ours, theirs, self.distance, gap)
        free = assign(ours, theirs, self.distance, gap)

        def cost(chosen):
            return sum(
                gap if None in pair else self.distance(ours[pair[0]], theirs[pair[1]])
                for pair in chosen
            )

        moves = len([i for i, _ in free if i is not None]) - _rising([j for _, j in free])
        return free if cost(free) + gap * max(1, moves) < cost(pairs) - 1e-6 else pairs

    def pair_many(self, ours, theirs, gap):
        """As `pair_lines` for long tables: lines that are equal and unique face each other, the
        rest lie between."""
        keys = [
            [tuple(self.texts(line, own)) for line in lines]
            for lines, own in ((ours, True), (theirs, False))
        ]
        counts = [Counter(lines) for lines in keys]
        places = {key: j for j, key in enumerate(keys[1])}
        anchors = [
            (i, places[key])
            for i, key in enumerate(keys[0])
            if counts[0][key] == counts[1][key] == 1
        ]
        swaps = (
            [(i, j) for i, j in anchors if i != j and (j, i) in set(anchors)]
            if len(ours) == len(theirs)
            else []
        )
        if swaps and len(swaps) <= 8:  # the order is kept but for a few lines that changed places
            fixed = dict((k, k) for k in range(len(ours))) | dict(swaps)
            return sorted(fixed.items())
        pairs, i, j = [], 0, 0
        for x, y in [*_longest_rising(anchors), (len(ours), len(theirs))]:
            pairs += self.pair_between(ours, theirs, range(i, x), range(j, y), gap)
            if x < len(ours):
                pairs.append((x, y))
            i, j = x + 1, y + 1
        return pairs

    def pair_between(self, ours, theirs, left, right, gap):
        if len(left) * len(right) <= 2500 and self.budget > 0:
            found = align(left, right, lambda i, j: self.distance(ours[i], theirs[j]), gap)
            return [
                (None if i is None else left[i], None if j is None else right[j]) for i, j in found
            ]
        both = min(len(left), len(right))
        return [
            *zip(left[:both], right[:both]),
            *((i, None) for i in left[both:]),
            *((None, j) for j in right[both:]),
        ]

    # --- 2. cells ---
    def cells(self, i, j, partner, gone, new):
        """Pair the cells of row `i` of the true table with those of row `j`; tell missing, extra
        and merged ones."""
        ours = [
            c for c in self.ours[i] if not set(range(c["col"], c["col"] + c["colspan"])) <= gone
        ]
        theirs = [
            c for c in self.theirs[j] if not set(range(c["col"], c["col"] + c["colspan"])) <= new
        ]

        def distance(a, b):
            apart = text_distance(self.text(a, True), self.text(b, False))
            return 0.6 * apart + 0.1 * (partner.get(a["col"]) != b["col"])
        if len(ours) == len(theirs):
            order = sorted(ours, key=lambda c: partner.get(c["col"]) or 0)
            pairs = list(zip(order, theirs))
        elif self.budget > 0:
            self.budget -= len(ours) * len(theirs)
            pairs = [(None if a is None else ours[a], None if b is None else theirs[b])
                     for a, b in align(ours, theirs, distance, 0.33)]
        else:
            of = {c["col"]: c for c in theirs}
            pairs = [(c, of.pop(partner.get(c["col"]), None)) for c in ours]
            pairs += [(None, c) for c in of.values()]
        faced = []
        for a, b in pairs:
            if a is None or b is None:
                self.whole = False
                self.lonely(a, b, [pair for pair in pairs if None not in pair], i)
            else:
                faced.append((a, b))
                self.spans(a, b)
        return faced

    def lonely(self, a, b, pairs, row):
        """A cell without a partner in its row, unless a span that changed took or gave its
        place."""
        for x, y in pairs:
            wide, narrow = (y, x) if b is None else (x, y)
            if wide["colspan"] > narrow["colspan"] or wide["rowspan"] > narrow["rowspan"]:
                self.ledger.cost("content", 0)
                return
        cell = a or b
        above = [
            c
            for c in (self.p if b is None else self.t)["cells"]
            if c["rowspan"] > 1
            and c["row"] < cell["row"] < c["row"] + c["rowspan"]
            and c["col"] == cell["col"]
        ]
        if above:
            return
        self.ledger.cost("layout", 0)
        self.ledger.cost("content", 0)
        self.layout(
            3, f"row {row + 1}, column {cell['col'] + 1}", "missing" if b is None else "extra"
        )

    def spans(self, a, b):
        for key, word in (("colspan", "column"), ("rowspan", "row")):
            if a[key] != b[key]:
                self.whole = False
                self.ledger.cost("layout", 0, 2)
                self.layout(
                    3, _place(a), f"spans {b[key]} {word}{'s' * (b[key] > 1)}, should be {a[key]}"
                )
            elif a[key] > 1:
                self.ledger.agree("layout")

    def contents(self, cells):
        """Tell wrong texts; two cells that hold each other's text are swapped. Returns the ids of
        the wrong ones."""
        wrong, swapped, waiting = set(), set(), {}
        for a, b in cells:
            if a.get("tables") and b.get("tables"):
                continue                                               # told by the tables inside
            expected, found = self.text(a, True), self.text(b, False)
            if expected == found:
                continue
            wrong.add(id(a))
            others = waiting.get((expected, found))
            if others and expected and found:
                other = others.pop(0)
                swapped |= {id(a), id(other)}
                self.layout(2, _place(other), f"swapped with {_place(a)}")
            else:
                waiting.setdefault((found, expected), []).append(a)
        for a, b in cells:
            expected, found = self.text(a, True), self.text(b, False)
            if id(a) not in wrong:
                self.ledger.agree("content")
            elif id(a) in swapped:
                self.ledger.cost("content", 0.3)
            elif not found or not expected:
                category = "numeric_error" if number_like(found or expected) else "text_error"
                self.ledger.differ(
                    "content",
                    0,
                    category,
                    3 if category == "numeric_error" else 2,
                    self.prefix + _place(a),
                    f"empty, should be '{shorten(expected)}'"
                    if expected
                    else f"reads '{shorten(found)}', should be empty",
                )
            else:
                category, level, credit = cell_error(found, expected)
                self.ledger.differ("content", credit, category, level, self.prefix + _place(a),
                                   reads(found, expected))
        return wrong


# --- 3. helpers ---
def _tell_moves(ledger, places, numbers, word, weight, prefix):
    """Tell swaps and moves of lines or tables; returns how many. `places` are where those numbered
    so are now.

    A line that moved pushes those in between by one; only the one that went furthest is told.
    """
    rank = {j: k for k, j in enumerate(sorted(places))}
    rest = {k: rank[j] for k, j in enumerate(places) if rank[j] != k}
    moves = 0
    while rest:
        i = max(rest, key=lambda k: (abs(rest[k] - k), -k))
        j = rest.pop(i)
        swap = rest.get(j) == i
        rest.pop(j if swap else None, None)
        if not swap:
            rest = {k: now for k, now in rest.items() if now - k != (1 if j < i else -1)}
        ledger.cost("layout", 0.3, weight(numbers[i]))
        a, b = sorted((i, j)) if swap else (i, j)
        ledger.tell("layout_error", 2, f"{prefix}{word} {numbers[a] + 1}",
                    f"{'swapped with' if swap else 'moved to'} {word} {numbers[b] + 1}")
        moves += 1
    return moves


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


def _rising(places):
    """Length of the longest rising subsequence of `places` (None aside, which counts as in
    order)."""
    steps = [(k, place) for k, place in enumerate(places) if place is not None]
    return len(_longest_rising(steps)) + len(places) - len(steps)


def _longest_rising(pairs):
    """Most of the pairs (k, place), k rising, whose places rise too. Patience sorting, O(n log
    n)."""
    tops, ends, before = (
        [],
        [],
        [],
    )  # the least place that ends a run of each length; which pair that is
    for k, (_, place) in enumerate(pairs):
        length = bisect.bisect_left(tops, place)
        before.append(ends[length - 1] if length else None)
        tops[length:length + 1] = [place]
        ends[length:length + 1] = [k]
    chosen, k = [], ends[-1] if ends else None
    while k is not None:
        chosen.append(pairs[k])
        k = before[k]
    return chosen[::-1]
