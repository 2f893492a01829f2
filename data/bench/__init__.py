r"""Score a judge on VC-RewardBench, or on any folder of pairs that `data.build` wrote.

    python -m data.bench data/bench --judge data/tiny/judge --baselines
    python -m data.bench VC-RewardBench --judge internlm/Visual-ERM --preset 8b \
        --matcher https://api.openai.com/v1 gpt-5-mini
    python -m data.bench data/bench --predictions answers.jsonl

It prints the paper's table, one row a judge, and writes everything behind it to --out:

    | judge           | chart          | table       | svg | average    | unreadable |
    | data/tiny/judge | 75.0/80.0/91.2 | 60.0/60.0/- | ... | F1h/F1s/Sc | 2 of 150   |

**Input.** A .jsonl file, or a folder of them, with VC-RewardBench's fields (`id` or `idx`,
`category`, `gt_img_path`, `pred_img_path`, `human_errors`). Image paths are relative to the file's
folder. Answers for --predictions are lines with `id` and `pred_json` (a verdict as object or as the
model's text; `category` where ids repeat between tasks). `Verdict.parse` reads true and predicted
errors by the same rules, but no true error is taken for a repetition (`Verdict.of`).

**Counting** (Visual-ERM, VC-RewardBench). A matcher pairs predicted with true errors, one to one,
"yes" or "partial". Over all pairs of a task, and for "average" over all pairs (pooled, not a mean
of three):

    TP_hard = yes          TP_soft = yes + 0.5 partial
    FP, FN = predicted, true errors with no match at all
    P = TP / (TP + FP)     R = TP / (TP + FN)     F1 = 2PR / (P + R)
    Sc = Pearson correlation, over pairs, of predicted and true sum of severities

For example 3 yes, 2 partial, 1 FP, 2 FN: F1h = 6/9 = 66.7, F1s (TP 4) = 8/11 = 72.7. Stated where
the paper is silent:
- Nothing true and nothing predicted is F1 = 1. Partial matches alone (0 yes, no FP, no FN) are
  F1h = 0: the published script calls that 1.
- Sc is "-" (null in the JSON) if one side is constant or there are fewer than two pairs.
- Errors whose category is not of the task are dropped first; their number is in the JSON.
- Pairs whose answer is unreadable or missing are left out of all figures and counted in the last
  column. That could favour a judge that fails on hard pairs, so the JSON also holds the figures
  with "no error" in their place.

**Baselines** (--baselines). "always no error" ignores the images. "pixel difference" compares
pixels only; see `pixel_difference`. Neither can name what is wrong, so F1h is 0 or close to it by
design: look at Sc.

**Matchers.** The offline one (default, see `data/bench/matchers.py`) needs no server and gives the
same figures every time; it reads templated English exactly and free text by key words. `--matcher
URL MODEL` asks a language model, as the paper does, through any OpenAI-compatible server (key in
OPENAI_API_KEY). Its answers are kept beside --out in matcher.jsonl, so a second run asks only what
is new. Figures of two matchers cannot be compared with each other.
"""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product, repeat
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.bench.matchers import LLMMatcher, match
from data.pairs import Pair, read_jsonl, read_pairs
from data.runs import write_text
from data.verdict import CATEGORIES, Discrepancy, InputError, Verdict

# --- 1. pairs and answers ---


def _keys(row: dict) -> list[tuple]:
    """A pair's names, the most exact first: id and idx, id, idx; with category, then without."""
    keys = []
    for task in (row.get("category"), None):
        for fields in (("id", "idx"), ("id",), ("idx",)):
            values = [row.get(name) for name in fields]
            if None not in values:
                keys.append((task, fields, *map(str, values)))
    return keys


def _count_keys(pairs: list[Pair]) -> Counter:
    return Counter(key for pair in pairs for key in set(_keys(pair.names)))


def named_pairs(path: str | Path, check_images: bool = True) -> list[Pair]:
    """The pairs of a file or folder, each with a name of its own. Raises InputError."""
    pairs = read_pairs(path, check_images)
    known = _count_keys(pairs)
    for pair in pairs:
        if all(known[key] > 1 for key in _keys(pair.names)):
            raise InputError(f"{pair.where}: the pair has no id, or another pair has the same one.")
    return pairs


