"""What PlutoPrint painted: its document drawn once more into a PDF by Cairo, read back as a list.

A picture says what can be seen, a style sheet only what was asked for. The same layout that gives
the picture is painted into a PDF, whose operators name every glyph with its font, size, place and
colour, every filled or stroked path and every image, in painting order. So what the scene says of
a table is what was drawn, whichever rule, attribute or default drew it.
"""
import functools
import re
import zlib
from dataclasses import dataclass

TEXT = re.compile(rb"(?<![^\s])BT\n(.*?)(?<![^\s])ET\n", re.S)
SHOWN = re.compile(rb"""([-\d.\s]+)\s(Tm|Td)\b | /(\S+)\s[-\d.]+\sTf | \[((?:\((?:[^()\\]|\\.)*\)|
    [^\]()])*)\]\s*TJ | (\((?:[^()\\]|\\.)*\)|<[^>]*>)\s*Tj | ([-\d.\s]+)\s(rg)\b | /(\S+)\sgs""",
                   re.X | re.S)
PART = re.compile(rb"\(((?:[^()\\]|\\.)*)\)|<([^>]*)>|([-\d.]+)", re.S)
ESCAPED = re.compile(rb"\\(\d{1,3}|\r?\n|.)", re.S)
LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
IDENTITY = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
EVERYWHERE = (-1e9, -1e9, 1e9, 1e9)


@dataclass(slots=True)
class Glyph:
    """One letter: its baseline runs from (x, y) to (x + width, y); y grows downwards."""

    char: str
    x: float
    y: float
    width: float
    size: float
    font: str           # as the font file calls itself: DejaVuSans-BoldOblique
    color: tuple        # (r, g, b), each 0 to 1
    alpha: float
    clip: tuple         # what of the page can be painted: x0, y0, x1, y1
    order: int


@dataclass(slots=True)
class Shape:
    """A path that was filled or stroked, or an image."""
    kind: str           # fill, stroke, image
    boxes: list         # of its parts, each x0, y0, x1, y1; not clipped
    clip: tuple
    color: tuple        # (r, g, b), or None for images, patterns and gradients
    alpha: float
    width: float        # of the pen
    dashes: tuple       # lengths in px
    curved: bool
    order: int
    box: tuple          # around all of it that can be seen: x0, y0, x1, y1


def read_paint(pdf: bytes) -> tuple[list[Glyph], list[Shape]]:
    """The bytes of a PDF of one page that Cairo wrote -> ([Glyph], [Shape])."""
    book = _Objects(pdf)
    painter = _Painter(book)
    page = next(text for text in book.plain.values() if re.search(rb"/Type /Page\b", text))
    resources = book.resolve(page, b"Resources")
    content = int(re.search(rb"/Contents (\d+) 0 R", page)[1])
    height = float(re.search(rb"/MediaBox \[ \S+ \S+ \S+ (\S+) \]", page)[1])
    upright = (1.0, 0.0, 0.0, -1.0, 0.0, height)
    painter.run(book.streams[content][1](), resources, upright, EVERYWHERE, 1.0, 0)
    return painter.glyphs, painter.shapes


class _Objects:
    """The objects of a PDF. plain: {number: text}; streams: {number: (dictionary, read)}."""
    def __init__(self, pdf):
        self.plain, self.streams, place = {}, {}, 0
        for start in re.finditer(rb"(\d+) 0 obj\n", pdf):
            if start.start() < place:
                continue
            end = pdf.find(b"\nendobj", start.end())
            head = pdf.find(b"\nstream\n", start.end(), end)
            number = int(start[1])
            if head < 0:
                self.plain[number] = pdf[start.end():end]
                place = end
                continue
            place = pdf.find(b"\nendstream", head)
            entry, body = pdf[start.end():head], pdf[head + 8:place]
            self.streams[number] = entry, functools.partial(self._unpack, entry, body)
        for entry, read in list(self.streams.values()):
            if b"/ObjStm" in entry:
                self._add_packed(entry, read())

    @staticmethod
    def _unpack(entry, body):
        return zlib.decompress(body) if b"/FlateDecode" in entry else body

    def _add_packed(self, entry, text):
        first = int(re.search(rb"/First (\d+)", entry)[1])
        pairs = [int(word) for word in text[:first].split()]
        places = pairs[1::2] + [len(text) - first]
        for k, number in enumerate(pairs[::2]):
            self.plain[number] = text[first + places[k]:first + places[k + 1]]

    def text(self, number):
        return self.plain.get(number) or self.streams.get(number, (b"",))[0]

    def resolve(self, text, name):
        """The dictionary under `name`, written in place or in an object of its own."""
        reference = re.search(rb"/" + name + rb" (\d+) 0 R", text)
        if reference:
            return self.text(int(reference[1]))
        start = re.search(rb"/" + name + rb"\s*<<", text)
        return text[start.end():] if start else b""

    def references(self, resources, kind):
        """{name: number of the object} of the fonts or images of a resource dictionary."""
        part = re.search(rb"/" + kind + rb"\s*<<(.*?)>>", resources, re.S)
        pairs = re.findall(rb"/(\S+) (\d+) 0 R", part[1]) if part else ()
        return {name: int(number) for name, number in pairs}


