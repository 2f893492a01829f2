"""What should a judge be trained on? Table 8 at tiny scale: one task or all; edits or own errors.

    python -m data.experiments.sources                             # by task; hours on 2 cores
    python -m data.experiments.sources --by source --model data/tiny/judge --out runs/mix_source

By task: three sets of pairs, of charts, tables and icons, and four judges from the same start,
one for each set and one for all three, which is trained as long as the three together, as in the
paper. By source: three sets of the same programs (data.build with --source edit, infer, and infer
with --mix 0.5) and a judge for each, all with the same steps. Every judge is scored on
data/bench, by source also on a policy's own errors (built with another seed).

OUT/table.md gets the table, F1h/F1s/Sc of 100, with the start as its first row. An unreadable
answer, such as a verdict in another task's categories, counts as "no error"; "-" is a judge
without any readable verdict. Each command is printed before it runs and can be repeated alone.
What it said is in OUT/NAME.txt. The same command goes on where it was stopped: a part that
finished is not run again.

By source, "half" has a little less than half of a policy's errors, because answers that draw
nothing are left out. Of an edited set 12 % of the pairs have no errors, by design; of a policy's,
as many as it copies well (31 % with the shipped base).
"""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data.runs import check_settings, flag, parse, save_settings, script, write_text
from data.verdict import CATEGORIES, InputError

ROOT = Path(__file__).resolve().parent.parent.parent
JUDGES = {  # name of a judge: the sets it learns from
    "task": {task: [task] for task in CATEGORIES} | {"mix": list(CATEGORIES)},
    "source": {"edit": ["edit"], "half": ["half"], "infer": ["infer"]},
}
MIX = {"half": 0.5, "infer": 1.0}  # share of a policy's own errors in a set


@dataclass
class Settings:
    by: str = flag("task", "what the sets differ in: task or source")
    n: int = flag(6000, "pairs in each of the three sets")
    steps: int = flag(2000, "optimiser steps for each set a judge learns from")
    model: str = flag("data/tiny/base", "where each judge starts: folder or hub name")
    policy: str = flag("data/tiny/base", "whose errors are learned and judged")
    held: int = flag(300, "pairs in the benchmark of the policy's errors")
    limit: int = flag(1000, "pairs judged in each benchmark at most")
    seed: int = flag(1, "of the sets and the training; the benchmark has another")
    train: str = flag(
        "--full --optim muon --lr 2e-3 --batch 16 --micro_batch_size 8 --differences",
        "flags for train_sft.py, as one text: --train='--lr 1e-4'")
    jobs: int = flag(2, "judges at the same time, one thread each")
    out: str = flag("runs/mix", "folder for all of it")


# --- 1. the parts ---


