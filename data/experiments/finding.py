"""What each reward taught: runs of train_rl.py scored again, on more samples and other yardsticks.

    python -m data.experiments.sweep train_rl --vary task=chart,svg,table --seeds 5 --jobs 2 \\
        --vary reward=verm,label,ssim,text,vision,oracle --out runs/rewards
    python -m data.experiments.sweep train_rl --vary task=chart,svg,table --seeds 5 --jobs 2 \\
        --vary judge=read:data/tiny/reader --out runs/rewards
    python -m data.experiments.finding runs/rewards --csv runs/finding.csv
    python -m data.experiments.finding runs/finding.csv        # prints the tables again

A run is named by its reward and by what else in its config.json is not the default. Each policy
writes `--samples` programs for every held-out picture and its likeliest one. A figure is a mean
over seeds, pictures and samples:

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
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from data.runs import flag, parse, read_csv, read_json, script, write_csv
from data.verdict import InputError


@dataclass
class Settings:
    samples: int = flag(8, "programs a picture, at the run's temperature", positive=True)
    against: str = flag("verm", "the reward from which the others are subtracted")
    task: str = flag("chart,svg,table", "tasks whose runs are scored, with commas between")
    csv: str = flag("", "file for the figures of every picture, which can take the runs' place")
    plot: str = flag("", "PNG: does what orders programs better teach more? needs --order")
    order: str = flag("", "the CSV of data.experiments.siblings with the same rewards")
    seed: int = flag(0, "fixes samples and intervals")


RUNS = dict(help="folder of run folders, or the file that --csv wrote")
if __name__ == "__main__":
    parse(Settings, None, __doc__, runs=RUNS)  # before the slow imports of torch

import numpy as np
import torch
from PIL import Image

import train_rl
from data import build
from data.compare import errors_or_none, fidelity_or_zero
from data.engine import write_programs
from data.experiments import siblings
from data.metrics import ssim
from data.models import Chat, choose_preset
from data.pairs import Example
from render import Rendering, draw_alike, render_many

FIGURES = ("sampled", "flawless", "rendered", "greedy", "ssim", "read")
BASE, LARGE = "base", 512  # LARGE: px of pictures for OCR, whose letters are small else
# These name no run: a table has one task, the table's lines are means over seeds, and the others
# change how a run is stored or shown.
UNNAMED = ("task", "seed", "reward", "out", "resume", "overwrite", "micro_batch_size", "report_to",
           "eval_every")
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


def settings_of(run: Path) -> train_rl.Settings:
    """The settings of a run. Raises InputError if its config.json is broken."""
    known = {one.name for one in fields(train_rl.Settings)}
    saved = read_json(run / "config.json", {})
    return train_rl.Settings(**{name: value for name, value in saved.items() if name in known})


def name_of(own: train_rl.Settings) -> str:
    """The reward, and what else is not the default.

    >>> name_of(train_rl.Settings(task="chart", seed=3, out="x"))
    'verm'
    >>> name_of(train_rl.Settings(judge="read:data/tiny/reader", render_term=False))
    'verm, judge=read:data/tiny/reader, render_term=False'
    """
    usual = train_rl.Settings()
    others = [f"{one.name}={getattr(own, one.name)}" for one in fields(own)
              if one.name not in UNNAMED and getattr(own, one.name) != getattr(usual, one.name)]
    return ", ".join([own.reward, *others])


def held_of(own: train_rl.Settings, preset: dict) -> list[Example]:
    """The pictures that a run of one task holds out."""
    return build.train_and_held([own.task], own.data, own.level, own.seed, 1, own.eval_images,
                                preset)[1]


def score_run(run: Path, own: train_rl.Settings, settings: Settings,
              base: bool = False) -> np.ndarray:
    """The figures of a run's policy, or of its base, measured once and kept in a CSV."""
    kept = run.parent / f"{BASE}-{own.task}.csv" if base else run / "finding.csv"
    if not kept.exists():
        preset = choose_preset(own.preset)
        model = own.model or preset["model"]
        policy = Chat(model if base else str(run / "checkpoint"), preset)
        found = measure(policy, held_of(own, preset), settings.samples, own.temperature,
                        settings.seed)
        write_csv(kept, ["picture", *FIGURES], [
            {"picture": i} | dict(zip(FIGURES, row)) for i, row in enumerate(found.tolist())])
        print(f"{kept}: " + ", ".join(f"{name} {value:.1f}" for name, value in
                                      zip(FIGURES, found.mean(0))), flush=True)
    return np.array([[float(row[name]) for name in FIGURES] for row in read_csv(kept)])


def collect(folder: Path, settings: Settings) -> Scores:
    """The figures of all finished runs and of their base. Raises InputError: there are none."""
    scores = {}
    for run in sorted(path.parent for path in folder.glob("*/checkpoint")):
        own = settings_of(run)
        if own.task in settings.task.split(","):
            scores[own.task, name_of(own), own.seed] = score_run(run, own, settings)
            scores[own.task, BASE, 0] = score_run(run, own, settings, base=True)
    if not scores:
        raise InputError(f"{folder} holds no finished run of train_rl.py with one of the tasks "
                         f"{settings.task}.")
    return scores


