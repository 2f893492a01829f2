"""The published rewards, exactly: `--reward published` in train_rl.py.

    charts, SVG   1 + clip(1 - S / 50, 0, 1); 0 for what does not render; unreadable: S = 25
    tables        -S; -4 for what does not render, and for an unreadable verdict

With them a table of which S is over 4 is worth less than a crash: a policy can learn to crash.
`--reward verm --scale 50 --unreadable middle` has the first line for tables, too.
"""
import math

from data.verdict import InputError
from render import Rendering
from visual_erm import SCALE, VisualERM, severity_reward

UNREADABLE = {"0": 0.0, "middle": 0.5, "out": math.nan}  # what r_verm is then (--unreadable)
TABLE_FAILS = -4.0


def worth(unreadable: str) -> float:
    """r_verm of an unreadable verdict by the name of the choice. Raises InputError."""
    if unreadable not in UNREADABLE:
        raise InputError(f"--unreadable {unreadable!r} is unknown; choose among "
                         f"{', '.join(UNREADABLE)}.")
    return UNREADABLE[unreadable]


def published(batch: list[tuple], judge: VisualERM, **_) -> tuple[list[float], int]:
    """(what is to be added to the 1 for rendering, unreadable verdicts) of drawn programs."""
    verdicts = judge.judge([(one.task, one.image, drawn.image) for one, _, drawn in batch])
    rewards = []
    for verdict in verdicts:
        if verdict.task == "table":
            total = -verdict.severity if verdict.readable else TABLE_FAILS
            rewards.append(total - 1.0)
        elif verdict.readable:
            rewards += severity_reward([verdict.severity], SCALE)
        else:
            rewards.append(UNREADABLE["middle"])
    return rewards, sum(not verdict.readable for verdict in verdicts)


def settle(name: str, examples: list, renderings: list, rewards: list[float]) -> list[float]:
    """Rewards with what `name` pays for tables that do not render, and without what is left out.

    A reward that is no number (an unreadable verdict with `--unreadable out`) becomes the mean of
    its readable siblings, so that its advantage is 0; without such siblings it is 0.5 + 1.
    """
    siblings = {}
    for example, reward in zip(examples, rewards):
        if not math.isnan(reward):
            siblings.setdefault(id(example), []).append(reward)
    settled = []
    for example, drawn, reward in zip(examples, renderings, rewards):
        if name == "published" and example.task == "table" and not isinstance(drawn, Rendering):
            reward = TABLE_FAILS
        elif math.isnan(reward):
            others = siblings.get(id(example), [1.0 + UNREADABLE["middle"]])
            reward = sum(others) / len(others)
        settled.append(reward)
    return settled
