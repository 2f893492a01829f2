"""Tables: HTML or Markdown, laid out by PlutoPrint; the grid is read from the parsed document."""
import bisect
import contextlib
import html
import itertools
import math
import re

import cssselect2
import tinycss2
import tinycss2.color3
from PIL import Image, ImageChops, ImageOps

from data.renderers.scene import RenderError, on_canvas, rgb_hex, short, target_size

TABLE_CSS = """body{margin:3px;text-align:left;color:black}
body,table{font:11px "DejaVu Sans"}
table{border-collapse:collapse}
td,th{border:1px solid black;padding:2px 3px;min-width:24px;height:15px;vertical-align:middle}
th{font-weight:bold}th:not([align]){text-align:center}th:not([bgcolor]){background:#eee}"""


def draw_table(code, size):
    import lxml.html
    import plutoprint as pp

    refused = []

    class Refuse(pp.ResourceFetcher):
        def fetch_url(self, url):
            refused.append(url)
            return pp.ResourceData(b"", "text/plain", "utf-8")

    if not code.strip():
        raise RenderError("blank", "the table is empty")
    markup = code if re.search(r"<\s*(table|tr|td|th)\b", code, re.I) else markdown_to_html(code)
    try:
        tree = lxml.html.document_fromstring(markup.replace("\0", ""))
    except (lxml.etree.LxmlError, ValueError) as error:
        raise RenderError("syntax", f"not an HTML document: {short(error)}") from None
    depth = deepest = 0
    for event, _ in lxml.etree.iterwalk(tree, ("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(depth, deepest)
    if deepest > 200:
        raise RenderError("too_large", "the table is nested too deeply")
    scene = _table_scene(tree)
    book = pp.Book(pp.PageSize(600, 600), pp.PAGE_MARGINS_NONE, pp.MEDIA_TYPE_SCREEN)   # 800 px
    book.custom_resource_fetcher = Refuse()
    book.load_html(markup, user_style=TABLE_CSS, base_url="file:///")
    w, h = (math.ceil(v) + 1 for v in (book.get_document_width(), book.get_document_height()))
    if refused:
        raise RenderError("forbidden", "the table refers to a file or address outside itself: "
                          f"{refused[0][:80]}")
    target_size(w, h, None)
    canvas = pp.ImageCanvas(w, h, pp.IMAGE_FORMAT_RGB24)
    canvas.clear_surface(1, 1, 1, 1)
    book.render_document(canvas)
    image = Image.frombuffer("RGB", (w, h), bytes(canvas.get_data()), "raw", "BGRX",
                             canvas.get_stride(), 1)
    ink = ImageChops.invert(image).getbbox()
    if ink is None:
        raise RenderError("blank", "the table draws nothing that can be seen")
    image = ImageOps.expand(image.crop(ink), 3, "white")
    scale, w, h, page = target_size(*image.size, size)
    if scale < 1:
        image = image.resize((w, h), Image.Resampling.LANCZOS)
    image = on_canvas(image, page if isinstance(size, (tuple, list)) else image.size)
    return image, {"task": "table", "size": list(image.size), **scene}


def markdown_to_html(text):
    """Markdown pipe tables -> HTML; other lines become paragraphs."""
    rule = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
    lines, out, i = text.splitlines(), [], 0
    while i < len(lines):
        if "|" in lines[i] and i + 1 < len(lines) and rule.match(lines[i + 1]):
            align = [{(True, True): ' align="center"', (True, False): ' align="left"',
                      (False, True): ' align="right"'}.get((c[:1] == ":", c[-1:] == ":"), "")
                     for c in _cells(lines[i + 1])]
            body = list(itertools.takewhile(lambda s: "|" in s and s.strip(), lines[i + 2:]))
            rows = [("th", lines[i])] + [("td", line) for line in body]
            out.append("<table>" + "".join("<tr>" + "".join(
                f"<{tag}{a}>{_inline(c)}</{tag}>" for c, a in itertools.zip_longest(
                    _cells(line)[:len(align)], align, fillvalue="")) + "</tr>"
                for tag, line in rows) + "</table>")
            i += 2 + len(body)
        else:
            out.append(f"<p>{_inline(lines[i])}</p>" if lines[i].strip() else "")
            i += 1
    return "".join(out)


def _cells(line):
    line = re.sub(r"(?<!\\)\|$", "", line.strip().removeprefix("|"))
    return [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)]


def _inline(text):
    text = html.escape(text, quote=False).replace("&lt;br&gt;", "<br>")
    return re.sub(r"`(.+?)`", r"\1", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text))


def _table_scene(tree):
    style = _cascade(tree)
    tables = [_grid(t, style) for t in tree.iter("table")
              if next(t.iterancestors("table"), None) is None and style[t]["seen"]]
    return {"outside": _text(tree, style, without="table"),
            "tables": [t for t in tables if t["cells"]]}


INLINE = {"a", "b", "i", "em", "strong", "sub", "sup", "span", "u", "s", "code", "small", "font"}


def _text(node, style, without=None):
    """The visible text in a node, white space collapsed."""
    def walk(element):
        if element.tag == without or not style.get(element, {}).get("seen"):
            return ""       # comments have no style
        parts = [element.text or ""]
        for child in element:
            gap = "" if child.tag in INLINE else " "
            parts += [gap, walk(child), gap, child.tail or ""]
        return "".join(parts)
    return " ".join(walk(node).split())


