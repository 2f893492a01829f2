"""Charts: subplots are paired; of each, marks, axes, texts and looks go into the `Ledger`."""
import collections
import math
import re
from dataclasses import replace

from data.compare.colors import check_color
from data.compare.guard import Guard
from data.compare.ledger import LIMIT, MANY, PLACE, Ledger, partial, severity
from data.compare.marks import Marks
from data.compare.matching import FEW, align, assign
from data.compare.painted import Paint
from data.compare.series import color_bar, follows, items, kind, scaled, span, word_ticks
from data.compare.words import check_text, normal, number, reads, should_be, similar


def examine_chart(true: dict, pred: dict, ledger: Ledger) -> None:
    """Compare two chart scenes; enter everything visible in `ledger`."""
    guard = Guard((true, pred), ledger)
    if guard.one_picture():
        return
    if len(true["axes"]) == len(pred["axes"]) == 1:
        true, pred = guard.scenes = _one_title(true), _one_title(pred)
    true, pred = guard.scenes = [_left_first(scene, found)
                                 for scene, found in zip((true, pred), guard.entries)]
    check_text(ledger, "axes", "text_error", "figure title", pred.get("title"), true.get("title"))
    ours, theirs = (_subplots(scene) for scene in (true, pred))
    pairs = [(0, 0)] if len(ours) == len(theirs) == 1 else assign(ours, theirs, _distance, gap=0.6)
    guard.arranged = _arrangement(ours, theirs, pairs, ledger)
    for i, j in pairs:
        prefix = f"subplot {i + 1}: " if len(ours) > 1 and i is not None else ""
        if i is None or j is None:
            ledger.cost("data", 0, _weight(ours[i] if j is None else theirs[j]))
            continue
        t = _settled(ours[i], theirs[j], (true, pred), guard.entries)
        p = _settled(theirs[j], ours[i], (pred, true), guard.entries[::-1])
        before = len(ledger.errors)
        _Pair(t, p, prefix, ledger, (true, pred), (ours[i], theirs[j]), guard).compare()
        _second_axes(true, pred, ours[i], theirs[j], prefix, ledger, guard)
        # Limits may have moved with the data of another subplot.
        moved = any(t[axis + "lim"] != p[axis + "lim"] for axis in "xy")
        guard.watch(_number(true, ours[i]), _number(pred, theirs[j]), prefix,
                    moved or len(ledger.errors) > before)
    _color_bars(true, pred, ledger)
    _figure(true, pred, guard.entries, ledger)
    guard.check()
    _tell_in_one(ledger)


def _tell_in_one(ledger):
    """What is said in the same words of more than MANY things of one sort is one error."""
    def sort(error):
        noun = re.sub(r"'.*'|\d+", "", error.location)
        return error.category, error.severity, noun, error.description
    counts, told, errors = collections.Counter(map(sort, ledger.errors)), set(), []
    for error in ledger.errors:
        more = counts[sort(error)] - 1
        if more < MANY:
            errors.append(error)
        elif sort(error) not in told:
            told.add(sort(error))
            errors.append(replace(error, location=f"{error.location} and {more} more"))
    ledger.errors = errors


def _left_first(scene, entries):
    """`scene` with the left axes as the first of two over each other, as they are read."""
    axes = list(scene["axes"])
    for k, twin in enumerate(axes):
        base = twin.get("twin")
        if base is None or sum(other.get("twin") == base for other in axes) > 1:
            continue
        if (_on_right(axes[base], entries.of(base, "y ticks"))
                and not _on_right(twin, entries.of(k, "y ticks"))):
            keys = "title", "xlabel", "xticks", "grid", "legend", "annotations"
            shared = {key: axes[base][key] for key in keys if axes[base].get(key)}
            axes[k] = {**twin, **shared, "twin": None, "facecolor": axes[base].get("facecolor")}
            axes[base] = {**axes[base], "twin": k, "title": "", "xlabel": "", "xticks": [],
                          "legend": None, "annotations": [], "facecolor": twin.get("facecolor")}
    return {**scene, "axes": axes}


