"""Joins what a chart's objects say of themselves with what was painted: the scene.

The names come from the program's process and may be false. So a text counts only if its artist
painted it, with these letters, and some of it can be seen; a mark only if one of its artists owns a
pixel; and what each of them painted stands beside it, for `data/compare` to look at.
"""
import base64
import functools
import hashlib
import re
import zlib
from collections.abc import Iterator

import numpy as np
from matplotlib.cbook import is_math_text
from PIL import Image

from data.renderers.painter import Painter
from data.renderers.scene import rgb_hex, six

SEEN = 0.03  # of the pixels that a thing changed: so many must be left for it to be seen
MOST_PARTS = 60  # of one mark or place that are listed one by one
MOST_ENTRIES = 4000  # of a picture that are listed
GRID = 160  # px of the longer side of the small picture that a scene carries


def painted_scene(painter: Painter, image: Image.Image) -> dict:
    """The scene of a painted list (after `Painter.paint`); `image` is the picture that is given."""
    return _Join(painter, image).scene()


class _Join:
    def __init__(self, painter, image):
        self.listed, self.counts, self.image = painter.listed, painter.counts.tolist(), image
        self.dpi = painter.listed.dpi
        self.boxes, self.painted = painter.boxes, painter.painted
        self.of_row = {}  # row of artists -> entries it made itself
        for k, entry in enumerate(self.listed.entries):
            self.of_row.setdefault(entry["by"], []).append(k)
        self.places = {}  # row of artists -> (axes, place, mark, part)

    def scene(self) -> dict:
        names = self.listed.names
        self.find_places(names)
        entries = self.entries()
        seen = {}  # (axes, mark) -> parts that can be seen
        for entry in entries:
            if entry["mark"] is not None:
                seen.setdefault((entry["axes"], entry["mark"]), set()).add(entry["part"])
        scene = self.resolve({key: part for key, part in names.items()
                              if key not in ("by", "page")})
        self.tidy(scene, names, seen, entries)
        return {"task": "chart", "size": list(self.image.size),
                "inches": six([self.listed.width / self.dpi, self.listed.height / self.dpi]),
                **scene, "painted": _merged(entries), "pixels": small_picture(self.figure()),
                "digest": hashlib.sha256(self.image.tobytes()).hexdigest()[:16]}

    def figure(self) -> Image.Image:
        """The picture without what is left of a larger canvas: boxes are fractions of it."""
        size = self.listed.width, self.listed.height
        return self.image if self.image.size == size else self.image.crop((0, 0, *size))

