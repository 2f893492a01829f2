"""Levels 2 and 3: drawings of one or several icons, in SVG."""
import random

from data.worlds.tables import element
from data.worlds.themes import PALETTES

SHAPES = {  # letter of the notation below -> element and the attributes that its words are
    "R": "rect x y width height fill rx", "C": "circle cx cy r fill",
    "E": "ellipse cx cy rx ry fill",
    "P": "polygon points fill", "D": "path d fill", "T": "text x y font-size fill",
    "S": "path d stroke stroke-width", "L": "line x1 y1 x2 y2 stroke stroke-width"}
INKS = {"w": "white", "k": "#333333", "g": "forestgreen", "n": "saddlebrown", "y": "gold",
        "s": "skyblue", "p": "pink"}

# Icons in a box of 100 x 100, shapes from back to front. a-d are colours of a palette, other
# letters are INKS, "_" is a space, {i} and {j} a random digit, {m} one of 5-9; "12*" is repeated on
# a circle; "?" may be left out.
ICONS = {
    "House": "R 64 22 9 20 d; R 24 46 52 42 a; P 14,48_50,1{i}_86,48 b; R 44 62 13 26 c; "
             "?R 29 54 9 9 w; R 63 54 9 9 w",
    "Tree": "R 45 62 10 28 n; C 50 40 2{i} g; C 34 54 15 g; C 66 54 15 g; ?C 40 40 4 a; "
            "?C 58 52 4 a",
    "Forest": "R 45 76 10 14 n; P 50,1{i}_72,42_28,42 g; P 50,28_78,62_22,62 g; "
              "P 50,46_84,80_16,80 g",
    "Car": "D M9,78_V63_L30,60_L40,46_H64_L76,60_L90,64_V78_Z a; P 36,60_43,50_62,50_69,60 s; "
           "C 30 79 9 k; C 71 79 9 k",
    "Sun": "{m}*L 50 6 50 18 y 5; C 50 50 2{i} y",
    "Cloud": "D M28,70_A16,16_0_0_1_28,40_A20,20_0_0_1_66,34_A18,18_0_0_1_74,70_Z s; "
             "?S M38,76_V88_M54,76_V88 s 3",
    "Face": "C 50 50 38 y; C 36 42 5 k; C 64 42 5 k; S M32,62_Q50,{m}2_68,62 k 4; "
            "?S M22,56_H30_M70,56_H78 p 5",
    "Time": "C 50 50 40 a; C 50 50 34 w; 12*L 50 19 50 25 k 2; L 50 50 50 2{i} k 4; "
            "L 50 50 6{i} 5{j} b 3; C 50 50 4 k",
    "Flag": "L 22 12 22 92 k 4; R 24 14 5{i} 13 a; R 24 27 5{i} 13 w; R 24 40 5{i} 13 b; "
            "?C 40 33 9 c",
    "Data": "S M18,14_V84_H90 k 3; L 30 82 30 5{i} a 9; L 46 82 46 3{j} b 9; L 62 82 62 4{i} c 9; "
            "?L 78 82 78 2{j} d 9",
    "Mail": "R 12 26 76 50 a 6; S M14,30_L50,5{i}_L86,30 w 4; ?C 84 28 9 b",
    "Health": "D M50,84_C14,58_12,24_34,22_C44,22_50,32_50,36_"
              "C50,32_56,22_66,22_C88,24_86,58_50,84_Z a",
    "Sign": "P 36,12_64,12_88,36_88,64_64,88_36,88_12,64_12,36 a; T 50 58 22 w STOP",
    "Warning": "P 50,12_92,86_8,86 y; L 50 38 50 62 k 7; C 50 74 5 k",
    "Flower": "S M50,50_Q5{i},76_50,94 g 4; {m}*E 50 28 8 14 a; C 50 50 1{j} y",
    "Boat": "L 50 12 50 66 n 3; P 53,16_53,58_8{i},58 a; P 47,24_47,58_2{j},58 b; "
            "D M14,66_H86_L74,84_H26_Z c",
    "Lock": "S M34,46_V34_A16,16_0_0_1_66,34_V46 k 7; R 26 46 48 40 a 5; C 50 62 6 k; "
            "L 50 64 50 7{i} k 4",
    "Award": "C 50 50 40 a; P 50,18_59,38_81,41_65,56_69,78_50,68_31,78_35,56_19,41_41,38 y; "
             "?C 50 52 7 b",
    "Wireless": "S M18,44_A44,44_0_0_1_82,44 a 6; S M30,58_A28,28_0_0_1_70,58 a 6; C 50 8{i} 6 a",
    "Settings": "{m}*R 44 8 12 20 a; C 50 50 30 a; C 50 50 1{i} w",
    "Rosette": "C 50 50 46 d; 12*E 50 2{i} 5 14 a; {m}*P 50,34_56,50_50,54_44,50 b; C 50 50 8 c"}


