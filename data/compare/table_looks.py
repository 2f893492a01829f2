"""How cells, captions and the text around tables are drawn: what `data/compare` calls different, and in which words.

Only what was painted is compared (data/renderers/table_scene.py): an alignment that shows nowhere is none. What differs
in all cells of a row, a column or the table is told once for it. Thresholds, beyond which a difference is minor:

| what | no error up to |
| --- | --- |
| size of letters | 10 % |
| border | 1 px of its width, 20 in CIE Lab of its colour |
| padding left and right of the text | 4 px |
| indent of a line | 6 px |
| height of a row beyond its lines | 6 px, and 15 % of it |
| width of a column beyond its text | 10 px, and 15 % of it |
| spacing of letters | 8 % of the width of the text |
| place of text and images beside tables | 15 px across, 20 px down |
"""
from functools import lru_cache

from data.compare.colors import color_distance, color_name
from data.compare.ledger import COLOR, severity
from data.compare.words import check_text, plain, shorten

SIZE, BORDER_WIDTH, BORDER_COLOR, PAD, INDENT = 0.10, 1.0, 20.0, 4.0, 6.0
ROW, COLUMN, SPACING, BESIDE, BETWEEN = (6.0, 0.15), (10.0, 0.15), 0.08, 15, 20
SIDES = ("top", "right", "bottom", "left")
SHAPES = {"image": "image", "area": "painted area", "line": "line", "ground": "painted ground"}
HEADER = {"bold": True, "align": "center", "background": "#eeeeee"}        # how a header cell looks by itself


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

    def letters(self, runs):
        """[style] of each letter that is no blank."""
        styles = []
        for run in runs:
            styles += [run["style"]] * sum(not char.isspace() for char in run["text"])
        return styles

    def borders(self, cell):
        return self.edges[cell["edges"]] if "edges" in cell and self.edges else (None,) * 4


# --- 2. words for looks ---
def _flag(yes, no):
    return lambda value: yes if value else no


def _back(value):
    return f"highlighted {color_name(value)}" if value else "not highlighted"


LOOKS = {   # key: how its value reads
    "bold": _flag("bold", "not bold"), "italic": _flag("italic", "not italic"),
    "color": lambda value: f"text {color_name(value)}", "back": _back,
    "family": lambda value: f"letters {value}", "size": lambda value: f"letters {value:g} px",
    "lines": lambda value: value or "no line", "shift": lambda value: {"sup": "raised", "sub": "lowered"}.get(
        value, "on the line")}
CELL_LOOKS = {
    "header": _flag("header", "no header"), "align": lambda value: f"aligned {value}",
    "valign": lambda value: f"aligned {value}", "background": color_name}


def _told(word, found, expected):
    """'bold, should be not bold'; two colours of one name are told apart as darker or lighter."""
    a, b = word(found), word(expected)
    if a == b and found and expected and str(found).startswith("#"):
        a = "another " + a
    return f"{a}, should be {b}".replace("be aligned ", "be ").replace("be letters ", "be ")


def _differ(key, found, expected):
    """Whether two values of a look are visibly different."""
    if found == expected:
        return False
    if key in ("color", "back", "background"):
        return severity(color_distance(found, expected), COLOR) > 0
    if key == "size":
        return abs(found / expected - 1) > SIZE
    if key in ("align", "valign"):
        return None not in (found, expected)
    return True


@lru_cache(10_000)
def _style_differences(found, expected):
    """[(key, found, expected)] of two styles, each a tuple of its values in the order of LOOKS."""
    return [(key, a, b) for key, a, b in zip(LOOKS, found, expected) if _differ(key, a, b)]


def _border(text):
    style, width, color = text.split()
    return style, float(width), color