class _Font:
    """name; `letters(bytes)` gives (character, width in thousandths of the size) of each glyph."""

    def __init__(self, book, number):
        text = book.text(number)
        name = re.search(rb"/BaseFont /(?:[A-Z]{6}\+)?(\S+)", text)
        self.name = name[1].decode("latin-1") if name else ""
        self.wide = b"/Type0" in text
        self.chars, self.widths = {}, {}
        unicode = re.search(rb"/ToUnicode (\d+) 0 R", text)
        if unicode:
            self._read_characters(book.streams[int(unicode[1])][1]())
        if self.wide:
            inner = int(re.search(rb"/DescendantFonts\s*\[\s*(\d+) 0 R", text)[1])
            part = re.search(rb"/W\s*\[\s*(\d+)\s*\[([^\]]*)\]", book.text(inner))
            first, widths = (int(part[1]), part[2].split()) if part else (0, ())
        else:
            first = int(re.search(rb"/FirstChar (\d+)", text)[1])
            widths = re.search(rb"/Widths\s*\[([^\]]*)\]", text)[1].split()
        self.widths = {first + k: float(width) for k, width in enumerate(widths)}

    def _read_characters(self, text):
        for part in re.findall(rb"beginbfchar(.*?)endbfchar", text, re.S):
            for code, char in re.findall(rb"<(\w+)>\s*<(\w+)>", part):
                self.chars[int(code, 16)] = _utf16(char)
        for part in re.findall(rb"beginbfrange(.*?)endbfrange", text, re.S):
            for low, high, char in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", part):
                for k in range(int(high, 16) - int(low, 16) + 1):
                    self.chars[int(low, 16) + k] = chr(ord(_utf16(char)[-1]) + k)

    def letters(self, data):
        codes = [data[k] << 8 | data[k + 1] for k in range(0, len(data) - 1, 2)] \
            if self.wide else data
        chars, widths = self.chars, self.widths
        return [(chars.get(code, "\ufffd"), widths.get(code, 0.0)) for code in codes]


def _utf16(digits):
    return bytes.fromhex(digits.decode()).decode("utf-16-be", "replace") or "\ufffd"


def _unescape(text):
    def letter(match):
        code = match[1]
        if code.isdigit():
            return bytes([int(code, 8) & 255])
        return LETTERS.get(code, b"" if code.endswith(b"\n") else code)
    return ESCAPED.sub(letter, text) if b"\\" in text else text


def _times(m, n):
    """The matrix that does `m` first, then `n`."""
    a, b, c, d, e, f = m
    A, B, C, D, E, F = n
    return (a * A + b * C, a * B + b * D, c * A + d * C, c * B + d * D, e * A + f * C + E,
            e * B + f * D + F)


class _Painter:
    """Runs the operators that Cairo writes and notes what they paint."""
    def __init__(self, book):
        self.book, self.glyphs, self.shapes, self.fonts, self.order = book, [], [], {}, 0

    def run(self, content, resources, matrix, clip, alpha, depth):
        """One page or form. Its text stands between BT and ET, all else are words and blanks."""
        level = _Level(self, resources, matrix, clip, alpha, depth)
        for k, part in enumerate(TEXT.split(content)):
            if k % 2:
                level.write(part)
            else:
                level.draw(part)

    def font(self, number):
        if number is not None and number not in self.fonts:
            self.fonts[number] = _Font(self.book, number)
        return self.fonts.get(number)


class _State:
    """What q saves and Q brings back."""
    __slots__ = ("matrix", "clip", "fill", "stroke", "opacity", "width", "dashes")

    def __init__(self, matrix, clip):
        self.matrix, self.clip = matrix, clip
        self.fill = self.stroke = (0.0, 0.0, 0.0)
        self.opacity, self.width, self.dashes = (1.0, 1.0), 1.0, ()

    def copy(self):
        twin = _State.__new__(_State)
        for name in _State.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin


