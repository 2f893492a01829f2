"""Tables: HTML or Markdown, laid out by PlutoPrint; the scene is read from what it paints."""
import functools
import io
import math
import re

import lxml.html
import markdown_it
from PIL import Image, ImageChops, ImageOps

from data.renderers.paint import read_paint
from data.renderers.scene import RenderError, on_canvas, short, target_size
from data.renderers.table_places import Pixels, find_places
from data.renderers.table_scene import Scene

# An author's style sheet that comes first, so that every rule of the page's own wins over it.
# :where() has no weight: a page's rule for th wins over it, and so do attributes that it spares.
TABLE_CSS = """body{margin:3px;text-align:left;color:black}
body,table{font:11px "DejaVu Sans"}
table{border-collapse:collapse}
td,th{border:1px solid black;min-width:24px}
:where(td,th):where(:not([height])){height:15px}
:where(td,th):where(:not(table[cellpadding] *)){padding:2px 3px}
th{font-weight:bold}
:where(th):where(:not([align])){text-align:center}
:where(th):where(:not([bgcolor])){background:#eee}"""
MARK = ("background:#%06x content-box!important;visibility:visible!important;"
        "empty-cells:show!important;opacity:1!important")
ONLY_MARKS = "*{color:transparent!important;border-color:transparent!important}"
SLOTS = 200_000
MARGIN = 3              # px of white around what a page shows


def draw_table(code: str, size: int | tuple[int, int] | None) -> tuple[Image.Image, dict]:
    if not code.strip():
        raise RenderError("blank", "the table is empty")
    markup = code if is_html(code) else markdown_to_html(code)
    if not re.search(r"<(html|body|!doctype)\b", markup, re.I):
        markup = "<body>" + markup          # text outside of all elements stays as it is
    try:
        tree = lxml.html.document_fromstring(markup.replace("\0", ""))
    except (lxml.etree.LxmlError, ValueError) as error:
        raise RenderError("syntax", f"not an HTML document: {short(error)}") from None
    _check_size(tree)
    if tree.find("head") is None:
        tree.insert(0, tree.makeelement("head"))
    base = tree.makeelement("style")
    base.text = TABLE_CSS
    tree.find("head").insert(0, base)
    book, w, h = _load(tree)
    target_size(w, h, None)
    image = _picture(book, w, h)
    ink = ImageChops.invert(image).getbbox()
    if ink is None:
        raise RenderError("blank", "the table draws nothing that can be seen")
    scene = _read_scene(tree, book, image)
    image = ImageOps.expand(image.crop(ink), MARGIN, "white")
    window = [edge + sign * MARGIN for edge, sign in zip(ink, (-1, -1, 1, 1))]
    scale, w, h, page = target_size(*image.size, size)
    if scale < 1:
        image = image.resize((w, h), Image.Resampling.LANCZOS)
    image = on_canvas(image, page if isinstance(size, (tuple, list)) else image.size)
    return image, {"task": "table", "size": list(image.size), "window": window, **scene}


