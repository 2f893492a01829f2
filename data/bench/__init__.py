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
    Sc = Pearson correlation, over pairs, of predicted and true sum of severities; Spearman: of
         their ranks
    error? = (share of pairs with an error in which one is reported
              + share of pairs without in which none is) / 2: 50 is chance

For example 3 yes, 2 partial, 1 FP, 2 FN: F1h = 6/9 = 66.7, F1s (TP 4) = 8/11 = 72.7. Stated where
the paper is silent:
- Nothing true and nothing predicted is F1 = 1. Partial matches alone (0 yes, no FP, no FN) are
  F1h = 0: the published script calls that 1.
- Sc is "-" (null in the JSON) if one side is constant or there are fewer than two pairs.
- Errors whose category is not of the task are dropped first; their number is in the JSON.
- Pairs whose answer is unreadable or missing are left out of all figures and counted in the last
  column. That could favour a judge that fails on hard pairs, so the JSON also holds the figures
  with "no error" in their place.

--rules published counts as the paper's script does; data/README.md has both books of rules side by
side. A second table has every figure with its 95 % interval (bootstrap over pairs, the same samples
for every judge, fixed seed); with --categories also of each category. Where there are several
judges, the differences to the first one follow, with their intervals.

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
from functools import partial
from itertools import count, product
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.bench.matchers import LLMMatcher, match
from data.bench.scores import FIGURES, interval, score, strict_pair
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
                if verdict.readable and (model.reads or not verdict.raw):  # raw: what it read
                    verdict.raw = verdict.to_json()
                row = pair.names | {"pred_json": verdict.raw}
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
              workers: int = 1, rules: str = "ours") -> list[dict]:
    """One plain dict a pair for the JSON file: errors of both sides, matches, severity sums.

    `rules`: one of RULES. A pair that the published script leaves out is not in the list.
    """
    one = partial(_match_pair, matcher=matcher, rules=rules)
    with ThreadPoolExecutor(workers) as pool:
        items = pool.map(one, pairs, verdicts)
        items = tqdm(items, "matching", total=len(pairs), disable=workers == 1)
        return [item for item in items if item is not None]


def _match_pair(pair: Pair, verdict: Verdict, matcher: Callable, rules: str) -> dict | None:
    if rules == "published":
        both = strict_pair(pair.truth, verdict)
        if both is None:
            return None
        (true, predicted), dropped_true, dropped_predicted = both, 0, 0
    else:
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


def report(judge: str, items: list[dict], rules: str = "ours", left_out: int = 0) -> dict:
    """One row of the table: figures by task and pooled, by category within each; and all items.

    By our rules unreadable answers are not in the figures, by the published ones they are, as "no
    error". `left_out`: pairs at which the published script fails.
    """
    unreadable = [item.get("id", item.get("idx")) for item in items if not item["readable"]]
    row = {"judge": judge, "rules": rules, "scores": _scores(items, rules),
           "unreadable": len(unreadable), "unreadable_ids": unreadable, "left_out": left_out}
    if unreadable and rules == "ours":
        everything = [item | {"readable": True} for item in items]
        row["scores_unreadable_as_no_error"] = _scores(everything, rules)
    return row | {"items": items}


def _scores(items: list[dict], rules: str) -> dict[str, dict]:
    """The figures of each task and, pooled, the average."""
    return {task: _group(_of(items, task), rules, task)[0] for task in (*CATEGORIES, "average")}


def _of(items: list[dict], task: str) -> list[dict]:
    return [item for item in items if task in (item["category"], "average")]


def _group(items: list[dict], rules: str, task: str) -> tuple[dict, dict]:
    """(the figures of a group of items and of its categories, the resampled ones of all)."""
    def counted(chosen):
        return np.array([rules == "published" or item["readable"] for item in chosen], float)

    row, sampled = score(items, rules, counted=counted(items))
    for side in ("dropped_true", "dropped_predicted"):
        row[side] = sum(item[side] for item, one in zip(items, counted(items)) if one)
    row["categories"] = {}
    tasks = [task] if task in CATEGORIES else list(CATEGORIES)
    for category in dict.fromkeys(name for one in tasks for name in CATEGORIES[one]):
        mine = [item for item in items if category in CATEGORIES[item["category"]]]
        row["categories"][category] = score(mine, rules, category, counted(mine))[0]
    return row, sampled


