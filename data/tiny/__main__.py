"""Make the tiny base: a Qwen3-VL of a few million parameters that learns to read charts, tables and icons.

    python -m data.build --task chart,table,svg --n 60000 --level 1 --variants 3 --seed 1000 --out runs/level1
    torchrun --nproc-per-node 2 -m data.tiny --data runs/level1 --out runs/reader  # faster than 1 process, 2 threads
    python -m data.tiny --data runs/level1 --model runs/reader --found --steps 600 --lr 2e-3               # see below

The result is an ordinary Qwen3-VL checkpoint folder (same class, processor, chat template and prompts as the 8B
model), so every script takes it where it takes `Qwen/Qwen3-VL-8B-Instruct`. It plays the part of that model here: it
can draw a bit and judges badly. Three things decide whether so small a model learns at all; each was measured:

1. Muon for the matrices of the blocks (AdamW alone stays on a plateau for hours).
2. Short programs first: the first fifth of the steps uses the shortest third of the programs.
3. Perception first: nothing but reading (and revision) is trained here; judging comes later, in train_sft.py.

The loss is that of Eq. 1-2 with code in the place of the annotation: token negative log-likelihood of the answer.
The last command makes the policy that reinforcement learning begins with. It has the eyes of the reader but has learned
from code as people write it (data/worlds/style.py): each program in another hand, most of them with mistakes in the details.
So it imitates both, as any model does that was fine-tuned on code found somewhere; the mistakes a reward can take away.
A killed run goes on with `--resume`. See data/tiny/README.md for the run that made the shipped weights.
"""
import csv
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (HfArgumentParser, PreTrainedTokenizerFast, Qwen2VLImageProcessorPil, Qwen3VLConfig,
                          Qwen3VLForConditionalGeneration)

from data.samples import STOP, finding, own, reading, revising, training_batch, verdict_of
from data.build import SIZES, hold_out
from data.compare import fidelity
from data.worlds.level1 import CHART_HEAD, SVG_HEAD
from data.worlds.style import Hand
from data.optim import MuonAdamW
from render import Rendering, SandboxMissing, extract_code, render_many
from data.verdict import CATEGORIES, InputError, Verdict
from data.models import Qwen3VLProcessor, choose_device, generate, has_bfloat16, load_model
from data.pairs import read_pairs
from visual_erm import NOTHING_SAID, code_prompt, judge_prompt, revise_prompt

HELD = 600                                     # pairs (of some 100 programs) that are only read, to count exact copies
IMAGE, PATCH, WIDTH, HEAD = 128, 16, 128, 32
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


@dataclass
class Settings:
    data: str = field(default="runs/level1", metadata={"help": "folders made by data.build, separated by commas"})
    out: str = field(default="runs/base/checkpoint", metadata={"help": "where the finished checkpoint goes"})
    work: str = field(default="runs/base", metadata={"help": "where log.csv and the state for --resume go"})
    steps: int = field(default=6000, metadata={"help": "optimiser steps"})
    batch: int = field(default=16, metadata={"help": "programs a step"})
    model: str = field(default="", metadata={"help": "go on with the weights of this folder; default: random ones"})
    found: bool = field(default=False, metadata={"help": "learn from programs as people write them (data/worlds/style.py)"})
    lr: float = field(default=3e-3, metadata={"help": "highest learning rate of Muon; AdamW takes a third of it"})
    revise: float = field(default=0.15, metadata={"help": "share of steps with revisions in the last half"})
    every: int = field(default=500, metadata={"help": "steps between two saved states and counts of exact copies"})
    seed: int = field(default=0, metadata={"help": "fixes weights and order"})
    score: str = field(default="", metadata={"help": "train nothing; score the model in --out on this folder's images"})
    resume: bool = field(default=False, metadata={"help": "go on with the state in --work"})


