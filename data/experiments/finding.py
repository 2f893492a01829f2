"""What each reward taught: runs of train_rl.py scored again, on more samples and other yardsticks.

    python -m data.experiments.rewards --seeds 5 --rewards text,ssim,vision,verm,label
    python -m data.experiments.finding --runs runs/rewards

The folder holds run folders named TASK-REWARD-SEED. Each policy writes `--samples` programs for
every held-out picture and its likeliest one. A figure is a mean over seeds, pictures and samples:

sampled, flawless    fidelity, and the share of programs without an error
rendered             the share that renders
greedy               fidelity of the likeliest programs
ssim                 of the program's picture and the reference drawn in the policy's own style (0:
                     not rendered). It shares no code with the labels.
read                 words that OCR finds in both of these pictures, drawn large: F1 of the
                     likeliest programs (charts and tables; with rapidocr_onnxruntime, if installed)

Intervals are of 95 %, from 2,000 draws of seeds and of pictures (bootstrap). Differences are paired
by seed and picture. "of label" is the share of what `label` gains on the base: what a judge is
worth beside a perfect one. RUN/finding.csv keeps the figures of a run, so a killed call goes on.
"""
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from data.runs import flag, parse, read_csv, script, write_csv
from data.verdict import CATEGORIES, InputError


@dataclass
class Settings:
    runs: str = flag("runs/rewards", "folder of run folders, TASK-REWARD-SEED each")
    samples: int = flag(8, "programs a picture, at the run's temperature")
    against: str = flag("verm", "the reward from which the others are subtracted")
    seed: int = flag(0, "fixes samples and intervals")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # before the slow imports of torch

import numpy as np
import torch
from PIL import Image

import train_rl
from data import build
from data.compare import errors_or_none, fidelity_or_zero
from data.engine import write_programs
from data.metrics import ssim
from data.models import Chat, choose_preset
from data.pairs import Example
from render import Rendering, draw_alike, render_many

FIGURES = ("sampled", "flawless", "rendered", "greedy", "ssim", "read")
BASE, LARGE = "base", 512  # LARGE: px of pictures for OCR, whose letters are small else
Scores = dict[tuple[str, str, int], np.ndarray]  # (task, reward, seed) -> (pictures, FIGURES)


# --- 1. scores of a policy ---


@cache
def reader() -> Callable[[Image.Image], Counter] | None:
    """Words of a picture by OCR; None where the package is not installed."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        return None
    engine = RapidOCR()
    return lambda image: Counter(word for _, line, _ in engine(np.array(image))[0] or ()
                                 for word in line.split())


def words_f1(true: Counter, pred: Counter) -> float:
    """F1 of two bags of words; 1 for two empty ones."""
    return 2 * (true & pred).total() / (true.total() + pred.total() or 1) if true or pred else 1.0


def read_alike(held: list[Example], codes: list[str]) -> list[float]:
    """For each picture how far OCR reads the same in a program's picture and the reference's."""
    read = reader()
    if read is None or held[0].task == "svg":
        return [float("nan")] * len(held)
    jobs = [(one.task, code) for one, code in zip(held, codes)]
    true = [(one.task, one.code) for one in held]
    found = [read(drawn.image) if isinstance(drawn, Rendering) else None
             for drawn in render_many(true + jobs, size=LARGE)]
    pairs = zip(found[:len(held)], found[len(held):])
    return [0.0 if pred is None else words_f1(ours, pred) for ours, pred in pairs]


def measure(policy: Chat, held: list[Example], samples: int, temperature: float,
            seed: int) -> np.ndarray:
    """(pictures, FIGURES): the figures of one policy."""
    torch.manual_seed(seed)
    plain = [one.image for one in draw_alike(held, [one.code for one in held])]
    found = np.zeros((samples, len(held), 4))
    for k in range(samples):
        drawn = draw_alike(held, write_programs(policy, held, temperature))
        for i, (one, made) in enumerate(zip(held, drawn)):
            if isinstance(made, Rendering):
                found[k, i] = (fidelity_or_zero(one.scene, made.scene),
                               100 * (errors_or_none(one.scene, made.scene) == []), 100,
                               100 * ssim(plain[i], made.image))
    codes = write_programs(policy, held, 0.0)
    greedy = [fidelity_or_zero(one.scene, made.scene)
              for one, made in zip(held, draw_alike(held, codes))]
    read = [100 * share for share in read_alike(held, codes)]
    sampled, flawless, rendered, alike = found.mean(0).T
    return np.stack([sampled, flawless, rendered, greedy, alike, read], axis=1)


def score_run(run: Path, settings: Settings, base: bool = False) -> np.ndarray:
    """The figures of a run's policy, or of its base, measured once and kept in a CSV."""
    kept = run.parent / f"{BASE}-{run.name.split('-')[0]}.csv" if base else run / "finding.csv"
    if not kept.exists():
        known = {one.name for one in fields(train_rl.Settings)}
        own = train_rl.Settings(**{name: value for name, value in json.loads(
            (run / "config.json").read_text()).items() if name in known})
        preset = choose_preset(own.preset)
        model = own.model or preset["model"]
        policy = Chat(model if base else str(run / "checkpoint"), preset)
        _, held = build.train_and_held([own.task], own.data, own.level, own.seed, 1,
                                       own.eval_images, preset)
        found = measure(policy, held, settings.samples, own.temperature, settings.seed)
        write_csv(kept, ["picture", *FIGURES], [
            {"picture": i} | dict(zip(FIGURES, row)) for i, row in enumerate(found.tolist())])
        print(f"{kept}: " + ", ".join(f"{name} {value:.1f}" for name, value in
                                      zip(FIGURES, found.mean(0))), flush=True)
    return np.array([[float(row[name]) for name in FIGURES] for row in read_csv(kept)])


