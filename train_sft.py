"""Train the judge: supervised fine-tuning on pairs of pictures with exact labels (Eq. 1-2 of the paper).

    minimise  - sum over the answer's tokens t of  log p(a_t | reference, rendering, a_<t)

The answer `a` is the verdict's JSON; the prompt (two images and the question) is not part of the loss.

    python -m data.build --task chart,table,svg --n 6000 --level 1 --seed 1 --out runs/pairs
    python train_sft.py --data runs/pairs --model data/tiny/base --out runs/judge --differences

It prints a line of loss every `--log_every` steps and finishes with F1h, F1s and Sc on the pairs it held out; RUN gets
config.json, log.csv, curves.png, held.jsonl, held.json (its scores) with the judge's answers, and checkpoint/. A killed
run goes on with `--resume`, to the same losses. Departures from the paper:

1. LoRA instead of full fine-tuning by default, so that judge, policy and reference can share one base; `--full` is
   the paper's way and writes a complete model. The presets 2b and 8b put the base into 4 bits (QLoRA) and leave the
   vision tower as it is; `--adapt all-linear` trains that as well.
2. Labels come from measured scenes and not from a stronger model (see data/compare).
3. A share of the samples still is image-to-code (`--read`), so that a small model does not forget how to look.
4. With `--differences` the loss also asks, at each image token of the second picture, whether its patch differs from
   the first picture's. A model that never learned to compare two pictures learns that in minutes from 64 answers a
   pair, and in hours from verdicts alone (figures in data/tiny/README.md).
"""
import csv
import gc
import json
import os
import random
import resource
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import HfArgumentParser, TrainerCallback
from trl import SFTConfig, SFTTrainer

from data import bench
from data.bench.__main__ import main as score_judge
from data.samples import judging, own, reading, training_batch
from data.build import hold_out
from data.optim import MuonAdamW
from data.verdict import InputError
from data.models import add_adapter, choose_preset, has_bfloat16, load_model, trainable
from data.runs import same_settings
from data.pairs import read_pairs
from visual_erm import VisualERM


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
    adapt: str = field(default=None, metadata={"help": "layers LoRA trains: all-linear or a regex; default: preset's"})
    quantize: bool = field(default=None, metadata={"help": "base in 4-bit NF4 (QLoRA); default: as the preset says"})
    optim: str = field(default="adamw", metadata={"help": "adamw, or muon for models trained from scratch"})
    lr: float = field(default=1e-3, metadata={"help": "highest learning rate (8B: 1e-5 full, 1e-4 LoRA)"})
    batch: int = field(default=32, metadata={"help": "pairs an optimiser step"})
    micro: int = field(default=None, metadata={"help": "pairs in memory at once, divides --batch; default: preset's"})
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
    sides = [side for side in ("gt", "pred") if not own(pair, side)]
    return reading(pair, rng.choice(sides)) if rng.random() < settings.read else judging(pair)


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


def read_data(settings, out):
    """Pairs to learn from and pairs held out, whole families (a program and its damaged copies); writes held.jsonl."""
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
    return train, held


def load(settings, row):
    """(model, processor): the base with a LoRA adapter, or with `--full` all of its weights in float32, to train."""
    model, processor = load_model(trainable(settings.model or row["model"]), quantize=row["quantize"],
                                  max_pixels=row["max_pixels"])
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")     # with few patches 1.4 times as fast in training as the fused kernel
    if settings.full:
        return model.float().requires_grad_(True), processor
    return add_adapter(model, row, settings.rank, "default"), processor


