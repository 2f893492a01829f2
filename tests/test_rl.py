"""train_rl.py: advantages, loss and gradients against trl, one base for three roles, and runs that
are cut short.
"""
import csv
import json
import os
import re
import shutil
import signal
import time

import pytest
import torch
from peft import LoraConfig, get_peft_model

import train_rl
import visual_erm
from conftest import script, start
from data import rl_run, variants
from data.build import draw_examples, train_and_held
from data.compare import compare, fidelity
from data.engine import decode, log_probs, micro_batches, rollout
from data.models import PRESETS, generate, load_model, reference_policy
from data.optim import learning_rate
from data.pairs import Example
from data.verdict import Discrepancy, InputError, Verdict
from render import RenderError, Rendering, draw_alike, render
from train_rl import group_advantages, score
from visual_erm import VisualERM

PRESET = PRESETS["tiny"] | {"code_tokens": 24}
SMALL = ["--task", "svg,table", "--reward", "0.5*oracle+0.5*ssim", "--prompts_per_step", 2,
         "--num_generations", 3, "--num_train", 6, "--eval_images", 2, "--num_iterations", 2,
         "--temperature", 1.3]  # hot enough for siblings that earn differently


def roles(folder, judge):
    torch.manual_seed(1)
    settings = train_rl.Settings(model=str(folder), judge=str(judge), rank=4)
    policy, judge = train_rl.load_roles(settings, PRESETS["tiny"])
    return policy.model, policy.processor, judge


@pytest.fixture(scope="module")
def batch(policy):
    """(inputs, answers, mask) of 2 pictures of different size, so with left padding, and 3 answers
    each.
    """
    prompts = draw_examples("svg", 1, 1, 0) + draw_examples("table", 1, 1, 0)
    prompts[1].image = prompts[1].image.crop((0, 0, 128, 64))  # 32 patches instead of 64
    torch.manual_seed(0)
    inputs, answers, mask = rollout(*policy, prompts, 3, PRESET | {"canvas": None}, 1.0)
    mask[0, 9:] = 0  # answers of different lengths
    mask[4, 5:] = 0
    assert (inputs["attention_mask"].sum(1).tolist()[0]
            != inputs["attention_mask"].sum(1).tolist()[1])
    return inputs, answers, mask


def compute(policy, batch, rows, temperature=1.0, **options):
    return log_probs(policy[0], *batch, torch.tensor(rows), 3, temperature, **options)


def test_what_follows_the_stop_token_is_not_read(policy, batch):
    processor, (_, answers, mask) = policy[1], batch
    dirty = torch.where(mask.bool(), answers, processor.tokenizer.convert_tokens_to_ids("1"))
    assert decode(processor, dirty, mask) == decode(processor, answers, mask)
    assert (decode(processor, dirty, mask)[0]
            != processor.tokenizer.decode(dirty[0], skip_special_tokens=True))


def test_training_sees_the_probabilities_that_sampling_used(policy, batch):
    """Cached, left-padded generation and the training forward are two ways to the same numbers."""
    (model, _), (inputs, _, _) = policy, batch
    with torch.inference_mode():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=12, min_new_tokens=12,
                             output_logits=True, return_dict_in_generate=True,
                             suppress_tokens=[model.config.image_token_id])
    answers = out.sequences[:, inputs["input_ids"].shape[1]:]
    sampled = torch.stack(out.logits, 1).float().log_softmax(-1)
    sampled = sampled.gather(-1, answers[..., None])[..., 0]  # (P, T)
    trained = log_probs(model, inputs, answers, torch.ones_like(answers),
                        torch.arange(len(answers)), 1, 1.0)
    assert torch.allclose(sampled, trained, atol=1e-4)


# --- arithmetic ---
@pytest.mark.parametrize("rewards, group, divide, expected", [
    ([0.0, 2.0], 2, True, [-0.70706, 0.70706]), ([0.0, 2.0], 2, False, [-1.0, 1.0]),
    ([1.0, 1.0, 1.0, 0.0, 1.0, 2.0], 3, True, [0.0, 0.0, 0.0, -0.9999, 0.0, 0.9999]),
    ([2.0, 1.0, 0.0, 1.0], 4, True, [1.22459, 0.0, -1.22459, 0.0]),
])
def test_advantages(rewards, group, divide, expected):
    assert (group_advantages(torch.tensor(rewards), group, divide).tolist()
            == pytest.approx(expected, abs=1e-4))


