"""Count how often a reward puts the programs written for one picture in the right order.

    python -m data.experiments.siblings --judges data/tiny/judge,read:data/tiny/judge

That order is all that GRPO uses of a reward. A policy writes G programs for each picture, sampled
at temperature 1. Printed is, for each reward, the share of pairs of programs of one picture that
it orders as fidelity does (a tie is half right; pairs of one fidelity are left out), with 95 %
intervals over pictures (bootstrap): once for the picture as the policy saw it, drawn as its
programs are, and once for the same reference drawn in another style (data/worlds/drawing.py).
`label` is Eq. 3-4 on the exact labels: what a perfect judge would pay. `--csv` gets every reward of
every program.
"""
import random
import sys
from dataclasses import dataclass

from data.runs import flag, parse, script, write_csv


@dataclass
class Settings:
    task: str = flag("chart,table,svg", "tasks, with commas between")
    n: int = flag(100, "pictures a task, none of them in a training set")
    group: int = flag(8, "programs a picture (G)")
    model: str = flag("data/tiny/base", "policy that writes them")
    judges: str = flag("data/tiny/judge", "judges, with commas between")
    encoders: str = flag("efficientnet-lite0,tower", "vision encoders, with commas between")
    seed: int = flag(0, "fixes pictures, styles and samples")
    csv: str = flag("", "file for all figures")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # before the slow imports of torch

import numpy as np
import torch

from data import worlds
from data.build import SIZES
from data.compare import compare, fidelity
from data.metrics import load_encoder, ssim, teds, text_similarity
from data.models import PRESETS, Chat
from data.worlds.drawing import DrawingStyle
from render import Rendering, extract_code, render_many
from visual_erm import VisualERM, code_messages

Row = dict[str, float]  # rewards of one program by name; "picture" is the picture's number


def sample(task: str, settings: Settings) -> tuple[list, list[str], list[str], list]:
    """(references in both styles, their programs, what the policy wrote, what that draws)."""
    rng = random.Random(f"siblings/{settings.seed}/{task}")
    codes = [worlds.draw(task, 1, rng, held_out=True) for _ in range(settings.n)]
    drawings = [DrawingStyle(rng).draw(task, code) for code in codes]
    references = [render_many([(task, code) for code in programs], size=SIZES[1])
                  for programs in (codes, drawings)]
    torch.manual_seed(settings.seed)
    asked = [code_messages(task, one.image) for one in references[0]
             for _ in range(settings.group)]
    answers = Chat(settings.model, PRESETS["tiny"]).write(asked, 1.0)
    written = [extract_code(task, answer) for answer in answers]
    return references, codes, written, render_many([(task, code) for code in written],
                                                   size=SIZES[1])


def measure(task: str, references: list[Rendering], codes: list[str], written: list[str],
            drawn: list, settings: Settings) -> list[Row]:
    """The rewards of all programs that render, against the references in one style."""
    good = [k for k, one in enumerate(drawn) if isinstance(one, Rendering)]
    pictures = [k // settings.group for k in good]
    pairs = [(references[i], drawn[k]) for i, k in zip(pictures, good)]
    similar = teds if task == "table" else text_similarity
    rewards = {"fidelity": [fidelity(true.scene, pred.scene) for true, pred in pairs],
               "label": [-sum(error.severity for error in compare(true.scene, pred.scene))
                         for true, pred in pairs],
               "ssim": [ssim(true.image, pred.image) for true, pred in pairs],
               "text": [similar(codes[i], written[k]) for i, k in zip(pictures, good)]}
    for name in filter(None, settings.encoders.split(",")):
        encoder = load_encoder(name)
        rewards[name] = [encoder.similarity(true.image, pred.image) for true, pred in pairs]
    for name in filter(None, settings.judges.split(",")):
        verdicts = VisualERM(name, PRESETS["tiny"]).judge(
            [(task, true.image, pred.image) for true, pred in pairs])
        rewards[name] = [-float(v.severity) if v.readable else -1e9 for v in verdicts]
    return [{"picture": i, **{name: values[k] for name, values in rewards.items()}}
            for k, i in enumerate(pictures)]


def right(rows: list[Row], name: str) -> list[tuple[float, int]]:
    """(pairs ordered as fidelity does, pairs) of each picture."""
    found = []
    for picture in sorted({row["picture"] for row in rows}):
        group = [row for row in rows if row["picture"] == picture]
        truth, value = (np.array([row[key] for row in group]) for key in ("fidelity", name))
        i, j = np.triu_indices(len(group), 1)
        gaps, said = truth[i] - truth[j], value[i] - value[j]
        counted = np.abs(gaps) > 1e-6
        agree = np.where(said == 0, 0.5, np.sign(gaps) == np.sign(said))
        found.append((float(agree[counted].sum()), int(counted.sum())))
    return found


def interval(found: list[tuple[float, int]]) -> str:
    """".84 [.80, .87]": the share and its 95 % interval over pictures."""
    values = np.array(found)
    rng = np.random.default_rng(0)
    draws = values[rng.integers(0, len(values), (2000, len(values)))].sum(1)
    low, high = np.quantile(draws[:, 0] / np.maximum(1, draws[:, 1]), (0.025, 0.975))
    share = values[:, 0].sum() / max(1, values[:, 1].sum())
    return f"{share:.2f} [{low:.2f}, {high:.2f}]"


@script
def main(argv: list[str] | None = None) -> None:
    """Print a table a task."""
    settings = parse(Settings, argv, __doc__)
    kept = []
    for task in settings.task.split(","):
        references, *made = sample(task, settings)
        tables = [measure(task, in_style, *made, settings) for in_style in references]
        print(f"\n| {task} | same style | another style |\n| --- | --- | --- |")
        for name in tables[0][0]:
            if name not in ("picture", "fidelity"):
                cells = (interval(right(rows, name)) for rows in tables)
                print(f"| {name} | {' | '.join(cells)} |", flush=True)
        kept += [{"task": task, "style": k, **row} for k, rows in enumerate(tables) for row in rows]
    if settings.csv:
        write_csv(settings.csv, list(kept[0]), kept)


if __name__ == "__main__":
    sys.exit(main())
