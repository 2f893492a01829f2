"""Pairs of pictures on disk: how a folder of them is read."""
import json
from pathlib import Path

from PIL import Image

from data.verdict import CATEGORIES, InputError, in_one_line


def load_image(path) -> Image.Image:
    """A picture from disk, RGB on white, shrunk to 1024 px. Raises InputError: missing, no picture, too large."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > 64_000_000 or max(image.size) > 150 * min(image.size):
                raise InputError(f"The picture {path} is {image.width} x {image.height}; at most 64 million pixels and "
                                 f"a ratio of 150 between the sides are taken.")
            image = image.convert("RGBA")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"There is no picture {path}.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read, or a much too large one.") from error
    image.thumbnail((1024, 1024))
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def read_pairs(folders) -> list[dict]:
    """Rows of pairs.jsonl in `folders` (one, or several separated by commas), with paths that open from here.

    A row has VC-RewardBench's fields, `family` (the name that pairs of one program share) and, if data.build wrote it,
    `gt_code` and `pred_code`. Raises InputError with file and line for a row that is broken.
    """
    rows = []
    for folder in map(Path, str(folders).split(",")):
        path = folder / "pairs.jsonl"
        if not path.is_file():
            raise InputError(f"{path} does not exist; make it with: python -m data.build --out {folder}")
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            try:
                row = json.loads(line)
                row |= {key: str(folder / row[key]) for key in ("gt_img_path", "pred_img_path")}
                row["family"] = f"{folder}/{row['id'].rpartition('-')[0]}"
                CATEGORIES[row["category"]]  # KeyError: an unknown task
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}:{number} is no pair of pictures ({in_one_line(error)}).") from error
            rows.append(row)
    return rows