@pytest.mark.parametrize("scale_rewards, divide", [("group", True), ("none", False)])
def test_advantages_equal_trl(untrained, tmp_path, scale_rewards, divide):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, processor = load_model(str(untrained))
    rewards = [1.0, 1.5, 2.0, 0.0, 1.2, 1.2]
    trainer = GRPOTrainer(
        model=model, processing_class=processor,
        reward_funcs=lambda completions, **_: rewards[:len(completions)],
        train_dataset=Dataset.from_list([{"prompt": "x"}] * 2),
        args=GRPOConfig(output_dir=str(tmp_path), max_steps=1, num_generations=3,
                        per_device_train_batch_size=6, max_completion_length=2,
                        scale_rewards=scale_rewards, use_cpu=True, bf16=False, report_to=[],
                        save_strategy="no", gradient_checkpointing=False))
    trainer.train()
    assert (group_advantages(torch.tensor(rewards), 3, divide).tolist()
            == pytest.approx(list(trainer._logs["advantages"])))


def test_rewards_normalised_one_by_one_equal_trl(untrained, tmp_path):
    """Eq. 5's render term and two rewards, of which the programs that do not render have none."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, processor = load_model(str(untrained))
    rendered, one, two = [1, 1, 0, 1, 1, 1], [.5, .1, 0, .9, .8, .8], [.2, .3, 0, .1, .1, .6]
    trainer = GRPOTrainer(
        model=model, processing_class=processor,
        reward_funcs=[lambda completions, paid=paid, **_: list(map(float, paid))
                      for paid in (rendered, one, two)],
        train_dataset=Dataset.from_list([{"prompt": "x"}] * 2),
        args=GRPOConfig(output_dir=str(tmp_path), max_steps=1, num_generations=3,
                        per_device_train_batch_size=6, max_completion_length=2,
                        multi_objective_aggregation="normalize_then_sum",
                        reward_weights=[1.0, 0.5, 2.0], use_cpu=True, bf16=False, report_to=[],
                        save_strategy="no", gradient_checkpointing=False))
    trainer.train()
    picture = draw_examples("svg", 1, 1, 0)[0]
    drawn = [Rendering(picture.image, picture.scene) if good else RenderError("syntax", "")
             for good in rendered]
    batch = train_rl.Batch([picture] * 6, {}, None, None, None, [""] * 6, drawn, None, None, 3)
    settings = train_rl.Settings(reward="0.5*oracle+2*ssim", num_generations=3,
                                 multi_objective_aggregation="normalize_then_sum")
    terms = [[paid[i] for i in (0, 1, 3, 4, 5)] for paid in (one, two)]
    rewards = torch.tensor(train_rl.sum_terms(terms, [picture] * 6, drawn, settings))
    found = train_rl.advantages_of(rewards, terms, batch, settings)
    assert found.tolist() == pytest.approx(list(trainer._logs["advantages"]), abs=1e-5)
    settings.multi_objective_aggregation = "sum_then_normalize"
    plain = train_rl.advantages_of(rewards, terms, batch, settings)
    assert torch.equal(plain, group_advantages(rewards, 3))
    assert not torch.allclose(plain, found, atol=0.1)


@pytest.mark.parametrize("words, expected", [
    ("verm", [(1.0, "verm")]), ("0.5*verm+0.5*text", [(0.5, "verm"), (0.5, "text")]),
    ("2*oracle + .25*ssim", [(2.0, "oracle"), (0.25, "ssim")]),
    ("dino", None), ("", None), ("verm-text", None), ("0.5verm", None), ("verm+", None),
])
def test_reward_sums(words, expected):
    if expected is None:
        with pytest.raises(InputError, match="is no sum of rewards"):
            train_rl.parse_reward(words)
    else:
        assert train_rl.parse_reward(words) == expected


SVG = '<svg viewBox="0 0 9 9"><rect width="5" height="5" fill="{}"/></svg>'


def test_label_pays_what_a_perfect_judge_would():
    drawings = [("svg", SVG.format(fill)) for fill in ("red", "#f00", "blue")]
    drawings += [("svg", '<svg viewBox="0 0 9 9"><circle r="1" cx="8" cy="8"/></svg>')]
    drawn = [render(*drawing, size=64) for drawing in drawings]
    picture = Example("svg", drawn[0].image, 64, drawings[0][1], drawn[0].scene)
    batch = [(picture, code, rendering) for (_, code), rendering in zip(drawings, drawn)]
    severities = [sum(error.severity for error in compare(picture.scene, one.scene))
                  for one in drawn]
    assert severities[:2] == [0, 0] and 0 < severities[2] < severities[3]
    paid, unreadable = train_rl.label(batch, scale=None)
    assert unreadable == 0
    assert paid == pytest.approx([1 - s / max(severities) for s in severities], abs=1e-4)
    assert train_rl.label(batch, scale=50)[0] == pytest.approx([1 - s / 50 for s in severities])
    broken = Rendering(drawn[0].image, {"task": "svg"})
    assert train_rl.label([(picture, "", broken)], scale=None) == ([0.0], 0)


class Judge:
    """Answers with the given severities; None is an unreadable verdict. A real judge's public
    face.
    """
    server = None

    def __init__(self, severities):
        self.severities = severities

    def judge(self, pairs):
        error = Discrepancy("shape_error", 1, "", "")
        return [Verdict(task, readable=False) if s is None else Verdict(task, [error] * s)
                for (task, *_), s in zip(pairs, self.severities)]


@pytest.mark.parametrize("render_term, scale, expected", [
    (True, 0.0, [2.0, 0.0, 1.5, 1.0, 1.0]), (False, 0.0, [1.001, 0.0, 0.501, 0.001, 0.001]),
    (True, 8.0, [2.0, 0.0, 1.75, 1.5, 1.0]),
])
def test_a_crash_is_worth_less_than_any_picture(render_term, scale, expected):
    prompts = draw_examples("svg", 1, 1, 0) * 5
    drawings = [Rendering(p.image, p.scene) for p in prompts]
    drawings[1] = RenderError("syntax", "broken")
    settings = train_rl.Settings(render_term=render_term)
    rewards, unreadable = score(prompts, [""] * 5, drawings, Judge([0, 2, 4, None]), settings,
                                scale or None)
    assert rewards == pytest.approx(expected, abs=1e-5) and unreadable == 1
    assert min(rewards[:1] + rewards[2:]) > rewards[1] == 0.0


@pytest.mark.parametrize("name", train_rl.REWARDS)
def test_every_reward_pays_most_for_the_reference_itself(name):
    prompts = draw_examples("svg", 2, 1, 3)
    batch = [(prompts[0], prompt.code, Rendering(prompt.image, prompt.scene)) for prompt in prompts]
    (same, other), unreadable = train_rl.REWARDS[name](batch, judge=Judge([0, 3]), encoder="",
                                                       scale=None)
    assert unreadable == 0
    assert 0 <= other < same <= 1.0001 and same > 0.99


# --- log p, loss, trl ---
def test_left_padding_does_not_change_log_probs(policy, batch):
    inputs, answers, mask = batch
    with torch.no_grad():
        together = compute(policy, batch, [3, 4, 5])
        second = {"input_ids": inputs["input_ids"][1:],
                  "attention_mask": inputs["attention_mask"][1:],
                  "mm_token_type_ids": inputs["mm_token_type_ids"][1:]}
        real = inputs["attention_mask"][1].bool()
        alone = {key: value[:, real] for key, value in second.items()}
        patches = inputs["image_grid_thw"].prod(1).tolist()
        alone |= {"image_grid_thw": inputs["image_grid_thw"][1:],
                  "pixel_values": inputs["pixel_values"][patches[0]:]}
        without = log_probs(policy[0], alone, answers[3:], mask[3:], torch.arange(3), 3, 1.0)
    assert (~real).any() and torch.allclose(together, without, atol=1e-5)


def test_log_probs_equal_those_of_the_plain_forward_pass(policy, batch):
    inputs, answers, mask = batch
    with torch.no_grad():
        # chunks that end mid-answer
        ours = compute(policy, batch, [0, 1, 2], temperature=0.7, chunk=5)
        ids = torch.cat([inputs["input_ids"][[0, 0, 0]], answers[:3]], 1)
        patches = inputs["pixel_values"][:inputs["image_grid_thw"][0].prod()]
        attention = torch.cat([inputs["attention_mask"][[0, 0, 0]], mask[:3]], 1)
        logits = policy[0](input_ids=ids, attention_mask=attention,
                           pixel_values=patches.repeat(3, 1),
                           image_grid_thw=inputs["image_grid_thw"][[0, 0, 0]],
                           mm_token_type_ids=(ids == policy[1].image_token_id).long()).logits
        plain = torch.log_softmax(logits[:, -answers.shape[1] - 1:-1] / 0.7, -1)
        plain = plain.gather(2, answers[:3, :, None])[..., 0] * mask[:3]
    assert torch.allclose(ours, plain, atol=1e-5)


def test_the_stop_token_is_trained_and_nothing_after_it(policy, monkeypatch):
    model, processor = policy
    stop, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    prompts = draw_examples("svg", 1, 1, 0)
    # the first ends, the second runs out of room
    drawn = iter(([[7], [7]], [[8], [8]], [[stop], [9]], [[10]]))
    monkeypatch.setattr(torch, "multinomial", lambda *_: torch.tensor(next(drawn)))
    _, answers, mask = rollout(model, processor, prompts, 2, PRESET | {"code_tokens": 4}, 1.0)
    assert (mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
            and answers.tolist() == [[7, 8, stop, pad], [7, 8, 9, 10]])


@pytest.mark.parametrize("batch_size", [3, 64])
def test_siblings_stand_together_whatever_the_batch(batch_size):
    """Cold sampling is greedy decoding: each picture's answer G times, in the order of the
    pictures.
    """
    model, processor, _ = roles("data/tiny/base", "data/tiny/judge")
    prompts = draw_examples("svg", 2, 1, 5) + draw_examples("table", 1, 1, 5)
    preset = PRESETS["tiny"] | {"sample_batch": batch_size}
    found = decode(processor, *rollout(model, processor, prompts, 2, preset, 1e-4)[1:])
    conversations = [visual_erm.code_messages(p.task, p.image) for p in prompts]
    alone = generate(model.get_base_model(), processor, conversations, max_new_tokens=256,
                     batch_size=1)
    assert found == [answer for answer in alone for _ in range(2)] and len(set(found)) == 3


def test_pictures_reach_the_training_pass(policy, batch):
    inputs, answers, mask = batch
    blind = dict(inputs) | {"pixel_values": torch.zeros_like(inputs["pixel_values"])}
    with torch.no_grad():
        seen, unseen = compute(policy, batch, [0]), compute(policy, (blind, answers, mask), [0])
    assert (seen - unseen).abs().max() > 1e-3


ADVANTAGES = torch.tensor([-1.0, 0.2, 1.3, -1.1, 0.4, 0.5])


def turn_of(batch, old=None, reference=None, truncated=()):
    """A Batch of 2 pictures with 3 completions each, those in `truncated` cut off."""
    inputs, answers, mask = batch
    cut = torch.tensor([row in truncated for row in range(len(mask))])
    nothing = torch.zeros(mask.shape)
    return train_rl.Batch([], inputs, answers, mask, cut, [], [],
                          nothing.clone() if old is None else old,
                          nothing if reference is None else reference, 3)


def gradients(policy, turn, settings, fresh=False):
    """(loss, gradients of the policy, stats) of a batch, `micro_batch_size` answers at a time."""
    model, mask = policy[0], turn.mask * ~turn.truncated[:, None]
    (weights,), tokens = variants.token_weights([mask], settings.loss_type, 24)
    total = dict.fromkeys(("policy_loss", "kl", "clip_frac", "entropy"), 0.0)
    model.zero_grad()
    for rows in torch.arange(6).split(settings.micro_batch_size):
        stats = train_rl.backward(model, turn, rows, ADVANTAGES[rows], weights[rows], tokens, fresh,
                                  settings)
        total = {name: value + stats[name] for name, value in total.items()}
    loss = total["policy_loss"] + settings.beta * total["kl"]
    return loss - settings.entropy_coef * total["entropy"], grads_of(model), total


@pytest.mark.parametrize("lengths, group, most, tokens, expected", [
    ([5, 5, 5, 5], 2, 4, 100, [[0, 1, 2, 3]]), ([5, 5, 5, 5], 2, 3, 100, [[0, 1, 2], [3]]),
    ([5, 5, 5, 5], 2, 1, 100, [[0], [1], [2], [3]]),
    ([5, 5, 5, 5], 4, 4, 30, [[0, 1, 2, 3]]),  # a prompt of 10 tokens, then 20
    ([5, 5, 5, 5], 4, 4, 29, [[0, 1, 2], [3]]),
    ([5, 5, 5, 5], 2, 4, 39, [[0, 1], [2, 3]]),  # two sequences of 20
    ([9, 1, 1, 1], 2, 4, 39, [[0, 1], [2, 3]]),  # the shorter one is padded
    ([99, 5, 5, 99], 2, 4, 30, [[0], [1, 2], [3]]), ([3], 2, 4, 1, [[0]]),
])
def test_micro_batches_have_as_many_siblings_as_fit(lengths, group, most, tokens, expected):
    mask = torch.arange(99) < torch.tensor(lengths)[:, None]
    inputs = {"input_ids": torch.zeros(len(lengths), 10)}
    found = micro_batches(inputs, mask.long(), group, most, tokens)
    assert [rows.tolist() for rows in found] == expected


def grads_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_gradient_does_not_depend_on_the_micro_batch(policy, batch, loss_type):
    settings = [train_rl.Settings(micro_batch_size=n, beta=0, loss_type=loss_type) for n in (6, 2)]
    (loss, whole, stats), (parts, split, _) = (
        gradients(policy, turn_of(batch), one, fresh=True) for one in settings)
    assert stats["clip_frac"] == stats["kl"] == 0  # on policy all ratios are 1
    assert loss == pytest.approx(parts, abs=1e-6) and whole.keys() == split.keys()
    assert all(torch.allclose(whole[name], split[name], atol=1e-6) for name in whole)
    assert all(".policy." in name for name in whole)  # the base never gets a gradient


def trl_gradients(policy, batch, rows, tmp_path, old, reference, mask, tokens, **options):
    """(loss, gradients, mean entropy) of trl for the answers `rows`.

    The plain k3 term of the paper is compared; trl's own default also multiplies it by the ratio.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    (model, processor), (inputs, answers, _) = policy, batch
    trainer = GRPOTrainer(
        model=model, processing_class=processor, reward_funcs=lambda **_: [0.0],
        train_dataset=Dataset.from_list([{"prompt": "x"}] * 6),
        args=GRPOConfig(output_dir=str(tmp_path), beta=0.0, epsilon=0.2, epsilon_high=0.2,
                        use_bias_correction_kl=False, num_generations=3,
                        per_device_train_batch_size=6, use_cpu=True, bf16=False, report_to=[],
                        gradient_checkpointing=False, max_completion_length=24, **options))
    trainer.current_gradient_accumulation_steps = 1
    trainer.beta = 0.04  # set late: with it trl looks for a second adapter named "default"
    source = [row // 3 for row in rows]
    patches = inputs["pixel_values"].split(inputs["image_grid_thw"].prod(1).tolist())
    prompt_ids = inputs["input_ids"][source]
    ids = torch.cat([prompt_ids, answers[rows]], 1)
    model.zero_grad()
    loss = trainer._compute_loss(trainer.model.train(), {
        "prompt_ids": prompt_ids, "prompt_mask": inputs["attention_mask"][source],
        "completion_ids": answers[rows], "completion_mask": mask[rows],
        "advantages": ADVANTAGES[rows], "num_items_in_batch": tokens,
        "old_per_token_logps": None if old is None else old[rows],
        "ref_per_token_logps": reference[rows], "num_images": [1] * len(rows),
        "pixel_values": torch.cat([patches[i] for i in source]),
        "image_grid_thw": inputs["image_grid_thw"][source],
        "mm_token_type_ids": (ids == processor.image_token_id).long()})
    loss.backward()
    return loss.item(), grads_of(model), trainer._metrics["train"]["entropy"][-1]


def policies(policy, batch):
    """(old, reference) log p: of a policy some way off, with ratios beyond the clip, and the base.
    """
    torch.manual_seed(3)
    with torch.no_grad():
        now = torch.cat([compute(policy, batch, [0, 1, 2]), compute(policy, batch, [3, 4, 5])])
        with policy[0].disable_adapter():
            reference = compute(policy, batch, [0, 1, 2, 3, 4, 5])
    away = 0.3 * torch.randn_like(now) + 0.3 * torch.randn(len(now), 1)  # of tokens, of sequences
    return (now + away) * batch[2], reference


def same(ours, theirs):
    (loss, grads), (their_loss, found) = ours, theirs
    assert loss == pytest.approx(their_loss, abs=1e-5)
    assert found.keys() == grads.keys() and max(g.abs().max() for g in grads.values()) > 1e-3
    assert all(torch.allclose(found[name], grads[name], atol=1e-5) for name in grads)


@pytest.mark.parametrize("theirs, level, on_policy, truncated, entropy_coef", [
    ("dapo", "token", False, [], 0.0), ("bnpo", "token", False, [], 0.0),
    ("dapo", "token", True, [], 0.0), ("grpo", "token", False, [], 0.0),
    ("dr_grpo", "token", False, [], 0.0), ("dapo", "sequence", False, [], 0.0),
    ("grpo", "sequence", False, [], 0.0), ("dr_grpo", "sequence", False, [1, 5], 0.0),
    ("dapo", "token", False, [1, 4], 0.0), ("grpo", "sequence", False, [0], 0.3),
    ("dr_grpo", "token", False, [3, 4, 5], 0.0), ("dapo", "token", True, [2], 0.3),
])
def test_loss_and_gradients_equal_trl(policy, batch, tmp_path, theirs, level, on_policy, truncated,
                                      entropy_coef):
    """Every choice that both have: loss and gradients to 1e-5 absolute."""
    old, reference = policies(policy, batch)
    settings = train_rl.Settings(
        beta=0.04, micro_batch_size=2, loss_type=theirs.replace("bnpo", "dapo"),
        importance_sampling_level=level, entropy_coef=entropy_coef)
    turn = turn_of(batch, old, reference, truncated)
    loss, grads, stats = gradients(policy, turn, settings, fresh=on_policy)
    mask = batch[2].clone()
    mask[truncated] = 0
    their_loss, found, entropy = trl_gradients(
        policy, batch, list(range(6)), tmp_path, None if on_policy else old, reference, mask,
        mask.sum(), loss_type=theirs, importance_sampling_level=level, entropy_coef=entropy_coef)
    same((loss, grads), (their_loss, found))
    assert stats["entropy"] == pytest.approx(entropy, abs=1e-5) and entropy > 1
    assert on_policy or stats["clip_frac"] > 0


def test_updates_on_parts_of_a_batch_equal_trl(policy, batch, tmp_path, monkeypatch):
    """`--steps_per_generation 2`, answers that ran out of room masked: each part as trl has it."""
    model, (_, _, mask) = policy[0], batch
    old, reference = policies(policy, batch)
    now = torch.cat([compute(policy, batch, [0, 1, 2]), compute(policy, batch, [3, 4, 5])]).detach()
    steps = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_",
                        lambda *_: steps.append(grads_of(model)) or torch.tensor(1.0))
    settings = train_rl.Settings(steps_per_generation=2, micro_batch_size=2, beta=0.04,
                                 mask_truncated_completions=True)
    still = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    for recent in (old, now):
        steps.clear()
        model.zero_grad()
        stats = train_rl.update(model, still, [turn_of(batch, recent, reference, [4])], ADVANTAGES,
                                settings)
        kept = mask.clone()
        kept[4] = 0
        halves = [trl_gradients(policy, batch, rows, tmp_path, recent, reference, kept, kept.sum(),
                                loss_type="dapo", steps_per_generation=2)
                  for rows in ([0, 1, 2], [3, 4, 5])]
        loss = stats["policy_loss"] + 0.04 * stats["kl"]
        mean = (halves[0][0] + halves[1][0]) / 2
        for ours, (_, theirs, _) in zip(steps, halves, strict=True):
            same((loss, ours), (mean, theirs))


