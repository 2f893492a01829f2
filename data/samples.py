"""From pairs to training samples: what is asked, what is answered, and the tensors of a batch.

A sample is (messages, answer). One pair gives three kinds: a verdict to write (`judge_sample`), a
picture to read (`code_sample`) and a damaged program to correct (`revision_sample`, Eq. 9).
"""
import random

import torch
from transformers import BatchFeature, ProcessorMixin

from data.pairs import Pair, Picture
from data.worlds.style import CodeStyle, corrupt
from visual_erm import code_messages, judge_messages, revise_messages

Sample = tuple[list[dict], str]
STOP = "<|im_end|>"
CORRUPTION_RATE = 0.3  # share of noisy programs that draw something else


def judge_sample(pair: Pair) -> Sample:
    """Two pictures -> the verdict's JSON."""
    return judge_messages(pair.task, *pair.images()), pair.truth.to_json()


def code_sample(task: str, picture: Picture) -> Sample:
    """One picture -> its code."""
    return code_messages(task, picture.load()), picture.code


def noisy_sample(task: str, picture: Picture, other: Picture, seed: float) -> Sample:
    """One picture -> a program as people write it (data/worlds/style.py), most with small mistakes.

    With chance `CORRUPTION_RATE` it is the program of the pair's `other` picture, a damaged copy.
    """
    rng = random.Random(seed)
    messages, code = code_sample(task, picture)
    if rng.random() < CORRUPTION_RATE and not other.is_policy_output:
        code = other.code
    return messages, CodeStyle(rng).write(task, corrupt(task, code, rng))


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
    return messages, damaged if unsaid else true


def training_batch(processor: ProcessorMixin, samples: list[Sample],
                   differences: bool = False) -> BatchFeature:
    """Model inputs for (messages, answer) samples, padded on the right.

    `labels` (B, T) hold the answer's tokens, the stop token included (else no model learns to
    stop), and -100, which the loss ignores, on prompt, images and padding. With `differences` a
    sample of two pictures is also asked at each image token of the second whether its patch differs
    from the first picture's (see `patch_labels`).
    """
    tokenizer = processor.tokenizer
    prompts = processor.apply_chat_template(
        [messages for messages, _ in samples], tokenize=True, add_generation_prompt=True,
        return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"})
    texts = [answer + STOP for _, answer in samples]
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
        patch_labels(processor, prompts, ids, labels)
    return BatchFeature({"input_ids": ids, "attention_mask": mask, "labels": labels,
                         "mm_token_type_ids": (ids == processor.image_token_id).long(),
                         "pixel_values": prompts["pixel_values"],
                         "image_grid_thw": prompts["image_grid_thw"]})


def patch_labels(processor: ProcessorMixin, prompts: BatchFeature, ids: torch.Tensor,
                 labels: torch.Tensor) -> None:
    """Write a token for each image token of a second picture into `labels` (B, T).

    It is "1" where the picture differs from the first one, else "0". A verdict of 25 tokens holds
    little about where to look. These labels, measured pixel by pixel, hold it 64 times a pair, and
    the loss stays Eq. 2's. Pictures of different sizes have no such labels.
    """
    same, other = processor.tokenizer.convert_tokens_to_ids(["0", "1"])
    # The patches of one image token stand next to each other.
    merged = processor.image_processor.merge_size ** 2
    grids = prompts["image_grid_thw"]  # (images, 3)
    patches, first = prompts["pixel_values"].split(grids.prod(1).tolist()), 0
    for row in range(len(ids)):
        at = (ids[row] == processor.image_token_id).nonzero()[:, 0]  # (image tokens of both,)
        each = len(patches[first]) // merged
        if len(at) == 2 * each and torch.equal(grids[first], grids[first + 1]):
            apart = (patches[first] - patches[first + 1]).abs().amax(1)  # (patches,)
            apart = apart.view(-1, merged).amax(1)  # (image tokens,)
            labels[row, at[each:] + 1] = torch.where(apart > 0.1, other, same)
        while len(at) > 0:
            at, first = at[len(patches[first]) // merged:], first + 1
