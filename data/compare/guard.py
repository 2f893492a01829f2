"""The guard over a comparison of charts: the pictures themselves are laid over each other.

Where they differ visibly and no error says so, there is an error for what stands there; where
nothing differs beyond the thresholds, there is none. A scene carries a small copy of its picture
for this (`data/renderers/painted.py`).
"""
import base64
import functools
import zlib

import numpy as np
from PIL import Image

from data.compare.ledger import WIDTH
from data.compare.painted import TEXT_PLACES, Entries, noun_of, whole_box
from data.compare.series import color_bar
from data.compare.words import normal, should_be

STEP, SHARE = 12, 0.0004  # the guard: of 255, and share of the small picture's pixels
MOST = 0.03  # share of pixels that may differ if the like is one pixel away (edges, antialiasing)
SMOOTH = 4  # of 255: blurred pictures that differ by less everywhere are one picture


def picture_of(scene: dict) -> np.ndarray | None:
    """The small picture of a scene as an array (height, width, 3), or None."""
    try:
        size, *packed = scene.get("pixels") or [""]
        width, height = size.split(" ")
        unpacked = zlib.decompress(base64.b64decode("".join(packed)), bufsize=1 << 18)
        pixels = np.frombuffer(unpacked, np.uint8)
        return pixels.reshape(int(height), int(width), 3).astype(np.int16)
    except (ValueError, zlib.error):
        return None


def _blurred(values):
    """Means of 3 x 3."""
    padded = np.pad(values.astype(np.float32), 1)
    sums = sum(padded[y:y + values.shape[0], x:x + values.shape[1]]
               for y in range(3) for x in range(3))
    return sums / 9