def test_a_split_batch_remembers_the_policy_that_sampled(policy):
    torch.manual_seed(5)
    model, processor = policy
    pictures = draw_examples("svg", 2, 1, 0)
    settings = train_rl.Settings(num_generations=2, micro_batch_size=2, steps_per_generation=2)
    sampled = train_rl.sample_programs(model, processor, pictures, settings, PRESET)
    batch = train_rl.render_programs(model, pictures, sampled, settings)
    with torch.no_grad():
        now = log_probs(model, batch.inputs, batch.completions, batch.mask, torch.arange(4), 2, 1.0)
    assert torch.allclose(batch.old_log_probs, now, atol=1e-5) and now.abs().max() > 1


@pytest.mark.parametrize("kind, expected", [
    ("constant", "constant_with_warmup"), ("linear", "linear"), ("cosine", "cosine")])
def test_learning_rates_equal_those_of_transformers(kind, expected):
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = get_scheduler(expected, optimizer, num_warmup_steps=4, num_training_steps=12)
    theirs = []
    for _ in range(12):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    ours = [learning_rate(0.3, kind, step, 12, 4) for step in range(1, 13)]
    assert ours[4:] == pytest.approx(theirs[4:]) and ours[:4] == pytest.approx(theirs[1:5])


@pytest.mark.parametrize("limit, expected", [(24, None), (3, True), (256, False)])
def test_a_program_is_cut_off_if_it_ran_out_of_room(limit, expected):
    """At temperature 1e-4 the base writes whole programs, if there is room."""
    model, processor, _ = roles("data/tiny/base", "data/tiny/judge")
    settings = train_rl.Settings(num_generations=2, temperature=1e-4)
    pictures = draw_examples("svg", 4, 1, 7)
    *_, mask, truncated, _ = train_rl.sample_programs(model, processor, pictures, settings,
                                                      PRESETS["tiny"] | {"code_tokens": limit})
    whole, _, whole_mask = rollout(model, processor, pictures, 2, PRESETS["tiny"], 1e-4)
    assert truncated.tolist() == (whole_mask.sum(1) > limit).tolist()
    assert expected is None or truncated.tolist() == [expected] * 8
    assert mask.sum(1).max() <= limit


