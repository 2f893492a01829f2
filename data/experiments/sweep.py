"""An ablation: a script with several values of its flags, several seeds each, and one table.

    python -m data.experiments.sweep train_rl --vary reward=verm,ssim --vary lr=1e-4,5e-4 --jobs 2
    python -m data.experiments.sweep train_rl --vary beta=0,0.01 --seeds 5 -- --task chart
    python -m data.experiments.sweep train_sft --vary read=0,0.1 -- --data runs/pairs --full

Every combination of the values is run with the seeds 0, 1, ...; what follows `--` goes to each run
as it is. A run is one command, printed before it starts, in a folder of OUT that is named by the
values and the seed. What it prints goes to output.txt there.

The same command goes on where it was killed: finished runs are not run again, others go on from
their last state. A folder whose config.json has other settings than those asked for is refused. A
run that fails is reported with its last lines, and the others go on; then the exit code is 1.

At the end stand OUT/table.md, curves.png and runs.csv. The table has, for each combination, the
metric at the last step: its mean over the seeds with a 95 % interval (Student's t), and the mean of
the differences to the first combination, seed by seed, with theirs. A difference is clear where its
interval does not hold 0. The bands of the plot are the same intervals, step by step.
"""
import contextlib
import importlib
import itertools
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from scipy.stats import t as student
from tqdm import tqdm

from data.renderers.sandbox import kernel
from data.runs import (
    HERE,
    begun,
    check_settings,
    flag,
    locked,
    parse,
    read_csv,
    read_json,
    script,
    write_csv,
    write_text,
)
from data.verdict import InputError


@dataclass
class Settings:
    vary: list[str] = field(default_factory=list, metadata={
        "help": "flag=value,value,...; several times for several flags", "action": "extend"})
    seeds: int = flag(3, "runs of each combination: the seeds 0, 1, ...", positive=True)
    jobs: int = flag(1, "runs at the same time, one thread each", positive=True)
    metric: str = flag("", "columns of log.csv, with commas; default: fidelity, f1h or loss")
    out: str = flag("runs/sweep", "folder with a run folder for each, the table and the plot")


SCRIPT = dict(help="train_rl, train_sft, refine or data.tiny; its other flags follow after --")
METRICS = "fidelity", "f1h", "loss"


# --- 1. the runs ---


@dataclass
class Run:
    """One command, and what it was asked for."""

    values: tuple[str, ...]  # of the flags that vary
    seed: int
    settings: Any  # the script's, as its command line says them
    command: list[str]  # behind `python`

    @property
    def out(self) -> Path:
        """Its run folder."""
        return Path(self.settings.out)

    def finished(self) -> bool:
        """Whether it is. Raises InputError if its folder has a run of other settings."""
        if not begun(self.out):
            return False
        saved = read_json(self.out / "config.json", {})
        # None: the script chose for itself
        chosen = {one.name: saved[one.name] for one in fields(self.settings)
                  if getattr(self.settings, one.name) is None and one.name in saved}
        check_settings(self.out, replace(self.settings, **chosen))
        return bool(saved.get("finished"))

    def log(self) -> list[dict]:
        """The rows of its log.csv, or of refine.py's rounds.csv, whose steps are rounds."""
        for name in ("log.csv", "rounds.csv"):
            if (self.out / name).exists():
                return [{"step": row.get("round")} | row for row in read_csv(self.out / name)]
        return []

    def done(self) -> float:
        """The share of its steps that are done."""
        rows, steps = self.log(), getattr(self.settings, "steps", 0)
        return min(1.0, int(rows[-1]["step"]) / steps) if rows and steps else 0.0


def settings_of(name: str) -> tuple[type, str, list[str]]:
    """(the Settings of a script, its docstring, how it is called). Raises InputError."""
    name = name.removesuffix(".py")
    path = HERE / name.replace(".", "/")
    if re.fullmatch(r"[\w.]+", name) and (path / "__main__.py").is_file():
        module, head = importlib.import_module(f"{name}.__main__"), ["-m", name]
    elif re.fullmatch(r"[\w.]+", name) and path.with_suffix(".py").is_file():
        module = importlib.import_module(name)
        head = ["-m", name] if "." in name else [f"{name}.py"]
    else:
        raise InputError(f"There is no script {name!r} in {HERE}; a sweep needs {SCRIPT['help']}.")
    found = getattr(module, "Settings", None)
    if not found or not {"out", "seed", "resume"} <= {one.name for one in fields(found)}:
        raise InputError(f"{name} has no --out, --seed and --resume, so it cannot be swept.")
    return found, module.__doc__, head


