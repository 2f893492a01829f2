"""Ways to change any table: what coverage_table counts. None of them is an edit of data/edit.

Each takes (tree, rng) and changes the tree, or returns False where it does not apply.
"""
import random
import re
from collections.abc import Callable

from lxml import etree

from data.renderers.table import table_grid

COLORS = ("red", "#1f77b4", "green", "orange", "#888")
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4" \
    "2mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
GROUNDS = ("yellow", "#cde", "#fdd", "lightgreen", "#333")


def cells_of(tree: etree._Element, text: bool = False) -> list[etree._Element]:
    cells = [cell for cell in tree.iter("td", "th") if not text or "".join(cell.itertext()).strip()]
    return cells


def styled(declaration: str | Callable[[random.Random], str], tags: tuple[str, ...] = ("td", "th"),
           text: bool = False) -> Callable[..., bool]:
    """A change that sets a style on one element of the given tags."""
    def change(tree, rng):
        chosen = [e for e in tree.iter(*tags) if not text or "".join(e.itertext()).strip()]
        if not chosen:
            return False
        element = rng.choice(chosen)
        made = declaration(rng) if callable(declaration) else declaration
        element.set("style", f"{(element.get('style') or '').rstrip(' ;')};{made}".lstrip(";"))
        return True
    return change


def attribute(tags: tuple[str, ...], name: str, values: tuple[str, ...]) -> Callable[..., bool]:
    def change(tree, rng):
        chosen = list(tree.iter(*tags))
        if not chosen:
            return False
        rng.choice(chosen).set(name, rng.choice(values))
        return True
    return change


def ruled(rule: str) -> Callable[..., bool]:
    """A change that adds a rule of a style sheet."""
    def change(tree, rng):
        sheet = etree.Element("style")
        sheet.text = rule
        tree.find("body").insert(0, sheet)
        return True
    return change


def _text(edit):
    """A change of the text of one element in a cell."""
    def change(tree, rng):
        spots = []
        for cell in cells_of(tree):
            for element in cell.iter():
                if isinstance(element.tag, str) and element.tag not in ("style", "script"):
                    spots += [(element, "text")] if (element.text or "").strip() else []
                    spots += (
                        [(element, "tail")]
                        if element is not cell and (element.tail or "").strip()
                        else []
                    )
        rng.shuffle(spots)
        for element, name in spots:
            new = edit(getattr(element, name), rng)
            if new is not None and new != getattr(element, name):
                setattr(element, name, new)
                return True
        return False
    return change


def _digit(text, rng):
    spots = [m.start() for m in re.finditer(r"\d", text)]
    if not spots:
        return None
    k = rng.choice(spots)
    return text[:k] + rng.choice([d for d in "0123456789" if d != text[k]]) + text[k + 1:]


def _word(text, rng):
    words = re.findall(r"[^\W\d_]{3,}", text)
    return (
        text.replace(rng.choice(words), rng.choice(("maple", "Quartz", "rivers")), 1)
        if words
        else None
    )


def _case(text, rng):
    return text.swapcase() if re.search(r"[^\W\d_]", text) else None


def _wrapped(tag, **attributes):
    """A change that puts a word of a cell into an element."""
    def change(tree, rng):
        cells = [cell for cell in cells_of(tree) if (cell.text or "").strip()]
        if not cells:
            return False
        cell = rng.choice(cells)
        word = rng.choice(list(re.finditer(r"\S+", cell.text)))
        inner = etree.Element(tag, **attributes)
        inner.text, inner.tail = word[0], cell.text[word.end():]
        cell.text = cell.text[:word.start()]
        cell.insert(0, inner)
        return True
    return change


def _break(tree, rng):
    cells = [cell for cell in cells_of(tree) if len((cell.text or "").split()) > 1]
    if not cells:
        return False
    cell = rng.choice(cells)
    words = cell.text.split()
    k = rng.randrange(1, len(words))
    line = etree.Element("br")
    cell.text, line.tail = " ".join(words[:k]), " ".join(words[k:])
    cell.insert(0, line)
    return True


def _cut(element):
    before, parent = element.getprevious(), element.getparent()
    if element.tail and before is not None:
        before.tail = (before.tail or "") + element.tail
    elif element.tail:
        parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def _remove(*tags, keep=1):
    def change(tree, rng):
        found = list(tree.iter(*tags))
        if len(found) <= keep:
            return False
        _cut(rng.choice(found))
        return True
    return change


def _copy_row(tree, rng):
    rows = list(tree.iter("tr"))
    if not rows:
        return False
    row = rng.choice(rows)
    row.addnext(etree.fromstring(etree.tostring(row, with_tail=False)))
    return True