# ------------------------------------------------------------------------------------------------ 1. the checkpoint
def make_tokenizer(texts, size=1500):
    """Byte-level BPE trained on `texts`, with spaces as ordinary letters and each fixed prompt a single token.

    No token crosses a line end, and every digit, single capital and word of a table cell stands alone: a token such
    as `cat</td></tr><tr><td>dog` would have to be learned for each pair of words.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("\n", "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"[0-9]|[A-Z](?![A-Za-z])|(?<=>)[A-Za-z]+(?=<)"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False,
                                                       initial_alphabet=alphabet, min_frequency=20))
    prompts = [CHART_HEAD, SVG_HEAD]
    for task in CATEGORIES:
        prompts += [code_prompt(task), judge_prompt(task), *revise_prompt(task, "\0", "\0").split("\0")]
    bpe.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(prompts)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   chat_template=CHAT_TEMPLATE, padding_side="left",
                                   additional_special_tokens=SPECIAL[1:])


def make_model(tokenizer):
    """A Qwen3-VL with random weights: 64 patches of 16 x 16 pixels for an image, one token each."""
    ids = tokenizer.convert_tokens_to_ids
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(
        text_config=dict(vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=3 * WIDTH,
                         num_hidden_layers=4, num_attention_heads=WIDTH // HEAD, num_key_value_heads=WIDTH // HEAD,
                         head_dim=HEAD, max_position_embeddings=2048, tie_word_embeddings=True,
                         pad_token_id=ids("<|endoftext|>"), eos_token_id=ids("<|im_end|>"),
                         rope_parameters=dict(rope_type="default", rope_theta=10000.0,
                                              mrope_section=[6, 5, 5], mrope_interleaved=True)),
        vision_config=dict(depth=3, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_heads=WIDTH // HEAD,
                           patch_size=PATCH, spatial_merge_size=1, temporal_patch_size=2, out_hidden_size=WIDTH,
                           num_position_embeddings=(IMAGE // PATCH) ** 2, deepstack_visual_indexes=[0, 1]),
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True))


def make_processor(tokenizer):
    """Tokenizer and image processor of the tiny models: images up to 128 x 128 pixels, patches unmerged."""
    images = Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=1, temporal_patch_size=2,
                                      size={"shortest_edge": PATCH * PATCH, "longest_edge": IMAGE * IMAGE},
                                      image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return Qwen3VLProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)


# --------------------------------------------------------------------------------------------------- 2. the training
def schedule(step, steps):
    """Fraction of the highest learning rate: 100 steps up, flat, then over the last 40 % down to 2 %."""
    return min(1.0, (step + 1) / 100, 0.02 + 0.98 * (steps - step) / (0.4 * steps))


def choose(rng, readings, pairs, step, settings, rank, ranks):
    """This process's samples of one step, tasks evenly: short programs in the first fifth, revisions in the last half.

    A step has revisions only or none, because they are three times as long and would be padding for the rest. All
    processes draw the same rows and take every `ranks`-th by length, so that none waits long for the others.
    """
    share = 3 if step < settings.steps / 5 and not settings.model else 1
    revise, rows = step >= settings.steps / 2 and rng.random() < settings.revise, []
    for _ in range(settings.batch):
        task = rng.choice(list(readings))
        if revise:
            pair, told = rng.choice(pairs[task]), rng.random() < 0.75
            unsaid = None if told or own(pair, "pred") else rng.choice((NOTHING_SAID, Verdict(task, []).to_json()))
            rows.append((1000, len(rows), revising, (pair, unsaid, Hand(rng) if settings.found else None)))
        else:
            length, *picture = readings[task][rng.randrange(len(readings[task]) // share)]
            make, what = (finding, (*picture, rng.random())) if settings.found else (reading, picture)
            rows.append((length, len(rows), make, what))
    return [make(*what) for *_, make, what in sorted(rows)[rank::ranks]]


def drawn(model, processor, pairs, temperature=0.0, tokens=256):
    """(answers, renderings) for the references of `pairs`; temperature 0: the likeliest programs."""
    answers = generate(model, processor, [reading(pair, "gt")[0] for pair in pairs], max_new_tokens=tokens,
                       batch_size=32, temperature=temperature)
    return answers, render_many([(pair["category"], extract_code(pair["category"], answer))
                                 for pair, answer in zip(pairs, answers)], size=SIZES[1])


def exact(pair, drawing):
    """Whether a rendering is the pair's reference to the pixel."""
    return isinstance(drawing, Rendering) and \
        drawing.image.convert("RGB").tobytes() == Image.open(pair["gt_img_path"]).convert("RGB").tobytes()


