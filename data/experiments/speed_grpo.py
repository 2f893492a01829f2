"""Time and memory of a GRPO step, side by side with trl's GRPOTrainer: same model, pictures, group, answer length.

    python -m data.experiments.speed_grpo          # on 2 cores about 4 minutes; with a GPU it uses it

Both sides take turns, each in a process of its own: 8 pictures, 8 answers of 64 tokens each, a LoRA of rank 16, KL to
the reference, the oracle reward (rendering included). The figure is the median time of a step after the first two, of
the better of two turns; memory is the highest use of the process in both turns (GPU: of the allocator) above what it
used when the model was loaded.
Targets: at most 0.8 of trl's time and no more memory.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
P, G, LENGTH, STEPS, TURNS = 8, 8, 64, 8, 2


def memory():
    """Highest memory use so far, MB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def ours(folder):
    """(seconds of each step, MB) of train_rl.py."""
    import csv

    import train_rl
    from data.models import PRESETS

    PRESETS["tiny"]["code_tokens"] = LENGTH
    loaded = []
    load = train_rl.load_roles

    def load_endless(*arguments):
        """Answers of exactly LENGTH tokens: the end is a token that sampling leaves out."""
        model, processor, judge = load(*arguments)
        processor.tokenizer.eos_token = "<|video_pad|>"
        loaded.append(memory())
        return model, processor, judge

    train_rl.load_roles = load_endless
    with tempfile.TemporaryDirectory() as out:
        sys.argv = ["train_rl.py", "--reward", "oracle", "--model", folder, "--judge", folder, "--steps", str(STEPS),
                    "--prompts", str(P), "--group", str(G), "--micro", "32", "--images", "64", "--eval_images", "4",
                    "--eval_every", "1000", "--out", out]
        train_rl.main()
        rows = list(csv.DictReader(open(Path(out, "log.csv"))))[1:]
    return [sum(float(row[c]) for c in ("sample_s", "reward_s", "update_s")) for row in rows], memory() - loaded[0]


def theirs(folder):
    """(seconds of each step, MB) of trl."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from data.build import SIZES, draw_images
    from data.compare import fidelity
    from render import Rendering, extract_code, render_many
    from data.models import load_model
    from visual_erm import code_prompt

    model, processor = load_model(folder)
    if model.device.type == "cpu":
        model.set_attn_implementation("eager")                     # for its many short sequences the faster one
    loaded, pictures, times = memory(), draw_images("svg", 64, 1, "rl/0"), []
    by_code = {picture["code"]: picture for picture in pictures}

    def reward(completions, code, **_):
        jobs = [("svg", extract_code("svg", answer[0]["content"])) for answer in completions]
        drawn = render_many(jobs, size=SIZES[1])
        return [1 + fidelity(by_code[c]["scene"], d.scene) / 100 if isinstance(d, Rendering) else 0.0
                for c, d in zip(code, drawn)]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            times.append(time.perf_counter() - self.began)

    question = [{"role": "user", "content": code_prompt("svg")}]
    rows = Dataset.from_list([{"prompt": question, "code": p["code"], "image": p["image"]} for p in pictures])
    with tempfile.TemporaryDirectory() as out:
        GRPOTrainer(
            model=model, processing_class=processor, reward_funcs=reward, train_dataset=rows, callbacks=[Clock()],
            peft_config=LoraConfig(r=16, lora_alpha=16, target_modules="all-linear"),
            args=GRPOConfig(output_dir=out, max_steps=STEPS, num_generations=G, per_device_train_batch_size=32,
                            gradient_accumulation_steps=P * G // 32, max_completion_length=LENGTH, beta=0.01,
                            learning_rate=1e-3, temperature=1.0, loss_type="dapo", bf16=False, report_to=[],
                            use_cpu=not torch.cuda.is_available(), gradient_checkpointing=False, save_strategy="no",
                            generation_kwargs={"min_new_tokens": LENGTH, "top_k": 0}, disable_tqdm=True)).train()
    return times, memory() - loaded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("turn", nargs="*", help="of one turn: ours or trl, and the folder of the model")
    args = parser.parse_args()
    if args.turn:
        side, folder = args.turn
        times, used = {"ours": ours, "trl": theirs}[side](folder)
        print(json.dumps({"step": statistics.median(times[2:]), "memory": used}))
        return
    found = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        for path in (ROOT / "data" / "tiny" / "base").iterdir():
            Path(folder, path.name).write_bytes(path.read_bytes())
        config = Path(folder, "generation_config.json")
        config.write_text(json.dumps(json.loads(config.read_text()) | {"min_new_tokens": LENGTH}))
        for side in ["ours", "trl"] * TURNS:
            done = subprocess.run([sys.executable, "-m", "data.experiments.speed_grpo", side, folder],
                                  capture_output=True, text=True, cwd=ROOT)
            if done.returncode:
                sys.exit(done.stderr)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{side}: {found[side][-1]['step']:.2f} s a step, {found[side][-1]['memory']:.0f} MB", flush=True)
    step = {side: min(run["step"] for run in runs) for side, runs in found.items()}
    used = {side: max(run["memory"] for run in runs) for side, runs in found.items()}
    print(f"time: {step['ours'] / step['trl']:.2f} of trl's (target 0.8); "
          f"memory: {used['ours'] / used['trl']:.2f} of trl's (target 1.0)")


if __name__ == "__main__":
    main()
