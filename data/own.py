"""Pictures and programs of your own: drawn if they are programs, compared with what a judge knows.

    python -m data.own runs/c0,runs/c1,runs/t0,runs/t1,runs/s0,runs/s1    # data/tiny/pictures.json

A small judge answers whatever it is shown, with the same confidence. So what it learned from is
kept as numbers: for each task the mean and the inverse covariance of twelve features (ink, colours,
edges) of 1,400 pictures. A picture is as strange as its Mahalanobis distance from them,
sqrt((f - mean)^T C^-1 (f - mean)); above STRANGE a sentence says so. `data/README.md` has the false
alarms and the hits.

What is printed of a pair is on these scales, worked out for a chart with one medium error (S = 2):
the reward is 1 - S / 50 = 0.96, of 1 at most, whatever else is judged (in training S is divided by
the worst of its batch instead, and 1 is added for code that renders); the proxies `text`, `ssim`
and `vision_encoder` are likenesses, 1 if equal; fidelity is measured from both programs, 0 to 100:
three bars, one off by a tenth of the axis, are 92.2 (data/compare).
"""
import json
import random
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from data.runs import flag, parse, say, script, write_text

STATISTICS = "pictures.json"  # beside the folder of a judge: what its pictures are like


@dataclass
class Settings:
    out: str = flag(f"data/tiny/{STATISTICS}", "file to write")


PAIRS = dict(help="folders of pairs, with commas between")
if __name__ == "__main__":
    parse(Settings, None, __doc__, pairs=PAIRS)  # before the slow imports of torch

import numpy as np
from PIL import Image

from data.compare import compare, fidelity
from data.compare.__main__ import task_of
from data.compare.page import page, section
from data.compare.places import boxes_of
from data.models import drawing_size, find_folder, fit
from data.pairs import Example, annotation, load_image, read_pairs
from data.recogniser import enlarged
from data.report import show, verdict_html, verdict_lines
from data.verdict import InputError, Verdict, known_task
from render import SUFFIXES, Rendering, render_many

STRANGE = 8.0  # of distance; about one in a hundred of the pictures that were learned from is above
SIDE = 128  # px of the square in which features are measured


@dataclass
class Own:
    """A file of the user: its picture as a judge sees it and, of a program, all that was drawn."""

    path: Path
    image: Image.Image
    code: str = ""
    drawn: Rendering | None = None  # at its natural size, as data.compare draws it
    scene: dict | None = None  # of `image`


def guess_task(paths: list[str], task: str) -> str:
    """`task`, or what the ending of a program among `paths` says. Raises InputError."""
    if not paths:
        return task
    found = {task_of(Path(path), task) for path in paths if Path(path).suffix.lower() in SUFFIXES}
    if len(found) > 1:
        raise InputError(f"{' and '.join(map(str, paths))} are of two tasks.")
    task = task or "".join(found)
    return known_task(task, "--task")


def load_own(paths: list[str], task: str, preset: dict) -> list[Own]:
    """Each file as a picture; a program is drawn at its natural size and as the judge sees it.

    Beside a picture a program is drawn as large as that. Raises InputError with the renderer's
    sentence for a program that draws nothing.
    """
    files = [Path(path) for path in paths]
    programs = [path for path in files if path.suffix.lower() in SUFFIXES]
    for path in programs:
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
    images = {path: load_image(path) for path in files if path not in programs}
    size = (preset["canvas"],) * 2 if preset["canvas"] else None
    for image in images.values():
        size = drawing_size(image, preset)
    codes = [path.read_text(encoding="utf-8", errors="replace") for path in programs]
    jobs = [(task, code) for code in codes]
    natural = render_many(jobs)
    seen = natural if size is None else render_many(jobs, size=size)
    owns = {path: Own(path, image) for path, image in images.items()}
    for path, code, *both in zip(programs, codes, natural, seen):
        if broken := [one for one in both if not isinstance(one, Rendering)]:
            raise InputError(f"{path} draws nothing: {broken[0]}")
        owns[path] = Own(path, both[1].image, code, both[0], both[1].scene)
    return [owns[path] for path in files]


def own_example(path: str, task: str, preset: dict, judge: str) -> Example:
    """A file as an Example to redraw; of a program the scene is known, so fidelity can be shown."""
    (own,) = load_own([path], task, preset)
    warn([own], task, preset, judge)
    image = enlarged(fit(own.image, preset["canvas"]), preset["smallest"])
    return Example(task, image, drawing_size(image, preset), own.code, own.scene, Path(path).stem)


# --- 1. is it like what the judge learned from? ---