@lru_cache(10_000)
def border_difference(found, expected):
    """How two borders differ, in words; "" if they do not. Each is "solid 1 #000000" or None.

    >>> border_difference("solid 3 #ff0000", "solid 1 #000000"), border_difference(None, "dashed 1 #000000")
    ('3 px red, should be 1 px black', 'missing')
    """
    if found == expected:
        return ""
    if not found or not expected:
        return "extra" if found else "missing"
    a, b = _border(found), _border(expected)
    words = [[], []]
    if a[0] != b[0] and max(a[1], b[1]) >= 1:
        words[0].append(a[0])
        words[1].append(b[0])
    if abs(a[1] - b[1]) > BORDER_WIDTH + 0.05:
        words[0].append(f"{a[1]:g} px")
        words[1].append(f"{b[1]:g} px")
    if color_distance(a[2], b[2]) > BORDER_COLOR:
        names = [color_name(a[2]), color_name(b[2])]
        words[0].append("another " * (names[0] == names[1]) + names[0])
        words[1].append(names[1])
    return f"{' '.join(words[0])}, should be {' '.join(words[1])}" if words[0] else ""


# --- 3. cells ---
class Looks:
    """Compares how the cells of two pictures are drawn."""

    def __init__(self, true, pred, ledger):
        self.true, self.pred, self.ledger = _Picture(true), _Picture(pred), ledger
        self.scenes = true, pred
        self.tuples = [[tuple(style[key] for key in LOOKS) for style in side.styles]
                       for side in (self.true, self.pred)]

    def compare(self, t, p, cells, wrong, prefix, whole):
        """Enter how paired cells differ in looks. wrong: ids of the cells whose text is wrong."""
        found = _Groups(self.ledger, prefix, cells)
        self.caption(t, p, prefix)
        for a, b in cells:
            self.cell(found, a, b, id(a) not in wrong)
        self.borders(found, t, p, cells)
        if whole:
            self.rooms(found, t, p, cells, wrong)
        found.tell()

    def cell(self, found, a, b, same_text):
        header = a.get("header") != b.get("header")
        shown = False
        for key in ("align", "background", "valign"):
            if not _differ(key, b.get(key), a.get(key)) or key != "background" and not (a["text"] and b["text"]):
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

    def text(self, found, a, b, same_text):
        """[(key, found, expected)] that hold for all the text of a cell; tells those of a part of it."""
        if "style" in a and "style" in b:
            if self.true.styles[a["style"]] == self.pred.styles[b["style"]]:
                return []
            return _style_differences(self.tuples[1][b["style"]], self.tuples[0][a["style"]])
        runs = self.true.runs(a), self.pred.runs(b)
        if not runs[0] or not runs[1]:
            return []
        return self.letters(runs, same_text, lambda part, told: found.part(a, part, told))

    def letters(self, runs, same_text, part):
        """As `text`, of any two lists of runs; `part(text, description)` tells what holds for a part."""
        ours, theirs = self.true.letters(runs[0]), self.pred.letters(runs[1])
        if not same_text or len(ours) != len(theirs):
            return self.uniform(ours, theirs)
        pairs, whole = {}, []
        for k, pair in enumerate(zip(theirs, ours)):
            pairs.setdefault(pair, []).append(k)
        places = {}
        for (b, a), numbers in pairs.items():
            for difference in _style_differences(self.tuples[1][b], self.tuples[0][a]):
                places.setdefault(difference, []).extend(numbers)
        for difference, numbers in places.items():
            if difference[0] == "shift":
                continue                                               # told as a text that reads otherwise
            if len(numbers) == len(ours):
                whole.append(difference)
            else:
                key, value, right = difference
                part(_part(runs[0], sorted(numbers)), _told(LOOKS[key], value, right))
        return whole

    def uniform(self, ours, theirs):
        """What differs between two texts, each of one look."""
        values = []
        for tuples, styles in ((self.tuples[1], set(theirs)), (self.tuples[0], set(ours))):
            columns = list(zip(*(tuples[style] for style in styles)))
            values.append([column[0] if len(set(column)) == 1 else None for column in columns])
        return [(key, a, b) for key, a, b in zip(LOOKS, *values)
                if key != "shift" and None not in (a, b) and _differ(key, a, b)]

    def lines(self, found, a, b):
        """Where lines break, how far text is from the side, how its letters are spaced."""
        if a.get("breaks", []) != b.get("breaks", []):
            lines = len(b.get("breaks", [])) + 1, len(a.get("breaks", [])) + 1
            found.only(a, f"{lines[0]} line{'s' * (lines[0] > 1)}, should be {lines[1]}" if lines[0] != lines[1]
                       else "lines break elsewhere")
            return
        if "ink" in a and "ink" in b and not found.has(a) and abs(b["ink"] / a["ink"] - 1) > SPACING:
            found.add(a, "spacing", b["ink"], a["ink"])
        if a["lines"] != 1 or b["lines"] != 1 or "indent" not in a or "indent" not in b:
            return
        if a["align"] == b["align"] and a["align"] in ("left", "right"):
            k = a["align"] == "right"
            if abs(b["indent"][k] - a["indent"][k]) > INDENT:
                found.add(a, "indent", b["indent"][k], a["indent"][k])

    def caption(self, t, p, prefix):
        a, b = t.get("caption_look"), p.get("caption_look")
        if not a or not b:
            return
        same = plain(t["caption"]) == plain(p["caption"])
        place = prefix + "caption"
        if a["side"] != b["side"]:
            self.tell(place, f"at the {b['side']}, should be at the {a['side']}")
        if _differ("align", b["align"], a["align"]):
            self.tell(place, _told(CELL_LOOKS["align"], b["align"], a["align"]))
        if _differ("background", b["ground"], a["ground"]):
            self.tell(place, _told(color_name, b["ground"], a["ground"]))
        for key, value, right in self.letters((a["runs"], b["runs"]), same,
                                              lambda part, told: self.tell(place, f"'{shorten(part)}' {told}")):
            self.tell(place, _told(LOOKS[key], value, right))

    def tell(self, place, description):
        self.ledger.cost("layout", 0.5, 0.5)
        self.ledger.tell("layout_error", 1, place, description)

    # borders
    def borders(self, found, t, p, cells):
        sides = {}                                          # how a side differs: {(row, column): names of sides}
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
                for name, step in (("top", (-1, 0)), ("left", (0, -1)), ("bottom", (a["rowspan"], 0)),
                                   ("right", (0, a["colspan"]))):
                    if name in names and not self.told_beyond(slots, places, a, name, step):
                        found.add(a, f"{name} border", told, "")
        told = [border_difference(value, expected) for value, expected in zip(self.pred.borders(p),
                                                                             self.true.borders(t))]
        for name, text in zip(("border",) if len(set(told)) == 1 else SIDES, told):
            if text:
                name = name if name == "border" else f"{name} border"
                self.tell(found.prefix + "table", f"{name} around it {text}")
        if _differ("background", p.get("ground"), t.get("ground")):
            self.tell(found.prefix + "table", _told(color_name, p.get("ground"), t.get("ground")))

    @staticmethod
    def told_beyond(slots, places, cell, name, step):
        """Whether the cell on the other side of a line tells of it."""
        other = slots.get((cell["row"] + step[0], cell["col"] + step[1]))
        names = places.get(id(other), (None, ()))[1]
        opposite = SIDES[(SIDES.index(name) + 2) % 4]
        return opposite in names and (len(names) >= 3 or name in ("top", "left"))

    # room
    def rooms(self, found, t, p, cells, wrong):
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
                continue                                    # lines broke for want of room: all sizes depend
            needs = not (broken and axis)
            spare = [_spare(table, axis, side, needs) for table, side in ((p, self.pred), (t, self.true))]
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
            for k in sorted(apart):
                for a in (a for a, _ in cells if a[("row", "col")[axis]] == k):
                    found.add(a, word, *apart[k][1:])

    @staticmethod
    def touched(cells, changed, axis):
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
            needed = sum(1.17 * max(side.styles[run["style"]]["size"] for run in side.runs(cell))
                         for _ in range(cell["lines"]))
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


