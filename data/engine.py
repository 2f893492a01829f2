"""Rollouts and log-probabilities with a shared prompt: the G programs for one picture read it once.

Shapes: P pictures, G programs for each, B = P * G programs in all (siblings stand together), T
tokens of the longest completion, p pictures and b programs of a part, V words, d units.
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import ProcessorMixin

from data.answers import extract_code
from data.cache import growing_cache
from data.models import Chat, fit
from data.pairs import Example
from visual_erm import code_messages, revise_messages


def write_programs(policy: Chat, examples: list[Example], temperature: float = 0.0) -> list[str]:
    """One program for each example, by any policy, a server too; temperature 0: the likeliest."""
    canvas = policy.preset["canvas"]
    conversations = [code_messages(one.task, fit(one.image, canvas)) for one in examples]
    answers = policy.write(conversations, temperature)
    return [extract_code(one.task, answer) for one, answer in zip(examples, answers)]


def write_revisions(policy: Chat, examples: list[Example], drafts: list[tuple[str, str]],
                    temperature: float = 0.0) -> list[str]:
    """Eq. 9: a better program for each example, from its draft and the feedback on it."""
    canvas = policy.preset["canvas"]
    conversations = [revise_messages(one.task, fit(one.image, canvas), *draft)
                     for one, draft in zip(examples, drafts)]
    answers = policy.write(conversations, temperature)
    return [extract_code(one.task, answer) for one, answer in zip(examples, answers)]


def select_prompts(inputs: dict, rows: torch.Tensor) -> dict:
    """The prompts `rows`, perhaps repeated, of model inputs of P prompts with one image each."""
    grids = inputs["image_grid_thw"]  # (P, 3)
    patches = inputs["pixel_values"].split(grids.prod(1).tolist())
    names = "input_ids", "attention_mask", "mm_token_type_ids"
    chosen = {name: inputs[name][rows] for name in names}
    pixels = torch.cat([patches[row] for row in rows.tolist()])
    return chosen | {"image_grid_thw": grids[rows], "pixel_values": pixels}


def prompt_positions(base: torch.nn.Module, prompt: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (3, p, l) of the prompts' tokens, and (p,) of the first token behind them.

    A token of a picture has three positions: frame, row, column.
    """
    without_pixels = {name: value for name, value in prompt.items() if name != "pixel_values"}
    positions, _ = base.model.get_rope_index(**without_pixels)
    return positions, positions.amax((0, 2)) + 1


