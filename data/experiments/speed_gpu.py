"""What the big presets need: peak memory, seconds a step and tokens a second, on cards of 24 and 48 GB.

    python -m data.experiments.speed_gpu --shape 8b                              # needs a GPU; call it again until nothing is left
    python -m data.experiments.speed_gpu --shape nano --length 16 --most 16      # the same code on a CPU; figures without meaning
    python -m data.experiments.speed_gpu --shape 8b --cpu --scripts sft --most 1 --minutes 600    # the real shape without a GPU

The weights are random (data/experiments/checkpoint.py), memory and time are not. A row is a process of its own, in which
PyTorch may take no more than the card's decimal GB (24 GB: the 24 GiB of a card, less what the driver and a screen
take). Three scripts are measured, with pictures of `--side` px and answers of `--length` tokens:

sft    a step of train_sft.py: as many pairs at once as the row says (two pictures and a verdict each)
grpo   a step of train_rl.py: `--prompts` pictures x `--group` programs, the judge an adapter of the same base and
       asked about every program for a verdict of half the length; so many programs are sampled at once, and that
       number divided by `--group` are updated at once
judge  VisualERM.judge on so many pairs at once

Each begins with the preset's own setting and doubles it until the card is full; then the next card goes on from there.
OUT/bench.csv and OUT/table.md are written after every row, and rows that are there are not measured again. peak_gb is
what PyTorch's tensors took at most. On a CPU it is the process, with the weights' files as far as they were mapped, and
all that is not in 4 bits is in 32 (on a GPU mostly 16); the seconds say nothing about a GPU.
"""
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from transformers import HfArgumentParser

ROOT = Path(__file__).resolve().parent.parent.parent
PRESET = {"nano": "8b", "2b": "2b", "4b": "8b", "8b": "8b"}
COLUMNS = ("gpu", "shape", "script", "side", "length", "prompts", "group", "card_gb", "at_once", "peak_gb", "s_step",
           "tokens_s", "note")
PROGRAM = ("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 100'><rect x='10' y='10' width='50' height='40' "
           "fill='red'/></svg>")


@dataclass
class Settings:
    shape: str = field(default="8b", metadata={"help": "nano, 2b, 4b or 8b"})
    scripts: str = field(default="sft,grpo,judge", metadata={"help": "what is measured"})
    cards: str = field(default="24,48", metadata={"help": "GB of the cards, smallest first"})
    side: int = field(default=768, metadata={"help": "pixels of a picture's side"})
    length: int = field(default=1024, metadata={"help": "tokens of an answer"})
    prompts: int = field(default=4, metadata={"help": "pictures in a step of grpo"})
    group: int = field(default=8, metadata={"help": "programs for each of them"})
    most: int = field(default=64, metadata={"help": "pairs or programs at once, at most"})
    cpu: bool = field(default=False, metadata={"help": "measure without a GPU: memory in 32 bits, and hours"})
    minutes: float = field(default=9.0, metadata={"help": "stop after so long; a row that is not done is lost"})
    weights: str = field(default="", metadata={"help": "folder for the weights; default: runs/random_SHAPE"})
    out: str = field(default="runs/bench_gpu", metadata={"help": "folder for bench.csv and table.md"})


# ---------------------------------------------------------------------------------- 1. what a process of its own does
def noise(seed, side):
    """A picture in which no two patches are alike."""
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(0, 256, (side, side, 3), generator=generator, dtype=torch.uint8).numpy())


