"""Tables: what is read from their paint, and what compare says of it. Tables of input and expected
output."""

import functools
import json
import os
import random

import lxml.html
import pytest

from data.compare import compare, fidelity
from data.compare.table_groups import border_difference
from data.renderers import draw
from data.renderers.scene import RenderError
from data.renderers.table import is_html, markdown_tables, markdown_to_html, table_grid

with open(os.path.join(os.path.dirname(__file__), "field_table.jsonl"), encoding="utf-8") as file:
    FIELD = [json.loads(line) for line in file]
CELL = "<table><tr><th>Name</th><th>Value</th></tr><tr><td{}>{}</td><td>12</td></tr></table>"


@functools.lru_cache(512)
def scene(code):
    return draw("table", code)[1]


def errors(a, b):
    found = compare(scene(a), scene(b))
    assert (fidelity(scene(a), scene(b)) == 100) == (not found)
    return [
        f"{error.category.split('_')[0]}: {error.location}: {error.description}" for error in found
    ]


def first(code, row=1, col=0):
    return next(c for c in scene(code)["tables"][0]["cells"] if (c["row"], c["col"]) == (row, col))


# --- 1. cases from the field ---
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case["id"],
            marks=[pytest.mark.xfail(strict=True, reason=case.get("fails", ""))]
            * ("fails" in case),
        )
        for case in FIELD
    ],
)
def test_field(case):
    expected = case["expected"]
    if isinstance(expected, list):
        assert errors(case["a"], case["b"]) == expected
    elif expected == "no error":
        assert errors(case["a"], case["b"]) == []
    else:
        from data.metrics import teds
        value = teds(case["a"], case["b"])
        assert value < 0.5 if expected == "teds below 0.5" else value == 1


# --- 2. Markdown ---
MARKDOWN = [  # Markdown, HTML of the same table
    ("|a|b|\n|-|-|\n|`x`|2|", "<code>x</code>"),
    ("|a|b|\n|-|-|\n|**x**|2|", "<b>x</b>"),
    ("|a|b|\n|-|-|\n|*x*|2|", "<i>x</i>"),
    ("|a|b|\n|-|-|\n|~~x~~|2|", "<s>x</s>"),
    ("|a|b|\n|-|-|\n|x\\|y|2|", "x|y"),
    ("|a|b|\n|-|-|\n|x\\*y|2|", "x*y"),
    ("|a|b|\n|-|-|\n|&alpha;&lt;|2|", "α&lt;"),
    ("a|b\n-|-\nx|2", "x"),
    ("|a|b|\n|-|-|\n|x<br/>y|2|", "x<br>y"),
    ("|a|b|\n|-|-|\n|x<sub>1</sub>|2|", "x<sub>1</sub>"),
    ("|a|b|\n|-|-|\n|[x](y)|2|", "<a href='y'>x</a>"),
    ("|a|b|\n|-|-|\n|a_b_c|2|", "a_b_c"),
    ("|a|b|\n|-|-|\n|`\\|`|2|", "<code>|</code>"),
    ("|a|b|\n|-|-|\n|`<table>`|2|", "<code>&lt;table&gt;</code>"),
]


@pytest.mark.parametrize("markdown,cell", MARKDOWN)
def test_markdown_draws_what_html_draws(markdown, cell):
    html = f"<table><tr><th>a</th><th>b</th></tr><tr><td>{cell}</td><td>2</td></tr></table>"
    assert not is_html(markdown) and errors(html, markdown) == []
    assert draw("table", markdown)[0].tobytes() == draw("table", html)[0].tobytes()


def test_markdown_tables_are_found_where_they_stand():
    text = "# T\n\n| a | b |\n| :-- | --: |\n| `x` | 1\\|2 |\n\nEnd\n\nc | d\n-|-\n"
    assert markdown_tables(text) == [(2, 5, ["left", "right"], [["a", "b"], ["`x`", "1|2"]]),
                                     (8, 10, ["", ""], [["c", "d"]])]
    assert "<h1>T</h1>" in markdown_to_html(text) and "thead" not in markdown_to_html(text)


