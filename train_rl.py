"""Reinforcement learning with the judge as reward: GRPO by hand (Eq. 6).

    maximise  E[ r(picture, code) ]  -  beta * KL(policy || reference policy)

One step: the policy writes G programs for each of P pictures. The programs are rendered. The judge
lists what differs, and Eq. 3-5 make a reward of the list. A program that is better than the mean of
its G siblings becomes likelier, a worse one less likely. One base model plays several roles: with
the adapter "policy" on it is the policy, with all adapters off the reference policy, and if
`--judge` is an adapter of the same base (train_sft.py makes one), with that one the judge.

    python train_rl.py --task svg --reward verm                  # tiny models, minutes on 2 cores
    python train_rl.py --task svg --reward 0.5*verm+0.5*text     # rewards can be mixed
    python train_rl.py --task chart --data runs/real --preset 8b --lr 1e-5 --prompts_per_step 4

The last one is QLoRA on a GPU; nobody has run it yet. A run prints a line a step and what the
held-out pictures gained. OUT gets config.json, log.csv, samples.jsonl (the programs of the last
step), curves.png, report.html, state.pt and checkpoint/ (the policy's adapter). The printed policy
loss stays near 0: ratios are 1, and a group's advantages sum to 0. Its gradient teaches.

Departures from the paper: (1) LoRA instead of all weights. (2) DAPO's token-level loss, over the
tokens of the whole batch: neither micro-batches nor long completions change a token's weight.

From data/ come: settings and the run folder (runs), pictures (build), rollouts and
log-probabilities with a shared prompt (engine), loading (models), other rewards (metrics), the
exact comparison (compare), curves and page (report).
"""
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
    out: str = flag("runs/rl", "run folder")
    # rollout
    prompts_per_step: int = flag(8, "pictures a step (P)", "--prompts", positive=True)
    num_generations: int = flag(8, "programs a picture (G)", "--group")
    temperature: float = flag(1.0, "of sampling and log-probabilities", positive=True)
    # reward
    render_term: bool = flag(True, "r_rsr of Eq. 5: 1 if the code renders")
    scale: float = flag(0.0, "divides severities (published code: 50); 0: the batch's maximum")
    unreadable: str = flag("0", "an unreadable verdict is worth: 0, middle (published), or out")
    # update
    steps: int = flag(40, "steps; each has num_iterations updates")
    num_iterations: int = flag(1, "updates a batch; the 2nd is clipped", "--epochs", positive=True)
    lr: float = flag(5e-4, "learning rate of AdamW on the adapter")
    warmup: int = flag(10, "steps in which --lr rises from 0")
    rank: int = flag(16, "rank of the policy's LoRA adapter", positive=True)
    beta: float = flag(0.01, "weight of the KL term (k3 estimate)")
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
from data import build, engine, metrics, models, report
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


def score(examples: list[Example], codes: list[str], renderings: list, judge: visual_erm.VisualERM,
          settings: Settings, scale: float | None) -> tuple[list[float], int]:
    """Eq. 5: (r_rsr + sum of weight * reward for each program, unreadable verdicts).

    Code that did not render earns strictly least. Without the render term a picture still earns a
    thousandth more than none. `scale` divides severities; None: their maximum in the batch (Eq. 4).
    """
    batch = [one for one in zip(examples, codes, renderings) if isinstance(one[2], Rendering)]
    totals, unreadable = [0.0] * len(batch), 0
    for weight, name in parse_reward(settings.reward) if batch else ():
        rewards, failed = REWARDS[name](batch, judge=judge, encoder=settings.encoder, scale=scale,
                                        nothing=worth(settings.unreadable))
        totals = [total + weight * reward for total, reward in zip(totals, rewards)]
        unreadable += failed
    totals = visual_erm.add_render_term(renderings, totals, 1.0 if settings.render_term else 1e-3)
    return settle(settings.reward, examples, renderings, totals), unreadable


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


def grpo_loss(log_p: torch.Tensor, old_log_p: torch.Tensor, ref_log_p: torch.Tensor,
              advantages: torch.Tensor, mask: torch.Tensor, tokens: int, beta: float,
              clip_low: float, clip_high: float) -> tuple[torch.Tensor, dict]:
    """Eq. 6 as GRPO's clipped surrogate: the sum over a micro-batch over `tokens` of the batch.

    Ratio = p / p_old; the smaller of the plain and the clipped gain counts: nothing is won beyond
    the clip. k3 = exp(d) - d - 1 with d = log p_ref - log p estimates the KL, never below 0.
    """
    ratio = torch.exp(log_p - old_log_p)  # (b, T)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)  # (b, T)
    gain = torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])  # (b, T)
    d = ref_log_p - log_p  # (b, T)
    k3 = torch.exp(d) - d - 1  # (b, T)
    policy_loss = -(gain * mask).sum() / tokens  # minus: optimisers minimise
    kl = (k3 * mask).sum() / tokens
    clip_frac = ((ratio != clipped) * mask).sum() / tokens
    stats = {"policy_loss": policy_loss.item(), "kl": kl.item(), "clip_frac": clip_frac.item()}
    return policy_loss + beta * kl, stats


