"""The marks of charts: series are paired, then their bars, points and slices.

`Marks` compares what stands in one subplot of each picture, and remembers what the axes and texts
around it need to know: whether they may have moved with the data (`changed`), and which names and
numbers were told already.
"""
import math

from data.compare.colors import color_distance, color_words
from data.compare.ledger import COLOR, MANY, OPACITY, VALUE, WIDTH, partial, severity
from data.compare.matching import FEW, align, assign
from data.compare.series import (
    NOUNS,
    POINTS,
    Namer,
    axis_of,
    clip,
    follows,
    interpolate,
    items,
    kind,
    regular,
    rescaled,
    scaled,
    shares,
    span,
    stacked,
    stretched,
    value_words,
)
from data.compare.whole import compare_pie, compare_whole, percent
from data.compare.words import as_number, normal, reads, should_be, similar, text_credit

LINES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dash-dotted", "none": "none"}
MARKERS = {"o": "circle", "s": "square", "^": "triangle", "v": "down triangle", "D": "diamond",
           "d": "thin diamond", "x": "cross", "+": "plus", "*": "star", ".": "dot",
           "none": "none", "p": "pentagon", "h": "hexagon"}
SIZES = (("linewidth", "line width"), ("sizes", "marker size"), ("markersize", "marker size"),
         ("thick", "bar width"), ("hole", "hole"))
# Of series that come with others.
NAMES = {"errorbar": "error bars ", "patch": "shape ", "area": "area "}
DENSE = 20  # lines with more points than this are compared as curves