def copies(model, processor, held, path):
    """Share of references in `held` drawn to the pixel, by task; writes every answer to `path` for a reader's eye."""
    answers, drawings = drawn(model, processor, held, tokens=160)
    right = [exact(pair, drawing) for pair, drawing in zip(held, drawings)]
    path.write_text("\n\n".join(f"{'right' if r else 'WRONG'}\n{pair['gt_code']}\n---\n{answer}"
                                for r, answer, pair in zip(right, answers, held)))
    shares = {}
    for task in CATEGORIES:
        mine = [r for r, pair in zip(right, held) if pair["category"] == task]
        shares[task] = round(sum(mine) / len(mine), 3) if mine else ""
    return shares


def score(folder, model, processor):
    """Print how well the model draws the references in `folder`: exact to the pixel, programs that render, fidelity.

    Those three are of the likeliest programs; `sampled` is the fidelity of one program for each picture sampled at
    temperature 1, as reinforcement learning does.
    """
    pairs = list({pair["gt_img_path"]: pair for pair in read_pairs(folder)}.values())
    torch.manual_seed(0)
    likeliest, sampled = (drawn(model, processor, pairs, temperature)[1] for temperature in (0.0, 1.0))
    true = render_many([(pair["category"], pair["gt_code"]) for pair in pairs], size=SIZES[1])
    print("| task | images | exact | rendered | fidelity | sampled |\n| --- | --- | --- | --- | --- | --- |")
    for task in (*CATEGORIES, "all"):
        mine = [i for i, pair in enumerate(pairs) if task in (pair["category"], "all")]
        points = [[fidelity(true[i].scene, made[i].scene) for i in mine] for made in (likeliest, sampled)]
        if mine:
            print(f"| {task} | {len(mine)} | {sum(exact(pairs[i], likeliest[i]) for i in mine) / len(mine):.1%} | "
                  f"{sum(isinstance(likeliest[i], Rendering) for i in mine) / len(mine):.1%} | "
                  f"{sum(points[0]) / len(mine):.1f} | {sum(points[1]) / len(mine):.1f} |")


def save_state(path, **state):
    """Atomic: a run killed while it writes keeps its last good state."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def start(settings, run):
    """Pairs, model and optimiser as they are before the first step."""
    pairs = read_pairs(settings.data)
    if len(pairs) < 2 * HELD:
        raise InputError(f"{settings.data} has {len(pairs)} pairs; at least {2 * HELD} are needed (see data.build --n)")
    pairs, held = hold_out(pairs, HELD)
    held = list({pair["family"]: pair for pair in held}.values())
    torch.manual_seed(settings.seed)
    if settings.model:
        model, processor = load_model(settings.model)
        return prepare(pairs, held, model.float(), processor)            # weights that train are float32
    if not (run / "tokenizer").exists():
        some = random.Random(0).sample(pairs, min(20000, len(pairs)))
        texts = (text for pair in some for text in (pair["pred_code"] + STOP, verdict_of(pair).to_json() + STOP))
        make_tokenizer(texts).save_pretrained(run / "tokenizer")
    processor = make_processor(PreTrainedTokenizerFast.from_pretrained(run / "tokenizer"))
    return prepare(pairs, held, make_model(processor.tokenizer).to(choose_device()[0]), processor)


def prepare(pairs, held, model, processor):
    """Pairs by task, and every picture as (length of its code, pair, side), short programs first."""
    model.set_attn_implementation("eager")       # with few patches 1.4 times as fast in training as the fused kernel
    pictures = {pair[f"{side}_img_path"]: (pair, side) for pair in pairs for side in ("gt", "pred")
                if not own(pair, side)}
    length = {path: len(processor.tokenizer(pair[f"{side}_code"])["input_ids"])
              for path, (pair, side) in pictures.items()}
    readings, by_task = {}, {}
    for path in sorted(pictures, key=lambda path: (length[path], path)):
        readings.setdefault(pictures[path][0]["category"], []).append((length[path], *pictures[path]))
    for pair in (pair for pair in pairs if not own(pair, "gt")):               # a draft is nothing to revise towards
        by_task.setdefault(pair["category"], []).append(pair)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(processor.tokenizer)} tokens, "
          f"{len(pictures)} pictures, {len(pairs)} pairs", flush=True)
    return held, by_task, readings, model, processor


def average_gradients(model, ranks):
    """The mean over all processes, in one message."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch._utils._flatten_dense_tensors(grads)
    torch.distributed.all_reduce(flat)
    for grad, mean in zip(grads, torch._utils._unflatten_dense_tensors(flat / ranks, grads)):
        grad.copy_(mean)