# --- one base, three roles ---
def test_three_roles_share_one_base(untrained, tmp_path, batch):
    base, processor = load_model(str(untrained))
    weights = sum(p.numel() for p in base.parameters())
    judge = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear"))
    for name, p in judge.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    judge.save_pretrained(tmp_path)
    model, processor, judge = roles(untrained, tmp_path)
    assert judge.adapter == "judge" and judge.model is model
    adapters = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    assert sum(p.numel() for p in model.parameters()) - adapters == weights  # no second copy
    plain = (load_model(str(untrained))[0],)
    plain[0].get_base_model = lambda: plain[0]
    model.set_adapter("judge")
    with torch.no_grad(), model.disable_adapter():
        reference = compute((model,), batch, [0, 3])
    with torch.no_grad():
        assert torch.equal(reference, compute(plain, batch, [0, 3]))  # the reference is the base
        # the judge is not
        assert not torch.allclose(reference, compute((model,), batch, [0, 3]), atol=1e-3)
    model.set_adapter("policy")
    image = draw_examples("svg", 1, 1, 0)[0].image
    judge.preset = judge.preset | {"verdict_tokens": 12}
    said = judge.judge([("svg", image, image)])[0].raw
    alone = VisualERM(load_model(str(tmp_path)), judge.preset).judge([("svg", image, image)])[0].raw
    other = VisualERM((model, processor), judge.preset).judge([("svg", image, image)])[0].raw
    assert said == alone != other
    assert ({name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad}
            == {"policy"})