def _swap_rows(tree, rng):
    rows = [row for row in tree.iter("tr") if not any(c.get("rowspan") for c in row)]
    if len(rows) < 2:
        return False
    a, b = rng.sample(rows, 2)
    if a in b.iterancestors() or b in a.iterancestors():
        return False
    mark = etree.Element("tr")
    a.addprevious(mark)
    b.addprevious(a)
    mark.addprevious(b)
    mark.getparent().remove(mark)
    return True


def _swap_cells(tree, rng):
    cells = [cell for cell in cells_of(tree) if not len(cell)]
    if len(cells) < 2:
        return False
    a, b = rng.sample(cells, 2)
    a.text, b.text = b.text, a.text
    return True


def _column(edit):
    def change(tree, rng):
        tables = list(tree.iter("table"))
        grid = table_grid(rng.choice(tables)) if tables else []
        columns = sorted({column for _, column, _, wide, _ in grid if wide == 1})
        if len(columns) < 2:
            return False
        edit(
            [
                [c for _, column, _, wide, c in grid if column == k and wide == 1]
                for k in rng.sample(columns, 2)
            ]
        )
        return True
    return change


def _remove_column(columns):
    for cell in columns[0]:
        _cut(cell)


def _paint_column(columns):
    for cell in columns[0]:
        cell.set("style", (cell.get("style") or "") + ";background:#fc9")


def _span(name):
    def change(tree, rng):
        cells = cells_of(tree)
        if not cells:
            return False
        cell = rng.choice(cells)
        if cell.get(name):
            del cell.attrib[name]
        else:
            cell.set(name, "2")
        return True
    return change


def _retag(tree, rng):
    cells = cells_of(tree, text=True)
    if not cells:
        return False
    cell = rng.choice(cells)
    cell.tag = "th" if cell.tag == "td" else "td"
    return True


def _add_outside(place):
    def change(tree, rng):
        paragraph = etree.Element("p")
        paragraph.text = "Source: own survey"
        body = tree.find("body")
        body.insert(0 if place == "above" else len(body), paragraph)
        return True
    return change


def _caption(tree, rng):
    table = next(tree.iter("table"))
    if table.find("caption") is not None:
        table.find("caption").text = "Another caption"
    else:
        caption = etree.Element("caption")
        caption.text = "Overview"
        table.insert(0, caption)
    return True


def _image(tree, rng):
    cells = cells_of(tree)
    if not cells:
        return False
    rng.choice(cells).append(etree.Element("img", src=PIXEL, width="30", height="20"))
    return True


def _list(tree, rng):
    cells = [cell for cell in cells_of(tree) if (cell.text or "").strip() and not len(cell)]
    if not cells:
        return False
    cell = rng.choice(cells)
    items = etree.SubElement(cell, "ul")
    for word in cell.text.split():
        etree.SubElement(items, "li").text = word
    cell.text = ""
    return True


def _drop_style(tree, rng):
    styled = [e for e in tree.iter() if isinstance(e.tag, str) and e.get("style")]
    if not styled:
        return False
    element = rng.choice(styled)
    parts = [part for part in element.get("style").split(";") if part.strip()]
    if not parts:
        return False
    parts.pop(rng.randrange(len(parts)))
    element.set("style", ";".join(parts))
    return True


def _drop_rule(tree, rng):
    sheets = [sheet for sheet in tree.iter("style") if (sheet.text or "").count("}") > 0]
    if not sheets:
        return False
    sheet = rng.choice(sheets)
    rules = re.findall(r"[^{}]+\{[^{}]*\}", sheet.text)
    if not rules:
        return False
    sheet.text = sheet.text.replace(rng.choice(rules), "", 1)
    return True


def _drop_attribute(tree, rng):
    found = [
        (e, name)
        for e in tree.iter("table", "tr", "td", "th", "col", "p", "div", "span", "font")
        for name in e.attrib
        if name in ("align", "valign", "bgcolor", "color", "size", "width", "border", "class")
    ]
    if not found:
        return False
    element, name = rng.choice(found)
    del element.attrib[name]
    return True


