"""Make the tiny base: a small Qwen3-VL that learns to read charts, tables and icons.

    python -m data.build --n 60000 --variants 3 --seed 1000 --out runs/level1
    torchrun --nproc-per-node 2 -m data.tiny --data runs/level1 --out runs/reader
    python -m data.tiny --data runs/level1 --model runs/reader/checkpoint --noisy --lr 2e-3

Two processes are faster than one with two threads. The result is an ordinary Qwen3-VL checkpoint
folder (same class, processor, chat template and prompts as the 8B model) of a few million
parameters, so every script takes it where it takes `Qwen/Qwen3-VL-8B-Instruct`. It plays the part
of that model here: it can draw a bit and judges badly. Three things decide whether so small a
model learns at all; each was measured:

1. Muon for the matrices of the blocks (AdamW alone stays on a plateau for hours).
2. Short programs first: the first fifth of the steps uses the shortest third of the programs.
3. Perception first: only reading (and revision) is trained here; train_sft.py adds judging.

The loss is that of Eq. 1-2 with code in the place of the annotation: token negative
log-likelihood of the answer. The last command makes the policy that reinforcement learning begins
with. It has the eyes of the reader but has learned from code as people write it
(data/worlds/style.py): each program in a style of its own, most of them with mistakes in the
details. So it imitates both, as any model does that was fine-tuned on code found somewhere. A
reward can take the mistakes away. OUT gets config.json, log.csv, state.pt, tokenizer/, samples.txt
and checkpoint/. A killed run goes on with `--resume`. See data/tiny/README.md for the run that made
the shipped weights.
"""
import os
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.runs import (
    Log,
    RunSettings,
    flag,
    parse,
    replacing,
    run_folder,
    script,
    write_text,
)
from data.verdict import CATEGORIES, InputError, Verdict


@dataclass
class Settings(RunSettings):
    data: str = flag("runs/level1", "folders made by data.build, separated by commas")
    out: str = flag("runs/base", "run folder")
    steps: int = flag(6000, "optimiser steps", positive=True)
    batch: int = flag(16, "programs a step", positive=True)
    model: str = flag("", "go on with the weights of this folder; default: random ones")
    noisy: bool = flag(False, "learn from programs as people write them", "--found")
    lr: float = flag(3e-3, "highest learning rate of Muon; AdamW takes a third of it")
    revise: float = flag(0.15, "share of steps with revisions in the last half", most=1)
    every: int = flag(500, "steps between two saved states and counts of exact copies",
                      positive=True)
    seed: int = flag(0, "fixes weights and order")
    score: str = flag("", "train nothing; score --model on this folder's images")
    report_to: str = flag("", "tensorboard: the log goes there, too")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # a mistyped flag is told before torch is loaded

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from data.build import SIZES
from data.compare import compare, fidelity
from data.models import Qwen3VLProcessor, choose_device, generate, has_bfloat16, load_model
from data.optim import MuonAdamW
from data.pairs import Pair, Picture, hold_out, read_pairs
from data.samples import STOP, Sample, code_sample, noisy_sample, revision_sample, training_batch
from data.worlds.level1 import CHART_HEAD, SVG_HEAD
from data.worlds.style import CodeStyle
from render import RenderError, Rendering, extract_code, render_many
from visual_erm import NOTHING_SAID, code_prompt, judge_prompt, revise_prompt

COLUMNS = ("step", "loss", "samples_per_s", *CATEGORIES)  # of a task: share of exact copies
HELD = 600  # pairs (of some 100 programs) that are only read, to count exact copies
IMAGE, PATCH, WIDTH, HEAD = 128, 16, 128, 32
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|image_pad|>", "<|video_pad|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


# --- 1. the checkpoint ---


