"""What an exercise is worth: for each point the cases, and what is right.

A check draws its cases with `rng`, so no two gradings need have the same. What is right is what
this project's own functions say, or a property of the answer. The student's code gets the cases
and nothing else (data/course/cell.py).
"""
import csv
import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import train_rl
from data import edit, worlds
from data.build import SIZES
from data.compare import fidelity
from data.course import calls
from data.course.handout import ROOT
from data.experiments import siblings
from data.models import load_processor
from data.pairs import Example
from data.verdict import CATEGORIES, Discrepancy, Verdict
from data.worlds.style import CodeStyle
from render import Rendering, render_many
from visual_erm import code_messages


@dataclass
class Part:
    """One point: the student's function is called with `cases`; `wrong` says "" or what is wrong.

    `wrong` gets what came back, unpacked (arrays as tensors), and may raise: it is no answer then.
    """

    name: str
    call: str  # one of calls.CALLS
    cases: list
    wrong: Callable[[list], str]


def _same(name: str, call: str, cases: list, policy=None, within: float = 1e-5) -> Part:
    """A point for the values that this project's own function gives."""
    packed = calls.pack(cases)
    expected = calls.unpack(calls.pack(calls.CALLS[call](calls.unpack(packed), policy)))

    def wrong(found):
        if len(found) != len(expected):
            return f"{len(found)} results for {len(expected)} cases"
        for number, (one, other) in enumerate(zip(found, expected)):
            if not _close(one, other, within):
                return f"case {number + 1} of {len(expected)}: {_short(one)}, not {_short(other)}"
        return ""
    return Part(name, call, packed, wrong)