def _on_right(axes, entries):
    """Whether the numbers of the y axis stand on the right."""
    texts = [entry["box"] for entry in entries if entry["kind"] == "text"]
    return bool(texts) and _middle(texts[0])[0] > axes["box"][0] + axes["box"][2] / 2


def _number(scene, axes):
    """Where a subplot stands in the list of all axes; None if it was made of another one."""
    return next((k for k, other in enumerate(scene["axes"]) if other is axes), None)


def _settled(axes, other, scenes, entries):
    """`axes` with a text that stands where `other` has a title or a label as that."""
    scene, true = scenes
    k, m = _number(scene, axes), _number(true, other)
    for key, place in (("title", "title"), ("xlabel", "x-axis label"), ("ylabel", "y-axis label")):
        if axes.get(key) or not other.get(key):
            continue
        boxes = [entry["box"] for entry in entries[1].of(m, place)]
        for part, note in enumerate(axes.get("annotations") or []):
            mine = [entry["box"] for entry in entries[0].of(k, "annotation")
                    if entry["part"] == part]
            if (normal(note["text"]) == normal(other[key]) and boxes and mine
                    and math.dist(_middle(boxes[0]), _middle(mine[-1])) < 0.03):
                rest = [n for n in axes["annotations"] if n is not note]
                axes = {**axes, key: note["text"], "annotations": rest, "moved": part}
                break
    return axes


def _middle(box):
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _one_title(scene):
    """A chart with one subplot: title and legend are those of the figure or of the axes."""
    axes = scene["axes"][0]
    axes = {**axes, "title": axes.get("title") or scene.get("title", ""),
            "legend": axes.get("legend") or scene.get("legend")}
    return {**scene, "axes": [axes], "title": "", "legend": None}


def _subplots(scene):
    return [axes for axes in scene["axes"] if axes.get("twin") is None and not color_bar(axes)]


def _weight(axes):
    return sum(len(items(mark, axes)) for mark in axes["marks"]) or 1


def _distance(a, b):
    words = 1 - similar(" ".join(a.get(key, "") for key in ("title", "ylabel", "xlabel")),
                        " ".join(b.get(key, "") for key in ("title", "ylabel", "xlabel")))
    types = sorted(map(kind, a["marks"])) != sorted(map(kind, b["marks"]))
    place = math.dist(a["box"][:2], b["box"][:2])
    return 0.3 * words + 0.2 * types + 0.2 * min(1, place) + 0.3 * (a["marks"] != b["marks"])


def _arrangement(ours, theirs, pairs, ledger):
    """Number, grid and order of the subplots; whether they are alike."""
    found, expected = len(theirs), len(ours)
    if found != expected:
        weight = max(4, sum(map(_weight, ours)) / max(1, expected))
        credit = min(found, expected) / max(found, expected)
        ledger.differ("data", credit, "structure_error", 3, "plot",
                      should_be("subplots", found, expected), weight)
    elif _grid(ours) != _grid(theirs):
        words = "subplots {} x {}, should be {} x {}".format(*_grid(theirs), *_grid(ours))
        ledger.differ("style", 0.5, "structure_error", 2, "plot", words)
    elif [j for _, j in pairs] != list(range(found)) and not any(None in pair for pair in pairs):
        ledger.differ("style", 0.5, "structure_error", 2, "plot", "subplots in another order")
    else:
        return True
    return False


def _grid(axes):
    """(rows, columns) of subplots: distinct top and left edges, to a tenth of the figure."""
    tops = {round(10 * (a["box"][1] + a["box"][3])) for a in axes}
    lefts = {round(10 * a["box"][0]) for a in axes}
    return tuple(sum(edge - 1 not in edges for edge in edges) for edges in (tops, lefts))


