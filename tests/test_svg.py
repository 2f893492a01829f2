"""SVG: what is drawn right, what is refused, and what of a picture its scene holds."""

import json
import time

import numpy as np
import pytest

from data.compare import compare, fidelity
from data.renderers import draw
from data.renderers.scene import RenderError, scene_fault

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="0 0 100 100">{}</svg>'
)
BOX = '<rect x="20" y="20" width="60" height="60" {}/>'
STOPS = '<stop offset="0" stop-color="red"/><stop offset="1" stop-color="blue"/>'
TILE = '<pattern id="p" width="20" height="20" patternUnits="userSpaceOnUse">{}</pattern>'
SQUARE = '<rect width="10" height="10" fill="red"/>'

# Two programs of one picture: how it is meant, and in a way that CairoSVG alone gets wrong.
SAME = {
    "hsl": (BOX.format('fill="#00ff00"'), BOX.format('fill="hsl(120, 100%, 50%)"')),
    "hsl without commas": (BOX.format('fill="#00ff00"'), BOX.format('fill="hsl(120 100% 50%)"')),
    "#rgba": (BOX.format('fill="#f00" fill-opacity=".4"'), BOX.format('fill="#f006"')),
    "#rrggbbaa": (BOX.format('fill="#f00" fill-opacity=".4"'), BOX.format('fill="#ff000066"')),
    "rgb with spaces": (BOX.format('fill="#f00"'), BOX.format('fill="rgb(255 0 0)"')),
    "rgb with an opacity": (
        BOX.format('fill="#f00" opacity=".5"'),
        BOX.format('fill="rgb(100% 0% 0% / 50%)"'),
    ),
    "colour of a style sheet": (
        BOX.format('fill="#00ff00"'),
        "<style>rect{fill:hsl(120 100% 50%)}</style>" + BOX.format(""),
    ),
    "fallback of a variable": (BOX.format('fill="#f00"'), BOX.format('fill="var(--c, #f00)"')),
    "variable": (
        BOX.format('fill="#f00"'),
        "<style>:root{--c: red}</style>" + BOX.format('fill="var(--c)"'),
    ),
    "fallback of a gradient": (BOX.format('fill="red"'), BOX.format('fill="url(#gone) red"')),
    "opacity in percent": (BOX.format('opacity=".5"'), BOX.format('opacity="50%"')),
    "opacity over fill and stroke": (
        '<g opacity=".5">' + BOX.format('fill="red" stroke="blue" stroke-width="9"') + "</g>",
        BOX.format('fill="red" stroke="blue" stroke-width="9" opacity=".5"'),
    ),
    "opacity of use": (
        '<g opacity=".5">' + BOX.format("") + "</g>",
        "<defs>" + BOX.format('id="b"') + '</defs><use href="#b" opacity=".5"/>',
    ),
    "mask by light": (
        '<rect width="100" height="100" fill="blue"/><rect x="35" y="35" width="30" height="30" '
        'fill="red"/>',
        '<rect width="100" height="100" fill="red"/><mask id="m">'
        '<rect width="100" height="100" fill="#fff"/><rect x="35" y="35" width="30" height="30"/>'
        '</mask><rect width="100" height="100" fill="blue" mask="url(#m)"/>',
    ),
    "clip path by its box": (
        '<circle cx="50" cy="50" r="30" fill="red"/>',
        '<clipPath id="c" clipPathUnits="objectBoundingBox"><circle cx=".5" cy=".5" r=".5"/>'
        "</clipPath>" + BOX.format('fill="red" clip-path="url(#c)"'),
    ),
    "clip rule": (
        '<path d="M20 20h60v60h-60zM40 40v20h20v-20z" fill="red"/>',
        '<clipPath id="c"><path clip-rule="evenodd" d="M0 0h100v100h-100zM40 40h20v20h-20z"/>'
        "</clipPath>" + BOX.format('fill="red" clip-path="url(#c)"'),
    ),
    "pattern": (
        "".join(
            f'<rect x="{x}" y="{y}" width="10" height="10" fill="red"/>'
            for x in (20, 40, 60)
            for y in (20, 40, 60)
        ),
        TILE.format(SQUARE) + BOX.format('fill="url(#p)"'),
    ),
    "pattern used twice, half seen through": (
        '<g opacity=".5">'
        + "".join(
            f'<rect x="{x}" y="{y}" width="10" height="10" fill="red"/>'
            for x in (0, 20, 60, 80)
            for y in (0, 20)
        )
        + "</g>",
        TILE.format(SQUARE)
        + "".join(
            f'<rect x="{x}" width="40" height="40" fill="url(#p)" fill-opacity=".5"/>'
            for x in (0, 60)
        ),
    ),
    "stroke below the fill": (
        BOX.format('stroke="red" stroke-width="20"') + BOX.format('fill="lime"'),
        BOX.format('fill="lime" stroke="red" stroke-width="20" paint-order="stroke"'),
    ),
    "stroke that is not scaled": (
        BOX.format('fill="none" stroke="red" stroke-width="4"'),
        '<rect x="2" y="2" width="6" height="6" fill="none" stroke="red" stroke-width="4" '
        'transform="scale(10)" vector-effect="non-scaling-stroke"/>',
    ),
    "transform of a style sheet": (
        BOX.format('transform="rotate(45 50 50)"'),
        BOX.format('style="transform: rotate(0.125turn); transform-origin: center"'),
    ),
    "marker that is missing": (
        '<path d="M5 5L90 50" stroke="red"/>',
        '<path d="M5 5L90 50" stroke="red" marker-end="url(#gone)"/>',
    ),
    "marker without a viewBox": (
        '<path d="M10 50H50" stroke="red"/><rect x="50" y="49" width="2" height="2"/>',
        '<marker id="m" refY="1"><rect width="2" height="2"/></marker>'
        '<path d="M10 50H50" stroke="red" marker-end="url(#m)"/>',
    ),
    "negative side": (
        BOX.format('fill="red"'),
        BOX.format('fill="red"') + '<rect x="30" width="-20" height="20"/>',
    ),
    "child of a shape": (
        BOX.format('fill="red"'),
        '<rect x="20" y="20" width="60" height="60" fill="red"><rect width="9" height="9"/></rect>',
    ),
    "background of the root": (
        '<rect width="100" height="100" fill="gold"/>' + BOX.format(""),
        BOX.format("") + "<style>svg{background:gold}</style>",
    ),
    "font": (
        '<text y="50" font-size="20" font-weight="bold" font-family="serif">ab</text>',
        '<text y="50" style="font: bold 20px serif">ab</text>',
    ),
    "font size in em": (
        '<g><text y="50" font-size="20">ab<tspan font-size="30">c</tspan></text></g>',
        '<g font-size="10"><text y="50" font-size="2em">ab<tspan '
        'font-size="150%">c</tspan></text></g>',
    ),
}