def _check_size(tree):
    depth = deepest = 0
    for event, _ in lxml.etree.iterwalk(tree, ("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(depth, deepest)
    if deepest > 200:
        raise RenderError("too_large", "the table is nested too deeply")
    for table in tree.iter("table"):
        if not table_grid(table):
            continue


def _load(tree):
    """(PlutoPrint's book of a page, its width and height in px)."""
    import plutoprint as pp
    refused = []

    class Refuse(pp.ResourceFetcher):
        def fetch_url(self, url):
            refused.append(url)
            return pp.ResourceData(b"", "text/plain", "utf-8")

    book = pp.Book(pp.PageSize(600, 600), pp.PAGE_MARGINS_NONE, pp.MEDIA_TYPE_SCREEN)   # 800 px
    book.custom_resource_fetcher = Refuse()
    book.load_html(lxml.etree.tostring(tree, method="html", encoding="unicode"),
                   base_url="file:///")
    w, h = (math.ceil(v) + 1 for v in (book.get_document_width(), book.get_document_height()))
    if refused:
        raise RenderError("forbidden", "the table refers to a file or address outside itself: "
                          f"{refused[0][:80]}")
    return book, w, h


def _picture(book, w, h):
    import plutoprint as pp
    canvas = pp.ImageCanvas(w, h, pp.IMAGE_FORMAT_RGB24)
    canvas.clear_surface(1, 1, 1, 1)
    book.render_document(canvas)
    return Image.frombuffer("RGB", (w, h), bytes(canvas.get_data()), "raw", "BGRX",
                            canvas.get_stride(), 1)


def _paint(book, w, h):
    """What a page's book paints: ([Glyph], [Shape]) of data/renderers/paint.py."""
    import plutoprint as pp
    stream = io.BytesIO()
    canvas = pp.PDFCanvas.create_for_stream(stream, pp.PageSize(w, h))
    book.render_document(canvas)
    canvas.finish()
    return read_paint(stream.getvalue())


def _read_scene(tree, book, image):
    glyphs, shapes = _paint(book, *image.size)
    elements = list(tree.iter("table", "caption", "td", "th"))
    for number, element in enumerate(elements, 1):
        mark = MARK % number
        element.set("style", f"{mark};{element.get('style') or ''};{mark}")
    tree.find("head")[0].text += ONLY_MARKS
    marked, w, h = _load(tree)
    places = find_places(elements, _paint(marked, w, h)[1])
    return Scene(places, glyphs, shapes, Pixels(image)).told()


# --- 1. the grid of HTML ---
def is_html(code: str) -> bool:
    """Whether a program is HTML: it has a tag of a table that no code span of Markdown quotes."""
    return (
        re.search(r"<\s*(table|tr|td|th)\b", re.sub(r"(`+)[^`\n]+\1", "", code), re.I) is not None
    )


def table_rows(table: lxml.html.HtmlElement) -> list[lxml.html.HtmlElement]:
    """The rows of a table in the order of the picture: heads first, feet last."""
    def part(row):
        tag = row.getparent().tag
        return 0 if tag == "thead" else 2 if tag == "tfoot" else 1
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
    return sorted(rows, key=part)


def table_grid(table: lxml.html.HtmlElement) \
        -> list[tuple[int, int, int, int, lxml.html.HtmlElement]]:
    """HTML's table algorithm: [(row, column, rowspan, colspan, cell)] of the cells of a table.

    `rowspan=0` and spans that are too long end with the group of rows. Raises RenderError where
    the cells fill more than 200,000 slots.
    """
    rows = table_rows(table)
    taken, cells, budget = set(), [], SLOTS
    for y, row in enumerate(rows):
        x, rest = 0, 0
        for other in rows[y:]:
            if other.getparent() is not row.getparent():
                break
            rest += 1
        for cell in row.iterchildren("td", "th"):
            while (y, x) in taken:
                x += 1
            wide = min(span(cell, "colspan") or 1, 1000)
            high = min(span(cell, "rowspan") or rest, rest)
            budget -= wide * high
            if budget < 0:
                raise RenderError("too_large", "the table has more than 200,000 slots")
            taken.update((y + j, x + i) for j in range(high) for i in range(wide))
            cells.append((y, x, high, wide, cell))
            x += wide
    return cells


def span(cell: lxml.html.HtmlElement, name: str) -> int:
    """A span attribute as browsers read it: leading digits, at most 65534, else 1."""
    digits = re.match(r"\s*\+?(\d{1,9})", cell.get(name) or "")
    return min(int(digits[1]), 65534) if digits else 1


# --- 2. Markdown ---
@functools.lru_cache
def _markdown():
    """CommonMark with GitHub's tables and struck text. No thead and tbody, which show nothing."""
    reader = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    reader.validateLink = lambda url: True      # what a link points to is not in the picture

    def plain(tag):
        return lambda self, tokens, k, options, env: tag
    for name, tag in (("thead", ""), ("tbody", ""), ("strong", "b"), ("em", "i")):
        reader.add_render_rule(f"{name}_open", plain(tag and f"<{tag}>"))
        reader.add_render_rule(f"{name}_close", plain(tag and f"</{tag}>"))
    return reader


def markdown_to_html(text: str) -> str:
    """Markdown -> HTML, by markdown-it-py: pipe tables, emphasis, code, links, entities, HTML."""
    return _markdown().render(text)


def markdown_tables(text: str) -> list[tuple[int, int, list[str], list[list[str]]]]:
    """[(first line, line after the last, alignments, rows)] of the pipe tables of a text.

    Lines count from 0. alignments: "left", "center", "right" or "" of each column. rows: the
    Markdown of each cell, the head first; `\\|` in it has become `|`.
    """
    found, marks, rows = [], [], []
    for token in _markdown().parse(text):
        if token.type == "table_open":
            marks, rows, lines = [], [], token.map
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "th_open":
            marks.append((token.attrGet("style") or "").removeprefix("text-align:"))
        elif token.type == "inline" and rows is not None and token.level and len(rows):
            rows[-1].append(token.content)
        elif token.type == "table_close":
            found.append((*lines, marks, rows))
            rows = []
    return found