def read_scores(path: Path) -> Scores:
    """The figures that `write_scores` wrote. Raises InputError if a column is missing."""
    rows, columns = read_csv(path), {"task", "reward", "seed", *FIGURES}
    if not rows or not columns <= set(rows[0]):
        raise InputError(f"{path} has no rows with the columns {', '.join(sorted(columns))}.")
    found = {}
    for row in rows:
        found.setdefault((row["task"], row["reward"], int(row["seed"])), []).append(
            [float(row[name]) for name in FIGURES])
    return {run: np.array(values) for run, values in found.items()}


def write_scores(path: str, scores: Scores) -> None:
    """One row for each picture of each run."""
    write_csv(path, ("task", "reward", "seed", "picture", *FIGURES), [
        {"task": task, "reward": reward, "seed": seed, "picture": i}
        | {name: f"{value:.4g}" for name, value in zip(FIGURES, row)}
        for (task, reward, seed), values in scores.items() for i, row in enumerate(values)])


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


def rewards_of(scores: Scores, task: str) -> list[str]:
    """The base, then the rewards of a task by what they taught, the best first."""
    names = {reward for one, reward, _ in scores if one == task} - {BASE}
    return [BASE, *sorted(names, key=lambda reward: -gain(scores, task, reward)[0])]


def gain(scores: Scores, task: str, reward: str) -> tuple[float, float, float]:
    """(mean, low, high) of what the sampled fidelity gained on the base."""
    seeds = seeds_of(scores, task, reward)
    return interval((stack(scores, task, reward) - stack(scores, task, BASE, seeds))[..., 0])


def table(scores: Scores, task: str, against: str) -> str:
    """Markdown: a line a reward, and how far `against` is ahead of it."""
    rewards = rewards_of(scores, task)
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
            most = gain(scores, task, "label")[0]
            share = f"{100 * gain(scores, task, reward)[0] / most:.0f} %" if most > 0 else "-"
        seeds = "" if reward == BASE else str(len(mine))
        lines.append([reward, seeds, *cells, *ahead, share])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- 3. the plot ---


def ordering(reward: str, columns: list[str]) -> str | None:
    """The column of siblings' CSV that holds a run's reward; None: there is none.

    >>> columns = ["ssim", "efficientnet-lite0", "data/tiny/judge", "read:x"]
    >>> [ordering(name, columns) for name in ("ssim", "vision", "verm", "verm, judge=read:x")]
    ['ssim', 'efficientnet-lite0', 'data/tiny/judge', 'read:x']
    >>> ordering("verm, judge=read:y", columns), ordering("verm, render_term=False", columns)
    (None, None)
    """
    usual = {"verm": "data/tiny/judge", "vision": "efficientnet-lite0"}
    name = usual.get(reward, reward.removeprefix("verm, judge="))
    return name if name in columns else None


def plot(scores: Scores, order: list[dict], path: str) -> None:
    """A panel a task: siblings ordered right in another style, and the fidelity that was gained."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(task for task, _, _ in scores))
    fig, axes = plt.subplots(1, len(tasks), figsize=(4.6 * len(tasks), 4), squeeze=False,
                             layout="constrained")
    for ax, task in zip(axes[0], tasks):
        rows = [{name: float(value) for name, value in row.items() if value and name != "task"}
                for row in order if row["task"] == task and row["style"] == "1"]
        for reward in rewards_of(scores, task)[1:]:
            column = ordering(reward, list(rows[0]) if rows else [])
            if column is None:
                continue
            found = np.array(siblings.right(rows, column)).sum(0)
            mean, low, high = gain(scores, task, reward)
            share = 100 * found[0] / found[1]
            ax.errorbar(share, mean, [[mean - low], [high - mean]], fmt="o", capsize=3)
            ax.annotate(reward.removeprefix("verm, judge="), (share, mean), (5, 5),
                        textcoords="offset points", fontsize=8)
        ax.axhline(0, color="grey", linewidth=0.8)
        ax.set(title=task, xlabel="siblings ordered right, %", ylabel="fidelity gained")
    fig.savefig(path, dpi=100)
    plt.close(fig)


@script
def main(argv: list[str] | None = None) -> None:
    """Score what is not scored and print a table a task."""
    settings = parse(Settings, argv, __doc__, runs=RUNS)
    if bool(settings.plot) != bool(settings.order):
        raise InputError("--plot and --order go together.")
    place = Path(settings.runs)
    scores = read_scores(place) if place.is_file() else collect(place, settings)
    if place.is_dir() and reader() is None:
        print("Without rapidocr_onnxruntime the column `read` stays empty.")
    if settings.csv:
        write_scores(settings.csv, scores)
    for task in dict.fromkeys(task for task, _, _ in scores):
        print(f"\n{table(scores, task, settings.against)}", flush=True)
    if settings.plot:
        plot(scores, read_csv(settings.order), settings.plot)


if __name__ == "__main__":
    sys.exit(main())
