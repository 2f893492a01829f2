"""From pairs to training samples: what is asked, what is answered, and the tensors of a batch.

A sample is (messages, answer). Three kinds come out of one pair of pictures with its label: a verdict to write
(`judging`), a picture to read (`reading`), and a damaged program to correct (`revising`, Eq. 9).
"""
import random

import torch
from PIL import Image
from transformers import BatchFeature

from data.worlds.style import Hand, habits
from data.verdict import Discrepancy, Verdict
from visual_erm import code_messages, judge_messages, revise_messages

STOP = "<|im_end|>"
SLOPPY = 0.3                                   # share of found programs that draw something else


def verdict_of(pair):
    """The exact Verdict of a row of pairs.jsonl."""
    errors = [Discrepancy(e["type"], int(e["severity"]), e["location"], e["description"]) for e in pair["human_errors"]]
    return Verdict(pair["category"], errors)


def judging(pair):
    """Two pictures -> the verdict's JSON."""
    images = Image.open(pair["gt_img_path"]), Image.open(pair["pred_img_path"])
    return judge_messages(pair["category"], *images), verdict_of(pair).to_json()


def reading(pair, side):
    """One picture ("gt" or "pred") -> its code."""
    return code_messages(pair["category"], Image.open(pair[f"{side}_img_path"])), pair[f"{side}_code"]


def own(pair, side):
    """Whether the program of a side ("gt" or "pred") is a policy's own draft: never something to learn to write.

    data.build numbers the pictures of a family, and 0 is the true one, also where it is shown second.
    """
    return pair.get("source") == "infer" and not pair[f"{side}_img_path"].endswith("-0.png")


def finding(pair, side, seed):
    """One picture -> a program that was found for it: in somebody's hand and with bad habits (data/worlds/style.py), and in
    `SLOPPY` of the cases for the other picture of its pair, a damaged copy."""
    rng, task = random.Random(seed), pair["category"]
    messages, code = reading(pair, side)
    other = "pred" if side == "gt" else "gt"
    if rng.random() < SLOPPY and not own(pair, other):
        code = pair[f"{other}_code"]
    return messages, Hand(rng).write(task, habits(task, code, rng))


def revising(pair, unsaid=None, hand=None):
    """The reference, a damaged program and the exact verdict on it -> the true code.

    With `unsaid`, feedback that names no error, in the verdict's place -> the program as it was: a revision does what
    it is told, no more. With a `hand` (data/worlds/style.py) both programs are written in it.
    """
    task = pair["category"]
    damaged, true = (hand.write(task, pair[key]) if hand else pair[key] for key in ("pred_code", "gt_code"))
    messages = revise_messages(task, Image.open(pair["gt_img_path"]), damaged, unsaid or verdict_of(pair).to_json())
    return messages, damaged if unsaid else true


def training_batch(processor, samples, differences=False):
    """Model inputs for (messages, answer) samples, padded on the right.

    `labels` (B, T) hold the answer's tokens, the stop token included (else no model learns to stop), and -100, which
    the loss ignores, on prompt, images and padding. With `differences` a sample of two pictures is also asked at each
    image token of the second whether its patch differs from the first picture's (see `patch_labels`).
    """
    tokenizer = processor.tokenizer
    prompts = processor.apply_chat_template(
        [messages for messages, _ in samples], tokenize=True, add_generation_prompt=True, return_dict=True,
        return_tensors="pt", processor_kwargs={"padding": True, "padding_side": "left"})
    answers = [tokenizer(answer + STOP, add_special_tokens=False)["input_ids"] for _, answer in samples]
    prompt_lengths = prompts["attention_mask"].sum(1).tolist()
    length = max(n + len(answer) for n, answer in zip(prompt_lengths, answers))
    length += -length % 16              # few different shapes: CPU kernels are prepared, and kept in memory, for each
    ids = torch.full((len(samples), length), tokenizer.pad_token_id)                        # (B, T)
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
                         "pixel_values": prompts["pixel_values"], "image_grid_thw": prompts["image_grid_thw"]})


def patch_labels(processor, prompts, ids, labels):
    """Writes into `labels`: the token "1" after each image token of a second picture that shows what the first does not
    show there, "0" after the others.

    A verdict of 25 tokens says little about where to look. These labels, measured pixel by pixel, say it 64 times a
    pair, and the loss stays Eq. 2's. Pictures of different sizes have no such labels.
    """
    same, other = processor.tokenizer.convert_tokens_to_ids(["0", "1"])
    merged = processor.image_processor.merge_size ** 2                  # patches of an image token, next to each other
    grids = prompts["image_grid_thw"]                                                       # (images, 3)
    patches, first = prompts["pixel_values"].split(grids.prod(1).tolist()), 0
    for row in range(len(ids)):
        at, each = (ids[row] == processor.image_token_id).nonzero()[:, 0], len(patches[first]) // merged
        if len(at) == 2 * each and torch.equal(grids[first], grids[first + 1]):
            apart = (patches[first] - patches[first + 1]).abs().amax(1).view(-1, merged).amax(1)       # (image tokens,)
            labels[row, at[each:] + 1] = torch.where(apart > 0.1, other, same)
        while len(at) > 0:
            at, first = at[len(patches[first]) // merged:], first + 1