def read_answers(file: str | Path, pairs: list[Pair]) -> list[Verdict]:
    """A verdict for each pair, in order; unreadable (note "no answer") where the file has none.

    Raises InputError if the file is no such file or answers none of the pairs.
    """
    answers, known, verdicts = {}, _count_keys(pairs), []
    for where, row in read_jsonl(file):
        if "pred_json" not in row or not _keys(row):
            raise InputError(f"{where}: an answer needs the fields id and pred_json.")
        answers |= {key: row["pred_json"] for key in _keys(row) if key[0] == row.get("category")}
    for pair in pairs:
        key = next((k for k in _keys(pair.names) if k in answers and known[k] == 1), None)
        answer = answers.get(key)
        if answer is None:
            verdicts.append(Verdict(pair.task, readable=False, notes=["no answer"]))
            continue
        text = answer if isinstance(answer, str) else json.dumps(answer)
        verdicts.append(Verdict.parse(pair.task, text))
    if all(v.notes == ["no answer"] for v in verdicts):
        raise InputError(f"{file} has no answer to any of the {len(pairs)} pairs (by id, with "
                         "category if ids repeat).")
    return verdicts


def ask_judge(judge: str, preset: dict, pairs: list[Pair], file: Path) -> list[Verdict]:
    """The verdicts of a model or server.

    The answers of a batch are written to `file`, as --predictions reads it, before the next batch.
    """
    from visual_erm import VisualERM  # only here: scoring ready answers needs no torch

    model, verdicts = VisualERM(judge, preset), []
    chunk = 4 * model.server.workers if model.server else preset["judge_batch"]
    file.parent.mkdir(parents=True, exist_ok=True)
    _move_aside(file)
    with (open(file, "w", encoding="utf-8", errors="replace") as out,
          tqdm(desc=judge, total=len(pairs)) as bar):
        for start in range(0, len(pairs), chunk):
            part = pairs[start:start + chunk]
            answers = model.judge([(p.task, *p.images()) for p in part])
            for pair, verdict in zip(part, answers, strict=True):
                text = verdict.raw
                if verdict.readable:
                    text = text or verdict.to_json()
                row = pair.names | {"pred_json": text}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            verdicts += answers
            bar.update(len(part))
    return verdicts


def _move_aside(file: Path) -> None:
    """Rename an earlier run's `file` to the first free *.oldN.jsonl: it may have cost hours."""
    old = (file.with_suffix(f".old{n}.jsonl") for n in count(1))
    if file.exists():
        file.replace(next(path for path in old if not path.exists()))


# --- 2. baselines ---


def always_no_error(pairs: list[Pair]) -> list[Verdict]:
    """The judge that is right about every perfect copy and about nothing else."""
    return [Verdict(pair.task) for pair in pairs]


def pixel_difference(pairs: list[Pair]) -> list[Verdict]:
    """One error for each connected region of differing pixels.

    Pixels differ if a channel is more than 64 of 255 off (less is antialiasing). The smaller image
    is padded with white on the right and at the bottom. The image is divided into 32 x 32 fields;
    fields with differing pixels that touch, corners included, are one region. The error has:
    - category: the task's most common one in this benchmark;
    - severity by the region's share of the image: under 1 % minor, under 5 % medium, else severe;
    - location: that of the region's centre in a 3x3 grid, such as "top left" or "centre";
    - description: "missing" if over 90 % of its pixels are white in the rendering, "extra" if so in
      the reference, else "color differs".
    No element is named, so F1h is about 0 by construction; only Sc can be above 0.
    """
    common = {}
    for task, categories in CATEGORIES.items():
        counts = Counter(e.category for p in pairs if p.task == task for e in p.truth.errors)
        common[task] = max(categories, key=lambda c: counts[c])  # of equals the first
    verdicts = []
    for pair in tqdm(pairs, "pixel difference"):
        regions = differing_regions(*pair.images())
        errors = [Discrepancy(common[pair.task], *region) for region in regions]
        verdicts.append(Verdict(pair.task, errors))
    return verdicts


