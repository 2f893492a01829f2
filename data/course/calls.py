"""Calls of a student's functions: from plain data to what a function takes, and back.

This runs behind the sandbox's doors, in the process of the student's code, and knows no answer. A
name that a call imports is the student's: only the folder handed in can be read there.
"""
import base64
import itertools
import math
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image

# --- 1. plain data ---

KINDS = ("float32", "float64", "int64", "uint8", "bool")
LARGEST = 4_000_000  # numbers in an array; empty ones of 1e9 rows exist


def pack(value: object) -> object:
    """JSON of numbers, texts, lists and dictionaries; arrays, tensors and images are packed."""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, (Image.Image, np.ndarray)):
        array = np.ascontiguousarray(value)
        data = base64.b64encode(array.tobytes()).decode()
        return {"array": data, "kind": str(array.dtype), "shape": array.shape}
    if isinstance(value, dict):
        return {name: pack(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def unpack(value: object) -> object:
    """What `pack` packed, arrays as tensors. Raises ValueError, KeyError or TypeError."""
    if isinstance(value, dict) and "array" in value:
        if value["kind"] not in KINDS:
            raise ValueError("an array of unknown kind")
        if math.prod(max(1, length) for length in value["shape"]) > LARGEST:
            raise ValueError("an array that is too large")
        flat = np.frombuffer(base64.b64decode(value["array"]), value["kind"])
        return torch.from_numpy(flat.reshape(value["shape"]).copy())
    if isinstance(value, dict):
        return {name: unpack(inner) for name, inner in value.items()}
    return [unpack(inner) for inner in value] if isinstance(value, list) else value


def small_policy(folder: str) -> torch.nn.Module:
    """The base in `folder` with an adapter whose weights are the same numbers in every process."""
    from data.models import load_model

    base, _ = load_model(folder, device="cpu", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=4, target_modules="all-linear"),
                           adapter_name="policy")
    for number, p in enumerate(p for n, p in model.named_parameters() if ".policy." in n):
        with torch.no_grad():
            p.copy_(0.05 * torch.sin(torch.arange(p.numel()) * (1.0 + number)).view_as(p))
    return model.eval()


# --- 2. the calls ---
# Each takes a list of cases and gives a list of results; `policy` is for those that need a model.


def severity_reward(cases, policy):
    import visual_erm
    return [visual_erm.severity_reward(*case) for case in cases]


def verm_rewards(cases, policy):
    import visual_erm
    from data.verdict import Discrepancy, Verdict

    results = []
    for verdicts, *scale in cases:
        batch = [Verdict(task, [Discrepancy("", level, "", "") for level in levels], readable)
                 for task, levels, readable in verdicts]
        results.append(visual_erm.verm_rewards(batch, *scale))
    return results


def add_render_term(cases, policy):
    import visual_erm
    from render import RenderError, Rendering

    results = []
    for rendered, *rest in cases:
        renderings = [Rendering(None, {}) if good else RenderError("runtime", "")
                      for good in rendered]
        results.append(visual_erm.add_render_term(renderings, *rest))
    return results


def group_advantages(cases, policy):
    import train_rl
    return [train_rl.group_advantages(*case) for case in cases]


def grpo_loss(cases, policy):
    import train_rl

    results = []
    for log_p, *rest in cases:
        loss, stats = train_rl.grpo_loss(log_p.requires_grad_(), *rest)
        loss.backward()
        results.append({"loss": loss, "gradient": log_p.grad, "stats": stats})
    return results


def log_probs(cases, policy):
    from data import engine

    results = []
    for *arguments, temperature in cases:
        with torch.no_grad():
            results.append(engine.log_probs(policy, *arguments, temperature))
    return results


def log_probs_gradient(cases, policy):
    from data import engine

    results = []
    for *arguments, temperature, weights in cases:
        found = engine.log_probs(policy, *arguments, temperature)
        (found * weights).sum().backward()
        results.append([p.grad for p in adapter_weights(policy)])
        policy.zero_grad()
    return results


def adapter_weights(policy: torch.nn.Module) -> list[torch.nn.Parameter]:
    """A few of the adapter, of which a gradient is asked."""
    trained = (p for name, p in policy.named_parameters() if "lora_B.policy" in name)
    return list(itertools.islice(trained, 0, None, 12))


def parse(cases, policy):
    from data.verdict import Verdict

    results = []
    for task, answer in cases:
        verdict = Verdict.parse(task, answer)
        errors = [[e.category, e.severity, e.location, e.description] for e in verdict.errors]
        results.append({"readable": verdict.readable, "errors": errors})
    return results


def reward(cases, policy):
    from data.course import rewards
    from data.pairs import Example
    from render import Rendering

    results = []
    for name, batch in cases:
        drawn = []
        for task, true_code, true, pred_code, pred in batch:
            true, pred = (Image.fromarray(pixels.numpy()) for pixels in (true, pred))
            drawn.append((Example(task, true, true.size, true_code), pred_code,
                          Rendering(pred, {})))
        found, _ = getattr(rewards, name)(drawn)
        results.append(found)
    return results


def break_text(cases, policy):
    from data.course import rewards
    return [rewards.break_text(*case) for case in cases]


def right(cases, policy):
    from data.experiments import siblings
    return [siblings.right(*case) for case in cases]


def hand_in(cases, policy):
    """Texts of files that belong to what was handed in, relative to its folder."""
    import data.course

    root = Path(data.course.__file__).parent.parent.parent
    results = []
    for name in cases:
        with open(root / name, encoding="utf-8") as file:
            results.append(file.read(500_000))
    return results


CALLS = {call.__name__: call for call in (
    severity_reward, verm_rewards, add_render_term, group_advantages, grpo_loss, log_probs,
    log_probs_gradient, parse, reward, break_text, right, hand_in)}