def features(image: Image.Image) -> list[float]:
    """Twelve numbers of a picture on a white square of SIDE px, most of them logarithms of shares.

    White, dark, coloured and grey pixels; sharp edges and soft steps, across and down; how many
    colours (of 8 x 8 x 8), their entropy, the share of the three most frequent.
    """
    pixels = np.asarray(fit(image.copy(), SIDE), float)
    cells = (pixels // 32).astype(int) @ (64, 8, 1)
    share = np.sort(np.bincount(cells.ravel(), minlength=512) / cells.size)[::-1]
    some = share[share > 0]
    grey, low, high = pixels.mean(2), pixels.min(2), pixels.max(2)
    across, down = (np.abs(np.diff(grey, axis=axis)) for axis in (1, 0))
    colour = high - low
    parts = [low >= 250, grey < 100, colour > 60, (colour <= 30) & (grey < 240), across > 24,
             down > 24, (across > 2) & (across <= 24), (down > 2) & (down <= 24)]
    shares = [part.mean() for part in parts] + [share[:3].sum()]
    return [*np.log(np.add(shares, 1e-3)), np.log((across.sum() + 1) / (down.sum() + 1)),
            np.log((share > 1e-3).sum() + 1), -(some * np.log(some)).sum()]


def statistics(rows: list[list[float]]) -> dict:
    """Mean and inverse covariance of `features`, with a little added to what hardly varies."""
    rows = np.array(rows)
    covariance = np.cov(rows.T) + np.diag(1e-3 * rows.var(0) + 1e-6)
    return {"mean": rows.mean(0).round(4).tolist(),
            "inverse": np.linalg.inv(covariance).round(3).tolist()}


def distances(image: Image.Image, known: dict) -> dict[str, float]:
    """Mahalanobis distance of a picture from those of each task in `known`."""
    found, row = {}, np.array(features(image))
    for task, of in known.items():
        apart = row - of["mean"]
        found[task] = float(max(0.0, apart @ np.array(of["inverse"]) @ apart)) ** 0.5
    return found


def statistics_of(judge: str) -> dict:
    """What is known of the pictures a judge learned from; {} if nothing is."""
    try:
        path = Path(find_folder(judge.removeprefix("read:"))).parent / STATISTICS
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, InputError):
        return {}


def outside(image: Image.Image, task: str, preset: dict, known: dict) -> str:
    """Why the judge cannot be trusted with a picture; "" if nothing speaks against it."""
    why, canvas = [], preset["canvas"]
    if canvas and max(image.size) > canvas:
        why.append(f"it is larger ({image.width} x {image.height}) than the {canvas} x {canvas} px "
                   "the judge learned from and is shrunk")
    apart = distances(image, known)
    if apart.get(task, 0) > STRANGE:
        nearest = min(apart, key=apart.get)
        like = f", more like a {nearest}" if apart[nearest] <= STRANGE else ""
        why.append(f"it is unlike each {task} the judge learned from{like} (distance "
                   f"{apart[task]:.1f}, usual is below {STRANGE:.0f})")
    return "; ".join(why)


def warn(owns: list[Own], task: str, preset: dict, judge: str) -> None:
    """Say on stderr, in a sentence for each picture, why it is outside the judge's world."""
    known = statistics_of(judge)
    for own in owns:
        if why := outside(own.image, task, preset, known):
            say(f"{own.path}: do not trust the judge here, {why}.")


# --- 2. the page about a pair ---


def exact(owns: list[Own]) -> tuple[list[tuple], float] | None:
    """([(error, boxes in one, boxes in the other)], fidelity) of two programs; else None."""
    if any(own.drawn is None for own in owns):
        return None
    scenes = [own.drawn.scene for own in owns]
    found = [(error, *boxes_of(error, *scenes)) for error in compare(*scenes)]
    return found, fidelity(*scenes)


def as_json(measured: tuple[list[tuple], float] | None) -> dict:
    """What was measured, as fields for JSON."""
    if measured is None:
        return {}
    found, score = measured
    return {"fidelity": round(score, 1), "exact": annotation([error for error, *_ in found])}


def in_words(measured: tuple[list[tuple], float] | None, report: Path) -> str:
    """The end of what is printed of a pair: what was measured, and where the page is."""
    if measured is None:
        return f"\nreport: {report}"
    found, score = measured
    exactly = Verdict("", [error for error, *_ in found])
    told = verdict_lines("measured from both programs", exactly, {"fidelity": f"{score:.1f}"})
    return f"\n{told}\nreport: {report}"


def pair_page(path: Path, owns: list[Own], verdict: Verdict, values: dict, judge: str,
              measured: tuple[list[tuple], float] | None) -> None:
    """Write the page of two files: the pictures, what the judge says, and what was `measured`."""
    names = tuple(str(own.path) for own in owns)
    said = "".join(verdict_html("", verdict))
    shown = ", ".join(f"{name} {show(value)}" for name, value in values.items()
                      if value is not None)
    parts = [f"<section><h2>The judge {escape(judge)}</h2><p>{escape(shown)}</p>{said}</section>"]
    found, score = measured or ([], None)
    images = tuple(own.drawn.image if measured else own.image for own in owns)
    parts.insert(0, section(0, names, images, score, found))
    write_text(path, page("Two pictures, what differs", parts))


# --- 3. how pictures.json is made ---


@script
def main(argv: list[str] | None = None) -> None:
    """Measure the pictures of folders of pairs, 1,400 of each task, and write their statistics."""
    settings = parse(Settings, argv, __doc__, pairs=PAIRS)
    rng, rows = random.Random(0), {}
    pairs = read_pairs(settings.pairs, check_images=False)
    rng.shuffle(pairs)
    for pair in pairs:
        if len(rows.setdefault(pair.task, [])) < 1400:
            rows[pair.task].append(features(pair.reference.load()))
    found = {task: statistics(rows[task]) for task in sorted(rows)}
    write_text(settings.out, json.dumps(found) + "\n")
    print(f"{ {task: len(found) for task, found in rows.items()} } pictures: {settings.out}")


if __name__ == "__main__":
    sys.exit(main())