def picture(code):
    return np.asarray(draw("svg", SVG.format(code), 200)[0]).astype(int)


@pytest.mark.parametrize("viewbox", ["0 0 10", "a b c d", ""])
def test_a_viewbox_that_is_none_is_not_there(viewbox):
    code = '<svg width="100" height="100" {}><rect width="40" height="50"/></svg>'
    pictures = [draw("svg", code.format(box), 100)[0] for box in ("", f'viewBox="{viewbox}"')]
    assert pictures[0].tobytes() == pictures[1].tobytes()


@pytest.mark.parametrize("name", SAME)
def test_drawn_right(name):
    meant, written = (picture(code) for code in SAME[name])
    assert np.abs(meant - written).max() <= 12, "a pixel differs by more than antialiasing"


REFUSED = {  # code: a word of the reason
    BOX.format('filter="url(#f)"'): "filter",
    BOX.format('style="mix-blend-mode: multiply"'): "mix-blend-mode",
    BOX.format('fill="context-fill"'): "context-fill",
    BOX.format('fill="oklch(0.7 0.1 200)"'): "oklch",
    BOX.format('style="transform: rotate3d(1, 1, 1, 45deg)"'): "rotate3d",
    BOX.format('transform-origin="1em 2em" transform="rotate(9)"'): "transform-origin",
    BOX.format('style="width: calc(100% - 9px)"'): "calc",
    "<style>.a{--c:red}.b{--c:blue}</style>" + BOX.format('fill="var(--c)"'): "several values",
    "<foreignObject><p>Hi</p></foreignObject>" + BOX.format(""): "foreignObject",
    '<text y="50" writing-mode="tb">ab</text>': "writing-mode",
    '<text y="50" textLength="80">ab</text>': "textLength",
    '<text y="50" word-spacing="9">a b</text>': "word-spacing",
    '<text y="50"><tspan baseline-shift="super">2</tspan></text>': "baseline-shift",
    '<text y="50">\u05d0\u05d1</text>': "right to left",
    '<marker id="m" orient="auto"><path d="M0 0h9"/></marker>'
    '<path d="M9 9C9 90 90 90 90 9" stroke="red" marker-mid="url(#m)"/>': "markers on curves",
    '<switch><rect systemLanguage="en" width="9" height="9"/></switch>': "systemLanguage",
    '<svg overflow="auto"><rect width="9" height="9"/></svg>': "overflow",
}