# --- 3. the five calls of the loop; the third is `score` ---


class NotFinite(InputError):
    """A gradient that is no number."""


@dataclass
class Batch:
    """What travels through a step: B = P * G programs, siblings together."""

    examples: list[Example]  # each picture G times
    inputs: dict  # of the P prompts
    completions: torch.Tensor  # (B, T) token ids
    mask: torch.Tensor  # (B, T) 1 for real tokens
    codes: list[str]
    renderings: list  # Rendering or RenderError
    ref_log_probs: torch.Tensor  # (B, T)


def sample_programs(model, processor, pictures: list[Example], settings: Settings, preset: dict):
    """Call 1: G programs for each picture: (inputs, completions, mask, codes)."""
    model.eval()  # the reference policy of call 2 wants that, too
    inputs, completions, mask = engine.rollout(
        model, processor, pictures, settings.num_generations, preset, settings.temperature)
    answers = engine.decode(processor, completions, mask)
    tasks = [picture.task for picture in pictures for _ in range(settings.num_generations)]
    return inputs, completions, mask, list(map(extract_code, tasks, answers))


def render_programs(model, pictures: list[Example], sampled: tuple, settings: Settings) -> Batch:
    """Call 2: render; meanwhile the reference policy (all adapters off) scores the programs."""
    inputs, completions, mask, codes = sampled
    examples = [picture for picture in pictures for _ in range(settings.num_generations)]
    ref_log_probs = torch.zeros(completions.shape, device=completions.device)
    with ThreadPoolExecutor(1) as thread:
        drawing = thread.submit(draw_alike, examples, codes)
        if settings.beta:
            with torch.no_grad(), model.disable_adapter():
                for rows in micro_batches(inputs, mask, settings):
                    ref_log_probs[rows] = engine.log_probs(
                        model, inputs, completions, mask, rows, settings.num_generations,
                        settings.temperature)
        renderings = drawing.result()
    return Batch(examples, inputs, completions, mask, codes, renderings, ref_log_probs)


def update(model, optimizer, batch: Batch, advantages: torch.Tensor, settings: Settings) -> dict:
    """Call 4 (Eq. 6): the numbers of its last iteration. Raises NotFinite.

    In the first iteration the sampling policy is the policy itself: its log p are the old ones.
    """
    model.train()
    weights = optimizer.param_groups[0]["params"]
    old_log_probs = torch.zeros(batch.mask.shape, device=batch.mask.device)
    for iteration in range(settings.num_iterations):
        stats = {"policy_loss": 0.0, "kl": 0.0, "clip_frac": 0.0}
        for rows in micro_batches(batch.inputs, batch.mask, settings):
            log_p = engine.log_probs(model, batch.inputs, batch.completions, batch.mask, rows,
                                     settings.num_generations, settings.temperature)
            if iteration == 0:
                old_log_probs[rows] = log_p.detach()
            ref_log_p = batch.ref_log_probs[rows] if settings.beta else log_p.detach()
            loss, parts = grpo_loss(log_p, old_log_probs[rows], ref_log_p, advantages[rows],
                                    batch.mask[rows], batch.mask.sum(), settings.beta,
                                    settings.clip_low, settings.clip_high)
            loss.backward()
            stats = {name: value + parts[name] for name, value in stats.items()}
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        if not torch.isfinite(norm):  # a loss that is no number shows here, too
            raise NotFinite("The gradient is not finite; the last good state is state.pt in "
                            f"{settings.out}. Lower --lr and go on with --resume.")
        optimizer.step()
        optimizer.zero_grad()
    return stats | {"grad_norm": norm.item()}


def micro_batches(inputs: dict, mask: torch.Tensor, settings: Settings) -> list[torch.Tensor]:
    """Indices into B, so many at a time as fit in memory; siblings together if they can be."""
    return engine.micro_batches(inputs, mask, settings.num_generations, settings.micro_batch_size)


