"""How cells, captions and the text around tables are drawn: what `data/compare` calls different.

Only what was painted is compared (data/renderers/table_scene.py): an alignment that shows nowhere
is none. What differs in all cells of a row, a column or the table is told once for it. Thresholds,
beyond which a difference is minor:

| what | no error up to |
| --- | --- |
| size of letters | 10 % |
| border | 1 px of its width, 15 in CIE Lab of its colour |
| padding left and right of the text | 4 px |
| indent of a line | 6 px |
| gap between cells | 2 px |
| height of a row beyond its lines | 6 px, and 15 % of it |
| width of a column beyond its text | 10 px, and 15 % of it |
| spacing of letters | 8 % of the width of the text |
| place of text and images beside tables | 15 px across, 20 px down |
"""
from collections.abc import Callable

from data.compare.colors import color_name
from data.compare.table_groups import (
    CELL_LOOKS,
    LOOKS,
    Groups,
    border_difference,
    differ,
    say,
    style_differences,
)
from data.compare.words import plain, shorten

PAD, INDENT, GAP = 4.0, 6.0, 2
ROW, COLUMN, SPACING = (6.0, 0.15), (10.0, 0.15), 0.08
SIDES = ("top", "right", "bottom", "left")
HEADER = {
    "bold": True,
    "align": "center",
    "background": "#eeeeee",
}  # how a header cell looks by itself


# --- 1. one picture ---
class _Picture:
    """Looks up the styles of one scene."""

    def __init__(self, scene):
        self.styles = scene.get("styles") or []
        self.edges = scene.get("edges") or []
        self.known = {}

    def runs(self, cell):
        if "style" in cell:
            return [{"text": cell["text"], "style": cell["style"]}]
        return cell.get("runs") or []

    def words(self, cell):
        """The text of a cell with "^" before what is raised and "_" before what is lowered."""
        key = id(cell)
        if key not in self.known:
            self.known[key] = self.read(cell)
        return self.known[key]

    def read(self, cell):
        if "style" in cell or cell.get("tables") or not any(
                self.styles[run["style"]]["shift"] for run in self.runs(cell)):
            return plain(cell["text"])
        parts = []
        for run in self.runs(cell):
            shift = self.styles[run["style"]]["shift"]
            text = run["text"]
            blank = text[:len(text) - len(text.lstrip())]
            parts.append(blank + {"sup": "^", "sub": "_", "": ""}[shift] + text.lstrip())
        return plain("".join(parts))

    def size(self, cell):
        """Size of the first letters of a cell, in px."""
        return self.styles[self.runs(cell)[0]["style"]]["size"]

    def letters(self, runs):
        """[style] of each letter that is no blank."""
        styles = []
        for run in runs:
            styles += [run["style"]] * sum(not char.isspace() for char in run["text"])
        return styles

    def borders(self, cell):
        return self.edges[cell["edges"]] if "edges" in cell and self.edges else (None,) * 4


