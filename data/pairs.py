"""Pairs of pictures on disk, and examples for a policy in memory.

A folder of pairs holds `pairs.jsonl` and its images. A line has the fields of VC-RewardBench (`id`
or `idx`, `category`, `gt_img_path`, `pred_img_path`, `human_errors`) and, where data.build wrote
it, both programs (`gt_code`, `pred_code`), the programs in the style in which they were drawn
(`gt_drawing`, `pred_drawing`), the boxes of the errors in the rendering (`pred_boxes`: left, top,
right, bottom in fractions of it), `source` and `policy_output`.
"""
import base64
import io
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from data.verdict import CATEGORIES, Discrepancy, InputError, Verdict


@dataclass
class Example:
    """A picture for a policy to redraw, and what is known about it."""

    task: str
    image: Image.Image
    size: int | tuple[int, int]  # at which a program for it is drawn: the `size` of render()
    code: str = ""  # the program that drew it, if it is known
    scene: dict | None = None  # what can be seen in it, if the program is known
    id: str = ""


@dataclass
class Picture:
    """One side of a pair: an image file and, if it is known, its program."""

    path: Path
    code: str = ""
    is_policy_output: bool = False  # a policy wrote the program: nothing to learn to write
    drawing: str = ""  # what drew the image: `code`, or `code` in a style of drawing

    def __post_init__(self):
        self.drawing = self.drawing or self.code

    def load(self) -> Image.Image:
        """The picture in RGB. Raises InputError."""
        return load_image(self.path)


@dataclass
class Pair:
    """Two pictures of one task, and what is wrong with the second: one line of a pairs.jsonl."""

    task: str
    reference: Picture
    rendering: Picture
    truth: Verdict  # `human_errors`, read by Verdict.of
    id: str = ""
    family: str = ""  # pairs of one program share it
    source: str = ""  # of the errors: "edit" or "infer" (a policy's own)
    boxes: list[tuple] | None = None  # of the errors in the rendering, in fractions of it, if known
    names: dict = field(default_factory=dict)  # `id`, `idx` and `category` as the file has them
    where: str = ""  # "file:line", for messages

    def images(self) -> tuple[Image.Image, Image.Image]:
        """(reference, rendering) in RGB. Raises InputError with file and line."""
        try:
            return self.reference.load(), self.rendering.load()
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None

    def row(self, folder: Path | str, **changed) -> dict:
        """The line for a pairs.jsonl in `folder`; `changed` replaces fields."""
        sides = {"gt": self.reference, "pred": self.rendering}
        line = self.names | {"id": self.id, "category": self.task}
        for name, side in sides.items():
            line[f"{name}_img_path"] = os.path.relpath(side.path, folder)
        line["human_errors"] = annotation(self.truth.errors)
        line |= {f"{name}_code": side.code for name, side in sides.items()}
        line |= {f"{name}_drawing": side.drawing for name, side in sides.items()
                 if side.drawing != side.code}
        line["source"] = self.source
        if self.boxes is not None:
            line["pred_boxes"] = self.boxes
        if drafts := [name for name, side in sides.items() if side.is_policy_output]:
            line["policy_output"] = drafts
        return line | changed


def annotation(errors: list[Discrepancy]) -> list[dict]:
    """Discrepancies as VC-RewardBench writes them."""
    return [{"type": e.category, "severity": e.severity, "location": e.location,
             "description": e.description} for e in errors]


def read_jsonl(path: Path | str, torn: bool = False) -> Iterator[tuple[str, dict]]:
    """("file:line", object) for each line of a JSONL file; a JSON list is read as well.

    One line at a time is in memory. With `torn` lines are passed over that are no object, as a
    killed run leaves them. Otherwise raises InputError with file and line for these.
    """
    lines = _lines(Path(path), "replace" if torn else "strict")
    while True:
        try:
            number, line = next(lines)
        except StopIteration:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from None
        where = f"{path}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if torn:
                continue
            reason = getattr(error, "msg", error)
            raise InputError(f"{where}: this line is not JSON ({reason}).") from None
        for row in value if isinstance(value, list) else [value]:
            if isinstance(row, dict):
                yield where, row
            elif not torn:
                raise InputError(f"{where}: expected an object with fields, found "
                                 f"{str(row)[:40]!r}.")


