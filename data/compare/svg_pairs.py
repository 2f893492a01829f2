"""Which shapes of two SVG pictures belong together."""
import math

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from data.compare.colors import color_distance, lab
from data.compare.ledger import PLACE
from data.compare.svg_outline import WHOLE, centre, covers, outline_gap, sides
from data.compare.words import plain

GAP = 0.38              # leaving a shape alone costs as much: two gaps apart are no pair
MOST_AT_ONCE = 250      # shapes a side, paired with the least sum; beyond, the nearest first
FAR = 2.0


def pair_up(ours: list[dict], theirs: list[dict]) -> list[tuple[dict | None, dict | None]]:
    """[(a or None, b or None), ...]: first all of `ours` in order, then the rest of `theirs`."""
    found = _same(ours, theirs)
    taken = set(found.values())
    rows = [i for i in range(len(ours)) if i not in found]
    columns = [j for j in range(len(theirs)) if j not in taken]
    if rows and columns:
        left, right = [ours[i] for i in rows], [theirs[j] for j in columns]
        match = _least if max(len(rows), len(columns)) <= MOST_AT_ONCE else _nearest
        found |= {rows[i]: columns[j] for i, j in match(left, right)}
    taken = set(found.values())
    pairs = [(a, theirs[found[i]] if i in found else None) for i, a in enumerate(ours)]
    return pairs + [(None, b) for j, b in enumerate(theirs) if j not in taken]


def _same(ours, theirs):
    """Shapes that are equal: an edit changes few of the thousand lines of a picture."""
    places = {}
    for j, shape in enumerate(theirs):
        places.setdefault(_key(shape), []).append(j)
    found = {}
    for i, shape in enumerate(ours):
        same = places.get(_key(shape))
        if same:
            found[i] = same.pop(same.index(i) if i in same else 0)
    return found


def _key(shape):
    return (shape["type"], shape.get("text"), shape.get("fill"), shape.get("stroke"),
            len(shape.get("outline") or ()), *(round(v, 4) for v in shape["box"]))


def _features(shapes):
    """(centres, sides, colours, (text, covers)) as arrays, a row a shape."""
    paints = [shape.get("fill") or shape.get("stroke") for shape in shapes]
    none = (np.nan,) * 3
    colors = [lab(paint) if (paint or "").startswith("#") else none for paint in paints]
    colors = np.array(colors).reshape(-1, 3)
    flags = np.array([(shape["type"] == "text", bool(covers(shape))) for shape in shapes])
    middles = np.array([centre(shape) for shape in shapes])
    return middles, np.array([sides(shape) for shape in shapes]), colors, flags.reshape(-1, 2)


def _costs(left, right):
    """Distances of all of `left` to all of `right`: 0 the same, 1 nothing in common, 2 no pair."""
    ours, theirs = _features(left), _features(right)
    away = np.minimum(1, np.hypot(*(ours[0][:, None] - theirs[0]).transpose(2, 0, 1)) / 0.4)
    size = np.minimum(1, np.abs(ours[1][:, None] - theirs[1]).sum(2) / 0.5)
    gaps = np.sqrt(((ours[2][:, None] - theirs[2]) ** 2).sum(2))
    paint = np.minimum(1, gaps / 60)
    for i, j in zip(*np.nonzero(np.isnan(gaps))):
        paint[i, j] = min(1, _paint_gap(left[i], right[j]) / 60)
    filled = [np.array([bool(shape.get("fill")) for shape in shapes]) for shapes in (left, right)]
    types = [np.array([shape["type"] for shape in shapes]) for shapes in (left, right)]
    paint[filled[0][:, None] != filled[1]] = 1          # a fill is not known by its stroke
    kinds = (types[0][:, None] != types[1]).astype(float)
    near = (kinds > 0) & (away < 0.1) & (size < 0.1)
    for i, j in zip(*np.nonzero(near)):
        kinds[i, j] = outline_gap(left[i], right[j]) > PLACE[0]
    cost = 0.45 * away + 0.15 * size + 0.2 * paint + 0.2 * kinds
    rows, columns = (np.flatnonzero(kind == "text") for kind in types)
    if len(rows) and len(columns):
        texts = [[plain(shapes[k]["text"]) for k in chosen]
                 for shapes, chosen in ((left, rows), (right, columns))]
        unlike = 1 - cdist(*texts, scorer=Levenshtein.normalized_similarity, dtype=np.float32)
        both = np.ix_(rows, columns)
        cost[both] = 0.5 * unlike + 0.4 * away[both] + 0.1 * paint[both]
    boxes = [np.array([shape["box"] for shape in shapes]) for shapes in (left, right)]
    apart = np.abs(boxes[0][:, None] - boxes[1]).max(2) > WHOLE
    other_kind = ours[3][:, None] != theirs[3]
    # A background that became smaller keeps its colour; else a shape is none because it is large.
    apart &= (gaps > 1e-6) | (kinds > 0)
    cost[other_kind[..., 0] | other_kind[..., 1] & apart] = FAR
    return cost


def _paint_gap(a, b):
    key = "fill" if a.get("fill") or b.get("fill") else "stroke"
    return color_distance(a.get(key), b.get(key))


def _least(left, right):
    """The pairs with the least sum of distances (Hungarian method)."""
    n, m = len(left), len(right)
    cost = np.full((n + m, n + m), GAP)
    cost[n:, m:] = 0.0
    order = 1e-6 * np.abs(np.arange(n)[:, None] - np.arange(m))
    cost[:n, :m] = np.minimum(_costs(left, right), 2 * GAP + 1) + order
    rows, columns = linear_sum_assignment(cost)
    return [(i, j) for i, j in zip(rows, columns) if i < n and j < m]


def _nearest(left, right):
    """The nearest pairs first, for pictures of very many shapes."""
    def vectors(shapes):
        middles, sizes, colors, flags = _features(shapes)
        colors = np.nan_to_num(colors, nan=50.0)
        return np.hstack([0.45 * middles / 0.4, 0.15 * sizes / 0.5, 0.2 * colors / 60, FAR * flags])

    theirs = vectors(right)
    tree = cKDTree(theirs)
    away, who = tree.query(vectors(left), k=min(4, len(right)), distance_upper_bound=2 * GAP)
    away, who = (np.atleast_2d(v).reshape(len(left), -1) for v in (away, who))
    found, used = {}, set()
    for k in np.argsort(away, axis=None, kind="stable"):
        i, rank = divmod(int(k), away.shape[1])
        j = int(who[i, rank])
        if not math.isfinite(away[i, rank]):
            break
        if i not in found and j not in used:
            found[i] = j
            used.add(j)
    return list(found.items())