class _Groups:
    """Collects how cells differ; what holds for a whole row, column or table is told once."""

    def __init__(self, ledger, prefix, cells):
        self.ledger, self.prefix, self.cells = ledger, prefix, [a for a, _ in cells]
        self.groups, self.single, self.texts = {}, [], set()

    def has(self, cell):
        """Whether a difference of a cell's letters was found, which may change how wide its text is."""
        return id(cell) in self.texts

    def add(self, cell, key, found, expected):
        if key in LOOKS:
            self.texts.add(id(cell))
        self.groups.setdefault((key, found, expected), []).append(cell)
        self.ledger.cost("layout", 0.5, 0.5)

    def part(self, cell, text, description):
        self.texts.add(id(cell))
        self.only(cell, f"'{shorten(text)}' {description}")

    def only(self, cell, description):
        self.single.append((cell, description))
        self.ledger.cost("layout", 0.5, 0.5)

    def tell(self):
        order = {key: k for k, key in enumerate(("header", "align", "bold", "color", "background"))}
        for (key, found, expected), group in sorted(self.groups.items(), key=lambda item: order.get(item[0][0], 9)):
            level = 2 if key == "header" else 1
            for place in self.places(key, group):
                self.ledger.tell("layout_error", level, self.prefix + place, _sentence(key, found, expected))
        for cell, description in self.single:
            self.ledger.tell("layout_error", 1, self.prefix + _place(cell), description)

    def places(self, key, group):
        """Fewest places that cover exactly the cells of `group`: the table, rows, columns, else the cells."""
        chosen = {id(c) for c in group}
        if len(chosen) == len(self.cells) > 1 and len({c["row"] for c in self.cells}) > 1:
            return ["table"]
        if key in ("height", "width"):
            name, axis = ("row", "row") if key == "height" else ("column", "col")
            return [f"{name} {k + 1}" for k in sorted({c[axis] for c in group})]
        filled = key in ("background", "border", "pad") or key.endswith(" border")
        for axis, name in (("row", "row"), ("col", "column")):
            lines = {c[axis] for c in group}
            whole = [c for c in self.cells if c[axis] in lines and (filled or c["text"])]
            if len(group) > 1 and {id(c) for c in whole} <= chosen and len(whole) > len(lines):
                return [f"{name} {k + 1}" for k in sorted(lines)]
        return [_place(c) for c in group]