@pytest.mark.parametrize("code", REFUSED)
def test_refused(code):
    with pytest.raises(RenderError, match=REFUSED[code]) as error:
        draw("svg", SVG.format(code), 200)
    assert error.value.kind == "forbidden"


SEEN = [  # how many shapes of the picture can be seen: code, count
    (BOX.format('fill="white"') + SQUARE, 1),
    (SQUARE + BOX.format('opacity="0"'), 1),
    (BOX.format('fill="red"') + '<rect width="100" height="100" fill="blue"/>' + SQUARE, 2),
    (SQUARE + '<circle cx="150" cy="50" r="20"/>', 1),
    (
        SQUARE
        + '<clipPath id="c"><rect width="5" height="5"/></clipPath>'
        + BOX.format('clip-path="url(#c)"'),
        1,
    ),
    (
        SQUARE + "<g opacity='.5'>" + BOX.format('fill="red"') + BOX.format('fill="lime"') + "</g>",
        2,
    ),
    (BOX.format('fill="red"') + BOX.format('fill="lime" opacity=".5"'), 2),
    (SQUARE + BOX.format('fill="red"') + BOX.format('fill="red"'), 2),
    ('<text x="5" y="50" font-size="30">a<tspan fill="red">b</tspan></text>', 1),
]


@pytest.mark.parametrize("code, count", SEEN)
def test_only_what_can_be_seen_is_in_the_scene(code, count):
    shapes = draw("svg", SVG.format(code), 200)[1]["shapes"]
    assert len(shapes) == count and all(shape["seen"] > 0 for shape in shapes)


