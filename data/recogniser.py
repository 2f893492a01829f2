"""A table recogniser that comes in packages, as a policy: `--model rapid-table`.

    pip install rapid_table==0.3.0 rapidocr_onnxruntime==1.4.4
    python refine.py photo.png --task table --model rapid-table --rounds 0

It finds the lines of text in a picture, reads them, finds the cells of the table and writes both as
HTML: seconds on a CPU, nothing of this project in it, errors that nobody planned. These versions
bring their weights along (22 MB, Apache-2.0). Later ones of rapid_table fetch theirs from a hub at
run time, so they are not asked for. Without the packages the rest of the project works as before.

It does this one thing. It knows no charts and no icons, revises nothing and judges nothing. But as
a judge that reads, `read:rapid-table` (data/reading.py), it reads both pictures.
"""
import math

from PIL import Image

from data.verdict import InputError

RAPID_TABLE = "rapid-table"
QUESTION = "Write the HTML code of the table"  # how visual_erm.code_prompt begins for tables
SMALLEST = 384  # px of the longer side; smaller pictures are enlarged, or letters are missed
PACKAGES = "rapid_table==0.3.0 rapidocr_onnxruntime==1.4.4"
ONLY = ("rapid-table reads the picture of a table and does nothing else: it knows no other task, "
        "revises nothing (--rounds 0) and judges only as read:rapid-table.")


def enlarged(image: Image.Image, smallest: int) -> Image.Image:
    """`image` so many times larger that its longer side has at least `smallest` px."""
    times = math.ceil(smallest / max(image.size))
    if times <= 1:
        return image
    return image.resize((image.width * times, image.height * times), Image.Resampling.LANCZOS)


class RapidTable:
    """rapid_table behind the conversations of this project. Raises InputError: not installed."""

    def __init__(self):
        try:
            from rapid_table import RapidTable as Recogniser
            from rapidocr_onnxruntime import RapidOCR  # noqa: F401  rapid_table looks for it itself
            self.recogniser = Recogniser()
        except (ImportError, OSError, TypeError, AttributeError) as error:
            raise InputError(f"--model {RAPID_TABLE} needs two packages: pip install {PACKAGES} "
                             f"({error}).") from None

    def answer(self, conversation: list[dict]) -> str:
        """HTML of the table in the conversation's image. InputError if something else is asked."""
        parts = conversation[0]["content"]
        images = [part["image"] for part in parts if "image" in part]
        asked = next(part["text"] for part in parts if "text" in part)
        if len(images) != 1 or not asked.startswith(QUESTION):
            raise InputError(ONLY)
        return self.read(images[0])

    def read(self, image: Image.Image) -> str:
        """HTML of the table in an image; "" where it finds none."""
        import numpy as np

        pixels = np.asarray(enlarged(image.convert("RGB"), SMALLEST))  # (H, W, RGB)
        pixels = pixels[:, :, ::-1].copy()  # OpenCV's order
        lines, _ = self.recogniser.ocr_engine(pixels)
        try:
            return self.recogniser(pixels, lines)[0] if lines else ""
        except (IndexError, ValueError, TypeError):  # text, but no cell that it could belong to
            return ""
