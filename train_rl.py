"""Reinforcement learning with the judge as reward: GRPO by hand (Eq. 6).

    maximise  E[ r(picture, code) ]  -  beta * KL(policy || reference policy)

One step: the policy writes G programs for each of P pictures. The programs are rendered. The judge
lists what differs, and Eq. 3-5 make a reward of the list. A program that is better than the mean of
its G siblings becomes likelier, a worse one less likely. One base model plays several roles: with
the adapter "policy" on it is the policy, with all adapters off the reference policy, and if
`--judge` is an adapter of the same base (train_sft.py makes one), with that one the judge. With
`--adapter` the reference policy is that adapter, frozen: where training began.

    python train_rl.py --task svg --reward verm                  # tiny models, minutes on 2 cores
    python train_rl.py --task svg --reward 0.5*verm+0.5*text     # rewards can be mixed
    python train_rl.py --task svg --turns 2 --out runs/turns     # learns to revise, too
    python train_rl.py --task chart --data runs/real --preset 8b --lr 1e-5 --prompts_per_step 4

The last one is QLoRA on a GPU; nobody has run it yet. A run prints a line a step and what the
held-out pictures gained. OUT gets config.json, log.csv, samples.jsonl (the programs of the last
step), curves.png, report.html, state.pt and checkpoint/ (the policy's adapter). The printed policy
loss stays near 0: ratios are 1, and a group's advantages sum to 0. Its gradient teaches.

Departures from the paper: LoRA instead of all weights, and DAPO's loss, a mean over the tokens of
the whole batch: neither micro-batches nor long completions change a token's weight.

From data/ come: the run folder (runs), pictures (build), rollouts and log-probabilities (engine),
loading (models), other rewards (metrics), choices of other papers (variants), feedback on drafts
(turns), the log and what its columns mean (rl_run).
"""
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data import runs
from data.runs import flag
from data.verdict import InputError


@dataclass
class Settings(runs.RunSettings):
    # what
    task: str = flag("svg", "chart, table, svg; several with commas between")
    reward: str = flag("verm", "verm, vision, text, ssim, label, oracle, published; or a sum")
    preset: str = flag("tiny", "tiny, 2b, 4b or 8b")
    model: str = flag(None, "base: folder or hub name; default: preset's")
    judge: str = flag(None, "adapter of the base, other model, URL; default: the preset's")
    encoder: str = flag("", "encoder of `vision`; `tower`: the base's; default: EfficientNet")
    level: int = flag(1, "difficulty of the pictures that are drawn")
    data: str = flag("", "folders of pairs whose references to take instead")
    num_train: int = flag(512, "pictures to learn from, a task", "--images", positive=True)
    adapter: str = flag("", "policy's first weights, and KL's reference; default (ours): new")
    out: str = flag("runs/rl", "run folder")
    # rollout
    turns: int = flag(1, "1 (paper), or 2: draft, verdict, revision", positive=True, most=2)
    prompts_per_step: int = flag(8, "pictures a step (P)", "--prompts", positive=True)
    num_generations: int = flag(8, "programs a picture (G)", "--group")
    max_completion_length: int = flag(None, "tokens; default: the preset's", positive=True)
    temperature: float = flag(1.0, "of sampling and log-probabilities", positive=True)
    # reward
    render_term: bool = flag(True, "r_rsr of Eq. 5: 1 if the code renders")
    scale: float = flag(0.0, "divides severities (published code: 50); 0: the batch's maximum")
    unreadable: str = flag("0", "an unreadable verdict is worth: 0, middle (published), or out")
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = flag(
        "sum_then_normalize", "of a sum of rewards: ours, or each normalised alone (GDPO)")
    # update
    steps: int = flag(40, "steps; each has num_iterations * steps_per_generation updates")
    num_iterations: int = flag(1, "passes over a batch; 2nd: clipped", "--epochs", positive=True)
    steps_per_generation: int = flag(1, "updates a pass, each on a part; paper: 2", positive=True)
    lr: float = flag(5e-4, "learning rate of AdamW on the adapter")
    warmup: int = flag(10, "steps in which --lr rises from 0")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = flag(
        "constant", "after that: constant as in the paper, or down to 0 at --steps")
    rank: int = flag(16, "rank of the policy's LoRA adapter", positive=True)
    beta: float = flag(0.01, "weight of the KL term (k3 estimate)")
    entropy_coef: float = flag(0.0, "weight of an entropy bonus; 0 as in the paper")
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = flag(
        "dapo", "ours: DAPO's mean over tokens; GRPO's over programs; Dr. GRPO's constant")
    importance_sampling_level: Literal["token", "sequence"] = flag(
        "token", "what has a ratio: paper, or GSPO (whose clip is 3e-4 and 4e-4)")
    mask_truncated_completions: bool = flag(False, "what ran out of room teaches nothing (DAPO)")
    clip_low: float = flag(0.2, "the ratio is clipped at 1 - this")
    clip_high: float = flag(0.2, "... and at 1 + this")
    scale_rewards: bool = flag(True, "divide by the group's deviation; not in Dr. GRPO", "--divide")
    micro_batch_size: int = flag(32, "programs at once, at most", "--micro", positive=True)
    # bookkeeping
    eval_every: int = flag(10, "steps between two scores and states", positive=True)
    eval_images: int = flag(60, "held-out pictures, for each task", positive=True)
    seed: int = flag(0, "fixes pictures, samples and adapter")
    report_to: str = flag("", "tensorboard: the log goes there, too")


