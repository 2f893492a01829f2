"""The paper's main finding at tiny scale: the same policy trained with different rewards, three seeds for each task.

    python -m data.experiments.rewards                                  # hours on 2 cores; goes on where it was stopped
    python -m data.experiments.rewards --table runs/rewards/rl.csv      # only print the table of finished runs
    python -m data.experiments.rewards --hacking hacking.png            # pictures: reward up, fidelity down

Each run is one call of train_rl.py (printed before it starts), so every row can be repeated alone. OUT/rl.csv gets the
held-out rows of all logs. The table has, for each reward, the fidelity on the held-out pictures at the last step: mean
and half the range over the seeds; beside it the execution rate and the proxy, the reward itself at a fixed scale, at
the first and the last step, and the fidelity of the likeliest programs at both. The base is step 0. Nothing
is chosen: neither seeds nor steps. A run that did not get to its last step is named and left out.
"""
import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from transformers import HfArgumentParser

ROOT = Path(__file__).resolve().parent.parent.parent
COLUMNS = ("task", "reward", "seed", "step", "fidelity", "held_executes", "proxy", "greedy")


@dataclass
class Settings:
    tasks: str = field(default="chart,table,svg", metadata={"help": "one run for each"})
    rewards: str = field(default="text,vision,verm,oracle", metadata={"help": "rewards of train_rl.py"})
    seeds: int = field(default=3, metadata={"help": "0, 1, ..."})
    steps: int = field(default=40, metadata={"help": "of each run"})
    jobs: int = field(default=2, metadata={"help": "runs at the same time, one thread each"})
    options: str = field(default="", metadata={"help": "further flags for train_rl.py, in quotes"})
    out: str = field(default="runs/rewards", metadata={"help": "folder with a run folder for each"})
    table: str = field(default="", metadata={"help": "run nothing; print the table of this CSV"})
    hacking: str = field(default="", metadata={"help": "run nothing; PNG of where each reward was hacked worst"})