def test_a_policy_that_goes_on_from_an_adapter(policy, untrained, tmp_path, batch):
    """Its first weights are the adapter's, and so are the reference policy's, for good."""
    policy[0].save_pretrained(tmp_path, selected_adapters=["policy"])
    start = str(tmp_path / "policy")
    settings = train_rl.Settings(adapter=start, model=str(untrained), judge=str(untrained))
    found, judge = train_rl.load_roles(settings, PRESETS["tiny"])
    model = found.model
    with torch.no_grad():
        expected = compute(policy, batch, [0, 3])
        with policy[0].disable_adapter():
            base = compute(policy, batch, [0, 3])
        assert torch.allclose(compute((model,), batch, [0, 3]), expected, atol=1e-5)
        for name, p in model.named_parameters():
            if ".policy." in name:  # the policy learns
                p += 0.1
        with reference_policy(model):
            assert torch.allclose(compute((model,), batch, [0, 3]), expected, atol=1e-5)
        with judge._switched():  # a judge without an adapter is the base
            assert torch.allclose(compute((model,), batch, [0, 3]), base, atol=1e-5)
        assert not torch.allclose(compute((model,), batch, [0, 3]), expected, atol=1e-3)
    assert not torch.allclose(base, expected, atol=1e-3)
    trained = {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"policy"}