def _cascade(tree):
    """Element -> the few computed styles a scene needs: alignment, weight, colours, visibility.

    Rules in CSS order: our base style sheet, HTML attributes, <style> rules by specificity,
    style="...", then what is !important. Elements inherit only what CSS lets them inherit.
    """
    matchers = {False: cssselect2.Matcher(), True: cssselect2.Matcher()}
    sheet = "".join(s.text or "" for s in tree.iter("style"))
    for rule in tinycss2.parse_stylesheet(sheet, True, True):
        if rule.type == "qualified-rule":
            with contextlib.suppress(cssselect2.SelectorError):
                for selector in cssselect2.compile_selector_list(rule.prelude):
                    for important, matcher in matchers.items():
                        matcher.add_selector(selector, _declared(rule.content, important))
    computed, root = {}, {"align": "left", "bold": False, "color": "#000000", "background": None,
                          "seen": True}
    for wrapped in cssselect2.ElementWrapper.from_html_root(tree).iter_subtree():
        node = wrapped.etree_element
        parent = computed.get(node.getparent(), root)
        own = {"font-weight": "bold"} if node.tag in ("th", "b", "strong") else {}
        own |= {"text-align": "center", "background": "#eee"} if node.tag == "th" else {}
        own |= {css: node.get(name) for css, name in (
            ("text-align", "align"), ("background", "bgcolor"), ("color", "color"))
            if node.get(name) and not (node.tag == "table" and name == "align")}
        for important, matcher in matchers.items():
            for match in matcher.match(wrapped):
                own |= match[-1]
            own |= _declared(node.get("style") or "", important)
        align = {"start": "left", "end": "right"}.get(own.get("text-align"), own.get("text-align"))
        weight = own.get("font-weight", "inherit")
        inside_table = node.tag in ("tr", "td", "th", "tbody", "thead", "tfoot")
        computed[node] = {
            "align": align if align in ("left", "center", "right") else parent["align"],
            "bold": parent["bold"] if weight == "inherit" else
            weight in ("bold", "bolder", "600", "700", "800", "900"),
            "color": _css_color(own.get("color")) or parent["color"],
            "background": _css_color(own.get("background")) or
            (parent["background"] if inside_table else None),
            "seen": parent["seen"] and node.tag not in ("head", "script", "style", "template")
            and own.get("display") != "none" and node.get("hidden") is None
            and own.get("visibility") not in ("hidden", "collapse")}
    return computed


def _declared(content, important):
    return {d.lower_name.replace("background-color", "background"):
            tinycss2.serialize(d.value).strip().lower()
            for d in tinycss2.parse_declaration_list(content, True, True)
            if d.type == "declaration" and d.important == important}


def _css_color(value):
    """The first colour in a CSS value ("red", "#eee url(x)") as "#rrggbb", else None."""
    words = [value, *value.split()] if value else []
    colors = map(tinycss2.color3.parse_color, words)
    return next((rgb_hex(c) for c in colors if isinstance(c, tuple)), None)


def _grid(table, style):
    """HTML's table algorithm: the slot of every cell, then rows and columns nobody starts in go.

    A column that no cell begins in has no width, so it cannot be seen: `colspan=5` alone in its
    row is one column. `rowspan=0` and spans that are too long end with the row group.
    """
    def group(row):
        return ("thead", "tbody", "tfoot").index(row.getparent().tag) if row.getparent().tag in (
            "thead", "tfoot") else 1
    rows = sorted((r for r in table.iter("tr") if next(r.iterancestors("table")) is table
                   and style[r]["seen"]), key=group)
    taken, cells, budget = set(), [], 200_000
    for y, row in enumerate(rows):
        x, rest = 0, sum(r.getparent() is row.getparent() for r in rows[y:])
        for cell in row.iterchildren("td", "th"):
            while (y, x) in taken:
                x += 1
            wide, high = min(_span(cell, "colspan") or 1, 1000), _span(cell, "rowspan") or rest
            high = min(high, rest)
            budget -= wide * high
            if budget < 0:
                raise RenderError("too_large", "the table has more than 200,000 slots")
            taken.update((y + j, x + i) for j in range(high) for i in range(wide))
            cells.append((y, x, high, wide, cell))
            x += wide
    tops, lefts = (sorted({c[i] for c in cells}) for i in (0, 1))
    return {"rows": len(tops), "cols": len(lefts),
            "caption": next((_text(c, style) for c in table.iterchildren("caption")), ""),
            "cells": [_cell(style, cell) | {
                "row": bisect.bisect_left(tops, y), "col": bisect.bisect_left(lefts, x),
                "rowspan": bisect.bisect_left(tops, y + high) - bisect.bisect_left(tops, y),
                "colspan": bisect.bisect_left(lefts, x + wide) - bisect.bisect_left(lefts, x)}
                for y, x, high, wide, cell in cells]}


def _cell(style, cell):
    look, text = style[cell], _text(cell, style)
    holders = [k for k in cell.iterdescendants() if k in style and (k.text or "").strip()]
    loose = [cell.text, *(k.tail for k in cell)]        # text in no inner element
    bold = look["bold"] or bool(holders) and not any((t or "").strip() for t in loose) and all(
        style[k]["bold"] for k in holders)
    entry = {"text": text, "header": cell.tag == "th", "bold": bold,
             **{key: look[key] for key in ("align", "color", "background")}}
    nested = next(cell.iterdescendants("table"), None) is not None
    return entry | {"nested": True} if nested else entry


def _span(cell, name):
    """A span attribute as browsers read it: leading digits, at most 65534, else 1."""
    digits = re.match(r"\s*\+?(\d{1,9})", cell.get(name) or "")
    return min(int(digits[1]), 65534) if digits else 1