def plan(name: str, vary: dict[str, list[str]], seeds: int, fixed: list[str],
         out: Path) -> list[Run]:
    """The runs of a sweep, seed by seed; a flag that does not exist ends as argparse does.

    `vary`: {flag: values}; `fixed`: further words of each command. Raises InputError.
    """
    settings, description, head = settings_of(name)
    if taken := [one for one in vary if one in ("seed", "out", "resume", "overwrite")]:
        raise InputError(f"--vary {taken[0]}: the sweep itself says --seed, --out and --resume.")
    runs = {}
    for seed, values in itertools.product(range(seeds), itertools.product(*vary.values())):
        folder = re.sub(r"[^\w.*+=-]+", "_", "-".join((*values, str(seed))))
        if folder in runs:
            raise InputError(f"Two runs would share the folder {folder}: give each value once.")
        words = [*fixed, *(f"--{one}={value}" for one, value in zip(vary, values))]
        words += ["--seed", str(seed), "--out", str(out / folder), "--resume"]
        asked = parse(settings, words, description)
        runs[folder] = Run(values, seed, asked, [*head, *words])
    return list(runs.values())


def start(run: Run) -> subprocess.Popen:
    """Start a run; it is stopped when this process ends, however it ends."""
    tqdm.write("OMP_NUM_THREADS=1 python " + shlex.join(run.command))

    def die_with_the_sweep():
        with contextlib.suppress(AttributeError, OSError):  # elsewhere than on Linux it lives on
            kernel("prctl", 1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG

    run.out.mkdir(parents=True, exist_ok=True)
    # A group of its own: Ctrl-C comes from `run_all`, once. With more threads it samples otherwise.
    with open(run.out / "output.txt", "w") as file:
        return subprocess.Popen([sys.executable, *run.command], stdin=subprocess.DEVNULL,
                                stdout=file, stderr=file, cwd=HERE, start_new_session=True,
                                env=os.environ | {"OMP_NUM_THREADS": "1"},
                                preexec_fn=die_with_the_sweep)


def last_lines(path: Path, n: int = 5) -> str:
    """The end of what a run printed, without bars."""
    lines = [line.rpartition("\r")[2].strip() for line in path.read_text("utf-8", "replace")
             .split("\n")]
    return "\n".join(f"  {line}" for line in [line for line in lines if line][-n:])


def run_all(runs: list[Run], jobs: int) -> list[Run]:
    """Run what is not finished, `jobs` at a time; the runs that failed.

    Prints a line with the time left. Raises InputError before the first run if a folder has a run
    of other settings; KeyboardInterrupt once the runs under way have saved their states.
    """
    waiting = [run for run in runs if not run.finished()]
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them finished", flush=True)
    total, already = len(waiting), sum(run.done() for run in waiting)
    working, failed, ended = {}, [], 0
    bar = tqdm(total=total, initial=already, smoothing=0, disable=not waiting, bar_format=(
        "{percentage:3.0f}%|{bar}| {n:.1f} of {total} runs, {elapsed} gone, {remaining} left"))
    pause, shown = (1 if sys.stderr.isatty() else 60), time.monotonic()
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.pop(0)
                working[start(run)] = run
            time.sleep(0.2)
            for process in [one for one in working if one.poll() is not None]:
                run, ended, shown = working.pop(process), ended + 1, 0.0
                if process.returncode:
                    failed.append(run)
                    told = last_lines(run.out / "output.txt")
                    tqdm.write(f"{run.out} failed with exit code {process.returncode}; it said\n"
                               f"{told}\n(all of it: {run.out / 'output.txt'})")
            if time.monotonic() - shown > pause:
                shown = time.monotonic()
                bar.n = max(already, ended + sum(run.done() for run in working.values()))
                bar.refresh()
    except KeyboardInterrupt:
        for process in working:
            process.send_signal(signal.SIGINT)
        for process in working:
            process.wait()
        raise KeyboardInterrupt("Stopped; the same command goes on.") from None
    finally:
        for process in working:
            process.kill()
        bar.close()
    return failed


# --- 2. the table ---


def interval(values: list[float]) -> tuple[float, float]:
    """(mean, half the width of its 95 % interval by Student's t; 0 of a single value).

    >>> "{:.2f} {:.2f}".format(*interval([1.0, 2.0, 3.0]))  # 4.303 * 1 / sqrt(3)
    '2.00 2.48'
    >>> interval([5.0])
    (5.0, 0.0)
    """
    if len(values) < 2:
        return values[0], 0.0
    error = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), float(student.ppf(0.975, len(values) - 1)) * error


def shown(values: list[float], sign: str = "") -> str:
    """"81.2 [79.9, 82.5]": mean and interval, to four digits of the mean; "81.2" of one value."""
    if not values:
        return "-"
    mean, half = interval(values)
    digits = max(0, 3 - len(str(int(abs(mean) + half)))) if abs(mean) + half >= 1 else 3
    text = f"{mean:{sign}.{digits}f}"
    if len(values) < 2:
        return text
    return f"{text} [{mean - half:{sign}.{digits}f}, {mean + half:{sign}.{digits}f}]"


def curve(rows: list[dict], metric: str) -> dict[int, float]:
    """{step: the metric, the mean if a step has several rows}."""
    values = {}
    for row in rows:
        if row.get(metric):
            values.setdefault(int(row["step"]), []).append(float(row[metric]))
    return {step: statistics.mean(found) for step, found in values.items()}