def collect(folder: Path, settings: Settings) -> Scores:
    """The figures of all finished runs and of their base. Raises InputError: there are none."""
    scores = {}
    for run in sorted(folder.glob("*-*-*")):
        task, reward, seed = (*run.name.split("-"), "")[:3]
        if task in CATEGORIES and seed.isdecimal() and (run / "checkpoint").is_dir():
            scores[task, reward, int(seed)] = score_run(run, settings)
            scores[task, BASE, 0] = score_run(run, settings, base=True)
    if not scores:
        raise InputError(f"{folder} holds no finished run TASK-REWARD-SEED of train_rl.py.")
    return scores


# --- 2. the table ---


def stack(scores: Scores, task: str, reward: str, seeds: list[int] | None = None) -> np.ndarray:
    """(seeds, pictures, FIGURES) of a reward; the base is the same for every seed."""
    if reward == BASE:
        return np.stack([scores[task, BASE, 0]] * len(seeds or [0]))
    return np.stack([scores[task, reward, seed] for seed in
                     (seeds_of(scores, task, reward) if seeds is None else seeds)])


def seeds_of(scores: Scores, task: str, reward: str) -> list[int]:
    """The seeds with which a reward was tried."""
    return sorted(seed for one, other, seed in scores if (one, other) == (task, reward))


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) of values (seeds, pictures): 95 %, seeds and pictures drawn again.

    >>> interval(np.ones((3, 5)))
    (1.0, 1.0, 1.0)
    """
    rng = np.random.default_rng(seed)
    seeds, pictures = values.shape
    means = [values[rng.integers(0, seeds, seeds)][:, rng.integers(0, pictures, pictures)].mean()
             for _ in range(2000)]
    return float(values.mean()), *map(float, np.quantile(means, (0.025, 0.975)))


def told(values: np.ndarray, signed: bool = False) -> str:
    """"81.2 [79.0, 83.1]", or "-" where something was not measured."""
    if np.isnan(values).any():
        return "-"
    mean, low, high = interval(values)
    sign = "+" if signed else ""
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def table(scores: Scores, task: str, against: str) -> str:
    """Markdown: a line a reward, and how far `against` is ahead of it."""
    rewards = [BASE, *dict.fromkeys(reward for one, reward, _ in scores
                                    if one == task and reward != BASE)]
    heads = [task, "seeds", *FIGURES, f"{against} ahead, sampled", f"{against} ahead, flawless",
             "of label"]
    lines = [heads, ["---"] * len(heads)]
    for reward in rewards:
        mine = stack(scores, task, reward)
        cells = [told(mine[..., k]) if k < 2 else "-" if np.isnan(mine[..., k]).any()
                 else f"{mine[..., k].mean():.1f}" for k in range(len(FIGURES))]
        both = [seed for seed in seeds_of(scores, task, against)
                if reward == BASE or seed in seeds_of(scores, task, reward)]
        ahead = ["", ""]
        if both and reward != against:
            gap = stack(scores, task, against, both) - stack(scores, task, reward, both)
            ahead = [told(gap[..., k], signed=True) for k in (0, 1)]
        share = ""
        if "label" in rewards and reward != BASE:
            start = stack(scores, task, BASE)[..., 0].mean()
            most = stack(scores, task, "label")[..., 0].mean() - start
            share = f"{100 * (mine[..., 0].mean() - start) / most:.0f} %" if most > 0 else "-"
        seeds = "" if reward == BASE else str(len(mine))
        lines.append([reward, seeds, *cells, *ahead, share])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@script
def main(argv: list[str] | None = None) -> None:
    """Score what is not scored and print a table a task."""
    settings = parse(Settings, argv, __doc__)
    scores = collect(Path(settings.runs), settings)
    if reader() is None:
        print("Without rapidocr_onnxruntime the column `read` stays empty.")
    for task in dict.fromkeys(task for task, _, _ in scores):
        print(f"\n{table(scores, task, settings.against)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
