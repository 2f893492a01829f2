"""A page that walks through one step of GRPO with the tiny policy, in numbers of a real run."""
import random
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch

import train_rl
import visual_erm
from data import build, engine, models
from data.pairs import Example, data_url
from data.report import STYLE, verdict_html
from data.runs import write_text
from data.verdict import CATEGORIES, InputError, Verdict
from render import Rendering

GROUP = 4
SEED = "8"  # of a group whose rewards differ, with one program that does not render
MORE_STYLE = """.wide{overflow-x:auto}.wide table{width:auto}td.n,th.n{text-align:right;
font-variant-numeric:tabular-nums;white-space:nowrap}figure.small{flex:0 1 11rem}
.tokens{line-height:2.6;overflow-wrap:anywhere}.tokens b{display:inline-block;line-height:1.15;
font:12px/1.15 ui-monospace,monospace;padding:.15rem .3rem;margin:0 1px;border-radius:4px;
text-align:center;white-space:pre-wrap;max-width:98%;border:1px solid transparent}
.tokens small{display:block;font-size:10px;opacity:.75}.tokens b.clip{border-color:currentColor}
p.eq{font-family:ui-monospace,monospace;font-size:.85rem;background:var(--soft);
border-radius:6px;padding:.5rem .8rem;white-space:pre-wrap}"""


@dataclass
class Step:
    """One step's numbers: G completions of T tokens at most, before and after the update."""

    example: Example
    batch: train_rl.Batch
    verdicts: list  # a Verdict for each completion that rendered, else None
    rewards: torch.Tensor  # (G,)
    advantages: torch.Tensor  # (G,)
    old: torch.Tensor  # (G, T) log p of the policy that sampled
    new: torch.Tensor  # (G, T) after the update
    words: list[list[str]]  # the tokens, as text
    iterations: list[dict]  # of the first and of the second update: grpo_loss's numbers
    settings: train_rl.Settings
    image_tokens: int


def take_step(task: str, seed: str) -> Step:
    """Sample, render, judge, reward, and update once; then look at the same programs again."""
    numbers = random.Random(seed)
    settings = train_rl.Settings(task=task, num_generations=GROUP, num_iterations=1,
                                 micro_batch_size=GROUP)
    preset = models.choose_preset("tiny")
    torch.manual_seed(numbers.getrandbits(32))
    policy, judge = train_rl.load_roles(settings, preset)
    [example] = build.draw_examples(task, 1, 1, seed, held_out=True)
    sampled = train_rl.sample_programs(policy.model, policy.processor, [example], settings, preset)
    batch = train_rl.render_programs(policy.model, [example], sampled, settings)

    drawn = [one for one in batch.renderings if isinstance(one, Rendering)]
    given = iter(judge.judge([(task, example.image, one.image) for one in drawn]))
    verdicts = [next(given) if isinstance(one, Rendering) else None for one in batch.renderings]
    rewards = torch.tensor(visual_erm.add_render_term(
        batch.renderings, visual_erm.verm_rewards([one for one in verdicts if one])))
    advantages = train_rl.group_advantages(rewards, GROUP)

    def log_probs():
        with torch.no_grad():
            return engine.log_probs(policy.model, batch.inputs, batch.completions, batch.mask,
                                    torch.arange(GROUP), GROUP, settings.temperature)

    weights = [p for name, p in policy.model.named_parameters() if ".policy." in name]
    optimizer = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=0.0)
    policy.model.eval()
    old = log_probs()
    first = train_rl.update(policy.model, optimizer, [batch], advantages, settings)
    policy.model.eval()
    new = log_probs()
    _, second = train_rl.grpo_loss(new, old, batch.ref_log_probs, advantages, batch.mask,
                                   batch.mask.sum(), settings.beta, settings.clip_low,
                                   settings.clip_high)
    tokenizer = policy.processor.tokenizer
    words = [[tokenizer.decode([token]) for token in row[real.bool()].tolist()]
             for row, real in zip(batch.completions, batch.mask)]
    image_tokens = int((batch.inputs["input_ids"] == policy.processor.image_token_id).sum())
    return Step(example, batch, verdicts, rewards, advantages, old, new, words, [first, second],
                settings, image_tokens)