# --- 1. who painted what ---

    def find_places(self, names: dict) -> None:
        def put(rows, *place):
            for row in rows:
                self.places[row] = place
        put(names["by"]["background"], None, "background", None, None)
        for rows in names["by"]["legend"]:
            put(rows, None, "legend", None, None)
        self.text_places(names, None)
        for k, axes in enumerate(names["axes"]):
            by = axes["by"]
            put(by["axes"], k, "plot", None, None)
            for axis in "xyz"[:2 + ("z" in by)]:
                put(by[axis], k, f"{axis} axis", None, None)
            put(by["background"], k, "background", None, None)
            for rows, place in [(rows, "frame") for rows in by["frame"]] + \
                    [(rows, "legend") for rows in by["legend"]]:
                put(rows, k, place, None, None)
            for m, mark in enumerate(axes["marks"]):
                for part, rows in enumerate(mark["by"]):
                    put(rows, k, "mark", m, part)
                for rows in mark.get("written", ()):
                    put(rows, k, "mark text", None, None)
            self.text_places(axes, k)

    def text_places(self, names: dict, k: int | None) -> None:
        for key, place in (("title", "title"), ("xlabel", "x-axis label"),
                           ("ylabel", "y-axis label"), ("zlabel", "z-axis label")):
            for row in _rows(names.get(key)):
                self.places[row] = k, place, None, None
        for part, note in enumerate(names.get("annotations", names.get("texts", []))):
            for row in _rows(note["text"]):
                self.places[row] = k, "annotation", None, part

    def entries(self) -> list[dict]:
        """What each visible entry is: its place and its look."""
        found = []
        for k, entry in enumerate(self.listed.entries):
            if self.counts[k] < max(1, SEEN * self.painted[k]):
                continue
            axes, place, mark, part, artist = self.place(entry)
            found.append({"axes": axes, "place": place, "mark": mark, "part": part,
                          "artist": artist, **self.look(k, entry)})
        return found

    def place(self, entry: dict) -> tuple:
        """The place of the nearest artist, from the entry's own outwards, that has one.

        (row of the axes, place, mark, part, class of the artist that stands in the place)
        """
        row, kinds = entry["by"], [""]
        while row is not None:
            kind, owner = self.listed.artists[row]
            if row in self.places:
                axes, place, mark, part = self.places[row]
                if place.endswith(" axis"):
                    ticked = any(name.endswith("Tick") for name in kinds)
                    grid = ticked and entry["paint"] == "path" and kinds[1] == "Line2D"
                    place = place[0] + (" grid" if grid else " ticks")
                return axes, place, mark, part, kinds[-1] or kind
            if kind == "Legend":
                axes = next((self.places[r][0] for r in self.above(row) if r in self.places), None)
                return axes, "legend", None, None, kinds[-1]
            kinds.append(kind)
            row = owner
        return None, "figure", None, None, kinds[-1]

    def above(self, row: int | None) -> Iterator[int]:
        while row is not None:
            yield row
            row = self.listed.artists[row][1]

    def look(self, k: int, entry: dict) -> dict:
        """Paint of one entry: colours, widths in points, box and size in the picture."""
        rows, columns = self.boxes[k]
        height, width = self.listed.height, self.listed.width
        box = [columns.start / width, 1 - rows.stop / height,
               (columns.stop - columns.start) / width, (rows.stop - rows.start) / height]
        gc, kind = self.listed.contexts[entry["gc"]], entry["paint"]
        look = {"kind": kind, "z": k, "pixels": self.counts[k] / (width * height), "box": box,
                "count": 1, "size": 0.0, "fill": [], "stroke": [], "opacity": [], "width": [],
                "dash": [], "hatch": gc["hatch"] or "", "text": "", "font": "", "angle": 0.0}
        if kind == "text":
            font = entry["font"]
            weight = "bold" if str(font["weight"]) in BOLD else "normal"
            style = "normal" if font["style"] == "normal" else "italic"
            look |= {"text": drawn_text(entry), "font": f"{font['family'][0]} {weight} {style}",
                     "angle": entry["angle"] % 360, "width": [font["size"]],
                     "fill": _hexes([gc["color"]]), "opacity": [_alpha(gc["color"], gc)]}
        elif kind in ("path", "markers"):
            face, line = entry["face"], gc["width"] > 0 and gc["color"]
            look |= {"fill": _hexes([face]) if face else [],
                     "opacity": [_alpha(c, gc) for c in (face, line) if c],
                     "stroke": _hexes([gc["color"]]) if line else [],
                     "width": [gc["width"]] if line else [],
                     "dash": gc["dash"][1] or [] if line else []}
            if kind == "markers" and self.listed.artists[entry["by"]][0].endswith("Collection"):
                look["kind"] = "collection"  # of equal parts: Matplotlib draws them as markers
            elif kind == "markers":
                extent = self.extent(entry["marker"], entry["marker_transform"])
                look["size"] = extent * 72 / self.dpi
        elif kind == "collection":
            array = self.listed.array
            faces, edges = (array(entry[key], -1, 4) for key in ("faces", "edges"))
            both = np.concatenate([faces, edges])
            look |= {"fill": _hexes(faces.tolist()), "stroke": _hexes(edges.tolist()),
                     "opacity": _some(both[:, 3].tolist()),
                     "width": _some(array(entry["widths"], -1).tolist()) if len(edges) else [],
                     "dash": (entry["dashes"] or [[0, None]])[0][1] or []}
        elif kind == "mesh":
            array = self.listed.array
            faces, edges = (array(entry[key], -1, 4) for key in ("faces", "edges"))
            look |= {"stroke": _hexes(edges.tolist()), "opacity": _some(faces[:, 3].tolist()),
                     "width": [gc["width"]] if len(edges) else []}
        return {key: six(value) if key in NUMBERS
                else value for key, value in look.items()}

    def extent(self, path: dict, transform: list[float]) -> float:
        """The longer side of a path, in px."""
        path, = self.listed.paths(path)
        a, b, _, d, e, _ = transform
        points = path.vertices if path.codes is None else path.vertices[path.codes != 79]
        points = points @ np.array([[a, d], [b, e]])
        return float(np.ptp(points, axis=0).max()) if len(points) else 0.0

