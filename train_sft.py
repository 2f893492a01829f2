"""Train the judge: supervised fine-tuning on pairs of pictures with exact labels (Eq. 1-2).

    minimise  - sum over the answer's tokens t of  log p(a_t | reference, rendering, a_<t)

The answer `a` is the verdict's JSON. The prompt (two images and the question) is not in the loss,
but for the extra labels of `--differences`.

    python -m data.build --task chart,table,svg --n 6000 --level 1 --seed 1 --out runs/pairs
    python train_sft.py --data runs/pairs --model data/tiny/base --out runs/judge_sft --differences

It prints a line every `--log_every` steps and ends with F1h, F1s and Sc on the pairs it held out.
OUT gets config.json, log.csv, curves.png, held.jsonl, held.json (scores and the judge's answers),
checkpoint/ (the last) and best/ (by F1h on the held-out pairs). A killed run goes on with
`--resume`, to the same losses. `data.merge` makes a whole model of an adapter. Departures from the
paper:

1. LoRA instead of all weights by default, so that judge, policy and reference policy can share one
   base; `--full` is the paper's way. The presets 2b and 8b put the base into 4 bits (QLoRA) and
   leave the vision tower as it is; `--adapt all-linear` trains that as well.
2. Labels come from measured scenes and not from a stronger model (see data/compare).
3. A share of the samples is image-to-code (`--read`), so that a small model does not forget to
   look.
4. `--differences` also asks, at each image token of the second picture, whether an error touches
   its patch. A model that never learned to compare learns it in minutes from 64 answers a pair,
   and in hours from verdicts alone (figures in data/tiny/README.md).

From data/ come: the run folder (runs), pairs on disk (pairs), what a pair asks and answers and the
tensors of a batch (samples), log and states (sft_run), scores (bench), Muon (optim).
"""
import gc
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from data.runs import RunSettings, flag, parse, run_folder, script, write_jsonl
from data.verdict import InputError


@dataclass
class Settings(RunSettings):
    # what
    data: str = flag("runs/pairs", "folders of pairs, with commas between")
    preset: str = flag("tiny", "tiny, 2b, 4b or 8b")
    model: str = flag(None, "folder or hub name; default: the preset's")
    adapter: str = flag("", "adapter whose training goes on; default, as in the paper: none")
    out: str = flag("runs/judge_sft", "run folder")
    # how
    full: bool = flag(False, "train all weights instead of an adapter")
    rank: int = flag(64, "rank of the LoRA adapter", positive=True)
    adapt: str = flag(None, "layers LoRA trains: all-linear or a regex; default: the preset's")
    quantize: bool = flag(None, "base in 4-bit NF4 (QLoRA); default: as the preset says")
    optim: str = flag("adamw", "adamw; muon for models from scratch")
    lr: float = flag(1e-3, "highest learning rate (8B: 1e-5; LoRA 1e-4)")
    batch: int = flag(32, "pairs an optimiser step", positive=True)
    micro_batch_size: int = flag(None, "pairs at once; None: preset's", "--micro", positive=True)
    steps: int = flag(2000, "optimiser steps", positive=True)
    read: float = flag(0.1, "share of image-to-code samples", most=1)
    differences: bool = flag(False, "learn which patches an error touches, too")
    # bookkeeping
    eval_pairs: int = flag(150, "pairs held out, judged at every state")
    log_every: int = flag(20, "steps between two lines of the log", positive=True)
    save_every: int = flag(250, "steps between two saved states", positive=True)
    seed: int = flag(0, "fixes order and adapter")
    report_to: str = flag("", "tensorboard: the log goes there, too")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # before the slow imports of torch

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from data import bench
from data.models import add_adapter, choose_preset, has_bfloat16, load_model, trainable
from data.optim import MuonAdamW
from data.pairs import Pair, hold_out, read_pairs
from data.report import curves
from data.samples import Sample, code_sample, judge_sample, training_batch
from data.sft_run import Record, last_state, save_judge
from visual_erm import VisualERM

# --- 1. data ---