@torch.no_grad()
def rollout(model: torch.nn.Module, processor: ProcessorMixin, examples: list[Example],
            num_generations: int, preset: dict, temperature: float,
            drafts: list[tuple[str, str]] | None = None) \
        -> tuple[dict, torch.Tensor, torch.Tensor]:
    """G sampled programs for each example: (inputs of P prompts, completions and mask (B, T)).

    With `drafts`, (code, feedback) for each example, they are revisions of these (Eq. 9). About as
    many programs at once as the preset's `sample_batch` says, never a part of a group. Each prompt
    is read once; its keys and values serve all G. A program that has ended leaves the batch. The
    stop token is part of a completion (mask 1), or it would never be trained.
    """
    canvas = preset["canvas"]
    conversations = [code_messages(one.task, fit(one.image, canvas)) for one in examples]
    if drafts:
        conversations = [revise_messages(one.task, fit(one.image, canvas), *draft)
                         for one, draft in zip(examples, drafts)]
    inputs = processor.apply_chat_template(
        conversations, tokenize=True, add_generation_prompt=True, return_dict=True,
        return_tensors="pt", processor_kwargs={"padding": True, "padding_side": "left"})
    inputs = inputs.to(model.device)
    shape = len(examples) * num_generations, preset["code_tokens"]
    completions = torch.full(shape, processor.tokenizer.pad_token_id, device=model.device)  # (B, T)
    mask = torch.zeros_like(completions)
    at_once = max(1, preset["sample_batch"] // num_generations)
    for some in torch.arange(len(examples)).split(at_once):
        prompt = select_prompts(inputs, some)
        first = int(some[0]) * num_generations
        rows = torch.arange(first, first + len(some) * num_generations, device=model.device)
        _sample(model, processor, prompt, num_generations, temperature, rows, completions, mask)
    longest = int(mask.sum(1).max())
    return inputs, completions[:, :longest], mask[:, :longest]


def _sample(model, processor, prompt, num_generations, temperature, rows, completions, mask):
    """Write `num_generations` completions of each prompt into the given rows."""
    base = model.get_base_model()
    # Placeholders of images are never sampled: in training each would count as one more image.
    forbidden = torch.tensor([model.config.image_token_id, model.config.video_token_id],
                             device=model.device)
    positions, after = prompt_positions(base, prompt)  # (3, p, l), (p,)
    cache = growing_cache()
    read = base.model(**prompt, position_ids=positions, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(num_generations)
    state = read.last_hidden_state[:, -1].repeat_interleave(num_generations, 0)  # (b, d)
    seen = prompt["attention_mask"].repeat_interleave(num_generations, 0)
    after = after.repeat_interleave(num_generations, 0)
    length = completions.shape[1]
    for t in range(length):
        logits = base.lm_head(state).float() / temperature  # (b, V)
        logits.index_fill_(1, forbidden, -torch.inf)
        tokens = torch.multinomial(logits.softmax(-1), 1)  # (b, 1)
        completions[rows, t], mask[rows, t] = tokens[:, 0], 1
        going = torch.nonzero(tokens[:, 0] != processor.tokenizer.eos_token_id)[:, 0]
        if len(going) < len(rows):
            rows, tokens, seen, after = rows[going], tokens[going], seen[going], after[going]
            cache.batch_select_indices(going)
        if not len(rows) or t + 1 == length:
            return
        seen = F.pad(seen, (0, 1), value=1)
        out = base.model(input_ids=tokens, attention_mask=seen, past_key_values=cache,
                         use_cache=True, position_ids=(after + t).expand(3, 1, -1).mT)
        state = out.last_hidden_state[:, -1]  # (b, d)


def decode(processor: ProcessorMixin, completions: torch.Tensor, mask: torch.Tensor) -> list[str]:
    """The texts of completions (B, T), up to the stop token."""
    tokenizer = processor.tokenizer
    return [tokenizer.decode(row[real.bool()], skip_special_tokens=True)
            for row, real in zip(completions, mask)]


def micro_batches(inputs: dict, mask: torch.Tensor, num_generations: int, most: int,
                  tokens: int = 10_000, rows: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Indices into B for `log_probs`, in order: at most `most` programs a part; of `rows` only.

    The sequences of a part have at most `tokens` tokens, prompts and padding included, unless one
    program alone has more. Eight siblings of 1,000 tokens share one prompt so, and eight of 4,000,
    which would not fit on a card of 24 GB, stand in several parts.
    """
    start, parts, part, sums = inputs["input_ids"].shape[1], [], [], {}
    lengths = mask.sum(1).tolist()
    for row in range(len(lengths)) if rows is None else rows.tolist():
        length, picture = lengths[row], row // num_generations
        longer = sums | {picture: sums.get(picture, start) + length}
        if part and (len(part) == most or len(longer) * max(longer.values()) > tokens):
            parts.append(part)
            part, longer = [], {picture: start + length}
        part.append(row)
        sums = longer
    return [torch.tensor(part, device=mask.device) for part in [*parts, part]]


def truncated(processor: ProcessorMixin, completions: torch.Tensor,
              mask: torch.Tensor) -> torch.Tensor:
    """Whether each completion (B, T) ran out of room before its stop token: (B,)."""
    last = completions.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]  # (B,)
    return last != processor.tokenizer.eos_token_id


def log_probs(model: torch.nn.Module, inputs: dict, completions: torch.Tensor, mask: torch.Tensor,
              rows: torch.Tensor, num_generations: int, temperature: float,
              chunk: int | None = None, entropy: bool = False) -> torch.Tensor:
    """log p of the completions `rows` (indices into B), 0 off the mask: (len(rows), T).

    With `entropy` a pair: also the entropy of the policy, in nats, where it chose each token.

    Siblings share their prompt: one sequence is a prompt and then the completions of it, end to
    end, without padding. A token sees the prompt and what comes before it in its own completion,
    and has the position it would have alone. So the picture, most of the tokens of a short answer,
    is read once.
    """
    base = model.get_base_model()
    pictures, mine = torch.unique(rows.to(mask.device) // num_generations, return_inverse=True)
    prompt = select_prompts(inputs, pictures)  # p prompts
    completions, mask = completions[rows], mask[rows].bool()  # (b, T)
    start = prompt["input_ids"].shape[1]

    # Which completion each token of a sequence is of, and its place in it; -2 is padding.
    cells = [torch.nonzero(mask & (mine == picture)[:, None]) for picture in range(len(pictures))]
    cells = pad_sequence(cells, batch_first=True, padding_value=-2)  # (p, N, 2)
    owner, place = cells.unbind(2)
    tokens = completions[owner, place]  # (p, N)

    owners = torch.cat([prompt["attention_mask"] - 2, owner], 1)  # (p, L); -1: prompt, -2: padding
    is_prompt, is_sibling = owners[:, None] == -1, owners[:, None] == owners[:, :, None]
    sees = (is_prompt | is_sibling).tril()  # (p, L, L)
    bias = torch.zeros(sees.shape, dtype=base.dtype, device=sees.device)
    bias = bias.masked_fill(~sees, torch.finfo(base.dtype).min)[:, None]  # (p, 1, L, L)
    positions, after = prompt_positions(base, prompt)  # (3, p, l), (p,)
    behind = (after[:, None] + place).expand(3, -1, -1)
    # An adapter's weights have 32 bits. Its products take those of the base, or they would be slow
    # and keep their inputs a second time.
    with torch.autocast(mask.device.type, base.dtype, enabled=base.dtype == torch.bfloat16):
        hidden = base.model(
            input_ids=torch.cat([prompt["input_ids"], tokens], 1), attention_mask=bias,
            position_ids=torch.cat([positions, behind], 2), pixel_values=prompt["pixel_values"],
            image_grid_thw=prompt["image_grid_thw"], use_cache=False).last_hidden_state

    # The state that predicts a token stands one before it; the first token's is the prompt's last.
    before = torch.arange(place.shape[1], device=place.device).expand_as(place)
    before = torch.where(place == 0, 0, before) + start - 1
    real = owner >= 0
    states = hidden.gather(1, before[:, :, None].expand(-1, -1, hidden.shape[2]))[real]
    found = _token_log_probs(base.lm_head, states, tokens[real], temperature, chunk, entropy)
    empty, at = torch.zeros(completions.shape, device=hidden.device), (owner[real], place[real])
    if entropy:
        return empty.index_put(at, found[0]), empty.index_put(at, found[1])
    return empty.index_put(at, found)


def _token_log_probs(head: Callable, states, targets, temperature, chunk=None, entropy=False):
    """log p of `targets` (N,) from hidden states (N, d): (N,); with `entropy` (2, N), that as well.

    `chunk` tokens meet the vocabulary at a time, and again in the backward pass: the logits of 32
    completions of 1,000 tokens would be 20 GB for 150,000 words. By default 1,024 tokens, or fewer
    if their logits took more than a quarter of a gigabyte.
    """
    chunk = chunk or min(1024, 2 ** 26 // head.out_features)

    def of(part, words):
        logits = head(part).float() / temperature  # (chunk, V)
        log_p = -F.cross_entropy(logits, words, reduction="none")
        if not entropy:
            return log_p
        logs = logits.log_softmax(-1)
        return torch.stack([log_p, -(logs.exp() * logs).sum(-1)])

    pieces = [checkpoint(of, part, words, use_reentrant=False)
              for part, words in zip(states.split(chunk), targets.split(chunk))]
    return torch.cat(pieces, -1)