# --- 2. what of the names is true ---

    def resolve(self, value):
        """Names with the texts that were painted in place of those that were claimed."""
        if isinstance(value, dict):
            if "@" in value:
                return " ".join(filter(None, map(self.text, value["@"])))
            return {key: self.resolve(part) for key, part in value.items()}
        if isinstance(value, list) and value and type(value[0]) not in (int, float, str):
            return [self.resolve(part) for part in value]
        return value

    def text(self, row: int) -> str:
        """What an artist wrote, if any of it can be seen."""
        lines, seen = {}, False  # a line with path effects is painted twice
        for k in self.of_row.get(row, []):
            entry = self.listed.entries[k]
            written = entry if entry["paint"] == "text" else entry.get("writes")
            if written:
                lines[written.get("line", -k)] = drawn_text(written)
                seen = seen or self.counts[k] > 0
        text = "\n".join(lines.values()).strip() if seen else ""
        return re.sub(r"^\$\\mathdefault\{(.*)\}\$$", r"\1", text)

    def tidy(self, scene: dict, names: dict, seen: dict[tuple, set], entries: list[dict]) -> None:
        """Leave out marks, notes and entries that cannot be seen; number the marks anew."""
        shown = {entry["text"] for entry in entries if entry["text"]}
        numbers, notes = {}, {None: scene["texts"]}
        for k, axes in enumerate(scene["axes"]):
            del axes["by"]
            notes[k] = axes["annotations"]
            marks = []
            for m, mark in enumerate(axes["marks"]):
                parts = seen.get((k, m))
                by = mark.pop("by")
                mark.pop("written", None)
                if not parts:
                    continue
                if mark["type"] in ("bars", "pie") and len(parts) < len(by):
                    mark, kept = _without_hidden(mark, by, parts, self)
                    numbers[k, m] = len(marks), {part: n for n, part in enumerate(kept)}
                else:
                    numbers[k, m] = len(marks), None
                if mark["type"] == "pie":
                    mark["names"] = [name if _written(name, shown) else ""
                                     for name in mark["names"]]
                    mark["texts"] = [text for text in mark["texts"] if text]
                marks.append(mark)
            axes["marks"] = marks
        for legend in [scene["legend"]] + [axes["legend"] for axes in scene["axes"]]:
            if legend:
                legend["entries"] = [e for e in legend["entries"] if e["text"]]
        for entry in entries:
            k = entry["axes"]
            if entry["mark"] is not None:
                entry["mark"], parts = numbers[k, entry["mark"]]
                entry["part"] = parts[entry["part"]] if parts else entry["part"]
            elif entry["place"] == "annotation":
                note = notes[k][entry["part"]]
                entry["part"] = sum(bool(other["text"]) for other in notes[k][:entry["part"]]) \
                    if note["text"] else None
        for found in notes.values():
            found[:] = [note for note in found if note["text"]]

    def flat(self, k: int) -> bool:
        """Whether a path has no height or no width, like a bar of value 0."""
        entry = self.listed.entries[k]
        if entry["paint"] != "path":
            return False
        path, = self.listed.paths(entry["path"])
        a, b, _, d, e, _ = entry["transform"]
        points = path.vertices if path.codes is None else path.vertices[path.codes != 79]
        points = points @ np.array([[a, d], [b, e]])
        return len(points) == 0 or float(np.ptp(points, axis=0).min()) < 0.75