def walk(out: Path | str, task: str = "svg", seed: str = "") -> None:
    """Write the page: one file that needs no network. Raises InputError for an unknown task."""
    if task not in CATEGORIES:
        raise InputError(f"--task {task!r} is unknown; choose among {', '.join(CATEGORIES)}.")
    seed = seed or SEED
    step = take_step(task, seed)
    if not step.rewards.std() > 0:
        print(f"All {GROUP} programs of --seed {seed} earn the same, so nothing is learned from "
              "them; another --seed shows more.", file=sys.stderr)
    write_text(out, page(step, seed))


# --- 1. the page ---


def page(step: Step, seed: str) -> str:
    """The whole page."""
    title = "One step of GRPO, in numbers"
    parts = [_question(step), *_answers(step), _reward(step), _advantage(step), _ratio(step),
             _loss(step)]
    return (f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
            f"<style>{STYLE}{MORE_STYLE}</style><h1>{title}</h1>"
            f"<p>The tiny policy (2 million weights) redraws a picture that it never saw. Every "
            f"number here was computed when this page was made (--task {step.example.task} "
            f"--seed {escape(seed)}).</p>{''.join(parts)}</html>\n")


def _table(heads: list[str], rows: list[list]) -> str:
    """A table whose cells after the first of a row are numbers or short texts."""
    lines = ["<div class=wide><table><tr><th>", "<th class=n>".join(map(escape, heads))]
    for row in rows:
        cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        lines.append(f"<tr><td>{'<td class=n>'.join(map(escape, cells))}")
    return "".join(lines) + "</table></div>"


def _question(step):
    prompt = visual_erm.code_prompt(step.example.task)
    tokens = int(step.batch.inputs["attention_mask"].sum())
    return (f'<article><h2>1. The prompt</h2><div class=row><figure class=small>'
            f'<img src="{data_url(step.example.image)}" alt="the reference">'
            f"<figcaption>the reference</figcaption></figure><div style='flex:1 1 16rem'>"
            f"<pre>{escape(prompt)}</pre><p>Picture and text are {tokens} tokens, "
            f"{step.image_tokens} of them the picture. The policy reads them once and then writes "
            f"{GROUP} completions, each token drawn at temperature "
            f"{step.settings.temperature:g}.</p></div></div></article>")


def _answers(step):
    yield (f"<h2>2. {GROUP} completions, what they draw, and what the judge says</h2>"
           "<p>The judge sees the reference and the drawing, never the code.</p>")
    for n, (code, drawn, verdict) in enumerate(zip(step.batch.codes, step.batch.renderings,
                                                   step.verdicts)):
        yield f"<article><h2>completion {n + 1}</h2><div class=row>"
        if isinstance(drawn, Rendering):
            yield (f'<figure class=small><img src="{data_url(drawn.image)}" alt="what completion '
                   f'{n + 1} draws"></figure><div style="flex:1 1 16rem" class=wide>')
            yield "".join(verdict_html("", verdict))
        else:
            yield f"<div><p>Not drawn: {escape(str(drawn))}</p>"
        yield (f"</div></div><details><summary>its code, {len(step.words[n])} tokens</summary>"
               f"<pre>{escape(code)}</pre></details></article>")


def _severity(verdict: Verdict | None) -> int | None:
    return verdict.severity if verdict and verdict.readable else None


def _reward(step):
    sums = [_severity(verdict) for verdict in step.verdicts]
    most = max((s for s in sums if s is not None), default=0)
    rows = []
    for n, (drawn, s) in enumerate(zip(step.batch.renderings, sums)):
        renders = isinstance(drawn, Rendering)
        verm = step.rewards[n].item() - renders
        share = "-" if s is None else s / (most + visual_erm.EPS)
        rows.append([f"completion {n + 1}", "-" if s is None else s, share,
                     verm if renders else "-", int(renders), step.rewards[n].item()])
    return ("<article><h2>3. Rewards (Eq. 3-5)</h2>"
            "<p class=eq>S~ = S / (max S + eps)    r_verm = clip(1 - S~, 0, 1)\n"
            "r  = r_rsr + r_verm          r_rsr = 1 if it renders</p>"
            "<p>S is the sum of the severities in a verdict. The largest S of the batch, here "
            f"{most}, divides all of them. In a real step the batch is "
            f"{train_rl.Settings.prompts_per_step} pictures.</p>"
            + _table(["", "S", "S~", "r_verm", "r_rsr", "r"], rows) + "</article>")