if __name__ == "__main__":
    runs.parse(Settings, None, __doc__)  # before the slow imports of torch

import torch
from tqdm import tqdm

import visual_erm
from data import build, engine, metrics, models, optim, report, rl_run, turns, variants
from data.compare import exact_verdict, fidelity_or_zero
from data.pairs import Example
from data.published import published, settle, worth
from render import Rendering, draw_alike, extract_code

# --- 1. rewards ---
# A reward of programs that rendered: (a number in [0, 1] for each, how many were unreadable).
Drawn = list[tuple[Example, str, Rendering]]  # the picture, the code, what it draws
Rewards = tuple[list[float], int]


def verm(batch: Drawn, judge, scale: float | None, nothing: float = 0.0, **_) -> Rewards:
    """Eq. 3-4, by the judge."""
    verdicts = judge.judge([(one.task, one.image, drawn.image) for one, _, drawn in batch])
    unreadable = sum(not verdict.readable for verdict in verdicts)
    return visual_erm.verm_rewards(verdicts, scale, nothing), unreadable


def vision(batch: Drawn, encoder: str, **_) -> Rewards:
    """Cosine of a vision encoder's features, as DINO rewards do."""
    network = metrics.load_encoder(encoder)
    return [max(0.0, network.similarity(one.image, drawn.image)) for one, _, drawn in batch], 0


def text(batch: Drawn, **_) -> Rewards:
    """Similarity of the code: TEDS, without its hole, for tables, else edit distance."""
    return [metrics.text_reward(one.task, one.code, code) for one, code, _ in batch], 0


def ssim(batch: Drawn, **_) -> Rewards:
    """SSIM of the two pictures."""
    return [max(0.0, metrics.ssim(one.image, drawn.image)) for one, _, drawn in batch], 0


def label(batch: Drawn, scale: float | None, **_) -> Rewards:
    """Eq. 3-4 on exact labels: what a perfect judge would pay, the ceiling of `verm`."""
    verdicts = [exact_verdict(one.task, one.scene, drawn.scene) for one, _, drawn in batch]
    return visual_erm.verm_rewards(verdicts, scale), 0


def oracle(batch: Drawn, **_) -> Rewards:
    """Fidelity, the exact comparison of what both pictures show."""
    return [fidelity_or_zero(one.scene, drawn.scene) / 100 for one, _, drawn in batch], 0


REWARDS = {one.__name__: one for one in (verm, vision, text, ssim, label, oracle, published)}


def parse_reward(words: str) -> list[tuple[float, str]]:
    """The terms of a sum: "0.5*verm+0.5*text" -> [(0.5, "verm"), (0.5, "text")]. Or InputError."""
    terms = []
    for term in words.replace(" ", "").split("+"):
        match = re.fullmatch(r"(?:(\d*\.?\d+)\*)?(\w+)", term)
        if not match or match[2] not in REWARDS:
            raise InputError(f"--reward {words!r} is no sum of rewards; choose among "
                             f"{', '.join(REWARDS)}, for example 0.5*verm+0.5*text.")
        terms.append((float(match[1] or 1), match[2]))
    return terms


