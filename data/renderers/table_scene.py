"""The scene of a table page: what was painted (data/renderers/paint.py), cell by cell.

Where a cell lies comes from a second drawing of the page in which each cell is filled with a colour
of its own; what stands in it comes from the paint. So a style that has no effect is not in the
scene, and an effect needs no rule of ours: pseudo elements, list markers, capitals, inherited and
invisible text are told as they were drawn.
"""
import bisect
import collections
import math

from data.renderers.paint import Glyph
from data.renderers.table_places import (
    Edges,
    Finder,
    Place,
    area_of,
    blend,
    find_lines,
    is_near,
    put_together,
)

LIGATURES = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
BREAKS = {"br", "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "pre", "table", "tr", "caption",
          "blockquote", "center", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "figure"}


# --- 1. words ---
class Word:
    """Letters side by side on one baseline, of one font, size and colour."""
    __slots__ = ("text", "x", "x1", "y", "size", "font", "color", "alpha", "order", "spaced",
                 "shift", "lines", "back", "ground")

    def __init__(self, glyph, spaced):
        self.text, self.x, self.y, self.size = glyph.char, glyph.x, glyph.y, glyph.size
        self.x1, self.font, self.order = glyph.x + glyph.width, glyph.font, glyph.order
        self.color, self.alpha = glyph.color, glyph.alpha
        self.spaced, self.shift, self.lines, self.back, self.ground = spaced, "", "", None, None

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x, self.y - 0.8 * self.size, self.x1, self.y + 0.24 * self.size


def find_words(glyphs: list[Glyph]) -> list[Word]:
    """Glyphs in painting order -> [Word]; `spaced` if a blank stands before it."""
    words, word, spaced = [], None, True
    for glyph in glyphs:
        if glyph.char.isspace():
            word, spaced = None, True
            continue
        x0, y0, x1, y1 = glyph.clip
        if not (x0 <= glyph.x + glyph.width / 2 <= x1 and y0 <= glyph.y - glyph.size / 4 <= y1):
            continue
        joins = word is not None and abs(glyph.y - word.y) < 0.01 and (
            abs(glyph.x - word.x1) < 0.25 * glyph.size)
        same = joins and (glyph.size, glyph.font, glyph.color, glyph.alpha) == (
            word.size, word.font, word.color, word.alpha)
        if same:
            word.text += glyph.char
            word.x1 = glyph.x + glyph.width
        else:
            word = Word(glyph, spaced)
            words.append(word)
        spaced = False
    for word in words:
        if not word.text.isascii():
            word.text = "".join(LIGATURES.get(char, char) for char in word.text)
    return words


def set_lines(words: list[Word]) -> list[list[Word]]:
    """The lines of one place's words, in painting order; marks what is raised or lowered."""
    rows = [[]]
    for word in words:
        row = rows[-1]
        if row and (word.x < row[-1].x1 - 1 or abs(word.y - row[-1].y) > 0.8 * max(
                word.size, row[-1].size)):
            rows.append([])
            word.spaced = True
        rows[-1].append(word)
    for row in rows:
        if len({word.y for word in row}) > 1:
            widths = collections.Counter()
            for word in row:
                widths[word.y] += (word.x1 - word.x) * word.size ** 2
            base = widths.most_common(1)[0][0]
            for word in row:
                if abs(word.y - base) > 0.08 * word.size:
                    word.shift = "sup" if word.y < base else "sub"
    return rows


def is_bold(font: str) -> bool:
    return "Bold" in font


def is_italic(font: str) -> bool:
    return "Oblique" in font or "Italic" in font


def family(font: str) -> str:
    return font.partition("-")[0].removeprefix("DejaVu")