def make_trainer(model, processor, train, callbacks, settings, row, ranks=1):
    """trl's trainer. Loss on the answer's tokens only (Eq. 2), for `training_batch` masks the prompt; trl meets the
    vocabulary with few tokens at a time."""
    out, cuda = Path(settings.out), torch.cuda.is_available()
    trainer = SFTTrainer(
        model=model, processing_class=processor, train_dataset=Dataset.from_dict({"pair": range(len(train))}),
        data_collator=lambda rows: training_batch(processor, [sample(train[row["pair"]], settings) for row in rows],
                                                  settings.differences),
        callbacks=callbacks,
        optimizers=(MuonAdamW(model, settings.lr) if settings.optim == "muon" else None, None),
        args=SFTConfig(
            output_dir=str(out / "state"), max_steps=settings.steps, per_device_train_batch_size=settings.micro,
            gradient_accumulation_steps=settings.batch // settings.micro // ranks, learning_rate=settings.lr,
            lr_scheduler_type="cosine", warmup_steps=min(100, settings.steps // 10), max_grad_norm=1.0,
            bf16=has_bfloat16(model.device), gradient_checkpointing=cuda or row["quantize"],
            gradient_checkpointing_kwargs={"use_reentrant": False}, logging_steps=settings.log_every,
            save_steps=settings.save_every, save_total_limit=1, report_to=[], seed=settings.seed, max_length=None,
            remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True}, use_cpu=not cuda,
            ddp_backend=("nccl" if cuda else "gloo") if ranks > 1 else None))
    for p in model.parameters():
        if p.requires_grad:                        # trl makes the adapter of a 4-bit base bfloat16, where a step of
            p.data = p.data.float()                # less than 1/256 of a weight is none
    return trainer


def main():
    (settings,) = HfArgumentParser(Settings).parse_args_into_dataclasses()
    row = choose_preset(settings.preset)
    row = row | {"adapt": settings.adapt or row["adapt"], "quantize": row["quantize"] and not settings.full
                 if settings.quantize is None else settings.quantize}
    ranks = int(os.environ.get("WORLD_SIZE", 1))                                                    # set by torchrun
    if settings.micro is None:
        settings.micro = min(row["micro"], max(1, settings.batch // ranks))
    if settings.micro < 1 or settings.batch % (settings.micro * ranks):
        raise InputError(f"--micro {settings.micro} times {ranks} processes does not divide --batch {settings.batch}.")
    if settings.optim not in ("adamw", "muon"):
        raise InputError(f"--optim {settings.optim!r} is unknown; choose adamw or muon.")
    if settings.full and row["quantize"]:
        raise InputError("--full trains all weights, which 4 bits cannot hold; leave out --full or --quantize.")
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    if settings.resume:
        same_settings(out, settings)
    elif int(os.environ.get("RANK", 0)) == 0:
        shutil.rmtree(out / "state", ignore_errors=True)           # or a later --resume could finish the run before
    (out / "config.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")

    # 1. Data.
    train, held = read_data(settings, out)

    # 2. Model.
    torch.manual_seed(settings.seed)
    model, processor = load(settings, row)
    trained, weights = model.num_parameters(only_trainable=True), model.num_parameters()      # 4-bit ones counted right
    print(f"{len(train)} pairs to learn, {len(held)} held out; {trained / 1e6:.2f}M of {weights / 1e6:.2f}M weights "
          "train")

    # 3. Train.
    log = Log(out, settings, VisualERM((model, processor), row), bench.read_pairs(out / "held.jsonl"))
    trainer = make_trainer(model, processor, train, [log], settings, row, ranks)
    trainer.train(resume_from_checkpoint=last_state(out / "state") if settings.resume else None)
    if not trainer.is_world_process_zero():
        return 0

    # 4. Save the judge and score it on the held-out pairs, beside two rules that need no model.
    model.config.use_cache = True                                      # the trainer switched it off for its own forward
    model.to(torch.bfloat16).save_pretrained(out / "checkpoint")
    processor.save_pretrained(out / "checkpoint")
    plot(out / "log.csv", out / "curves.png")
    del model, trainer, log                                            # or the GPU would have to hold two models
    gc.collect()
    torch.cuda.empty_cache()
    return score_judge([str(out / "held.jsonl"), "--judge", str(out / "checkpoint"), "--baselines", "--preset",
                       settings.preset, "--out", str(out / "held.json")])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
    except torch.OutOfMemoryError as error:
        print(f"The GPU's memory is full: lower --micro, --rank or the preset's max_pixels ({error})", file=sys.stderr)
    sys.exit(2)