def score_terms(examples: list[Example], codes: list[str], renderings: list,
                judge: visual_erm.VisualERM, settings: Settings,
                scale: float | None) -> tuple[list[list[float]], int]:
    """(for each term of --reward the rewards of what rendered, unreadable verdicts).

    `scale` divides severities; None: their maximum in the batch (Eq. 4).
    """
    batch = [one for one in zip(examples, codes, renderings) if isinstance(one[2], Rendering)]
    terms, unreadable = [], 0
    for _, name in parse_reward(settings.reward) if batch else ():
        rewards, failed = REWARDS[name](batch, judge=judge, encoder=settings.encoder, scale=scale,
                                        nothing=worth(settings.unreadable))
        terms.append(rewards)
        unreadable += failed
    return terms, unreadable


def sum_terms(terms: list[list[float]], examples: list[Example], renderings: list,
              settings: Settings) -> list[float]:
    """Eq. 5: r_rsr + sum of weight * reward for each program; code that did not render earns least.

    Without the render term a picture still earns a thousandth more than none.
    """
    totals = [0.0] * sum(isinstance(drawn, Rendering) for drawn in renderings)
    for (weight, _), rewards in zip(parse_reward(settings.reward), terms):
        totals = [total + weight * reward for total, reward in zip(totals, rewards)]
    totals = visual_erm.add_render_term(renderings, totals, 1.0 if settings.render_term else 1e-3)
    return settle(settings.reward, examples, renderings, totals)


def score(examples: list[Example], codes: list[str], renderings: list, judge: visual_erm.VisualERM,
          settings: Settings, scale: float | None) -> tuple[list[float], int]:
    """(Eq. 5 for each program, unreadable verdicts)."""
    terms, unreadable = score_terms(examples, codes, renderings, judge, settings, scale)
    return sum_terms(terms, examples, renderings, settings), unreadable


# --- 2. advantages and loss ---


def group_advantages(rewards: torch.Tensor, num_generations: int,
                     scale_rewards: bool = True) -> torch.Tensor:
    """Group-relative advantages of rewards (P * G,): minus the group's mean, over its deviation.

    >>> [round(a, 3) for a in group_advantages(torch.tensor([1.0, 2.0, 3.0, 3.0]), 2).tolist()]
    [-0.707, 0.707, 0.0, 0.0]
    >>> group_advantages(torch.tensor([1.5, 1.5, 1.5]), 3).tolist()  # equal rewards teach nothing
    [0.0, 0.0, 0.0]
    """
    grouped = rewards.view(-1, num_generations)  # (P, G)
    centred = grouped - grouped.mean(1, keepdim=True)
    if scale_rewards:
        centred = centred / (grouped.std(1, keepdim=True) + 1e-4)
    return centred.flatten()  # (P * G,)


def advantages_of(rewards: torch.Tensor, terms: list[list[float]], batch: "Batch",
                  settings: Settings) -> torch.Tensor:
    """Advantages (B,) of the sums `rewards` (B,) or (GDPO) of each of their `terms`, r_rsr too."""
    if settings.multi_objective_aggregation == "sum_then_normalize":
        return group_advantages(rewards, settings.num_generations, settings.scale_rewards)
    rendered = [float(isinstance(drawn, Rendering)) for drawn in batch.renderings]
    parts = [(1.0, rendered)] if settings.render_term else []
    for (weight, name), earned in zip(parse_reward(settings.reward), terms):
        alone = visual_erm.add_render_term(batch.renderings, earned, 0.0)
        parts.append((weight, settle(name, batch.examples, batch.renderings, alone)))
    each = [group_advantages(rewards.new_tensor(part), settings.num_generations)
            for _, part in parts]
    return variants.normalize_then_sum(torch.stack(each), [weight for weight, _ in parts])


