"""Time and memory of a GRPO step beside trl's GRPOTrainer: same model, pictures and group.

    python -m data.experiments.speed_grpo  # 4 minutes on 2 cores; it uses a GPU if there is one

Both sides take turns, each in a process of its own: 8 pictures, 8 answers of 64 tokens each, a
LoRA of rank 16, KL to the reference, the oracle reward (rendering included). The figure is the
median time of a step after the first two, of the better of two turns. Memory is the highest use
of the process in both turns (GPU: of the allocator) above what it used when the model was loaded.
Targets: at most 0.8 of trl's time and no more memory.
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script
from data.verdict import InputError


@dataclass
class Settings:
    side: str = flag("", "ours or trl: one turn of this side, in this process; default: both")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # a mistyped flag is told before torch is loaded

import torch

import train_rl
from data import rl_run
from data.build import SIZES, draw_examples
from data.compare import fidelity
from data.models import PRESETS, Chat, load_model, peak_memory
from data.pairs import Example
from render import Rendering, extract_code, render_many
from visual_erm import VisualERM, code_prompt

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = "data/tiny/base"
P, G, LENGTH, AT_ONCE, STEPS, TURNS = 8, 8, 64, 32, 8, 2


# --- 1. the two sides ---


def memory() -> float:
    """Highest memory use so far, MB."""
    return 1000 * peak_memory()


def load_endless(settings: train_rl.Settings,
                 preset: dict) -> tuple[Chat, VisualERM, torch.optim.Optimizer]:
    """(policy, judge, optimizer) of train_rl.py, and programs of exactly the preset's length."""
    policy, judge = train_rl.load_roles(settings, preset)
    policy.processor.tokenizer.eos_token = "<|video_pad|>"  # a token that sampling leaves out
    weights = [p for name, p in policy.model.named_parameters() if ".policy." in name]
    return policy, judge, torch.optim.AdamW(weights, lr=settings.lr, weight_decay=0.0)


def timed_step(policy: Chat, judge: VisualERM, optimizer: torch.optim.Optimizer,
               pictures: list[Example], settings: train_rl.Settings, preset: dict,
               programs: tuple[str, ...] = ()) -> dict:
    """A step of train_rl.py: seconds of its parts and in all (`s`), and the numbers of its log.

    With `programs` these are rendered and rewarded in turn, whatever was sampled: random weights
    write nothing that renders.
    """
    model, clock = policy.model, []

    def tick():
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        clock.append(time.perf_counter())

    tick()
    sampled = train_rl.sample_programs(model, policy.processor, pictures, settings, preset)
    tick()
    if programs:
        *rest, codes = sampled
        sampled = *rest, [programs[i % len(programs)] for i in range(len(codes))]
    batch = train_rl.render_programs(model, pictures, sampled, settings)
    tick()
    rewards, unreadable = train_rl.score(batch.examples, batch.codes, batch.renderings, judge,
                                         settings, scale=None)
    tick()
    rewards = torch.tensor(rewards, device=model.device)
    advantages = train_rl.group_advantages(rewards, settings.num_generations,
                                           settings.scale_rewards)
    stats = train_rl.update(model, optimizer, [batch], advantages, settings)
    tick()
    found = rl_run.log_row(0, [batch], rewards, unreadable, stats, [], settings.num_generations)
    parts = zip(("sample_s", "reference_s", "judge_s", "update_s"), clock, clock[1:])
    return found | {name: end - start for name, start, end in parts} | {"s": clock[-1] - clock[0]}


def ours() -> tuple[list[float], float]:
    """(seconds of each step, MB) of train_rl.py."""
    preset = PRESETS["tiny"] | {"code_tokens": LENGTH}
    settings = train_rl.Settings(model=BASE, judge=BASE, reward="oracle", prompts_per_step=P,
                                 num_generations=G, micro_batch_size=AT_ONCE)
    policy, judge, optimizer = load_endless(settings, preset)
    loaded, examples, times = memory(), draw_examples("svg", 64, 1, "rl/0"), []
    for step in range(STEPS):
        torch.manual_seed(step)
        pictures = [examples[i] for i in torch.randperm(len(examples))[:P].tolist()]
        times.append(timed_step(policy, judge, optimizer, pictures, settings, preset)["s"])
    return times, memory() - loaded


def theirs() -> tuple[list[float], float]:
    """(seconds of each step, MB) of trl."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    model, processor = load_model(BASE)
    cuda = torch.cuda.is_available()
    if not cuda:
        model.set_attn_implementation("eager")  # for its many short sequences the faster one
    loaded, examples, times = memory(), draw_examples("svg", 64, 1, "rl/0"), []
    scenes = {example.code: example.scene for example in examples}

    def reward(completions, code, **_):
        jobs = [("svg", extract_code("svg", answer[0]["content"])) for answer in completions]
        rewards = []
        for true, drawn in zip(code, render_many(jobs, size=SIZES[1])):
            if isinstance(drawn, Rendering):
                rewards.append(1 + fidelity(scenes[true], drawn.scene) / 100)
            else:
                rewards.append(0.0)
        return rewards

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            times.append(time.perf_counter() - self.began)

    question = [{"role": "user", "content": code_prompt("svg")}]
    rows = [{"prompt": question, "code": one.code, "image": one.image} for one in examples]
    with tempfile.TemporaryDirectory() as out:
        arguments = GRPOConfig(
            output_dir=out, max_steps=STEPS, num_generations=G, per_device_train_batch_size=AT_ONCE,
            gradient_accumulation_steps=P * G // AT_ONCE, max_completion_length=LENGTH, beta=0.01,
            learning_rate=1e-3, temperature=1.0, loss_type="dapo", bf16=False, report_to=[],
            use_cpu=not cuda, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True,
            generation_kwargs={"min_new_tokens": LENGTH, "top_k": 0})
        trainer = GRPOTrainer(
            model=model, processing_class=processor, reward_funcs=reward,
            train_dataset=Dataset.from_list(rows), callbacks=[Clock()], args=arguments,
            peft_config=LoraConfig(r=16, lora_alpha=16, target_modules="all-linear"))
        trainer.train()
    return times, memory() - loaded


# --- 2. the turns ---

SIDES = {"ours": ours, "trl": theirs}


def turn(side: str) -> dict:
    """The figures of one turn in a process of its own. Raises InputError if it fails."""
    done = subprocess.run([sys.executable, "-m", "data.experiments.speed_grpo", "--side", side],
                          capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise InputError(f"The turn of {side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


@script
def main(argv: list[str] | None = None) -> None:
    """Let both sides take turns and compare them, or take one turn."""
    settings = parse(Settings, argv, __doc__)
    if settings.side not in ("", *SIDES):
        raise InputError(f"--side is ours or trl, not {settings.side!r}.")
    if settings.side:
        times, used = SIDES[settings.side]()
        print(json.dumps({"step": statistics.median(times[2:]), "memory": used}))
        return
    steps, memories = {side: [] for side in SIDES}, {side: [] for side in SIDES}
    for _ in range(TURNS):
        for side in SIDES:
            found = turn(side)
            steps[side].append(found["step"])
            memories[side].append(found["memory"])
            print(f"{side}: {found['step']:.2f} s a step, {found['memory']:.0f} MB", flush=True)
    time_share = min(steps["ours"]) / min(steps["trl"])
    memory_share = max(memories["ours"]) / max(memories["trl"])
    print(f"time: {time_share:.2f} of trl's (target 0.8); "
          f"memory: {memory_share:.2f} of trl's (target 1.0)")


if __name__ == "__main__":
    sys.exit(main())