def test_a_policy_in_4_bits(untrained):
    """QLoRA: the same gradients with and without recomputed activations, for the adapter alone, and
    a reference.
    """
    torch.manual_seed(1)
    settings = train_rl.Settings(model=str(untrained), judge=str(untrained), rank=4)
    policy, _ = train_rl.load_roles(settings, PRESET | {"quantize": True})
    model, processor = policy.model, policy.processor
    assert any("4bit" in type(layer).__name__ for layer in model.modules())
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.05)
    inputs, answers, mask = rollout(model.eval(), processor, draw_examples("svg", 1, 1, 0), 2,
                                    PRESET, 1.0)
    found = []
    for recompute in (True, False):
        (model.gradient_checkpointing_enable if recompute else
         model.gradient_checkpointing_disable)()
        model.train().zero_grad()
        logp = log_probs(model, inputs, answers, mask, torch.arange(2), 2, 1.0)
        logp.sum().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters()
                      if p.grad is not None})
    assert (found[0] and all(".policy." in name for name in found[0])
            and found[0].keys() == found[1].keys())
    assert all(torch.allclose(found[0][name], grad, atol=1e-5) for name, grad in found[1].items())
    with torch.no_grad(), model.eval().disable_adapter():
        assert not torch.allclose(log_probs(model, inputs, answers, mask, torch.arange(2), 2, 1.0),
                                  logp, atol=1e-3)