def grpo_loss(log_p: torch.Tensor, old_log_p: torch.Tensor, ref_log_p: torch.Tensor,
              advantages: torch.Tensor, weights: torch.Tensor, tokens: int, beta: float,
              clip_low: float, clip_high: float, level: str = "token") -> tuple[torch.Tensor, dict]:
    """Eq. 6 as GRPO's clipped surrogate: the sum over a micro-batch over `tokens` of the batch.

    Ratio = p / p_old; the smaller of the plain and the clipped gain counts: nothing is won beyond
    the clip. k3 = exp(d) - d - 1 with d = log p_ref - log p estimates the KL, never below 0.
    `weights` (b, T) is the mask, if every token counts the same (`variants.token_weights`).
    """
    log_ratio, mask = log_p - old_log_p, weights > 0  # (b, T)
    if level == "sequence":
        log_ratio = variants.sequence_log_ratio(log_ratio, mask)  # (b, 1)
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    gain = torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
    d = ref_log_p - log_p  # (b, T)
    k3 = torch.exp(d) - d - 1  # (b, T)
    policy_loss = -(gain * weights).sum() / tokens  # minus: optimisers minimise
    kl = (k3 * weights).sum() / tokens
    clip_frac = ((ratio != clipped) * mask).sum() / tokens
    stats = {"policy_loss": policy_loss.item(), "kl": kl.item(), "clip_frac": clip_frac.item()}
    return policy_loss + beta * kl, stats


# --- 3. three calls of the loop ---


class NotFinite(InputError):
    """A gradient that is no number."""


@dataclass
class Batch:
    """What travels through a step: B = P * G programs of a turn, siblings together."""

    examples: list[Example]  # each picture G times
    inputs: dict  # of the prompts: P, or B of a second turn
    completions: torch.Tensor  # (B, T) token ids
    mask: torch.Tensor  # (B, T) 1 for real tokens
    truncated: torch.Tensor  # (B,) True for those that ran out of room
    codes: list[str]
    renderings: list  # Rendering or RenderError
    old_log_probs: torch.Tensor  # (B, T)
    ref_log_probs: torch.Tensor  # (B, T)
    siblings: int  # programs a prompt: G, or 1


def sample_programs(model, processor, pictures: list[Example], settings: Settings, preset: dict,
                    drafts: list[tuple[str, str]] | None = None) -> tuple:
    """Call 1: G programs a picture: (inputs, completions, mask, truncated, codes)."""
    model.eval()  # the reference policy of call 2 wants that, too
    siblings = 1 if drafts else settings.num_generations  # a draft (code, feedback): one revision
    inputs, completions, mask = engine.rollout(model, processor, pictures, siblings, preset,
                                               settings.temperature, drafts)
    answers = engine.decode(processor, completions, mask)
    tasks = [picture.task for picture in pictures for _ in range(siblings)]
    truncated = engine.truncated(processor, completions, mask)
    return inputs, completions, mask, truncated, list(map(extract_code, tasks, answers))


def render_programs(model, pictures: list[Example], sampled: tuple, settings: Settings) -> Batch:
    """Call 2: render; meanwhile the reference policy scores the programs."""
    inputs, completions, mask, truncated, codes = sampled
    siblings = len(codes) // len(pictures)
    examples = [picture for picture in pictures for _ in range(siblings)]
    parts = engine.micro_batches(inputs, mask, siblings, settings.micro_batch_size)

    def log_probs(wanted):
        found = torch.zeros(completions.shape, device=completions.device)
        for rows in parts if wanted else ():
            found[rows] = engine.log_probs(model, inputs, completions, mask, rows, siblings,
                                           settings.temperature)
        return found

    with ThreadPoolExecutor(1) as thread, torch.no_grad():
        drawing = thread.submit(draw_alike, examples, codes)
        # Where a batch is split, the policy is another one after the first part.
        old_log_probs = log_probs(settings.steps_per_generation > 1)
        with models.reference_policy(model):
            ref_log_probs = log_probs(settings.beta)
        renderings = drawing.result()
    return Batch(examples, inputs, completions, mask, truncated, codes, renderings, old_log_probs,
                 ref_log_probs, siblings)


