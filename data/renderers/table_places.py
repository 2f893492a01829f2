"""Where things are on a table page: cells, lines on their edges, and what the pixels show."""
import collections
import functools
import itertools
import math
from collections.abc import Sequence

import lxml.html
import numpy as np

from data.renderers.paint import Shape
from data.renderers.scene import rgb_hex

TILE = 32                       # px; boxes are found by the tiles of the page that they touch
THINNEST = 0.75                 # px between an edge and the line that is drawn on it


# --- 1. places ---
class Place:
    """A table, caption or cell: its element, its box and the box of its contents, in px."""

    def __init__(self, element, box, inner, number):
        self.element, self.box, self.inner, self.number = element, box, inner, number
        self.words, self.marks, self.parent, self.children = [], [], None, []
        self.borders = [None] * 4

    @property
    def is_cell(self) -> bool:
        return self.element.tag in ("td", "th")


class Finder:
    """Which of many boxes are at a point: the deepest place, in the order of the document."""

    def __init__(self, places):
        self.tiles = collections.defaultdict(list)
        for place in places:
            x0, y0, x1, y1 = (int(v // TILE) for v in place.box)
            for tile in itertools.product(range(x0, x1 + 1), range(y0, y1 + 1)):
                self.tiles[tile].append(place)

    def at(self, x: float, y: float) -> Place | None:
        for place in reversed(self.tiles.get((int(x // TILE), int(y // TILE)), ())):
            x0, y0, x1, y1 = place.box
            if x0 <= x <= x1 and y0 <= y <= y1:
                return place
        return None


def find_places(elements: list[lxml.html.HtmlElement], shapes: list[Shape]) -> list[Place]:
    """[Place] of the elements that the marked drawing filled with colour number k + 1."""
    boxes = {}
    for shape in shapes:
        if shape.kind == "fill" and shape.color and shape.alpha:
            r, g, b = (round(255 * c) for c in shape.color)
            number = (r << 16 | g << 8 | b) - 1
            if number not in boxes and 0 <= number < len(elements):
                boxes[number] = shape.boxes[0], shape.box
    places = [Place(elements[k], *boxes[k], k) for k in sorted(boxes)]
    of = {place.element: place for place in places}
    for place in places:
        above = place.element.iterancestors("td", "th", "caption", "table")
        place.parent = next((of[e] for e in above if e in of), None)
        if place.parent:
            place.parent.children.append(place)
    return places


# --- 2. the picture ---
class Pixels:
    """The picture at its natural size, as one number a pixel."""

    def __init__(self, image):
        pixels = np.frombuffer(image.tobytes("raw", "BGRX"), "<u4") & 0xFFFFFF
        self.flat = pixels.reshape(image.height, image.width)
        self.height, self.width = self.flat.shape

    def crop(self, box: Sequence[float]) -> np.ndarray:
        x0, y0, x1, y1 = box
        x0, y0 = max(0, math.floor(x0)), max(0, math.floor(y0))
        return self.flat[y0:max(y0, math.ceil(y1)), x0:max(x0, math.ceil(x1))]

    def is_flat(self, box: Sequence[float]) -> bool:
        """Whether nothing is to be seen in a box: it is outside, or of one colour."""
        part = self.crop(box)
        return not part.size or not (part != part[0, 0]).any()

    def ground(self, box: Sequence[float]) -> str:
        """The most frequent colour along the inside of a box, "#rrggbb"; white outside."""
        part = self.crop(box)
        if not part.size:
            return "#ffffff"
        ring = [part[0, ::5], part[-1, ::5], part[::3, 0], part[::3, -1]]
        color = collections.Counter(np.concatenate(ring).tolist()).most_common(1)[0][0]
        return f"#{color:06x}"

    def thumbnail(self, box: Sequence[float]) -> str:
        """Mean colours of the nine parts of a box, in one string."""
        part = self.crop(box)
        if not part.size:
            return ""
        tiles = [tile for row in np.array_split(part, min(3, part.shape[0]))
                 for tile in np.array_split(row, min(3, part.shape[1]), axis=1)]
        means = [[int((tile >> shift & 255).mean()) for shift in (16, 8, 0)] for tile in tiles]
        return " ".join("#%02x%02x%02x" % tuple(mean) for mean in means)


@functools.lru_cache(10_000)
def blend(color: tuple[float, ...], alpha: float, ground: str | None) -> str:
    """The colour that paint of a given opacity has on a ground, "#rrggbb"."""
    back = [int(ground[i:i + 2], 16) / 255 for i in (1, 3, 5)] if ground else [1.0] * 3
    return rgb_hex([alpha * c + (1 - alpha) * b for c, b in zip(color, back)] + [1])


@functools.lru_cache(10_000)
def is_near(color: str, ground: str | None) -> bool:
    """Whether two "#rrggbb" differ too little for a letter to be seen."""
    ground = ground or "#ffffff"
    return all(abs(int(color[i:i + 2], 16) - int(ground[i:i + 2], 16)) < 8 for i in (1, 3, 5))


# --- 3. lines ---
Line = collections.namedtuple("Line", "flat place low high thick color style shapes")
# flat: whether it is horizontal; place: of its middle; low, high: its ends; shapes that drew it


def find_lines(shapes: list[Shape]) -> list[Line]:
    """Thin rectangles, rings and pens -> [Line]: what borders, rules and underlines are made of."""
    found = {}
    for shape in shapes:
        if shape.color is None or shape.kind == "image":
            continue
        style = "solid"
        if shape.kind == "stroke":
            style = "solid" if not shape.dashes else "dotted" if (
                shape.dashes[0] < 1.5 * shape.width) else "dashed"
        color = rgb_hex((*shape.color, 1))
        for box in _bands(shape):
            if (box, color) in found:
                found[box, color].shapes.append(shape)
                continue
            x0, y0, x1, y1 = box
            thick = min(x1 - x0, y1 - y0)
            span = (True, (y0 + y1) / 2, x0, x1) if x1 - x0 >= y1 - y0 else (
                False, (x0 + x1) / 2, y0, y1)
            found[box, color] = Line(*span, thick, color, style, [shape])
    return list(found.values())


def _bands(shape):
    """The boxes of a shape that are thin; a ring (a box in a box) is four of them."""
    if shape.kind == "stroke":
        half = shape.width / 2
        boxes = []
        for x0, y0, x1, y1 in shape.boxes:
            if y1 - y0 < 0.01:
                boxes.append((x0, y0 - half, x1, y1 + half))
            elif x1 - x0 < 0.01:
                boxes.append((x0 - half, y0, x1 + half, y1))
        return boxes
    if len(shape.boxes) == 1:
        boxes = [shape.box]
    else:
        (a, b, c, d), (e, f, g, h) = shape.boxes[:2]
        if a <= e and b <= f and c >= g and d >= h:
            boxes = [(a, b, c, f), (a, h, c, d), (a, b, e, d), (g, b, c, d)]
        else:
            boxes = shape.boxes
    return [box for box in boxes if 0 < min(box[2] - box[0], box[3] - box[1]) <= 12
            and max(box[2] - box[0], box[3] - box[1]) > 3]


def _rows(line):
    """The rows of pixels in which an edge may have a line on it."""
    reach = line.thick / 2 + THINNEST
    return range(math.floor(line.place - reach), math.floor(line.place + reach) + 1)


class Edges:
    """Looks up the lines that lie on an edge: by its middle, else by the row of pixels."""

    def __init__(self, lines):
        self.lines, self.used = lines, set()
        self.spots = collections.defaultdict(list)
        for line in lines:
            middle = (line.low + line.high) / 2
            for row in _rows(line):
                self.spots[line.flat, row, math.floor(middle - 0.5)].append(line)
                self.spots[line.flat, row, math.floor(middle + 0.5)].append(line)

    @functools.cached_property
    def rows(self) -> dict[tuple[bool, int], list[Line]]:
        """{(flat, row of pixels): lines}, for edges whose line is longer than they are."""
        rows = collections.defaultdict(list)
        for line in self.lines:
            for row in _rows(line):
                rows[line.flat, row].append(line)
        return rows

    def on(self, flat: bool, place: float, low: float, high: float) -> str | None:
        """How an edge is drawn, "solid 1 #000000", or None."""
        row = math.floor(place)
        bands = self._bands(self.spots.get((flat, row, math.floor((low + high) / 2)), ()),
                            place, low, high)
        bands = bands or self._bands(self.rows.get((flat, row), ()), place, low, high)
        if not bands:
            return None
        for line in bands:
            self.used.update(map(id, line.shapes))
        if len(bands) == 1:
            line = bands[0]
            return f"{line.style} {round(line.thick, 1):g} {line.color}"
        bands.sort(key=lambda line: line.place - line.thick / 2)
        style = bands[-1].style
        gaps = [b.place - b.thick / 2 - a.place - a.thick / 2 for a, b in zip(bands, bands[1:])]
        if any(gap > 0.3 for gap in gaps):
            style = "double"
        elif len({line.color for line in bands}) > 1:
            style = "ridge"
        first, last = bands[0], bands[-1]
        thick = max(line.place + line.thick / 2 for line in bands) - first.place + first.thick / 2
        return f"{style} {round(thick, 1):g} {last.color}"

    @staticmethod
    def _bands(lines, place, low, high):
        return [line for line in lines if abs(line.place - place) <= line.thick / 2 + THINNEST
                and min(high, line.high) - max(low, line.low) > 0.6 * (high - low)]

    def around(self, box: Sequence[float]) -> list[str | None]:
        """How the four sides of a box are drawn: top, right, bottom, left."""
        x0, y0, x1, y1 = box
        return [self.on(True, y0, x0, x1), self.on(False, x1, y0, y1), self.on(True, y1, x0, x1),
                self.on(False, x0, y0, y1)]


# --- 4. marks ---
def put_together(found: list[tuple[str, tuple[float, ...], str]]) \
        -> list[tuple[str, tuple[float, ...], str]]:
    """[(kind, box, colour)], pieces that touch put together; kind: image, line, area or ground."""
    pieces, marks = [], []
    for kind, box, color in found:
        (marks if kind in ("image", "ground") or len(found) > 60 else pieces).append(
            (kind, box, color)
        )
    while pieces:
        _, box, color = pieces.pop()
        largest, grown = area_of(box), True
        while grown:
            grown = False
            for piece in list(pieces):
                x0, y0, x1, y1 = piece[1]
                if x0 <= box[2] + 1 and box[0] <= x1 + 1 and y0 <= box[3] + 1 and box[1] <= y1 + 1:
                    color, largest = max((largest, color), (area_of(piece[1]), piece[2]))[::-1]
                    box = min(x0, box[0]), min(y0, box[1]), max(x1, box[2]), max(y1, box[3])
                    pieces.remove(piece)
                    grown = True
        marks.append(("line" if min(box[2] - box[0], box[3] - box[1]) <= 4 else "area", box, color))
    return [
        ("area" if kind in ("fill", "stroke") else kind, box, color) for kind, box, color in marks
    ]


def area_of(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
