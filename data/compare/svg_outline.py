"""Outlines of SVG shapes: how far two are apart, where they lie, and what both drawings share."""
import numpy as np

from data.compare.ledger import PLACE

STEP = 0.02             # of the canvas' side: the longest piece of an outline between two samples
MOST_SAMPLES = 600      # of one outline
WHOLE = 0.03            # of the canvas' side: a drawing moved or scaled by this much is the same
ALIKE = 0.75            # share of the shapes that must have moved alike by much
STILL = (1.0, 1.0, 0.0, 0.0)
GUESSES = 12            # shapes that are asked how a drawing moved


def centre(shape: dict) -> tuple[float, float]:
    x0, y0, x1, y1 = shape["box"]
    return (x0 + x1) / 2, (y0 + y1) / 2


def sides(shape: dict) -> tuple[float, float]:
    x0, y0, x1, y1 = shape["box"]
    return x1 - x0, y1 - y0


def covers(shape: dict) -> bool:
    """Whether a shape is a background: filled, and over the whole canvas."""
    x0, y0, x1, y1 = shape["box"]
    if shape["type"] == "text" or not shape.get("fill"):
        return False
    if not (x0 <= 0.01 and y0 <= 0.01 and x1 >= 0.99 and y1 >= 0.99):
        return False
    start, end = segments(shape)
    area = abs((start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]).sum()) / 2
    return area >= 0.9 * (x1 - x0) * (y1 - y0)


def place(shape: dict) -> str:
    """'circle top left': the kind of a shape and where its centre lies in a 3 x 3 grid."""
    if covers(shape):
        return "background"
    return f"{shape['type']} {cell(*centre(shape))}"


def cell(x: float, y: float) -> str:
    """'top left': a part of a 3 x 3 grid, 'centre' for the one in the middle."""
    column = ("left", "", "right")[min(2, max(0, int(3 * x)))]
    row = ("top", "", "bottom")[min(2, max(0, int(3 * y)))]
    return " ".join(word for word in (row, column) if word) or "centre"


