"""Reinforcement learning with the judge as reward: GRPO by hand (Eq. 6 of the paper).

    maximise  E[ r(picture, code) ]  -  beta * KL(policy || reference)

One step: the policy writes G programs for each of P pictures; the programs are rendered; the judge lists what differs
(Eq. 3-5 make a reward of it); a program better than the mean of its G siblings becomes likelier, a worse one less
likely. One base model plays several roles: with the adapter "policy" it is the policy, with all adapters off the
reference, and if `--judge` is an adapter of the same base (train_sft.py makes such), with that one the judge. The
shipped judge is a model of its own.

    python train_rl.py --task svg --reward verm                    # tiny models, minutes on 2 cores
    python train_rl.py --task svg --reward 0.5*verm+0.5*text       # rewards can be mixed
    python train_rl.py --task chart --data runs/real --preset 8b --lr 1e-5 --prompts 4         # QLoRA, a GPU; untried

It prints a line a step and what the held-out pictures gained. `--out` gets config.json, log.csv, samples.jsonl
(programs and rewards of the last step), curves.png, report.html and checkpoint/ (the policy's adapter). log.csv has
the reward that is trained on and, every `--eval_every` steps, on held-out pictures, the fidelity: an exact comparison
of what is drawn, which no reward but `oracle` sees. The printed policy loss stays near 0 by construction (on policy
all ratios are 1 and the advantages of a group sum to 0; only different lengths move it); its gradient teaches.

Departures from the paper: (1) LoRA instead of all weights, (2) DAPO's token-level loss, normalised by the answer tokens
of the whole batch: neither `--micro` nor long answers change the weight of a token, (3) one process, not 32 GPUs.
"""
import csv
import json
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm
from transformers import HfArgumentParser

from data.build import SIZES, draw_images, hold_out, references
from data.compare import fidelity
from render import Rendering, SandboxMissing, extract_code
from data.verdict import CATEGORIES, InputError, Verdict
from data.models import PRESETS, Chat, add_adapter, choose_preset, fit, generate, trainable
from data.server import NO_REPLY
from data.metrics import VisionEncoder, ssim, teds, text_similarity
from data.report import html_report
from data.runs import same_settings
from data.pairs import read_pairs
from render import draw_alike
from visual_erm import SCALE, VisualERM, code_messages, verm_rewards


@dataclass
class Settings:
    # what
    task: str = field(default="svg", metadata={"help": "chart, table, svg, or several, separated by commas"})
    reward: str = field(default="verm", metadata={"help": "verm, vision, text, ssim, oracle; or 0.5*verm+0.5*text"})
    preset: str = field(default="tiny", metadata={"help": "row of visual_erm.PRESETS: tiny, 2b or 8b"})
    model: str = field(default=None, metadata={"help": "folder or hub name of the base; default: the preset's"})
    judge: str = field(default=None, metadata={"help": "adapter of the base, other model, URL; default: preset's"})
    encoder: str = field(default=PRESETS["tiny"]["model"], metadata={"help": "vision encoder of the reward `vision`"})
    level: int = field(default=1, metadata={"help": "difficulty of the pictures drawn by data/worlds"})
    data: str = field(default="", metadata={"help": "folders of data.build whose references to take in their place"})
    images: int = field(default=512, metadata={"help": "pictures to learn from, for each task"})
    out: str = field(default="runs/rl", metadata={"help": "run folder"})
    # sampling
    prompts: int = field(default=8, metadata={"help": "pictures a step (P)"})
    group: int = field(default=8, metadata={"help": "programs a picture (G)"})
    temperature: float = field(default=1.0, metadata={"help": "of sampling; log-probabilities are taken at it, too"})
    # reward
    render_term: bool = field(default=True, metadata={"help": "r_rsr of Eq. 5: 1 more for code that renders"})
    scale: float = field(default=0.0, metadata={"help": "divides severities (published code: 50); 0: batch maximum"})
    # update
    steps: int = field(default=40, metadata={"help": "optimiser steps are steps * epochs"})
    epochs: int = field(default=1, metadata={"help": "updates on each batch; clipping matters from the second on"})
    lr: float = field(default=5e-4, metadata={"help": "learning rate of AdamW on the adapter"})
    warmup: int = field(default=10, metadata={"help": "steps in which --lr rises from 0: the first ones are noisy"})
    rank: int = field(default=16, metadata={"help": "rank of the policy's LoRA adapter"})
    beta: float = field(default=0.01, metadata={"help": "weight of the KL to the reference (k3 estimate)"})
    clip_low: float = field(default=0.2, metadata={"help": "ratio to the sampling policy is clipped at 1 - this"})
    clip_high: float = field(default=0.2, metadata={"help": "... and at 1 + this"})
    divide: bool = field(default=True, metadata={"help": "divide advantages by the group's deviation; not in Dr. GRPO"})
    micro: int = field(default=None, metadata={"help": "programs in memory at once in the update; default: preset's"})
    # bookkeeping
    eval_every: int = field(default=10, metadata={"help": "steps between two scores on held-out pictures, and states"})
    eval_images: int = field(default=60, metadata={"help": "held-out pictures, for each task"})
    seed: int = field(default=0, metadata={"help": "fixes pictures, samples and adapter"})
    resume: bool = field(default=False, metadata={"help": "go on with the last saved state in --out"})


