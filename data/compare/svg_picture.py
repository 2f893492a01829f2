"""Both pictures in small: whether a difference shows in a place, and where else there is one."""
import base64
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.compare.svg_outline import WHOLE, segments

NOISE = 1.5, 4.0        # of 255: what may differ in a place that is equal; in pictures of two sizes
# What the guard counts in pictures of one size; 2 and 4 times as much passes in those of two sizes.
FAINT = 16.0            # of 255: a cell that differs by less is not counted
VISIBLE = 1.3e-4        # of the canvas: what differs at least, a full difference over so much of it
WIDE = 0.01             # of the canvas: a pale difference without a gap over so much of it is seen


class Pictures:
    """The small pictures of two scenes on one grid; the second after a common move (or None)."""

    def __init__(self, true, pred, move):
        images = [_unpack(scene.get("picture")) for scene in (true, pred)]
        self.known = None not in images
        self.same_size = true["size"] == pred["size"] and move is None
        if not self.known:
            return
        self.faint, self.visible = (FAINT, VISIBLE) if self.same_size else (2 * FAINT, 4 * VISIBLE)
        size = tuple(min(image.size[k] for image in images) for k in (0, 1))
        images = [image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
                  for image in images]
        if move is not None:
            sx, sy, tx, ty = move
            data = (1 / sx, 0, -tx / sx * size[0], 0, 1 / sy, -ty / sy * size[1])
            images[1] = images[1].transform(size, Image.Transform.AFFINE, data,
                                            Image.Resampling.BILINEAR, fillcolor=_edge(images[1]))
            blur = ImageFilter.GaussianBlur(1)  # the moved one is blurred: now both are
            images = [image.filter(blur) for image in images]
        self.width, self.height = size
        self.true, self.pred = (np.asarray(image, np.int16) for image in images)
        self.off = np.abs(self.true - self.pred).max(2)             # (height, width)
        self.told = np.zeros(self.off.shape, bool)                  # what errors explain
        if move is not None:                    # what a small move cuts off at the border
            rows, columns = (1 + int(np.ceil(WHOLE * side)) for side in self.off.shape)
            self.told[:rows] = self.told[-rows:] = True
            self.told[:, :columns] = self.told[:, -columns:] = True

    def cells(self, shape: dict, more: int = 2) -> tuple[slice, slice]:
        """Rows and columns of the box of a shape with its stroke, `more` cells wider."""
        reach = (shape.get("stroke_width") or 0) / 2
        if shape["type"] != "text" and reach:
            reach *= 1.5
        x0, y0, x1, y1 = shape["box"]
        if not (-9 < x0 <= x1 < 9 and -9 < y0 <= y1 < 9):
            x0, y0, x1, y1 = (min(9, max(-9, v)) for v in (x0, y0, x1, y1))
        left = int(np.floor((x0 - reach) * self.width)) - more
        right = int(np.ceil((x1 + reach) * self.width)) + more
        top = int(np.floor((y0 - reach) * self.height)) - more
        bottom = int(np.ceil((y1 + reach) * self.height)) + more
        return slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))

    def shows(self, *shapes: dict) -> bool:
        """Whether anything differs in the places of some shapes."""
        if not self.known:
            return True
        noise = NOISE[not self.same_size]
        return any((self.off[self.cells(shape)] > noise).any() for shape in shapes)

    def shows_clearly(self, *shapes: dict) -> bool:
        """Whether what differs there is enough to be seen."""
        if not self.known:
            return True
        place = np.zeros(self.off.shape, bool)
        for shape in shapes:
            place[self.cells(shape)] = True
        off = np.where(place, self.off, 0)
        gaps = off <= NOISE[not self.same_size]
        for _ in range(3):                      # edges that are blurred differ, too, but not so far
            gaps = _grown(gaps)
        if (~gaps).mean() > WIDE:               # a pale ground
            return True
        counted = off[off > NOISE[not self.same_size]].sum() / 255
        return off.max(initial=0) > self.faint / 2 and counted >= 0.7 * self.visible * off.size

    def explain(self, *shapes: dict) -> None:
        """An error was told about some shapes: what differs where they are is not news."""
        if self.known:
            for shape in shapes:
                self.told |= self.mask(shape)

    def explain_all(self) -> None:
        if self.known:
            self.told[:] = True

    def mask(self, shape: dict) -> np.ndarray:
        """Where a shape paints, two cells wider: (height, width) bool."""
        image = Image.new("1", (self.width, self.height))
        draw = ImageDraw.Draw(image)
        scale = np.array([self.width, self.height])
        outline = shape.get("outline")
        if shape["type"] in ("text", "image") or not outline:
            rows, columns = self.cells(shape, 0)
            if rows.stop > rows.start and columns.stop > columns.start:
                draw.rectangle((columns.start, rows.start, columns.stop, rows.stop), fill=1)
        else:
            start, end = segments(shape)
            start, end = np.clip(start, -4, 5) * scale, np.clip(end, -4, 5) * scale
            firsts = shape.get("starts") or [0]
            if shape.get("fill"):
                for first, last in zip(firsts, [*firsts[1:], len(start)]):
                    points = [tuple(point) for point in start[first:last]]
                    if len(points) > 1:
                        draw.polygon(points, fill=1, outline=1)
            wide = max(1, round((shape.get("stroke_width") or 0) * self.width))
            if shape.get("stroke") or not shape.get("fill"):
                style = shape.get("style") or {}
                reach = wide * (0.5 if style.get("join") != "miter" else
                                max(1, min(style.get("miter") or 4, 4)) / 2)
                for one, other in zip(start, end):
                    draw.line((*one, *other), fill=1, width=wide)
                    if wide > 1:                # corners and caps
                        draw.ellipse((*(one - reach), *(one + reach)), fill=1)
                        draw.ellipse((*(other - reach), *(other + reach)), fill=1)
        place = np.asarray(image)
        for _ in range(2):                      # the small picture is a little blurred
            place = _grown(place)
        return place

    def unexplained(self) -> np.ndarray | None:
        """What differs where no error was told, (height, width); None where that is not to be seen.

        A difference from the neighbouring cells counts: what a shift of one cell makes is none.
        """
        off = np.where(self.told, 0, self.off)
        if off[off > self.faint].sum() / 255 < self.visible * off.size:
            return None
        rest = np.maximum(_beyond(self.true, self.pred), _beyond(self.pred, self.true))
        rest = np.where(self.told, 0, rest)
        rest[rest <= self.faint] = 0
        return rest if rest.sum() / 255 >= self.visible * rest.size else None


def _grown(place):
    """A bool array, one cell wider in all directions."""
    tall = place.copy()
    tall[1:] |= place[:-1]
    tall[:-1] |= place[1:]
    wide = tall.copy()
    wide[:, 1:] |= tall[:, :-1]
    wide[:, :-1] |= tall[:, 1:]
    return wide


def _beyond(one, other):
    """How far the cells of one picture lie outside of the neighbourhood in the other."""
    height, width, _ = other.shape
    padded = np.pad(other, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = np.stack([padded[k:k + height] for k in range(3)])
    low, high = rows.min(0), rows.max(0)
    low = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    high = np.maximum(np.maximum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    return np.maximum(np.maximum(one - high, low - one), 0).max(2)


def _unpack(pieces):
    """The small picture of a scene, or None where there is none that can be read."""
    try:
        width, height = pieces[0].split()
        packed = "".join(pieces[1:])
        data = zlib.decompressobj().decompress(base64.b64decode(packed), 200_000)
        return Image.frombytes("RGB", (int(width), int(height)), data)
    except (TypeError, IndexError, ValueError, zlib.error):
        return None


def _edge(image):
    """The colour of the border of a picture: what a shift uncovers."""
    corners = [image.getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)]
    return max(set(corners), key=corners.count)
