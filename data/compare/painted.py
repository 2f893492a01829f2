"""What was painted, for `data/compare/chart.py`: looks of matched things, and what has no name.

Names and values are compared first (`data/compare/marks.py`). Here follows what they cannot tell:
edges, dashes, patterns, fonts, frames, legends, arrows.
"""
import math
from collections.abc import Callable, Collection

from data.compare.colors import color_distance, color_words
from data.compare.ledger import COLOR, MANY, OPACITY, TICK, WIDTH, severity
from data.compare.matching import FEW, align
from data.compare.words import normal, reads, should_be, similar

TEXT_PLACES = {"title": "title", "x-axis label": "x-axis label", "y-axis label": "y-axis label",
               "z-axis label": "z-axis label",
               "x ticks": "x ticks", "y ticks": "y ticks", "z ticks": "z ticks"}


class Entries:
    """The painted entries of a scene by place, each list from back to front."""

    def __init__(self, scene):
        self.alone, self.found = len(scene["axes"]) == 1, {}
        for entry in scene.get("painted") or ():
            self.found.setdefault((entry["axes"], entry["place"], entry["mark"]), []).append(entry)

    def of(self, axes: int | None, place: str, mark: int | None = None) -> list[dict]:
        found = self.found.get((axes, place, mark), [])
        # A title or legend is of the figure or of its only subplot.
        if self.alone and axes is not None and place in ("title", "legend"):
            return found + self.found.get((None, place, mark), [])
        return found


# --- 1. looks ---

def look_words(found: dict, expected: dict, skip: Collection[str] = (),
               sizes: tuple[float, ...] = WIDTH) -> list[tuple[int, str]]:
    """[(severity, description)] of two painted entries of one kind; `skip`: what was told.

    `sizes`: the thresholds of relative sizes.
    """
    words = []
    line = not expected["fill"] and not found["fill"]
    fill = "color" if expected["kind"] == "text" else "fill"
    for key, what in (("fill", fill), ("stroke", "color" if line else "edge")):
        if key not in skip:
            words += _color_words(found[key], expected[key], what)
    if "opacity" not in skip and found["opacity"] and expected["opacity"] and not words:
        gaps = [abs(a - b) for a, b in zip(found["opacity"], expected["opacity"])]
        worst = gaps.index(max(gaps))
        if severity(gaps[worst], OPACITY):
            words.append((severity(gaps[worst], OPACITY), should_be(
                "opacity", found["opacity"][worst], expected["opacity"][worst])))
    if "width" not in skip and found["width"] and expected["width"]:
        what = "font size" if expected["kind"] == "text" else "line width" if line else "edge width"
        words += _size_words(_mean(found["width"]), _mean(expected["width"]), what)
    if "size" not in skip and found["size"] and expected["size"]:
        words += _size_words(found["size"], expected["size"], "size", sizes)
    if "dash" not in skip and _dashes_differ(found, expected):
        words.append((1, f"line dashes {_dash_words(found)}, should be {_dash_words(expected)}"))
    if "hatch" not in skip and found["hatch"] != expected["hatch"]:
        words.append((1, f"pattern {found['hatch'] or 'none'}, "
                         f"should be {expected['hatch'] or 'none'}"))
    if expected["kind"] == "text":
        if found["font"] != expected["font"]:
            words.append((1, f"font {found['font']}, should be {expected['font']}"))
        turn = abs((found["angle"] - expected["angle"] + 180) % 360 - 180)
        if turn > 5 and "angle" not in skip:
            words.append((1, should_be("rotation", found["angle"], expected["angle"], "°")))
    return words


def _color_words(found, expected, what):
    """Two lists of colours: one colour each, or as many as there are parts."""
    found, expected = found or [None], expected or [None]
    if len(found) != len(expected):
        if len(found) == 1 or len(expected) == 1 or set(found) == set(expected):
            found, expected = found[:1], expected[:1]
        else:
            found, expected = sorted(map(str, set(found))), sorted(map(str, set(expected)))
    pairs = [(a, b) for a, b in zip(found, expected)
             if a != b and severity(color_distance(a, b), COLOR)]
    if not pairs:
        return []
    worst = max(pairs, key=lambda pair: color_distance(*pair))
    words = color_words(*worst, what)
    if len(found) > 1:
        words = f"{len(pairs)} of {len(found)} {what} colors wrong ({words})"
    return [(severity(color_distance(*worst), COLOR), words)]