def sft(folder, row, key, work):
    """(seconds of a step, tokens in it): the trainer of train_sft.py on one pair again and again, --micro at once."""
    import train_sft
    from data.samples import judging, training_batch
    from transformers import TrainerCallback

    times, n, steps = [], row["batch"], 4 if torch.cuda.is_available() else 2       # the first makes Adam's moments

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - self.began)

    settings = train_sft.Settings(model=folder, out=str(work), batch=n, micro=n, steps=steps, read=0.0, log_every=1,
                                  save_every=1000)
    model, processor = train_sft.load(settings, row)
    model.get_base_model().set_attn_implementation("sdpa")                                  # on a CPU, too
    text = "x9" * (max(2, key["length"] - 16) // 2)                              # two tokens each; the JSON around: 16
    for number in (0, 1):
        noise(number, key["side"]).save(work / f"{number}.png")
    pair = {"id": "a", "family": "a", "category": "svg", "gt_img_path": str(work / "0.png"),
            "pred_img_path": str(work / "1.png"),
            "human_errors": [{"type": "shape_error", "severity": 1, "location": "all", "description": text}]}
    tokens = int(training_batch(processor, [judging(pair)])["attention_mask"].sum())
    train_sft.make_trainer(model, processor, [pair] * n, [Clock()], settings, row).train()
    return statistics.median(times[1:]), n * tokens


def grpo(folder, row, key, work):
    """(seconds of a step, programs' tokens in it) of train_rl.py itself, without the look at held-out pictures."""
    import train_rl
    from data.build import SIZES
    from data.models import PRESETS

    load, length = train_rl.load_roles, key["length"]

    def load_endless(*arguments):
        """Programs of exactly `length` tokens: the end is a token that sampling leaves out."""
        model, processor, judge = load(*arguments)
        processor.tokenizer.eos_token = "<|video_pad|>"
        return model, processor, judge

    train_rl.load_roles = load_endless
    train_rl.decode = lambda _, answers, __: [PROGRAM] * len(answers)       # random weights write nothing that renders
    train_rl.evaluate = lambda *_: ({"proxy": 0, "fidelity": 0, "greedy": 0}, [("", 0.0, 0.0)])      # one is held out
    SIZES[3] = key["side"]
    PRESETS["tiny"] = row | {"micro": max(1, row["batch"] // key["group"]), "code_tokens": length,
                             "verdict_tokens": max(1, length // 2)}         # under the one name that needs no GPU
    make_adapter(folder, row, work / "judge")
    sys.argv = ["train_rl.py", "--model", folder, "--judge", str(work / "judge"), "--task", "svg", "--level", "3",
                "--reward", "verm", "--prompts", str(key["prompts"]), "--group", str(key["group"]),
                "--images", str(key["prompts"]), "--eval_images", "1", "--eval_every", "1000", "--steps", "1",
                "--lr", "1e-5", "--out", str(work / "rl")]
    train_rl.main()
    last = list(csv.DictReader(open(work / "rl" / "log.csv")))[-1]
    seconds = sum(float(last[f"{part}_s"]) for part in ("sample", "reward", "update"))
    return seconds, key["prompts"] * key["group"] * length


def make_adapter(folder, row, out, rank=64):
    """A judge's adapter with random weights, without the base in memory."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, Qwen3VLForConditionalGeneration

    from data.models import add_adapter

    with torch.device("meta"):
        model = add_adapter(Qwen3VLForConditionalGeneration(AutoConfig.from_pretrained(folder)), row, rank, "default")
    out.mkdir()
    save_file({name: 0.01 * torch.randn(p.shape, dtype=torch.bfloat16)
               for name, p in get_peft_model_state_dict(model).items()}, out / "adapter_model.safetensors")
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = folder, True
    config.save_pretrained(out)


def judge(folder, row, key, _):
    """(seconds, verdicts' tokens) of one batch."""
    from visual_erm import VisualERM

    erm, n, length = VisualERM(folder, row | {"verdict_tokens": 2}), row["batch"], key["length"]
    pairs = [("svg", noise(2 * i, key["side"]), noise(2 * i + 1, key["side"])) for i in range(n)]
    erm.judge(pairs[:1])                                                                      # warm
    erm.row = row | {"verdict_tokens": length}
    erm.model.generation_config.min_new_tokens = length
    began = time.perf_counter()
    erm.judge(pairs)
    return time.perf_counter() - began, n * length


def measure(key, folder):
    """What the parent reads: the figures of a row as a line of JSON."""
    from train_sft import peak_memory
    from data.models import PRESETS

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, key["card_gb"] * 1e9 / total))
    row = PRESETS[PRESET[key["shape"]]] | {"gpu": 0, "batch": key["at_once"]}
    with tempfile.TemporaryDirectory() as work:
        try:
            step = {"sft": sft, "grpo": grpo, "judge": judge}[key["script"]]
            seconds, tokens = step(folder, row, key, Path(work))
        except torch.OutOfMemoryError:
            print(json.dumps({"note": "out of memory"}))
            return
    print(json.dumps({"peak_gb": f"{peak_memory():.1f}", "s_step": f"{seconds:.2f}", "tokens_s": f"{tokens / seconds:.0f}"}))


# ------------------------------------------------------------------------------------------------------- 2. the table
def write(out, rows):
    """bench.csv and the same as Markdown."""
    for name, text in (("bench.csv", "\n".join(",".join(str(row.get(c, "")) for c in COLUMNS) for row in
                                               [dict(zip(COLUMNS, COLUMNS)), *rows])),
                       ("table.md", "\n".join(f"| {' | '.join(str(row.get(c, '')) for c in COLUMNS)} |" for row in
                                              [dict(zip(COLUMNS, COLUMNS)), dict.fromkeys(COLUMNS, "---"), *rows]))):
        temporary = out / f"{name}.tmp"
        temporary.write_text(text + "\n")
        temporary.replace(out / name)


def run(key, folder, seconds):
    """The row of a measurement. Raises subprocess.TimeoutExpired."""
    done = subprocess.run([sys.executable, "-m", "data.experiments.speed_gpu", "measure", json.dumps([key, folder])], capture_output=True,
                          text=True, timeout=seconds, cwd=ROOT)
    if done.returncode:
        why = (done.stderr.strip() or "killed").splitlines()[-1].replace(",", ";").replace("|", "/")[:200]
        return key | {"note": f"failed ({done.returncode}): {why}"}
    return key | json.loads(done.stdout.splitlines()[-1])


def main():
    if sys.argv[1:2] == ["measure"]:
        measure(*json.loads(sys.argv[2]))
        return 0
    (settings,) = HfArgumentParser(Settings, description=__doc__.splitlines()[0]).parse_args_into_dataclasses()
    cards, cuda = settings.cards.split(","), torch.cuda.is_available()
    if (settings.shape not in PRESET or set(settings.scripts.split(",")) - {"sft", "grpo", "judge"}
            or not all(card.isdigit() for card in cards)
            or min(settings.length, settings.side, settings.most, settings.prompts, settings.group - 1) < 1):
        print(f"--shape is one of {', '.join(PRESET)}, --scripts some of sft,grpo,judge, --cards whole numbers with "
              "commas, --group at least 2 and the others at least 1.", file=sys.stderr)
        return 2
    if not cuda and not settings.cpu and settings.shape != "nano":
        print("PyTorch finds no GPU here, so there is nothing to measure. --shape nano runs the same code on a CPU, and"
              " --cpu the shape itself: for hours, and what it takes there in 32 bits is more than on a GPU.")
        return 0
    folder, out = Path(settings.weights or f"runs/random_{settings.shape}").resolve(), Path(settings.out)
    if not (folder / "model.safetensors.index.json").is_file():
        from data.experiments import checkpoint

        if checkpoint.main(["--shape", settings.shape, "--out", str(folder)]):
            return 2
    out.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(open(out / "bench.csv"))) if (out / "bench.csv").is_file() else []
    rows = [row for row in rows if not row["note"].startswith("failed")]                    # to be tried again
    began, measured = time.time(), 0                                                       # the weights are there
    gpu = torch.cuda.get_device_name() if cuda else "CPU"
    start = {"sft": 1, "grpo": settings.group, "judge": min(8, settings.most)}
    left = [(script, 0, start[script]) for script in settings.scripts.split(",")]           # breadth first
    while left:
        (script, card, at_once), *left = left
        prompts, group = (settings.prompts, settings.group) if script == "grpo" else ("", "")
        key = {"gpu": gpu, "shape": settings.shape, "script": script, "side": settings.side, "length": settings.length,
               "prompts": prompts, "group": group, "card_gb": int(cards[card]) if cuda else "", "at_once": at_once}
        row = next((row for row in rows if all(row[c] == str(value) for c, value in key.items())), None)
        if not row:
            remaining = 60 * settings.minutes - (time.time() - began)
            try:
                if remaining < 20:
                    raise subprocess.TimeoutExpired("", 0)
                row = {c: str(value) for c, value in run(key, str(folder), remaining).items()}
            except subprocess.TimeoutExpired:
                print(f"{1 + len(left)} or more rows are left; call it again to go on." if measured else
                      "A row takes longer than --minutes; raise it.")
                return 0
            measured += 1
            rows.append(row)
            write(out, rows)
            print(" ".join(f"{c} {row[c]}" for c in COLUMNS if row.get(c)), flush=True)
        most = min(settings.most, prompts * group) if script == "grpo" else settings.most          # there are no more
        if not row.get("note") and 2 * at_once <= most:
            left.append((script, card, 2 * at_once))
        elif row.get("note") == "out of memory" and card + 1 < len(cards):
            left.append((script, card + 1, at_once))
    print(f"Nothing is left to measure; see {out / 'table.md'}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped; call it again to go on.")
