"""From pairs to training samples: what is asked, what is answered, and the tensors of a batch.

A sample is (messages, answer). One pair gives three kinds: a verdict to write (`judge_sample`), a
picture to read (`code_sample`) and a damaged program to correct (`revision_sample`, Eq. 9).
"""
import math
import random
from typing import NamedTuple

import torch
from transformers import BatchFeature, ProcessorMixin

from data.pairs import Pair, Picture
from data.worlds.style import CodeStyle, corrupt
from visual_erm import code_messages, judge_messages, revise_messages


class Sample(NamedTuple):
    """What is asked, what is to be answered, and in a verdict's second picture where errors are."""

    messages: list[dict]
    answer: str
    boxes: list[tuple] | None = None  # (left, top, right, bottom) in fractions; None: not known


STOP = "<|im_end|>"
EDGE = 0.1  # of a patch: a box that reaches in by less does not touch it
CORRUPTION_RATE = 0.3  # share of noisy programs that draw something else


def judge_sample(pair: Pair) -> Sample:
    """Two pictures -> the verdict's JSON."""
    return Sample(judge_messages(pair.task, *pair.images()), pair.truth.to_json(), pair.boxes)


def code_sample(task: str, picture: Picture) -> Sample:
    """One picture -> its code."""
    return Sample(code_messages(task, picture.load()), picture.code)


def noisy_sample(task: str, picture: Picture, other: Picture, seed: float) -> Sample:
    """One picture -> a program as people write it (data/worlds/style.py), most with small mistakes.

    With chance `CORRUPTION_RATE` it is the program of the pair's `other` picture, a damaged copy.
    """
    rng = random.Random(seed)
    messages, code, _ = code_sample(task, picture)
    if rng.random() < CORRUPTION_RATE and not other.is_policy_output:
        code = other.code
    return Sample(messages, CodeStyle(rng).write(task, corrupt(task, code, rng)))


def revision_sample(pair: Pair, unsaid: str | None = None,
                    style: CodeStyle | None = None) -> Sample:
    """The reference, a damaged program and the exact verdict on it -> the true code.

    With `unsaid`, feedback that names no error, in the verdict's place -> the program as it was: a
    revision changes only what the feedback names. With a `style` both programs are written in it.
    """
    damaged, true = pair.rendering.code, pair.reference.code
    if style:
        damaged, true = style.write(pair.task, damaged), style.write(pair.task, true)
    feedback = unsaid or pair.truth.to_json()
    messages = revise_messages(pair.task, pair.reference.load(), damaged, feedback)
    return Sample(messages, damaged if unsaid else true)


def training_batch(processor: ProcessorMixin, samples: list[Sample],
                   differences: bool = False) -> BatchFeature:
    """Model inputs for (messages, answer) samples, padded on the right.

    `labels` (B, T) hold the answer's tokens, the stop token included (else no model learns to
    stop), and -100, which the loss ignores, on prompt, images and padding. With `differences` a
    sample of two pictures is also asked at each image token of the second whether an error touches
    its patch (see `patch_labels`).
    """
    samples = [Sample(*sample) for sample in samples]
    tokenizer = processor.tokenizer
    prompts = processor.apply_chat_template(
        [sample.messages for sample in samples], tokenize=True, add_generation_prompt=True,
        return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"})
    texts = [sample.answer + STOP for sample in samples]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    prompt_lengths = prompts["attention_mask"].sum(1).tolist()
    length = max(n + len(answer) for n, answer in zip(prompt_lengths, answers))
    # Multiples of 16 give few shapes: CPU kernels are prepared, and kept in memory, for each.
    length += -length % 16
    ids = torch.full((len(samples), length), tokenizer.pad_token_id)  # (B, T)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, (n, answer) in enumerate(zip(prompt_lengths, answers)):
        end = n + len(answer)
        ids[i, :n] = prompts["input_ids"][i, -n:]
        ids[i, n:end] = labels[i, n:end] = torch.tensor(answer)
        mask[i, :end] = 1
    if differences:
        patch_labels(processor, prompts, [sample.boxes for sample in samples], ids, labels)
    return BatchFeature({"input_ids": ids, "attention_mask": mask, "labels": labels,
                         "mm_token_type_ids": (ids == processor.image_token_id).long(),
                         "pixel_values": prompts["pixel_values"],
                         "image_grid_thw": prompts["image_grid_thw"]})


def _touched(start, end, count):
    """The patches of a row or column of `count` that lie between two fractions of it."""
    first = int(start * count + EDGE)
    return slice(first, max(first + 1, math.ceil(end * count - EDGE)))


def patch_labels(processor: ProcessorMixin, prompts: BatchFeature, boxes: list[list[tuple] | None],
                 ids: torch.Tensor, labels: torch.Tensor) -> None:
    """Write a token for each image token of a second picture into `labels` (B, T).

    It is "1" where one of the sample's `boxes` touches the patch, else "0". A verdict of 25 tokens
    holds little about where to look. These labels hold it 64 times a pair, and the loss stays
    Eq. 2's. Two equivalent pictures have only zeros, however many pixels differ.
    """
    clear, touched = processor.tokenizer.convert_tokens_to_ids(["0", "1"])
    merged = processor.image_processor.merge_size  # patches of one image token, across and down
    grids, first = prompts["image_grid_thw"].tolist(), 0
    for row, found in enumerate(boxes):
        at = (ids[row] == processor.image_token_id).nonzero()[:, 0]  # (image tokens of all,)
        sizes = []
        while sum(high * wide for high, wide in sizes) < len(at):
            _, high, wide = grids[first]
            sizes.append((high // merged, wide // merged))
            first += 1
        if found is None or len(sizes) != 2:
            continue
        high, wide = sizes[1]
        marks = torch.full((high, wide), clear)
        for left, top, right, bottom in found:
            marks[_touched(top, bottom, high), _touched(left, right, wide)] = touched
        labels[row, at[-high * wide:] + 1] = marks.flatten()