def _second_axes(true, pred, t, p, prefix, ledger, guard):
    """Axes laid over a subplot (twinx): the second scale."""
    ours, theirs = ([axes for axes in scene["axes"] if axes.get("twin") is not None
                     and scene["axes"][axes["twin"]]["box"] == base["box"]]
                    for scene, base in ((true, t), (pred, p)))
    where = prefix + "second axis"
    for k in range(max(len(ours), len(theirs))):
        if k < min(len(ours), len(theirs)):
            _Pair(ours[k], theirs[k], where + ": ", ledger, (true, pred), None, guard).compare()
        else:
            extra = k >= len(ours)
            ledger.differ("data", 0, "structure_error", 3, where, "extra" if extra else "missing",
                          _weight((theirs if extra else ours)[k]))


def _color_bars(true, pred, ledger):
    ours, theirs = ([axes for axes in scene["axes"] if color_bar(axes)]
                    for scene in (true, pred))
    if len(ours) != len(theirs):
        ledger.differ("style", 0, "structure_error", 2, "color bar",
                      "missing" if len(ours) > len(theirs) else "extra")
    for t, p in zip(ours, theirs):
        for key in ("title", "xlabel", "ylabel"):
            check_text(ledger, "axes", "text_error", "color bar", p.get(key), t.get(key))
        lying = [axes["box"][2] > axes["box"][3] for axes in (p, t)]
        words = [["upright", "lying"][flag] for flag in lying]
        if lying[0] != lying[1]:
            ledger.differ("style", 0.5, "structure_error", 1, "color bar",
                          "{}, should be {}".format(*words))
        elif not ledger.errors:
            _color_scale(t, p, "xy"[not lying[0]], ledger)


def _color_scale(t, p, axis, ledger):
    """Range and ticks of a colour bar."""
    ends = [axes[axis + "lim"] for axes in (p, t)]
    if max(abs(a - b) for a, b in zip(*ends)) > LIMIT[0] * span(t, axis):
        words = [" to ".join(number(v) for v in found) for found in ends]
        return ledger.differ("axes", 0.5, "data_error", 1, "color bar",
                             "range {}, should be {}".format(*words))
    found, expected = ([normal(tick["text"]) for tick in axes[axis + "ticks"]] for axes in (p, t))
    if found != expected:
        ledger.differ("axes", 0.5, "text_error", 1, "color bar",
                      f"labels {_some(found)}, should be {_some(expected)}")
    return None


def _figure(true, pred, entries, ledger):
    """What belongs to the whole figure: background, legend, texts."""
    colors = [scene.get("facecolor") or "#ffffff" for scene in (true, pred)]
    if colors != ["#ffffff", "#ffffff"]:
        check_color(ledger, "style", "background", colors[1], colors[0])
    _legend(true.get("legend"), pred.get("legend"), "", ledger)
    notes = [[normal(note["text"]) for note in scene.get("texts") or []]
             for scene in (true, pred)]
    for i, j in align(*notes, lambda a, b: 0.8 * (1 - similar(a, b)), most=FEW):
        text = notes[0][i] if i is not None else notes[1][j]
        where = f"annotation '{text}'"
        check_text(ledger, "axes", "text_error", where,
                   "" if j is None else notes[1][j], "" if i is None else notes[0][i])
        if None not in (i, j):
            Paint((true, pred), entries, None, None, "", ledger).notes([(i, j, where)])
            a, b = true["texts"][i], pred["texts"][j]
            if max(abs((a[k] or 0) - (b[k] or 0)) for k in "xy") > PLACE[1]:
                ledger.differ("axes", 0.5, "text_error", 1, where, "in another place")


