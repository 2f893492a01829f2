"""Train the judge: supervised fine-tuning on pairs of pictures with exact labels (Eq. 1-2 of the paper).

    minimise  - sum over the answer's tokens t of  log p(a_t | reference, rendering, a_<t)

The answer `a` is the verdict's JSON; the prompt (two images and the question) is not part of the loss.

    python -m data.build --task chart,table,svg --n 6000 --level 1 --seed 1 --out runs/pairs
    python train_sft.py --data runs/pairs --model data/tiny/base --out runs/judge --differences

It prints a line of loss every `--log_every` steps and finishes with F1h, F1s and Sc on the pairs it held out; RUN gets
config.json, log.csv, curves.png, held.jsonl, held.json (its scores) with the judge's answers, and checkpoint/. A killed
run goes on with `--resume`, to the same losses. Departures from the paper:

1. LoRA instead of full fine-tuning by default, so that judge, policy and reference can share one base; `--full` is
   the paper's way and writes a complete model. `--quantize` puts the base into 4 bits (QLoRA).
2. Labels come from measured scenes and not from a stronger model (see data/compare.py).
3. A share of the samples still is image-to-code (`--read`), so that a small model does not forget how to look.
4. With `--differences` the loss also asks, at each image token of the second picture, whether its patch differs from
   the first picture's. A model that never learned to compare two pictures learns that in minutes from 64 answers a
   pair, and in hours from verdicts alone (figures in data/tiny/README.md).
"""
import csv
import json
import os
import random
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tqdm import tqdm
from transformers import HfArgumentParser, TrainerCallback
from trl import SFTConfig, SFTTrainer

from data import bench
from data.batches import judging, reading, training_batch
from data.build import hold_out
from data.muon import MuonAdamW
from visual_erm import InputError, VisualERM, choose_preset, has_bfloat16, load_model, read_pairs


COLUMNS = ("step", "loss", "lr", "samples_per_s", "peak_gb", "f1h", "f1s", "sc")


@dataclass
class Settings:
    # what
    data: str = field(default="runs/pairs", metadata={"help": "folders made by data.build, separated by commas"})
    preset: str = field(default="tiny", metadata={"help": "row of visual_erm.PRESETS: tiny, 2b or 8b"})
    model: str = field(default=None, metadata={"help": "Qwen3-VL folder or hub name; default: the preset's model"})
    out: str = field(default="runs/judge_sft", metadata={"help": "run folder; the judge is written to OUT/checkpoint"})
    # how
    full: bool = field(default=False, metadata={"help": "train all weights instead of a LoRA adapter"})
    rank: int = field(default=64, metadata={"help": "rank of the LoRA adapter"})
    quantize: bool = field(default=False, metadata={"help": "base in 4-bit NF4 (QLoRA)"})
    optim: str = field(default="adamw", metadata={"help": "adamw, or muon for models trained from scratch"})
    lr: float = field(default=1e-3, metadata={"help": "highest learning rate (8B: 1e-5 full, 1e-4 LoRA)"})
    batch: int = field(default=32, metadata={"help": "pairs an optimiser step"})
    micro: int = field(default=32, metadata={"help": "pairs held in memory at once; divides --batch"})
    steps: int = field(default=2000, metadata={"help": "optimiser steps"})
    read: float = field(default=0.1, metadata={"help": "share of image-to-code samples"})
    differences: bool = field(default=False, metadata={"help": "also learn which patches of the two pictures differ"})
    # bookkeeping
    eval_pairs: int = field(default=150, metadata={"help": "pairs held out and judged with every saved state"})
    log_every: int = field(default=20, metadata={"help": "steps between two lines of the log"})
    save_every: int = field(default=250, metadata={"help": "steps between two saved states"})
    seed: int = field(default=0, metadata={"help": "fixes order and adapter"})
    resume: bool = field(default=False, metadata={"help": "go on with the last saved state in OUT"})


def sample(pair, settings):
    """(messages, answer) of a pair: its verdict or, with probability `--read`, the code of one of its pictures."""
    rng = random.Random(f"{settings.seed}/{pair['family']}/{pair['id']}")
    return reading(pair, rng.choice(("gt", "pred"))) if rng.random() < settings.read else judging(pair)


class Log(TrainerCallback):
    """A console line and a row of log.csv every `log_every` steps; with every saved state the judge is scored."""

    def __init__(self, out, settings, judge, held):
        self.path, self.settings, self.judge, self.held = out / "log.csv", settings, judge, held

    def on_train_begin(self, args, state, control, **_):
        if not state.is_world_process_zero:
            return
        self.began, self.first = time.time(), state.global_step
        rows = self.path.read_text().splitlines() if self.settings.resume and self.path.exists() else []
        kept = [row for row in rows[1:] if int(row.split(",")[0]) <= state.global_step]    # rows after the state go
        self.path.write_text("\n".join([",".join(COLUMNS), *kept]) + "\n")

    def write(self, **row):
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        tqdm.write(" ".join(f"{key} {value}" for key, value in row.items()))

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs and state.is_world_process_zero:
            rate = (state.global_step - self.first) * self.settings.batch / (time.time() - self.began)
            self.write(step=state.global_step, loss=f"{logs['loss']:.5f}", lr=f"{logs['learning_rate']:.2e}",
                       samples_per_s=f"{rate:.1f}", peak_gb=f"{peak_memory():.2f}")

    def on_save(self, args, state, control, model=None, **_):
        if not state.is_world_process_zero:
            return
        model.eval()
        verdicts = self.judge.judge([(pair.task, *pair.images()) for pair in self.held])
        model.train()
        scores = bench.report("", bench.match_all(self.held, verdicts))["scores"]["average"]
        self.write(step=state.global_step, **{k: f"{100 * (scores[k] or 0):.1f}" for k in ("f1h", "f1s", "sc")})