class _Level:
    """The operators of one page or form. `words` are operands until an operator takes them."""

    def __init__(self, painter, resources, matrix, clip, alpha, depth):
        self.painter, self.alpha, self.depth = painter, alpha, depth
        self.state, self.stack, self.words = _State(matrix, clip), [], []
        self.path, self.boxes, self.curved, self.clipping = [], [], False, False
        book = painter.book
        self.fonts = book.references(resources, b"Font")
        self.forms = book.references(resources, b"XObject")
        self.alphas = {name: (float(fill), float(stroke)) for name, stroke, fill in re.findall(
            rb"/(\w+) << /CA ([\d.]+) /ca ([\d.]+) >>", resources)}
        self.pen, self.line, self.font = IDENTITY, IDENTITY, None

    def draw(self, content):
        """Operators outside of text. Most are rectangles, one a line, and many stand there
        twice."""
        operands, seen = self.words, set()
        for line in content.split(b"\n"):
            if line in seen:
                continue
            words = line.split()
            plain = len(words) == 6 and line.endswith(b" re f") and not operands
            if plain and not (self.boxes or self.path) and self.state.opacity[0] == 1:
                seen.add(line)
            elif words:
                seen.clear()
            for word in words:
                operator = OPERATORS.get(word)
                if operator:
                    operator(self, operands)
                    operands.clear()
                else:
                    operands.append(word)

    # paths
    def rectangle(self, operands):
        self.end_part()
        x, y, w, h = map(float, operands[-4:])
        self.boxes.append(_around(self.state.matrix, ((x, y), (x + w, y + h))))

    def move(self, operands):
        self.end_part()
        self.path.append(_numbers(operands))

    def go(self, operands):
        self.path.append(_numbers(operands))

    def bend(self, operands):
        values = _numbers(operands)
        self.path += zip(values[::2], values[1::2])
        self.curved = True

    def end_part(self):
        if len(self.path) > 1:
            self.boxes.append(_around(self.state.matrix, self.path))
        self.path.clear()

    def clip(self, operands):
        self.clipping = True

    def end_path(self):
        boxes = self.boxes
        if self.clipping and boxes:
            clip = self.state.clip
            x0, y0, x1, y1 = _union(boxes)
            self.state.clip = (max(clip[0], x0), max(clip[1], y0), min(clip[2], x1),
                               min(clip[3], y1))
        self.boxes, self.curved, self.clipping = [], False, False

    def fill(self, operands):
        self.end_part()
        if self.boxes:
            self.add("fill", self.state.fill, self.state.opacity[0])
        self.end_path()

    def stroke(self, operands):
        self.end_part()
        if self.boxes:
            self.add("stroke", self.state.stroke, self.state.opacity[1])
        self.end_path()

    def leave(self, operands):
        self.end_part()
        self.end_path()

    def add(self, kind, color, opacity):
        state, painter = self.state, self.painter
        painter.order += 1
        x0, y0, x1, y1 = _union(self.boxes)
        a, b, c, d = state.clip
        box = max(x0, a), max(y0, b), min(x1, c), min(y1, d)
        scale = _scale(state.matrix)
        pen = state.width * scale if kind == "stroke" else 0.0
        if opacity * self.alpha > 0 and box[2] - box[0] + pen > 0 and box[3] - box[1] + pen > 0:
            dashes = tuple(dash * scale for dash in state.dashes)
            painter.shapes.append(Shape(kind, self.boxes, state.clip, color, opacity * self.alpha,
                                        pen, dashes, self.curved, painter.order, box))

    # state
    def save(self, operands):
        self.stack.append(self.state)
        self.state = self.state.copy()

    def restore(self, operands):
        if self.stack:
            self.state = self.stack.pop()

    def transform(self, operands):
        self.state.matrix = _times(_numbers(operands), self.state.matrix)

    def fill_color(self, operands):
        self.state.fill = _color(operands)

    def stroke_color(self, operands):
        self.state.stroke = _color(operands)

    def opacity(self, operands):
        self.state.opacity = self.alphas.get(operands[-1][1:], (1.0, 1.0))

    def pen_width(self, operands):
        self.state.width = float(operands[-1])

    def dashes(self, operands):
        inside = b" ".join(operands).partition(b"[")[2].partition(b"]")[0]
        self.state.dashes = tuple(_numbers(inside.split()))

    def shade(self, operands):
        self.boxes = [self.state.clip]
        self.add("fill", None, self.state.opacity[0])
        self.end_path()

    def use(self, operands):
        """Draw an image, or a form: what is painted together, with one opacity."""
        painter, state = self.painter, self.state
        entry, read = painter.book.streams.get(self.forms.get(operands[-1][1:]), (b"", None))
        if b"/Form" in entry and self.depth < 20:
            resources = painter.book.resolve(entry, b"Resources")
            painter.run(read(), resources, state.matrix, state.clip,
                        self.alpha * state.opacity[0], self.depth + 1)
        elif read:
            self.boxes = [_around(state.matrix, ((0, 0), (1, 1)))]
            self.add("image", None, state.opacity[0])
            self.end_path()

    # text
    def write(self, text):
        self.pen = self.line = IDENTITY
        for match in SHOWN.finditer(text):
            numbers, operator, font, shown, single, color, _, name = match.groups()
            if operator == b"Tm":
                self.pen = self.line = _numbers(numbers.split())
            elif operator == b"Td":
                x, y = map(float, numbers.split())
                self.pen = self.line = _times((1.0, 0.0, 0.0, 1.0, x, y), self.line)
            elif font:
                self.font = self.painter.font(self.fonts.get(font))
            elif color:
                self.state.fill = _color(color.split())
            elif name:
                self.state.opacity = self.alphas.get(name, (1.0, 1.0))
            elif self.font:
                self.show(shown or single)

    def show(self, shown):
        painter, state, font = self.painter, self.state, self.font
        painter.order += 1
        a, b, c, d, x, y = _times(self.pen, state.matrix)
        size = (c * c + d * d) ** 0.5
        paint = size, font.name, state.fill, self.alpha * state.opacity[0], state.clip, \
            painter.order
        if state.fill is None:          # a pattern: the picture tells its colour
            paint = size, font.name, (0.5, 0.5, 0.5), *paint[3:]
        for text, digits, number in PART.findall(shown):
            if number:
                x, y = x - float(number) / 1000 * a, y - float(number) / 1000 * b
                continue
            data = _unescape(text) if text or not digits else bytes.fromhex(
                (digits + b"0" * (len(digits) % 2)).decode())
            for char, width in font.letters(data):
                step = width / 1000 * a
                painter.glyphs.append(Glyph(char, x, y, step, *paint))
                x, y = x + step, y + width / 1000 * b
        here = _times((1.0, 0.0, 0.0, 1.0, x, y), _inverse(state.matrix))
        self.pen = (*self.pen[:4], *here[4:])


