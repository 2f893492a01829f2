"""`train_rl.py --turns 2`: draft, verdict and revision as one episode."""
import csv
import json
import os
import signal
import time

import pytest
import torch

import train_rl
from conftest import script, start
from data import turns
from data.build import draw_examples
from data.engine import log_probs
from data.models import PRESETS
from data.verdict import Discrepancy, Verdict
from render import RenderError, Rendering
from visual_erm import revise_messages

PRESET = PRESETS["tiny"] | {"code_tokens": 20}
FEEDBACK = ["It cannot be drawn: syntax", '{"errors": []}', "a list", "nothing"]


class Judge:
    """Finds one error in each picture and cannot be read on the last one."""

    def __init__(self):
        self.asked = []

    def judge(self, pairs):
        self.asked.append(pairs)
        error = Discrepancy("shape_error", 2, "circle", "square")
        found = [Verdict(task, [error]) for task, *_ in pairs[:-1]]
        return [*found, Verdict(pairs[-1][0], readable=False, raw="I see a cat")]


def test_each_draft_gets_its_own_feedback():
    pictures = draw_examples("svg", 3, 1, 0)
    drawn = [Rendering(pictures[1].image, pictures[1].scene), RenderError("syntax", "line 3"),
             Rendering(pictures[2].image, pictures[2].scene)]
    judge = Judge()
    said, answered = turns.feedback(pictures, drawn, judge)
    assert said[1:] == [f"It cannot be drawn: {drawn[1]}", "I see a cat"]
    assert Verdict.parse("svg", said[0]).errors == [Discrepancy("shape_error", 2, "circle",
                                                                "square")]
    assert [one.image for one in (pictures[0], pictures[2])] == [a for _, a, _ in judge.asked[0]]
    rewards, unreadable = train_rl.score(pictures, [""] * 3, drawn, answered, train_rl.Settings(),
                                         50)
    assert rewards == [2 - 2 / 50, 0.0, 1.0] and unreadable == 1
    assert len(judge.asked) == 1  # the reward is that of the same verdicts


@pytest.fixture(scope="module")
def episode(policy):
    """(settings, [Batch of drafts, Batch of revisions]): 2 pictures, 2 episodes each."""
    model, processor = policy
    pictures = draw_examples("svg", 2, 1, 0)
    settings = train_rl.Settings(turns=2, num_generations=2, micro_batch_size=3, beta=0.04)
    torch.manual_seed(1)
    sampled = train_rl.sample_programs(model, processor, pictures, settings, PRESET)
    first = train_rl.render_programs(model, pictures, sampled, settings)
    drafts = list(zip(first.codes, FEEDBACK))
    sampled = train_rl.sample_programs(model, processor, first.examples, settings, PRESET, drafts)
    second = train_rl.render_programs(model, first.examples, sampled, settings)
    second.mask[1, 7:] = 0
    return settings, [first, second]


def plain(policy, example, messages, completion):
    """log p of a completion by the model's usual forward pass, alone: (tokens,)."""
    model, processor = policy
    inputs = processor.apply_chat_template(
        [messages], tokenize=True, add_generation_prompt=True, return_dict=True,
        return_tensors="pt")
    ids = torch.cat([inputs["input_ids"], completion[None]], 1)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids),
                   pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"],
                   mm_token_type_ids=(ids == processor.image_token_id).long()).logits
    logs = logits[0, -len(completion) - 1:-1].log_softmax(-1)
    return logs.gather(1, completion[:, None])[:, 0]


def messages_of(episode, turn, row):
    from visual_erm import code_messages

    first, second = episode
    example = second.examples[row]
    if turn == 0:
        return code_messages(example.task, example.image)
    return revise_messages(example.task, example.image, first.codes[row], FEEDBACK[row])