def _lines(path: Path, errors: str) -> Iterator[tuple[int, str]]:
    """(number, text) of every line that is not blank; a file that is one JSON list is one line."""
    with open(path, encoding="utf-8-sig", errors=errors, newline="\n") as file:
        # Only a line feed ends a line: JSON texts may hold U+2028, U+2029 and U+0085.
        if file.read(4096).lstrip().startswith("["):
            file.seek(0)
            yield 1, file.read().replace("\n", " ")
            return
        file.seek(0)
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def read_pairs(places: Path | str, check_images: bool = True) -> list[Pair]:
    """The pairs of .jsonl files or folders, several of them with commas between.

    A folder's pairs are those of its pairs.jsonl, or else of all its .jsonl files by name.
    Raises InputError with file and line for a line that is no pair.
    """
    pairs = []
    for place in map(Path, str(places).split(",")):
        files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
        files = [file for file in files if file.name == "pairs.jsonl"] or files
        if not files or not files[0].is_file():
            raise InputError(f"{place} is neither a .jsonl file nor a folder that holds one; "
                             f"data.build makes such a folder: python -m data.build --out {place}")
        for file in files:
            pairs += [_pair(file, where, row, check_images) for where, row in read_jsonl(file)]
    if not pairs:
        raise InputError(f"{places} holds no pairs.")
    return pairs


def _pair(file: Path, where: str, row: dict, check_images: bool) -> Pair:
    """The Pair of one line. Raises InputError that says what is wrong with it."""
    task, errors = row.get("category"), row.get("human_errors", "")
    if not isinstance(task, str) or task not in CATEGORIES:
        raise InputError(f"{where}: category is {task!r}; it must be one of "
                         f"{', '.join(CATEGORIES)}.")
    if not isinstance(errors, list | None):
        raise InputError(f"{where}: human_errors is missing or not a list.")
    drafts = row.get("policy_output") or ()
    sides = []
    for side in ("gt", "pred"):
        name = row.get(f"{side}_img_path")
        code, drawing = (row.get(f"{side}_{key}") for key in ("code", "drawing"))
        if not isinstance(name, str):
            raise InputError(f"{where}: {side}_img_path is missing or not text.")
        path = file.parent / name
        if check_images and not path.is_file():
            raise InputError(f"{where}: there is no image {path}.")
        code, drawing = (text if isinstance(text, str) else "" for text in (code, drawing))
        sides.append(Picture(path, code, side in drafts, drawing))
    truth = Verdict.of(task, errors or [])
    names = {key: row[key] for key in ("id", "idx", "category") if key in row}
    name = str(row.get("id", row.get("idx", "")))
    family = f"{file.parent}/{name.rpartition('-')[0] or name}"
    return Pair(task, *sides, truth, name, family, str(row.get("source") or ""),
                row.get("pred_boxes"), names, where)


def hold_out(pairs: list[Pair], n: int, seed: int = 0) -> tuple[list[Pair], list[Pair]]:
    """(pairs to learn from, at least `n` pairs held out): whole families, in random order."""
    families = {}
    for pair in pairs:
        families.setdefault(pair.family, []).append(pair)
    names = sorted(families)
    random.Random(seed).shuffle(names)
    held = []
    while names and len(held) < n:
        held += families[names.pop()]
    return [pair for name in names for pair in families[name]], held


def load_image(path: Path | str) -> Image.Image:
    """A picture from disk, upright as its EXIF data say, RGB on white, shrunk to 1024 px.

    Raises InputError: missing, no picture, over 64 million pixels, sides over 150 to 1.
    """
    try:
        with Image.open(path) as image:
            too_large = image.width * image.height > 64_000_000
            if too_large or max(image.size) > 150 * min(image.size):
                raise InputError(f"The picture {path} is {image.width} x {image.height}; at most "
                                 "64 million pixels and a ratio of 150 between the sides are "
                                 "taken.")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits; Pillow would cut all above 255 to white
                image = image.convert("I").point(lambda value: value / 256).convert("L")
            image = image.convert("RGBA")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"There is no picture {path}.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read, or a much too large "
                         "one.") from error
    image.thumbnail((1024, 1024))
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def data_url(image: Image.Image) -> str:
    """An image as a PNG data URL."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