def read_data(settings: Settings, out: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from and pairs held out, whole families; writes OUT/held.jsonl."""
    pairs = read_pairs(settings.data)
    train, held = hold_out(pairs, settings.eval_pairs)
    if len(train) < settings.batch:
        raise InputError(f"{settings.data} has {len(pairs)} pairs and {len(held)} of them are held "
                         "out, which leaves less than one batch; build more or lower --eval_pairs.")
    rows = [pair.row(out, id=f"{n}/{pair.id}") for n, pair in enumerate(held)]  # folders share ids
    write_jsonl(out / "held.jsonl", rows)
    return train, held


def make_sample(pair: Pair, settings: Settings) -> Sample:
    """(messages, answer): a pair's verdict or, for a share `--read`, the code of a picture."""
    rng = random.Random(f"{settings.seed}/{pair.family}/{pair.id}")
    if rng.random() >= settings.read:
        return judge_sample(pair)
    sides = [side for side in (pair.reference, pair.rendering) if not side.is_policy_output]
    return code_sample(pair.task, rng.choice(sides))


# --- 2. the model ---


def load(settings: Settings, preset: dict) -> tuple:
    """(model, processor): the base with a LoRA adapter or, with `--full`, all of it, to train."""
    name = trainable(settings.model, preset, settings.adapter)
    model, processor = load_model(name, quantize=preset["quantize"],
                                  max_pixels=preset["max_pixels"])
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # with few patches 1.4 times as fast in training
    if settings.full:
        return model.float().requires_grad_(True), processor
    return add_adapter(model, preset, settings.rank, "default", settings.adapter), processor


# --- 3. training (Eq. 1-2) ---


def make_trainer(model, processor, train: list[Pair], callbacks: list, settings: Settings,
                 preset: dict, ranks: int = 1) -> SFTTrainer:
    """trl's trainer. `training_batch` masks the prompt: the loss is the answer's (Eq. 2)."""
    cuda = torch.cuda.is_available()

    def collate(rows):
        # Labels are -100 but on the answer's tokens: over these runs the sum of Eq. 1-2, which trl
        # computes as the cross-entropy of the next token.
        samples = [make_sample(train[row["pair"]], settings) for row in rows]
        return training_batch(processor, samples, settings.differences)

    micro = settings.micro_batch_size
    schedule = dict(max_steps=settings.steps, learning_rate=settings.lr, max_grad_norm=1.0,
                    lr_scheduler_type="cosine", warmup_steps=min(100, settings.steps // 10))
    size = dict(per_device_train_batch_size=micro, max_length=None,
                gradient_accumulation_steps=settings.batch // micro // ranks,
                gradient_checkpointing=cuda or preset["quantize"],
                gradient_checkpointing_kwargs={"use_reentrant": False})
    states = dict(output_dir=str(Path(settings.out, "state")), logging_steps=settings.log_every,
                  save_steps=settings.save_every, save_total_limit=1, report_to=[],
                  disable_tqdm=True)
    data = dict(remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True})
    device = dict(bf16=has_bfloat16(model.device), use_cpu=not cuda)
    if ranks > 1:
        device["ddp_backend"] = "nccl" if cuda else "gloo"
    arguments = SFTConfig(seed=settings.seed, **schedule, **size, **states, **data, **device)
    optimizer = MuonAdamW(model, settings.lr) if settings.optim == "muon" else None
    trainer = SFTTrainer(model=model, processing_class=processor, data_collator=collate,
                         train_dataset=Dataset.from_dict({"pair": range(len(train))}),
                         callbacks=callbacks, optimizers=(optimizer, None), args=arguments)
    trainer.remove_callback(PrinterCallback)  # `Record` prints
    for weight in model.parameters():
        if weight.requires_grad:  # trl makes the adapter of a 4-bit base bfloat16, where a step of
            weight.data = weight.data.float()  # less than 1/256 of a weight is none
    return trainer


# --- 4. command line ---


def check(settings: Settings, preset: dict, ranks: int) -> None:
    """Raises InputError for settings that do not fit together."""
    micro = settings.micro_batch_size
    if settings.batch % (micro * ranks):
        raise InputError(f"--micro_batch_size {micro} times {ranks} processes does not divide "
                         f"--batch {settings.batch}.")
    if settings.optim not in ("adamw", "muon"):
        raise InputError(f"--optim {settings.optim!r} is unknown; choose adamw or muon.")
    if settings.full and settings.adapter:
        raise InputError("--full trains all weights, and --adapter goes on with a few; merge it "
                         "first (python -m data.merge) and give that as --model.")
    if settings.full and preset["quantize"]:
        raise InputError("--full trains all weights, which 4 bits cannot hold; leave out --full or "
                         "--quantize.")


@script
def main(argv: list[str] | None = None) -> None:
    """Read the pairs, load the base, train, save, score."""
    settings = parse(Settings, argv, __doc__)
    preset = dict(choose_preset(settings.preset))
    preset["adapt"] = settings.adapt or preset["adapt"]
    if settings.quantize is None:
        settings.quantize = preset["quantize"] and not settings.full
    preset["quantize"] = settings.quantize
    ranks = int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun
    if settings.micro_batch_size is None:
        settings.micro_batch_size = min(preset["micro_batch_size"], max(1, settings.batch // ranks))
    check(settings, preset, ranks)
    with run_folder(settings) as out:
        train_judge(settings, preset, ranks, out)


def train_judge(settings: Settings, preset: dict, ranks: int, out: Path) -> None:
    """The run, from the last state in `out` with `--resume`."""
    # 1. Data.
    train, held = read_data(settings, out)

    # 2. Model.
    torch.manual_seed(settings.seed)
    model, processor = load(settings, preset)
    trained, weights = model.num_parameters(only_trainable=True), model.num_parameters()
    print(f"{len(train)} pairs to learn, {len(held)} held out; {trained / 1e6:.2f}M of "
          f"{weights / 1e6:.2f}M weights train")

    # 3. Train.
    record = Record(out, settings, VisualERM((model, processor), preset), held)
    trainer = make_trainer(model, processor, train, [record], settings, preset, ranks)
    trainer.train(resume_from_checkpoint=last_state(out / "state") if settings.resume else None)
    if not trainer.is_world_process_zero():
        return

    # 4. Save the judge and score it on the held-out pairs, beside two rules that need no model.
    save_judge(model, processor, out / "checkpoint")
    curves(out / "curves.png", record.log.rows(), log_scale=("loss",), panels={
        "loss of the answer's tokens (nats)": ["loss", "eval_loss"],
        "held-out pairs (of 100)": ["f1h", "f1s", "sc"]})
    if (best := record.best()) and held:
        print(f"{out / 'best'} is the judge of step {best['step']}: F1h {best['f1h']}")
    del model, trainer, record  # or the GPU would have to hold two models
    gc.collect()
    torch.cuda.empty_cache()
    bench.evaluate(out / "held.jsonl", judges=[str(out / "checkpoint")], preset=settings.preset,
                   baselines=True, out=out / "held.json")


if __name__ == "__main__":
    sys.exit(main())