def _sentence(key, found, expected):
    if key in LOOKS or key in CELL_LOOKS:
        return _told((LOOKS | CELL_LOOKS)[key], found, expected)
    if key.endswith("border"):
        return f"{key} {found}"
    if key == "pad":
        (left, right), (a, b) = found, expected
        if left == right and a == b:
            return f"padding {int(left)} px, should be {int(a)}"         # half of a border that is shared counts to it
        return f"padding {int(left)} and {int(right)} px, should be {int(a)} and {int(b)}"
    words = {"indent": "indented", "spacing": "letters spaced to", "height": "height", "width": "width"}
    return f"{words[key]} {found:.0f} px, should be {expected:.0f}"


def _place(cell):
    return f"row {cell['row'] + 1}, column {cell['col'] + 1}"


# --- 4. marks, and what stands outside ---
def compare_marks(ledger, place, ours, theirs, fixed):
    """Enter images, rules and painted areas of one place. fixed: the text around them is the same."""
    rest = list(theirs)
    for a in ours:
        same = [b for b in rest if b["kind"] == a["kind"]]
        b = min(same, key=lambda b: _mark_distance(a, b), default=None)
        if b is None:
            ledger.cost("layout", 0)
            ledger.tell("layout_error", 2 if a["kind"] == "image" else 1, place, f"{SHAPES[a['kind']]} missing")
            continue
        rest.remove(b)
        told = _mark_difference(a, b, fixed)
        if told:
            ledger.cost("layout", 0.5)
            ledger.tell("layout_error", 1, place, f"{SHAPES[a['kind']]} {told}")
        else:
            ledger.agree("layout")
    for b in rest:
        ledger.cost("layout", 0)
        ledger.tell("layout_error", 2 if b["kind"] == "image" else 1, place, f"{SHAPES[b['kind']]} extra")


