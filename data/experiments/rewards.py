"""The paper's main finding at tiny scale: one policy trained with different rewards.

    python -m data.experiments.rewards                              # hours on 2 cores
    python -m data.experiments.rewards --table runs/rewards/rl.csv  # print the table
    python -m data.experiments.rewards --hacking hacking.png        # reward up, fidelity down

The runs are those of data.experiments.sweep: the same command goes on where it was stopped, and
each run is one call of train_rl.py (printed before it starts), so every row can be repeated alone.
OUT/rl.csv gets the held-out rows of all logs.

The table has, for each reward, the fidelity on the held-out pictures at the last step: mean and
half the range over the seeds. Beside it stand the share of programs that render at the last step
and, at the first and the last step, the reward itself at a fixed scale and the fidelity of the
likeliest programs. The base is step 0. Nothing is chosen: neither seeds nor steps. A run that did
not get to its last step is named and left out.
"""
import sys
from dataclasses import dataclass
from pathlib import Path

from data.experiments.sweep import plan, run_all
from data.runs import flag, locked, parse, read_csv, script, write_csv
from data.verdict import InputError

FIGURES = ("fidelity", "eval_render_rate", "eval_reward", "greedy_fidelity")  # of a run's log
COLUMNS = ("task", "reward", "seed", "step", *FIGURES)
FIRST, LAST = 0, 1  # the two rows of a run that the table shows


@dataclass
class Settings:
    tasks: str = flag("chart,table,svg", "one run for each")
    rewards: str = flag("text,vision,verm,oracle", "rewards of train_rl.py")
    seeds: int = flag(3, "0, 1, ...", positive=True)
    steps: int = flag(40, "of each run")
    jobs: int = flag(2, "runs at the same time, one thread each", positive=True)
    options: str = flag("", "further flags for train_rl.py, in quotes")
    out: str = flag("runs/rewards", "folder with a run folder for each")
    table: str = flag("", "run nothing; print the table of this CSV")
    hacking: str = flag("", "run nothing; PNG of where each reward was hacked worst")


# --- 1. the runs ---


def make_runs(settings: Settings) -> list[dict]:
    """The held-out rows of all runs; what is not finished is run before."""
    vary = {"task": settings.tasks.split(","), "reward": settings.rewards.split(",")}
    fixed = ["--steps", str(settings.steps), *settings.options.split()]
    out = Path(settings.out).resolve()
    rows = []
    with locked(out):
        runs = plan("train_rl", vary, settings.seeds, fixed, out)
        failed = run_all(runs, settings.jobs)
        for run in runs:
            if run in failed:
                print("left out:", *run.values, run.seed)
                continue
            task, reward = run.values
            for row in run.log():
                if row["fidelity"]:
                    figures = {name: row[name] for name in ("step", *FIGURES)}
                    rows.append({"task": task, "reward": reward, "seed": run.seed} | figures)
    return rows


# --- 2. the table ---


class Ends:
    """The first and the last row of each run."""

    def __init__(self, rows: list[dict]):
        self.tasks = list(dict.fromkeys(row["task"] for row in rows))
        self.rewards = list(dict.fromkeys(row["reward"] for row in rows))
        self.runs = {}  # (task, reward, seed) -> [first row, last row]
        for row in rows:
            run = self.runs.setdefault((row["task"], row["reward"], row["seed"]), [row, row])
            run[LAST] = row

    def values(self, task: str, reward: str | None, end: int, column: str) -> list[float]:
        """One value a seed; reward None: of any run, for all begin at the same base."""
        by_seed = {}
        for (task_of_run, reward_of_run, seed), run in self.runs.items():
            if task_of_run == task and reward in (reward_of_run, None):
                by_seed[seed] = float(run[end][column])
        return list(by_seed.values())

    def trained(self, *rewards: str | None) -> list[str]:
        """The tasks that have runs with each of these rewards."""
        return [task for task in self.tasks
                if all(self.values(task, reward, FIRST, "fidelity") for reward in rewards)]

    def mean(self, reward: str | None, end: int, column: str, tasks: list[str]) -> float:
        """The mean over tasks of the mean over seeds."""
        means = []
        for task in tasks:
            values = self.values(task, reward, end, column)
            means.append(sum(values) / len(values))
        return sum(means) / max(1, len(means))

    def gain(self, reward: str, tasks: list[str]) -> float:
        """Fidelity at the last step minus the base's."""
        base = self.mean(None, FIRST, "fidelity", tasks)
        return self.mean(reward, LAST, "fidelity", tasks) - base


def spread(values: list[float]) -> str:
    """"81.2 ± 0.7": mean and half the range; "81.2" of one value."""
    if not values:
        return "-"
    mean = f"{sum(values) / len(values):.1f}"
    return f"{mean} ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else mean


def table(rows: list[dict]) -> str:
    """Markdown: fidelity at the last step by reward and task, and the gain over the base.

    >>> row = lambda reward, step, fidelity: dict(task="svg", reward=reward, seed=0, step=step,
    ...     fidelity=fidelity, eval_render_rate=90, eval_reward=fidelity / 50, greedy_fidelity=80)
    >>> verm, oracle = [row("verm", 0, 60), row("verm", 9, 66)], [row("oracle", 0, 60)]
    >>> print(table(verm + oracle + [row("oracle", 9, 70)]))
    | reward | svg | average | gain | of oracle's gain | render rate | eval reward | greedy |
    | --- | --- | --- | --- | --- | --- | --- | --- |
    | base | 60.0 | 60.0 | | | 90.0 | | |
    | verm | 66.0 | 66.0 | +6.0 | 60 % | 90.0 | 1.20 → 1.32 | 80.0 → 80.0 |
    | oracle | 70.0 | 70.0 | +10.0 | 100 % | 90.0 | 1.20 → 1.40 | 80.0 → 80.0 |
    """
    ends = Ends(rows)
    heads = ["reward", *ends.tasks, "average", "gain", "of oracle's gain", "render rate",
             "eval reward", "greedy"]
    lines = [heads, ["---"] * len(heads)]
    for reward in (None, *ends.rewards):
        lines.append([reward or "base", *cells(ends, reward)])
    return "\n".join(f"| {' | '.join(line)} |".replace("|  ", "| ") for line in lines)


