"""What a run of train_sft.py writes down: log, held-out scores, checkpoints."""
import json
import shutil
import time
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from tqdm import tqdm
from transformers import ProcessorMixin, ProgressCallback

from data import bench
from data.models import peak_memory
from data.pairs import Pair
from data.runs import Log
from data.samples import judge_sample, training_batch
from visual_erm import VisualERM

# loss: of the answers' tokens, the mean of the steps since the last row, nats. lr: the learning
# rate. samples_per_s: since the start. peak_gb: the highest use of memory. With every state, on the
# held-out pairs: eval_loss (of the verdicts' tokens alone, without --read and --differences), and
# F1h, F1s and Sc of the verdicts that are written, of 100.
COLUMNS = ("step", "loss", "lr", "samples_per_s", "peak_gb", "eval_loss", "f1h", "f1s", "sc")


class Record(ProgressCallback):
    """The bar; a row of log.csv every `log_every` steps; a score with every saved state.

    OUT/best gets the judge with the highest F1h so far. `settings`: those of train_sft.py.
    """

    def __init__(self, out: Path, settings, judge: VisualERM, held: list[Pair]):
        super().__init__()
        self.path, self.settings, self.judge, self.held = out / "log.csv", settings, judge, held

    def on_train_begin(self, args, state, control, **rest):
        super().on_train_begin(args, state, control)
        if state.is_world_process_zero:
            self.began, self.first = time.time(), state.global_step
            self.log = Log(self.path, COLUMNS, self.first or -1, self.settings.report_to)
            scored = any(row["f1h"] and row["step"] == str(self.first) for row in self.log.rows())
            if self.first and not scored:  # killed after the state was saved, before its score
                self.on_save(args, state, control, **rest)

    def write(self, row: dict) -> None:
        self.log.write(row)
        tqdm.write(" ".join(f"{name} {value}" for name, value in row.items()))

    def best(self) -> dict | None:
        """The row with the highest F1h so far, the first of equals."""
        scored = [row for row in self.log.rows() if row["f1h"]]
        return max(scored, key=lambda row: float(row["f1h"]), default=None)

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs and state.is_world_process_zero:
            seen = (state.global_step - self.first) * self.settings.batch
            self.write({"step": state.global_step, "loss": f"{logs['loss']:.5f}",
                        "lr": f"{logs['learning_rate']:.2e}",
                        "samples_per_s": f"{seen / (time.time() - self.began):.1f}",
                        "peak_gb": f"{peak_memory():.2f}"})

    def on_save(self, args, state, control, model=None, **_):
        if state.is_world_process_zero:
            model.eval()
            verdicts = self.judge.judge([(pair.task, *pair.images()) for pair in self.held])
            lost = held_out_loss(model, self.judge.processor, self.held, args.train_batch_size)
            model.train()
            scores = bench.report("", bench.match_all(self.held, verdicts))["scores"]["average"]
            percent = {name: f"{100 * (scores[name] or 0):.1f}" for name in ("f1h", "f1s", "sc")}
            best = self.best()
            if self.held and (not best or float(percent["f1h"]) > float(best["f1h"])):
                save_judge(model, self.judge.processor, self.path.parent / "best")
            self.write({"step": state.global_step, "eval_loss": f"{lost:.5f}"} | percent)


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, processor: ProcessorMixin, held: list[Pair],
                  at_once: int) -> float:
    """Eq. 1-2 on held-out pairs: nats a token of the true verdicts."""
    total, tokens = 0.0, 0
    for start in range(0, len(held), at_once):
        samples = [judge_sample(pair) for pair in held[start:start + at_once]]
        batch = training_batch(processor, samples).to(model.device)
        count = int((batch["labels"] != -100).sum())
        total += count * model(**batch).loss.item()
        tokens += count
    return total / max(1, tokens)


def save_judge(model: torch.nn.Module, processor: ProcessorMixin, folder: Path) -> None:
    """Write the judge, an adapter or a whole model, in bfloat16, in the place of an earlier one."""
    weights = (get_peft_model_state_dict(model) if isinstance(model, PeftModel)
               else model.state_dict())
    half = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    new = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(new, ignore_errors=True)
    cached = getattr(model.config, "use_cache", True)
    model.config.use_cache = True  # the trainer switches it off
    model.save_pretrained(new, state_dict=half)
    model.config.use_cache = cached
    processor.save_pretrained(new)
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)


def last_state(folder: Path) -> str | None:
    """The newest state in `folder` that was written to its end: to trainer_state.json."""
    states = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for state in reversed(states):
        try:
            json.loads((state / "trainer_state.json").read_text())
            return str(state)
        except (OSError, ValueError):
            continue  # killed while it was being written
    return None
