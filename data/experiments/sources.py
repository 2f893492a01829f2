"""What should a judge be trained on? Table 8 at tiny scale: one task or all; and: edits, own errors, or both.

    python -m data.experiments.sources                                     # by task; hours on 2 cores, --resume is built in
    python -m data.experiments.sources --by source --model data/tiny/judge --out runs/mix_source

By task: three sets of pairs, of charts, tables and icons, and four judges from the same start, one for each set and one
for all three, which is trained as long as the three together, as in the paper. By source: three sets of the same
programs (data.build with --source edit, infer, and infer with --mix 0.5) and a judge for each, all with the same steps.
Every judge is scored on data/bench, by source also on a policy's own errors (built with another seed). OUT/table.md
gets the table, F1h/F1s/Sc of 100, with the start as its first row. An unreadable answer, such as a verdict in another
task's categories, counts as "no error"; "-" is a judge without any readable verdict.

Each command is printed before it runs and can be repeated alone; what it said is in OUT/NAME.txt, and a part that
finished is not run again. By source "half" has a little less than half of a policy's errors, for answers that draw
nothing are left out; and where an edited set has 12 % of pairs without errors by design, a policy's has as many as it
copies well (31 % with the shipped base).
"""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers import HfArgumentParser

from data.verdict import CATEGORIES, InputError
from data.runs import same_settings

ROOT = Path(__file__).resolve().parent.parent.parent
JUDGES = {  # name of a judge: the sets it learns from
    "task": {task: [task] for task in CATEGORIES} | {"mix": list(CATEGORIES)},
    "source": {"edit": ["edit"], "half": ["half"], "infer": ["infer"]},
}
MIX = {"half": 0.5, "infer": 1.0}                                      # share of a policy's own errors in a set


@dataclass
class Settings:
    by: str = field(default="task", metadata={"help": "what the sets differ in: task or source"})
    n: int = field(default=6000, metadata={"help": "pairs in each of the three sets"})
    steps: int = field(default=2000, metadata={"help": "optimiser steps for each set a judge learns from"})
    model: str = field(default="data/tiny/base", metadata={"help": "where each judge starts: folder or hub name"})
    policy: str = field(default="data/tiny/base", metadata={"help": "whose errors are learned and judged"})
    held: int = field(default=300, metadata={"help": "pairs in the benchmark of the policy's errors"})
    limit: int = field(default=1000, metadata={"help": "pairs judged in each benchmark at most"})
    seed: int = field(default=1, metadata={"help": "of the sets and the training; the benchmark has another"})
    train: str = field(default="--full --optim muon --lr 2e-3 --batch 16 --micro 8 --differences",
                       metadata={"help": "flags for train_sft.py, as one text: --train='--lr 1e-4'"})
    jobs: int = field(default=2, metadata={"help": "judges at the same time, one thread each"})
    out: str = field(default="runs/mix", metadata={"help": "folder for all of it"})