def write_log(path, step, loss, rate, shares):
    """One console line and one CSV row; rows of a killed run that lie after its last state are replaced."""
    rows = list(csv.reader(open(path)))[1:] if path.exists() and step > 50 else []
    rows = [row for row in rows if int(row[0]) < step] + [[step, loss, rate, *(shares.get(t, "") for t in CATEGORIES)]]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["step", "loss", "samples_per_s", *CATEGORIES], *rows])
    print(f"step {step} loss {loss} {rate} samples/s {f'exact copies {shares}' if shares else ''}", flush=True)


def main():
    (settings,) = HfArgumentParser(Settings).parse_args_into_dataclasses()
    if settings.score:
        return score(settings.score, *load_model(settings.out))
    run = Path(settings.work)
    run.mkdir(parents=True, exist_ok=True)
    ranks, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))         # set by torchrun
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    if rank:
        torch.distributed.barrier()                                             # the first process makes the tokenizer
    elif not settings.resume:                    # what another run left here would be taken for a state of this one
        (run / "state.pt").unlink(missing_ok=True)
        shutil.rmtree(run / "tokenizer", ignore_errors=True)
    held, pairs, readings, model, processor = start(settings, run)
    if ranks > 1 and not rank:
        torch.distributed.barrier()
    rng, first, losses = random.Random(settings.seed), 0, []
    optimiser = MuonAdamW(model, settings.lr)
    highest = [group["lr"] for group in optimiser.param_groups]
    if settings.resume and (run / "state.pt").exists():
        state = torch.load(run / "state.pt", weights_only=False)
        if state["step"] > settings.steps:
            raise InputError(f"{run / 'state.pt'} is of step {state['step']}, beyond --steps {settings.steps}: is it of "
                             "another run? Leave out --resume or name another --work.")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        rng.seed(f"{settings.seed}/{first}")                         # an unbroken run seeds again there, too
    began = time.time()
    for step in range(first, settings.steps):
        samples = choose(rng, readings, pairs, step, settings, rank, ranks)
        inputs = training_batch(processor, samples).to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=has_bfloat16(model.device)):
            loss = model.train()(**inputs).loss
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
        if done % settings.every == 0:
            rng.seed(f"{settings.seed}/{done}")
        if rank == 0 and (done % 50 == 0 or done == settings.steps):
            shares = {}
            if done % settings.every == 0 or done == settings.steps:
                shares = copies(model.eval(), processor, held, run / "samples.txt")
                save_state(run / "state.pt", model=model.state_dict(), step=done, optimiser=optimiser.state_dict())
            write_log(run / "log.csv", done, f"{sum(losses[-50:]) / len(losses[-50:]):.4f}",
                      f"{(done - first) * settings.batch / (time.time() - began):.1f}", shares)
    if rank:
        return
    model.to(torch.bfloat16).save_pretrained(settings.out)
    processor.save_pretrained(settings.out)
    print(f"saved to {settings.out}")


if __name__ == "__main__":
    try:
        main()
    except (InputError, SandboxMissing) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("stopped; --resume goes on from the last saved state")
