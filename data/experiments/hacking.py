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

from data.experiments.finding import held_of, name_of, settings_of
from data.models import choose_preset
from data.pairs import Example
from data.report import hacked
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
        before, after, name = stages[0], stages[max(stages)], name_of(own)
        for i in hacked(before, after)[:1]:
            lost = before[i][2] - after[i][2]
            if name not in worst or lost > worst[name].lost:
                worst[name] = Hacked(lost, own, i, before[i], after[i])
    return [worst[name] for name in sorted(worst)]


def pictures_of(one: Hacked) -> tuple[Example, list[Image.Image | None]]:
    """The reference, and what the programs before and after draw; None: nothing."""
    example = held_of(one.own, choose_preset(one.own.preset))[one.number]
    drawn = draw_alike([example] * 2, [one.before[0], one.after[0]])
    return example, [found.image if isinstance(found, Rendering) else None for found in drawn]


def draw(found: list[Hacked], path: str) -> None:
    """A row for each: the reference, the first and the last program."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(found), 3, figsize=(7, 2.6 * len(found)), squeeze=False,
                             layout="constrained")
    for row, one in zip(axes, found):
        example, drawn = pictures_of(one)
        shown = [(f"{name_of(one.own)}: {one.own.task} {one.number + 1}", example.image)]
        for name, (_, reward, points), image in zip(("before", "after"),
                                                    (one.before, one.after), drawn):
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
    for one in found:
        print(one)
    if not found:
        print(f"No run in {settings.runs} has a picture whose reward rose while its fidelity fell.")
    elif settings.png:
        draw(found, settings.png)


if __name__ == "__main__":
    sys.exit(main())