def test_the_second_turn_is_a_revision_of_each_draft(policy, episode):
    """Its log p are those of a plain forward pass over picture, draft, feedback and revision."""
    _, batches = episode
    second = batches[1]
    assert second.siblings == 1 and second.inputs["input_ids"].shape[0] == 4
    assert [one.image for one in second.examples] == [one.image for one in batches[0].examples]
    words = policy[1].tokenizer.batch_decode(second.inputs["input_ids"])
    assert all(said in text for said, text in zip(FEEDBACK, words))
    with torch.no_grad():
        ours = log_probs(policy[0], second.inputs, second.completions, second.mask,
                         torch.tensor([0, 1, 3]), 1, 1.0)
        for found, row in zip(ours, (0, 1, 3)):
            real = second.mask[row].bool()
            expected = plain(policy, second.examples[row], messages_of(batches, 1, row),
                             second.completions[row][real])
            assert torch.allclose(found[real], expected, atol=1e-4)
            assert not found[~real].any()


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_the_loss_of_an_episode_is_that_of_all_its_tokens(policy, episode, monkeypatch, loss_type):
    """Loss and gradients against a sum over single tokens, each with its episode's advantage."""
    (model, _), (settings, batches) = policy, episode
    settings.loss_type, settings.max_completion_length = loss_type, 20
    advantages, found = torch.tensor([1.0, -0.7, 0.4, -1.3]), {}

    def record(weights, _):
        found.update({id(p): p.grad.clone() for p in weights})
        return torch.tensor(1.0)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    weights = [p for name, p in model.named_parameters() if ".policy." in name]
    still = torch.optim.SGD(weights, lr=0.0)
    still.zero_grad()
    stats = train_rl.update(model, still, batches, advantages, settings)

    real = sum(int(turn.mask.sum()) for turn in batches)
    loss = 0.0
    for number, turn in enumerate(batches):
        for row, advantage in enumerate(advantages):
            mask = turn.mask[row].bool()
            log_p = plain(policy, turn.examples[row], messages_of(batches, number, row),
                          turn.completions[row][mask])
            d = turn.ref_log_probs[row][mask] - log_p
            gain = (log_p - log_p.detach()).exp() * advantage  # on policy: nothing is clipped
            terms = 0.04 * (d.exp() - d - 1) - gain
            share = {"dapo": 1 / real, "grpo": 1 / (8 * mask.sum()), "dr_grpo": 1 / (8 * 20)}
            loss = loss + terms.sum() * share[loss_type]
    assert stats["policy_loss"] + 0.04 * stats["kl"] == pytest.approx(loss.item(), abs=1e-5)
    model.zero_grad()
    loss.backward()
    assert max(p.grad.abs().max() for p in weights) > 1e-3
    assert all(torch.allclose(found[id(p)], p.grad, atol=1e-5) for p in weights)
    model.zero_grad()


SMALL = ["--task", "svg", "--turns", 2, "--prompts_per_step", 2, "--num_generations", 3,
         "--num_train", 6, "--eval_images", 3, "--temperature", 1.3, "--steps_per_generation", 2,
         "--importance_sampling_level", "sequence", "--loss_type", "grpo", "--eval_every", 2,
         "--lr_scheduler_type", "linear", "--warmup", 1, "--mask_truncated_completions",
         "--reward", "oracle+0.5*verm", "--multi_objective_aggregation", "normalize_then_sum",
         "--max_completion_length", 60, "--entropy_coef", 0.001]


def rows(folder):
    return [{name: value for name, value in row.items() if not name.endswith("_s")}
            for row in csv.DictReader(open(folder / "log.csv"))]


def test_a_killed_run_of_two_turns_goes_on_to_the_same_curve(tmp_path):
    """With every choice of another paper on; the two runs side by side."""
    command = ["train_rl.py", *SMALL, "--steps", 3, "--out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    one, other = start(*command, whole), start(*command, parts)
    while other.poll() is None and not ((parts / "log.csv").exists() and len(rows(parts)) >= 3):
        time.sleep(0.02)  # step 2 is written; perhaps its state is not
    os.killpg(other.pid, signal.SIGKILL)
    other.communicate()
    done = script(*command, parts, "--resume")
    said, _ = one.communicate()
    assert done.returncode == one.returncode == 0, done.stderr + said
    assert "\nrevised_fidelity on 3 held-out pictures: " in said
    table = rows(whole)
    assert rows(parts) == table
    assert all(0 <= float(row["draft_reward"]) <= 2.5 and float(row["entropy"]) > 0
               and float(row["completion_length"]) > 10 for row in table[1:])
    assert [float(row["lr"]) for row in table[1:]] == pytest.approx([5e-4, 5e-4, 2.5e-4])
    assert [bool(row["revised_fidelity"]) for row in table] == [True, False, True, True]
    samples = [json.loads(line) for line in (whole / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 6 and all(one["draft"] and one["feedback"] for one in samples)
