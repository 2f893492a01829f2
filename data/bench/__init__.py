r"""Score a judge on VC-RewardBench, or on any folder of pairs that `data.build` wrote.

    python -m data.bench data/bench --judge data/tiny/judge --baselines
    python -m data.bench VC-RewardBench --judge internlm/Visual-ERM --preset 8b \
        --matcher https://api.openai.com/v1 gpt-5-mini
    python -m data.bench data/bench --predictions answers.jsonl

It prints the paper's table, one row a judge, and writes everything behind it to --out:

    | judge           | chart          | table          | svg            | average        | unreadable |
    | data/tiny/judge | 75.0/80.0/91.2 | 60.0/60.0/-    | ...            | F1h/F1s/Sc     | 2 of 150   |

**Input.** A .jsonl file, or a folder of them, with VC-RewardBench's fields (`id` or `idx`, `category`, `gt_img_path`,
`pred_img_path`, `human_errors`); image paths are seen from the file's folder. Answers for --predictions: lines with
`id` and `pred_json` (a verdict as object or as the model's text; `category` where ids repeat between tasks). True and
predicted errors are read by the same rules, those of `Verdict.parse`: there are no others here.

**Counting** (Visual-ERM, VC-RewardBench). A matcher pairs predicted with true errors, one to one, "yes" or "partial".
Over all pairs of a task, and for "average" over all pairs (pooled, not a mean of three):

    TP_hard = yes          TP_soft = yes + 0.5 partial        FP, FN = predicted, true errors with no match at all
    P = TP / (TP + FP)     R = TP / (TP + FN)                 F1 = 2PR / (P + R)
    Sc = Pearson correlation, over pairs, of predicted and true sum of severities

For example 3 yes, 2 partial, 1 FP, 2 FN: F1h = 6/9 = 66.7, F1s (TP 4) = 8/11 = 72.7. Stated where the paper is silent:
- Nothing true and nothing predicted is F1 = 1. Partial matches alone (0 yes, no FP, no FN) are F1h = 0: the published
  script calls that 1.
- Sc is "-" (null in the JSON) if one side is constant or there are fewer than two pairs.
- Errors whose category is not of the task are dropped first; their number is in the JSON.
- Pairs whose answer is unreadable or not there are left out of all figures and counted in the last column. Since that
  could flatter a judge that fails on hard pairs, the JSON holds the figures with "no error" in their place as well.

**Baselines** (--baselines). "always no error" needs no eyes. "pixel difference" has eyes and no understanding; see
`pixel_difference`. Neither can name what is wrong, so F1h is 0 or close to it by design: look at Sc.

**Matchers.** The offline one (default, see `data/bench/matchers.py`) costs nothing and gives the same figures every time; it
reads templated English exactly and free text by key words. `--matcher URL MODEL` asks a language model, as the paper
does, through any OpenAI-compatible server (key in OPENAI_API_KEY); its answers are kept beside --out in matcher.jsonl,
so a second run asks only what is new. Never compare figures of two matchers with each other.
"""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import visual_erm
from data.bench.matchers import match
from data.pairs import load_image
from data.verdict import CATEGORIES, Discrepancy, InputError, Verdict

# ---------------------------------------------------------------------------- 1. Pairs and answers


@dataclass
class Pair:
    """One line of the benchmark."""

    names: dict  # its `id`, `idx` and `category`, as far as given
    task: str
    reference: Path
    rendering: Path
    true: Verdict  # human_errors, read as if they were a judge's answer
    where: str  # "file:line", for messages

    def images(self) -> tuple[Image.Image, Image.Image]:
        """(reference, rendering) in RGB. Raises InputError."""
        try:
            return load_image(self.reference), load_image(self.rendering)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None