def cells(ends: Ends, reward: str | None) -> list[str]:
    """The figures of a line of the table; reward None: of the base."""
    end = FIRST if reward is None else LAST
    fidelities = [spread(ends.values(task, reward, end, "fidelity")) for task in ends.tasks]
    tasks, average = ends.trained(reward), "-"
    if tasks == ends.tasks:
        average = f"{ends.mean(reward, end, 'fidelity', tasks):.1f}"
    render_rate = f"{ends.mean(reward, end, 'eval_render_rate', tasks):.1f}"
    if reward is None:
        return [*fidelities, average, "", "", render_rate, "", ""]

    both = ends.trained(reward, "oracle")
    most = ends.gain("oracle", both)
    share = f"{100 * ends.gain(reward, both) / most:.0f} %" if most else "-"
    rose = []
    for column, digits in (("eval_reward", 2), ("greedy_fidelity", 1)):
        before, after = (ends.mean(reward, one, column, tasks) for one in (FIRST, LAST))
        rose.append(f"{before:.{digits}f} → {after:.{digits}f}")
    return [*fidelities, average, f"{ends.gain(reward, tasks):+.1f}", share, render_rate, *rose]


# --- 3. reward hacking ---


@dataclass
class Hacked:
    """A held-out picture whose fidelity fell while its reward rose."""

    lost: float  # fidelity
    task: str
    seed: str
    number: int  # of the picture
    before: tuple[str, float, float]  # code, reward, fidelity at the first step
    after: tuple[str, float, float]  # and at the last


def worst_hacked(out: Path) -> dict[str, Hacked]:
    """For each reward the picture that lost most, among all runs in `out`."""
    import torch

    worst = {}
    for path in sorted(out.glob("*-*-*/state.pt")):
        task, reward, seed = path.parent.name.split("-")
        stages = torch.load(path, weights_only=True)["stages"]
        for i, (before, after) in enumerate(zip(stages[0], stages[max(stages)])):
            lost = before[2] - after[2]
            most = worst[reward].lost if reward in worst else 0
            if after[1] > before[1] and lost > most:
                worst[reward] = Hacked(lost, task, seed, i, before, after)
    return worst


def hacking(settings: Settings) -> None:
    """Draw the pictures of `worst_hacked`: the reference, the first and the last program."""
    import matplotlib.pyplot as plt

    from data.build import draw_examples
    from render import Rendering, draw_alike

    worst = worst_hacked(Path(settings.out))
    if not worst:
        print(f"No run in {settings.out} has a picture whose reward rose while its fidelity fell.")
        return
    fig, axes = plt.subplots(len(worst), 3, figsize=(7, 2.6 * len(worst)), squeeze=False,
                             layout="constrained")
    for row, (reward, hacked) in zip(axes, sorted(worst.items())):
        example = draw_examples(hacked.task, hacked.number + 1, 1, "rl/held",
                                held_out=True)[hacked.number]
        programs = {"before": hacked.before, "after": hacked.after}
        renderings = draw_alike([example] * 2, [code for code, _, _ in programs.values()])
        title = f"{reward}: {hacked.task} {hacked.number + 1}"
        print(f"{title}, seed {hacked.seed}: "
              f"reward {hacked.before[1]:.3f} -> {hacked.after[1]:.3f}, "
              f"fidelity {hacked.before[2]:.0f} -> {hacked.after[2]:.0f}")
        shown = [(title, example.image)]
        for (name, (_, earned, fidelity)), drawn in zip(programs.items(), renderings):
            image = drawn.image if isinstance(drawn, Rendering) else None
            shown.append((f"{name}: reward {earned:.3f}, fidelity {fidelity:.0f}", image))
        for ax, (caption, image) in zip(row, shown):
            ax.set_title(caption, fontsize=8)
            ax.set(xticks=[], yticks=[])
            if image:
                ax.imshow(image)
            else:
                ax.text(0.5, 0.5, "does not render", ha="center")
    fig.savefig(settings.hacking, dpi=100)


# --- 4. command line ---


def read_rows(path: str) -> list[dict]:
    """The rows of an rl.csv. Raises InputError if it lacks a column."""
    rows = read_csv(path)
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise InputError(f"{path} has no rows with the columns {', '.join(COLUMNS)}.")
    return rows


@script
def main(argv: list[str] | None = None) -> None:
    """Run what is not finished, and print the table."""
    settings = parse(Settings, argv, __doc__)
    if settings.table:
        print(table(read_rows(settings.table)))
        return
    if settings.hacking:
        hacking(settings)
        return
    rows = make_runs(settings)
    rows.sort(key=lambda row: (row["task"], row["reward"], row["seed"], int(row["step"])))
    write_csv(Path(settings.out, "rl.csv"), COLUMNS, rows)
    print(table(rows) if rows else f"No run has got to step {settings.steps}.")


if __name__ == "__main__":
    sys.exit(main())