def differing_regions(reference: Image.Image, rendering: Image.Image) -> list[tuple[int, str, str]]:
    """(severity, location, description) of each region of two RGB images.

    The regions are in reading order of their first field.
    """
    height = max(reference.height, rendering.height)
    width = max(reference.width, rendering.width)
    both = np.full((2, height, width, 3), 255, dtype=np.int16)
    for canvas, image in zip(both, (reference, rendering)):
        canvas[:image.height, :image.width] = np.asarray(image)
    ys, xs = np.nonzero(np.abs(both[0] - both[1]).max(axis=2) > 64)
    white = (both[:, ys, xs] > 191).all(axis=2)  # (2, differing pixels)
    fields = {}  # (row, column) -> indices of its differing pixels
    rows, columns = (ys * 32 // height).tolist(), (xs * 32 // width).tolist()
    for n, key in enumerate(zip(rows, columns)):
        fields.setdefault(key, []).append(n)
    regions = []
    while fields:
        pixels = _take_region(fields)
        share = len(pixels) / (height * width)
        severity = 1 + (share >= 0.01) + (share >= 0.05)
        vertical = ("top", "", "bottom")[int(3 * ys[pixels].mean() / height)]
        horizontal = ("left", "", "right")[int(3 * xs[pixels].mean() / width)]
        location = f"{vertical} {horizontal}".strip() or "centre"
        in_reference, in_rendering = white[:, pixels].mean(axis=1)
        description = "color differs"
        if in_rendering > 0.9:
            description = "missing"
        elif in_reference > 0.9:
            description = "extra"
        regions.append((severity, location, description))
    return regions


def _take_region(fields: dict) -> list[int]:
    """The pixels of the first field and of all connected with it, removed from `fields`."""
    todo, pixels = [min(fields)], []
    while todo:
        row, column = todo.pop()
        pixels += fields.pop((row, column), [])
        around = [(row + dy, column + dx) for dy, dx in product((-1, 0, 1), repeat=2)]
        todo += [key for key in around if key in fields]
    return pixels


# --- 3. scores ---


def match_all(pairs: list[Pair], verdicts: list[Verdict], matcher: Callable = match,
              workers: int = 1) -> list[dict]:
    """One plain dict a pair for the JSON file: errors of both sides, matches, severity sums."""
    with ThreadPoolExecutor(workers) as pool:
        items = pool.map(_match_pair, pairs, verdicts, repeat(matcher))
        return list(tqdm(items, "matching", total=len(pairs), disable=workers == 1))


def _match_pair(pair: Pair, verdict: Verdict, matcher: Callable) -> dict:
    true, dropped_true = _of_task(pair.task, pair.truth)
    predicted, dropped_predicted = _of_task(pair.task, verdict)
    item = pair.names | {"readable": verdict.readable}
    item |= {"true": [vars(e) for e in true], "predicted": [vars(e) for e in predicted]}
    item["matches"] = [{"true": i, "predicted": j, "level": level}
                       for i, j, level in matcher(pair.task, true, predicted)]
    item["severity_true"] = sum(e.severity for e in true)
    item["severity_predicted"] = sum(e.severity for e in predicted)
    item |= {"dropped_true": dropped_true, "dropped_predicted": dropped_predicted}
    item["notes"] = verdict.notes
    if not verdict.readable:
        item["raw"] = verdict.raw
    return item


def _of_task(task: str, verdict: Verdict) -> tuple[list[Discrepancy], int]:
    """(errors with a category of the task, number of those dropped, here or when it was read)."""
    kept = [error for error in verdict.errors if error.category in CATEGORIES[task]]
    dropped_before = sum(note.endswith("dropped") for note in verdict.notes)
    return kept, len(verdict.errors) - len(kept) + dropped_before


def f1(tp: float, fp: int, fn: int, nothing: bool = False) -> float:
    """2PR / (P + R). 1 if `nothing` was to find and nothing was predicted; 0 instead of 0/0."""
    if nothing:
        return 1.0
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def pearson(xs: list[float], ys: list[float]) -> float | None:
    """Correlation of two lists of numbers; None if one is constant or shorter than 2."""
    if len(xs) < 2 or len(set(xs)) < 2 or len(set(ys)) < 2:
        return None
    return float(np.corrcoef(xs, ys)[0, 1])


def score(items: list[dict]) -> dict:
    """The figures of some items of `match_all`, pooled.

    F1 and Sc are between 0 and 1; the table prints 100 times that.
    Worked: 3 yes, 2 partial, 1 FP, 2 FN: tp_hard 3, tp_soft 4, f1h 6/9, f1s 8/11.
    """
    levels = Counter(m["level"] for item in items for m in item["matches"])
    true = sum(len(item["true"]) for item in items)
    predicted = sum(len(item["predicted"]) for item in items)
    hard, partial = levels["yes"], levels["partial"]
    soft = hard + 0.5 * partial
    fp, fn = predicted - hard - partial, true - hard - partial
    nothing = not true and not predicted
    severities = [item["severity_predicted"] for item in items]
    true_severities = [item["severity_true"] for item in items]
    counts = {"pairs": len(items), "true_errors": true, "predicted_errors": predicted,
              "tp_hard": hard, "tp_soft": soft, "fp": fp, "fn": fn}
    figures = {"f1h": f1(hard, fp, fn, nothing) if items else None,
               "f1s": f1(soft, fp, fn, nothing) if items else None,
               "sc": pearson(severities, true_severities)}
    dropped = {side: sum(item[side] for item in items)
               for side in ("dropped_true", "dropped_predicted")}
    return counts | figures | dropped


def report(judge: str, items: list[dict]) -> dict:
    """One row of the table: the readable answers' scores by task and pooled; and all items."""
    readable = [item for item in items if item["readable"]]
    unreadable = [item.get("id", item.get("idx")) for item in items if not item["readable"]]
    row = {"judge": judge, "scores": _scores(readable),
           "unreadable": len(unreadable), "unreadable_ids": unreadable}
    if unreadable:
        row["scores_unreadable_as_no_error"] = _scores(items)
    return row | {"items": items}


def _scores(items: list[dict]) -> dict[str, dict]:
    """The figures of each task and, pooled, the average."""
    scores = {}
    for task in CATEGORIES:
        scores[task] = score([item for item in items if item["category"] == task])
    return scores | {"average": score(items)}


def table(rows: list[dict]) -> str:
    """The paper's table in Markdown: F1h/F1s/Sc, times 100."""
    lines = [["judge (F1h/F1s/Sc)", *CATEGORIES, "average", "unreadable"]]
    for row in rows:
        unreadable = f"{row['unreadable']} of {len(row['items'])}"
        lines.append([row["judge"], *map(_cell, row["scores"].values()), unreadable])
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    padded = [map(str.ljust, line, widths) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _cell(scores: dict) -> str:
    if not scores["pairs"]:
        return "-"
    values = [scores[name] for name in ("f1h", "f1s", "sc")]
    return "/".join("-" if value is None else f"{100 * value:.1f}" for value in values)


# --- 4. all of it ---


def evaluate(data: str | Path, *, judges: list[str] = (), preset: str = "",
             predictions: list[str] = (), baselines: bool = False,
             llm_matcher: tuple[str, str] | None = None, limit: int | None = None,
             out: Path) -> list[dict]:
    """Answer, match, score: prints the table, writes OUT and returns the rows. Raises InputError.

    `llm_matcher`: (URL, model) of a language model that matches instead of the offline matcher.
    """
    pairs = named_pairs(data, check_images=bool(judges or baselines))
    # what can fail at once comes before the judges
    answered = [(file, read_answers(file, pairs)) for file in predictions]
    if limit and limit < len(pairs):
        chosen = [i * len(pairs) // limit for i in range(limit)]
        pairs = [pairs[i] for i in chosen]
        answered = [(file, [verdicts[i] for i in chosen]) for file, verdicts in answered]
    matcher, workers = match, 1
    if llm_matcher:
        matcher, workers = LLMMatcher(*llm_matcher, cache=out.parent / "matcher.jsonl"), 8
    tasks = Counter(pair.task for pair in pairs)
    kinds = ", ".join(f"{tasks[task]} {task}" for task in CATEGORIES)
    equal = sum(not pair.truth.errors for pair in pairs)
    print(f"{data}: {len(pairs)} pairs ({kinds}), {equal} of them without errors; "
          f"matcher: {llm_matcher[1] if llm_matcher else 'offline'}", flush=True)

    for n, judge in enumerate(judges):
        from data.models import preset_for

        file = out.with_suffix(f".answers{n + 1 if n else ''}.jsonl")
        print(f"the answers of {judge} go to {file}", flush=True)
        answered.insert(n, (judge, ask_judge(judge, preset_for(preset, judge), pairs, file)))
    if baselines:
        answered.append(("always no error", always_no_error(pairs)))
        answered.append(("pixel difference", pixel_difference(pairs)))
    rows = []
    for name, verdicts in answered:
        rows.append(report(name, match_all(pairs, verdicts, matcher, workers)))
    if llm_matcher:
        print(f"matcher: {matcher.asked} questions asked; {matcher.fell_back} pairs fell back to "
              "the offline matcher because its answers could not be read")

    print(table(rows))
    for row in rows:
        print_left_out(row)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"data": str(data), "matcher": llm_matcher or "offline", "limit": limit, "rows": rows}
    write_text(out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {out}")
    return rows


def print_left_out(row: dict) -> None:
    """Print what the table does not show of a row: errors dropped, answers left out."""
    average = row["scores"]["average"]
    predicted, true = average["dropped_predicted"], average["dropped_true"]
    if predicted or true:
        print(f"{row['judge']}: {predicted} predicted and {true} true errors dropped "
              "(category not of the task)")
    if row["unreadable"]:
        other = row["scores_unreadable_as_no_error"]["average"]
        print(f"{row['judge']}: {row['unreadable']} answers unreadable or missing, left out; "
              f"counted as \"no error\" the average F1h would be {100 * other['f1h']:.1f}")