def _mark_distance(a, b):
    return sum(abs(x - y) for x, y in zip(a["box"], b["box"])) + 0.2 * _paint_distance(a, b)


def _paint_distance(a, b):
    ours, theirs = (a["color"] or "").split(), (b["color"] or "").split()
    if len(ours) != len(theirs):
        return 100.0
    return max((color_distance(x, y) for x, y in zip(ours, theirs)), default=0.0)


def _mark_difference(a, b, fixed):
    (x, y, w, h), (x2, y2, w2, h2) = a["box"], b["box"]
    if a["kind"] == "ground":
        w2, h2, fixed = w, h, False                         # as large as what stands on it
    if max(abs(w - w2) - 0.15 * w, abs(h - h2) - 0.15 * h) > 2:
        return f"{w2} x {h2} px, should be {w} x {h}"
    if _paint_distance(a, b) > (12 if a["kind"] == "image" else COLOR[0]):
        return "looks different" if a["kind"] == "image" else f"{color_name(b['color'])}, should be " \
            f"{color_name(a['color'])}"
    if fixed and max(abs(x - x2), abs(y - y2)) > 8:
        return "moved"
    return ""


def compare_outside(looks, in_place):
    """Enter the text and the marks outside of tables. in_place: the tables are the same, in the same order."""
    (true, pred), ledger = looks.scenes, looks.ledger
    ours, theirs = true.get("around") or {}, pred.get("around") or {}
    expected, found = plain(true["outside"]), plain(pred["outside"])
    if found == expected:
        if found:
            ledger.agree("content")
    elif not found or not expected:
        ledger.differ("content", 0, "text_error", 2, "text outside", "extra" if found else "missing")
    else:
        check_text(ledger, "content", "text_error", "text outside", found, expected, clean=plain)
    if _differ("background", pred.get("ground"), true.get("ground")):
        looks.tell("page", _told(color_name, pred.get("ground"), true.get("ground")))
    same = expected == found
    if expected and found:
        runs = ours.get("runs", []), theirs.get("runs", [])
        for key, value, right in looks.letters(runs, same, lambda part, told: looks.tell(
                "text outside", f"'{shorten(part)}' {told}")):
            looks.tell("text outside", _told(LOOKS[key], value, right))
    if same and in_place:
        _compare_lines(looks, ours.get("lines", []), theirs.get("lines", []))
    compare_marks(ledger, "outside", ours.get("marks", []), theirs.get("marks", []), same and in_place)


def _compare_lines(looks, ours, theirs):
    """The lines of the same text outside: how many, beside which table, how far apart."""
    if len(ours) != len(theirs):
        looks.tell("text outside", f"{len(theirs)} line{'s' * (len(theirs) > 1)}, should be {len(ours)}")
        return
    before = None
    for k, (a, b) in enumerate(zip(ours, theirs)):
        if a["letters"] != b["letters"]:
            looks.tell("text outside", "lines break elsewhere")
            return
        if a["above"] != b["above"]:
            looks.ledger.cost("layout", 0.3)
            looks.ledger.tell("layout_error", 2, "text outside", f"line {k + 1} below {b['above']} table"
                              f"{'s' * (b['above'] != 1)}, should be below {a['above']}")
            return
        if abs(a["x"] - b["x"]) > BESIDE:
            looks.tell("text outside", f"line {k + 1} moved {'left' if b['x'] < a['x'] else 'right'}")
            return
        if before and before[0]["above"] == a["above"]:
            gaps = a["y"] - before[0]["y"], b["y"] - before[1]["y"]
            if abs(gaps[0] - gaps[1]) > BETWEEN:
                looks.tell("text outside", f"line {k + 1} moved {'up' if gaps[1] < gaps[0] else 'down'}")
                return
        before = a, b