def _rows(file: Path):
    """(where, row) for every line of a JSONL file; a JSON list is accepted too. Raises InputError with file:line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.") from None
    lines = text.split("\n")
    if text.lstrip().startswith("["):
        lines = [" ".join(lines)]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}:{number}: this line is not JSON ({getattr(error, 'msg', error)}).") from None
        for row in found if isinstance(found, list) else [found]:
            if not isinstance(row, dict):
                raise InputError(f"{file}:{number}: expected an object with fields, found {str(row)[:40]!r}.")
            yield f"{file}:{number}", row


def _keys(row: dict) -> list[tuple]:
    """What a pair may be called by, the most exact first: id and idx, id, idx; with its category and without."""
    fields = [f for f in (("id", "idx"), ("id",), ("idx",)) if all(row.get(name) is not None for name in f)]
    return [(task, f, *(str(row[name]) for name in f)) for task in (row.get("category"), None) for f in fields]


def _count_keys(pairs: list[Pair]) -> Counter:
    return Counter(key for pair in pairs for key in set(_keys(pair.names)))


def read_pairs(path: str | Path, check_images: bool = True) -> list[Pair]:
    """The pairs of a .jsonl file or of a folder: its pairs.jsonl, or else all of them by name. Raises InputError."""
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    files = [file for file in files if file.name == "pairs.jsonl"] or files   # a teacher's answers may lie beside it
    if not files or not path.exists():
        raise InputError(f"{path} is neither a .jsonl file nor a folder that holds one.")
    pairs = []
    for file in files:
        for where, row in _rows(file):
            task, errors = row.get("category"), row.get("human_errors", "")
            if not isinstance(task, str) or task not in CATEGORIES:
                raise InputError(f"{where}: category is {task!r}; it must be one of {', '.join(CATEGORIES)}.")
            if not isinstance(errors, list | None):
                raise InputError(f"{where}: human_errors is missing or not a list.")
            images = [row.get("gt_img_path"), row.get("pred_img_path")]
            if not all(isinstance(name, str) for name in images):
                raise InputError(f"{where}: gt_img_path or pred_img_path is missing or not text.")
            images = [file.parent / name for name in images]
            if missing := [image for image in images if check_images and not image.is_file()]:
                raise InputError(f"{where}: there is no image {missing[0]}.")
            names = {k: row[k] for k in ("id", "idx", "category") if k in row}
            pairs.append(Pair(names, task, *images, Verdict.parse(task, json.dumps({"errors": errors or []})), where))
    if not pairs:
        raise InputError(f"{path} holds no pairs.")
    known = _count_keys(pairs)
    if unclear := [p.where for p in pairs if all(known[key] > 1 for key in _keys(p.names))]:
        raise InputError(f"{unclear[0]}: the pair has no id, or another pair has the same one.")
    return pairs


def read_answers(file: str | Path, pairs: list[Pair]) -> list[Verdict]:
    """A verdict for each pair, in order; unreadable (note "no answer") where the file has none. Raises InputError."""
    answers, known, verdicts = {}, _count_keys(pairs), []
    for where, row in _rows(Path(file)):
        if "pred_json" not in row or not _keys(row):
            raise InputError(f"{where}: an answer needs the fields id and pred_json.")
        answers |= {key: row["pred_json"] for key in _keys(row) if key[0] == row.get("category")}
    for pair in pairs:
        key = next((k for k in _keys(pair.names) if k in answers and known[k] == 1), None)
        answer = answers.get(key)
        if answer is None:
            verdicts.append(Verdict(pair.task, readable=False, notes=["no answer"]))
        else:
            verdicts.append(Verdict.parse(pair.task, answer if isinstance(answer, str) else json.dumps(answer)))
    if all(v.notes == ["no answer"] for v in verdicts):
        raise InputError(f"{file} has no answer to any of the {len(pairs)} pairs (by id, with category if ids repeat).")
    return verdicts


def ask_judge(judge: str, preset: dict, pairs: list[Pair], file: Path) -> list[Verdict]:
    """The verdicts of a model or server; a batch of answers is on disk, ready for --predictions, before the next."""
    model, verdicts = visual_erm.VisualERM(judge, preset), []
    chunk = 4 * model.server.workers if model.server else preset["batch"]
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():  # an earlier run's answers may have cost hours
        os.replace(file, next(old for n in count(1) if not (old := file.with_suffix(f".old{n}.jsonl")).exists()))
    with open(file, "w", encoding="utf-8", errors="replace") as out, tqdm(desc=judge, total=len(pairs)) as bar:
        for start in range(0, len(pairs), chunk):
            part = pairs[start:start + chunk]
            answers = model.judge([(p.task, *p.images()) for p in part])
            for pair, verdict in zip(part, answers, strict=True):
                row = pair.names | {"pred_json": verdict.raw or (verdict.to_json() if verdict.readable else "")}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            verdicts += answers
            bar.update(len(part))
    return verdicts


# ---------------------------------------------------------------------------- 2. Baselines


def always_no_error(pairs: list[Pair]) -> list[Verdict]:
    """The judge that is right about every perfect copy and about nothing else."""
    return [Verdict(pair.task) for pair in pairs]


def pixel_difference(pairs: list[Pair]) -> list[Verdict]:
    """A judge that has eyes and no understanding: one error per connected region of differing pixels.

    Pixels differ if a channel is more than 64 of 255 off (less is antialiasing); the smaller picture is padded with
    white on the right and at the bottom. A 32 x 32 raster is laid over the picture; fields with differing pixels that
    touch, corners included, are one region. Of each region it says:
    - category: the most common one of the task in this very benchmark (it is told that much);
    - severity by the share of the picture that differs: under 1 % minor, under 5 % medium, else severe;
    - location: the place of the region's centre in a 3x3 grid, such as "top left" or "centre";
    - description: "missing" if over 90 % of its pixels are white in the rendering, "extra" if so in the reference,
      else "color differs".
    It cannot say which part it looks at, so F1h is about 0 by construction; Sc is what it can earn.
    """
    common = {}
    for task, categories in CATEGORIES.items():
        counts = Counter(e.category for p in pairs if p.task == task for e in p.true.errors)
        common[task] = max(categories, key=lambda c: counts[c])  # of equals the first
    with tqdm(pairs, "pixel difference") as bar:
        return [Verdict(p.task, [Discrepancy(common[p.task], *region) for region in differing_regions(*p.images())])
                for p in bar]


def differing_regions(reference: Image.Image, rendering: Image.Image) -> list[tuple[int, str, str]]:
    """(severity, location, description) of each region, in reading order of their first field; two RGB images."""
    height, width = max(reference.height, rendering.height), max(reference.width, rendering.width)
    both = np.full((2, height, width, 3), 255, dtype=np.int16)
    for canvas, image in zip(both, (reference, rendering)):
        canvas[:image.height, :image.width] = np.asarray(image)
    ys, xs = np.nonzero(np.abs(both[0] - both[1]).max(axis=2) > 64)
    white = (both[:, ys, xs] > 191).all(axis=2)  # (2, differing pixels)
    fields = {}  # (row, column) -> indices of its differing pixels
    for n, key in enumerate(zip((ys * 32 // height).tolist(), (xs * 32 // width).tolist())):
        fields.setdefault(key, []).append(n)
    regions = []
    while fields:
        todo, pixels = [min(fields)], []
        while todo:
            row, column = todo.pop()
            pixels += fields.pop((row, column), [])
            todo += [key for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (key := (row + dy, column + dx)) in fields]
        share = len(pixels) / (height * width)
        third_y, third_x = int(3 * ys[pixels].mean() / height), int(3 * xs[pixels].mean() / width)
        where = f"{('top', '', 'bottom')[third_y]} {('left', '', 'right')[third_x]}".strip() or "centre"
        in_reference, in_rendering = white[:, pixels].mean(axis=1)
        what = "missing" if in_rendering > 0.9 else "extra" if in_reference > 0.9 else "color differs"
        regions.append((1 if share < 0.01 else 2 if share < 0.05 else 3, where, what))
    return regions


# ---------------------------------------------------------------------------- 3. Scores


def match_all(pairs: list[Pair], verdicts: list[Verdict], matcher=match, workers: int = 1) -> list[dict]:
    """One plain dict per pair for the JSON file: errors of both sides, matches, severity sums. See `score`."""
    def one(pair, verdict):
        allowed = CATEGORIES[pair.task]
        true, predicted = ([e for e in v.errors if e.category in allowed] for v in (pair.true, verdict))
        dropped = [len(v.errors) - len(kept) + sum(note.endswith("dropped") for note in v.notes)
                   for v, kept in ((pair.true, true), (verdict, predicted))]
        return {**pair.names, "readable": verdict.readable,
                "true": [vars(e) for e in true], "predicted": [vars(e) for e in predicted],
                "matches": [{"true": i, "predicted": j, "level": level}
                            for i, j, level in matcher(pair.task, true, predicted)],
                "severity_true": sum(e.severity for e in true),
                "severity_predicted": sum(e.severity for e in predicted),
                "dropped_true": dropped[0], "dropped_predicted": dropped[1],
                "notes": verdict.notes, **({} if verdict.readable else {"raw": verdict.raw})}

    with tqdm(desc="matching", total=len(pairs), disable=workers == 1) as bar, ThreadPoolExecutor(workers) as pool:
        items = []
        for item in pool.map(one, pairs, verdicts):
            items.append(item)
            bar.update()
    return items


def f1(tp: float, fp: int, fn: int, nothing: bool = False) -> float:
    """2PR / (P + R). 1 if there was `nothing` to find and nothing was predicted; 0 wherever it would be 0/0."""
    return 1.0 if nothing else 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def pearson(xs, ys) -> float | None:
    """Correlation of two lists of numbers; None if one is constant or shorter than 2."""
    if len(xs) < 2 or len(set(xs)) < 2 or len(set(ys)) < 2:
        return None
    return float(np.corrcoef(xs, ys)[0, 1])


def score(items: list[dict]) -> dict:
    """The figures of some items of `match_all`, pooled; F1 and Sc between 0 and 1 (the table prints 100 times that).

    Worked: 3 yes, 2 partial, 1 FP, 2 FN: tp_hard 3, tp_soft 4, f1h 6/9, f1s 8/11.
    """
    levels = Counter(m["level"] for item in items for m in item["matches"])
    true, predicted = (sum(len(item[side]) for item in items) for side in ("true", "predicted"))
    matched = levels["yes"] + levels["partial"]
    fp, fn, soft = predicted - matched, true - matched, levels["yes"] + 0.5 * levels["partial"]
    nothing = not true and not predicted
    return {"pairs": len(items), "true_errors": true, "predicted_errors": predicted, "tp_hard": levels["yes"],
            "tp_soft": soft, "fp": fp, "fn": fn,
            "f1h": f1(levels["yes"], fp, fn, nothing) if items else None,
            "f1s": f1(soft, fp, fn, nothing) if items else None,
            "sc": pearson([i["severity_predicted"] for i in items], [i["severity_true"] for i in items]),
            "dropped_true": sum(i["dropped_true"] for i in items),
            "dropped_predicted": sum(i["dropped_predicted"] for i in items)}


def report(judge: str, items: list[dict]) -> dict:
    """One row of the table: the figures by task and pooled, without the unreadable answers, and the items."""
    def figures(chosen):
        return {task: score([i for i in chosen if task in (i["category"], "average")])
                for task in (*CATEGORIES, "average")}

    unreadable = [i for i in items if not i["readable"]]
    row = {"judge": judge, "scores": figures([i for i in items if i["readable"]]),
           "unreadable": len(unreadable), "unreadable_ids": [i.get("id", i.get("idx")) for i in unreadable]}
    if unreadable:
        row["scores_unreadable_as_no_error"] = figures(items)
    return row | {"items": items}


def table(rows: list[dict]) -> str:
    """The paper's table in Markdown: F1h/F1s/Sc, times 100."""
    def cell(scores):
        figures = ["-" if scores[k] is None else f"{100 * scores[k]:.1f}" for k in ("f1h", "f1s", "sc")]
        return "/".join(figures) if scores["pairs"] else "-"

    lines = [["judge (F1h/F1s/Sc)", *CATEGORIES, "average", "unreadable"]]
    lines += [[r["judge"], *map(cell, r["scores"].values()), f"{r['unreadable']} of {len(r['items'])}"] for r in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(text.ljust(n) for text, n in zip(line, widths)) + " |" for line in lines)