# ------------------------------------------------------------------------------------------------------ 1. rewards
# A reward takes the batch, (prompt, code, rendering) for every program that rendered, and gives numbers in [0, 1].
# A prompt is a dict: see data.build.draw_images. `run` holds what several rewards need.


def verm(batch, run):
    """Eq. 3-4, by the judge. The rule for an unreadable verdict (0) is verm_rewards'."""
    verdicts = ask(run.judge, [(prompt["task"], prompt["image"], drawn.image) for prompt, _, drawn in batch])
    run.unreadable += sum(not verdict.readable for verdict in verdicts)
    return [reward - 1 for reward in verm_rewards(verdicts, run.scale)]


def vision(batch, run):
    """Cosine of the vision encoder's features, as DINO rewards do."""
    run.encoder = run.encoder or VisionEncoder(run.settings.encoder)
    return [max(0.0, run.encoder.similarity(prompt["image"], drawn.image)) for prompt, _, drawn in batch]


def text(batch, run):
    """Likeness of the code: TEDS for tables, edit distance for charts and drawings."""
    return [(teds if prompt["task"] == "table" else text_similarity)(prompt["code"], code) for prompt, code, _ in batch]


def pixels(batch, run):
    """SSIM of the two pictures."""
    return [max(0.0, ssim(prompt["image"], drawn.image)) for prompt, _, drawn in batch]


def oracle(batch, run):
    """Exact comparison of what both pictures show: what a perfect judge could pay, the ceiling."""
    return [fidelity(prompt["scene"], drawn.scene) / 100 for prompt, _, drawn in batch]


REWARDS = {"verm": verm, "vision": vision, "text": text, "ssim": pixels, "oracle": oracle}


def parse_reward(words):
    """"0.5*verm+0.5*text" -> [(0.5, "verm"), (0.5, "text")]. Raises InputError for anything else."""
    terms = []
    for term in words.replace(" ", "").split("+"):
        match = re.fullmatch(r"(?:(\d*\.?\d+)\*)?(\w+)", term)
        if not match or match[2] not in REWARDS:
            raise InputError(f"--reward {words!r} is no sum of rewards; choose among {', '.join(REWARDS)}, for example "
                             f"0.5*verm+0.5*text.")
        terms.append((float(match[1] or 1), match[2]))
    return terms


def score(prompts, codes, drawings, run, scale=None):
    """Eq. 5 for a batch: r = r_rsr + sum of weight * reward; code that did not render earns strictly least.

    `prompts`, `codes` and `drawings` (Rendering, or RenderError) are parallel. Without the render term a picture still
    earns a thousandth more than none, or crashing would be as good as the worst drawing. `scale` divides severities
    instead of `--scale`.
    """
    run.scale = scale or run.settings.scale or None                                # None: the batch's maximum (Eq. 4)
    good = [i for i, drawn in enumerate(drawings) if isinstance(drawn, Rendering)]
    batch = [(prompts[i], codes[i], drawings[i]) for i in good]
    rewards = [0.0] * len(drawings)
    for i in good:
        rewards[i] = 1.0 if run.settings.render_term else 1e-3
    for weight, name in parse_reward(run.settings.reward) if batch else ():
        for i, reward in zip(good, REWARDS[name](batch, run)):
            rewards[i] += weight * reward
    return rewards