# --- 3. the grid ---
GRIDS = [  # rows of a table, (row, column, rowspan, colspan) of its cells
    ("<tr><td>a<td>b<tr><td>c<td>d", [(0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 1, 1)]),
    ("<tr><td rowspan=2>a<td>b<tr><td>c", [(0, 0, 2, 1), (0, 1, 1, 1), (1, 1, 1, 1)]),
    (
        "<tr><td rowspan=0>a<td>b<tr><td>c<tr><td>d",
        [(0, 0, 3, 1), (0, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1)],
    ),
    (
        "<tr><td colspan='2x'>a<td colspan=-1>b<tr><td colspan=oops>c",
        [(0, 0, 1, 2), (0, 2, 1, 1), (1, 0, 1, 1)],
    ),
    (
        "<tfoot><tr><td>f</tfoot><tbody><tr><td>b</tbody><thead><tr><td>h</thead>",
        [(0, 0, 1, 1), (1, 0, 1, 1), (2, 0, 1, 1)],
    ),
    ("<tbody><tr><td rowspan=9>a</tbody><tbody><tr><td>b</tbody>", [(0, 0, 1, 1), (1, 0, 1, 1)]),
]


@pytest.mark.parametrize("rows,expected", GRIDS)
def test_grid(rows, expected):
    table = lxml.html.fromstring(f"<table>{rows}</table>")
    assert [cell[:4] for cell in table_grid(table)] == expected


def test_scene_has_the_grid_of_the_document():
    rng = random.Random(3)
    for _ in range(20):
        rows = []  # the first cell of each spans one row: no row is flat
        for _ in range(rng.randint(2, 5)):
            spans = [1, *(rng.choice((1, 1, 2)) for _ in range(rng.randint(1, 3)))]
            rows.append(
                "<tr>" + "".join(f"<td rowspan={high}>w{rng.randint(1, 9)}" for high in spans)
            )
        code = f"<table>{''.join(rows)}</table>"
        grid = table_grid(lxml.html.fromstring(code))
        tops, lefts = (sorted({cell[k] for cell in grid}) for k in (0, 1))
        drawn = [(c["row"], c["col"]) for c in scene(code)["tables"][0]["cells"]]
        assert drawn == sorted((tops.index(row), lefts.index(column)) for row, column, *_ in grid)


# --- 4. what can be seen ---
SEEN = [  # style of a cell or its content, (key, value) of the scene's cell
    ("", "alpha", {"text": "alpha", "align": "left", "bold": False, "color": "#000000"}),
    (" style='text-transform:uppercase'", "alpha", {"text": "ALPHA"}),
    (" style='visibility:hidden'", "alpha", {"text": ""}),
    (" style='opacity:0'", "alpha", {"text": ""}),
    (" style='color:white'", "alpha", {"text": ""}),
    (" style='font-size:0'", "alpha", {"text": ""}),
    ("", "al<span style='display:none'>pha</span>", {"text": "al"}),
    ("", "al<span style='position:absolute;left:-999px'>pha</span>", {"text": "al"}),
    ("", "x<br>y", {"text": "x y", "lines": 2, "breaks": [1]}),
    ("", "<p>x</p><p>y</p>", {"breaks": [1]}),
    (" style='color:#f00;opacity:.5'", "alpha", {"color": "#ff8080"}),
    (" style='font-weight:650'", "alpha", {"bold": True}),
    (" bgcolor=yellow", "alpha", {"background": "#ffff00"}),
    (" style='background:white'", "alpha", {"background": None}),
    (" style='padding:0 9px'", "alpha", {"pad": [9.5, 9.5]}),
    ("", "a<ul><li>b</ul>", {"text": "a • b"}),
    ("", "a&nbsp;ﬁn", {"text": "a fin"}),
    ("", "<table><tr><td>in</table>", {"text": "in", "nested": True}),
]


@pytest.mark.parametrize("style,content,expected", SEEN)
def test_only_what_can_be_seen_is_in_the_scene(style, content, expected):
    cell = first(CELL.format(style, content))
    assert {key: cell[key] for key in expected} == expected


STYLES = [  # content, (key, value) of the style of its first letters
    ("<u>x</u>", "lines", "underline"),
    ("<s>x</s>", "lines", "line-through"),
    ("<i>x</i>", "italic", True),
    ("<code>x</code>", "family", "SansMono"),
    ("<span style='font-family:serif'>x</span>", "family", "Serif"),
    ("<mark>x</mark>", "back", "#ffff00"),
    ("<span style='font-size:22px'>x</span>", "size", 22.0),
    ("<font color=red>x</font>", "color", "#ff0000"),
    ("<sup>x</sup>10", "shift", "sup"),
    ("<sub>x</sub>10", "shift", "sub"),
]