NUMBERS = {"box", "pixels", "width", "dash", "opacity", "angle", "size"}
BOLD = {"600", "700", "800", "900", "bold", "semibold", "demibold", "demi", "heavy", "extra bold",
        "black"}


def _without_hidden(mark, by, parts, join):
    """Bars or slices less those that cannot be seen; one of no size keeps its place."""
    kept = []
    for part, rows in enumerate(by):
        mine = [k for row in rows for k in join.of_row.get(row, [])]
        if part in parts or mine and all(map(join.flat, mine)):
            kept.append(part)
    length = len(by)
    return {key: [value[part] for part in kept] if isinstance(value, list) and len(value) == length
            else value for key, value in mark.items()}, kept


# --- 3. small parts ---

def drawn_text(entry: dict) -> str:
    """A painted line as one would write it: dollars that are no mathematics are escaped."""
    text = entry["text"]
    return text.replace("$", r"\$") if not entry["math"] and is_math_text(text) else text


def _rows(claim):
    return claim["@"] if isinstance(claim, dict) else []


def _written(name, shown):
    return any(line in shown for line in (name, name.strip(), *name.split("\n")))


def _alpha(color, gc):
    """Opacity with which a colour is painted."""
    if color is None:
        return 0.0
    own = color[3] if len(color) > 3 else 1.0
    return gc["alpha"] if gc["alpha"] is not None and (gc["forced"] or len(color) == 3) else own


def _some(values):
    """At most MOST_PARTS of many values, evenly spaced; one if all are equal."""
    if len(set(values)) == 1:
        return values[:1]
    step = max(1, -(-len(values) // MOST_PARTS))
    return values[::step]


def _hexes(colors):
    return _some([_hex(tuple(color)) for color in colors])


@functools.lru_cache(10_000)
def _hex(color):
    return rgb_hex((*color, 1.0)[:4])


def _merged(entries):
    """Entries of the same look in ticks, grids, frames and marks of many parts are told once."""
    parts = {}
    for entry in entries:
        key = entry["axes"], entry["place"], entry["mark"]
        parts[key] = parts.get(key, 0) + 1
    found = {}
    for entry in entries:
        where = entry["axes"], entry["place"], entry["mark"]
        alike = entry["place"].endswith((" ticks", " grid")) or parts[where] > MOST_PARTS
        key = entry["z"] if not alike else (where, repr([entry[k] for k in LOOK]))
        if key not in found:
            found[key] = entry
            continue
        first = found[key]
        first["count"] += 1
        first["pixels"] = six(first["pixels"] + entry["pixels"])
        first["box"] = _union(first["box"], entry["box"])
        first["text"], first["part"] = "", None
    if len(found) <= MOST_ENTRIES:
        return list(found.values())
    largest = sorted(found.values(), key=lambda entry: -entry["pixels"])[:MOST_ENTRIES]
    return sorted(largest, key=lambda entry: entry["z"])


LOOK = ("kind", "artist", "size", "fill", "stroke", "opacity", "width", "dash", "hatch", "font",
        "angle")


def _union(a, b):
    x, y = min(a[0], b[0]), min(a[1], b[1])
    right, top = max(a[0] + a[2], b[0] + b[2]), max(a[1] + a[3], b[1] + b[3])
    return six([x, y, right - x, top - y])


def small_picture(image: Image.Image) -> list[str]:
    """The picture, at most GRID px a side, as texts: the size, then packed RGB."""
    scale = max(1.0, max(image.size) / GRID)
    size = [max(1, round(side / scale)) for side in image.size]
    small = image if scale == 1 else image.resize(size, 4)  # 4: the mean of each box
    packed = base64.b64encode(zlib.compress(small.tobytes(), 1)).decode()
    return [f"{size[0]} {size[1]}"] + [packed[at:at + 8000] for at in range(0, len(packed), 8000)]