# --- whole runs ---
def rows(folder):
    keep = [c for c in rl_run.COLUMNS if not c.endswith("_s")]  # seconds are never the same
    return [{c: row[c] for c in keep} for row in csv.DictReader(open(folder / "log.csv"))]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rl")
    done = script("train_rl.py", *SMALL, "--steps", 4, "--eval_every", 2, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "\nfidelity on 4 held-out pictures: " in done.stdout
    return folder


def weights(folder):
    return {name: p for name, p in load_model(str(folder / "checkpoint"))[0].named_parameters()
            if "lora_" in name}


def test_a_run_leaves_what_it_promises(unbroken):
    assert {path.name for path in unbroken.iterdir()} == {
        "config.json", "log.csv", "curves.png", "report.html", "checkpoint", "state.pt",
        "samples.jsonl"}
    table = rows(unbroken)
    assert (max(float(row["grad_norm"] or 0) for row in table) > 1e-3
            and max(float(row["kl"] or 0) for row in table) > 0)
    samples = [json.loads(line) for line in (unbroken / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 6 and {sample["step"] for sample in samples} == {4}
    assert all(first["reward"] >= second["reward"]
               for first, second in zip(samples[:2], samples[1:3]))
    assert [row["step"] for row in table] == ["0", "1", "2", "3", "4"]
    assert [bool(row["fidelity"]) for row in table] == [True, False, True, False, True]
    # it has learned
    assert any("lora_B" in name and p.abs().max() > 0 for name, p in weights(unbroken).items())


def test_a_stopped_run_goes_on_to_the_same_curve(unbroken, tmp_path):
    """kill -9 and Ctrl-C, side by side: two cores, half the time."""
    command = ["train_rl.py", *SMALL, "--steps", 4, "--eval_every", 2, "--out"]
    folders = {tmp_path / kill.name: kill for kill in (signal.SIGKILL, signal.SIGINT)}
    running = {folder: start(*command, folder) for folder in folders}
    waiting = set(folders)
    while waiting and all(process.poll() is None
                          for process in (running[folder] for folder in waiting)):
        for folder in list(waiting):
            # step 3 is written, not saved
            if (folder / "log.csv").exists() and len(rows(folder)) >= 4:
                os.killpg(running[folder].pid, folders[folder])
                waiting.remove(folder)
        time.sleep(0.02)
    said = [process.communicate()[0] for process in running.values()]
    assert [process.returncode for process in running.values()] == [-signal.SIGKILL, 130], said
    assert "go on with --resume" in said[1]
    whole = weights(unbroken)
    for folder, resumed in [(folder, start(*command, folder, "--resume")) for folder in folders]:
        said, _ = resumed.communicate()
        assert resumed.returncode == 0, said
        assert rows(folder) == rows(unbroken)
        found = weights(folder)
        assert all(torch.equal(found[name], p) for name, p in whole.items())


@pytest.mark.parametrize("data", [False, True], ids=["drawn", "folder"])
def test_no_program_is_learned_and_held_out(pairs_folder, data):
    folder = str(pairs_folder) if data else ""
    learned, held = train_and_held(["svg", "table"], folder, 1, 0, 7, 3, PRESET)
    assert ([(len(learned), len(held))] == [(14, 6)]
            and {p.task for p in learned} == {"svg", "table"})
    assert not {p.code for p in learned} & {p.code for p in held}
    again = draw_alike(held, [p.code for p in held])[0].image.tobytes()
    assert again != held[0].image.tobytes()  # each picture has a style of drawing
    assert all(fidelity(p.scene, d.scene) == 100 for p, d in zip(
        learned, draw_alike(learned, [p.code for p in learned])))
    if data:
        with pytest.raises(InputError, match="has not enough pictures of the task chart"):
            train_and_held(["chart"], folder, 1, 0, 7, 3, PRESET)


def test_resume_takes_the_new_learning_rate_and_nothing_else(unbroken, tmp_path, capsys):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    command = [*map(str, SMALL), "--eval_every", "2", "--resume", "--out", str(tmp_path)]
    assert train_rl.main([*command, "--steps", "5", "--lr", "0"]) == 0
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "3", "4", "5"]
    assert all(torch.equal(weights(tmp_path)[name], p) for name, p in weights(unbroken).items())
    assert train_rl.main([*command, "--rank", "4"]) == 2
    assert "other settings (--rank 16, not 4)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, words", [
    (["--task", "charts"], "--task 'charts' is unknown"),
    (["--reward", "dino"], "is no sum of rewards"),
    (["--group", "1"], "--num_generations must be at least 2"),
    (["--preset", "3b"], "no preset '3b'"),
    (["--model", "nowhere/at/all"], "no folder"), (["--level", "4"], "--level 4 does not exist"),
    (["--model", "http://localhost:1/v1"], "behind a URL cannot be trained"),
    (["--model", "ADAPTER"], "go on with --adapter"),
    (["--adapter", "data/tiny/base"], "holds no adapter"),
    (["--steps_per_generation", "3"], "must divide --prompts_per_step"),
])
def test_mistakes_get_a_sentence(capsys, tmp_path, arguments, words):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "data/tiny/base"}')
    arguments = [str(tmp_path) if word == "ADAPTER" else word for word in arguments]
    assert train_rl.main(["--out", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_gradient_that_is_no_number_stops_the_run(untrained, pairs_folder, tmp_path, monkeypatch,
                                                    capsys):
    monkeypatch.setattr(train_rl, "group_advantages", lambda rewards, *_: rewards * float("nan"))
    assert train_rl.main([*map(str, SMALL), "--model", str(untrained), "--judge", str(untrained),
                          "--data", str(pairs_folder), "--out", str(tmp_path)]) == 2
    assert re.search("not finite.*state.pt", capsys.readouterr().err)
    assert torch.load(tmp_path / "state.pt", weights_only=False)["step"] == 0