class Guard:
    """Lays the pictures over each other once all is compared; tells what no error explains."""

    def __init__(self, scenes, ledger):
        self.scenes, self.ledger, self.arranged = scenes, ledger, True
        self.subplots = []  # (number in true, in the other, prefix, whether it has errors)
        self.entries = [Entries(scene) for scene in scenes]
        a, b = (picture_of(scene) for scene in scenes)
        self.shapes = [picture.shape[1] / picture.shape[0] if picture is not None else 1.0
                       for picture in (b, a)]
        if a is not None and b is not None and a.shape != b.shape and not self.other_figure():
            b = _cut(b, (0, 0, 1, 1), a.shape[1], a.shape[0])
        self.pictures = a, b
        self.raw = None if a is None or b is None or a.shape != b.shape else _most(np.abs(a - b))

    def other_figure(self) -> bool:
        """Whether the figures have other proportions."""
        return abs(self.shapes[0] - self.shapes[1]) / min(self.shapes) > WIDTH[0]

    def one_picture(self) -> bool:
        """Whether no difference can be seen between the pictures."""
        true, pred = self.scenes
        if true.get("digest") and true.get("digest") == pred.get("digest"):
            return True
        if self.raw is None:
            return False
        if float((self.raw > STEP / 2).mean()) >= SHARE:
            return False
        return float(_blurred(self.raw).max()) < SMOOTH

    def watch(self, i: int, j: int, prefix: str, named: bool) -> None:
        self.subplots.append((i, j, prefix, named))

    def check(self) -> None:
        a, b = self.pictures
        if a is None or b is None:
            return
        if self.other_figure():
            self.ledger.differ("style", 0.5, "style_error", 1, "figure",
                               should_be("width to height", *self.shapes))
            return
        mask = self.raw > STEP
        whole = mask.copy()  # less the texts that were compared one by one
        for scene in self.scenes:
            for entry in scene["painted"]:
                if entry["kind"] == "text" and entry["place"] in TEXT_PLACES and \
                        entry["count"] == 1:
                    whole[inside(mask, entry["box"])] = False
        aligned = True
        for i, j, prefix, named in self.subplots:
            boxes = [scene["axes"][k]["box"] for scene, k in zip(self.scenes, (i, j))]
            shift = max(abs(x - y) for x, y in zip(*boxes))
            shift = 1.0 if self.other_style((i, j)) else shift
            aligned = aligned and shift < 0.004
            if named or not self.arranged:
                continue
            if shift < 0.004:
                self.tell(mask, inside(mask, boxes[0]), (i, j), prefix)
            elif not self.place(boxes, (i, j), a.shape[1] / a.shape[0], prefix):
                self.compare_moved(a, b, boxes, (i, j), prefix)
        if aligned and not self.ledger.errors:
            self.tell(whole, (slice(None), slice(None)), None, "")
        if not aligned and self.arranged and not self.ledger.errors:
            self.margins()

    def other_style(self, axes: tuple[int, int]) -> bool:
        """Whether the ticks of a subplot have letters, or its frame a line, of another size."""
        sizes = []
        for found, k in zip(self.entries, axes):
            ticks = [e["width"][:1] for place in ("x ticks", "y ticks")
                     for e in found.of(k, place) if e["kind"] == "text"]
            frame = [e["width"][:1] for e in found.of(k, "frame") if e["kind"] == "path"]
            sizes.append([width for part in (ticks[:1], frame[:1]) for widths in part
                          for width in widths])
        return any(abs(a - b) > 0.01 * b for a, b in zip(*sizes))

    def margins(self) -> None:
        """Tell other gaps between subplots, and margins far from what they were."""
        boxes = [[scene["axes"][pair[side]]["box"] for pair in self.subplots]
                 for side, scene in enumerate(self.scenes)]
        frames = [whole_box([{"box": box} for box in found])["box"] for found in boxes]
        gaps = [abs((a[k] - frames[0][k % 2]) / frames[0][2 + k % 2]
                    - (b[k] - frames[1][k % 2]) / frames[1][2 + k % 2])
                if k < 2 else abs(a[k] / frames[0][k] - b[k] / frames[1][k])
                for a, b in zip(*boxes) for k in range(4)] \
            if all(min(frame[2:]) > 0 for frame in frames) else [0]
        if max(gaps) > 0.03:
            self.ledger.differ("style", 0.5, "structure_error", 1, "plot",
                               "subplots with other gaps")
        elif max(abs(a - b) for a, b in zip(*([x, y, x + width, y + height]
                                              for x, y, width, height in frames))) > 0.1:
            self.ledger.differ("style", 0.5, "style_error", 1, "figure", "other margins")

    def same_there(self, entries: list[dict]) -> bool:
        """Whether the pictures look the same where some entries were painted."""
        a, b = self.pictures
        if a is None or b is None or a.shape != b.shape or not entries:
            return False
        return int((self.gap[inside(a, whole_box(entries)["box"])] > 2 * STEP).sum()) <= 3

    @functools.cached_property
    def gap(self) -> np.ndarray:
        """How far the pictures differ, but for what may lie one pixel beside."""
        return _tolerant_gap(*self.pictures)

    def place(self, boxes: list[list], axes: tuple[int, int], aspect: float, prefix: str) -> bool:
        """Tell a subplot of another shape, or among several in another place."""
        shapes = [aspect * box[2] / (box[3] or 1) for box in (boxes[1], boxes[0])]
        gap = abs(shapes[0] - shapes[1]) / (min(shapes) or 1)
        marks = [mark for scene, k in zip(self.scenes, axes) for mark in scene["axes"][k]["marks"]]
        square = any(mark["type"] == "image" for mark in marks)
        if gap > (0.1 if square else 0.3):
            self.ledger.differ("style", 0.5, "structure_error", 1 if gap < 1 else 2,
                               prefix + "plot", should_be("width to height", *shapes))
            return True
        if len(self.subplots) > 1 and max(abs(x - y) for x, y in zip(*boxes)) > 0.1:
            self.ledger.differ("style", 0.5, "structure_error", 1, prefix + "plot",
                               "in another place")
            return True
        return False

    def compare_moved(self, a: np.ndarray, b: np.ndarray, boxes: list[list],
                      axes: tuple[int, int], prefix: str) -> None:
        """Compare two subplots that stand in other places and have other sizes.

        The axes are laid over each other; a line may lie a pixel beside the other. Texts and a
        legend do not grow with the axes: they were compared by name.
        """
        sides = [[max(1, round(box[2 + k] * a.shape[1 - k])) for k in (0, 1)] for box in boxes]
        width, height = (min(side[k] for side in sides) for k in (0, 1))
        shown = [[tick["pos"] for axis in "xy" for tick in scene["axes"][k].get(axis + "ticks", [])]
                 for scene, k in zip(self.scenes, axes)]
        grids = any(any((scene["axes"][k].get("grid") or {}).values())
                    for scene, k in zip(self.scenes, axes))
        if min(height, width) < 8 or grids and shown[0] != shown[1]:
            return
        x, y = (_cut(picture, box, width, height) for picture, box in zip((a, b), boxes))
        wrong = _tolerant_gap(x, y) > 4 * STEP
        wrong[:2] = wrong[-2:] = wrong[:, :2] = wrong[:, -2:] = False
        for scene, k, (left, low, wide, high) in zip(self.scenes, axes, boxes):
            for entry in scene["painted"]:
                if (entry["kind"] == "text" or entry["place"] == "legend") and \
                        entry["axes"] in (k, None):
                    ex, ey, ew, eh = entry["box"]
                    wrong[inside(wrong, [(ex - left) / wide, (ey - low) / high, ew / wide,
                                         eh / high])] = False
        mask = np.zeros(a.shape[:2], bool)
        if wrong.sum() > 10 * SHARE * mask.size:
            rows, columns = inside(mask, boxes[0])
            space = mask[rows.start + 1:rows.start + 1 + height,
                         columns.start + 1:columns.start + 1 + width]
            space[:] = wrong[:space.shape[0], :space.shape[1]]
            self.tell(mask, (slice(None), slice(None)), axes, prefix, sure=True)

    def tell(self, mask: np.ndarray, region: tuple[slice, slice], axes: tuple[int, int] | None,
             prefix: str, sure: bool = False) -> None:
        """Tell what stands where pixels differ, if there are enough of them."""
        part = np.zeros_like(mask)
        part[region] = mask[region]
        if part.sum() <= SHARE * mask.size:
            return
        if not sure and part.sum() <= MOST * mask.size:
            part[region] &= self.gap[region] > 2 * STEP
            if part.sum() <= SHARE * mask.size:
                return
        entry = culprit(part, self.scenes, axes)
        place = entry["place"] if entry else "plot"
        if entry and entry["axes"] is not None and axes is None:
            scene = next(s for s in self.scenes if any(e is entry for e in s["painted"]))
            if color_bar(scene["axes"][entry["axes"]]):
                return self.ledger.differ("axes", 0.5, "text_error", 1, "color bar",
                                          "drawn otherwise")
        if place in ("mark", "mark text"):
            scene = next(s for s in self.scenes if any(e is entry for e in s["painted"]))
            marks = scene["axes"][entry["axes"]]["marks"]
            alone = len(marks) <= 1 or entry["mark"] is None
            where = "plot" if alone else f"series {entry['mark'] + 1}"
            self.ledger.differ("data", 0.5, "data_error", 2, prefix + where, "drawn otherwise", 2)
        elif place in ("plot", "figure"):
            noun = noun_of(entry and entry["artist"])
            self.ledger.differ("data", 0.5, "data_error", 2, prefix + "plot",
                               f"{noun} drawn otherwise", 2)
        else:
            noted = place == "annotation" and entry["text"]
            where = f"annotation '{normal(entry['text'])}'" if noted else place
            self.ledger.differ("style", 0.5, "style_error", 1, prefix + where, "drawn otherwise")
        return None