@pytest.mark.parametrize("content,key,value", STYLES)
def test_letters_have_the_style_they_were_drawn_in(content, key, value):
    code = CELL.format("", content)
    cell = first(code)
    number = cell["style"] if "style" in cell else cell["runs"][0]["style"]
    assert scene(code)["styles"][number][key] == value


BORDERS = [  # style of the second row's first cell, its sides: top, right, bottom, left
    ("", ["solid 1 #000000"] * 4),
    ("border:none", ["solid 1 #000000"] * 2 + [None] * 2),
    ("border:3px solid red", ["solid 3 #ff0000"] * 4),
    ("border:2px dashed blue", ["dashed 2 #0000ff"] * 4),
    (
        "border-bottom:4px double green",
        ["solid 1 #000000"] * 2 + ["double 4 #008000", "solid 1 #000000"],
    ),
]


@pytest.mark.parametrize("style,expected", BORDERS)
def test_borders(style, expected):
    code = CELL.format(f" style='{style}'", "alpha")
    assert scene(code)["edges"][first(code)["edges"]] == expected


def test_the_page_wins_over_the_base_sheet():
    """Without weight: a rule of an element, and the attributes that the sheet spares."""
    for style, key, value in (
        ("th{text-align:left}", "align", "left"),
        ("th{background:lime}", "background", "#00ff00"),
        ("th{font-weight:normal}", "bold", False),
        ("td,th{padding:9px}", "pad", [9.5, 9.5]),
    ):
        assert first(f"<style>{style}</style>" + CELL.format("", "alphabet"), 0)[key] == value
    assert first(CELL.format(" height=60", "a"))["box"][3] >= 60
    assert first(CELL.format(" valign=top height=60", "a"))["valign"] == "top"
    assert first(CELL.replace("<table>", "<table cellpadding=9>").format("", "a"))["pad"] == [
        9.5,
        9.5,
    ]


# --- 5. what is said ---
PAIRS = [  # style and content as they should be, as they are, errors
    (("", "alphabetical"), (" style='font-size:10px'", "alphabetical"), []),
    (("", "alpha"), (" style='font-size:10.5px'", "alpha"), []),
    (("", "alpha"), (" style='padding:3px 6px'", "alpha"), []),
    (("", "alpha"), (" style='border-width:2px'", "alpha"), []),
    (("", "alpha"), (" style='color:#0a0a0a'", "alpha"), []),
    (
        ("", "alpha beta"),
        ("", "alpha <i>beta</i>"),
        ["layout: row 2, column 1: 'beta' italic, should be not italic"],
    ),
    (
        ("", "alpha"),
        (" style='color:red;font-style:italic'", "alpha"),
        [
            "layout: row 2, column 1: text red, should be text black",
            "layout: row 2, column 1: italic, should be not italic",
        ],
    ),
    (("", "5"), ("", "$5"), ["numeric: row 2, column 1: reads '$5', should be '5'"]),
    (
        ("", "$5 to $9"),
        ("", "5 to 9"),
        ["numeric: row 2, column 1: reads '5 to 9', should be '$5 to $9'"],
    ),
    (
        ("", "x<sup>a</sup>"),
        ("", "x<sub>a</sub>"),
        ["text: row 2, column 1: reads 'x_a', should be 'x^a'"],
    ),
    (
        ("", "a<table><tr><td>b</table>"),
        ("", "a<table><tr><td>c</table>"),
        ["text: row 2, column 1, table inside: row 1, column 1: reads 'c', should be 'b'"],
    ),
    (("", "alpha"), (" style='letter-spacing:2px'", "alpha"), None),
    (("", "alpha"), ("", "alpha<hr>"), None),
    (
        ("", "alpha"),
        (" style='visibility:hidden'", "alpha"),
        ["text: row 2, column 1: empty, should be 'alpha'"],
    ),
]


@pytest.mark.parametrize("true,pred,expected", PAIRS)
def test_cells_are_compared_as_drawn(true, pred, expected):
    found = errors(CELL.format(*true), CELL.format(*pred))
    assert found == expected if expected is not None else len(found) == 1