def ask(judge, pairs, patience=600):
    """Verdicts; what a judge server did not reply to is asked again, for up to `patience` seconds, then InputError."""
    verdicts, left, waited, pause = {}, list(range(len(pairs))), 0, 5
    while True:
        try:
            verdicts |= zip(left, judge.judge([pairs[i] for i in left]))
            left = [i for i in left if "".join(verdicts[i].notes).startswith(NO_REPLY)]
            if not left:
                return [verdicts[i] for i in range(len(pairs))]
            why = f"{len(left)} of {len(pairs)} pairs got {verdicts[left[0]].notes[0]}."
        except InputError as error:
            if judge.server is None:
                raise
            why = str(error)
            if verdicts and NO_REPLY not in why:         # the others were judged, and these were refused: not silence
                refused = {i: Verdict(pairs[i][0], readable=False, notes=[why]) for i in left}
                return [(verdicts | refused)[i] for i in range(len(pairs))]
        if waited >= patience:
            raise InputError(f"{why} Waited {waited} s in vain.")
        tqdm.write(f"{why} Asking again in {pause} s.")
        time.sleep(pause)
        waited, pause = waited + pause, min(60, 2 * pause)


# ---------------------------------------------------------------------------------------------- 2. sampling, log p
def pick(inputs, rows):
    """The prompts `rows` of model inputs of P prompts with one image each; a row may be taken several times."""
    grids = inputs["image_grid_thw"]                                                                          # (P, 3)
    patches = inputs["pixel_values"].split(grids.prod(1).tolist())
    return {"input_ids": inputs["input_ids"][rows], "attention_mask": inputs["attention_mask"][rows],
            "mm_token_type_ids": inputs["mm_token_type_ids"][rows], "image_grid_thw": grids[rows],
            "pixel_values": torch.cat([patches[i] for i in rows.tolist()])}


def prompt_positions(base, prompt):
    """Positions (3, P, l) of prompts' tokens (in a picture: frame, row, column), and (P,) of the first token after."""
    positions, _ = base.model.get_rope_index(**{k: v for k, v in prompt.items() if k != "pixel_values"})
    return positions, positions.amax((0, 2)) + 1


