"""What the big presets need on cards of 24 and 48 GB: memory, seconds a step, tokens a second.

    python -m data.experiments.speed_gpu --shape 8b              # on a GPU, within nine minutes
    python -m data.experiments.speed_gpu --shape nano            # the same code on a CPU
    python -m data.experiments.speed_gpu --stages sft,judge --seconds 120

No weights are downloaded or written: they are random, drawn on the device in bfloat16 and put into
4 bits by the loader of the project. Memory and time are those of trained ones. The stages, each
with a time limit of its own (docstrings in data/experiments/gpu_stages.py say more):

check    versions, matrix rate, bandwidth, the product of 4-bit weights beside float64
sft      a step of train_sft.py within a card of 24 GB, later within 48
decode   milliseconds a token that is sampled, by the number of programs at once
logp     log-probabilities and gradient: siblings in one sequence against one by one
grpo     a step of train_rl.py, the judge an adapter of the same base; rewards differ
judge    verdicts by the number of pairs at once
losses   ten steps of train_sft.py on a few pairs, in 4 bits and in 16: finite, and falling?
tiny     training steps of models of the tiny design: samples a second

OUT gets rows.jsonl and table.md after every row and what the stages print in log.txt. Stages that
share a model share a process; if it dies or is late, the next stage gets a new one, so a kill loses
the running measurement and nothing else. The same command goes on with the stages not done.

peak_gb is what tensors took at most, held_gb what PyTorch had taken from the card. With a card_gb
it may take no more than so many GB in all; only loading comes before that. On a CPU, where the
seconds say nothing about a GPU, memory is not measured.
"""
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script, write_jsonl, write_text
from data.verdict import InputError


@dataclass
class Settings:
    shape: str = flag("8b", "nano, 2b, 4b or 8b")
    stages: str = flag("", "names with commas between; default: all")
    seconds: float = flag(530.0, "stop after so long", positive=True)
    patience: float = flag(1.0, "multiplies the stages' time limits", positive=True)
    out: str = flag("runs/speed_gpu", "folder for rows.jsonl, table.md and log.txt")


CHILD = dict(nargs="?", help="what a process of this script does, as JSON; default: all")
if __name__ == "__main__":
    parse(Settings, None, __doc__, child=CHILD)  # a mistyped flag is told before torch is loaded

import torch

from data.experiments.gpu_stages import CUDA, PRESET, STAGES, Bench

ROOT = Path(__file__).resolve().parent.parent.parent
START = 40  # seconds to start a process, load and draw weights; they come on top of its first limit
# Stage, seconds, arguments at full size and on a CPU. A line begins a new process if it has a "*".
PLAN = (
    ("*check", 30, dict(side=8192, rows=(1, 8, 32, 64, 128, 1024, 4096)),
     dict(side=64, rows=(1, 8))),
    ("sft", 70, dict(card=24, at_once=(1, 4), side=768, length=1024),
     dict(card=24, at_once=(1, 2), side=64, length=24)),
    ("*decode", 50, dict(card=24, at_once=(8, 32, 64), side=768, tokens=40),
     dict(card=24, at_once=(2, 4), side=64, tokens=5)),
    ("logp", 40, dict(card=24, group=8, side=768, length=1024),
     dict(card=24, group=2, side=64, length=8)),
    ("grpo", 120, dict(card=24, prompts=4, group=8, side=768, length=512,
                       at_once=((32, 16), (16, 8))),
     dict(card=24, prompts=2, group=2, side=64, length=4, at_once=((4, 2),))),
    ("grpo", 220, dict(card=24, prompts=4, group=8, side=768, length=1024,
                       at_once=((32, 16), (16, 8))),
     dict(card=24, prompts=2, group=2, side=64, length=8, at_once=((4, 2),))),
    ("judge", 45, dict(card=24, at_once=(16, 32), side=768, length=256),
     dict(card=24, at_once=(2, 4), side=64, length=4)),
    ("*losses", 40, dict(quantize=True, pairs=4, steps=10), dict(quantize=True, pairs=2, steps=10)),
    ("sft", 75, dict(card=48, at_once=(8, 16), side=768, length=1024),
     dict(card=48, at_once=(2,), side=64, length=24)),
    ("*tiny", 40, dict(at_once=(256, 1024), widths=(1, 2, 4)), dict(at_once=(2,), widths=(1, 2))),
    ("*losses", 40, dict(quantize=False, pairs=4, steps=10),
     dict(quantize=False, pairs=2, steps=10)),
    ("*judge", 40, dict(card=48, at_once=(32, 64), side=768, length=256),
     dict(card=48, at_once=(4,), side=64, length=4)),
)


# --- 1. a process that measures ---