def segments(shape: dict) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends, (M, 2) each, of the pieces of an outline, each sub-path by itself."""
    outline = np.asarray(shape.get("outline") or [], float).reshape(-1, 2)
    if len(outline) < 2:
        x0, y0, x1, y1 = shape["box"]
        outline = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    firsts = [k for k in shape.get("starts") or [0] if k < len(outline)]
    ends = [*firsts[1:], len(outline)]
    round_off = shape.get("closed") or shape.get("fill") and shape["type"] != "line"
    follows = np.arange(1, len(outline) + 1)
    for first, end in zip(firsts, ends):
        follows[end - 1] = first if round_off else end - 1
    return outline, outline[follows]


def samples(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Points along straight pieces, at most STEP apart where these are not too many: (N, 2)."""
    lengths = np.hypot(*(end - start).T)
    step = max(STEP, lengths.sum() / MOST_SAMPLES)
    counts = np.maximum(1, np.ceil(lengths / step).astype(int))
    if counts.sum() > 2 * MOST_SAMPLES:
        chosen = np.linspace(0, len(start) - 1, MOST_SAMPLES).astype(int)
        return start[chosen]
    pieces = np.repeat(np.arange(len(start)), counts)
    within = np.arange(len(pieces)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (within / counts[pieces])[:, None]
    return start[pieces] * (1 - share) + end[pieces] * share


def gap_to(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Largest distance from `points` (N, 2) to the pieces from `start` to `end` (M, 2)."""
    if len(start) > 2000:                       # an outline of very many corners: they say it alone
        from scipy.spatial import cKDTree
        return float(cKDTree(start).query(points)[0].max())
    step = end - start
    length = np.maximum((step ** 2).sum(1), 1e-12)
    worst = 0.0
    for part in np.array_split(points, max(1, len(points) * len(start) // 200_000)):
        away = part[:, None] - start            # (N, M, 2)
        along = np.clip((away * step).sum(2) / length, 0, 1)
        foot = away - along[..., None] * step
        worst = max(worst, float(np.sqrt((foot ** 2).sum(2).min(1).max())))
    return worst


def outline_gap(a: dict, b: dict, shift: tuple[float, float] = (0, 0),
                scale: tuple[float, float] = (1, 1)) -> float:
    """Hausdorff distance of two outlines, `b` first moved by `shift` and stretched by `scale`."""
    middle = np.array(centre(b))
    a0, a1 = segments(a)
    b0, b1 = ((points - middle) * scale + middle + shift for points in segments(b))
    if a0.shape == b0.shape and np.abs(a0 - b0).max() < 1e-9 and np.abs(a1 - b1).max() < 1e-9:
        return 0.0
    return max(gap_to(samples(a0, a1), b0, b1), gap_to(samples(b0, b1), a0, a1))


def parts(shape: dict) -> list[tuple[float, float, float, float]]:
    """The boxes of the sub-paths of an outline: [(x0, y0, x1, y1)]."""
    outline, firsts = shape.get("outline") or [], shape.get("starts") or [0]
    found = []
    for first, end in zip(firsts, [*firsts[1:], len(outline)]):
        if end > first:
            xs, ys = zip(*outline[first:end])
            found.append((min(xs), min(ys), max(xs), max(ys)))
    return found


def parts_gone(a: dict, b: dict) -> tuple[int, int, int] | None:
    """(missing, extra, all of a) sub-paths where most of the others are in place, else None."""
    ours, theirs = parts(a), parts(b)
    if max(len(ours), len(theirs)) < 4:
        return None
    unmatched = {}
    for box in theirs:
        unmatched.setdefault(tuple(round(v / PLACE[0]) for v in box), []).append(box)
    missing = 0
    for box in ours:
        same = unmatched.get(tuple(round(v / PLACE[0]) for v in box))
        if same:
            same.pop()
        else:
            missing += 1
    extra = sum(map(len, unmatched.values()))
    if missing and extra or min(len(ours) - missing, len(theirs) - extra) < 2:
        return None
    return missing, extra, len(ours)


# --- 1. a whole drawing, moved or scaled ---
def common_move(pairs: list[tuple[dict, dict]], mostly: bool,
                stretched: bool = False) -> tuple[float, float, float, float] | None:
    """(scale x, scale y, shift x, shift y) taking the second of the pairs to the first, or None.

    A small move is the one that puts most shapes in place, and at least half of them; the others
    have errors of their own. A large one puts nearly all of them in place and has an error itself;
    it is none where half of the shapes are where they should be, or where it is not `mostly` the
    same shapes. `stretched`: the canvas has other proportions, and so may the drawing.
    """
    pairs = [(a, b) for a, b in pairs if not covers(a) and not covers(b)]
    if not pairs:
        return None
    true, found = (np.array([pair[k]["box"] for pair in pairs], float) for k in (0, 1))
    if not stretched:
        small = _small_move(true, found)
        if small:
            return None if small is STILL else small
    move, good = _fit(true, found, np.ones(len(pairs), bool))
    for _ in range(2):
        move, good = _fit(true, found, good)
    # finer than a shift that shows: the move of one shape must not be shared out to all
    good = _rest(true, found, move) <= PLACE[0] / 2
    if not mostly or good.mean() < ALIKE or min(move[:2]) < 0.2 or len(pairs) == 1:
        return None
    if stretched:
        return move
    still = (np.abs(true - found).max(1) <= PLACE[0]).mean()
    return None if abs(move[0] / move[1] - 1) > 0.04 or still >= 0.5 else move


def _fit(true, found, good):
    """(move that fits the boxes `good` best, those it puts in place or nearly so)."""
    move = [], []
    for axis in (0, 1):
        x, y = found[good][:, axis::2].ravel(), true[good][:, axis::2].ravel()
        spread = ((x - x.mean()) ** 2).sum()
        scale = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 1e-9 else 1.0
        move[0].append(float(scale))
        move[1].append(float(y.mean() - scale * x.mean()))
    move = (*move[0], *move[1])
    rest = _rest(true, found, move)
    return move, rest <= max(PLACE[0], float(np.median(rest)))


def _rest(true, found, move):
    """How far each box or point is from where it should be after a move."""
    repeats = true.shape[1] // 2
    return np.abs(found * np.tile(move[:2], repeats) + np.tile(move[2:], repeats) - true).max(1)


def _small_move(true, found):
    """The move within WHOLE that puts most boxes in place, STILL if none does better; or None."""
    middles = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (true, found)]
    chosen = np.unique(np.linspace(0, len(true) - 1, min(len(true), GUESSES)).astype(int))
    guesses = [STILL]
    for n, i in enumerate(chosen):
        guesses.append((1.0, 1.0, *map(float, middles[0][i] - middles[1][i])))
        sizes = [boxes[i, 2:] - boxes[i, :2] for boxes in (true, found)]
        ratios = sizes[0] / np.maximum(sizes[1], 1e-9)
        if sizes[1].min() > 0.05 and abs(ratios - 1).max() < 2 * WHOLE:
            scale = float(ratios.mean())
            guesses.append((scale, scale, *map(float, middles[0][i] - scale * middles[1][i])))
        for j in chosen[n + 1:]:
            spans = [np.hypot(*(side[i] - side[j])) for side in middles]
            if min(spans) > 0.05 and abs(spans[0] / spans[1] - 1) < 2 * WHOLE:
                scale = float(spans[0] / spans[1])
                twice = [side[i] + side[j] for side in middles]
                shift = (twice[0] - scale * twice[1]) / 2
                guesses.append((scale, scale, *map(float, shift)))
    best = 0, 0, 0.0, ()
    for guess in guesses:
        away = float(_rest(found, found, guess).max())
        if away <= WHOLE:
            count = int((_rest(true, found, guess) <= PLACE[0] / 2).sum())
            middle = int((_rest(middles[0], middles[1], guess) <= PLACE[0] / 2).sum())
            best = max(best, (count, middle, -away, guess))
    count, middle, _, guess = best
    if not guess or 2 * max(count, middle) < len(true):
        return None
    if guess is STILL or not count:             # every shape has another size
        return guess
    good = _rest(true, found, guess) <= PLACE[0] / 2
    move = _fit(true, found, good)[0]
    fits = (_rest(true, found, move) <= PLACE[0] / 2).sum() >= count
    return move if fits and count > 1 and abs(move[0] / move[1] - 1) < 0.04 else guess


def moved(shape: dict, move: tuple[float, float, float, float]) -> dict:
    """A shape after a common move."""
    sx, sy, tx, ty = move

    def point(x, y):
        return x * sx + tx, y * sy + ty

    def box(values):
        return [*point(*values[:2]), *point(*values[2:])]

    new = shape | {"box": box(shape["box"]), "stroke_width": (shape.get("stroke_width") or 0) * sx}
    if shape.get("paints"):
        new["paints"] = {how: _moved_paint(paint, move) for how, paint in shape["paints"].items()}
    for key in ("outline", "letters"):
        if shape.get(key):
            new[key] = [point(*xy) for xy in shape[key]]
    if shape.get("font_size"):
        new["font_size"] = shape["font_size"] * sy
    style = shape.get("style") or {}
    if "dashes" in style:
        new["style"] = style | {"dashes": [d * sx for d in style["dashes"]],
                                "dash_offset": style.get("dash_offset", 0) * sx}
    if shape.get("runs"):
        new["runs"] = [run | {"font_size": (run.get("font_size") or 0) * sy}
                       for run in shape["runs"]]
    if shape.get("cuts"):
        new["cuts"] = [cut | {"box": box(cut["box"])} if cut.get("box") else cut
                       for cut in shape["cuts"]]
    return new


def _moved_paint(paint, move):
    """A gradient or pattern after a common move: its matrix takes new places to where it was."""
    if not paint.get("matrix"):
        return paint
    sx, sy, tx, ty = move
    a, b, c, d, e, f = (value or 0 for value in paint["matrix"])
    a, b, c, d = a / sx, b / sx, c / sy, d / sy
    return paint | {"matrix": [a, b, c, d, e - a * tx - c * ty, f - b * tx - d * ty]}