def make_tokenizer(texts: Iterable[str], size: int = 1500) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on `texts`; spaces are ordinary letters, each fixed prompt is a token.

    No token crosses a line end, and every digit, single capital and word of a table cell stands
    alone: a token such as `cat</td></tr><tr><td>dog` would have to be learned for each pair of
    words.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("\n", "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"[0-9]|[A-Z](?![A-Za-z])|(?<=>)[A-Za-z]+(?=<)"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False, min_frequency=20,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(texts, trainer)
    prompts = [CHART_HEAD, SVG_HEAD]
    for task in CATEGORIES:
        revision = revise_prompt(task, "\0", "\0")  # the parts around a draft and its feedback
        prompts += [code_prompt(task), judge_prompt(task), *revision.split("\0")]
    bpe.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(prompts)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE, padding_side="left", additional_special_tokens=SPECIAL[1:])


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLForConditionalGeneration:
    """A Qwen3-VL with random weights: 64 patches of 16 x 16 pixels for an image, one token each."""
    ids, heads = tokenizer.convert_tokens_to_ids, WIDTH // HEAD
    rope = dict(rope_type="default", rope_theta=10000.0, mrope_section=[6, 5, 5],
                mrope_interleaved=True)
    text = dict(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=3 * WIDTH,
        num_hidden_layers=4, num_attention_heads=heads, num_key_value_heads=heads, head_dim=HEAD,
        max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=ids("<|endoftext|>"),
        eos_token_id=ids("<|im_end|>"), rope_parameters=rope)
    vision = dict(
        depth=3, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_heads=heads, patch_size=PATCH,
        spatial_merge_size=1, temporal_patch_size=2, out_hidden_size=WIDTH,
        num_position_embeddings=(IMAGE // PATCH) ** 2, deepstack_visual_indexes=[0, 1])
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(
        text_config=text, vision_config=vision,
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True))


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """For the tiny models: images up to 128 x 128 pixels, patches unmerged."""
    pixels = {"shortest_edge": PATCH * PATCH, "longest_edge": IMAGE * IMAGE}
    images = Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=1, temporal_patch_size=2,
                                      size=pixels, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return Qwen3VLProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)


# --- 2. the training ---


def schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: 100 steps up, flat, over the last 40 % down to 2 %."""
    return min(1.0, (step + 1) / 100, 0.02 + 0.98 * (steps - step) / (0.4 * steps))


def choose(rng: random.Random, readings: dict, pairs: dict, step: int, settings: Settings,
           rank: int, ranks: int) -> list[Sample]:
    """This process's samples of one step, tasks evenly.

    Short programs come in the first fifth, revisions in the last half. A step has revisions only or
    none, because they are three times as long and would be padding for the rest. All processes draw
    the same rows and take every `ranks`-th by length, so that none waits long for the others.
    `readings`: {task: [(length of the code, picture, the other picture of its pair)]}, short ones
    first.
    """
    share = 3 if step < settings.steps / 5 and not settings.model else 1
    revise, rows = step >= settings.steps / 2 and rng.random() < settings.revise, []
    for _ in range(settings.batch):
        task = rng.choice(list(readings))
        if revise:
            pair, told = rng.choice(pairs[task]), rng.random() < 0.75
            unsaid = None
            if not told and not pair.rendering.is_policy_output:
                unsaid = rng.choice((NOTHING_SAID, Verdict(task, []).to_json()))
            style = CodeStyle(rng) if settings.noisy else None
            rows.append((1000, len(rows), revision_sample, (pair, unsaid, style)))
            continue
        of_task = readings[task]
        length, picture, other = of_task[rng.randrange(len(of_task) // share)]
        if settings.noisy:
            rows.append((length, len(rows), noisy_sample, (task, picture, other, rng.random())))
        else:
            rows.append((length, len(rows), code_sample, (task, picture)))
    return [make(*what) for *_, make, what in sorted(rows)[rank::ranks]]


def drawn(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, pairs: list[Pair],
          temperature: float = 0.0, tokens: int = 256) \
        -> tuple[list[str], list[Rendering | RenderError]]:
    """(answers, renderings) for the references of `pairs`; temperature 0: likeliest programs."""
    conversations = [code_sample(pair.task, pair.reference)[0] for pair in pairs]
    answers = generate(model, processor, conversations, max_new_tokens=tokens, batch_size=32,
                       temperature=temperature)
    jobs = [(pair.task, extract_code(pair.task, answer)) for pair, answer in zip(pairs, answers)]
    return answers, render_many(jobs, size=SIZES[1])


def references(pairs: list[Pair]) -> list[Rendering | RenderError]:
    """The references of `pairs`, drawn again for their scenes."""
    return render_many([(pair.task, pair.reference.drawing) for pair in pairs], size=SIZES[1])


def exact(true: Rendering, made: Rendering | RenderError) -> bool:
    """Whether a program that was read draws the same picture, in whatever style."""
    return isinstance(made, Rendering) and not compare(true.scene, made.scene)


def copies(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, held: list[Pair],
           path: Path) -> dict:
    """Share of references in `held` read without a slip, by task; every answer goes to `path`."""
    answers, renderings = drawn(model, processor, held, tokens=160)
    right = list(map(exact, references(held), renderings))
    texts = [f"{'right' if good else 'WRONG'}\n{pair.reference.code}\n---\n{answer}"
             for good, answer, pair in zip(right, answers, held)]
    write_text(path, "\n\n".join(texts))
    shares = {}
    for task in CATEGORIES:
        of_task = [good for good, pair in zip(right, held) if pair.task == task]
        if of_task:
            shares[task] = round(sum(of_task) / len(of_task), 3)
    return shares


def score(folder: str, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
    """Print how well the model draws the references in `folder`, by task.

    Exact (no error), programs that render and fidelity are of the likeliest programs; `sampled`
    is the fidelity of one program for each picture sampled at temperature 1, as reinforcement
    learning samples.
    """
    pairs = list({pair.reference.path: pair for pair in read_pairs(folder)}.values())
    torch.manual_seed(0)
    _, likeliest = drawn(model, processor, pairs, temperature=0.0)
    _, sampled = drawn(model, processor, pairs, temperature=1.0)
    true = references(pairs)
    print("| task | images | exact | rendered | fidelity | sampled |\n"
          "| --- | --- | --- | --- | --- | --- |")
    for task in (*CATEGORIES, "all"):
        chosen = [i for i, pair in enumerate(pairs) if task in (pair.task, "all")]
        if not chosen:
            continue
        n = len(chosen)
        copied = sum(exact(true[i], likeliest[i]) for i in chosen)
        rendered = sum(isinstance(likeliest[i], Rendering) for i in chosen)
        points = [sum(fidelity(true[i].scene, made[i].scene) for i in chosen) / n
                  for made in (likeliest, sampled)]
        print(f"| {task} | {n} | {copied / n:.1%} | {rendered / n:.1%} | {points[0]:.1f} | "
              f"{points[1]:.1f} |")


def save_state(path: Path, **state) -> None:
    """A run killed while it writes keeps its last good state."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def start(settings: Settings, run: Path) \
        -> tuple[list[Pair], dict, dict, Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Pairs, model and optimiser as they are before the first step."""
    pairs = read_pairs(settings.data)
    if len(pairs) < 2 * HELD:
        raise InputError(f"{settings.data} has {len(pairs)} pairs; at least {2 * HELD} are needed "
                         "(see data.build --n)")
    pairs, held = hold_out(pairs, HELD)
    held = list({pair.family: pair for pair in held}.values())
    torch.manual_seed(settings.seed)
    if settings.model:
        model, processor = load_model(settings.model)
        return prepare(pairs, held, model.float(), processor)  # weights that train are float32
    if not (run / "tokenizer").exists():
        texts = []
        for pair in random.Random(0).sample(pairs, min(20000, len(pairs))):
            texts += [pair.rendering.code + STOP, pair.truth.to_json() + STOP]
        make_tokenizer(texts).save_pretrained(run / "tokenizer")
    processor = make_processor(PreTrainedTokenizerFast.from_pretrained(run / "tokenizer"))
    model = make_model(processor.tokenizer).to(choose_device()[0])
    return prepare(pairs, held, model, processor)