OPERATORS = {
    b"re": _Level.rectangle, b"m": _Level.move, b"l": _Level.go, b"c": _Level.bend,
    b"v": _Level.bend, b"y": _Level.bend, b"W": _Level.clip, b"W*": _Level.clip,
    b"f": _Level.fill, b"f*": _Level.fill, b"B": _Level.fill, b"B*": _Level.fill,
    b"S": _Level.stroke, b"s": _Level.stroke, b"n": _Level.leave, b"q": _Level.save,
    b"Q": _Level.restore, b"cm": _Level.transform, b"rg": _Level.fill_color,
    b"RG": _Level.stroke_color, b"g": _Level.fill_color, b"G": _Level.stroke_color,
    b"scn": _Level.fill_color, b"SCN": _Level.stroke_color, b"gs": _Level.opacity,
    b"w": _Level.pen_width, b"d": _Level.dashes, b"sh": _Level.shade, b"Do": _Level.use,
} | dict.fromkeys((b"h", b"J", b"j", b"M", b"i", b"ri", b"cs", b"CS", b"BDC", b"BMC", b"EMC"),
                  lambda level, operands: None)


def _numbers(words):
    return [float(word) for word in words]


def _color(operands):
    """(r, g, b) of the operands of a colour; None for a pattern."""
    try:
        values = tuple(float(word) for word in operands)
    except ValueError:
        return None
    return values * 3 if len(values) == 1 else values[-3:]


def _union(boxes):
    if len(boxes) == 1:
        return boxes[0]
    x0, y0, x1, y1 = zip(*boxes)
    return min(x0), min(y0), max(x1), max(y1)


def _scale(m):
    return abs(m[0] * m[3] - m[1] * m[2]) ** 0.5


def _inverse(m):
    a, b, c, d, e, f = m
    det = a * d - b * c or 1.0
    return d / det, -b / det, -c / det, a / det, (c * f - d * e) / det, (b * e - a * f) / det


def _around(matrix, points):
    a, b, c, d, e, f = matrix
    if b == c == 0:
        xs = [a * x + e for x, _ in points]
        ys = [d * y + f for _, y in points]
    else:
        xs = [a * x + c * y + e for x, y in points]
        ys = [b * x + d * y + f for x, y in points]
    return min(xs), min(ys), max(xs), max(ys)