# Call 5 writes a row of log.csv: reward (mean), render_rate (%), unreadable (verdicts),
# zero_std_groups (of equal rewards, which teach nothing), completion_length (tokens), policy_loss
# and kl (terms of Eq. 6), clip_frac (of tokens), grad_norm (before the cut to 1), seconds. On held-
# out pictures, sampled: eval_render_rate, eval_reward (at a fixed scale), fidelity, also by task;
# greedy_fidelity is of the likeliest programs.
COLUMNS = ("step", "reward", "render_rate", "unreadable", "zero_std_groups", "completion_length",
           "policy_loss", "kl", "clip_frac", "grad_norm", "sample_s", "reward_s", "update_s",
           "eval_render_rate", "eval_reward", "fidelity", *visual_erm.CATEGORIES, "greedy_fidelity")
SHOWN = ("step", "reward", "render_rate", "unreadable", "completion_length", "kl", "grad_norm")


def log_row(step: int, batch: Batch, rewards: torch.Tensor, unreadable: int, stats: dict,
            clock: list[float], settings: Settings) -> dict:
    """Call 5: the row of log.csv."""
    grouped = rewards.view(-1, settings.num_generations)
    rendered = sum(isinstance(drawn, Rendering) for drawn in batch.renderings)
    seconds = [after - before for before, after in zip(clock, clock[1:])]
    row = {"step": step, "reward": rewards.mean().item(), "unreadable": unreadable}
    row["render_rate"] = 100 * rendered / len(batch.renderings)
    row["zero_std_groups"] = int((grouped == grouped[:, :1]).all(1).sum())
    row["completion_length"] = batch.mask.sum(1).float().mean().item()
    return row | stats | dict(zip(("sample_s", "reward_s", "update_s"), seconds))


# --- 4. held-out pictures ---


def draw_held(policy: models.Chat, held: list[Example], seed: int, temperature: float) -> tuple:
    """(codes, renderings, fidelities) of a program a picture; temperature 0: the likeliest."""
    torch.manual_seed(seed)  # the same random numbers at every step
    renderings = draw_alike(held, codes := engine.write_programs(policy, held, temperature))
    points = [fidelity_or_zero(a.scene, b.scene) for a, b in zip(held, renderings)]
    return codes, renderings, points


def evaluate(policy: models.Chat, held: list[Example], judge: visual_erm.VisualERM,
             settings: Settings) -> tuple[dict, list[tuple[str, float, float]]]:
    """({column: value}, [(code, reward, fidelity)] of the sampled programs)."""
    codes, renderings, points = draw_held(policy, held, settings.seed, settings.temperature)
    scale = settings.scale or visual_erm.SCALE  # constant, or steps could not be compared
    rewards, _ = score(held, codes, renderings, judge, settings, scale)
    _, _, greedy = draw_held(policy, held, settings.seed, 0.0)
    rendered = sum(isinstance(drawn, Rendering) for drawn in renderings)
    columns = {"eval_reward": sum(rewards) / len(held), "fidelity": sum(points) / len(held),
               "greedy_fidelity": sum(greedy) / len(held),
               "eval_render_rate": 100 * rendered / len(held)}
    for task in settings.task.split(","):
        of_task = [point for one, point in zip(held, points) if one.task == task]
        columns[task] = sum(of_task) / len(of_task)
    return columns, list(zip(codes, rewards, points))


# --- 5. the run ---


def load_roles(settings: Settings, preset: dict) -> tuple[models.Chat, visual_erm.VisualERM]:
    """(policy, judge): one copy of the base's weights for all roles.

    While the judge answers, its adapter is on (`Chat._switched`); then the policy's is on again.
    A judge with weights of its own or behind a URL stays apart: two 8B models in 4 bits need some
    15 GB before the first activation, one and an adapter 9.
    """
    policy = models.Chat(models.trainable(settings.model or preset["model"]), preset)
    if preset["quantize"]:  # memory is short: recompute activations in the backward pass
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    policy.model = models.add_adapter(policy.model, preset, settings.rank, "policy")
    judge = visual_erm.VisualERM(settings.judge or preset["judge"], preset, share_with=policy,
                                 patience=600)
    return policy, judge


def save_state(out: Path, model, optimizer, step: int, stages: dict) -> None:
    """Everything that a resumed run needs."""
    policy = {name: p.detach() for name, p in model.named_parameters() if ".policy." in name}
    with runs.replacing(out / "state.pt") as path:
        torch.save({"step": step, "policy": policy, "optimizer": optimizer.state_dict(),
                    "stages": stages}, path)