# --- 2. cells ---
class Looks:
    """Compares how the cells of two pictures are drawn."""

    def __init__(self, true, pred, ledger):
        self.true, self.pred, self.ledger = _Picture(true), _Picture(pred), ledger
        self.scenes = true, pred
        self.tuples = [[tuple(style[key] for key in LOOKS) for style in side.styles]
                       for side in (self.true, self.pred)]

    def compare(self, t: dict, p: dict, cells: list[tuple[dict, dict]], wrong: set[int],
                prefix: str, whole: bool) -> None:
        """Enter how paired cells differ in looks. wrong: ids of the cells whose text is wrong."""
        found = Groups(self.ledger, prefix, cells)
        self.caption(t, p, prefix)
        found_gaps, gaps = p.get("apart", [0, 0]), t.get("apart", [0, 0])
        if max(abs(a - b) for a, b in zip(found_gaps, gaps)) > GAP:
            wide, right = max(found_gaps), max(gaps)
            self.tell(prefix + "table", f"cells {wide} px apart, should be {right}")
        for a, b in cells:
            self.cell(found, a, b, id(a) not in wrong)
        self.borders(found, t, p, cells)
        if whole:
            self.rooms(found, t, p, cells, wrong)
        found.tell()

    def cell(self, found: Groups, a: dict, b: dict, same_text: bool) -> None:
        header = a.get("header") != b.get("header")
        shown = False
        grounds = [scene.get("ground") or "#ffffff" for scene in self.scenes]
        for key in ("align", "background", "valign"):
            if (
                not differ(key, b.get(key), a.get(key))
                or key != "background"
                and not (a["text"] and b["text"])
                or key == "background"
                and not differ(key, b[key] or grounds[1], a[key] or grounds[0])
            ):
                continue
            if header and key in HEADER and HEADER[key] == (b if b["header"] else a)[key]:
                shown = True
            elif key == "valign" and not same_text:
                continue
            else:
                found.add(a, key, b[key], a[key])
        for key, value, right in self.text(found, a, b, same_text):
            if header and HEADER.get(key) == (value if b["header"] else right):
                shown = True
                found.texts.add(id(a))
            else:
                found.add(a, key, value, right)
        if header and shown:
            found.add(a, "header", b["header"], a["header"])
        if same_text and a["text"]:
            self.lines(found, a, b)

    def text(self, found: Groups, a: dict, b: dict, same_text: bool) -> list[tuple]:
        """[(key, found, expected)] that hold for all the text of a cell; tells what holds for a
        part."""
        if "style" in a and "style" in b:
            if self.true.styles[a["style"]] == self.pred.styles[b["style"]]:
                return []
            return style_differences(self.tuples[1][b["style"]], self.tuples[0][a["style"]])
        runs = self.true.runs(a), self.pred.runs(b)
        if not runs[0] or not runs[1]:
            return []
        return self.letters(runs, same_text, lambda part, told: found.part(a, part, told))

    def letters(self, runs: tuple[list[dict], list[dict]], same_text: bool,
                part: Callable[[str, str], None]) -> list[tuple]:
        """As `text`, of any two lists of runs; `part(text, description)` tells of a part."""
        ours, theirs = self.true.letters(runs[0]), self.pred.letters(runs[1])
        if not same_text or len(ours) != len(theirs):
            return self.uniform(ours, theirs)
        pairs, whole = {}, []
        for k, pair in enumerate(zip(theirs, ours)):
            pairs.setdefault(pair, []).append(k)
        places = {}
        for (b, a), numbers in pairs.items():
            for difference in style_differences(self.tuples[1][b], self.tuples[0][a]):
                places.setdefault(difference, []).extend(numbers)
        for difference, numbers in places.items():
            if difference[0] == "shift":
                continue  # told as a text that reads otherwise
            if len(numbers) == len(ours):
                whole.append(difference)
            else:
                key, value, right = difference
                part(_part(runs[0], sorted(numbers)), say(LOOKS[key], value, right))
        return whole

    def uniform(self, ours: list[int], theirs: list[int]) -> list[tuple]:
        """What differs between two texts, each of one look."""
        values = []
        for tuples, styles in ((self.tuples[1], set(theirs)), (self.tuples[0], set(ours))):
            columns = list(zip(*(tuples[style] for style in styles)))
            values.append([column[0] if len(set(column)) == 1 else None for column in columns])
        return [(key, a, b) for key, a, b in zip(LOOKS, *values)
                if key != "shift" and None not in (a, b) and differ(key, a, b)]

    def lines(self, found: Groups, a: dict, b: dict) -> None:
        """Where lines break, how far text is from the side, how its letters are spaced."""
        if a.get("breaks", []) != b.get("breaks", []):
            lines = len(b.get("breaks", [])) + 1, len(a.get("breaks", [])) + 1
            found.only(
                a,
                f"{lines[0]} line{'s' * (lines[0] > 1)}, should be {lines[1]}"
                if lines[0] != lines[1]
                else "lines break elsewhere",
            )
            return
        if "ink" in a and "ink" in b and not found.has(a):
            sizes = self.true.size(a), self.pred.size(b)
            if abs(b["ink"] / a["ink"] * sizes[0] / sizes[1] - 1) > SPACING:
                found.add(a, "spacing", b["ink"], a["ink"])
        if a["lines"] != 1 or b["lines"] != 1 or "indent" not in a or "indent" not in b:
            return
        if a["align"] == b["align"] and a["align"] in ("left", "right"):
            k = a["align"] == "right"
            if abs(b["indent"][k] - a["indent"][k]) > INDENT:
                found.add(a, "indent", b["indent"][k], a["indent"][k])

    def caption(self, t: dict, p: dict, prefix: str) -> None:
        a, b = t.get("caption_look"), p.get("caption_look")
        if not a or not b:
            return
        same = plain(t["caption"]) == plain(p["caption"])
        place = prefix + "caption"
        if a["side"] != b["side"]:
            self.tell(place, f"at the {b['side']}, should be at the {a['side']}")
        if differ("align", b["align"], a["align"]):
            self.tell(place, say(CELL_LOOKS["align"], b["align"], a["align"]))
        if differ("background", b["ground"], a["ground"]):
            self.tell(place, say(color_name, b["ground"], a["ground"]))
        for key, value, right in self.letters(
            (a["runs"], b["runs"]),
            same,
            lambda part, told: self.tell(place, f"'{shorten(part)}' {told}"),
        ):
            self.tell(place, say(LOOKS[key], value, right))

    def tell(self, place: str, description: str) -> None:
        self.ledger.cost("layout", 0.5, 0.5)
        self.ledger.tell("layout_error", 1, place, description)

    # borders
    def borders(self, found: Groups, t: dict, p: dict, cells: list[tuple[dict, dict]]) -> None:
        sides = {}  # how a side differs: {(row, column): names of sides}
        slots = {}
        for a, b in cells:
            for y in range(a["row"], a["row"] + a["rowspan"]):
                for x in range(a["col"], a["col"] + a["colspan"]):
                    slots[y, x] = a
            ours, theirs = self.true.borders(a), self.pred.borders(b)
            if ours != theirs:
                for name, expected, value in zip(SIDES, ours, theirs):
                    if told := border_difference(value, expected):
                        sides.setdefault(told, {}).setdefault(id(a), (a, set()))[1].add(name)
        for told, places in sides.items():
            for a, names in places.values():
                if len(names) >= 3:
                    found.add(a, "border", told, "")
                    continue
                for name, step in (
                    ("top", (-1, 0)),
                    ("left", (0, -1)),
                    ("bottom", (a["rowspan"], 0)),
                    ("right", (0, a["colspan"])),
                ):
                    if name in names and not self.told_beyond(slots, places, a, name, step):
                        found.add(a, f"{name} border", told, "")
        told = [border_difference(value, expected) for value, expected in zip(self.pred.borders(p),
                                                                             self.true.borders(t))]
        for name, text in zip(("border",) if len(set(told)) == 1 else SIDES, told):
            if text:
                name = name if name == "border" else f"{name} border"
                self.tell(found.prefix + "table", f"{name} around it {text}")
        if differ("background", p.get("ground"), t.get("ground")):
            self.tell(found.prefix + "table", say(color_name, p.get("ground"), t.get("ground")))

    @staticmethod
    def told_beyond(slots: dict, places: dict, cell: dict, name: str,
                    step: tuple[int, int]) -> bool:
        """Whether the cell on the other side of a line tells of it."""
        other = slots.get((cell["row"] + step[0], cell["col"] + step[1]))
        names = places.get(id(other), (None, ()))[1]
        opposite = SIDES[(SIDES.index(name) + 2) % 4]
        return opposite in names and (len(names) >= 3 or name in ("top", "left"))

    # room
    def rooms(self, found: Groups, t: dict, p: dict, cells: list[tuple[dict, dict]],
              wrong: set[int]) -> None:
        """Padding, heights of rows and widths of columns beyond what their text needs."""
        padded = set()
        for a, b in cells:
            gaps = [y - x for x, y in zip(a.get("pad", ()), b.get("pad", ()))]
            if gaps and max(map(abs, gaps)) > PAD:
                found.add(a, "pad", tuple(b["pad"]), tuple(a["pad"]))
                padded.add(id(a))
        broken = any(c["lines"] > len(c.get("breaks", ())) + 1 for pair in cells for c in pair)
        alone = not (wrong or found.groups or found.single)
        for axis, limits, word in ((0, ROW, "height"), (1, COLUMN, "width")):
            if broken and not alone:
                continue  # lines broke for want of room: all sizes depend
            needs = not (broken and axis)
            spare = [
                _spare(table, axis, side, needs) for table, side in ((p, self.pred), (t, self.true))
            ]
            touched = self.touched(cells, wrong | padded, axis)
            apart = {}
            for k in spare[0].keys() & spare[1].keys() - touched:
                (room, size), (needed, right) = spare[0][k], spare[1][k]
                limit = max(limits[0], limits[1] * right)
                if min(abs(room - needed), abs(size - right)) > limit:
                    apart[k] = abs(size - right), round(size), round(right)
            if broken and axis and apart:                   # one column takes from the others
                widest = max(apart, key=lambda k: apart[k][0])
                apart = {widest: apart[widest]}
            if axis and len(apart) == len(spare[0]) > 1:     # one cause: the width of the table
                size, right = (side["box"][2] - side["box"][0] for side in (p, t))
                self.tell(found.prefix + "table", f"width {size:.0f} px, should be {right:.0f}")
                continue
            for k in sorted(apart):
                for a in (a for a, _ in cells if a[("row", "col")[axis]] == k):
                    found.add(a, word, *apart[k][1:])
        if alone and not (found.groups or found.single):
            self.shifts(found, cells)

    @staticmethod
    def shifts(found: Groups, cells: list[tuple[dict, dict]]) -> None:
        """Text that is further from its side though nothing else differs: its cell grew with it."""
        for a, b in cells:
            if "indent" in a and "indent" in b and a["lines"] == b["lines"] == 1:
                k = a["align"] == "right"
                limit = INDENT if a["align"] else COLUMN[0]
                if a["align"] != "center" and abs(b["indent"][k] - a["indent"][k]) > limit:
                    found.add(a, "indent", b["indent"][k], a["indent"][k])

    @staticmethod
    def touched(cells: list[tuple[dict, dict]], changed: set[int], axis: int) -> set[int]:
        """Rows or columns that may have another size because a cell holds something else."""
        key, span = (("row", "rowspan"), ("col", "colspan"))[axis]
        lines = set()
        for a, b in cells:
            inside = len(a.get("marks", ())) != len(b.get("marks", ()))
            if inside or id(a) in changed and (a[span] > 1 or axis == 0):
                lines |= set(range(a[key], a[key] + a[span]))
        return lines