def table(heads: list[str], last: dict[tuple[str, ...], dict[str, dict[int, float]]]) -> str:
    """Markdown: a line for each combination, its metrics and its differences to the first.

    `heads`: the flags; `last`: {values of the flags: {metric: {seed: at the last step}}}.

    >>> print(table(["lr"], {("1",): {"loss": {0: 3.0, 1: 4.0}}, ("2",): {"loss": {0: 2.0, 1: 3.1}},
    ...                      ("3",): {"loss": {1: 5.0}}}))
    | lr | seeds | loss | against lr 1 |
    | --- | --- | --- | --- |
    | 1 | 2 | 3.50 [-2.85, 9.85] | |
    | 2 | 2 | 2.55 [-4.44, 9.54] | -0.95 [-1.59, -0.31] |
    | 3 | 1 | 5.00 | +1.00 |
    """
    first, base = next(iter(last.items()))
    against = "against " + ", ".join(map(" ".join, zip(heads, first)))
    columns = [*heads, "seeds"]
    for metric in base:
        columns += [metric, against] if len(last) > 1 else [metric]
    lines = [columns, ["---"] * len(columns)]
    for values, metrics in last.items():
        line = [*values, str(max((len(of_seed) for of_seed in metrics.values()), default=0))]
        for metric, of_seed in metrics.items():
            both = of_seed.keys() & base[metric].keys()
            differences = [of_seed[seed] - base[metric][seed] for seed in sorted(both)]
            line.append(shown(list(of_seed.values())))
            if len(last) > 1:
                line.append("" if values == first else shown(differences, "+"))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def plot(path: Path, heads: list[str], curves: dict[tuple, dict[str, list[dict]]]) -> None:
    """A PNG: a panel for each metric, a line with its interval for each combination.

    `curves`: {values of the flags: {metric: [{step: value} of each seed]}}.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metrics = list(next(iter(curves.values())))
    fig, axes = plt.subplots(1, len(metrics), figsize=(5 * len(metrics) + 1.5, 3.8),
                             layout="constrained", squeeze=False)
    for ax, metric in zip(axes[0], metrics):
        for values, of_metric in curves.items():
            steps = sorted({step for one in of_metric[metric] for step in one})
            points = [interval([one[step] for one in of_metric[metric] if step in one])
                      for step in steps]
            means = [mean for mean, _ in points]
            line, = ax.plot(steps, means, marker="o" if len(steps) < 30 else "",
                            label=", ".join(values) or "all")
            ax.fill_between(steps, [mean - half for mean, half in points],
                            [mean + half for mean, half in points], alpha=0.2,
                            color=line.get_color(), linewidth=0)
        ax.set(title=metric, xlabel="step")
    fig.legend(*axes[0][0].get_legend_handles_labels(), title=", ".join(heads),
               loc="outside right center")
    fig.savefig(path, dpi=100)
    plt.close(fig)


def summarise(runs: list[Run], failed: list[Run], heads: list[str], metric: str, out: Path) -> str:
    """Write OUT/runs.csv, table.md and curves.png of the runs that did not fail; the table.

    Raises InputError if there is none or the logs lack a metric.
    """
    logs = [[] if run in failed else run.log() for run in runs]
    columns = {name for rows in logs for row in rows[:1] for name in row}
    metrics = metric.split(",") if metric else [one for one in METRICS if one in columns][:1]
    if not columns:
        raise InputError("No run is finished.")
    if not metrics or not set(metrics) <= columns:
        raise InputError(f"--metric is one of {', '.join(sorted(columns - {'step'}))}.")
    last = {run.values: {name: {} for name in metrics} for run in runs}  # in the order asked for
    curves, rows = {values: {name: [] for name in metrics} for values in last}, []
    for run, log in zip(runs, logs):
        for name in metrics:
            found = curve(log, name)
            if not found:
                continue
            curves[run.values][name].append(found)
            last[run.values][name][run.seed] = found[max(found)]
            flags = dict(zip(heads, run.values)) | {"seed": run.seed, "metric": name}
            rows += [flags | {"step": step, "value": value} for step, value in found.items()]
    write_csv(out / "runs.csv", (*heads, "seed", "metric", "step", "value"), rows)
    plot(out / "curves.png", heads, curves)
    text = table(heads, last)
    write_text(out / "table.md", text + "\n")
    return text


# --- 3. command line ---


def read_vary(words: list[str]) -> dict[str, list[str]]:
    """{flag: values} of ["lr=1e-4,5e-4", ...]. Raises InputError."""
    vary = {}
    for word in words:
        name, _, values = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not name or not values or name in vary:
            raise InputError(f"--vary {word!r}: write flag=value,value, and each flag once.")
        vary[name] = values.split(",")
    return vary


@script
def main(argv: list[str] | None = None) -> int:
    """Run what is missing, print the table."""
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    settings = parse(Settings, argv[:cut], __doc__, script=SCRIPT)
    vary, out = read_vary(settings.vary), Path(settings.out).resolve()
    with locked(out):
        runs = plan(settings.script, vary, settings.seeds, argv[cut + 1:], out)
        failed = run_all(runs, settings.jobs)
        for run in failed:
            print(f"left out: {run.out}")
        print(summarise(runs, failed, list(vary), settings.metric, out))
        print(f"written: {out / 'table.md'}, {out / 'curves.png'}, {out / 'runs.csv'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
