"""The figures of data.bench: F1, Sc and rank correlation, by task and by category, with intervals.

Two books of rules, RULES; the table in data/README.md sets them side by side. "ours" is said in
data/bench/__init__.py. "published" is how the paper's own script counts, to compare with its
figures; `strict` reads an answer as that script does.
"""
import json
import re
from collections.abc import Sequence

import numpy as np

from data.verdict import CATEGORIES, Discrepancy, Verdict

RULES = "ours", "published"
FIGURES = {"f1h": "F1h", "f1s": "F1s", "sc": "Sc", "spearman": "Spearman", "alarm": "error?"}
RESAMPLES = 1000

# --- 1. an answer, as the published script reads it ---


def strict(task: str, raw: str,
           names: Sequence[str] = ("type", "category")) -> list[Discrepancy] | None:
    """The errors in the text `raw` by the published rules; None: the script leaves the pair out.

    What is no JSON object has no errors. The category must be spelled exactly, under one of
    `names`. The severity is the number that was written, 0 if it is none; a repeated error counts
    each time. The script fails at, and leaves out, lists that hold more than objects.

    >>> strict("svg", '{"errors": [{"type": "shape_error", "severity": 7, "description": "big"}]}')
    [Discrepancy(category='shape_error', severity=7.0, location='', description='big')]
    >>> strict("svg", "nothing"), strict("svg", '{"errors": ["big"]}')
    ([], None)
    """
    answer = _strict_json(raw) or {}
    if not isinstance(answer, dict):
        return None
    entries = answer.get("errors") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    errors = []
    for entry in entries:
        category = next((entry[name] for name in names if entry.get(name)), None)
        if isinstance(category, str) and category in CATEGORIES[task]:
            severity = _strict_severity(entry.get("severity", 0))
            texts = [str(entry.get(key) or "") for key in ("location", "description")]
            errors.append(Discrepancy(category, severity, *texts))
    return errors


def _strict_json(raw: str):
    """The JSON value of a text, of its code fence or of its outermost braces; else None."""
    text = raw.strip()
    if text.startswith("```"):
        text = re.sub(r"^```[\w+-]*\s*", "", text, flags=re.ASCII)
        text = re.sub(r"\s*```$", "", text).strip()
    braces = re.search(r"\{.*\}", text, re.S)
    for candidate in (text, braces[0] if braces else ""):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return None


def _strict_severity(given) -> float:
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def strict_pair(truth: Verdict, verdict: Verdict) -> tuple[list, list] | None:
    """(true, predicted errors) by the published rules; None: the script leaves the pair out.

    A verdict without a text is a program's: its errors are taken as they are.
    """
    true = strict(truth.task, truth.raw, ("type",)) if truth.raw else truth.errors
    predicted = strict(verdict.task, verdict.raw) if verdict.raw else verdict.errors
    return None if true is None or predicted is None else (true, predicted)


# --- 2. figures ---


