"""When a change can be seen in a picture: by the pixels alone, which no scene and no label has a
say in."""

import numpy as np
from PIL import Image, ImageFilter

SHARE, LEVEL, SHIFT = 0.001, 40, 2


def differing(a: Image.Image, b: Image.Image, shift: int = 0) -> float:
    """Share of the pixels of two pictures that differ by more than 40 of 255, the smaller one put
    on white.

    shift: a pixel of one picture may lie between the darkest and the lightest of those so many px
    around it in the other: what only moved a little does not differ.
    """
    if a.size == b.size and a.tobytes() == b.tobytes():
        return 0.0
    size = max(a.width, b.width), max(a.height, b.height)
    one, two = (image if image.size == size else _on_page(image, size) for image in (a, b))
    if not shift:
        apart = np.abs(np.asarray(one, np.int16) - np.asarray(two, np.int16)).max(axis=2)
        return float((apart > LEVEL).mean())
    return max(_outside(one, two, shift), _outside(two, one, shift))


def _outside(one, two, shift):
    reach, pixels = 2 * shift + 1, np.asarray(two, np.int16)
    low = np.asarray(one.filter(ImageFilter.MinFilter(reach)), np.int16)
    high = np.asarray(one.filter(ImageFilter.MaxFilter(reach)), np.int16)
    return float(((pixels < low - LEVEL) | (pixels > high + LEVEL)).any(axis=2).mean())


def _on_page(image, size):
    page = image.resize(size)
    page.paste("white", (0, 0, *size))
    page.paste(image, (0, 0))
    return page
