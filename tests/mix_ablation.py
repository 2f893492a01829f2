"""Table 8's question at tiny scale: what should a judge be trained on, edits, a policy's own errors, or both?

    python tests/mix_ablation.py                                     # hours on 2 cores; goes on where it was stopped

Three sets of equal size (data.build with --source edit, infer, and infer with --mix 0.5), three judges trained on them
from the same start with the same steps (train_sft.py), and two benchmarks none of them saw: edited pairs (data/bench)
and a policy's own errors (built with another seed). OUT/table.md gets the table, with the start as its first row:
F1h/F1s/Sc of 100 and the unreadable answers. Each command is printed before it runs and can be repeated alone; what it
said is in OUT/NAME.txt, and a part that finished is not run again. The three sets show the same programs. Answers
that draw nothing are left out, so "half" has a little less than half of them; and where an edited set has 12 % of pairs
without errors by design, a policy's has as many as it copies well (31 % with the shipped base).
"""
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers import HfArgumentParser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from visual_erm import InputError, same_settings  # noqa: E402

MIXES = {"edit": 0.0, "half": 0.5, "infer": 1.0}                       # name of a set: share of a policy's own errors


@dataclass
class Settings:
    n: int = field(default=6000, metadata={"help": "pairs in each of the three sets"})
    steps: int = field(default=2000, metadata={"help": "optimiser steps of each judge"})
    model: str = field(default="data/tiny/judge", metadata={"help": "where each judge starts: folder or hub name"})
    policy: str = field(default="data/tiny/base", metadata={"help": "whose errors are learned and judged"})
    held: int = field(default=300, metadata={"help": "pairs in the benchmark of the policy's errors"})
    limit: int = field(default=1000, metadata={"help": "pairs judged in each benchmark at most"})
    seed: int = field(default=1, metadata={"help": "of the sets and the training; the benchmark has another"})
    train: str = field(default="--differences", metadata={"help": "flags for train_sft.py: --train='--full --lr 3e-4'"})
    out: str = field(default="runs/mix", metadata={"help": "folder for all of it"})


def run(out, name, *command):
    """Run a command of the project unless OUT/NAME.txt, what it printed, says that it finished. Raises InputError."""
    command = list(map(str, command))
    if (out / f"{name}.txt").exists():
        return
    print("python", *command, flush=True)
    with open(out / f"{name}.tmp", "w") as said:
        done = subprocess.run([sys.executable, *command], stdout=said, stderr=said, cwd=ROOT)
    if done.returncode:
        last = (out / f"{name}.tmp").read_text().strip().splitlines()[-1:]
        raise InputError(f"This command failed: {' '.join(last)} (all it said: {out / name}.tmp)")
    (out / f"{name}.tmp").replace(out / f"{name}.txt")


def parts(settings, out):
    """Build, train and score; the scores' files by row and column of the table."""
    def build(name, mix, n, seed):
        source = ["--source", "infer", "--model", settings.policy, "--mix", mix] if mix else []
        run(out, f"build-{name}", "-m", "data.build", "--n", n, "--seed", seed, "--out", out / name, *source)

    build("held", 1.0, settings.held, settings.seed + 4242)
    judges = {"start": settings.model}
    for name, mix in MIXES.items():
        build(name, mix, settings.n, settings.seed)
        judges[name] = out / f"judge-{name}" / "checkpoint"
        run(out, f"train-{name}", "train_sft.py", "--data", out / name, "--model", settings.model, "--steps",
            settings.steps, "--seed", settings.seed, "--out", judges[name].parent, "--resume", *settings.train.split())
    files = {}
    for name, judge in judges.items():
        for bench, folder in (("edited pairs", Path("data/bench")), ("a policy's own errors", out / "held")):
            files[name, bench] = out / f"{name}-{folder.name}.json"
            run(out, f"score-{name}-{folder.name}", "-m", "data.bench", folder, "--judge", judge, "--limit",
                settings.limit, "--out", files[name, bench])
    return files


def table(rows):
    """Markdown from {(trained on, judged on): one of data.bench's rows}.

    >>> row = {"scores": {"average": {"f1h": 0.5, "f1s": 0.625, "sc": None}}, "unreadable": 1, "items": [0] * 9}
    >>> print(table({("start", "edited pairs"): row, ("edit", "edited pairs"): row | {"unreadable": 0}}))
    | trained on | edited pairs (F1h/F1s/Sc) | unreadable |
    | --- | --- | --- |
    | start | 50.0/62.5/- | 1 of 9 |
    | edit | 50.0/62.5/- | 0 of 9 |
    """
    def cell(row):
        figures = (row["scores"]["average"][key] for key in ("f1h", "f1s", "sc"))
        scores = "/".join("-" if figure is None else f"{100 * figure:.1f}" for figure in figures)
        return f"{scores} | {row['unreadable']} of {len(row['items'])}"

    names, benches = (list(dict.fromkeys(key[i] for key in rows)) for i in (0, 1))
    head = " | ".join(f"{bench} (F1h/F1s/Sc) | unreadable" for bench in benches)
    return "\n".join([f"| trained on | {head} |", "| --- " * (1 + 2 * len(benches)) + "|",
                      *(f"| {name} | {' | '.join(cell(rows[name, bench]) for bench in benches)} |" for name in names)])


def main():
    (settings,) = HfArgumentParser(Settings, description=__doc__.splitlines()[0]).parse_args_into_dataclasses()
    out = Path(settings.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    same_settings(out, settings)
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
