"""Where each reward was hacked worst: it rose, and the fidelity fell.

    python -m data.experiments.hacking runs/rewards --png runs/hacking.png

Of all run folders of train_rl.py in a folder: for each reward the held-out picture whose sampled
program lost most fidelity between the first and the last step while it earned more. The picture
shows the reference, the program before and the program after.
"""
import sys
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script


@dataclass
class Settings:
    task: str = flag("chart,svg,table", "tasks whose runs are looked at, with commas between")
    png: str = flag("", "file for the pictures; without one they are told and not drawn")


RUNS = dict(help="folder of run folders")
if __name__ == "__main__":
    parse(Settings, None, __doc__, runs=RUNS)  # before the slow imports of torch

import torch
from PIL import Image

from data import build
from data.experiments.finding import name_of, settings_of
from data.models import choose_preset
from data.pairs import Example
from render import Rendering, draw_alike
from train_rl import Settings as RunSettings


@dataclass
class Hacked:
    """A held-out picture whose fidelity fell while its reward rose."""

    lost: float  # fidelity
    own: RunSettings  # of its run
    number: int  # of the picture
    before: tuple[str, float, float]  # code, reward, fidelity at the first step
    after: tuple[str, float, float]  # and at the last

    def __str__(self) -> str:
        return (f"{name_of(self.own)}: {self.own.task} {self.number + 1}, seed {self.own.seed}: "
                f"reward {self.before[1]:.3f} -> {self.after[1]:.3f}, "
                f"fidelity {self.before[2]:.0f} -> {self.after[2]:.0f}")


def worst_hacked(folder: Path, tasks: list[str]) -> list[Hacked]:
    """For each reward the picture that lost most, among all runs in `folder`."""
    worst = {}
    for path in sorted(folder.glob("*/state.pt")):
        own = settings_of(path.parent)
        if own.task not in tasks:
            continue
        stages = torch.load(path, weights_only=True)["stages"]
        for i, (before, after) in enumerate(zip(stages[0], stages[max(stages)])):
            lost, name = before[2] - after[2], name_of(own)
            most = worst[name].lost if name in worst else 0
            if after[1] > before[1] and lost > most:
                worst[name] = Hacked(lost, own, i, before, after)
    return [worst[name] for name in sorted(worst)]


def pictures_of(hacked: Hacked) -> tuple[Example, list[Image.Image | None]]:
    """The reference, and what the programs before and after draw; None: nothing."""
    own = hacked.own
    _, held = build.train_and_held([own.task], own.data, own.level, own.seed, 1, own.eval_images,
                                   choose_preset(own.preset))
    example = held[hacked.number]
    drawn = draw_alike([example] * 2, [hacked.before[0], hacked.after[0]])
    return example, [one.image if isinstance(one, Rendering) else None for one in drawn]


def draw(found: list[Hacked], path: str) -> None:
    """A row for each: the reference, the first and the last program."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(found), 3, figsize=(7, 2.6 * len(found)), squeeze=False,
                             layout="constrained")
    for row, hacked in zip(axes, found):
        example, drawn = pictures_of(hacked)
        shown = [(f"{name_of(hacked.own)}: {hacked.own.task} {hacked.number + 1}", example.image)]
        for name, (_, reward, points), image in zip(("before", "after"),
                                                    (hacked.before, hacked.after), drawn):
            shown.append((f"{name}: reward {reward:.3f}, fidelity {points:.0f}", image))
        for ax, (caption, image) in zip(row, shown):
            ax.set_title(caption, fontsize=8)
            ax.set(xticks=[], yticks=[])
            if image:
                ax.imshow(image)
            else:
                ax.text(0.5, 0.5, "does not render", ha="center")
    fig.savefig(path, dpi=100)
    plt.close(fig)


@script
def main(argv: list[str] | None = None) -> None:
    """Tell them, and draw them."""
    settings = parse(Settings, argv, __doc__, runs=RUNS)
    found = worst_hacked(Path(settings.runs), settings.task.split(","))
    for hacked in found:
        print(hacked)
    if not found:
        print(f"No run in {settings.runs} has a picture whose reward rose while its fidelity fell.")
    elif settings.png:
        draw(found, settings.png)


if __name__ == "__main__":
    sys.exit(main())