GRADIENT = f'<linearGradient id="g" x2=".5">{STOPS}</linearGradient>'
STATE = [  # code, path into the first shape, value
    (BOX.format('fill="red"'), "seen", 0.36),
    (
        GRADIENT + BOX.format('fill="url(#g)"'),
        "paints.fill.stops",
        [[0.0, "#ff0000", 1.0], [1.0, "#0000ff", 1.0]],
    ),
    (GRADIENT + BOX.format('fill="url(#g)" opacity=".3"'), "fill_opacity", 0.3),
    (
        BOX.format(
            'fill="red" stroke="blue" stroke-width="8" stroke-dasharray="4 2" stroke-dashoffset="1"'
        ),
        "style.dashes",
        [0.04, 0.02],
    ),
    (
        '<path d="M10 50H50L40 90" fill="none" stroke="red" stroke-width="4" '
        'stroke-linecap="round" '
        'stroke-linejoin="bevel"/>',
        "style",
        {"cap": "round", "join": "bevel"},
    ),
    (
        '<path d="M10 10H90V90H10ZM30 30H70V70H30Z" fill="red" fill-rule="evenodd"/>',
        "style.rule",
        "evenodd",
    ),
    (
        '<text x="50" y="50" font-size="20" font-style="italic" font-family="serif">ab</text>',
        "style.font",
        ["serif", "normal", "italic"],
    ),
    (
        '<text x="50" y="50" font-size="20" text-decoration="underline">ab</text>',
        "style.decoration",
        "underline",
    ),
    ('<text x="50" y="50" font-size="20">ab</text>', "letters.0", [0.5, 0.5]),
    (
        '<clipPath id="c"><rect x="20" y="20" width="30" height="60"/></clipPath>'
        + BOX.format('clip-path="url(#c)"'),
        "cuts.0.box",
        [0.2, 0.2, 0.5, 0.8],
    ),
    (
        '<mask id="m"><rect width="100" height="100" fill="#fff" opacity=".2"/></mask>'
        + BOX.format('mask="url(#m)"'),
        "opacity",
        pytest.approx(0.2, abs=0.01),
    ),
    (TILE.format(SQUARE) + BOX.format('fill="url(#p)"'), "paints.fill.kind", "pattern"),
]


@pytest.mark.parametrize("code, path, value", STATE)
def test_what_the_scene_holds(code, path, value):
    scene = json.loads(json.dumps(draw("svg", SVG.format(code), 200)[1]))
    assert scene_fault(scene) is None
    found = scene["shapes"][0]
    for key in path.split("."):
        found = found[int(key) if isinstance(found, list) else key]
    assert found == value


def test_long_outlines_are_thinned_by_error():
    points = " ".join(f"{k / 300:.4f},{50 + 40 * np.sin(k / 900):.5f}" for k in range(30_000))
    shape = draw("svg", SVG.format(f'<polyline points="{points}" fill="none" stroke="red"/>'), 200)[
        1
    ]["shapes"][0]
    found = np.array(shape["outline"])
    assert 64 < len(found) < 20_000
    true = 0.5 + 0.4 * np.sin(found[:, 0] * 100 / 3)
    assert np.abs(found[:, 1] - true).max() < 0.005


# ---- What compare says of whole pictures

CIRCLES = (
    '<circle cx="20" cy="20" r="9" fill="red"/><circle cx="70" cy="30" r="12" fill="blue"/>'
    '<rect x="30" y="60" width="40" height="20" fill="green" stroke="black" stroke-width="3"/>'
)
BACK = '<rect width="100" height="100" fill="#eee"/>'
WORDS = '<text x="10" y="30" font-size="14">one</text><text x="10" y="70" font-size="14">two</text>'


def whole(place, code=CIRCLES):
    return f'<g transform="{place}">{code}</g>'


