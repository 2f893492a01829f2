"""Level 1: charts, tables and icons of 128 x 128 pixels for the tiny models."""
import random

TASKS = ("chart", "table", "svg")
COLORS = ("red", "blue", "green", "orange", "purple", "brown", "black", "hotpink")
TITLES = ("Sales", "Profit", "Cost", "Growth", "Score", "Users", "Traffic", "Rain", "Energy",
          "Speed", "Demand", "Price")
LABELS = ("Year", "Month", "Team", "City", "Group", "Level", "Size", "Count", "Rate", "Time")
LETTERS = "ABCDEFGHKLMN"
WORDS = ("cat", "dog", "fox", "hen", "ant", "bee", "cow", "owl", "pig", "rat", "bat", "eel")
VALUES = (2, 4, 6, 8)
HEADS = ("day", "sum", "max", "min", "age", "net", "tax", "qty")
CHART_HEAD = """import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(2, 2))
fig.subplots_adjust(left=0.36, bottom=0.25)
"""


def _names(rng, n):
    return sorted(rng.sample(LETTERS, n))


def _quoted(values):
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def compositions(rng: random.Random, total: int, n: int) -> list[int]:
    """`n` positive integers in random order that sum to `total`."""
    cuts = sorted(rng.sample(range(1, total), n - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, total])]


# --- 1. charts ---

def chart_level1(rng: random.Random) -> str:
    """One chart: bars, a line, points or a pie, mostly with a title."""
    kind = rng.choice(("bar", "barh", "plot", "scatter", "pie"))
    color = rng.choice(COLORS)
    lines = []
    if kind == "pie":
        values = [2 * part for part in compositions(rng, 5, rng.randint(2, 4))]
        lines.append(f"ax.pie({values}, labels={_quoted(_names(rng, len(values)))}, "
                     f"colors={_quoted(rng.sample(COLORS, len(values)))})")
    elif kind == "scatter":
        xs = sorted(rng.sample(range(1, 10, 2), rng.randint(2, 4)))
        ys = [rng.choice(VALUES) for _ in xs]
        marker = rng.choice(("o", "o", "s", "^"))
        lines += [f'ax.scatter({xs}, {ys}, color="{color}", marker="{marker}")',
                  "ax.set_xlim(0, 10)", "ax.set_ylim(0, 10)"]
    else:
        names = _names(rng, rng.randint(2, 4))
        values = [rng.choice(VALUES) for _ in names]
        dash, marker = rng.choice(("-", "-", "--", ":")), rng.choice("os^")
        style = f', linestyle="{dash}", marker="{marker}"' if kind == "plot" else ""
        value_axis = "x" if kind == "barh" else "y"
        lines += [f'ax.{kind}({_quoted(names)}, {values}, color="{color}"{style})',
                  f"ax.set_{value_axis}lim(0, 10)"]
    if rng.random() < 0.7:
        lines.append(f'ax.set_title("{rng.choice(TITLES)}")')
    if kind != "pie":
        if rng.random() < 0.4:
            lines.append(f'ax.set_xlabel("{rng.choice(LABELS)}")')
        if rng.random() < 0.4:
            lines.append(f'ax.set_ylabel("{rng.choice(LABELS)}")')
        if rng.random() < 0.3:
            lines.append("ax.grid(True)")
    return CHART_HEAD + "\n".join(lines)


# --- 2. tables ---

def _number1(rng):
    """A number of at most three signs: mostly two digits, sometimes a minus or a unit."""
    return rng.choice((f"{rng.randint(1, 99)}", f"{rng.randint(10, 99)}", f"-{rng.randint(1, 9)}",
                       f"{rng.randint(1, 99)}%", f"{rng.randint(1, 9)}.{rng.randint(0, 9)}"))


def table_level1(rng: random.Random) -> str:
    """One table of up to 4 x 4 cells under a head; some have no head."""
    rows, columns = rng.randint(1, 4), rng.randint(2, 4)
    out = []
    if rng.random() < 0.7:
        heads = rng.sample(HEADS, columns)
        out.append("<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>")
    words = rng.sample(WORDS, rows)
    for word in words:
        cells = [word, *(_number1(rng) for _ in range(columns - 1))]
        out.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "<table>\n" + "\n".join(out) + "\n</table>"


# --- 3. drawings ---

SVG_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">\n'


def _shape1(rng, x, y):
    """One shape with its centre at (x, y) in a 64 x 64 canvas."""
    kind = rng.choice(("circle", "rect", "ellipse", "polygon", "text", "line"))
    color, r = rng.choice(COLORS), rng.choice((4, 8))
    bordered = rng.random() < 0.25 and color != "black"
    border = ' stroke="black" stroke-width="2"' if bordered else ""
    if kind == "circle":
        return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{color}"{border}/>'
    if kind == "ellipse":
        rx, ry = rng.choice(((8, 4), (4, 8)))
        return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{color}"{border}/>'
    if kind == "rect":
        w, h = rng.choice((8, 16)), rng.choice((8, 16))
        return (f'<rect x="{x - w // 2}" y="{y - h // 2}" width="{w}" height="{h}" '
                f'fill="{color}"{border}/>')
    if kind == "polygon":
        points = f"{x},{y - r} {x + r},{y + r} {x - r},{y + r}"
        return f'<polygon points="{points}" fill="{color}"{border}/>'
    if kind == "line":
        dx, dy = rng.choice(((8, 0), (0, 8), (8, 8), (8, -8)))
        return (f'<line x1="{x - dx}" y1="{y - dy}" x2="{x + dx}" y2="{y + dy}" '
                f'stroke="{color}" stroke-width="3"/>')
    letter = rng.choice(LETTERS)
    return f'<text x="{x - 6}" y="{y + 6}" font-size="16" fill="{color}">{letter}</text>'


def svg_level1(rng: random.Random) -> str:
    """One drawing of two to four shapes in a grid of 3 x 3; some have a background."""
    cells = sorted(rng.sample(range(9), rng.randint(2, 4)))  # 3 x 3 grid, in reading order
    out = []
    if rng.random() < 0.3:
        back = rng.choice(("lightyellow", "lightblue", "lightgray"))
        out.append(f'<rect width="64" height="64" fill="{back}"/>')
    for cell in cells:
        out.append(_shape1(rng, 12 + 20 * (cell % 3), 12 + 20 * (cell // 3)))
    return SVG_HEAD + "\n".join([*out, "</svg>"])