@torch.no_grad()
def sample(model, processor, prompts, run):
    """G programs for each prompt: (inputs, answers (B, T) of token ids, mask (B, T) of real tokens), B = P * G.

    About as many programs at once as the preset's `batch` says, never a part of a group. Each prompt is read once, its
    keys and values then serve all G; a program that has ended leaves the batch. The stop token is part of an answer
    (mask 1), or it would never be trained. The placeholders of images are never sampled: in the training pass each
    would be taken for one more picture.
    """
    row, group, base = run.row, run.settings.group, model.get_base_model()
    inputs = processor.apply_chat_template(
        [code_messages(prompt["task"], fit(prompt["image"], row["canvas"])) for prompt in prompts], tokenize=True,
        add_generation_prompt=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"}).to(model.device)
    answers = torch.full((len(prompts) * group, row["code_tokens"]), processor.tokenizer.pad_token_id,
                         device=model.device)                                                                 # (B, T)
    mask = torch.zeros_like(answers)
    for some in torch.arange(len(prompts)).split(max(1, row["batch"] // group)):
        prompt = pick(inputs, some)
        positions, after = prompt_positions(base, prompt)                                            # (3, p, l), (p,)
        out = base.model(**prompt, position_ids=positions, use_cache=True)
        cache = out.past_key_values
        cache.batch_repeat_interleave(group)
        alive = torch.arange(some[0] * group, (some[-1] + 1) * group, device=model.device)             # (b,), rows of B
        state, seen, after = (t.repeat_interleave(group, 0) for t in (
            out.last_hidden_state[:, -1], prompt["attention_mask"], after))
        for t in range(row["code_tokens"]):
            logits = base.lm_head(state).float() / run.settings.temperature                                   # (b, V)
            logits[:, [model.config.image_token_id, model.config.video_token_id]] = -torch.inf
            tokens = torch.multinomial(logits.softmax(-1), 1)                                                 # (b, 1)
            answers[alive, t], mask[alive, t] = tokens[:, 0], 1
            going = torch.nonzero(tokens[:, 0] != processor.tokenizer.eos_token_id)[:, 0]
            if len(going) < len(alive):
                alive, tokens, seen, after = alive[going], tokens[going], seen[going], after[going]
                cache.batch_select_indices(going)
            if not len(alive) or t + 1 == row["code_tokens"]:
                break
            seen = F.pad(seen, (0, 1), value=1)
            state = base.model(input_ids=tokens, attention_mask=seen, past_key_values=cache, use_cache=True,
                               position_ids=(after + t).expand(3, 1, -1).mT).last_hidden_state[:, -1]         # (b, d)
    longest = int(mask.sum(1).max())
    return inputs, answers[:, :longest], mask[:, :longest]


def decode(processor, answers, mask):
    """The texts of answers (B, T), up to the stop token."""
    return [processor.tokenizer.decode(row[real.bool()], skip_special_tokens=True) for row, real in zip(answers, mask)]


def log_probs(model, inputs, answers, mask, rows, group, temperature, chunk=None):
    """log p of the answers `rows` (indices into B = P * G) given their prompts, (len(rows), T); 0 where mask is 0.

    Siblings share their prompt: one sequence is a prompt and then the answers to it, end to end, without padding. A
    token sees the prompt and what comes before it in its own answer, and has the position it would have alone. So the
    picture, most of the tokens of a short answer, is read once and not G times.
    Only the answers' hidden states meet the vocabulary, `chunk` tokens at a time and recomputed in the backward pass:
    the logits of 32 answers of 1,000 tokens would be 20 GB for a vocabulary of 150,000. By default 1,024 tokens, or
    fewer if their logits took more than a quarter of a gigabyte.
    """
    base = model.get_base_model()
    chunk = chunk or min(1024, 2 ** 26 // base.lm_head.out_features)
    pictures, mine = torch.unique(rows.to(mask.device) // group, return_inverse=True)                    # (p,), (b,)
    prompt, answers, mask = pick(inputs, pictures), answers[rows], mask[rows].bool()
    start = prompt["input_ids"].shape[1]
    cells = pad_sequence([torch.nonzero(mask & (mine == i)[:, None]) for i in range(len(pictures))],
                         batch_first=True, padding_value=-2)                                              # (p, N, 2)
    owner, place = cells.unbind(2)                       # which answer a token is of, and its place in it; -2: padding
    tokens = answers[owner, place]                                                                            # (p, N)
    whose = torch.cat([prompt["attention_mask"] - 2, owner], 1)                       # (p, L); -1: prompt, -2: padding
    sees = ((whose[:, None] == -1) | (whose[:, None] == whose[:, :, None])).tril()                        # (p, L, L)
    positions, after = prompt_positions(base, prompt)                                                # (3, p, l), (p,)
    hidden = base.model(
        input_ids=torch.cat([prompt["input_ids"], tokens], 1), position_ids=torch.cat([
            positions, (after[:, None] + place).expand(3, -1, -1)], 2),
        attention_mask=torch.zeros(sees.shape, dtype=base.dtype, device=sees.device).masked_fill(
            ~sees, torch.finfo(base.dtype).min)[:, None], pixel_values=prompt["pixel_values"],
        image_grid_thw=prompt["image_grid_thw"], use_cache=False).last_hidden_state                       # (p, L, d)
    before = torch.where(place == 0, 0, torch.arange(place.shape[1], device=place.device)) + start - 1
    real = owner >= 0
    states = hidden.gather(1, before[:, :, None].expand(-1, -1, hidden.shape[2]))[real]   # the state that predicts each

    def token_log_probs(states, targets):
        return -F.cross_entropy(base.lm_head(states).float() / temperature, targets, reduction="none")

    pieces = [checkpoint(token_log_probs, part, targets, use_reentrant=False) for part, targets
              in zip(states.split(chunk), tokens[real].split(chunk))]
    return torch.zeros(answers.shape, device=hidden.device).index_put((owner[real], place[real]), torch.cat(pieces))


# ------------------------------------------------------------------------------------------- 3. advantage and loss
def advantages(rewards, group, divide=True):
    """Group-relative advantages of rewards (P * G,): minus the group's mean, divided by its deviation.

    >>> [round(a, 3) for a in advantages(torch.tensor([1.0, 2.0, 3.0, 3.0]), 2).tolist()]
    [-0.707, 0.707, 0.0, 0.0]
    >>> advantages(torch.tensor([1.5, 1.5, 1.5]), 3).tolist()                 # equal rewards teach nothing
    [0.0, 0.0, 0.0]
    """
    grouped = rewards.view(-1, group)                                                                         # (P, G)
    centred = grouped - grouped.mean(1, keepdim=True)
    return (centred / (grouped.std(1, keepdim=True) + 1e-4) if divide else centred).flatten()                 # (P * G,)


def grpo_loss(logp, old, reference, advantage, mask, tokens, beta, clip_low, clip_high):
    """Eq. 6 for a micro-batch, as a sum over its tokens divided by `tokens`, the answer tokens of the whole batch.

    Returns (loss, {name: value}). Ratio = p / p_old; the smaller of the plain and the clipped gain counts, so nothing
    is won beyond the clip. k3 = exp(d) - d - 1, d = log p_ref - log p: an estimate of the KL that is never negative.
    """
    ratio = torch.exp(logp - old)                                                                             # (b, T)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)                                                        # (b, T)
    gain = torch.minimum(ratio * advantage[:, None], clipped * advantage[:, None])                            # (b, T)
    d = reference - logp                                                                                      # (b, T)
    k3 = torch.exp(d) - d - 1                                                                                 # (b, T)
    policy, kl = -(gain * mask).sum() / tokens, (k3 * mask).sum() / tokens       # minus: optimisers minimise
    outside = ((ratio != clipped) * mask).sum() / tokens
    return policy + beta * kl, {"policy_loss": policy.item(), "kl": kl.item(), "clipped": outside.item()}


# ------------------------------------------------------------------------------------------- 4. one base, three roles
def load_roles(settings, row):
    """(model with the adapter "policy", processor, judge): one copy of the base's weights for all roles.

    A judge with weights of its own (a full checkpoint, or another base's adapter) or behind a URL stays apart: two 8B
    models in 4 bits need some 15 GB before the first activation, where one and an adapter need 9.
    """
    policy = Chat(trainable(settings.model or row["model"]), row)
    if row["quantize"]:                                  # memory is short: recompute activations in the backward pass
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    policy.model = add_adapter(policy.model, row, settings.rank, "policy")
    judge = VisualERM(settings.judge or row["judge"], row, beside=policy)
    return policy.model, policy.processor, judge


# ------------------------------------------------------------------------------------------------ 5. bookkeeping
# In training: reward (mean), executes (% of programs that render), unreadable (verdicts), flat_groups (groups with
# equal rewards, which teach nothing), length (tokens of an answer), policy_loss and kl (the terms of Eq. 6), clipped
# (share of tokens), grad_norm (before it is cut to 1), seconds (reward_s: rendering, reference and judge).
# On held-out pictures, of programs sampled as in training: held_executes, proxy (the reward at a fixed scale),
# fidelity, and each task's fidelity; greedy is the fidelity of the likeliest programs. Training first makes a policy
# surer of what it knows, which lifts only the former; the latter rises when it learns something new.
COLUMNS = ("step", "reward", "executes", "unreadable", "flat_groups", "length", "policy_loss", "kl", "clipped",
           "grad_norm", "sample_s", "reward_s", "update_s", "held_executes", "proxy", "fidelity", *CATEGORIES, "greedy")


def read_pictures(settings, row):
    """(pictures to learn from, pictures held out), for each task: drawn ones, or the references of `--data`.

    Those held out are the same for every seed. Of `--data` no program has a copy on the other side; of drawn pictures,
    which may repeat, perhaps one in sixty icons has. Raises InputError if there are not enough.
    """
    learned, held = [], []
    pairs = {pair["gt_img_path"]: pair for pair in read_pairs(settings.data)} if settings.data else {}
    for task in settings.task.split(","):
        if settings.data:
            sides = hold_out([pair for pair in pairs.values() if pair["category"] == task], settings.eval_images)
            sides = [list(islice(references(side, row), n)) for side, n in zip(
                sides, (settings.images, settings.eval_images))]
        else:
            sides = [draw_images(task, n, settings.level, f"rl/{seed}") for n, seed in (
                (settings.images, settings.seed), (settings.eval_images, "held"))]
        if not all(sides):
            raise InputError(f"{settings.data} has not enough pictures of the task {task} to learn from some and hold "
                             "out others; lower --eval_images or give more.")
        learned, held = learned + sides[0], held + sides[1]
    return learned, held


class Run:
    """What a run carries from step to step."""

    def __init__(self, settings, row, judge):
        self.settings, self.row, self.judge = settings, row, judge
        self.scale, self.encoder, self.unreadable = None, None, 0


def draw_held(model, processor, held, run, temperature):
    """(codes, drawings, fidelities) of a program for each held-out picture; temperature 0: the likeliest."""
    torch.manual_seed(run.settings.seed)                                   # the same random numbers at every step
    answers = generate(model, processor, [code_messages(p["task"], fit(p["image"], run.row["canvas"])) for p in held],
                       max_new_tokens=run.row["code_tokens"], batch_size=run.row["batch"], temperature=temperature)
    codes = [extract_code(p["task"], answer) for p, answer in zip(held, answers)]
    drawings = draw_alike(held, codes)
    return codes, drawings, [fidelity(p["scene"], drawn.scene) for p, drawn in zip(held, drawings)]


def evaluate(model, processor, held, run):
    """({column: value}, [(code, reward, fidelity)] of the sampled program for each held-out picture)."""
    codes, drawings, points = draw_held(model, processor, held, run, run.settings.temperature)
    rewards = score(held, codes, drawings, run, run.settings.scale or SCALE)  # constant, or steps could not be compared
    found = {"proxy": sum(rewards) / len(held), "fidelity": sum(points) / len(held),
             "held_executes": 100 * sum(isinstance(drawn, Rendering) for drawn in drawings) / len(held)}
    for task in CATEGORIES:
        mine = [point for p, point in zip(held, points) if p["task"] == task]
        found |= {task: sum(mine) / len(mine)} if mine else {}
    found["greedy"] = sum(draw_held(model, processor, held, run, 0.0)[2]) / len(held)
    return found, list(zip(codes, rewards, points))


def write_row(path, row):
    """Append one row to log.csv, numbers shortened."""
    with open(path, "a", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


def check(settings, out):
    """Raises InputError for settings that cannot work, or that are not those of the run in `out` to go on with."""
    tasks = settings.task.split(",")
    if unknown := [task for task in tasks if task not in CATEGORIES]:
        raise InputError(f"--task {unknown[0]!r} is unknown; choose among {', '.join(CATEGORIES)}.")
    parse_reward(settings.reward)
    if settings.level not in SIZES:
        raise InputError(f"--level {settings.level} does not exist; choose 1, 2 or 3.")
    if settings.group < 2:
        raise InputError("--group must be at least 2: a program is compared with its siblings.")
    for name in ("images", "prompts", "temperature", "epochs", "rank", "micro", "eval_every", "eval_images"):
        if getattr(settings, name) <= 0:
            raise InputError(f"--{name} must be greater than 0.")
    if settings.resume and (out / "state.pt").exists():
        same_settings(out, settings, free=("steps", "lr"))


def keep_rows(path, last):
    """Make log.csv, or drop the rows of a killed run that lie after its last saved state."""
    old = csv.DictReader(open(path)) if path.exists() and last >= 0 else []
    rows, temporary = [row for row in old if int(row["step"]) <= last], path.with_suffix(".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def write_samples(path, step, picked, codes, drawings, rewards, advantage):
    """samples.jsonl: the programs of the last step, best first within a picture, for a reader's eye."""
    group = len(codes) // len(picked)
    rows = [{"step": step, "picture": picked[i // group], "reward": round(rewards[i].item(), 4),
             "advantage": round(advantage[i].item(), 4),
             "error": "" if isinstance(drawings[i], Rendering) else str(drawings[i]), "code": codes[i]}
            for i in sorted(range(len(codes)), key=lambda i: (i // group, -rewards[i].item()))]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def save_state(out, model, optimiser, step, stages):
    """Atomic: a run killed while it writes keeps its last good state."""
    policy = {name: p.detach() for name, p in model.named_parameters() if ".policy." in name}
    temporary = out / "state.tmp"
    torch.save({"step": step, "policy": policy, "optimiser": optimiser.state_dict(), "stages": stages}, temporary)
    temporary.replace(out / "state.pt")


def load_state(out, model, optimiser):
    """(step, stages) of the last saved state, put into model and optimiser."""
    state = torch.load(out / "state.pt", weights_only=True, map_location=model.device)
    model.load_state_dict(state["policy"], strict=False)
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["stages"]


def finish(out, model, held, stages, run):
    """checkpoint/ (the adapter, as peft writes it), curves.png, and report.html with pictures of what was sampled.

    The report has three stages of the first four held-out pictures of each task and, marked, up to four where the
    reward rose most while the fidelity fell: reward hacking, if there is any.
    """
    model.save_pretrained(out / "checkpoint.tmp", selected_adapters=["policy"])
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    (out / "checkpoint.tmp" / "policy").replace(out / "checkpoint")       # peft makes a folder for each adapter
    shutil.rmtree(out / "checkpoint.tmp")
    plot(out / "log.csv", out / "curves.png", run.settings.reward)
    cards, shown = [], sorted(stages)[:1] + sorted(stages)[1:][-2:]
    before, after = stages[shown[0]], stages[shown[-1]]
    fixed = [i for task in CATEGORIES for i in [i for i, p in enumerate(held) if p["task"] == task][:4]]
    fell = [i for i in range(len(held)) if after[i][1] > before[i][1] and after[i][2] < before[i][2]]
    hacked = sorted(fell, key=lambda i: before[i][1] - after[i][1])[:4]
    wanted = [(i, step) for i in dict.fromkeys(fixed + hacked) for step in shown]
    drawings = dict(zip(wanted, draw_alike([held[i] for i, _ in wanted], [stages[s][i][0] for i, s in wanted])))
    good = [key for key in wanted if isinstance(drawings[key], Rendering)]
    verdicts = dict(zip(good, ask(run.judge, [(held[i]["task"], held[i]["image"], drawings[i, step].image)
                                              for i, step in good])))
    for i in dict.fromkeys(fixed + hacked):
        mine = [step for step in shown if (i, step) in verdicts]
        cards.append({"title": f"{held[i]['task']} {i + 1}" + (": reward up, fidelity down" if i in hacked else ""),
                      "values": {f"{name} at step {step}": stages[step][i][column]
                                 for name, column in (("fidelity", 2), ("reward", 1)) for step in shown},
                      "verdicts": {f"The judge on step {step}:": verdicts[i, step] for step in mine},
                      "images": [("reference", held[i]["image"]),
                                 *((f"step {step}", drawings[i, step].image) for step in mine)],
                      "texts": {"reference code": held[i]["code"], "last code": stages[shown[-1]][i][0]}})
    (out / "report.html").write_text(html_report(
        f"GRPO with reward {run.settings.reward}", cards,
        f"Held-out pictures at the steps {', '.join(map(str, shown))}."),
        "utf-8")


def plot(log, path, reward):
    """Proxy (what is trained on) and truth (fidelity) on held-out pictures, and the training reward, from log.csv."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = list(csv.DictReader(open(log)))
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
    for ax, column, title in zip(axes, ("reward", "proxy", "fidelity"), (
            f"reward in training: {reward}", "proxy: held-out reward, fixed scale", "truth: fidelity (0-100)")):
        for column in (column, "greedy") if column == "fidelity" else (column,):
            points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
            ax.plot(*zip(*points) if points else ((), ()), marker="" if column == "reward" else "o",
                    label="likeliest programs" if column == "greedy" else "sampled programs")
        ax.set(title=title, xlabel="step")
    axes[2].legend()
    fig.savefig(path, dpi=100)
    plt.close(fig)


# -------------------------------------------------------------------------------------------------- 6. the training
def main():
    (settings,) = HfArgumentParser(Settings).parse_args_into_dataclasses()
    out = Path(settings.out)
    row = choose_preset(settings.preset)
    settings.micro = row["micro"] if settings.micro is None else settings.micro
    check(settings, out)
    out.mkdir(parents=True, exist_ok=True)
    if not settings.resume:
        (out / "state.pt").unlink(missing_ok=True)               # or a later --resume could mix two runs
    (out / "config.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")

    torch.manual_seed(settings.seed)
    model, processor, judge = load_roles(settings, row)
    policy = [p for name, p in model.named_parameters() if ".policy." in name]
    optimiser = torch.optim.AdamW(policy, lr=settings.lr, weight_decay=0.0)
    run, first, stages = Run(settings, row, judge), 0, {}
    train, held = read_pictures(settings, row)
    if settings.resume and (out / "state.pt").exists():
        first, stages = load_state(out, model, optimiser)
    keep_rows(out / "log.csv", first if stages else -1)
    print(f"{len(train)} pictures to learn from, {len(held)} held out; the policy's adapter has "
          f"{sum(p.numel() for p in policy) / 1e6:.2f}M weights", flush=True)

    def look(step):
        """Score the held-out pictures and remember the programs that were sampled."""
        found, stages[step] = evaluate(model.eval(), processor, held, run)
        tqdm.write(f"step {step} held-out: " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
        return found

    if not stages:
        write_row(out / "log.csv", {"step": 0} | look(0))            # first the row, then the state: see keep_rows
        save_state(out, model, optimiser, 0, stages)
    usual, interrupted = signal.getsignal(signal.SIGINT), []

    def interrupt(*_):
        """Ctrl-C ends the step first, so that state and log agree; a second one ends at once."""
        interrupted.append(1)
        signal.signal(signal.SIGINT, usual)
        tqdm.write("Stopping after this step; Ctrl-C again stops at once, and the steps since the last state are lost.")

    signal.signal(signal.SIGINT, interrupt)
    try:
        for step in tqdm(range(first + 1, settings.steps + 1), initial=first, total=settings.steps, unit="step"):
            torch.manual_seed(1_000_003 * settings.seed + step)                # so that a resumed run samples the same
            clock = [time.perf_counter()]
            picked = torch.randperm(len(train))[:settings.prompts].tolist()
            prompts = [train[i] for i in picked for _ in range(settings.group)]                             # B = P * G

            # 1. Sample G programs for each of P pictures.
            inputs, answers, mask = sample(model.eval(), processor, [train[i] for i in picked], run)
            codes = [extract_code(prompt["task"], answer)
                     for prompt, answer in zip(prompts, decode(processor, answers, mask))]
            clock.append(time.perf_counter())

            # 2. Render, and meanwhile let the reference (all adapters off) score the same programs.
            batches = torch.arange(len(answers), device=answers.device).split(settings.micro)
            with ThreadPoolExecutor(1) as thread:
                drawing = thread.submit(draw_alike, prompts, codes)
                reference = torch.zeros(answers.shape, device=answers.device)                                  # (B, T)
                if settings.beta:
                    with torch.no_grad(), model.disable_adapter():
                        reference = torch.cat([log_probs(model, inputs, answers, mask, rows, settings.group,
                                                         settings.temperature) for rows in batches])
                drawings = drawing.result()

            # 3. Judge (Eq. 3-5) and compare within each group.
            run.unreadable = 0
            try:
                rewards = torch.tensor(score(prompts, codes, drawings, run), device=answers.device)           # (B,)
            except InputError:                                                          # a judge that stays silent
                save_state(out, model, optimiser, step - 1, stages)
                raise
            advantage = advantages(rewards, settings.group, settings.divide)                                  # (B,)
            clock.append(time.perf_counter())

            optimiser.param_groups[0]["lr"] = settings.lr * min(1.0, step / max(1, settings.warmup))

            # 4. Update (Eq. 6). In the first epoch the sampling policy is the policy: its log p is kept as `old`.
            model.train()
            tokens, old = mask.sum(), torch.zeros(answers.shape, device=answers.device)
            for epoch in range(settings.epochs):
                totals = {}
                for rows in batches:
                    logp = log_probs(model, inputs, answers, mask, rows, settings.group, settings.temperature)
                    if epoch == 0:
                        old[rows] = logp.detach()
                    loss, parts = grpo_loss(logp, old[rows], reference[rows] if settings.beta else logp.detach(),
                                            advantage[rows], mask[rows], tokens, settings.beta, settings.clip_low,
                                            settings.clip_high)
                    loss.backward()
                    totals = {name: totals.get(name, 0.0) + value for name, value in parts.items()}
                norm = torch.nn.utils.clip_grad_norm_(policy, 1.0)
                if not torch.isfinite(norm):                            # so it is if the loss is not a number
                    raise InputError(f"The gradient of step {step} is not finite; the last good state is "
                                     f"{out / 'state.pt'}. Lower --lr and go on with --resume.")
                optimiser.step()
                optimiser.zero_grad()
            clock.append(time.perf_counter())

            # 5. Log.
            grouped = rewards.view(-1, settings.group)
            found = {"step": step, "reward": rewards.mean().item(), "unreadable": run.unreadable, **totals,
                     "executes": 100 * sum(isinstance(drawn, Rendering) for drawn in drawings) / len(drawings),
                     "flat_groups": int((grouped == grouped[:, :1]).all(1).sum()),
                     "length": mask.sum(1).float().mean().item(), "grad_norm": norm.item(),
                     **dict(zip(("sample_s", "reward_s", "update_s"), (b - a for a, b in zip(clock, clock[1:]))))}
            tqdm.write(" ".join(f"{name} {value:.3g}" for name, value in found.items()))
            try:
                if step % settings.eval_every == 0 or step == settings.steps:
                    found |= look(step)
            except InputError:                                                          # a judge that stays silent
                save_state(out, model, optimiser, step, stages)
                raise
            finally:
                write_row(out / "log.csv", found)
            write_samples(out / "samples.jsonl", step, picked, codes, drawings, rewards, advantage)
            if step in stages or interrupted:
                save_state(out, model, optimiser, step, stages)
            if interrupted:
                print(f"Stopped after step {step}; go on with --resume.")
                return 130
    finally:
        signal.signal(signal.SIGINT, usual)
    finish(out, model, held, stages, run)
    scores = [row for row in csv.DictReader(open(out / "log.csv")) if row["fidelity"]]
    for column in ("proxy", "fidelity", "greedy"):
        print(f"{column} on {len(held)} held-out pictures: {scores[0][column]} -> {scores[-1][column]}")
    print(f"Wrote {out / 'checkpoint'}, {out / 'curves.png'} and {out / 'report.html'}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (InputError, SandboxMissing) as error:
        print(error, file=sys.stderr)
    except torch.OutOfMemoryError as error:
        print(f"The GPU's memory is full: lower --group, --micro or the preset's tokens ({error})", file=sys.stderr)
    sys.exit(2)