IMAGE = (
    "<img width=20 height=20 src='data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='>"
)
ONE, TWO = "<table><tr><td>one</td></tr></table>", "<table><tr><td>two</td><td>2</td></tr></table>"
PAGES = [  # as it should be, as it is, errors
    (ONE + TWO, TWO + ONE, ["layout: table 1: swapped with table 2"]),
    (ONE + TWO, TWO, ["layout: page: tables 1, should be 2"]),
    (
        "<p>note</p>" + ONE,
        ONE + "<p>note</p>",
        ["layout: text outside: line 1 below 1 table, should be below 0"],
    ),
    (
        "<p>note</p>" + ONE,
        "<p>nose</p>" + ONE,
        ["text: text outside: reads 'nose', should be 'note'"],
    ),
    (
        "<p>a note</p>" + ONE,
        "<p>a <b>note</b></p>" + ONE,
        ["layout: text outside: 'note' bold, should be not bold"],
    ),
    (
        f"<table><tr><td>{IMAGE}</table>",
        "<table><tr><td></table>",
        ["layout: row 1, column 1: image missing"],
    ),
    (
        "<div style='background:#9cf;padding:9px'>" + ONE + "</div>",
        "<div style='padding:9px'>" + ONE + "</div>",
        ["layout: outside: painted ground missing"],
    ),
    (
        ONE.replace("<tr>", "<caption>c</caption><tr>"),
        ONE.replace("<tr>", "<caption style='background:red'>c</caption><tr>"),
        ["layout: caption: red, should be none"],
    ),
    (
        "<table><tr><td>a<div style='background:red;width:90px;height:30px'>x</div></table>",
        "<table><tr><td>a<div style='width:90px;height:30px'>x</div></table>",
        ["layout: row 1, column 1: painted area missing"],
    ),
    ("<p>x</p>" + ONE, "<p>x</p><hr>" + ONE, ["layout: outside: line extra"]),
    (ONE, "<style>body{background:#9cf}</style>" + ONE, None),
    ("<p style='margin-top:9px'>x</p>" + ONE, "<p>x</p>" + ONE, []),
]


@pytest.mark.parametrize("true,pred,expected", PAGES)
def test_pages_are_compared_as_drawn(true, pred, expected):
    found = errors(true, pred)
    assert found == expected if expected is not None else len(found) >= 1


def test_border_differences():
    for found, expected, told in [
        ("solid 1 #000000", "solid 2 #000000", ""),
        ("solid 1 #000000", "solid 1 #222222", ""),
        ("dashed 1 #000000", "solid 1 #000000", "dashed, should be solid"),
        (None, "solid 1 #000000", "missing"),
        ("solid 1 #000000", None, "extra"),
        ("solid 4 #ff0000", "solid 1 #000000", "4 px red, should be 1 px black"),
    ]:
        assert border_difference(found, expected) == told


def test_hostile_pages_end_with_a_picture_or_a_reason():
    rng = random.Random(5)
    tags = [
        "<table>",
        "</table>",
        "<tr>",
        "<td>",
        "</td>",
        "<th rowspan=3>",
        "<td colspan=0>",
        "x",
        "&lt;",
        "<p>",
        "<ul><li>",
        "<style>td{float:left}",
        "</style>",
        "<td style='display:block'>",
        "<caption>c",
        "<tfoot>",
        "<svg><rect/></svg>",
        "<td style='position:absolute'>",
        '<td style="transform:rotate(9deg)">y',
        "<b>",
        "\u05d0\u05d1",
        "<col span=2>",
        "<input>",
        "<td style='}{;:'>",
        "<!--",
        "-->",
        "<td hidden>",
        "<br>",
        "\u4e2d",
        "<td style='width:0'>long word",
    ]
    scenes = []
    for _ in range(60):
        code = "<table>" + "".join(rng.choice(tags) for _ in range(rng.randint(3, 25)))
        try:
            scenes.append(scene(code))
        except RenderError as error:
            assert error.kind in ("blank", "too_large", "forbidden"), (error, code)
    assert len(scenes) > 30
    for a, b in zip(scenes, scenes[1:]):
        assert compare(a, a) == [] and isinstance(compare(a, b), list)