def differences(row: dict, first: dict) -> dict[str, dict[str, dict]]:
    """What a judge's figures are more than the first one's, {task: {figure: ...}}.

    Each with the 95 % interval of the difference; only where both have a figure for the same pairs.
    """
    found = {}
    for task in (*CATEGORIES, "average"):
        sides = [_of(one["items"], task) for one in (row, first)]
        names = [[_keys(item)[0] for item in items] for items in sides]
        if names[0] != names[1] or not sides[0]:
            continue
        (mine, my_samples), (other, other_samples) = (
            _group(items, row["rules"], task) for items in sides)
        found[task] = {
            name: {"difference": mine[name] - other[name],
                   "interval": interval(my_samples[name] - other_samples[name])}
            for name in FIGURES if None not in (mine[name], other[name])}
    return found


def table(rows: list[dict]) -> str:
    """The paper's table in Markdown: F1h/F1s/Sc, times 100."""
    lines = [["judge (F1h/F1s/Sc)", *CATEGORIES, "average", "unreadable"]]
    for row in rows:
        unreadable = f"{row['unreadable']} of {len(row['items'])}"
        lines.append([row["judge"], *map(_cell, row["scores"].values()), unreadable])
    return markdown(lines)


def table_of_intervals(rows: list[dict], categories: bool = False) -> str:
    """Every figure with its 95 % interval, times 100, in Markdown; with `categories` of these, too.
    """
    lines = [["judge", "of", "pairs", *FIGURES.values()]]
    for row in rows:
        for task, scores in row["scores"].items():
            groups = {task: scores}
            if categories:
                groups |= {f"{task}: {name}": one for name, one in scores["categories"].items()}
            for name, one in groups.items():
                if one["pairs"]:
                    figures = [_with_interval(one[key], one["intervals"][key]) for key in FIGURES]
                    lines.append([row["judge"], name, str(one["pairs"]), *figures])
    return markdown(lines)


def table_of_differences(rows: list[dict]) -> str:
    """What the figures of each judge are more than the first one's, in points, in Markdown."""
    lines = [[f"more than {rows[0]['judge']}", "of", *FIGURES.values()]]
    for row in rows[1:]:
        for task, found in row["more_than_first"].items():
            cells = [_with_interval(found[key]["difference"], found[key]["interval"], "+")
                     if key in found else "-" for key in FIGURES]
            lines.append([row["judge"], task, *cells])
    return markdown(lines)


def _with_interval(value: float | None, bounds: list[float] | None, sign: str = "") -> str:
    if value is None:
        return "-"
    text = f"{100 * value:{sign}.1f}"
    return text + (f" [{100 * bounds[0]:{sign}.1f}, {100 * bounds[1]:{sign}.1f}]" if bounds else "")


def markdown(lines: list[list[str]]) -> str:
    """A table in Markdown, its columns padded; the first line is the head."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
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
             rules: str = "ours", categories: bool = False, out: Path) -> list[dict]:
    """Answer, match, score: prints the tables, writes OUT and returns the rows. Raises InputError.

    `llm_matcher`: (URL, model) of a language model that matches instead of the offline matcher.
    `rules`: one of RULES. `categories`: print their figures, too.
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
        matcher, workers = LLMMatcher(*llm_matcher, cache=out.parent / "matcher.jsonl",
                                      same_category=rules == "ours"), 8
    tasks = Counter(pair.task for pair in pairs)
    kinds = ", ".join(f"{tasks[task]} {task}" for task in CATEGORIES)
    equal = sum(not pair.truth.errors for pair in pairs)
    print(f"{data}: {len(pairs)} pairs ({kinds}), {equal} of them without errors; "
          f"matcher: {llm_matcher[1] if llm_matcher else 'offline'}; rules: {rules}", flush=True)

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
        items = match_all(pairs, verdicts, matcher, workers, rules)
        rows.append(report(name, items, rules, len(pairs) - len(items)))
    for row in rows[1:]:
        row["more_than_first"] = differences(row, rows[0])
    if llm_matcher:
        print(f"matcher: {matcher.asked} questions asked; {matcher.fell_back} pairs fell back to "
              "the offline matcher because its answers could not be read")

    print(table(rows))
    print(f"\nWith 95 % intervals:\n\n{table_of_intervals(rows, categories)}\n")
    if rows[1:]:
        print(f"{table_of_differences(rows)}\n")
    for row in rows:
        print_left_out(row)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"data": str(data), "matcher": llm_matcher or "offline", "limit": limit,
               "rules": rules, "rows": rows}
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
    if row["left_out"]:
        print(f"{row['judge']}: {row['left_out']} pairs left out: the published script fails there")
    if row["unreadable"] and row["rules"] == "published":
        print(f"{row['judge']}: {row['unreadable']} answers unreadable or missing; what the "
              "published rules cannot read counts as \"no error\"")
    elif row["unreadable"]:
        other = row["scores_unreadable_as_no_error"]["average"]
        print(f"{row['judge']}: {row['unreadable']} answers unreadable or missing, left out; "
              f"counted as \"no error\" the average F1h would be {100 * other['f1h']:.1f}")