def peak_memory():
    """Highest memory use so far in GB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def add_adapter(model, rank):
    """The judge's LoRA adapter on every linear layer of language model and vision tower."""
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear"),
                          adapter_name="default")


def last_state(folder):
    """The newest state in `folder` that was written to its end, or None. trainer_state.json is written last."""
    for state in sorted(Path(folder).glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        try:
            json.loads((state / "trainer_state.json").read_text())
            return str(state)
        except (OSError, ValueError):
            continue                                                           # killed while it was being written
    return None


def plot(log, path):
    """Loss and held-out scores against steps, from log.csv."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = list(csv.DictReader(open(log)))
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for ax, columns in ((left, ["loss"]), (right, ["f1h", "f1s", "sc"])):
        for column in columns:
            points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
            ax.plot(*zip(*points), label=column)
        ax.set_xlabel("step")
        ax.legend()
    left.set(yscale="log", title="loss of the answer's tokens (nats)")
    right.set(title="held-out pairs (of 100)", ylim=(0, 100))
    fig.savefig(path, dpi=100)
    plt.close(fig)


def main():
    (settings,) = HfArgumentParser(Settings).parse_args_into_dataclasses()
    ranks = int(os.environ.get("WORLD_SIZE", 1))                                                    # set by torchrun
    if settings.batch % (settings.micro * ranks):
        raise InputError(f"--micro {settings.micro} times {ranks} processes does not divide --batch {settings.batch}.")
    if settings.optim not in ("adamw", "muon"):
        raise InputError(f"--optim {settings.optim!r} is unknown; choose adamw or muon.")
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")

    # 1. Data: whole families (a program and its damaged copies) are held out.
    pairs = read_pairs(settings.data)
    train, held = hold_out(pairs, settings.eval_pairs)
    if len(train) < settings.batch:
        raise InputError(f"{settings.data} has {len(pairs)} pairs and {len(held)} of them are held out, which leaves "
                         "less than one batch; build more or lower --eval_pairs.")
    paths = [{key: os.path.abspath(pair[key]) for key in ("gt_img_path", "pred_img_path")} for pair in held]
    lines = [json.dumps(pair | path | {"id": f"{n}/{pair['id']}"}) + "\n"           # two folders may use the same ids
             for n, (pair, path) in enumerate(zip(held, paths))]
    temporary = out / f"held.{os.getpid()}.tmp"                          # several processes write the same rows at once
    temporary.write_text("".join(lines))
    temporary.replace(out / "held.jsonl")

    # 2. Model: the base with a LoRA adapter, or all of its weights. Weights that train are float32.
    torch.manual_seed(settings.seed)
    row = choose_preset(settings.preset) | {"quantize": settings.quantize}
    model, processor = load_model(settings.model or row["model"], quantize=row["quantize"],
                                  max_pixels=row["max_pixels"])
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")     # with few patches 1.4 times as fast in training as the fused kernel
    if settings.full:
        model.float().requires_grad_(True)
    else:
        model = add_adapter(model, settings.rank)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"{len(train)} pairs to learn, {len(held)} held out; {trained / 1e6:.2f}M of "
          f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M weights train")

    # 3. Train: loss on the answer's tokens only (Eq. 2); `training_batch` masks the prompt.
    cuda = torch.cuda.is_available()
    trainer = SFTTrainer(
        model=model, processing_class=processor, train_dataset=Dataset.from_dict({"pair": range(len(train))}),
        data_collator=lambda rows: training_batch(processor, [sample(train[row["pair"]], settings) for row in rows],
                                                  settings.differences),
        callbacks=[Log(out, settings, VisualERM((model, processor), row), bench.read_pairs(out / "held.jsonl"))],
        optimizers=(MuonAdamW(model, settings.lr) if settings.optim == "muon" else None, None),
        args=SFTConfig(
            output_dir=str(out / "state"), max_steps=settings.steps, per_device_train_batch_size=settings.micro,
            gradient_accumulation_steps=settings.batch // settings.micro // ranks, learning_rate=settings.lr,
            lr_scheduler_type="cosine", warmup_steps=min(100, settings.steps // 10), max_grad_norm=1.0,
            bf16=has_bfloat16(model.device), gradient_checkpointing=cuda or settings.quantize,
            gradient_checkpointing_kwargs={"use_reentrant": False}, logging_steps=settings.log_every,
            save_steps=settings.save_every, save_total_limit=1, report_to=[], seed=settings.seed, max_length=None,
            remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True}, use_cpu=not cuda,
            ddp_backend=("nccl" if cuda else "gloo") if ranks > 1 else None))
    trainer.train(resume_from_checkpoint=last_state(out / "state") if settings.resume else None)

    if not trainer.is_world_process_zero():
        return 0

    # 4. Save the judge and score it on the held-out pairs, beside two rules that need no model.
    model.config.use_cache = True                                      # the trainer switched it off for its own forward
    model.to(torch.bfloat16).save_pretrained(out / "checkpoint")
    processor.save_pretrained(out / "checkpoint")
    plot(out / "log.csv", out / "curves.png")
    return bench.main([str(out / "held.jsonl"), "--judge", str(out / "checkpoint"), "--baselines", "--preset",
                       settings.preset, "--out", str(out / "held.json")])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