def _advantage(step):
    mean, deviation = step.rewards.mean().item(), step.rewards.std().item()
    rows = [[f"completion {n + 1}", r, r - mean, a] for n, (r, a) in enumerate(
        zip(step.rewards.tolist(), step.advantages.tolist()))]
    return ("<article><h2>4. Advantages</h2>"
            "<p class=eq>A = (r - mean r) / (deviation of r + 0.0001)</p>"
            f"<p>Mean {mean:.3f}, deviation {deviation:.3f}. Better than its siblings: A &gt; 0, "
            "and every token of it is to become likelier. No value network is needed.</p>"
            + _table(["", "r", "r - mean", "A"], rows) + "</article>")


def _ratio(step):
    low, high = 1 - step.settings.clip_low, 1 + step.settings.clip_high
    ratios = torch.exp(step.new - step.old)
    parts = []
    for n, words in enumerate(step.words):
        a = step.advantages[n].item()
        parts.append(f"<p>completion {n + 1}, A = {a:+.3f}</p><div class=tokens>")
        for t, word in enumerate(words):
            ratio = ratios[n, t].item()
            hue = 140 if ratio >= 1 else 10
            strength = min(0.85, 4 * abs(ratio - 1))
            clip = " class=clip" if not low <= ratio <= high else ""
            shown = escape(word.replace("\n", "⏎"))
            parts.append(f'<b{clip} style="background:hsla({hue},70%,50%,{strength:.2f})">{shown}'
                         f"<small>{step.old[n, t].item():.2f} ×{ratio:.2f}</small></b>")
        parts.append("</div>")
    real = step.batch.mask.bool()
    return ("<article><h2>5. Log-probabilities and ratios</h2>"
            "<p class=eq>ratio = p_new / p_old = exp(log p_new - log p_old)</p>"
            "<p>Under each token: its log-probability when it was sampled, and the ratio after one "
            f"update with AdamW (learning rate {step.settings.lr:g}). Green became likelier, red "
            f"less likely, from {ratios[real].min().item():.2f} to "
            f"{ratios[real].max().item():.2f}. A frame marks what the clip would cut: under "
            f"{low:g} or over {high:g}. Before the update all ratios are 1. A token of a bad "
            "program may become likelier: good siblings have it as well.</p>"
            + "".join(parts) + "</article>")


def _loss(step):
    settings, mask = step.settings, step.batch.mask
    ratio = torch.exp(step.new - step.old)
    moved = ((ratio - 1).abs() * mask * step.advantages.abs().clamp(max=1)[:, None])
    n, t = divmod(int(moved.argmax()), mask.shape[1])
    r, a = ratio[n, t].item(), step.advantages[n].item()
    clipped = min(max(r, 1 - settings.clip_low), 1 + settings.clip_high)
    gain, tokens = min(r * a, clipped * a), int(mask.sum())
    word = step.words[n][t] if t < len(step.words[n]) else ""
    worked = (f"token {word!r} of completion {n + 1}\n"
              f"log p_old {step.old[n, t].item():.4f}   log p_new {step.new[n, t].item():.4f}\n"
              f"ratio     exp({(step.new - step.old)[n, t].item():.4f}) = {r:.4f}\n"
              f"clipped   {clipped:.4f}\n"
              f"gain      min({r:.4f} * {a:.4f}, {clipped:.4f} * {a:.4f}) = {gain:.4f}\n"
              f"its part  -({gain:.4f}) / {tokens} tokens = {-gain / tokens:.6f}")
    names = {"policy_loss": "policy loss", "kl": "KL (k3)", "clip_frac": "tokens clipped, share"}
    rows = [[words, *(f"{one[name]:.5f}" for one in step.iterations)]
            for name, words in names.items()]
    rows.append([f"loss = policy loss + {settings.beta:g} KL", *(
        f"{one['policy_loss'] + settings.beta * one['kl']:.5f}" for one in step.iterations)])
    return ("<article><h2>6. The clipped loss (Eq. 6)</h2>"
            "<p class=eq>loss = -1/N sum min(ratio A, clip(ratio, "
            f"{1 - settings.clip_low:g}, {1 + settings.clip_high:g}) A) + {settings.beta:g} KL</p>"
            f"<p>The sum runs over all N = {tokens} tokens of the {GROUP} completions. The token "
            f"that moved most, worked out:</p><p class=eq>{escape(worked)}</p>"
            + _table(["", "before the update", "after it"], rows) +
            "<p>Before the update all ratios are 1 and the policy is its own reference: the KL is "
            "0, and the loss is only the mean of A over the tokens. It is near 0 because the "
            "advantages of a group sum to 0, and it is not what teaches. What teaches is its "
            f"gradient, of length {step.iterations[0]['grad_norm']:.3f} (cut to 1).</p></article>")