def _icon(rng, name, colors):
    """The lines of one icon."""
    digits = {"i": rng.randrange(10), "j": rng.randrange(10), "m": rng.randint(5, 9)}
    lines = []
    inks = INKS | dict(zip("abcd", colors))
    for part in ICONS[name].split("; "):
        if part[0] == "?" and rng.random() < 0.4:
            continue
        times, _, part = part.strip("?").format(**digits).rpartition("*")
        n = int(times or 1)
        letter, *words = part.split()
        tag, *keys = SHAPES[letter].split()
        text = words[4] if letter == "T" else None
        keys = {k: inks.get(word, word.replace("_", " ")) for k, word in zip(keys, words)}
        keys |= {"S": {"fill": "none"}, "T": {"text-anchor": "middle"}}.get(letter, {})
        for k in range(n):
            turn = k and f"rotate({360 * k / n:.4g} 50 50)"
            lines.append(element(tag, text, **keys, transform=turn))
    return lines


def _landscape(rng):
    """(x, y, size, icon) of a sky, the hills (no name) and what stands on them, back to front."""
    places = [(x, rng.randint(2, 9), 0.4, rng.choice(("Sun", "Cloud")))
              for x in (9, 99, 190)[:rng.randint(1, 3)]]
    places.append((0, 0, 0, ""))  # the hills
    for x in range(rng.randint(4, 12), 230, 60):
        size = rng.choice((0.5, 0.6, 0.7))
        y = rng.randint(104, 116) - 90 * size
        places.append((x, y, size, rng.choice(("House", "Tree", "Forest", "Car"))))
    return places


def draw_svg(level: int, rng: random.Random) -> str:
    """Icons in rows, with captions and frames, or (at level 3) a landscape under a sky."""
    colors, scene = rng.sample(rng.choice(PALETTES[1:]), 6), level == 3 and rng.random() < 0.3
    if level == 2:
        columns, rows = rng.choice(((1, 1), (1, 1), (2, 1), (3, 1)))
    else:
        columns, rows = rng.choice(((3, 2), (3, 3), (4, 2), (2, 3), (4, 3)))
    named = framed = edge = faded = ""
    wide, high, back = 260, 150, "url(#sky)"
    if not scene:
        named = rng.choice((0, 1))
        framed = rng.choice(("", "", "none", colors[5]))
        edge, faded = rng.choice(("", "", "#333333")), rng.choice(("", "", 0.85))
        wide, high = 100 * columns, (100 + 18 * named) * rows
        back = rng.choice(("", "url(#sky)", "whitesmoke", "aliceblue", "ivory"))
    out = []
    if back == "url(#sky)":
        top = rng.choice(("skyblue", "mistyrose", "lightsteelblue", "navajowhite"))
        bottom = rng.choice(("ivory", "white"))
        stops = (element("stop", offset="0", stop_color=top)
                 + element("stop", offset="1", stop_color=bottom))
        out.append(f'<defs>{element("linearGradient", stops, id="sky", x2="0", y2="1")}</defs>')
    if back:
        out.append(element("rect", width=wide, height=high, rx=rng.choice((0, 12)), fill=back))
    names = rng.sample(list(ICONS), rows * columns)
    if scene:
        places = _landscape(rng)
    else:
        places = [(k % columns * 100, k // columns * (100 + 18 * named), 1, name)
                  for k, name in enumerate(names)]
    for x, y, size, name in places:
        if framed:
            out.append(element("rect", x=x + 4, y=y + 4, width=92, height=92, rx=8, fill=framed,
                               stroke="gray", stroke_dasharray=framed == "none" and "4 2"))
        if not name:
            curve = f"M0,100 Q{rng.randint(40, 90)},76 130,100 T260,96 V150 H0 Z"
            out.append(f'<path d="{curve}" fill="yellowgreen"/>')
            continue
        icon = "\n".join(_icon(rng, name, colors))
        place = f"translate({x:g} {y:g})"
        if size != 1:
            place += f" scale({size})"
        out.append(element("g", f"\n{icon}\n", transform=(x or y) and place,
                           stroke=edge, opacity=faded))
        if named:
            out.append(element("text", name, x=x + 50, y=y + 110, font_size=12,
                               text_anchor="middle", fill="#333333"))
    unit = rng.choice((1, 1, 0.24, 2, 5))
    if unit != 1:
        out = [f'<g transform="scale({unit})">', *out, "</g>"]
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {wide * unit:g} {high * unit:g}">')
    return "\n".join([head, *out, "</svg>"])