def _cut(picture, box, width, height):
    """What lies in a box, given in fractions from the lower left, as (height, width, 3)."""
    x, y, wide, high = box
    tall, across = picture.shape[:2]
    corners = x * across, (1 - y - high) * tall, (x + wide) * across, (1 - y) * tall
    image = Image.fromarray(picture.astype(np.uint8))
    cut = image.transform((width, height), Image.Transform.EXTENT, corners,
                          Image.Resampling.BILINEAR)
    return np.asarray(cut, np.int16)


def _tolerant_gap(a, b):
    """How far each pixel of two pictures of one size is from all pixels around it in the other."""
    return np.maximum(_least_gap(a, b), _least_gap(b, a))


def _least_gap(a, b):
    """How far each pixel of `a`, in its worst colour, lies outside the nine of `b` around it."""
    padded = np.pad(b, ((1, 1), (1, 1), (0, 0)), mode="edge")
    near = [padded[y:y + a.shape[0], x:x + a.shape[1]] for y in range(3) for x in range(3)]
    low, high = np.minimum.reduce(near), np.maximum.reduce(near)
    return _most(np.maximum(low - a, a - high))


def _most(gaps):
    """The largest of three values, for each pixel; three times as fast as max(axis=2)."""
    return np.maximum(np.maximum(gaps[..., 0], gaps[..., 1]), gaps[..., 2])


def inside(mask: np.ndarray, box: list[float]) -> tuple[slice, slice]:
    """The part of a small picture that lies in a box given in fractions from the lower left."""
    height, width = mask.shape[:2]
    x, y, wide, high = box
    columns = slice(max(0, round(x * width) - 1), max(0, round((x + wide) * width) + 1))
    rows = slice(max(0, round((1 - y - high) * height) - 1), max(0, round((1 - y) * height) + 1))
    return rows, columns


def culprit(mask: np.ndarray, scenes: tuple[dict, dict],
            axes: tuple[int, int] | None = None) -> dict | None:
    """The painted entry of either scene that fits the differing pixels best, or None."""
    total, best = int(mask.sum()), (0.0, None)
    for scene, k in zip(scenes, axes or (None, None)):
        for entry in scene.get("painted") or ():
            if axes and entry["axes"] != k:
                continue
            part = mask[inside(mask, entry["box"])]
            hits = int(part.sum())
            score = 2 * hits / (total + part.size) if part.size else 0.0
            if entry["place"].endswith((" ticks", " grid", "frame", "background")) and axes:
                score /= 100  # they lie around and behind what is compared
            if score > best[0]:
                best = score, entry
    return best[1]