# --- 2. the scene ---
class Scene:
    """Collects what was painted by places; `told()` is the scene."""

    def __init__(self, places, glyphs, shapes, pixels):
        self.places, self.pixels, self.styles = places, pixels, {}
        self.page = Place(None, (0, 0, pixels.width, pixels.height), None, -1)
        self.finder = Finder([place for place in places if place.element.tag != "table"])
        lines = find_lines(shapes)
        self.words = find_words(glyphs)
        for word in self.words:
            place = self.finder.at(
                word.x + min(1.0, (word.x1 - word.x) / 2), word.y - word.size / 4
            )
            (place or self.page).words.append(word)
        underlines = self._underline(lines)
        edges = Edges([line for line in lines if id(line.shapes[0]) not in underlines])
        for place in places:
            place.borders = edges.around(place.box)
        self.page.ground = pixels.ground((0, 0, pixels.width, pixels.height))
        self._sort_shapes(shapes, underlines | edges.used)
        self.edges = {}
        for place in [self.page, *places]:
            self._see(place)

    def _underline(self, lines):
        """Give lines that run under, through or over words to the words; returns their shapes."""
        used = set()
        for line in lines:
            if not line.flat or line.thick > 4 or line.shapes[0].kind != "stroke":
                continue
            middle = (line.low + line.high) / 2
            place = self.finder.at(line.low + 0.5, line.place) or self.finder.at(
                middle, line.place) or self.page
            for word in place.words:
                rise = (word.y - line.place) / word.size
                if min(word.x1, line.high) - max(word.x, line.low) > 0.5 * (word.x1 - word.x) and (
                        -0.28 <= rise <= 1.1):
                    name = "underline" if rise < 0.08 else "line-through" if rise < 0.6 \
                        else "overline"
                    if name not in word.lines:
                        word.lines = f"{word.lines} {name}".strip()
                    used.update(map(id, line.shapes))
        return used

    def _sort_shapes(self, shapes, used):
        """What is no border: grounds of places, of words, and marks of their own."""
        grounds = {tuple(round(v) for v in place.box) for place in self.places}
        for shape in shapes:
            box = shape.box
            if id(shape) in used or tuple(round(v) for v in box) in grounds:
                continue
            if shape.kind == "fill" and shape.color and self._is_ground(shape.boxes[0]):
                self._add_ground(box)
                continue
            place = self.finder.at((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) or self.page
            color = shape.color and blend(shape.color, shape.alpha, None)
            covered = [word for word in place.words if word.order > shape.order
                       and box[0] - 1 <= (word.x + word.x1) / 2 <= box[2] + 1
                       and box[1] - 1 <= word.y - word.size / 4 <= box[3] + 1]
            around = sum((word.x1 - word.x) * 1.2 * word.size for word in covered)
            if shape.kind == "fill" and color and covered:
                for word in covered:
                    word.ground = color
                    word.back = color if area_of(box) < 2 * around else None
            if shape.kind == "fill" and color and covered and area_of(box) < 2 * around:
                continue
            if not self.pixels.is_flat([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]):
                place.marks.append((shape.kind, box, color or self.pixels.thumbnail(box)))

    def _is_ground(self, box):
        """Whether a fill lies under whole tables or cells: the grounds of the cells tell of it."""
        x0, y0, x1, y1 = box
        places = [place for place in self.places if place.parent is None]
        places += [self.finder.at(x0 + 3, y0 + 3), self.finder.at(x1 - 3, y1 - 3)]
        return any(x0 - 1 <= p.box[0] and y0 - 1 <= p.box[1] and x1 + 1 >= p.box[2] and
                   y1 + 1 >= p.box[3] for p in places if p)

    def _add_ground(self, box):
        """Note the colour of what lies under whole tables, if it can be seen around them."""
        color = self.pixels.ground([math.ceil(box[0]), math.ceil(box[1]), math.floor(box[2]),
                                    math.floor(box[3])])
        around = any(place.element.tag == "table" and box[0] < place.box[0] - 1 and
                     place.box[2] < box[2] - 1 and box[1] < place.box[1] < box[3]
                     for place in self.places if place.parent is None)
        if around and color != self.page.ground:
            self.page.marks.append(("ground", box, color))

    def _see(self, place):
        """Set a place's ground; drop what cannot be seen; give each word its style."""
        if place is not self.page:
            x0, y0, x1, y1 = place.box
            inset = [0.5 + _thickness(border) for border in place.borders]
            place.ground = self.pixels.ground((math.ceil(x0 + inset[3]), math.ceil(y0 + inset[0]),
                                               math.floor(x1 - inset[1]),
                                               math.floor(y1 - inset[2])))
        seen = []
        for word in place.words:
            ground = word.ground or place.ground
            word.color = blend(word.color, word.alpha, ground)
            if not is_near(word.color, ground) and not self.pixels.is_flat(word.box):
                seen.append(word)
        place.words = seen
        place.lines = set_lines(seen)

    def style(self, word: Word) -> int:
        look = (family(word.font), round(word.size, 2), is_bold(word.font), is_italic(word.font),
                word.color, word.lines, word.shift, word.back)
        return self.styles.setdefault(look, len(self.styles))

    def runs(self, place: Place) -> list[dict]:
        """Neighbours of one style as [{"text", "style"}]; blanks count to what follows them."""
        runs = []
        for word in place.words:
            style = self.style(word)
            text = " " * (word.spaced and bool(runs)) + word.text
            if runs and runs[-1]["style"] == style:
                runs[-1]["text"] += text
            else:
                runs.append({"text": text, "style": style})
        return runs

    def told(self) -> dict:
        """The scene without "task" and "size"."""
        tables = [place for place in self.places if place.element.tag == "table"]
        top = [place for place in tables if place.parent is None]
        told = [self._table(place) for place in top]
        told = [table for table in told if table["cells"]]
        outside = self._outside(top)
        keys = ("family", "size", "bold", "italic", "color", "lines", "shift", "back")
        return {"outside": _text(self.page), "around": outside, "tables": told,
                "ground": None if self.page.ground == "#ffffff" else self.page.ground,
                "edges": [list(sides) for sides in self.edges],
                "styles": [dict(zip(keys, look)) for look in self.styles]}

    def ground(self, place: Place) -> str | None:
        """A place's ground; None where it is that of the page or of what lies under its table."""
        x, y = place.box[:2]
        under = [color for kind, (x0, y0, x1, y1), color in self.page.marks
                 if kind == "ground" and x0 <= x <= x1 and y0 <= y <= y1]
        return None if place.ground in (self.page.ground, *under) else place.ground

    def sides(self, borders: list[str | None]) -> int:
        """Number of how four sides are drawn, in "edges"."""
        return self.edges.setdefault(tuple(borders), len(self.edges))

    def _outside(self, tables):
        """What stands outside of tables: runs, and lines (above: tables that begin above it)."""
        lines, marks = [], []
        left = tables[0].box[0] if tables else 0.0
        for row in self.page.lines:
            if row:
                above = sum(table.box[1] < row[0].y for table in tables)
                lines.append({"above": above, "x": round(row[0].x - left), "y": round(row[0].y),
                              "letters": sum(len(word.text) for word in row)})
        for kind, (x0, y0, x1, y1), color in put_together(self.page.marks):
            above = sum(table.box[1] < y0 for table in tables)
            marks.append({"kind": kind, "color": color, "above": above,
                          "box": [round(x0 - left), 0, round(x1 - x0), round(y1 - y0)]})
        return {"runs": self.runs(self.page), "lines": lines, "marks": marks}

    def _table(self, place):
        cells = [child for child in place.children if child.is_cell]
        tops = _ranks(cell.box[1] for cell in cells)
        lefts = _ranks(cell.box[0] for cell in cells)
        told = []
        for cell in cells:
            row, col = _rank(tops, cell.box[1]), _rank(lefts, cell.box[0])
            told.append({"row": row, "col": col,
                         "rowspan": max(1, _rank(tops, cell.box[3] - 1.5, True) - row),
                         "colspan": max(1, _rank(lefts, cell.box[2] - 1.5, True) - col),
                         **self._cell(cell)})
        told.sort(key=lambda cell: (cell["row"], cell["col"]))
        captions = [child for child in place.children if child.element.tag == "caption"]
        caption = captions[0] if captions and captions[0].words else None
        x0, y0, x1, y1 = place.box
        outer = min(cells, key=lambda cell: cell.box[0], default=None)
        apart = outer and outer.box[0] - x0 > 1.3 + _thickness(outer.borders[3]) / 2
        return {"rows": len(tops), "cols": len(lefts), "box": [round(v, 1) for v in place.box],
                "apart": _gaps(cells),
                "caption": _text(caption) if caption else "",
                "caption_look": caption and {
                    "side": "top" if caption.box[1] < y0 + 1 else "bottom",
                    "align": _alignment(caption), "ground": self.ground(caption),
                    "runs": self.runs(caption)},
                "edges": self.sides(place.borders if apart else [None] * 4),
                "ground": self.ground(place) if apart else None, "cells": told}

    def _cell(self, cell):
        runs, words = self.runs(cell), cell.words
        looks = list(self.styles)
        used = [looks[run["style"]] for run in runs]
        nested = [self._table(child) for child in cell.children if child.element.tag == "table"]
        nested = [table for table in nested if table["cells"]]
        texts = [_text(cell), *(c["text"] for table in nested for c in table["cells"])]
        x0, y0, x1, y1 = cell.box
        entry = {"text": " ".join(text for text in texts if text),
                 "header": cell.element.tag == "th",
                 "align": _alignment(cell), "valign": _vertical(cell),
                 "bold": bool(used) and all(look[2] for look in used),
                 "color": used[0][4] if used else None, "background": self.ground(cell),
                 "box": [round(v, 1) for v in (x0, y0, x1 - x0, y1 - y0)],
                 "pad": [round(cell.inner[0] - x0, 1), round(x1 - cell.inner[2], 1)],
                 "edges": self.sides(cell.borders), "lines": len(cell.lines) if words else 0}
        entry |= {"style": runs[0]["style"]} if len(runs) == 1 else {"runs": runs}
        if len(cell.lines) > 1:
            entry["breaks"] = _forced_breaks(cell)
        if cell.marks:
            entry["marks"] = [
                {
                    "kind": kind,
                    "color": color,
                    "box": [
                        round(box[0] - x0),
                        round(box[1] - y0),
                        round(box[2] - box[0]),
                        round(box[3] - box[1]),
                    ],
                }
                for kind, box, color in put_together(cell.marks)
            ]
        if nested:
            entry |= {"nested": True, "tables": nested}
        if words:
            entry["width"] = round(max(row[-1].x1 - row[0].x for row in cell.lines), 1)
            entry["ink"] = round(sum(row[-1].x1 - row[0].x for row in cell.lines), 1)
            first = cell.lines[0]
            entry["indent"] = [
                round(first[0].x - cell.inner[0]),
                round(cell.inner[2] - first[-1].x1),
            ]
        return entry


# --- 3. helpers ---
def _text(place):
    return "".join(" " * word.spaced + word.text for word in place.words).strip()


def _thickness(border):
    return float(border.split()[1]) if border else 0.0


def _gaps(cells):
    """How far cells are apart, across and down, in px: the usual gap between neighbours."""
    gaps = []
    for axis in (0, 1):
        lines = collections.defaultdict(list)
        for cell in cells:
            lines[round(cell.box[1 - axis])].append(cell.box)
        found = collections.Counter()
        for boxes in lines.values():
            boxes.sort(key=lambda box: box[axis])
            found.update(max(0, round(b[axis] - a[axis + 2])) for a, b in zip(boxes, boxes[1:]))
        gaps.append(found.most_common(1)[0][0] if found else 0)
    return gaps


def _ranks(values):
    """Distinct places, in order; what is less than a pixel apart is one."""
    found = []
    for value in sorted(values):
        if not found or value - found[-1] > 1:
            found.append(value)
    return found


def _rank(found, value, count=False):
    """Index of the place that begins at or before `value`; with `count`, how many begin earlier."""
    k = bisect.bisect_left(found, value + (0.0 if count else 1e-6))
    return k if count else max(0, k - 1)


def _alignment(place):
    """left, center or right, by the room beside the text; None where there is no room to tell."""
    low, _, high, _ = place.inner
    best = (0.0, 0.0, 0.0)
    for row in place.lines:
        if row:
            left, right = row[0].x - low, high - row[-1].x1
            best = max(best, (left + right, left, right))
    room, left, right = best
    if room < 2:
        return None
    share = left / room
    return "left" if share < 0.25 else "right" if share > 0.75 else "center"


def _vertical(place):
    """top, middle or bottom, by the room above and below the text; None where there is none."""
    if not place.words:
        return None
    _, y0, _, y1 = place.box
    above = min(word.y - 0.93 * word.size for word in place.lines[0]) - y0
    below = y1 - max(word.y + 0.24 * word.size for word in place.lines[-1])
    if above + below < 14:
        return None
    share = above / (above + below)
    return "top" if share < 0.34 else "bottom" if share > 0.66 else "middle"


def _forced_breaks(cell):
    """After how many letters a line of a cell ends by the document's will, not for want of room."""
    letters, ends = [], set()

    def walk(element):
        preformatted = element.tag == "pre" or "white-space" in (element.get("style") or "")

        def add(text):
            for char in text or "":
                if char == "\n" and preformatted:
                    ends.add(len(letters))
                elif not char.isspace():
                    letters.append(char)
        if element.tag == "table":
            return
        block = element.tag in BREAKS
        if block:
            ends.add(len(letters))
        add(element.text)
        for child in element:
            if isinstance(child.tag, str):
                walk(child)
            add(child.tail)
        if block:
            ends.add(len(letters))
    walk(cell.element)
    painted, drawn = 0, []
    for row in cell.lines[:-1]:
        painted += sum(len(word.text) for word in row)
        drawn.append(painted)
    total = painted + sum(len(word.text) for word in cell.lines[-1])
    if total != len(letters):           # content of style sheets, transformed or hidden text
        return drawn
    return [place for place in drawn if place in ends]
