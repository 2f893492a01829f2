"""Rewards of the course: one that looks at the ink, and tricks against one that reads the code.

`ink` and `mend_text` have the form of the rewards in train_rl.py: from the programs that rendered
to (a number in [0, 1] for each, how many were unreadable). They may use the pictures and the codes,
not the scenes: with these there would be nothing to find out.
"""
import numpy as np

from data.pairs import Example
from render import Rendering
from train_rl import text

Drawn = list[tuple[Example, str, Rendering]]  # the reference, the code, what it draws


def ink(batch: Drawn, **_) -> tuple[list[float], int]:
    """A reward from pixels that paper cannot earn: how right is what is drawn?

    The reference itself earns 1. A picture that shows little of the reference (nearly blank,
    covered, one colour) earns far less than one with a single mistake, however much of both is
    white. Pictures of different sizes earn 0.
    """
    def sums(pixels):
        """Over tiles of 16 px; those at the right and lower edge may be smaller."""
        rows = np.add.reduceat(pixels, np.arange(0, pixels.shape[0], 16), axis=0)
        return np.add.reduceat(rows, np.arange(0, pixels.shape[1], 16), axis=1)

    rewards = []
    for example, _, drawn in batch:
        if example.image.size != drawn.image.size:
            rewards.append(0.0)
            continue
        true, pred = (np.asarray(image.convert("RGB"), float) / 255
                      for image in (example.image, drawn.image))  # (H, W, 3)
        paper = np.median(true.reshape(-1, 3), axis=0)
        either = np.maximum(abs(true - paper), abs(pred - paper)).max(2)  # ink of both, (H, W)
        wrong, inked = sums(abs(true - pred).max(2)), sums(either)
        has_ink = inked > 0.2
        # The power makes a tile count only if nearly all of it is right: or the lines of a table
        # would pay for cells without words.
        share = (1 - np.minimum(1, wrong[has_ink] / inked[has_ink])) ** 8
        rewards.append(float(share.mean()) if len(share) else 1.0)
    return rewards, 0


def break_text(task: str, code: str) -> str:
    """A program that the reward `text` of train_rl.py pays well and that shows little.

    `code` is the program of the reference. The answer must render, earn at least 0.8 from `text`
    and have a fidelity of at most 50.
    """
    if task == "chart":
        return code + "\nplt.cla()"
    if task == "table":
        return "<style>td,th{color:white}</style>" + code
    start = code.index(">") + 1  # behind <svg ...>; a picture without any mark is refused
    return f'{code[:start]}<rect width="1" height="1"/><defs>{code[start:-6]}</defs></svg>'


def mend_text(batch: Drawn, **_) -> tuple[list[float], int]:
    """`text` mended: it still reads the code, and no longer pays for what `break_text` does.

    The reference itself earns 1, the same picture from code in another style clearly more than any
    trick.
    """
    looks, _ = ink(batch)
    return [words * look for words, look in zip(text(batch)[0], looks)], 0