def update(model, optimizer, episode: list[Batch], advantages: torch.Tensor,
           settings: Settings) -> dict:
    """Call 4 (Eq. 6): the numbers of its last pass over the batch. Raises NotFinite.

    `episode`: the batch of each turn, all with the same advantages (B,). In the first pass the
    sampling policy is the policy itself: its log p are the old ones.
    """
    model.train()
    masks = [turn.mask for turn in episode]
    if settings.mask_truncated_completions:
        masks = [turn.mask * ~turn.truncated[:, None] for turn in episode]
    longest, parts = settings.max_completion_length, settings.steps_per_generation
    weights, tokens = variants.token_weights(masks, settings.loss_type, longest)
    tokens = tokens / parts  # a token weighs the same in each part
    for iteration in range(settings.num_iterations):
        stats = dict.fromkeys(("policy_loss", "kl", "clip_frac", "entropy"), 0.0)
        for part in torch.arange(len(advantages)).chunk(parts):
            fresh = iteration == 0 and parts == 1
            for turn, weight in zip(episode, weights):
                for rows in engine.micro_batches(turn.inputs, turn.mask, turn.siblings,
                                                 settings.micro_batch_size, rows=part):
                    found = backward(model, turn, rows, advantages[rows], weight[rows], tokens,
                                     fresh, settings)
                    stats = {name: value + found[name] for name, value in stats.items()}
            policy = optimizer.param_groups[0]["params"]
            norm = torch.nn.utils.clip_grad_norm_(policy, 1.0)
            if not torch.isfinite(norm):  # a loss that is no number shows here, too
                raise NotFinite("The gradient is not finite; the last good state is state.pt in "
                                f"{settings.out}. Lower --lr and go on with --resume.")
            optimizer.step()
            optimizer.zero_grad()
    stats = {name: value / parts for name, value in stats.items()}
    return stats | {"grad_norm": norm.item(), "lr": optimizer.param_groups[0]["lr"]}


def backward(model, turn: Batch, rows: torch.Tensor, advantages: torch.Tensor,
             weights: torch.Tensor, tokens: torch.Tensor, fresh: bool, settings: Settings) -> dict:
    """Add the gradient of the programs `rows` of a turn; `fresh`: before the first update."""
    log_p, entropy = engine.log_probs(model, turn.inputs, turn.completions, turn.mask, rows,
                                      turn.siblings, settings.temperature, entropy=True)
    if fresh:
        turn.old_log_probs[rows] = log_p.detach()
    ref_log_p = turn.ref_log_probs[rows] if settings.beta else log_p.detach()
    loss, stats = grpo_loss(
        log_p, turn.old_log_probs[rows], ref_log_p, advantages, weights, tokens, settings.beta,
        settings.clip_low, settings.clip_high, settings.importance_sampling_level)
    entropy = (entropy * (weights > 0)).sum() / tokens
    (loss - settings.entropy_coef * entropy).backward()
    return stats | {"entropy": entropy.item()}


# --- 4. the run ---


def load_roles(settings: Settings, preset: dict) -> tuple[models.Chat, visual_erm.VisualERM]:
    """(policy, judge): one copy of the base's weights for all roles.

    While the judge answers, its adapter is on (`Chat._switched`); then the policy's is on again.
    A judge with weights of its own or behind a URL stays apart: two 8B models in 4 bits need some
    15 GB before the first activation, one and an adapter 9.
    """
    policy = models.Chat(models.trainable(settings.model, preset, settings.adapter), preset)
    if preset["quantize"]:  # memory is short: recompute activations in the backward pass
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    policy.model = models.add_adapter(policy.model, preset, settings.rank, "policy",
                                      settings.adapter)
    if settings.adapter and settings.beta:  # Eq. 6 keeps the policy near where it began
        policy.model.load_adapter(models.find_folder(settings.adapter), "reference")
    judge = visual_erm.VisualERM(settings.judge or preset["judge"], preset, share_with=policy,
                                 patience=600)
    return policy, judge


def check(settings: Settings) -> None:
    """Raises InputError for settings that cannot work."""
    build.check_pictures(settings.task, settings.level)
    parse_reward(settings.reward)
    worth(settings.unreadable)
    if settings.prompts_per_step % settings.steps_per_generation:
        raise InputError("--steps_per_generation must divide --prompts_per_step.")
    if settings.num_generations < 2:
        raise InputError("--num_generations must be at least 2: siblings are compared.")


@runs.script
def main(argv: list[str] | None = None) -> None:
    """Train a policy."""
    settings = runs.parse(Settings, argv, __doc__)
    preset = dict(models.choose_preset(settings.preset))
    settings.max_completion_length = settings.max_completion_length or preset["code_tokens"]
    preset["code_tokens"] = settings.max_completion_length
    check(settings)
    with runs.run_folder(settings, free=("steps", "lr")) as out:
        train_policy(settings, preset, out)