def _legend(t, p, prefix, ledger, lost=(), gained=(), ordered=True):
    """Legends; entries of series that are missing (`lost`) or extra (`gained`) are no errors.

    `ordered`: another order counts; Matplotlib reorders the entries where the type of a series
    changes.
    """
    where = prefix + "legend"
    if not t and not p:
        return
    if not t or not p:
        ledger.differ("axes", 0, "text_error", 2, where, "extra" if p else "missing", 2)
        return
    check_text(ledger, "axes", "text_error", where, p.get("title"), t.get("title"))
    expected = _without([normal(entry["text"]) for entry in t["entries"]], lost)
    found = _without([normal(entry["text"]) for entry in p["entries"]], gained)
    if sorted(expected) == sorted(found):
        if expected != found and ordered:
            ledger.differ("axes", 0.5, "text_error", 1, where, "in another order")
        else:
            ledger.agree("axes", 2)
        return
    for i, j in align(expected, found, lambda a, b: 0.8 * (1 - similar(a, b)), most=FEW):
        a, b = "" if i is None else expected[i], "" if j is None else found[j]
        if a and b:
            check_text(ledger, "axes", "text_error", where, b, a, weight=2 / len(expected))
        else:
            ledger.differ("axes", 0, "text_error", 2, where,
                          f"'{b}' extra" if b else f"'{a}' missing", 0.5)


def _without(texts, gone):
    """`texts` less one occurrence of each of `gone`."""
    texts = list(texts)
    for text in gone:
        if text in texts:
            texts.remove(text)
    return texts