def measure(job: dict) -> None:
    """Do the stages of `job` in turn; a line of JSON on standard output for each event."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no event

    def end_with_parent():
        sys.stdin.read()  # until the parent is gone
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    bench = Bench(job["shape"], Path(job["work"]),
                  lambda row: print(json.dumps({"row": row}), file=events))
    for number in job["numbers"]:
        name, _, *arguments = PLAN[number]
        bench.stage = name.strip("*")
        print(json.dumps({"begin": number}), file=events)
        print(f"--- {bench.stage} ---", file=sys.stderr, flush=True)
        STAGES[bench.stage](bench, **arguments[job["shape"] == "nano"])
        print(json.dumps({"end": number}), file=events)


# --- 2. the processes ---


class Record:
    """OUT: the rows so far and their tables."""

    def __init__(self, out: Path, shape: str):
        self.out, self.began = out, time.monotonic()
        self.gpu = torch.cuda.get_device_name() if CUDA else "CPU"
        self.shape, path = shape, out / "rows.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else ()
        self.rows = [json.loads(line) for line in lines]
        others = {(row["gpu"], row["shape"]) for row in self.rows} - {(self.gpu, shape)}
        if others:
            gpu, shape = others.pop()
            raise InputError(f"{path} holds rows of {shape} on {gpu}; give another --out.")

    def write(self) -> None:
        """rows.jsonl and table.md."""
        write_jsonl(self.out / "rows.jsonl", self.rows)
        write_text(self.out / "table.md", self.table())

    def done(self) -> set[int]:
        """Numbers of the plan's lines that were done."""
        return {row["number"] for row in self.rows if row.get("done")}

    def add(self, number: int, row: dict) -> None:
        """Write a row and the tables."""
        self.rows.append({"gpu": self.gpu, "shape": self.shape, "number": number} | row)
        self.write()
        if "done" not in row:
            print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)

    def begin(self, number: int) -> None:
        """Forget what an earlier, unfinished try at a line of the plan found."""
        self.rows = [row for row in self.rows if row["number"] != number]

    def table(self) -> str:
        """A table for each stage; what was not measured is empty."""
        rows = [row for row in self.rows if "done" not in row]
        parts = [f"{self.shape} on {self.gpu}\n"]
        for stage in dict.fromkeys(row["stage"] for row in rows):
            mine = [row for row in rows if row["stage"] == stage]
            names = [name for name in dict.fromkeys(name for row in mine for name in row)
                     if name not in ("gpu", "shape", "number", "stage")]
            lines = [names, ["---"] * len(names)]
            lines += [[str(row.get(name, "")) for name in names] for row in mine]
            parts.append(f"\n{stage}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
        return "".join(parts)


def groups(numbers: list[int]) -> list[list[int]]:
    """Lines of the plan that share a process."""
    found = []
    for number in numbers:
        if not found or any(PLAN[i][0].startswith("*") for i in range(found[-1][-1] + 1,
                                                                      number + 1)):
            found.append([])
        found[-1].append(number)
    return found


def run(numbers: list[int], work: Path, settings: Settings, record: Record) -> list[int]:
    """Do these lines of the plan in one process; those that are left if it died or was late."""
    job = {"shape": settings.shape, "work": str(work), "numbers": numbers}
    with open(record.out / "log.txt", "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "data.experiments.speed_gpu", json.dumps(job)], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=True)  # Ctrl-C is for this process
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    running, over = numbers[0], record.began + settings.seconds
    late = time.monotonic() + settings.patience * (START + PLAN[running][1])
    try:
        while True:
            try:
                line = lines.get(timeout=max(0.0, min(late, over) - time.monotonic()))
            except queue.Empty:
                what = "not done when --seconds were over" if late > over else "not done in time"
                record.add(running, {"stage": PLAN[running][0].strip("*"), "note": what})
                return [n for n in numbers if n > running]
            if line is None:
                break
            event = json.loads(line)
            if "row" in event:
                record.add(running, event["row"])
            elif "begin" in event:
                running = event["begin"]
                record.begin(running)
                late = max(late if running == numbers[0] else 0,
                           time.monotonic() + settings.patience * PLAN[running][1])
            else:
                record.add(running, {"stage": PLAN[running][0].strip("*"), "done": True})
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with the drawing processes it started
        code = process.wait()
    left = [n for n in numbers if n not in record.done()]
    if left:
        why = (record.out / "log.txt").read_text().strip().splitlines()[-1:]
        record.add(running, {"stage": PLAN[running][0].strip("*"), "note": f"failed ({code}): "
                             + " ".join(why)[:200].replace("|", "/")})
    return [n for n in left if n != running]


# --- 3. command line ---


def check(settings: Settings) -> list[int]:
    """Lines of the plan to do. Raises InputError for settings that cannot work."""
    if settings.shape not in PRESET:
        raise InputError(f"--shape is one of {', '.join(PRESET)}, not {settings.shape!r}.")
    wanted = settings.stages.split(",") if settings.stages else list(STAGES)
    if unknown := [name for name in wanted if name not in STAGES]:
        raise InputError(f"--stages are some of {','.join(STAGES)}, not {unknown[0]!r}.")
    if not CUDA and settings.shape != "nano":
        raise InputError("PyTorch finds no GPU here, so there is nothing to measure; --shape nano "
                         "runs the same code on a CPU.")
    return [n for n, line in enumerate(PLAN) if line[0].strip("*") in wanted]


@script
def main(argv: list[str] | None = None) -> int | None:
    """Measure what is not in OUT yet; 1 if something is left."""
    settings = parse(Settings, argv, __doc__, child=CHILD)
    if settings.child:
        return measure(json.loads(settings.child))
    numbers, out = check(settings), Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    record = Record(out, settings.shape)
    left = groups([n for n in numbers if n not in record.done()])
    with tempfile.TemporaryDirectory() as work:
        while left and time.monotonic() < record.began + settings.seconds:
            if rest := run(left.pop(0), Path(work), settings, record):
                left.insert(0, rest)
    todo = [PLAN[n][0].strip("*") for n in numbers if n not in record.done()]
    print(f"{time.monotonic() - record.began:.0f} s; tables in {out / 'table.md'}; "
          + (f"left: {', '.join(todo)}" if todo else "nothing is left to measure"))
    return 1 if todo else None


if __name__ == "__main__":
    sys.exit(main())