def train(task, reward, seed, settings):
    """The held-out rows of one run, unless it is finished; one that was cut short goes on."""
    out = Path(settings.out, f"{task}-{reward}-{seed}")

    def rows():
        found = list(csv.DictReader(open(out / "log.csv"))) if (out / "log.csv").exists() else []
        return found if found and found[-1]["step"] == str(settings.steps) else []

    if not rows():
        command = [sys.executable, str(ROOT / "train_rl.py"), "--task", task, "--reward", reward, "--seed", str(seed),
                   "--steps", str(settings.steps), "--out", str(out), *settings.options.split(), "--resume"]
        print(" ".join(["OMP_NUM_THREADS=1 python train_rl.py", *command[2:-1]]), flush=True)
        out.mkdir(parents=True, exist_ok=True)
        with open(out / "output.txt", "w") as file:               # another number of threads would sample otherwise
            done = subprocess.run(command, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            print(f"{out} failed; see {out / 'output.txt'}", flush=True)
    return [{"task": task, "reward": reward, "seed": seed} | {key: row[key] for key in COLUMNS[3:]}
            for row in rows() if row["fidelity"]]


def spread(values):
    """"81.2 ± 0.7": mean and half the range; "81.2" of one value."""
    half = f" ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.1f}{half}" if values else "-"


def table(rows):
    """Fidelity at the last step by reward and task as Markdown; the gain over the base, also as a share of oracle's.

    >>> row = lambda reward, step, fidelity: dict(task="svg", reward=reward, seed=0, step=step, fidelity=fidelity,
    ...                                           held_executes=90, proxy=fidelity / 50, greedy=80)
    >>> print(table([row("verm", 0, 60), row("verm", 9, 66), row("oracle", 0, 60), row("oracle", 9, 70)]))
    | reward | svg | average | gain | of oracle's gain | executes | proxy | greedy |
    | --- | --- | --- | --- | --- | --- | --- | --- |
    | base | 60.0 | 60.0 | | | 90.0 | | |
    | verm | 66.0 | 66.0 | +6.0 | 60 % | 90.0 | 1.20 → 1.32 | 80.0 → 80.0 |
    | oracle | 70.0 | 70.0 | +10.0 | 100 % | 90.0 | 1.20 → 1.40 | 80.0 → 80.0 |
    """
    tasks, rewards = (list(dict.fromkeys(row[key] for row in rows)) for key in ("task", "reward"))
    ends = {}
    for row in rows:                                                       # the first and the last row of each run
        run = ends.setdefault((row["task"], row["reward"], row["seed"]), [row, row])
        run[1] = row

    def at(task, reward, end, column):
        """One value for each seed; reward None: of any run, for they all begin at the same base."""
        return [*{seed: float(run[end][column]) for (t, r, seed), run in ends.items()
                  if t == task and reward in (r, None)}.values()]

    def mean(reward, end, column, others=()):
        """Over the tasks that were trained with `reward` and with the `others`."""
        values = [at(task, reward, end, column) for task in tasks if all(at(task, r, 0, column)
                                                                         for r in (reward, *others))]
        return sum(sum(v) / len(v) for v in values) / max(1, len(values))

    def gain(reward, other):
        """Of `reward`, over the tasks that were trained with both."""
        return mean(reward, 1, "fidelity", [other]) - mean(None, 0, "fidelity", [reward, other])

    columns = [*tasks, "average", "gain", "of oracle's gain", "executes", "proxy", "greedy"]
    lines = ["| reward | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for reward in (None, *rewards):
        end = 0 if reward is None else 1
        average = f"{mean(reward, end, 'fidelity'):.1f}" if all(at(t, reward, 0, "fidelity") for t in tasks) else "-"
        most = gain("oracle", reward) if reward and "oracle" in rewards else 0
        share = f"{100 * gain(reward, 'oracle') / most:.0f} %" if most else "-"
        gains = [f"{gain(reward, reward):+.1f}", share] if reward else ["", ""]
        lines.append(f"| {reward or 'base'} | " + " | ".join(
            [spread(at(task, reward, end, "fidelity")) for task in tasks] + [average]
            + gains + [f"{mean(reward, end, 'held_executes'):.1f}"]
            + [" → ".join(f"{mean(reward, end, column):.{digits}f}" for end in (0, 1)) if reward else ""
               for column, digits in (("proxy", 2), ("greedy", 1))]) + " |")
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def hacking(settings):
    """For each reward the held-out picture whose fidelity fell most while its reward rose, from first to last step."""
    import matplotlib.pyplot as plt
    import torch

    from data.build import draw_images
    from render import Rendering
    from render import draw_alike

    worst = {}                                                   # reward -> (fidelity lost, task, seed, i, its stages)
    for path in sorted(Path(settings.out).glob("*-*-*/state.pt")):
        task, reward, seed = path.parent.name.split("-")
        stages = torch.load(path, weights_only=True)["stages"]
        first, last = stages[0], stages[max(stages)]
        for i, (before, after) in enumerate(zip(first, last)):
            if after[1] > before[1] and before[2] - after[2] > worst.get(reward, [0])[0]:
                worst[reward] = before[2] - after[2], task, seed, i, (before, after)
    if not worst:
        return print(f"No run in {settings.out} has a picture whose reward rose while its fidelity fell.")
    fig, axes = plt.subplots(len(worst), 3, figsize=(7, 2.6 * len(worst)), squeeze=False, layout="constrained")
    for row, (reward, (lost, task, seed, i, stages)) in zip(axes, sorted(worst.items())):
        prompt = draw_images(task, i + 1, 1, "rl/held")[i]
        drawings = draw_alike([prompt, prompt], [code for code, *_ in stages])
        print(f"{reward}: {task} {i + 1}, seed {seed}: reward {stages[0][1]:.3f} -> {stages[1][1]:.3f}, "
              f"fidelity {stages[0][2]:.0f} -> {stages[1][2]:.0f}")
        titles = [f"{reward}: {task} {i + 1}"] + [f"{name}: reward {r:.3f}, fidelity {f:.0f}"
                                                  for name, (_, r, f) in zip(("before", "after"), stages)]
        pictures = [prompt["image"], *(drawn.image if isinstance(drawn, Rendering) else None for drawn in drawings)]
        for ax, title, picture in zip(row, titles, pictures):
            ax.set_title(title, fontsize=8)
            ax.set(xticks=[], yticks=[])
            if picture:
                ax.imshow(picture)
            else:
                ax.text(0.5, 0.5, "does not render", ha="center")
    fig.savefig(settings.hacking, dpi=100)


def main():
    (settings,) = HfArgumentParser(Settings).parse_args_into_dataclasses()
    if settings.table:
        return print(table(list(csv.DictReader(open(settings.table)))))
    if settings.hacking:
        return hacking(settings)
    runs = [(task, reward, seed) for seed in range(settings.seeds) for task in settings.tasks.split(",")
            for reward in settings.rewards.split(",")]
    with ThreadPoolExecutor(settings.jobs) as pool:
        found = list(pool.map(lambda run: train(*run, settings), runs))
    for run, rows in zip(runs, found):
        if not rows:
            print("left out:", *run)
    rows = [row for rows in found for row in rows]
    path = Path(settings.out, "rl.csv")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (row["task"], row["reward"], row["seed"], int(row["step"]))))
    print(table(rows) if rows else f"No run has got to step {settings.steps}.")


if __name__ == "__main__":
    main()