def prepare(pairs: list[Pair], held: list[Pair], model: Qwen3VLForConditionalGeneration,
            processor: Qwen3VLProcessor) \
        -> tuple[list[Pair], dict, dict, Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Pairs by task, and pictures as (length of the code, picture, the other), short ones first."""
    model.set_attn_implementation("eager")  # with few patches 1.4 times as fast in training
    pictures: dict[Path, tuple[str, Picture, Picture]] = {}
    for pair in pairs:
        for picture, other in ((pair.reference, pair.rendering), (pair.rendering, pair.reference)):
            if not picture.is_policy_output:
                pictures[picture.path] = pair.task, picture, other
    length = {path: len(processor.tokenizer(picture.code)["input_ids"])
              for path, (_, picture, _) in pictures.items()}
    readings, by_task = {}, {}
    for path in sorted(pictures, key=lambda path: (length[path], str(path))):
        task, picture, other = pictures[path]
        readings.setdefault(task, []).append((length[path], picture, other))
    for pair in pairs:
        if not pair.reference.is_policy_output:  # a draft is nothing to revise towards
            by_task.setdefault(pair.task, []).append(pair)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, "
          f"{len(processor.tokenizer)} tokens, {len(pictures)} pictures, {len(pairs)} pairs",
          flush=True)
    return held, by_task, readings, model, processor


def answer_loss(model: Qwen3VLForConditionalGeneration, inputs: dict) -> torch.Tensor:
    """The mean negative log-likelihood of the answers' tokens, a scalar (Eq. 2).

    It equals the model's own loss. The output layer is applied to those tokens only, where the
    model's own computes 1,500 logits for each patch of a picture, too.
    """
    labels = inputs["labels"][:, 1:]  # (B, T - 1): a position says the next token
    hidden = model.model(**{k: v for k, v in inputs.items() if k != "labels"}).last_hidden_state
    answered = labels != -100
    logits = model.lm_head(hidden[:, :-1][answered]).float()  # (N, V)
    return torch.nn.functional.cross_entropy(logits, labels[answered])


def average_gradients(model: torch.nn.Module, ranks: int) -> None:
    """The mean over all processes, in one message."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch._utils._flatten_dense_tensors(grads)
    torch.distributed.all_reduce(flat)
    for grad, mean in zip(grads, torch._utils._unflatten_dense_tensors(flat / ranks, grads)):
        grad.copy_(mean)


@script
def main(argv: list[str] | None = None) -> None:
    """Train the base, or score it."""
    settings = parse(Settings, argv, __doc__)
    if settings.score:
        return score(settings.score, *load_model(settings.model or "data/tiny/base"))
    with run_folder(settings, free=("steps",)) as run:
        train(settings, run)


def train(settings: Settings, run: Path) -> None:
    """The run, from the last state in `run` with `--resume`. Raises InputError."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))  # torchrun sets both
    rank = int(os.environ.get("RANK", 0))
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    if rank:
        torch.distributed.barrier()  # the first process makes the tokenizer
    held, pairs, readings, model, processor = start(settings, run)
    if ranks > 1 and not rank:
        torch.distributed.barrier()
    rng, first, losses = random.Random(settings.seed), 0, []
    optimiser = MuonAdamW(model, settings.lr)
    highest = [group["lr"] for group in optimiser.param_groups]
    if settings.resume and (run / "state.pt").exists():
        state = torch.load(run / "state.pt", weights_only=False)
        if state["step"] > settings.steps:
            raise InputError(f"{run / 'state.pt'} is of step {state['step']}, beyond --steps "
                             f"{settings.steps}.")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        rng.seed(f"{settings.seed}/{first}")  # an unbroken run seeds again there, too
    if rank == 0:
        log = Log(run / "log.csv", COLUMNS, first, settings.report_to)
    began = time.time()
    for step in range(first, settings.steps):
        samples = choose(rng, readings, pairs, step, settings, rank, ranks)
        inputs = training_batch(processor, samples).to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=has_bfloat16(model.device)):
            loss = answer_loss(model.train(), inputs)
        loss.backward()
        if ranks > 1:
            average_gradients(model, ranks)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group, lr in zip(optimiser.param_groups, highest):
            group["lr"] = lr * schedule(step, settings.steps)
        optimiser.step()
        model.zero_grad()
        losses.append(loss.item())
        done = step + 1
        whole = done % settings.every == 0 or done == settings.steps
        if done % settings.every == 0:
            rng.seed(f"{settings.seed}/{done}")
        if rank == 0 and (done % 50 == 0 or done == settings.steps):
            recent = losses[-50:]
            row = {"step": done, "loss": sum(recent) / len(recent),
                   "samples_per_s": (done - first) * settings.batch / (time.time() - began)}
            if whole:
                row |= copies(model.eval(), processor, held, run / "samples.txt")
            log.write(row)  # first the row, then the state
            print(" ".join(f"{name} {value:.6g}" for name, value in row.items()), flush=True)
            if whole:
                save_state(run / "state.pt", model=model.state_dict(), step=done,
                           optimiser=optimiser.state_dict())
    if rank:
        return
    model.to(torch.bfloat16).save_pretrained(run / "checkpoint")
    processor.save_pretrained(run / "checkpoint")
    print(f"saved to {run / 'checkpoint'}")


if __name__ == "__main__":
    sys.exit(main())