def f1(tp: float, fp: int, fn: int, nothing: bool = False) -> float:
    """2PR / (P + R). 1 if `nothing` was to find and nothing was predicted; 0 instead of 0/0."""
    if nothing:
        return 1.0
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def pearson(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Correlation of two lists of numbers; None if one is constant or shorter than 2."""
    return _or_none(_correlation(*np.array([xs, ys], float), np.ones((1, len(xs))))[0])


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Correlation of their ranks, ties in the middle; None as `pearson`."""
    times = np.ones((1, len(xs)))
    x, y = (_ranks(np.array(values, float), times) for values in (xs, ys))
    return _or_none(_correlation(x, y, times)[0])


def _correlation(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(B,) Pearson correlations, in row b with pair i taken times[b, i] times; NaN: none.

    `x` and `y` are (n,), or (B, n) where the values differ between rows, as ranks do.
    """
    x, y, total = np.broadcast_to(x, times.shape), np.broadcast_to(y, times.shape), times.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx = x - ((times * x).sum(1) / total)[:, None]
        dy = y - ((times * y).sum(1) / total)[:, None]
        spread = np.sqrt((times * dx * dx).sum(1) * (times * dy * dy).sum(1))
        found = (times * dx * dy).sum(1) / spread
    # equal numbers have a mean that is off by a rounding error
    constant = np.zeros(len(times), bool)
    for values in (x, y):
        taken = np.where(times > 0, values, np.nan)
        with np.errstate(invalid="ignore"):
            low = np.fmin.reduce(taken, 1, initial=np.inf)
            constant |= ~(np.fmax.reduce(taken, 1, initial=-np.inf) > low)
    return np.where(constant, np.nan, found)


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(B, n) ranks of `values` (n,) in the sample that row b of `times` (B, n) takes."""
    different, place = np.unique(values, return_inverse=True)
    of_value = np.zeros((len(times), len(different)))
    for n in range(len(different)):
        of_value[:, n] = times[:, place == n].sum(1)
    middle = of_value.cumsum(1) - (of_value - 1) / 2
    return middle[:, place]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def tally(item: dict, category: str = "") -> list[float]:
    """[yes, partial, FP, FN, predicted severity, true severity] of an item of `match_all`.

    With `category` of that category alone: a match counts for the predicted error's.
    """
    matches, of_side = item["matches"], {}
    levels = [m["level"] for m in matches]
    if not category:
        counts = [levels.count("yes"), levels.count("partial")]
        counts += [len(item[side]) - len(matches) for side in ("predicted", "true")]
        return counts + [item["severity_predicted"], item["severity_true"]]
    for side in ("predicted", "true"):
        matched = {m[side] for m in matches}
        mine = {n for n, e in enumerate(item[side]) if e["category"] == category}
        severity = sum(item[side][n]["severity"] for n in mine)
        of_side[side] = mine, len(mine - matched), severity
    mine = of_side["predicted"][0]
    levels = [m["level"] for m in matches if m["predicted"] in mine]
    return [levels.count("yes"), levels.count("partial"), of_side["predicted"][1],
            of_side["true"][1], of_side["predicted"][2], of_side["true"][2]]


def figures(tallies: np.ndarray, times: np.ndarray, rules: str = "ours") -> dict[str, np.ndarray]:
    """{figure: (B,)} of pairs with `tallies` (n, 6), pair i taken times[b, i] times; NaN: none.

    Nothing true and nothing predicted: F1h = 1 in both books and F1s = 1 in ours, 0 as published.
    Partial matches alone: F1h = 0 in ours, 1 as published. `alarm`: "is there an error?", the mean
    of the shares answered right where there is one and where there is none.
    """
    yes, partial, fp, fn = (times @ tallies[:, :4]).T
    some = times.sum(1) > 0
    found = {}
    for name, tp, free in (("f1h", yes, partial), ("f1s", yes + partial / 2, 0 * yes)):
        with np.errstate(invalid="ignore"):
            value = np.where(tp > 0, 2 * tp / (2 * tp + fp + fn), 0.0)
        perfect = (fp + fn + tp == 0) & (free == 0)
        if rules == "published":
            perfect = (fp + fn + tp == 0) & (name == "f1h")
        found[name] = np.where(some, np.where(perfect, 1.0, value), np.nan)
    predicted, true = tallies[:, 4], tallies[:, 5]
    found["sc"] = _correlation(predicted, true, times)
    found["spearman"] = _correlation(_ranks(predicted, times), _ranks(true, times), times)
    wrong, said = (tallies[:, kinds].any(1) for kinds in ([0, 1, 3], [0, 1, 2]))
    with np.errstate(invalid="ignore"):
        shares = [times @ ((said == side) & (wrong == side)) / (times @ (wrong == side))
                  for side in (True, False)]
    found["alarm"] = sum(shares) / 2
    return found


# --- 3. intervals ---


def resamples(n: int, seed: int = 0) -> np.ndarray:
    """(RESAMPLES, n): how often each of n pairs is in a sample of n drawn with repetition.

    A fixed seed: the same samples for every judge, so that differences are of the same pairs.
    """
    if n == 0:
        return np.zeros((RESAMPLES, 0))
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)


def interval(values: np.ndarray) -> list[float] | None:
    """The middle 95 % of resampled figures (B,); None if there are none."""
    values = values[~np.isnan(values)]
    return [float(bound) for bound in np.percentile(values, (2.5, 97.5))] if len(values) else None


def score(items: list[dict], rules: str = "ours", category: str = "",
          counted: np.ndarray | None = None) -> tuple[dict, dict[str, np.ndarray]]:
    """(the figures of some items of `match_all`, pooled; {figure: (RESAMPLES,)} behind intervals).

    F1 and correlations are between -1 and 1; tables print 100 times that. `counted` (n,): 0 for
    items that are in the samples and not in the figures, such as unreadable ones.
    Worked: 3 yes, 2 partial, 1 FP, 2 FN: tp_hard 3, tp_soft 4, f1h 6/9, f1s 8/11.
    """
    counted = np.ones(len(items)) if counted is None else counted
    tallies = np.array([tally(item, category) for item in items], float).reshape(-1, 6)
    values = figures(tallies, counted[None], rules)
    sampled = figures(tallies, resamples(len(items)) * counted, rules)
    hard, partial, fp, fn = (int(total) for total in counted @ tallies[:, :4])
    counts = {"pairs": int(counted.sum()), "true_errors": hard + partial + fn,
              "predicted_errors": hard + partial + fp,
              "tp_hard": hard, "tp_soft": hard + 0.5 * partial, "fp": fp, "fn": fn}
    row = counts | {name: _or_none(values[name][0]) for name in FIGURES}
    row["intervals"] = {name: interval(sampled[name]) for name in FIGURES}
    return row, sampled