def _spare(table, axis, side, needs):
    """{row or column: (px beyond what its fullest cell needs, px in all)}, of cells that span one.

    needs: False where lines broke for want of room, so that what a column needs cannot be known.
    """
    key, span = (("row", "rowspan"), ("col", "colspan"))[axis]
    least = {}
    for cell in table["cells"]:
        if cell[span] != 1 or cell.get("marks") or cell.get("tables"):
            continue
        size = cell["box"][3 - (axis == 1)]
        needed = 0.0
        if cell["text"] and axis and needs:
            needed = cell["width"] + sum(cell["pad"])
        elif cell["text"] and not axis:
            sizes = [side.styles[run["style"]]["size"] for run in side.runs(cell)]
            needed = 1.17 * max(sizes, default=0) * cell["lines"]
        spare = size - needed
        if cell[key] not in least or spare < least[cell[key]][0]:
            least[cell[key]] = spare, size
    return least


def _part(runs, numbers):
    """The letters of some runs from the first to the last of `numbers`, blanks not counted."""
    text, k, chars = "".join(run["text"] for run in runs), -1, []
    for char in text:
        k += not char.isspace()
        if numbers[0] <= k <= numbers[-1] and (chars or not char.isspace()):
            chars.append(char)
    return "".join(chars).strip()