def train_policy(settings: Settings, preset: dict, out: Path) -> None:
    """The loop, from the step after the last state in `out`. KeyboardInterrupt after Ctrl-C."""
    torch.manual_seed(settings.seed)
    policy, judge = load_roles(settings, preset)
    model, processor = policy.model, policy.processor
    weights = [p for name, p in model.named_parameters() if ".policy." in name]
    optimizer = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=0.0)
    train, held = build.train_and_held(
        settings.task.split(","), settings.data, settings.level, settings.seed, settings.num_train,
        settings.eval_images, preset)
    first, stages = rl_run.load_state(out, model, optimizer)
    log = runs.Log(out / "log.csv", rl_run.COLUMNS, first if stages else -1, settings.report_to)
    print(f"{len(train)} pictures to learn from, {len(held)} held out; the policy's adapter has "
          f"{sum(p.numel() for p in weights) / 1e6:.2f}M weights", flush=True)

    def look(step: int) -> dict:
        """Score the held-out pictures and remember the programs that were sampled."""
        columns, stages[step] = rl_run.evaluate(policy, held, judge, score, settings)
        tqdm.write(f"step {step} held-out: {rl_run.shown(columns)}")
        return columns

    if not stages:
        log.write({"step": 0} | look(0))  # first the row, then the state
        rl_run.save_state(out, model, optimizer, 0, stages)
    steps = tqdm(range(first + 1, settings.steps + 1), initial=first, total=settings.steps)
    last = first  # the last step whose update is done
    with runs.FinishStep() as stop:
        try:
            for step in steps:
                torch.manual_seed(1_000_003 * settings.seed + step)  # the same in a resumed run
                clock = [time.perf_counter()]
                picked = torch.randperm(len(train))[:settings.prompts_per_step].tolist()
                pictures = [train[i] for i in picked]

                # 1. Rollout: G programs for each of P pictures.
                sampled = sample_programs(model, processor, pictures, settings, preset)
                clock.append(time.perf_counter())

                # 2. Render them; the reference policy scores them meanwhile.
                batch = render_programs(model, pictures, sampled, settings)
                episode, row, drafts, missed = [batch], {}, None, 0
                if settings.turns > 1:  # Eq. 8-9: a verdict on each draft, a revision of it
                    said, answered = turns.feedback(batch.examples, batch.renderings, judge)
                    earned, missed = score(batch.examples, batch.codes, batch.renderings, answered,
                                           settings, settings.scale or None)
                    row["draft_reward"] = sum(earned) / len(earned)
                    drafts, asked = list(zip(batch.codes, said)), batch.examples
                    sampled = sample_programs(model, processor, asked, settings, preset, drafts)
                    batch = render_programs(model, asked, sampled, settings)
                    episode.append(batch)

                # 3. Reward them (Eq. 3-5) and compare within each group.
                terms, unreadable = score_terms(batch.examples, batch.codes, batch.renderings,
                                                judge, settings, settings.scale or None)
                rewards = sum_terms(terms, batch.examples, batch.renderings, settings)
                rewards = torch.tensor(rewards, device=model.device)  # (B,)
                advantages = advantages_of(rewards, terms, batch, settings)
                clock.append(time.perf_counter())

                # 4. Update the policy (Eq. 6).
                optimizer.param_groups[0]["lr"] = optim.learning_rate(
                    settings.lr, settings.lr_scheduler_type, step, settings.steps, settings.warmup)
                stats = update(model, optimizer, episode, advantages, settings)
                clock.append(time.perf_counter())
                last = step

                # 5. Log.
                row |= rl_run.log_row(step, episode, rewards, unreadable + missed, stats, clock,
                                      settings.num_generations)
                tqdm.write(" ".join(f"{name} {row[name]:.3g}" for name in rl_run.SHOWN))
                try:
                    if step % settings.eval_every == 0 or step == settings.steps:
                        row |= look(step)
                finally:
                    log.write(row)
                runs.write_jsonl(out / "samples.jsonl", report.samples_rows(
                    step, settings.num_generations, picked, batch.codes, batch.renderings,
                    rewards.tolist(), advantages.tolist(), drafts))
                if step in stages or stop.asked:
                    rl_run.save_state(out, model, optimizer, step, stages)
                if stop.asked:
                    raise KeyboardInterrupt(f"Stopped after step {step}; go on with --resume.")
        except NotFinite:
            raise  # the state before it is kept: from there a lower --lr takes another way
        except InputError:  # a judge that stays silent: what was learned is kept
            rl_run.save_state(out, model, optimizer, last, stages)
            raise
    rl_run.finish(out, model, log.rows(), held, stages, judge, settings.reward)


if __name__ == "__main__":
    sys.exit(main())
