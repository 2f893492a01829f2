"""Scores of pictures: UniSVG's SSIM, and LPIPS, CLIP, DINO where their weights are at hand."""
from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import uniform_filter

from data.metrics import VisionEncoder
from data.models import choose_device, find_folder, why_not
from data.verdict import InputError


def ssim(reference: Image.Image, rendering: Image.Image) -> float:
    """Structural similarity as scikit-image gives it by default, and UniSVG by it.

    A window of 7 x 7 px without weights, sample covariance, the mean over RGB and over pixels whose
    window lies in the picture. Smaller pictures have a smaller window. 0 for other sizes.
    (data.metrics.ssim has the Gaussian window of the original paper.)
    """
    x, y = (np.asarray(image.convert("RGB"), float) for image in (reference, rendering))
    if x.shape != y.shape:
        return 0.0
    side = min(7, min(x.shape[:2]) // 2 * 2 + 1)
    side -= 2 * (side > min(x.shape[:2]))
    n = side * side

    def mean(values):
        return uniform_filter(values, (side, side, 1))
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y, cov = (n / max(1, n - 1) * (mean(a * b) - mean_a * mean_b)
                         for a, b, mean_a, mean_b in
                         ((x, x, mean_x, mean_x), (y, y, mean_y, mean_y), (x, y, mean_x, mean_y)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)
              / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    edge = (side - 1) // 2
    return float(values[edge:len(values) - edge, edge:values.shape[1] - edge].mean())


def load_measure(name: str) -> tuple[str, Callable]:
    """(column, function of reference and rendering) of a measure by name.

    "lpips": the package of that name, AlexNet, 0 is best. A name with "clip" in it: cosine of the
    image embeddings of CLIP. Any other name: a vision encoder of data/metrics.py, such as
    facebook/dinov2-large. Raises InputError if it is not at hand.
    """
    if name == "lpips":
        return "lpips", _lpips()
    if "clip" in name.lower():
        return "clip", _clip(name)
    column = "dino" if "dino" in name.lower() else name.rstrip("/").split("/")[-1]
    return column, VisionEncoder(name).similarity


def _lpips():
    try:
        lpips = import_module("lpips")  # not in requirements.txt: few need it
        network = lpips.LPIPS(net="alex", verbose=False)
    except Exception as error:  # no package, no weights, no network
        raise InputError(f"LPIPS needs the package lpips and its weights ({type(error).__name__}): "
                         "pip install lpips.") from error

    def distance(reference, rendering):
        tensors = [lpips.im2tensor(np.array(image.convert("RGB")))
                   for image in (reference, rendering.resize(reference.size))]
        with torch.inference_mode():
            return float(network(*tensors))
    return distance


def _clip(name):
    from transformers import AutoImageProcessor, CLIPModel
    name, (device, dtype) = find_folder(name), choose_device()
    try:
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        model = CLIPModel.from_pretrained(name, dtype=dtype).to(device).eval()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(why_not(name, error)) from error

    def cosine(reference, rendering):
        images = [image.convert("RGB") for image in (reference, rendering)]
        pixels = processor(images, return_tensors="pt")["pixel_values"].to(device, dtype)
        with torch.inference_mode():
            seen = model.vision_model(pixel_values=pixels).pooler_output
            one, other = model.visual_projection(seen).float()
        return float(torch.cosine_similarity(one, other, dim=0))
    return cosine