ALIKE = {  # name: two programs between which nothing is to be said
    "moved by 2 %": (CIRCLES, whole("translate(2 -1.5)")),
    "moved by 2 % on a background": (BACK + CIRCLES, BACK + whole("translate(2 -1.5)")),
    "moved with its background": (BACK + CIRCLES, whole("translate(2 0)", BACK + CIRCLES)),
    "scaled by 4 %": (CIRCLES, whole("translate(2 2) scale(.96)")),
    "one shape moved by 2 %": (
        BOX.format('fill="red"'),
        whole("translate(2 0)", BOX.format('fill="red"')),
    ),
    "stroke a little wider": (CIRCLES, CIRCLES.replace('stroke-width="3"', 'stroke-width="3.3"')),
    "a rectangle in two halves": (
        BOX.format('fill="red"'),
        '<rect x="20" y="20" width="30" height="60" '
        'fill="red"/><rect x="50" y="20" width="30" height="60" fill="red"/>',
    ),
    "line as path": (
        '<line x1="10" y1="10" x2="90" y2="80" stroke="red" stroke-width="4"/>',
        '<path d="M10 10L90 80" fill="none" stroke="red" stroke-width="4"/>',
    ),
    "circle as path": (
        '<circle cx="50" cy="50" r="30" fill="red"/>',
        '<path d="M20 50a30 30 0 1 0 60 0a30 30 0 1 0 -60 0z" fill="red"/>',
    ),
    "a stop on the way": (
        GRADIENT + BOX.format('fill="url(#g)"'),
        GRADIENT.replace(STOPS, STOPS.replace("/><", '/><stop offset=".5" stop-color="#800080"/><'))
        + BOX.format('fill="url(#g)"'),
    ),
    "two names of one font": (WORDS, WORDS.replace("<text", '<text font-family="Arial"')),
    "joins of a smooth line": (
        '<circle cx="50" cy="50" r="30" fill="none" stroke="red"/>',
        '<circle cx="50" cy="50" r="30" fill="none" stroke="red" stroke-linejoin="bevel"/>',
    ),
}
SAID = {  # name: two programs and all that is said: (category, severity, location, description)
    "moved by 10 %": (
        CIRCLES,
        whole("translate(10 0)"),
        ("shape_error", 2, "drawing", "moved right by 10%"),
    ),
    "scaled by 30 %": (
        CIRCLES,
        whole("translate(15 15) scale(.7)"),
        ("shape_error", 2, "drawing", "size 70%, should be 100%"),
    ),
    "colours swapped": (
        CIRCLES,
        CIRCLES.replace("red", "@").replace("blue", "red").replace("@", "blue"),
        ("style_error", 2, "circle top left", "fill swapped with circle top right"),
    ),
    "texts swapped": (
        WORDS,
        WORDS.replace("one", "@").replace("two", "one").replace("@", "two"),
        ("shape_error", 2, "text top left", "swapped with text left"),
    ),
    "all in another colour": (
        whole("scale(1)", BOX.format("") + SQUARE.replace(' fill="red"', "")),
        '<g fill="gold">' + BOX.format("") + SQUARE.replace(' fill="red"', "") + "</g>",
        ("style_error", 2, "all shapes", "fill yellow, should be black"),
    ),
    "another canvas": (
        CIRCLES,
        None,
        ("structure_error", 2, "canvas", "width to height 2, should be 1"),
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_within_the_thresholds_nothing_is_said(name):
    one, other = (draw("svg", SVG.format(code), 300)[1] for code in ALIKE[name])
    for a, b in ((one, other), (other, one)):
        assert compare(a, b) == [] and fidelity(a, b) == 100


@pytest.mark.parametrize("name", SAID)
def test_one_cause_is_one_error(name):
    one, other, said = SAID[name]
    second = (
        SVG.format(CIRCLES).replace("<svg", '<svg width="200" height="100"')
        if other is None
        else SVG.format(other)
    )
    errors = compare(draw("svg", SVG.format(one), 300)[1], draw("svg", second, 300)[1])
    assert [(e.category, e.severity, e.location, e.description) for e in errors] == [said]


@pytest.mark.parametrize("name", ["circles", "texts", "a line"])
def test_many_marks_are_compared_in_a_second(name):
    def code(seed):
        rng = np.random.default_rng(seed)
        places = rng.uniform(0, 100, (3000, 2)).round(2)
        if name == "a line":
            points = " ".join(f"{x},{y}" for x, y in places)
            return SVG.format(
                f'<polyline points="{points}" fill="none" stroke="red" stroke-width=".1"/>'
            )
        mark = (
            '<circle cx="{}" cy="{}" r=".7" fill="#{:06x}"/>'
            if name == "circles"
            else '<text x="{}" y="{}" font-size="2" fill="#{:06x}">a</text>'
        )
        return SVG.format(
            "".join(
                mark.format(x, y, int(c))
                for (x, y), c in zip(
                    places[: 3000 if name == "circles" else 600], rng.integers(0, 1 << 24, 3000)
                )
            )
        )

    a, b = (draw("svg", code(seed), 300)[1] for seed in (1, 2))
    start = time.process_time()
    assert compare(a, b) and fidelity(a, b) < 90
    assert time.process_time() - start < 2, "two comparisons of one second each"