def _size_words(found, expected, what, limits=WIDTH):
    if not found or not expected:
        return []
    level = severity(abs(found - expected) / min(found, expected), limits)
    return [(level, should_be(what, found, expected))] if level else []


def _dashes_differ(a, b):
    if not a["dash"] or not b["dash"]:
        return bool(a["dash"]) != bool(b["dash"]) and bool(a["stroke"] and b["stroke"])
    # They grow with the width.
    own = [[length / (_mean(e["width"]) or 1) for length in e["dash"]] for e in (a, b)]
    return len(own[0]) != len(own[1]) or any(abs(x - y) > 0.25 * max(x, y) for x, y in zip(*own))


def _dash_words(entry):
    return " ".join(f"{length:.3g}" for length in entry["dash"]) or "none"


def _mean(values):
    return sum(values) / len(values) if values else 0.0


# --- 2. places ---

class Paint:
    """The paint of one subplot of each picture: its number is `i` in the true scene, else `j`."""

    def __init__(self, scenes, entries, i, j, prefix, ledger):
        self.entries, self.axes, self.prefix, self.ledger = entries, (i, j), prefix, ledger
        self.boxes = [scene["axes"][k]["box"] if k is not None else [0, 0, 1, 1]
                      for scene, k in zip(scenes, (i, j))]

    def of(self, place: str, marks: tuple[int | None, int | None] = (None, None)) -> list[list]:
        return [found.of(k, place, mark) for found, k, mark in zip(self.entries, self.axes, marks)]

    def differ(self, level: int, location: str, description: str,
               category: str = "style_error") -> None:
        group = "data" if category in ("data_error", "structure_error") else \
            "axes" if category == "text_error" else "style"
        self.ledger.differ(group, 0.5, category, level, self.prefix + location, description)

    def tell_looks(self, place: str, ours: dict, theirs: dict,
                   skip: Collection[str] = (), sizes: tuple[float, ...] = WIDTH) -> None:
        """Compare two entries of a place and tell how they differ."""
        for level, words in look_words(theirs, ours, skip, sizes):
            self.differ(level, place, words)

    def texts(self, changed: bool, scaled: Collection[str]) -> None:
        """Looks of titles, labels and ticks, and where they stand.

        `scaled`: axes that changed themselves.
        """
        for place in TEXT_PLACES:
            if place.endswith("ticks") and place[0] in scaled:
                continue
            ours, theirs = ([e for e in found if e["kind"] == "text"] for found in self.of(place))
            if not ours or not theirs:
                continue
            ours, theirs = (max(found, key=lambda e: e["count"]) for found in (ours, theirs))
            # In a space a label of more than four letters is turned.
            follows = place == "z-axis label" and ours["text"] != theirs["text"]
            self.tell_looks(place, ours, theirs, ("angle",) if follows else ())
            a, b = (self.anchor(entry, k, place) for k, entry in enumerate((ours, theirs)))
            moved = math.dist(a, b) > 0.25 or place == "title" and (a[1] < 1) != (b[1] < 1)
            if moved and not changed and abs(ours["angle"] - theirs["angle"]) < 5:
                self.differ(1, place, "in another place")

    def anchor(self, entry: dict, k: int, place: str) -> tuple[float, ...]:
        """Where a text stands, in lengths of its axes."""
        x, y, width, height = entry["box"]
        left, low, wide, high = self.boxes[k]
        middle = (x + width / 2 - left) / (wide or 1), (y + height / 2 - low) / (high or 1)
        if place.endswith("ticks"):  # on which side: along the axis the numbers may be others
            across = middle[place[0] == "x"]
            return (0.0 if across < 0.2 else 1.0 if across > 0.8 else 0.5,)
        return tuple(min(1.15, max(-0.15, v)) for v in middle)

    def lines(self, scaled: Collection[str]) -> None:
        """Looks of tick marks, grids and the frame."""
        for place in ("x ticks", "y ticks", "z ticks", "x grid", "y grid", "frame"):
            if place[0] in scaled and place != "frame":
                continue
            kinds = "markers" if place.endswith("ticks") else "path"
            ours, theirs = ([e for e in found if e["kind"] == kinds] for found in self.of(place))
            if place.endswith("ticks") and bool(ours) != bool(theirs) and any(self.of(place)):
                if all(self.of(place)):
                    self.differ(1, place, "tick marks " + ("missing" if ours else "extra"))
            elif ours and theirs and (place != "frame" or len(ours) == len(theirs)):
                pairs = zip(ours, theirs) if len(ours) == len(theirs) else \
                    [[max(found, key=lambda e: e["count"]) for found in (ours, theirs)]]
                for a, b in list(pairs)[:4]:
                    where = place.replace("x grid", "grid").replace("y grid", "grid")
                    if place.endswith("ticks"):
                        self.tell_looks(where, a, b, ("fill",), TICK)
                    else:
                        self.tell_looks(where, a, b)
                # Marks that went with their texts are no error of their own.
                labelled = [any(e["kind"] == "text" for e in found) for found in self.of(place)]
                if (place.endswith("ticks") and len(theirs) != len(ours)
                        and labelled[0] == labelled[1]):
                    what = "extra" if len(theirs) > len(ours) else "missing"
                    self.differ(1, place, f"minor tick marks {what}")
        ours, theirs = self.of("frame")
        if ours and theirs and sum(e["count"] for e in ours) == sum(e["count"] for e in theirs):
            places = [[(e["box"][0] - box[0]) / (box[2] or 1) for e in found]
                      + [(e["box"][1] - box[1]) / (box[3] or 1) for e in found]
                      for found, box in zip((ours, theirs), self.boxes)]
            sizes = [[e["box"][2] / (box[2] or 1) for e in found]
                     + [e["box"][3] / (box[3] or 1) for e in found]
                     for found, box in zip((ours, theirs), self.boxes)]
            if len(places[0]) == len(places[1]) and max(
                    abs(a - b) for a, b in zip(places[0] + sizes[0], places[1] + sizes[1])) > 0.12:
                self.differ(1, "frame", "in another place")

    def legend(self, moved: bool) -> None:
        """Place, order of columns and looks of a legend.

        `moved`: the data changed, it may have made room.
        """
        ours, theirs = self.of("legend")
        if not ours or not theirs:
            return
        a, b = ([e for e in found if e["kind"] == "text"] for found in (ours, theirs))
        if a and b:
            self.tell_looks("legend", a[0], b[0])
            columns = [len({round(20 * e["box"][0]) for e in found}) for found in (a, b)]
            if len(a) == len(b) and min(columns) == 1 and max(columns) > 2:
                self.differ(1, "legend", should_be("columns", columns[1], columns[0]))
                return
        boxes = [e["artist"] == "FancyBboxPatch" for e in ours[:1] + theirs[:1]]
        if len(boxes) == 2 and all(boxes):
            self.tell_looks("legend", ours[0], theirs[0])
        elif any(boxes):
            self.differ(1, "legend", "frame " + ("missing" if boxes[0] else "extra"))
        if not moved:
            at = [[(e["box"][k] + e["box"][k + 2] / 2 - box[k]) / (box[k + 2] or 1) for k in (0, 1)]
                  for e, box in zip((whole_box(ours), whole_box(theirs)), self.boxes)]
            if math.dist(*at) > 0.2:
                self.differ(1, "legend", "in another place")

    def notes(self, pairs: list[tuple[int, int, str]]) -> None:
        """Looks of annotations: their letters, arrows and boxes.

        `pairs`: (number in true, in the other, words).
        """
        for i, j, where in pairs:
            ours, theirs = ([e for e in found if e["part"] == k]
                            for found, k in zip(self.of("annotation"), (i, j)))
            self.matched(where, ours, theirs, {"text": "text", "path": "arrow or box"})

    def matched(self, where: str, ours: list[dict], theirs: list[dict], nouns: dict[str, str],
                skip: Collection[str] = (), category: str = "style_error") -> None:
        """Compare all that was painted for one thing, kind by kind."""
        for kind in ("text", "path", "markers", "collection", "mesh", "triangles", "image"):
            a, b = ([e for e in found if e["kind"] == kind] for found in (ours, theirs))
            if len(a) != len(b) and sum(e["count"] for e in a) != sum(e["count"] for e in b):
                if kind in nouns:
                    what = "missing" if len(b) < len(a) else "extra"
                    self.differ(2, where, f"{nouns[kind]} {what}", category)
            for x, y in list(zip(a, b))[:1 if len(a) != len(b) else MANY]:
                if kind in ("collection", "mesh") and \
                        min(len(set(e["fill"])) for e in (x, y)) > 2 and \
                        "fill" not in skip and _color_words(y["fill"], x["fill"], "fill"):
                    self.differ(2, where, "colors of the values differ", "data_error")
                    self.tell_looks(where, x, y, {*skip, "fill", "stroke"})
                else:
                    self.tell_looks(where, x, y, skip)

    def mark(self, m: int, n: int, a: dict, b: dict, where: str,
             part_name: Callable[[int], str]) -> None:
        """One matched mark: `m` and `n` its numbers, `a` and `b` what the scenes say of it."""
        skip, ours, theirs = set(), *self.of("mark", (m, n))
        if _told_color(a, b):
            skip |= {"fill", "stroke"}
        if abs(_one(a.get("alpha")) - _one(b.get("alpha"))) > OPACITY[0]:
            skip |= {"opacity"}
        if (a.get("hatch") or "") != (b.get("hatch") or ""):
            skip |= {"hatch"}
        for key in ("linewidth", "markersize"):
            if a.get(key) != b.get(key):
                skip |= {"width", "size"}
        if a.get("linestyle") != b.get("linestyle"):
            skip |= {"dash", "width"}
        if a.get("marker") != b.get("marker"):
            skip |= {"size", "fill"}
        parts = [{e["part"] for e in found} for found in (ours, theirs)]
        if parts[0] != parts[1] or len(parts[0]) < 2:
            if a["type"] in ("box", "errorbar") and len(ours) != len(theirs):
                noun = {"errorbar": "caps"}.get(a["type"], "parts")
                what = "missing" if len(theirs) < len(ours) else "extra"
                self.differ(1, where, f"{noun} {what}")
            return self.matched(where, ours, theirs, {}, skip)
        found = {}  # words -> (severity, parts)
        for part in sorted(parts[0], key=lambda p: -1 if p is None else p):
            x, y = ([e for e in side if e["part"] == part] for side in (ours, theirs))
            for c, d in zip(x, y):
                for level, words in look_words(d, c, skip):
                    found.setdefault(words, (level, []))[1].append(part)
        for words, (level, mine) in found.items():
            if len(mine) > max(1, len(parts[0]) / 2) or len(mine) > MANY or \
                    a["type"] not in ("bars", "pie"):
                self.differ(level, where, words)
            else:
                for part in mine:
                    self.differ(level, part_name(part), words)
        return None

    def rest(self) -> None:
        """What was painted in the axes by something without a name: in order, by kind of artist."""
        ours, theirs = ([e for e in found] for found in self.of("plot"))
        key = [[(e["artist"], e["kind"]) for e in found] for found in (ours, theirs)]
        if len(ours) * len(theirs) > FEW ** 2:
            return

        def distance(x, y):
            return 0.1 * (ours[x]["text"] != theirs[y]["text"]) if key[0][x] == key[1][y] else 2
        for i, j in align(range(len(ours)), range(len(theirs)), distance):
            entry = ours[i] if j is None else theirs[j]
            noun = noun_of(entry["artist"])
            if i is None or j is None:
                what = "extra" if i is None else "missing"
                if entry["kind"] == "text":
                    self.differ(2, f"text '{normal(entry['text'])[:40]}'", what, "text_error")
                else:
                    self.differ(2, noun, what, "structure_error")
                continue
            if ours[i]["text"] != theirs[j]["text"]:
                level = 1 if similar(ours[i]["text"], theirs[j]["text"]) >= 0.6 else 2
                self.differ(level, noun, reads(theirs[j]["text"], ours[i]["text"]), "text_error")
            self.tell_looks(noun, ours[i], theirs[j])


def noun_of(artist: str | None) -> str:
    """A word for a class of artists: "table" for Table, "quiver key" for QuiverKey."""
    words = "".join(" " + c.lower() if c.isupper() and k else c
                    for k, c in enumerate(artist or "drawing"))
    return words.lower().strip(" _")


def whole_box(entries: list[dict]) -> dict:
    x, y = (min(e["box"][k] for e in entries) for k in (0, 1))
    right, top = (max(e["box"][k] + e["box"][k + 2] for e in entries) for k in (0, 1))
    return {"box": [x, y, right - x, top - y]}


def _one(value):
    return 1.0 if value is None else value


def _told_color(a, b):
    """Whether comparing by name has seen the colours of two marks differ."""
    for key in ("color", "colors", "edges"):
        x, y = (mark.get(key) or [] for mark in (a, b))
        x, y = ([c] if isinstance(c, str) else c for c in (x, y))
        if any(severity(color_distance(c, d), COLOR) for c, d in zip(x, y)):
            return True
    return False
