"""ChartMimic's four low-level scores: text, layout, type and colour, F1 of what two charts show.

The published evaluator logs which functions of Matplotlib a program calls. Here both charts' scenes
say what can be seen, so neither another spelling nor a forged call changes a score:

| score | compared | published |
| --- | --- | --- |
| text | lines of text, without tick labels | the same, with hidden ones |
| layout | place of each Axes in a grid: rows and columns, first and last | that of its GridSpec |
| type | kinds of mark, one for each series | one for each call |
| color | (kind of mark, colour): pairs of best fit, 1 - CIEDE2000 / 100 each | the same |

The rest is as published: F1 = 2PR / (P + R) of what both have; 0 where one side has nothing; each
colour counts once for each kind of mark; of more than ten, those like an earlier one are left out.
"""
import math
from collections import Counter
from functools import lru_cache

import numpy as np
from scipy.optimize import linear_sum_assignment

from data.compare.colors import lab

MOST_COLORS, ALIKE = 10, 0.7


def low_level(true: dict, pred: dict) -> dict[str, float]:
    """{"text", "layout", "type", "color"}: scores of two scenes of charts, 0 to 1.

    >>> low_level({"axes": [], "painted": []}, {"axes": [], "painted": []})["text"]
    0.0
    """
    scores = {}
    for name, count in (("text", texts), ("layout", layout), ("type", types)):
        one, other = count(true), count(pred)
        scores[name] = f1((one & other).total(), one.total(), other.total())
    return scores | {"color": color_score(colors(true), colors(pred))}


def f1(both: float, true: int, pred: int) -> float:
    """F1 of `both` common things among `true` and `pred` many; 0 where there are none.

    >>> f1(1, 2, 1)
    0.6666666666666666
    """
    return 2 * both / (true + pred) if true and pred else 0.0


def texts(scene: dict) -> Counter:
    """The lines of text in a chart, tick labels aside."""
    painted = Counter(entry["text"].strip() for entry in scene["painted"]
                      if entry["text"] and not entry["artist"].endswith("Tick"))
    # Where many lines look alike they are painted as one entry without a text; names have them.
    named = Counter()
    for axes in scene["axes"]:
        written = [axes.get(f"{axis}label", "") for axis in "xyz"]
        written += [note["text"] for note in axes["annotations"]]
        written += [text for mark in axes["marks"] for text in mark.get("texts", ())]
        named.update(line.strip() for text in written for line in text.splitlines())
    found = painted | named
    found.pop("", None)
    return found


def layout(scene: dict) -> Counter:
    """(rows, columns, first row, last row, first column, last column) of each Axes' place."""
    boxes = [axes["box"] for axes in scene["axes"]]
    across = bands([(x, x + width) for x, _, width, _ in boxes])
    down = bands([(1 - y - height, 1 - y) for _, y, _, height in boxes])
    size = [1 + max((last for _, last in places), default=0) for places in (down, across)]
    return Counter((*size, *row, *column) for row, column in zip(down, across))


def bands(spans: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """For each (start, end) the first and last band of a grid that it covers.

    The narrowest spans make the bands; a span covers those of which it has more than half.

    >>> bands([(0.1, 0.45), (0.55, 0.9), (0.1, 0.9)])
    [(0, 0), (1, 1), (0, 1)]
    """
    made = []
    for start, end in sorted(spans, key=lambda span: (round(span[1] - span[0], 2), span[0])):
        if not any(_covers((start, end), band) or _covers(band, (start, end)) for band in made):
            made.append((start, end))
    made.sort()
    places = []
    for span in spans:
        covered = [n for n, band in enumerate(made)
                   if _covers(span, band) or _covers(band, span)]
        places.append((covered[0], covered[-1]))
    return places


def _covers(span, band):
    common = min(span[1], band[1]) - max(span[0], band[0])
    return span == band or common > 0.5 * (band[1] - band[0])


def _kind(axes, mark):
    """What sort of mark it is: bars lie or stand, and polar and 3-D charts are sorts of their own.
    """
    lies = "h" if mark["type"] == "bars" and mark["orient"] == "h" else ""
    space = "" if axes["projection"] == "rectilinear" else f" {axes['projection']}"
    return mark["type"] + lies + space


def types(scene: dict) -> Counter:
    """How many marks of each kind."""
    return Counter(_kind(axes, mark) for axes in scene["axes"] for mark in axes["marks"])


def colors(scene: dict) -> dict[str, list[str]]:
    """{kind of mark: its colours}; of an image its colour map."""
    pairs = set()
    for axes in scene["axes"]:
        for mark in axes["marks"]:
            one = [mark.get("color"), mark.get("cmap")]
            pairs |= {(_kind(axes, mark), color) for color in mark.get("colors") or one if color}
    pairs = sorted(pairs)
    if len(pairs) > MOST_COLORS:
        kept = []
        for kind, color in pairs:
            if all(similarity(color, other) <= ALIKE for _, other in kept):
                kept.append((kind, color))
        pairs = kept
    found = {}
    for kind, color in pairs:
        found.setdefault(kind, []).append(color)
    return found


def color_score(true: dict[str, list[str]], pred: dict[str, list[str]]) -> float:
    """F1 of two charts' colours, of which each is paired with one of the same kind of mark."""
    both = 0.0
    for kind in true.keys() & pred.keys():
        alike = np.array([[similarity(a, b) for b in pred[kind]] for a in true[kind]])
        both += alike[linear_sum_assignment(alike, maximize=True)].sum()
    return f1(float(both), *(sum(map(len, side.values())) for side in (true, pred)))


@lru_cache(20_000)
def similarity(a: str, b: str) -> float:
    """1 - CIEDE2000 / 100 of two colours, not below 0; names of colour maps are equal or not."""
    if a.startswith("#") and b.startswith("#"):
        return max(0.0, 1 - ciede2000(lab(a), lab(b)) / 100)
    return float(a == b)


def ciede2000(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The CIEDE2000 distance of two colours in CIE Lab (Sharma, Wu, Dalal 2005; weights 1).

    >>> round(ciede2000((50, 2.6772, -79.7751), (50, 0, -82.7485)), 4)
    2.0425
    """
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * math.sqrt(mean**7 / (mean**7 + 25**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0  # from hue to hue, the shorter way
    hue = h1 + h2
    if c1 * c2:
        hue /= 2
        if abs(h1 - h2) > 180:
            hue += 180 if hue < 180 else -180
    dl, dc = l2 - l1, c2 - c1
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2

    def wave(times, offset):
        return math.cos(math.radians(times * hue + offset))
    t = 1 - 0.17 * wave(1, -30) + 0.24 * wave(2, 0) + 0.32 * wave(3, 6) - 0.2 * wave(4, -63)
    sl = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    blue = 60 * math.exp(-(((hue - 275) / 25) ** 2))
    bend = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(math.radians(blue))
    parts = dl / sl, dc / sc, dh / sh
    return math.sqrt(sum(part * part for part in parts) + bend * parts[1] * parts[2])
