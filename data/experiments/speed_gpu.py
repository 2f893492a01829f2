"""What the big presets need on cards of 24 and 48 GB: memory, seconds a step, tokens a second.

    python -m data.experiments.speed_gpu --shape 8b                          # needs a GPU
    python -m data.experiments.speed_gpu --shape nano --length 16 --most 16  # on a CPU
    python -m data.experiments.speed_gpu --shape 8b --cpu --scripts sft --most 1 --minutes 600

The first stops after `--minutes`; the same command goes on until nothing is left. The second runs
the same code on a CPU, the third the real shape. The weights are random
(data/experiments/checkpoint.py), memory and time are not. A row is a process of its own, in which
PyTorch may take no more than the card's decimal GB (24 GB: the 24 GiB of a card, less what the
driver and a screen take). Three scripts are measured, with pictures of `--side` px and answers of
`--length` tokens:

sft    a step of train_sft.py: as many pairs at once as the row says (two pictures and a verdict)
grpo   a step of train_rl.py: `--prompts` pictures x `--group` programs. The judge is an adapter of
       the same base and writes a verdict of half the length about every program. So many programs
       are sampled at once, and that number divided by `--group` are updated at once
judge  VisualERM.judge on so many pairs at once

Each begins with a small number and doubles it until the card is full; then the next card goes on
from there. OUT/bench.csv and OUT/table.md are written after every row, and rows that are there
are not measured again. peak_gb is what PyTorch's tensors took at most. On a CPU it is the
process, with the weights' files as far as they were mapped, and all that is not in 4 bits is in
32 (on a GPU mostly 16); the seconds say nothing about a GPU.
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, read_csv, script, write_csv, write_text
from data.verdict import Discrepancy, InputError, Verdict


@dataclass
class Settings:
    shape: str = flag("8b", "nano, 2b, 4b or 8b")
    scripts: str = flag("sft,grpo,judge", "what is measured")
    cards: str = flag("24,48", "GB of the cards, smallest first")
    side: int = flag(768, "pixels of a picture's side")
    length: int = flag(1024, "tokens of an answer")
    prompts: int = flag(4, "pictures in a step of grpo")
    group: int = flag(8, "programs for each of them")
    most: int = flag(64, "pairs or programs at once, at most")
    cpu: bool = flag(False, "measure without a GPU: memory in 32 bits, and hours")
    minutes: float = flag(9.0, "stop after so long; a row that is not done is lost")
    weights: str = flag("", "folder for the weights; default: runs/random_SHAPE")
    out: str = flag("runs/bench_gpu", "folder for bench.csv and table.md")


ROW = dict(nargs="?", help="a row as JSON: measure only that, in this process; default: all rows")
if __name__ == "__main__":
    parse(Settings, None, __doc__, row=ROW)  # a mistyped flag is told before torch is loaded

import torch
from PIL import Image

from data.models import PRESETS
from data.pairs import Example, Pair, Picture

ROOT = Path(__file__).resolve().parent.parent.parent
PRESET = {"nano": "8b", "2b": "2b", "4b": "4b", "8b": "8b"}  # by shape
COLUMNS = ("gpu", "shape", "script", "side", "length", "prompts", "group", "card_gb", "at_once",
           "peak_gb", "s_step", "tokens_s", "note")
PROGRAM = ("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 100'>"
           "<rect x='10' y='10' width='50' height='40' fill='red'/></svg>")
FULL = "out of memory"  # the note of a row


# --- 1. what a process of its own does ---
# `key` is the part of a row that says what to measure; `work` is an empty folder.


def noise(seed: int, side: int) -> Image.Image:
    """A picture in which no two patches are alike."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (side, side, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def sft(folder: str, preset: dict, key: dict, work: Path) -> tuple[float, int]:
    """(seconds of a step, tokens in it) of the trainer of train_sft.py; all pairs are the same."""
    from transformers import TrainerCallback

    import train_sft
    from data.samples import judge_sample, training_batch

    times, n = [], key["at_once"]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - self.began)

    steps = 4 if torch.cuda.is_available() else 2  # the first makes Adam's moments
    settings = train_sft.Settings(model=folder, out=str(work), batch=n, micro_batch_size=n,
                                  steps=steps, read=0.0, log_every=1, save_every=1000)
    model, processor = train_sft.load(settings, preset)
    model.get_base_model().set_attn_implementation("sdpa")  # on a CPU, too
    text = "x9" * (max(2, key["length"] - 16) // 2)  # two tokens each; the JSON around them has 16
    pictures = [Picture(work / "0.png"), Picture(work / "1.png")]
    for number, picture in enumerate(pictures):
        noise(number, key["side"]).save(picture.path)
    truth = Verdict("svg", [Discrepancy("shape_error", 1, "all", text)])
    pair = Pair("svg", *pictures, truth, id="a", family="a")
    batch = training_batch(processor, [judge_sample(pair)])
    train_sft.make_trainer(model, processor, [pair] * n, [Clock()], settings, preset).train()
    return statistics.median(times[1:]), n * int(batch["attention_mask"].sum())


def grpo(folder: str, preset: dict, key: dict, work: Path) -> tuple[float, int]:
    """(seconds of a step, programs' tokens in it) of train_rl.py."""
    import train_rl
    from data.experiments.speed_grpo import load_endless, timed_step

    length, group, prompts = key["length"], key["group"], key["prompts"]
    preset = preset | {"code_tokens": length, "verdict_tokens": max(1, length // 2)}
    make_adapter(folder, preset, work / "judge")
    settings = train_rl.Settings(
        model=folder, judge=str(work / "judge"), reward="verm", lr=1e-5, prompts_per_step=prompts,
        num_generations=group, micro_batch_size=max(1, key["at_once"] // group))
    policy, judge, optimizer = load_endless(settings, preset)
    pictures = [Example("svg", noise(i, key["side"]), key["side"]) for i in range(prompts)]
    seconds = timed_step(policy, judge, optimizer, pictures, settings, preset, PROGRAM)
    return seconds, prompts * group * length


def make_adapter(folder: str, preset: dict, out: Path, rank: int = 64) -> None:
    """Write a judge's adapter with random weights, without the base in memory."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, Qwen3VLForConditionalGeneration

    from data.models import add_adapter

    with torch.device("meta"):
        base = Qwen3VLForConditionalGeneration(AutoConfig.from_pretrained(folder))
        model = add_adapter(base, preset, rank, "default")
    weights = {}
    for name, p in get_peft_model_state_dict(model).items():
        weights[name] = 0.01 * torch.randn(p.shape, dtype=torch.bfloat16)
    out.mkdir()
    save_file(weights, out / "adapter_model.safetensors")
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = folder, True
    config.save_pretrained(out)


def judge(folder: str, preset: dict, key: dict, work: Path) -> tuple[float, int]:
    """(seconds, verdicts' tokens) of one batch."""
    from visual_erm import VisualERM

    n, length, side = key["at_once"], key["length"], key["side"]
    erm = VisualERM(folder, preset | {"verdict_tokens": 2})
    pairs = [("svg", noise(2 * i, side), noise(2 * i + 1, side)) for i in range(n)]
    erm.judge(pairs[:1])  # warm
    erm.preset = preset | {"verdict_tokens": length}
    erm.model.generation_config.min_new_tokens = length
    began = time.perf_counter()
    erm.judge(pairs)
    return time.perf_counter() - began, n * length


STEPS = {"sft": sft, "grpo": grpo, "judge": judge}


def measure(key: dict, folder: str) -> dict:
    """The figures of a row."""
    from data.models import peak_memory

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, key["card_gb"] * 1e9 / total))
    at_once = {"sample_batch": key["at_once"], "judge_batch": key["at_once"]}
    preset = PRESETS[PRESET[key["shape"]]] | at_once
    with tempfile.TemporaryDirectory() as work:
        try:
            seconds, tokens = STEPS[key["script"]](folder, preset, key, Path(work))
        except torch.OutOfMemoryError:
            return {"note": FULL}
    return {"peak_gb": f"{peak_memory():.1f}", "s_step": f"{seconds:.2f}",
            "tokens_s": f"{tokens / seconds:.0f}"}


# --- 2. the rows ---


def write(out: Path, rows: list[dict]) -> None:
    """bench.csv and the same as Markdown."""
    write_csv(out / "bench.csv", COLUMNS, rows)
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [[str(row.get(column, "")) for column in COLUMNS] for row in rows]
    write_text(out / "table.md", "".join(f"| {' | '.join(line)} |\n" for line in lines))


def run(key: dict, folder: str, seconds: float) -> dict | None:
    """The row of a measurement in a process of its own; None if it was not done in time."""
    if seconds < 20:
        return None
    words = ["-m", "data.experiments.speed_gpu", json.dumps({"key": key, "folder": folder})]
    try:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True,
                              timeout=seconds, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        why = (done.stderr.strip() or "killed").splitlines()[-1].replace("|", "/")[:200]
        return key | {"note": f"failed ({done.returncode}): {why}"}
    return key | json.loads(done.stdout.splitlines()[-1])


def make_key(settings: Settings, script: str, card: str, at_once: int) -> dict:
    """The part of a row that says what to measure."""
    cuda, with_groups = torch.cuda.is_available(), script == "grpo"
    return {"gpu": torch.cuda.get_device_name() if cuda else "CPU", "shape": settings.shape,
            "script": script, "side": settings.side, "length": settings.length,
            "prompts": settings.prompts if with_groups else "",
            "group": settings.group if with_groups else "",
            "card_gb": int(card) if cuda else "", "at_once": at_once}


def find(rows: list[dict], key: dict) -> dict | None:
    """The row that was measured already."""
    for row in rows:
        if all(row[column] == str(value) for column, value in key.items()):
            return row
    return None


def measure_all(settings: Settings, folder: str, out: Path) -> None:
    """Measure what is not in OUT/bench.csv yet, until nothing is left or the time is over."""
    path, cards = out / "bench.csv", settings.cards.split(",")
    rows = read_csv(path) if path.is_file() else []
    rows = [row for row in rows if not row["note"].startswith("failed")]  # to be tried again
    began, measured = time.time(), 0
    start = {"sft": 1, "grpo": settings.group, "judge": min(8, settings.most)}
    left = [(script, 0, start[script]) for script in settings.scripts.split(",")]
    while left:
        (script, card, at_once), *left = left  # breadth first: before twice as many, all scripts
        key = make_key(settings, script, cards[card], at_once)
        row = find(rows, key)
        if not row:
            row = run(key, folder, 60 * settings.minutes - (time.time() - began))
            if not row and measured:
                print(f"{1 + len(left)} or more rows are left; call it again to go on.")
                return
            if not row:
                print("A row takes longer than --minutes; raise it.")
                return
            row = {column: str(value) for column, value in row.items()}
            measured += 1
            rows.append(row)
            write(out, rows)
            print(" ".join(f"{c} {row[c]}" for c in COLUMNS if row.get(c)), flush=True)
        most = settings.most
        if script == "grpo":
            most = min(most, settings.prompts * settings.group)  # there are no more
        if not row.get("note") and 2 * at_once <= most:
            left.append((script, card, 2 * at_once))
        elif row.get("note") == FULL and card + 1 < len(cards):
            left.append((script, card + 1, at_once))
    print(f"Nothing is left to measure; see {out / 'table.md'}.")


# --- 3. command line ---


def check(settings: Settings) -> None:
    """Raises InputError for settings that cannot work."""
    if settings.shape not in PRESET:
        raise InputError(f"--shape is one of {', '.join(PRESET)}, not {settings.shape!r}.")
    if not set(settings.scripts.split(",")) <= set(STEPS):
        raise InputError(f"--scripts are some of {','.join(STEPS)}, not {settings.scripts!r}.")
    if not all(card.isdigit() for card in settings.cards.split(",")):
        raise InputError(f"--cards are whole numbers with commas, not {settings.cards!r}.")
    if settings.group < 2:
        raise InputError("--group must be at least 2: a program is compared with its siblings.")
    for name in ("length", "side", "most", "prompts"):
        if getattr(settings, name) < 1:
            raise InputError(f"--{name} must be at least 1.")


@script
def main(argv: list[str] | None = None) -> int | None:
    """Write the weights if they are missing, measure, write the table."""
    settings = parse(Settings, argv, __doc__, row=ROW)
    if settings.row:
        print(json.dumps(measure(**json.loads(settings.row))))
        return None
    check(settings)
    if not torch.cuda.is_available() and not settings.cpu and settings.shape != "nano":
        print("PyTorch finds no GPU here, so there is nothing to measure. --shape nano runs the "
              "same code on a CPU, and --cpu the shape itself: for hours, and what it takes there "
              "in 32 bits is more than on a GPU.")
        return None
    folder = Path(settings.weights or f"runs/random_{settings.shape}").resolve()
    if not (folder / "model.safetensors.index.json").is_file():
        from data.experiments import checkpoint

        if failed := checkpoint.main(["--shape", settings.shape, "--out", str(folder)]):
            return failed
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    measure_all(settings, str(folder), out)
    return None


if __name__ == "__main__":
    sys.exit(main())