def load_state(out: Path, model, optimizer) -> tuple[int, dict]:
    """(step, stages) of the last state, put into model and optimizer."""
    state = torch.load(out / "state.pt", weights_only=True, map_location=model.device)
    model.load_state_dict(state["policy"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["stages"]


def finish(out: Path, model, held: list[Example], stages: dict, judge: visual_erm.VisualERM,
           log: runs.Log, reward: str) -> None:
    """checkpoint/ (the adapter, as peft writes it), curves.png and report.html."""
    model.save_pretrained(out / "checkpoint.tmp", selected_adapters=["policy"])
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    (out / "checkpoint.tmp" / "policy").replace(out / "checkpoint")  # a folder for each adapter
    shutil.rmtree(out / "checkpoint.tmp")
    report.curves(out / "curves.png", log.rows(), {
        f"reward in training: {reward}": ["reward"],
        "held-out reward, fixed scale": ["eval_reward"],
        "fidelity (0-100)": ["fidelity", "greedy_fidelity"]},
        labels={"fidelity": "sampled programs", "greedy_fidelity": "likeliest programs"})
    report.stages_report(out / "report.html", held, stages, judge, reward)


def check(settings: Settings) -> None:
    """Raises InputError for settings that cannot work."""
    if unknown := [task for task in settings.task.split(",") if task not in visual_erm.CATEGORIES]:
        raise InputError(f"--task {unknown[0]!r} is unknown; choose among "
                         f"{', '.join(visual_erm.CATEGORIES)}.")
    parse_reward(settings.reward)
    worth(settings.unreadable)
    if settings.level not in build.SIZES:
        raise InputError(f"--level {settings.level} does not exist; choose 1, 2 or 3.")
    if settings.num_generations < 2:
        raise InputError("--num_generations must be at least 2: siblings are compared.")


@runs.script
def main(argv: list[str] | None = None) -> None:
    """Train a policy."""
    settings = runs.parse(Settings, argv, __doc__)
    preset = models.choose_preset(settings.preset)
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
    first, stages = (0, {})
    if (out / "state.pt").exists():  # run_folder leaves it only to --resume
        first, stages = load_state(out, model, optimizer)
    log = runs.Log(out / "log.csv", COLUMNS, first if stages else -1, settings.report_to)
    print(f"{len(train)} pictures to learn from, {len(held)} held out; the policy's adapter has "
          f"{sum(p.numel() for p in weights) / 1e6:.2f}M weights", flush=True)

    def look(step: int) -> dict:
        """Score the held-out pictures and remember the programs that were sampled."""
        model.eval()
        columns, stages[step] = evaluate(policy, held, judge, settings)
        values = ", ".join(f"{name} {value:.3g}" for name, value in columns.items())
        tqdm.write(f"step {step} held-out: {values}")
        return columns

    if not stages:
        log.write({"step": 0} | look(0))  # first the row, then the state
        save_state(out, model, optimizer, 0, stages)
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

                # 3. Reward them (Eq. 3-5) and compare within each group.
                rewards, unreadable = score(batch.examples, batch.codes, batch.renderings, judge,
                                            settings, settings.scale or None)
                rewards = torch.tensor(rewards, device=model.device)  # (B,)
                advantages = group_advantages(rewards, settings.num_generations,
                                              settings.scale_rewards)
                clock.append(time.perf_counter())

                # 4. Update the policy (Eq. 6).
                warm = min(1.0, step / max(1, settings.warmup))
                optimizer.param_groups[0]["lr"] = settings.lr * warm
                stats = update(model, optimizer, batch, advantages, settings)
                clock.append(time.perf_counter())
                last = step

                # 5. Log.
                row = log_row(step, batch, rewards, unreadable, stats, clock, settings)
                tqdm.write(" ".join(f"{name} {row[name]:.3g}" for name in SHOWN))
                try:
                    if step % settings.eval_every == 0 or step == settings.steps:
                        row |= look(step)
                finally:
                    log.write(row)
                runs.write_jsonl(out / "samples.jsonl", report.samples_rows(
                    step, settings.num_generations, picked, batch.codes, batch.renderings,
                    rewards.tolist(), advantages.tolist()))
                if step in stages or stop.asked:
                    save_state(out, model, optimizer, step, stages)
                if stop.asked:
                    raise KeyboardInterrupt(f"Stopped after step {step}; go on with --resume.")
        except NotFinite:
            raise  # the state before it is kept: from there a lower --lr takes another way
        except InputError:  # a judge that stays silent: what was learned is kept
            save_state(out, model, optimizer, last, stages)
            raise
    finish(out, model, held, stages, judge, log, settings.reward)
    scores = [row for row in log.rows() if row["fidelity"]]
    for column in ("eval_reward", "fidelity", "greedy_fidelity"):
        print(f"{column} on {len(held)} held-out pictures: {scores[0][column]} -> "
              f"{scores[-1][column]}")
    print(f"Wrote {out / 'checkpoint'}, {out / 'curves.png'} and {out / 'report.html'}.")


if __name__ == "__main__":
    sys.exit(main())