def _close(found, expected, within):
    """Are two nests of plain data and tensors equal, numbers up to `within`, or that share?"""
    if isinstance(found, torch.Tensor):
        found = found.tolist()
    if isinstance(expected, torch.Tensor):
        expected = expected.tolist()
    if isinstance(expected, dict):
        return found.keys() >= expected.keys() and all(
            _close(found[name], expected[name], within) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(
            _close(one, other, within) for one, other in zip(found, expected))
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return bool(abs(found - expected) <= within * max(1.0, abs(expected)))
    return found == expected


def _short(value):
    value = value.tolist() if isinstance(value, torch.Tensor) else value
    text = str(value)
    return text if len(text) < 90 else text[:90] + "..."


# --- 1. the reward ---


def the_reward(rng: random.Random) -> list[Part]:
    """Exercise 1."""
    def sums(n):
        return [rng.randint(0, 12) for _ in range(n)]

    def verdicts(tasks, unreadable):
        return [[rng.choice(tasks), [rng.randint(1, 3) for _ in range(rng.randint(0, 4))],
                 rng.random() > unreadable] for _ in range(12)]

    rendered = [[rng.random() < 0.6 for _ in range(8)] for _ in range(3)]
    earned = [[round(rng.random(), 3) for good in batch if good] for batch in rendered]
    return [
        _same("Eq. 3-4", "severity_reward", [[sums(6)], [sums(1)], [[0, 0, 0]], [[]], [[2, 2]]]),
        _same("a fixed scale", "severity_reward", [[sums(6), 50.0], [sums(6), 4.0]]),
        _same("tasks apart", "verm_rewards", [[verdicts(["chart", "table", "svg"], 0.0)],
                                              [verdicts(["table", "svg"], 0.0), 20.0]]),
        _same("unreadable verdicts", "verm_rewards", [
            [verdicts(["chart"], 0.4)], [[["svg", [3, 3, 3], False], ["svg", [1], True]]]]),
        _same("Eq. 5", "add_render_term", [[rendered[0], earned[0]], [rendered[1], earned[1]],
                                           [rendered[2], earned[2], 0.001], [[False], []]]),
    ]


# --- 2. advantages and loss ---


def advantages(rng: random.Random) -> list[Part]:
    """Exercise 2."""
    def rewards(groups, size):
        return torch.tensor([rng.uniform(0, 2) for _ in range(groups * size)])

    return [
        _same("over the deviation", "group_advantages", [[rewards(3, 4), 4], [rewards(1, 8), 8]]),
        _same("without it (Dr. GRPO)", "group_advantages", [[rewards(3, 4), 4, False]]),
        _same("equal rewards", "group_advantages", [
            [torch.tensor([1.5, 1.5, 1.5, 0.0, 2.0, 1.0]), 3], [torch.full((4,), 2.0), 4, False]]),
    ]


def clipped_loss(rng: random.Random) -> list[Part]:
    """Exercise 3."""
    def case(beta, spread=0.0, whole=False, away=0.0):
        """b = 4 completions of T = 6 tokens, as one micro-batch of a batch of 40 tokens."""
        log_p = torch.tensor([[rng.uniform(-3, -0.1) for _ in range(6)] for _ in range(4)])
        old, reference = (log_p + torch.tensor([[rng.uniform(-1, 1) for _ in range(6)]
                                                for _ in range(4)]) * width
                          for width in (spread, away))
        mask = torch.ones(4, 6)
        for row, length in enumerate([] if whole else [6, 4, 1, 3]):
            mask[row, length:] = 0
        sizes = torch.tensor([rng.choice((-1, 1)) * rng.uniform(0.3, 1.5) for _ in range(4)])
        return [log_p, old, reference, sizes, mask, 40, beta, 0.2, 0.28]

    return [
        _same("on policy", "grpo_loss", [case(0.0, whole=True)]),
        _same("the clip", "grpo_loss", [case(0.0, spread=0.8, whole=True) for _ in range(3)]),
        _same("masks", "grpo_loss", [case(0.0, spread=0.8) for _ in range(3)]),
        _same("KL", "grpo_loss", [case(0.1, spread=0.5, away=1.0) for _ in range(3)]),
    ]


def log_probabilities(rng: random.Random) -> list[Part]:
    """Exercise 4."""
    policy = calls.small_policy(str(ROOT / "data/tiny/base"))
    processor = load_processor(str(ROOT / "data/tiny/base"))
    words = len(processor.tokenizer)
    forbidden = {policy.config.image_token_id, policy.config.video_token_id}
    allowed = [word for word in range(words) if word not in forbidden]

    def case(sizes, lengths, rows, temperature):
        """Pictures of these sizes, so prompts of other lengths, and siblings of these lengths."""
        noise = np.random.default_rng(rng.getrandbits(32))
        images = [calls.Image.fromarray(noise.integers(0, 255, (high, wide, 3), dtype="uint8"))
                  for wide, high in sizes]
        inputs = processor.apply_chat_template(
            [code_messages("svg", image) for image in images], tokenize=True,
            add_generation_prompt=True, return_dict=True, return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"})
        mask = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
        for row, length in enumerate(lengths):
            mask[row, :length] = 1
        tokens = torch.tensor([rng.choices(allowed, k=max(lengths)) for _ in lengths])
        tokens[mask == 0] = processor.tokenizer.pad_token_id
        return [dict(inputs), tokens, mask, torch.tensor(rows), len(lengths) // len(sizes),
                temperature]

    one, two = [(128, 128)], [(128, 128), (128, 64)]
    weighted = case(two, [5, 3, 4, 6], [0, 1, 2, 3], 1.0)
    weighted.append(torch.tensor([[rng.uniform(-1, 1) for _ in range(6)] for _ in range(4)]))
    return [
        _same("one prompt", "log_probs", [case(one, [5, 5], [0, 1], 1.0)], policy, 1e-4),
        _same("left padding", "log_probs", [case(two, [5, 3, 4, 6], [0, 1, 2, 3], 1.0)], policy,
              1e-4),
        _same("some rows, temperature", "log_probs", [case(two, [5, 3, 4, 6], [3, 1], 0.7)],
              policy, 1e-4),
        _same("the gradient", "log_probs_gradient", [weighted], policy, 1e-3),
    ]


# --- 3. a verdict ---


def parse_a_verdict(rng: random.Random) -> list[Part]:
    """Exercise 5."""
    def verdict(most=3):
        task = rng.choice(list(CATEGORIES))
        errors = [Discrepancy(rng.choice(CATEGORIES[task]), rng.randint(1, 3), f"part {i}",
                              f"reads '{rng.randint(10, 99)}', should be '{rng.randint(1, 9)}'")
                  for i in range(rng.randint(1, most))]
        return task, Verdict(task, errors).to_json()

    task, text = verdict()
    other = CATEGORIES[task][-1]
    entry = f'{{"category": "{other}", "location": "title", "description": "too small %d"%s}}'
    entries = [entry % (rng.randint(1, 99), severity) for severity in (
        ', "severity": "minor"', ', "severity": "2/3"', ', "severity": "Severity: 3"', "",
        ', "severity": 7', ', "severity": [1]', ', "severity": 0', ', "severity": "severe"')]
    spoken = other.removesuffix("_error").replace("_", " ")
    again = entry % (1, ', "severity": 2')
    lie = again.replace("too small 1", "reads '4', should be '4'")
    return [
        _same("plain JSON", "parse", [verdict() for _ in range(4)] + [
            ("chart", Verdict("chart").to_json()), ("svg", '{"errors": []}')]),
        _same("in prose, fences and thoughts", "parse", [
            (task, f"Here it is:\n```json\n{text}\n```\nI hope it helps."),
            (task, f"<think>Perhaps {verdict()[1]} or not</think>{text}"),
            (task, f'For example {{"errors": []}} would be none. {text}')]),
        _same("severities and categories in words", "parse", [
            (task, f'{{"errors": [{", ".join(entries)}]}}'),
            (task, f'{{"errors": [{entries[0]}]}}'.replace(other, f"{spoken} error".title())),
            (task, f'{{"errors": [{entries[1]}]}}'.replace("category", "type"))]),
        _same("broken or no verdict", "parse", [
            (task, text[:-len(text) // 3]), (task, text[:15]), (task, "I see no difference."),
            (task, ""), (task, f'{{"errors": [], "{other}_count": 2}}'),
            (task, f'{{"{other}_count": 0}}'), (task, f'[{entry % (3, "")}]'.replace(
                other, "poem_error"))]),
        _same("repetitions and contradictions", "parse", [
            (task, f'{{"errors": [{again}, {again}, {entries[0]}]}}'),
            (task, f'{{"errors": [{again}, {lie}]}}')]),
    ]


# --- 4. rewards ---

COVERED = {  # what is said stays, and nothing of it is seen
    "chart": lambda code: code + '\nfig.add_artist(plt.Rectangle((0, 0), 1, 1, color="white", '
                                 'zorder=99))\nfig.text(0, 0, ".")',
    "table": lambda code: "<style>td,th{color:white}</style>" + code,
    "svg": lambda code: code.replace("</svg>", '<rect width="64" height="64" fill="white"/>'
                                               '<rect width="1" height="1"/></svg>'),
}
PAPER = {  # nearly nothing
    "chart": 'import matplotlib.pyplot as plt\nfig = plt.figure(figsize=(2, 2))\n'
             'fig.text(0, 0, ".")',
    "table": "<table><tr><td>a</td></tr></table>",
    "svg": '<svg viewBox="0 0 64 64"><rect width="1" height="1"/></svg>',
}
GREY = {
    "chart": 'import matplotlib.pyplot as plt\nfig = plt.figure(figsize=(2, 2), '
             'facecolor="gray")\nfig.text(0, 0, ".")',
    "table": "<style>table{background:gray}</style><table><tr><td>a</td></tr></table>",
    "svg": '<svg viewBox="0 0 64 64"><rect width="64" height="64" fill="gray"/>'
           '<rect width="1" height="1"/></svg>',
}
TRICKS = {"covered": COVERED.get, "paper": lambda task: lambda code: PAPER[task],
          "grey": lambda task: lambda code: GREY[task]}
HONEST = ("same", "style", "one", "another", "three")  # edits, and no edit
ORDER = 0.75  # of pairs of honest programs, ordered as fidelity does
CHEAP = 0.65  # what a trick may earn, of what one mistake earns


@dataclass
class Drawn:
    """A program for a reference, and what both draw."""

    task: str
    reference: int
    kind: str  # one of HONEST or TRICKS
    codes: tuple[str, str]
    drawn: tuple[Rendering, Rendering]
    fidelity: float


def programs(rng: random.Random, n: int) -> list[Drawn]:
    """For `n` pictures of each task honest programs with none, one or three mistakes, and tricks.

    What does not render is left out.
    """
    jobs = []
    for number, task in enumerate(task for task in CATEGORIES for _ in range(n)):
        code = worlds.draw(task, 1, rng)
        kinds = list(edit.LEVEL_1[task])
        versions = {"same": code, "style": CodeStyle(rng).write(task, code)}
        for kind, edits in (("one", 1), ("another", 1), ("three", 3)):
            versions[kind] = edit.damage(task, code, rng, kinds, edits)[0]
        versions |= {kind: trick(task)(code) for kind, trick in TRICKS.items()}
        jobs += [(task, number, kind, (code, version)) for kind, version in versions.items()]
    drawn = render_many([(task, codes[1]) for task, _, _, codes in jobs], size=SIZES[1])
    references = {job[1]: one for job, one in zip(jobs, drawn) if job[2] == "same"}
    found = []
    for (task, number, kind, codes), one in zip(jobs, drawn):
        true = references[number]
        if isinstance(one, Rendering) and isinstance(true, Rendering):
            score = fidelity(true.scene, one.scene)
            found.append(Drawn(task, number, kind, codes, (true, one), score))
    return found


def _batch(found):
    return [[one.task, one.codes[0], one.drawn[0].image, one.codes[1], one.drawn[1].image]
            for one in found]


def _numbers(results, found):
    """The rewards of all programs, checked to be numbers in [0, 1]."""
    values = [float(value) for value in results[0]]
    if len(values) != len(found):
        raise ValueError(f"{len(values)} rewards for {len(found)} programs")
    if not all(0 <= value <= 1.0001 for value in values):
        raise ValueError("a reward is not in [0, 1]")
    return values


def _mean(values, found, task, kinds):
    return float(np.mean([value for value, one in zip(values, found)
                          if one.task == task and one.kind in kinds]))


def _order(values, found):
    """The share of pairs of honest programs for one picture that are in the order of fidelity."""
    rows = [{"picture": one.reference, "fidelity": one.fidelity, "reward": value}
            for value, one in zip(values, found) if one.kind in HONEST]
    counted = siblings.right(rows, "reward")
    return sum(good for good, _ in counted) / max(1, sum(pairs for _, pairs in counted))


def new_reward(rng: random.Random) -> list[Part]:
    """Exercise 6."""
    found = programs(rng, 6)
    cases = calls.pack([["ink", _batch(found)]])

    def reference_first(results):
        values = _numbers(results, found)
        low = min(value for value, one in zip(values, found) if one.kind == "same")
        return "" if low >= 0.99 else f"a reference itself earns {low:.2f}, not 1"

    def ordered(results):
        share = _order(_numbers(results, found), found)
        return "" if share >= ORDER else (f"{share:.0%} of the pairs of programs are in the order "
                                          f"of fidelity; {ORDER:.0%} are asked")

    def unmoved(task):
        def wrong(results):
            values = _numbers(results, found)
            honest = _mean(values, found, task, ("one", "another"))
            for trick in TRICKS:
                earned = _mean(values, found, task, (trick,))
                if not earned <= CHEAP * honest:
                    return f"{trick} earns {earned:.2f}, one mistake {honest:.2f}"
            return ""
        return wrong

    return [Part("the reference first", "reward", cases, reference_first),
            Part("in the order of fidelity", "reward", cases, ordered),
            *(Part(f"tricks with a {task}", "reward", cases, unmoved(task))
              for task in CATEGORIES)]


def judge_against_pixels(rng: random.Random) -> list[Part]:
    """Exercise 7."""
    def rows(pictures, values):
        return [{"picture": number, "fidelity": float(rng.choice((20, 40, 60, 80, 100))),
                 "reward": float(rng.choice(values))}
                for number in range(pictures) for _ in range(6)]

    ours = _shares((ROOT / "data/course/siblings.csv").read_text())

    def wrong(found):
        theirs = _shares(found[0])
        for (style, name), share in ours.items():
            if not abs(theirs[style, name] - share) <= 0.15:
                return (f"{name} in style {style} orders {theirs[style, name]:.2f} of the pairs, "
                        "too far from a run of ours")
        return ""

    return [
        _same("pairs in order", "right", [[rows(3, [n / 97 for n in range(97)]), "reward"]]),
        _same("ties", "right", [[rows(4, (1, 2)), "reward"], [rows(1, (0,)), "reward"]]),
        Part("your run", "hand_in", ["data/course/siblings.csv"], wrong),
    ]


def _shares(text):
    """{(style, reward): share of pairs in order} of a CSV of data.experiments.siblings."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if not 160 <= len(rows) <= 2000:
        raise ValueError("too few or too many programs for 20 pictures")
    shares = {}
    for style in "01":
        of_style = [{name: float(value) for name, value in row.items() if name != "task"}
                    for row in rows if row["style"] == style and row["task"] == "svg"]
        for name in ("label", "ssim", "text", "data/tiny/judge"):
            counted = siblings.right(of_style, name)
            shares[style, name] = (sum(good for good, _ in counted)
                                   / sum(pairs for _, pairs in counted))
    return shares


def break_and_mend(rng: random.Random) -> list[Part]:
    """Exercise 8."""
    def broken(task):
        codes = [CodeStyle(rng).write(task, worlds.draw(task, 1, rng)) for _ in range(4)]

        def wrong(found):
            if len(found) != len(codes) or not all(isinstance(code, str) for code in found):
                raise ValueError("not a program for each")
            drawn = render_many([(task, code) for code in [*codes, *found]],
                                size=SIZES[1])
            good, last = 0, ""
            for code, trick, true, one in zip(codes, found, drawn, drawn[len(codes):]):
                if not isinstance(one, Rendering):
                    last = f"a program does not render: {one}"
                    continue
                [earned], _ = train_rl.text([(Example(task, true.image, 0, code), trick, one)])
                score = fidelity(true.scene, one.scene)
                good += earned >= 0.8 and score <= 50
                last = last or f"text {earned:.2f}, fidelity {score:.0f}"
            return "" if good >= 3 else f"{good} of 4 programs: {last}"
        return Part(f"break: {task}", "break_text", [[task, code] for code in codes], wrong)

    found = programs(rng, 6)
    cases = calls.pack([["mend_text", _batch(found)]])

    def tricks(results):
        values = _numbers(results, found)
        for task in CATEGORIES:
            honest = _mean(values, found, task, ("style",))
            for trick in TRICKS:
                earned = _mean(values, found, task, (trick,))
                if not earned <= CHEAP * honest:
                    return (f"{task}: {trick} earns {earned:.2f}, the same picture from code in "
                            f"another style {honest:.2f}")
        return ""

    def still(results):
        values = _numbers(results, found)
        low = min(value for value, one in zip(values, found) if one.kind == "same")
        share = _order(values, found)
        return "" if low >= 0.99 and share >= ORDER else (
            f"a reference earns {low:.2f}, {share:.0%} of the pairs are in the order of fidelity")

    return [*map(broken, CATEGORIES), Part("mend: tricks", "reward", cases, tricks),
            Part("mend: still a reward", "reward", cases, still)]