ROW, TABLE, CELL = ("tr",), ("table",), ("td", "th")
CHANGES = {
    "digit": _text(_digit),
    "word": _text(_word),
    "letter case": _text(_case),
    "minus sign": _text(lambda text, rng: "-" + text if text.strip()[:1].isdigit() else None),
    "currency": _text(
        lambda text, rng: "$" + text if text.strip()[:1].isdigit() else text.replace("$", "")
    ),
    "text removed": _text(lambda text, rng: ""),
    "bold word": _wrapped("b"),
    "italic word": _wrapped("i"),
    "underlined word": _wrapped("u"),
    "struck word": _wrapped("s"),
    "raised word": _wrapped("sup"),
    "lowered word": _wrapped("sub"),
    "code": _wrapped("code"),
    "marked word": _wrapped("mark"),
    "small word": _wrapped("small"),
    "link": _wrapped("a", href="#x"),
    "colored word": _wrapped("span", style="color:red"),
    "large word": _wrapped("span", style="font-size:160%"),
    "line break": _break,
    "list": _list,
    "image": _image,
    "row removed": _remove("tr"),
    "row twice": _copy_row,
    "rows swapped": _swap_rows,
    "cells swapped": _swap_cells,
    "cell removed": _remove("td", "th"),
    "column removed": _column(_remove_column),
    "column painted": _column(_paint_column),
    "colspan": _span("colspan"),
    "rowspan": _span("rowspan"),
    "header": _retag,
    "caption": _caption,
    "text above": _add_outside("above"),
    "text below": _add_outside("below"),
    "text color": styled(lambda rng: "color:" + rng.choice(COLORS), text=True),
    "ground of a cell": styled(lambda rng: "background:" + rng.choice(GROUNDS)),
    "ground of a row": styled(lambda rng: "background:" + rng.choice(GROUNDS), ROW),
    "ground of a table": styled(lambda rng: "background:" + rng.choice(GROUNDS), TABLE),
    "bold": styled("font-weight:bold", text=True),
    "not bold": styled("font-weight:normal", text=True),
    "italic": styled("font-style:italic", text=True),
    "underline": styled("text-decoration:underline", text=True),
    "line through": styled("text-decoration:line-through", text=True),
    "letter size": styled(
        lambda rng: f"font-size:{rng.choice((60, 75, 130, 150, 200))}%", text=True
    ),
    "letter size of a table": styled(lambda rng: f"font-size:{rng.choice((8, 14, 18))}px", TABLE),
    "typeface": styled(
        lambda rng: f"font-family:{rng.choice(('serif', 'monospace'))}", (*TABLE, *CELL)
    ),
    "capitals": styled("text-transform:uppercase", text=True),
    "small capitals": styled("font-variant:small-caps", text=True),
    "letter spacing": styled("letter-spacing:3px", text=True),
    "opacity": styled("opacity:0.3", text=True),
    "hidden": styled("visibility:hidden", text=True),
    "not displayed": styled("display:none"),
    "white text": styled("color:white", text=True),
    "align": styled(
        lambda rng: "text-align:" + rng.choice(("left", "center", "right")), text=True
    ),
    "vertical align": styled(
        lambda rng: "vertical-align:" + rng.choice(("top", "bottom")), text=True
    ),
    "align of a row": attribute(ROW, "align", ("left", "center", "right")),
    "padding": styled(lambda rng: f"padding:{rng.choice((12, 20))}px"),
    "indent": styled("text-indent:20px", text=True),
    "no border": styled("border:none"),
    "thick border": styled("border:3px solid black"),
    "dashed border": styled("border:2px dashed black"),
    "colored border": styled("border-color:red"),
    "one border": styled("border-bottom:3px solid blue"),
    "no borders in a row": ruled("tr:last-child td{border:0}"),
    "no borders": ruled("td,th{border:none}"),
    "only rules": ruled("td,th{border-width:1px 0}"),
    "separate borders": styled("border-collapse:separate;border-spacing:6px", TABLE),
    "frame": styled("border:4px solid black", TABLE),
    "cell width": styled("width:320px"),
    "table width": styled("width:1200px", TABLE),
    "cell height": styled("height:60px"),
    "rounded": styled("border-radius:9px;border:2px solid red"),
    "right to left": attribute(TABLE, "dir", ("rtl",)),
    "bgcolor": attribute((*TABLE, *ROW, *CELL), "bgcolor", ("yellow", "#ccddff")),
    "valign": attribute(CELL, "valign", ("top", "bottom")),
    "cellpadding": attribute(TABLE, "cellpadding", ("12",)),
    "table border": attribute(TABLE, "border", ("0", "3")),
    "zebra": ruled("tr:nth-child(even){background:#cdf}"),
    "content": ruled("td:first-child::before{content:'> '}"),
    "heads painted": ruled("th{background:navy;color:white}"),
    "page ground": ruled("body{background:#def}"),
    "style removed": _drop_style,
    "rule removed": _drop_rule,
    "attribute removed": _drop_attribute,
}