def run(out, name, *command):
    """Run a command of the project unless OUT/NAME.txt, what it printed, says that it finished. Raises InputError."""
    command = list(map(str, command))
    if (out / f"{name}.txt").exists():
        return
    print(f"OMP_NUM_THREADS=1 python {' '.join(command)}", flush=True)
    with open(out / f"{name}.tmp", "w") as said:
        done = subprocess.run([sys.executable, *command], stdout=said, stderr=said, cwd=ROOT,
                              env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        last = (out / f"{name}.tmp").read_text().strip().splitlines()[-1:]
        raise InputError(f"This command failed: {' '.join(last)} (all it said: {out / name}.tmp)")
    (out / f"{name}.tmp").replace(out / f"{name}.txt")


def build(settings, out, name, seed, n):
    """Make a set: of one task, or of one source of errors."""
    infer = ["--source", "infer", "--model", settings.policy, "--mix", MIX[name]] if name in MIX else []
    task = ["--task", name] if name in CATEGORIES else []
    run(out, f"build-{name}-{seed}", "-m", "data.build", "--n", n, "--seed", seed, "--out",
        out / f"{name}-{seed}", *task, *infer)
    return out / f"{name}-{seed}"


def judged(settings, out, name, sets, benches):
    """Train the judge `name` on the folders `sets`, score it, and return the files with its scores; the start as is."""
    judge = settings.model
    if sets:
        judge = out / f"judge-{name}" / "checkpoint"
        run(out, f"train-{name}", "train_sft.py", "--data", ",".join(map(str, sets)), "--model", settings.model,
            "--steps", settings.steps * len(sets), "--seed", settings.seed, "--out", judge.parent, "--resume",
            *settings.train.split())
    files = {}
    for bench, folder in benches.items():
        files[name, bench] = out / f"{name}-on-{folder.name}.json"
        run(out, f"score-{name}-{folder.name}", "-m", "data.bench", folder, "--judge", judge, "--limit",
            settings.limit, "--out", files[name, bench])
    return files


def parts(settings, out):
    """Build, train and score; the files with the scores by row and column of the table."""
    benches, judges = {"data/bench": Path("data/bench")}, JUDGES[settings.by]
    if settings.by == "source":
        benches["a policy's own errors"] = build(settings, out, "infer", settings.seed + 4242, settings.held)
    sets = {name: build(settings, out, name, settings.seed, settings.n) for names in judges.values() for name in names}
    with ThreadPoolExecutor(settings.jobs) as pool:
        longest_first = sorted(judges, key=lambda name: -len(judges[name]))
        found = {name: pool.submit(judged, settings, out, name, [sets[s] for s in judges[name]], benches)
                 for name in longest_first}
        found["start"] = pool.submit(judged, settings, out, "start", [], benches)
        return {key: file for name in ("start", *judges) for key, file in found[name].result().items()}


def table(rows):
    """Markdown from {(trained on, judged on): one of data.bench's rows}; one benchmark is shown task by task.

    >>> scores = {"average": {"f1h": 0.5, "f1s": 0.625, "sc": None}}
    >>> row = {"scores": scores, "unreadable": 0, "items": [0] * 9}
    >>> none = row | {"scores_unreadable_as_no_error": scores, "unreadable": 9}
    >>> print(table({("start", "edits"): row, ("start", "own"): none}))
    | trained on | edits | unreadable | own | unreadable |
    | --- | --- | --- | --- | --- |
    | start | 50.0/62.5/- | 0 of 9 | - | 9 of 9 |
    """
    names, benches = (list(dict.fromkeys(key[i] for key in rows)) for i in (0, 1))
    columns = ["average"] if len(benches) > 1 else [*CATEGORIES, "average"]

    def cells(row):
        scores = row.get("scores_unreadable_as_no_error", row["scores"])                # not there if all are readable
        for column in columns:
            figures = (scores[column][key] for key in ("f1h", "f1s", "sc"))
            yield "-" if row["unreadable"] == len(row["items"]) else "/".join(
                "-" if figure is None else f"{100 * figure:.1f}" for figure in figures)
        yield f"{row['unreadable']} of {len(row['items'])}"

    heads = [head for bench in benches for head in (*(columns if len(benches) == 1 else [bench]), "unreadable")]
    return "\n".join([f"| trained on | {' | '.join(heads)} |", "| --- " * (1 + len(heads)) + "|",
                      *(f"| {name} | {' | '.join(c for bench in benches for c in cells(rows[name, bench]))} |"
                        for name in names)])


def main():
    (settings,) = HfArgumentParser(Settings, description=__doc__.splitlines()[0]).parse_args_into_dataclasses()
    if settings.by not in JUDGES:
        raise InputError(f"--by is task or source, not {settings.by!r}.")
    out = Path(settings.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    same_settings(out, settings, free=("jobs",))
    (out / "config.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    text = table({key: json.loads(file.read_text())["rows"][0] for key, file in parts(settings, out).items()})
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