class Marks:
    """The marks of one subplot of each picture: `t` as it should be, `p` as it is.

    `scenes` are the two charts.
    """

    def __init__(self, t, p, prefix, ledger, scenes, bases=None, guard=None):
        self.t, self.p, self.prefix, self.ledger = t, stretched(p, t), prefix, ledger
        self.scenes, self.bases, self.guard = scenes, bases or (t, p), guard
        # Axes ("x", "y") along which marks moved: their limits and ticks may follow.
        self.changed = set()
        self.named = set()  # axes whose tick texts were compared as names of marks
        self.lost, self.gained = [], []  # labels of missing and of extra series
        # A change of type; a change of type that makes the axes incomparable.
        self.retyped = self.turned = False
        # What may be told once for all series: (what, series, places, count, kinds).
        self.shared = []
        # (number in `t`, in `p`, place) of matched series of one type.
        self.pairs = []
        # (expected item, found item) of marks that moved: texts on them move along.
        self.shift = []

    def differ(self, group: str, credit: float, category: str, level: int, location: str,
               description: str, weight: float = 1.0) -> None:
        self.ledger.differ(group, credit, category, level, self.prefix + location, description,
                           weight)

    def tell(self, category: str, level: int, location: str, description: str) -> None:
        self.ledger.tell(category, level, self.prefix + location, description)

    # --- 1. series ---
    def compare(self) -> None:
        """Pair the series, then look at each pair."""
        ours, theirs = self.t["marks"], self.p["marks"]
        self.points = {id(mark): items(mark, axes)
                       for axes in (self.p, self.t) for mark in axes["marks"]}
        # Of long curves, and of many, some points tell enough.
        self.told_by = min(100, max(8, 20_000 // (1 + len(ours) * len(theirs))))
        pairs = assign(ours, theirs, self.distance, gap=0.5, key=repr, most=FEW)
        single = len(ours) == 1
        kinds = {(kind(ours[i]), kind(theirs[j])) for i, j in pairs if None not in (i, j)}
        told = len(kinds) == 1 and all(a != b for a, b in kinds)
        if told:  # every series changed alike: told once
            self.tell("structure_error", 3, "plot", "type {1}, should be {0}".format(*kinds.pop()))
        self.stacking(ours, theirs)
        for i, j in pairs:
            if j is None:
                where = "plot" if single else self.series(ours[i], self.t, i)
                self.alone(ours[i], i, "missing", where)
            elif i is None:
                where = self.series(theirs[j], self.p, j) if len(theirs) > 1 else "plot"
                self.alone(theirs[j], j, "extra", where)
            else:
                alone = single and len(theirs) == 1
                where = "" if alone else self.series(ours[i], self.t, i)
                # The colours go on where a series is missing.
                shifted = len(ours) != len(theirs) and i != j < len(ours)
                self.cycle = _color(ours[j]) if shifted else None
                self.number = i
                self.mark(ours[i], theirs[j], where, told)
                if kind(ours[i]) == kind(theirs[j]):
                    self.pairs.append((i, j, where))
        self.tell_shared()

    def series(self, mark: dict, axes: dict, index: int) -> str:
        """Noun phrase of a series: its name where the legend shows it, else its number."""
        label = normal(mark.get("label"))
        entries = (axes.get("legend") or {}).get("entries", [])
        shown = label in [normal(entry["text"]) for entry in entries]
        return f"series '{label}'" if label and shown else f"series {index + 1}"

    def stacking(self, ours: list[dict], theirs: list[dict]) -> None:
        """Bars side by side instead of on top of each other, or the other way round."""
        flags = [any(stacked(mark, axes) for mark in marks)
                 for marks, axes in ((ours, self.t), (theirs, self.p))]
        counts = [sum(kind(mark) in ("bar", "barh") for mark in marks) for marks in (ours, theirs)]
        self.restacked = flags[0] != flags[1] and min(counts) > 1
        if self.restacked:
            words = [("grouped", "stacked")[flag] for flag in flags]
            self.changed |= set("xy")
            self.differ("data", 0, "structure_error", 3, "plot",
                        f"bars {words[1]}, should be {words[0]}", 2)

    def alone(self, mark: dict, number: int, what: str, where: str) -> None:
        """A series without a partner; no error where the pictures look the same."""
        if self.looks_the_same(number, what):
            return
        (self.lost if what == "missing" else self.gained).append(normal(mark.get("label")))
        self.changed |= set("xy")
        self.differ("data", 0, "data_error", 3, where, NAMES.get(mark["type"], "") + what,
                    max(1, len(self.points[id(mark)])))

    def looks_the_same(self, number: int, what: str) -> bool:
        """Whether the pictures look the same where one shows a mark, given by its number."""
        side = what == "extra"
        numbers = [k for k, axes in enumerate(self.scenes[side]["axes"])
                   if axes is self.bases[side]]
        if not (self.guard and numbers):
            return False
        return self.guard.same_there(self.guard.entries[side].of(numbers[0], "mark", number))

    def distance(self, a: dict, b: dict) -> float:
        """0 for the same series, 1 for two with nothing in common, over 1 if incomparable."""
        kinds = kind(a), kind(b)
        if kinds[0] != kinds[1] and not all(of_kind in POINTS for of_kind in kinds):
            return 2.0
        ours, theirs = self.points[id(a)], self.points[id(b)]
        off = [1.0] * abs(len(ours) - len(theirs))
        step = 1 + min(len(ours), len(theirs)) // self.told_by
        off += [min(1, self.off(x, y, kinds) / VALUE[2])
                for x, y in zip(ours[::step], theirs[::step])]
        colors = color_distance(_color(a), _color(b))
        labels = normal(a.get("label")), normal(b.get("label"))
        return (0.3 * (kinds[0] != kinds[1]) + 0.3 * (labels[0] != labels[1])
                + 0.1 * min(1, colors / COLOR[1]) + 0.3 * (sum(off) / len(off) if off else 0))

    def off(self, a: dict, b: dict, kinds: tuple[str, str], what: str = "value") -> float:
        """How far item `b` is from `a`, as a fraction of the axis (circle) that shows `what`."""
        if "pie" in kinds:
            return abs(a[what] - b[what])
        which = what != "pos"  # 0: axis of positions, 1: axis of values
        axis, other = axis_of(kinds[0])[which], axis_of(kinds[1])[which]
        scale, length = self.t.get(axis + "scale"), span(self.t, axis)
        raw = abs(scaled(a[what], scale) - scaled(b[what], scale)) / length
        clipped = abs(scaled(clip(a[what], self.t[axis + "lim"]), scale)
                      - scaled(clip(b[what], self.p[other + "lim"]), scale)) / length
        return min(raw, clipped)

    def mark(self, a: dict, b: dict, where: str, told: bool) -> None:
        """One series of both pictures; `where` is "" for the only one.

        `told`: its type is told already.
        """
        kinds = kind(a), kind(b)
        ours, theirs = self.points[id(a)], self.points[id(b)]
        if kinds[0] != kinds[1]:
            self.retyped = True
            self.ledger.cost("data", 0, max(1, len(ours)))
            self.turned |= "pie" in kinds or "barh" in kinds
            if not told:
                self.tell("structure_error", 3, where or "plot",
                          "type {1}, should be {0}".format(*kinds))
            if "pie" in kinds:
                ours, theirs = shares(ours), shares(theirs)
        elif kinds[0] == "pie":
            theirs = rescaled(ours, theirs)
        if kinds[0] not in POINTS:
            return compare_whole(self, a, b, where or "plot")
        on_top = stacked(a, self.t), stacked(b, self.p)
        if self.restacked or all(on_top) or any(on_top) and kinds[0] != kinds[1]:
            # What lies below is another series' business.
            ours, theirs = ([{**item, "value": item["value"] - item["base"], "base": 0}
                             for item in found] for found in (ours, theirs))
        if kinds[0] == kinds[1] == "line" and self.curve(ours, theirs, a, b, where):
            pairs = list(zip(range(len(ours)), range(len(theirs))))
        else:
            pairs = self.pair(ours, theirs, kinds)
            self.items(pairs, ours, theirs, kinds, where)
        self.colors(pairs, ours, theirs, kinds, where)
        if kinds[0] == kinds[1] == "pie":
            same = self.looks_the_same(self.number, "missing")
            compare_pie(self, a, b, where or "plot", same)
        if kinds[0] == kinds[1]:
            self.paint(a, b, kinds[0], where or "plot")
        return None

    # --- 2. items ---
    def pair(self, ours: list[dict], theirs: list[dict], kinds: tuple[str, str]) -> list[tuple]:
        """Pair the items of one series: [(i, j), (i, None), (None, j)]."""
        names = [item["name"] for item in ours], [item["name"] for item in theirs]
        named = any(names[0]) and any(names[1])
        n, m = len(ours), len(theirs)
        if kinds[0] == kinds[1] == "scatter" and not named and max(n, m) <= 40:
            return assign(ours, theirs,
                          lambda a, b: self.off(a, b, kinds) + self.off(a, b, kinds, "pos"), 2)
        if n == m:
            pairs = [(i, i) for i in range(n)]
            reordered = names[0] != names[1] and sorted(names[0]) == sorted(names[1])
            if named and reordered and len(set(names[0])) == n:
                by_name = [(i, names[1].index(name)) for i, name in enumerate(names[0])]
                # A swap is one error, names are two.
                renamed = sum(a != b for a, b in zip(*names))
                if (self.wrong(by_name, ours, theirs, kinds) + 1
                        < self.wrong(pairs, ours, theirs, kinds) + renamed):
                    return by_name
            return pairs
        ordinal = regular(ours) and regular(theirs)

        def distance(a, b):
            value = min(1, self.off(a, b, kinds) / VALUE[2])
            if named:
                name = 1 - similar(a["name"], b["name"])
                return 0.5 * name + 0.3 * value + 0.2 * (a["color"] != b["color"])
            place = min(1, self.off(a, b, kinds, "pos") / 0.05)
            return value + 0.001 * place if ordinal else 0.5 * value + 0.5 * place
        if not named or len(set(names[0])) < n or len(set(names[1])) < m:
            return align(ours, theirs, distance, most=FEW)
        pairs = [(i, names[1].index(name)) for i, name in enumerate(names[0]) if name in names[1]]
        alone = [[k for k in range(len(side)) if side[k] not in other]
                 for side, other in (names, names[::-1])]
        rest = align([ours[i] for i in alone[0]], [theirs[j] for j in alone[1]], distance, most=FEW)
        rest = [tuple(None if k is None else alone[side][k] for side, k in enumerate(pair))
                for pair in rest]
        return sorted(pairs + rest,
                      key=lambda pair: pair[0] if pair[0] is not None else pair[1] + 0.5)

    def wrong(self, pairs: list[tuple], ours: list[dict], theirs: list[dict],
              kinds: tuple[str, str]) -> int:
        return sum(self.off(ours[i], theirs[j], kinds) > VALUE[0] for i, j in pairs)

    def items(self, pairs: list[tuple], ours: list[dict], theirs: list[dict],
              kinds: tuple[str, str], where: str) -> None:
        """Enter the values, positions and names of the paired items of one series."""
        noun = NOUNS.get(kinds[0], "point")
        place = Namer(ours, theirs, noun, where)
        full = [all(item["name"] for item in found) for found in (ours, theirs)]
        named = any(full) and all(any(item["name"] for item in found) for found in (ours, theirs))
        counted = len(ours) != len(theirs) and regular(ours) and regular(theirs)
        placed = not (named or counted or "pie" in kinds)
        # lonely: (i, j) of items without a partner
        values, lonely, errors = [], {"missing": [], "extra": []}, 0
        depth = max([1e-9, *(abs(item["z"] or 0) for item in ours)])
        self.order(pairs, ours, theirs, kinds, where)
        for i, j in pairs:
            if i is None or j is None:
                self.ledger.cost("data", 0)
                item, axes = (ours[i], self.p) if j is None else (theirs[j], self.t)
                if not self.cut_off(item, kinds[0], axes):
                    lonely["missing" if j is None else "extra"].append((i, j))
                    self.shift.append((item, None) if j is None else (None, item))
                continue
            a, b = ours[i], theirs[j]
            if named and a["name"] != b["name"]:
                self.name(a, b, kinds, place(i, j), len(pairs))
            elif named:
                self.ledger.agree("axes", 1 / len(pairs))
            off, moved = self.off(a, b, kinds), self.off(a, b, kinds, "pos") if placed else 0
            raised = a["base"] != b["base"] and "pie" not in kinds
            based = self.off(a, b, kinds, "base") if raised else 0
            deep = abs(a["z"] - b["z"]) / depth if None not in (a["z"], b["z"]) else 0
            errors += self.error_bar(a, b, kinds)
            worst = max(off, moved, based, deep)
            if worst <= VALUE[0]:
                self.ledger.agree("data")
                continue
            self.shift.append((a, b))
            credit = partial(off, VALUE) * partial(moved, VALUE) * partial(max(based, deep), VALUE)
            self.ledger.cost("data", credit)
            if worst == based:
                words = should_be("start", b["base"], a["base"])
            elif worst == deep:
                words = should_be("z", b["z"], a["z"])
            else:
                words = value_words(a, b, off, moved, kinds, self.t.get("dates"))
            values.append((severity(worst, VALUE), place(i, j), words))
        self.tell_many("data_error", values, where, len(ours), "values wrong")
        if errors:
            self.differ("data", 1 - errors / len(ours), "data_error", 2, where or "plot",
                        f"{errors} of {len(ours)} error bars wrong")
        for what, alone in lonely.items():
            places = [Namer(ours, theirs, noun)(i, j) for i, j in alone]
            self.shared.append((what, where, places, len(ours), noun))
        if values or errors or lonely["missing"] or lonely["extra"]:
            self.changed |= set("xy")
        if named and "pie" not in kinds:
            self.named |= {axis_of(kinds[0])[0]}

    def error_bar(self, a: dict, b: dict, kinds: tuple[str, str]) -> int:
        """1 if the error bars of two items differ in their ends, else 0."""
        if kinds != ("errorbar", "errorbar"):
            return 0
        for axis, x, y in zip("xxyy", a["ends"], b["ends"]):
            if ((x is None) != (y is None)
                    or x is not None and abs(x - y) / span(self.t, axis) > VALUE[0]):
                return 1
        return 0

    def cut_off(self, item: dict, of_kind: str, axes: dict) -> bool:
        """Whether an item is missing in one picture only because its limits there leave it out.

        Such limits are set by the program or follow from another scale.
        """
        scene = self.scenes[axes is self.p]
        base = item["base"] if of_kind in ("bar", "barh") else None
        for axis, value, start in zip(axis_of(of_kind), (item["pos"], item["value"]), (None, base)):
            limits, scale = axes[axis + "lim"], axis + "scale"
            out = (clip(value, limits) != value if start is None
                   else clip(value, limits) == clip(start, limits))
            caused = self.t[scale] != self.p[scale] or not follows(axes, scene, axis)
            if of_kind != "pie" and out and caused:
                return True
        return False

    def order(self, pairs: list[tuple], ours: list[dict], theirs: list[dict],
              kinds: tuple[str, str], where: str) -> None:
        """Named items that changed their order: a swap of two, or more."""
        matched = [pair for pair in pairs if None not in pair]
        ranks = [[pair[0] for pair in matched], sorted(j for _, j in matched)]
        moved = [(i, ranks[0][ranks[1].index(j)])
                 for k, (i, j) in enumerate(matched) if ranks[1][k] != j]
        if not moved or not ours[moved[0][0]]["name"]:
            return
        self.changed |= set("xy")
        self.ledger.cost("data", 0.5, len(moved))
        if len(moved) == 2:
            i, j = moved[0]
            place = Namer(ours, theirs, NOUNS.get(kinds[0], "point"))(i, i)
            self.shared.append((f"swapped with '{ours[j]['name']}'", where, [place], len(ours), ""))
        else:
            self.tell("data_error", 2, where or "plot", "in another order")

    def name(self, a: dict, b: dict, kinds: tuple[str, str], place: str, n: int) -> None:
        """A category with the wrong name: told once for its tick, or for its slice."""
        self.ledger.cost("axes", text_credit(b["name"], a["name"]), 1 / n)
        where = place if "pie" in kinds else f"{axis_of(kinds[0])[0]} ticks"
        if not b["name"] or not a["name"]:
            self.tell("text_error", 2, where,
                      f"'{b['name']}' extra" if b["name"] else f"'{a['name']}' missing")
        else:
            self.tell("text_error", 1 if similar(a["name"], b["name"]) >= 0.6 else 2, where,
                      reads(b["name"], a["name"]))

    def tell_shared(self) -> None:
        """Tell marks without a partner, and swaps; what is the same in all series is told once."""
        order = [entry[0] for entry in self.shared]
        for what in sorted(set(order), key=order.index):
            found = [entry for entry in self.shared if entry[0] == what]
            places = [entry[2] for entry in found]
            if len(found) > 1 and places[0] and all(place == places[0] for place in places):
                found = [(what, "", *found[0][2:])]
            level = 2 if what.startswith("swapped") else 3
            for _, where, alone, n, noun in found:
                comma = where + ", " if where else ""
                entries = [(level, comma + at, what) for at in alone]
                self.tell_many("data_error", entries, where, n, f"{noun}s {what}")

    def tell_many(self, category: str, entries: list[tuple[int, str, str]], where: str, n: int,
                  words: str) -> None:
        """Tell each of a few (severity, location, description), or more than MANY at once."""
        if len(entries) > MANY:
            self.tell(category, max(level for level, _, _ in entries), where or "plot",
                      f"{len(entries)} of {n} {words}")
        else:
            for level, at, description in entries:
                self.tell(category, level, at, description)

    # --- 3. other shapes ---
    def curve(self, ours: list[dict], theirs: list[dict], a: dict, b: dict, where: str) -> bool:
        """Compare two lines, dense or without markers, as curves. True if that settled it."""
        dense = max(len(ours), len(theirs)) > DENSE
        bare = a.get("marker", "none") == b.get("marker", "none") == "none"
        if not (dense or bare) or min(len(ours), len(theirs)) < 2:
            return False
        gaps = self.curve_gaps(ours, theirs, dense)
        if gaps is None or not dense and max(gaps) > VALUE[0]:
            return False
        weight = min(DENSE, len(ours))
        if max(gaps) <= VALUE[0]:
            self.ledger.agree("data", weight)
            return True
        wrong = sum(gap > VALUE[0] for gap in gaps) / len(gaps)
        self.changed |= set("xy")
        self.differ("data", sum(partial(gap, VALUE) for gap in gaps) / len(gaps), "data_error",
                    severity(max(gaps), VALUE), where or "plot",
                    f"curve off by {percent(max(gaps))} over {percent(wrong)}", weight)
        return True

    def curve_gaps(self, ours: list[dict], theirs: list[dict], dense: bool) -> list[float] | None:
        """Gaps of two curves at all x, as fractions of the y axis; None if x turns back."""
        kinds = "line", "line"
        if any(b["pos"] <= a["pos"] for found in (ours, theirs) for a, b in zip(found, found[1:])):
            return None
        if max(self.off(ours[k], theirs[k], kinds, "pos") for k in (0, -1)) > 0.02:
            return [1.0] * len(ours) if dense else None
        at = sorted({item["pos"] for item in ours + theirs})
        return [self.off({"value": x}, {"value": y}, kinds)
                for x, y in zip(interpolate(ours, at), interpolate(theirs, at))]

    # --- 4. paint ---
    def colors(self, pairs: list[tuple], ours: list[dict], theirs: list[dict],
               kinds: tuple[str, str], where: str) -> None:
        """Colour of a series as a whole, or of the few marks that differ."""
        both = [(i, j) for i, j in pairs if None not in (i, j)]
        lists = [[item["color"] for item in found] for found in (ours, theirs)]
        if not both or (kinds[0] != kinds[1]
                        and any(len(set(colors)) > 1 for colors in lists)):
            return  # a pie has a colour a slice, bars have one: follows the type
        gaps = {(i, j): color_distance(lists[0][i], lists[1][j]) for i, j in both}
        wrong = [pair for pair in both if severity(gaps[pair], COLOR)]
        if not any(severity(color_distance(x, y), COLOR) for x, y in zip(*lists)):
            wrong = []  # the cycle of colours goes on where a mark is missing
        if self.cycle and set(lists[1]) == {self.cycle}:
            wrong = []
        for pair in both:
            credit = partial(gaps[pair], COLOR) if pair in wrong else 1.0
            self.ledger.entries["style"].append([3 / len(both), credit])
        alike = len({(lists[0][i], lists[1][j]) for i, j in wrong}) == 1
        place = Namer(ours, theirs, NOUNS.get(kinds[0], "point"), where)
        told = [(severity(gaps[i, j], COLOR), place(i, j), color_words(lists[1][j], lists[0][i]))
                for i, j in wrong]
        if alike and len(wrong) == len(both) and (len(both) > 1 or kinds[0] != "pie"):
            self.tell("style_error", told[0][0], where or "plot", told[0][2])
        else:
            self.tell_many("style_error", told, where, len(ours), "colors wrong")

    def paint(self, a: dict, b: dict, of_kind: str, where: str) -> None:
        """Line style, marker, sizes, opacity and pattern of one series."""
        for key, what, words in (("linestyle", "line", LINES), ("marker", "marker", MARKERS)):
            if (of_kind not in ("line", "scatter", "errorbar")
                    or key == "linestyle" and of_kind == "scatter"):
                continue
            found, expected = (str(mark.get(key) or "none") for mark in (b, a))
            if found != expected:
                named = words.get(found, found), words.get(expected, expected)
                self.differ("style", 0, "style_error", 1, where,
                            "{} {}, should be {}".format(what, *named))
            else:
                self.ledger.agree("style")
        for key, what in SIZES:
            found, expected = _mean(b.get(key)), _mean(a.get(key))
            if found and expected and not (key == "linewidth" and of_kind == "scatter"):
                ratio = max(found, expected) / min(found, expected)
                gap = (math.sqrt(ratio) if key == "sizes" else ratio) - 1  # those are areas
                if severity(gap, WIDTH):
                    self.differ("style", partial(gap, WIDTH), "style_error",
                                severity(gap, WIDTH), where, should_be(what, found, expected))
        alphas = [1 if mark.get("alpha") is None else mark["alpha"] for mark in (b, a)]
        gap = abs(alphas[0] - alphas[1])
        faded = self.t.get("projection") == "3d" and of_kind == "scatter"  # with their depth
        if severity(gap, OPACITY) and not faded:
            self.differ("style", partial(gap, OPACITY), "style_error", severity(gap, OPACITY),
                        where, should_be("opacity", *alphas))
        if (a.get("hatch") or "") != (b.get("hatch") or ""):
            self.differ("style", 0, "style_error", 1, where,
                        f"pattern {b.get('hatch') or 'none'}, should be {a.get('hatch') or 'none'}")
        edges, fills = ([(mark.get(key) or [None])[0] for mark in (a, b)]
                        for key in ("edges", "colors"))
        edged = of_kind in ("bar", "barh") and edges != fills
        if edged and severity(color_distance(*edges), COLOR):
            self.differ("style", 0, "style_error", 1, where,
                        color_words(edges[1], edges[0], "edge"))

    def follows_mark(self, a: dict | None, b: dict | None) -> bool:
        """Whether a number written on a mark changed, came or went only because the mark did.

        `a` is the annotation as it should be, `b` as it is; one may be None.
        """
        for item, moved in self.shift:
            if a and b and normal(a["text"]) == normal(b["text"]):
                return True
            sides = [(note, mark) for note, mark in ((a, item), (b, moved)) if note or mark]
            if all(note and mark and as_number(note["text"]) is not None
                   and abs(as_number(note["text"]) - mark["value"])
                   <= 0.02 * abs(mark["value"]) + 1e-9
                   for note, mark in sides):
                return True
        return False


def _color(mark):
    return mark.get("color") or (mark.get("colors") or [None])[0]


def _mean(values):
    values = [v for v in (values if isinstance(values, list) else [values]) if v is not None]
    return sum(values) / len(values) if values else None