def run(out: Path, name: str, *command) -> None:
    """Run a command of the project, unless OUT/NAME.txt, what it printed, says that it finished.

    Raises InputError if it fails.
    """
    words = list(map(str, command))
    said, finished = out / f"{name}.tmp", out / f"{name}.txt"
    if finished.exists():
        return
    print("OMP_NUM_THREADS=1 python", *words, flush=True)
    with open(said, "w") as file:
        done = subprocess.run([sys.executable, *words], stdout=file, stderr=file, cwd=ROOT,
                              env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        last = said.read_text().strip().splitlines()[-1:]
        raise InputError(f"This command failed: {' '.join(last)} (all it said: {said})")
    said.replace(finished)


def build(settings: Settings, out: Path, name: str, seed: int, n: int) -> Path:
    """Make the set `name`, of one task or of one source of errors; its folder."""
    folder = out / f"{name}-{seed}"
    flags = ["--n", n, "--seed", seed, "--out", folder]
    if name in CATEGORIES:
        flags += ["--task", name]
    if name in MIX:
        flags += ["--source", "infer", "--model", settings.policy, "--mix", MIX[name]]
    run(out, f"build-{name}-{seed}", "-m", "data.build", *flags)
    return folder


def judged(settings: Settings, out: Path, name: str, sets: list[Path],
           benches: dict[str, Path]) -> dict[tuple[str, str], Path]:
    """Train the judge `name` on the folders `sets` and score it; without sets the start as it is.

    The files with its scores, by (judge, benchmark).
    """
    judge = settings.model
    if sets:
        folder = out / f"judge-{name}"
        run(out, f"train-{name}", "train_sft.py", "--data", ",".join(map(str, sets)),
            "--model", settings.model, "--steps", settings.steps * len(sets),
            "--seed", settings.seed, "--out", folder, "--resume", *settings.train.split())
        judge = folder / "checkpoint"
    files = {}
    for bench, folder in benches.items():
        file = out / f"{name}-on-{folder.name}.json"
        run(out, f"score-{name}-{folder.name}", "-m", "data.bench", folder, "--judge", judge,
            "--limit", settings.limit, "--out", file)
        files[name, bench] = file
    return files


def parts(settings: Settings, out: Path) -> dict[tuple[str, str], Path]:
    """Build, train and score; the files with the scores, by (judge, benchmark)."""
    judges = JUDGES[settings.by]
    benches = {"data/bench": Path("data/bench")}
    if settings.by == "source":
        own = build(settings, out, "infer", settings.seed + 4242, settings.held)
        benches["a policy's own errors"] = own
    folders = {}
    for names in judges.values():
        for name in names:
            folders[name] = build(settings, out, name, settings.seed, settings.n)
    with ThreadPoolExecutor(settings.jobs) as pool:
        working = {}
        for name in sorted(judges, key=lambda name: -len(judges[name])):  # the longest first
            sets = [folders[one] for one in judges[name]]
            working[name] = pool.submit(judged, settings, out, name, sets, benches)
        working["start"] = pool.submit(judged, settings, out, "start", [], benches)
        files = {}
        for name in ("start", *judges):
            files |= working[name].result()
    return files


# --- 2. the table ---


def table(rows: dict[tuple[str, str], dict]) -> str:
    """Markdown from {(trained on, judged on): one of data.bench's rows}.

    A single benchmark is shown task by task.

    >>> scores = {"average": {"f1h": 0.5, "f1s": 0.625, "sc": None}}
    >>> row = {"scores": scores, "unreadable": 0, "items": [0] * 9}
    >>> none = row | {"scores_unreadable_as_no_error": scores, "unreadable": 9}
    >>> print(table({("start", "edits"): row, ("start", "own"): none}))
    | trained on | edits | unreadable | own | unreadable |
    | --- | --- | --- | --- | --- |
    | start | 50.0/62.5/- | 0 of 9 | - | 9 of 9 |
    """
    names = list(dict.fromkeys(name for name, _ in rows))
    benches = list(dict.fromkeys(bench for _, bench in rows))
    columns = ["average"] if len(benches) > 1 else [*CATEGORIES, "average"]
    heads = ["trained on"]
    for bench in benches:
        heads += [bench, "unreadable"] if len(benches) > 1 else [*columns, "unreadable"]
    lines = [heads, ["---"] * len(heads)]
    for name in names:
        line = [name]
        for bench in benches:
            line += cells(rows[name, bench], columns)
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: dict, columns: list[str]) -> list[str]:
    """Of one of data.bench's rows: F1h/F1s/Sc by column, and how many answers were unreadable."""
    scores = row.get("scores_unreadable_as_no_error", row["scores"])  # missing if all are readable
    unreadable, answers = row["unreadable"], len(row["items"])
    texts = []
    for column in columns:
        figures = []
        for name in ("f1h", "f1s", "sc"):
            figure = scores[column][name]
            figures.append("-" if figure is None else f"{100 * figure:.1f}")
        texts.append("-" if unreadable == answers else "/".join(figures))
    return [*texts, f"{unreadable} of {answers}"]


# --- 3. command line ---


@script
def main(argv: list[str] | None = None) -> None:
    """Run what is not finished, and print the table."""
    settings = parse(Settings, argv, __doc__)
    if settings.by not in JUDGES:
        raise InputError(f"--by is task or source, not {settings.by!r}.")
    out = Path(settings.out).resolve()
    check_settings(out, settings, free=("jobs",))
    save_settings(out, settings)
    rows = {}
    for key, file in parts(settings, out).items():
        rows[key] = json.loads(file.read_text())["rows"][0]
    text = table(rows)
    write_text(out / "table.md", text + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