class _Pair:
    """One subplot of each picture: `t` as it should be, `p` as it is."""

    def __init__(self, t, p, prefix, ledger, scenes, bases=None, guard=None):
        self.t, self.p, self.prefix, self.ledger, self.scenes = t, p, prefix, ledger, scenes
        self.bases, self.guard = bases or (t, p), guard  # the subplots as they are in the scenes
        self.marks = Marks(t, p, prefix, ledger, scenes, self.bases, guard)

    def compare(self) -> None:
        names = [axes.get("projection") or "rectilinear" for axes in (self.t, self.p)]
        if names[0] != names[1]:
            self.marks.turned = True
            spoken = {"rectilinear": "rectangular", "3d": "three-dimensional"}
            words = [spoken.get(name, name) for name in names]
            self.differ("data", 0, "structure_error", 3, "plot",
                        f"{words[1]} axes, should be {words[0]}", 4)
            return
        self.view()
        self.marks.compare()
        kinds = [kind(mark) for mark in self.t["marks"] + self.p["marks"]]
        axes = "xyz"[:2 + all("zlim" in axes for axes in (self.t, self.p))]
        if not self.marks.turned and "pie" not in kinds:
            for axis in axes:
                self.limits(axis)
        for key, place in (("title", "title"), ("xlabel", "x-axis label"),
                           ("ylabel", "y-axis label"), ("zlabel", "z-axis label")):
            check_text(self.ledger, "axes", "text_error", self.prefix + place,
                       self.p.get(key), self.t.get(key))
        for axis in axes:
            self.ticks(axis)
        _legend(self.t.get("legend"), self.p.get("legend"), self.prefix, self.ledger,
                self.marks.lost, self.marks.gained, not self.marks.retyped)
        notes = self.annotations()
        self.looks()
        self.paint(notes)

    def differ(self, group: str, credit: float, category: str, level: int, location: str,
               description: str, weight: float = 1.0) -> None:
        self.ledger.differ(group, credit, category, level, self.prefix + location, description,
                           weight)

    def view(self) -> None:
        """From where a space is seen, or how a polar chart is turned."""
        ours, theirs = (axes.get("view") or [] for axes in (self.t, self.p))
        if len(ours) == len(theirs) and any(
                abs((a - b + 180) % 360 - 180) > 2 or abs(a - b) == 2
                for a, b in zip(ours, theirs)):
            words = [" ".join(number(v) for v in angles) for angles in (theirs, ours)]
            said = "seen from {}, should be {}" if len(ours) == 3 else "turned by {}, should be {}"
            self.differ("style", 0.5, "style_error", 2, "plot", said.format(*words))

    def limits(self, axis: str) -> None:
        """Scale and limits of one axis; limits that follow from the data are no error."""
        t, p, place, changed = self.t, self.p, f"{axis} axis", self.marks.changed
        scales = p.get(axis + "scale", "linear"), t.get(axis + "scale", "linear")
        if scales[0] != scales[1]:
            changed |= {axis}
            return self.differ("axes", 0, "data_error", 2, place,
                               "scale {}, should be {}".format(*scales), 2)
        found, expected = p[axis + "lim"], t[axis + "lim"]
        gap = max(abs(scaled(x, scales[0]) - scaled(y, scales[0])) / span(t, axis)
                  for x, y in zip(found, expected))
        if gap <= LIMIT[0]:
            return self.ledger.agree("axes")
        anywhere = changed or any(axes["marks"] != other["marks"] for axes, other
                                  in zip(self.scenes[0]["axes"], self.scenes[1]["axes"]))
        changed |= {axis}
        if anywhere and follows(t, self.scenes[0], axis) and follows(p, self.scenes[1], axis):
            return None
        if (found[0] > found[1]) != (expected[0] > expected[1]):
            return self.differ("axes", 0.3, "data_error", 3, place, "reversed")
        ends = next(ends for digits in (3, 4, 5, 9) if digits == 9 or len(set(
            ends := [f"{number(a, digits)} to {number(b, digits)}"
                     for a, b in (found, expected)])) == 2)
        return self.differ("axes", partial(gap, LIMIT), "data_error", severity(gap, LIMIT),
                           place, f"range {ends[0]}, should be {ends[1]}")

    def ticks(self, axis: str) -> None:
        """Tick texts of one axis, unless they are names of marks or follow from changed limits."""
        place = f"{axis} ticks"
        found, expected = ([(tick["pos"], normal(tick["text"]))
                            for tick in axes.get(axis + "ticks", []) if normal(tick["text"])]
                           for axes in (self.p, self.t))
        if self.marks.turned or not (found or expected):
            return
        if not found or not expected:
            self.differ("axes", 0, "text_error", 2, place, "extra" if found else "missing")
            return
        words = [text for _, text in found], [text for _, text in expected]
        named = word_ticks(self.t, axis) and word_ticks(self.p, axis)
        follow = (axis in self.marks.changed or self.other_room(axis, words)) and not named
        if axis in self.marks.named or words[0] == words[1] or follow:
            self.ledger.agree("axes")
            return
        at = dict(found)
        wrong = [(at[pos], text) for pos, text in expected if pos in at and at[pos] != text]
        credit = sum(text in words[0] for text in words[1]) / max(len(found), len(expected))
        if len(found) == len(expected) and 1 <= len(wrong) <= 2:
            self.ledger.cost("axes", credit)
            for a, b in wrong:
                self.ledger.tell("text_error", 1 if similar(a, b) >= 0.6 else 2,
                                 self.prefix + place, reads(a, b))
        else:
            self.differ("axes", credit, "text_error", 1, place,
                        f"labels {_some(words[0])}, should be {_some(words[1])}")

    def other_room(self, axis: str, words: tuple[list[str], list[str]]) -> bool:
        """Whether the axes leave another room for numbers: then others of them may be shown."""
        side = 2 + (axis != "x")
        numbers = [_number(scene, axes) for scene, axes in zip(self.scenes, self.bases)]
        heights = []
        for k, number_ in enumerate(numbers):
            texts = [e["box"][3] for e in self.guard.entries[k].of(number_, f"{axis} ticks")
                     if e["kind"] == "text"]
            heights.append(min(texts, default=0))
        longer = abs(self.t["box"][side] / self.p["box"][side] - 1)
        larger = abs(heights[0] / heights[1] - 1) if all(heights) else 0
        counts = sorted(map(len, words))
        return (longer > 0.005 or larger > 0.02) and (longer > 0.1 or counts[1] <= 2.6 * counts[0])

    def annotations(self) -> list[tuple[int, int, str]]:
        """Texts inside the plot. One that sits on a mark and shows its value follows that mark."""
        lengths = [span(self.t, axis) for axis in "xy"]
        scales = [self.t.get(axis + "scale") for axis in "xy"]

        def apart(a, b):
            return min(1.5, math.hypot(*((scaled(a[axis], scale) - scaled(b[axis], scale)) / length
                                         for axis, scale, length in zip("xy", scales, lengths))))
        ours, theirs = self.t.get("annotations", []), self.p.get("annotations", [])
        matched = []

        def distance(a, b):
            return 0.6 * (1 - similar(a["text"], b["text"])) + 0.4 * apart(a, b)
        pairs = assign(ours, theirs, distance, 0.45, lambda note: note["text"], FEW)
        for i, j in pairs:
            a, b = ours[i] if i is not None else None, theirs[j] if j is not None else None
            where = f"annotation '{normal((a or b)['text'])}'"
            if (self.marks.follows_mark(a, b)
                    or (a is None or b is None) and self.marks.turned):
                self.ledger.agree("axes")
            elif a is None or b is None:
                self.differ("axes", 0, "text_error", 2, where,
                            "missing" if b is None else "extra")
            else:
                check_text(self.ledger, "axes", "text_error", self.prefix + where,
                           b["text"], a["text"])
                matched.append((i, j, where))
                if apart(a, b) > PLACE[1] and not self.marks.changed and not self.marks.turned:
                    self.differ("axes", 0.5, "text_error", 1, where, "in another place")
        return [] if any("moved" in axes for axes in (self.t, self.p)) else matched

    def looks(self) -> None:
        """Grid, background and frame."""
        t, p = self.t, self.p
        ticked = [axis for axis in "xy"
                  if bool(t.get(axis + "ticks")) == bool(p.get(axis + "ticks"))]
        shown = [tuple(axis for axis in ticked if (axes.get("grid") or {}).get(axis))
                 for axes in (t, p)]
        if not self.marks.turned and shown[0] != shown[1]:
            words = (f"{' and '.join(shown[1])}, should be {' and '.join(shown[0])}" if all(shown)
                     else "extra" if shown[1] else "missing")
            self.differ("style", 0, "style_error", 1, "grid", words)
        elif shown[0]:
            self.ledger.agree("style")
        behind = [scene.get("facecolor") or "#ffffff" for scene in self.scenes]
        colors = [axes.get("facecolor") or color for axes, color in zip((t, p), behind)]
        if colors != behind:
            check_color(self.ledger, "style", self.prefix + "background", colors[1], colors[0])
        frames = [[side for side in ("left", "right", "top", "bottom")
                   if side in axes.get("spines", [])] for axes in (t, p)]
        if frames[0] != frames[1] and not self.marks.turned:
            words = f"{' '.join(frames[1]) or 'none'}, should be {' '.join(frames[0]) or 'none'}"
            self.differ("style", 0.5, "style_error", 1, "frame", words)

    def paint(self, notes: list[tuple[int, int, str]]) -> None:
        """What was painted for the things that were matched."""
        numbers = [_number(scene, axes) for scene, axes in zip(self.scenes, self.bases)]
        if None in numbers or not all(scene.get("painted") for scene in self.scenes):
            return
        paint = Paint(self.scenes, self.guard.entries, *numbers, self.prefix, self.ledger)
        marks = self.marks
        if self.t.get("projection") != self.p.get("projection"):
            return
        for i, j, where in marks.pairs:
            a, b = self.t["marks"][i], self.p["marks"][j]
            noun = {"bars": "bar", "pie": "slice"}.get(a["type"], "part")

            def part_name(part, names=a.get("names") or [], noun=noun, where=where):
                name = normal(names[part]) if part is not None and part < len(names) else ""
                comma = where + ", " if where else ""
                return f"{comma}{noun} '{name}'" if name else f"{comma}{noun} {(part or 0) + 1}"
            paint.mark(i, j, a, b, where or "plot", part_name)
        moved = bool(marks.changed or marks.turned or marks.retyped or marks.lost or marks.gained)
        scaled = {axis for axis in "xyz"
                  if any(self.t.get(axis + key) != self.p.get(axis + key)
                         for key in ("scale", "lim"))}
        paint.texts(moved, scaled)
        paint.lines(scaled)
        paint.legend(moved)
        paint.notes(notes)
        paint.rest()


def _some(texts):
    return ", ".join(texts[:4]) + (", ..." if len(texts) > 4 else "")
