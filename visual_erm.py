"""The judge: two pictures in, a list of discrepancies and a reward out (arXiv 2603.13224).

A vision-language model looks at a reference and at the rendering of code that tries to redraw it.
It writes what differs as JSON: category, severity 1-3, location, description. The sum of the
severities becomes a reward (Eq. 3-5, section 3). The list itself is the feedback for a revision.

    python visual_erm.py                                      # judge the shipped examples
    python visual_erm.py ORIGINAL GENERATED --task chart      # judge two pictures
    python visual_erm.py reference.py attempt.py --json       # programs are drawn

The first takes half a minute on 2 cores. Departures from the paper:

1. An unreadable verdict is counted and shown; `verm_rewards` says what it is worth.
2. Code that does not render is always worth less than any picture.
3. The prompts are worded here. A judge trained with others, internlm/Visual-ERM for one, gets its
   own with --judge_prompts (data/prompts.py).

From data/ come: the verdict and its parser, pairs on disk, models, other rewards, the page.
"""
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from data.runs import flag, parse, script, write_text
from data.verdict import CATEGORIES, InputError, Verdict, known_task


@dataclass
class Settings:
    task: str = flag("", "chart, table or svg; default: by the ending of a program")
    judge: str = flag("", "model folder, hub name or URL; default: the preset's judge")
    preset: str = flag("", "tiny, 2b, 4b or 8b; default: tiny, 8b for a judge not on this disk")
    encoder: str = flag("", "vision encoder to compare with; default: EfficientNet-Lite0")
    examples: str = flag("data/examples", "folder of pairs to judge")
    out: str = flag("runs/judge", "folder for report.html")
    json: bool = flag(False, "print JSON and nothing else")


PICTURES = dict(nargs="*", help="ORIGINAL GENERATED, pictures or programs; default: the examples")
if __name__ == "__main__":
    parse(Settings, None, __doc__, pictures=PICTURES)  # before the slow imports of torch

from data.answers import answer_in
from data.metrics import VisionEncoder, baseline_rewards
from data.models import Chat, drawing_size, find_folder, fit, preset_for
from data.own import as_json, exact, guess_task, in_words, load_own, pair_page, warn
from data.pairs import Example, load_image, read_pairs
from data.reading import ask_verdicts, judge_by_reading, judge_or_warn
from data.report import html_report, pair_card, verdict_lines
from render import Rendering, draw_alike, extract_code

# --- 1. the prompts ---

LANGUAGE = {"chart": "Python code for Matplotlib", "table": "HTML code of the table",
            "svg": "SVG code"}
LOOK_FOR = {
    "chart": """\
- structure_error: chart type, number and place of the subplots, shared axes
- data_error: values and shape of the marks, scale and limits of an axis, missing or extra series, \
bars, points, slices
- text_error: title, axis labels, tick labels, legend, annotations
- style_error: colours, markers, line styles, grid, background""",
    "table": """\
- layout_error: rows, columns, merged cells, alignment, cells that changed place
- text_error: words that are wrong, missing or extra
- numeric_error: numbers, signs, units and symbols""",
    "svg": """\
- structure_error: composition, grouping, missing or extra parts
- shape_error: geometry, size, position of a part
- style_error: fill, stroke, opacity
- text_symbol_error: letters, digits and symbols""",
}


def judge_prompt(task: str) -> str:
    """What the judge is asked about two pictures; it states the schema of `Verdict.parse`."""
    counts = ", ".join(f'"{category}_count": int' for category in CATEGORIES[task])
    return f"""The first image is the reference, a {task}. The second image was rendered from code \
that tries to redraw it. List every visible difference, in these categories:
{LOOK_FOR[task]}
Name causes, not consequences: a changed value that moves the axis is one error. Ignore \
antialiasing and shifts that nobody would notice. severity: 1 = minor, hardly disturbs a reader; \
2 = medium, needs a correction before use; 3 = severe, wrong or misleading. location: the part \
concerned. description: what the second image shows and what it should show. If the images look \
the same, the list is empty. \
Answer with this JSON and nothing else:
{{"errors": [{{"category": str, "location": str, "description": str, "severity": int}}], {counts}}}
Each count is the number of errors of that category in the list."""


def code_prompt(task: str) -> str:
    """What the policy is asked: image to code."""
    return f"Write the {LANGUAGE[task]} that redraws this image exactly. Answer with the code only."


NOTHING_SAID = "nothing was said about it"  # the feedback of a revision without a judge


def revise_prompt(task: str, code: str, feedback: str) -> str:
    """What the policy is asked in a revision (Eq. 9): image, draft and feedback to better code.

    `feedback` is put in word for word: a verdict's JSON, or any other critique.
    """
    return f"""This code tries to redraw the image:
{code}
A comparison of its picture with the image found:
{feedback}
Correct the code. Answer with the complete {LANGUAGE[task]} only."""


def _messages(images: list[Image.Image], prompt: str) -> list[dict]:
    content = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


def judge_messages(task: str, reference: Image.Image, rendering: Image.Image,
                   prompts: dict[str, str] | None = None) -> list[dict]:
    """The conversation that asks for a verdict: two images, then ours or the judge's prompt."""
    return _messages([reference, rendering], (prompts or {}).get(task) or judge_prompt(task))


def code_messages(task: str, image: Image.Image) -> list[dict]:
    """The conversation that asks for code."""
    return _messages([image], code_prompt(task))


def revise_messages(task: str, image: Image.Image, code: str, feedback: str) -> list[dict]:
    """The conversation that asks for a revision."""
    return _messages([image], revise_prompt(task, code, feedback))


# --- 2. the judge ---


class VisualERM(Chat):
    """The judge: `VisualERM("data/tiny/judge").judge([("chart", one, other)])` -> [Verdict].

    "read:data/tiny/judge" is the same model as a judge that reads, then measures: data/reading.py.
    """

    def judge(self, pairs: list[tuple[str, Image.Image, Image.Image]]) -> list[Verdict]:
        """Verdicts on `pairs` of (task, reference, rendering), in their order.

        A server's reply that fails three times becomes an unreadable verdict, `failed`, with the
        reason in its notes. InputError if all fail. Big presets ask for an unreadable one again.
        """
        if self.reads:
            return judge_by_reading(self, pairs, code_messages)
        pairs, canvas = list(pairs), self.preset["canvas"]
        conversations = [judge_messages(task, fit(true, canvas), fit(pred, canvas), self.prompts)
                         for task, true, pred in pairs]
        return ask_verdicts(self, [task for task, *_ in pairs], conversations)


# --- 3. the reward (Eq. 3-5) ---

EPS = 1e-6
SCALE = 50.0  # divides S where no batch has a maximum (S = 2: 0.96); the published code's
FALLBACK = 0.5  # r_verm of what a server said nothing about


def severity_reward(severities: list[float], scale: float | None = None) -> list[float]:
    """Eq. 3-4 for one task's batch: r_verm = clip(1 - S / (max S + eps), 0, 1); 1 = no error found.

    With `scale` (see SCALE) S is divided by it instead of by the batch's maximum.

    >>> [round(r, 3) for r in severity_reward([0, 2, 4])]
    [1.0, 0.5, 0.0]
    >>> severity_reward([0, 0]), [round(r, 3) for r in severity_reward([3, 3])]  # nothing to learn
    ([1.0, 1.0], [0.0, 0.0])
    >>> severity_reward([0, 5, 60], scale=50)
    [1.0, 0.9, 0.0]
    """
    if scale is None:
        scale = max(severities, default=0) + EPS
    return [min(1.0, max(0.0, 1 - severity / scale)) for severity in severities]


def verm_rewards(verdicts: list[Verdict], scale: float | None = None,
                 unreadable: float = 0.0) -> list[float]:
    """r_verm (Eq. 4) of a batch of verdicts, in [0, 1].

    Each task of the batch is normalised by its own maximum, or by a fixed `scale`. The rule for an
    unreadable verdict: r_verm = `unreadable`, by default 0, the least there is, and it does not
    count in the maximum. So nothing is won by a picture that confuses the judge.

    >>> from data.verdict import Discrepancy
    >>> v = lambda *s: Verdict("svg", [Discrepancy("shape_error", n, "", "") for n in s])
    >>> [round(r, 3) for r in verm_rewards([v(), v(2), v(3, 1), Verdict("svg", readable=False)])]
    [1.0, 0.5, 0.0, 0.0]
    """
    rewards = [unreadable] * len(verdicts)
    for task in CATEGORIES:
        judged = [i for i, one in enumerate(verdicts) if one.task == task and one.readable]
        severities = [verdicts[i].severity for i in judged]  # S of Eq. 3: a verdict's sum
        for i, reward in zip(judged, severity_reward(severities, scale)):
            rewards[i] = reward
    return rewards


def add_render_term(renderings: list, rewards: list[float], term: float = 1.0) -> list[float]:
    """Eq. 5: r = r_rsr + r_verm, with r_rsr = `term`, for code that renders; else 0.

    `renderings`: a Rendering or RenderError for each program; `rewards`: of those that rendered.

    >>> from render import RenderError
    >>> drawn, not_drawn = Rendering(None, {}), RenderError("syntax", "")
    >>> add_render_term([drawn, not_drawn, drawn], [0.5, 0])
    [1.5, 0.0, 1.0]
    """
    earned = iter(rewards)
    return [term + next(earned) if isinstance(drawn, Rendering) else 0.0 for drawn in renderings]


# --- 4. other engines: trl and verl ---


def reward_answers(judge: VisualERM, tasks: list[str], references: list[Image.Image],
                   answers: list[str], scale: float | None = None,
                   fallback: float = FALLBACK) -> list[float]:
    """Eq. 3-5 from a policy's answers: extract the code, render, judge, reward.

    The lists are parallel; `scale` as in `verm_rewards`. A server that gives no answer costs a
    warning and not the run: r_verm = `fallback`.
    """
    examples = [Example(task, image, drawing_size(image, judge.preset))
                for task, image in zip(tasks, references)]
    renderings = draw_alike(examples, list(map(extract_code, tasks, answers)))
    pairs = [(example.task, example.image, drawn.image)
             for example, drawn in zip(examples, renderings) if isinstance(drawn, Rendering)]
    verdicts = judge_or_warn(judge, pairs)
    rewards = [fallback if verdict.failed else reward
               for verdict, reward in zip(verdicts, verm_rewards(verdicts, scale))]
    return add_render_term(renderings, rewards)


def trl_reward(judge: VisualERM, scale: float | None = None) -> Callable:
    """For trl's `GRPOTrainer(reward_funcs=...)`: its data has the columns prompt, task, image."""
    def visual_erm(completions, task, image, **_):
        return reward_answers(judge, task, image, list(map(answer_in, completions)), scale)
    return visual_erm


@cache
def load_judge(judge: str, preset: str) -> VisualERM:
    """The judge of `compute_score`, loaded once in a process. A server may be down meanwhile."""
    return VisualERM(judge, preset_for(preset, judge), must_reply=False)


def compute_score_batch(data_sources: list[str], solution_strs: list[str], ground_truths: list[str],
                        extra_infos: list[dict | None], *, judge: str = "http://localhost:8000/v1",
                        preset: str = "8b", scale: float | None = None,
                        fallback: float = FALLBACK, **_) -> list[float]:
    """For verl's manager `batch`: rewards in [0, 2], normalised by the batch's maximum.

    `ground_truths`: paths of the reference pictures. A task is `extra_info["task"]`, else the
    data_source. `preset` says how large pictures are. InputError: no such task, picture or judge.
    """
    tasks = [known_task((extra or {}).get("task", source), "extra_info['task']")
             for source, extra in zip(data_sources, extra_infos)]
    images = list(map(load_image, ground_truths))
    return reward_answers(load_judge(judge, preset), tasks, images, solution_strs, scale, fallback)


def compute_score(data_source: str, solution_str: str, ground_truth: str,
                  extra_info: dict | None = None, *, scale: float = SCALE, **options) -> float:
    """verl's custom_reward_function: one answer, so S is divided by a fixed scale."""
    one = [data_source], [solution_str], [ground_truth], [extra_info]
    return compute_score_batch(*one, scale=scale, **options)[0]


# --- 5. command line ---


def judge_examples(settings: Settings, judge: VisualERM, encoder: VisionEncoder) -> None:
    """Judge every pair of a folder, print all rewards side by side, write the report."""
    pairs = read_pairs(find_folder(settings.examples))
    images = [pair.images() for pair in pairs]
    verdicts = judge.judge([(pair.task, *both) for pair, both in zip(pairs, images)])
    cards = []
    for pair, both, verdict, reward in zip(pairs, images, verdicts, verm_rewards(verdicts, SCALE)):
        codes = pair.reference.code, pair.rendering.code
        values = {"severity": verdict.severity if verdict.readable else None, "Visual-ERM": reward}
        values |= baseline_rewards(pair.task, *both, *codes, encoder)
        print(verdict_lines(pair.id, verdict, values))
        cards.append(pair_card(pair, both, verdict, values))
    title = "Visual-ERM: two pictures in, a list of discrepancies and a reward out"
    report = Path(settings.out, "report.html")
    write_text(report, html_report(title, cards, f"Judge {settings.judge}, vision encoder "
                                   f"{encoder.name}."))
    unreadable = sum(not verdict.readable for verdict in verdicts)
    print(f"{unreadable} of {len(verdicts)} verdicts unreadable; report: {report}")


@script
def main(argv: list[str] | None = None) -> int | None:
    """Judge two pictures, or the examples."""
    settings = parse(Settings, argv, __doc__, pictures=PICTURES)
    if len(settings.pictures) not in (0, 2):
        raise InputError("Give two pictures, the original and the generated one, or none.")
    settings.task = guess_task(settings.pictures, settings.task)
    preset = preset_for(settings.preset, settings.judge)
    settings.judge = settings.judge or preset["judge"]
    owns = load_own(settings.pictures, settings.task, preset)
    judge, encoder = VisualERM(settings.judge, preset), VisionEncoder(settings.encoder)
    if not owns:
        return judge_examples(settings, judge, encoder)
    warn(owns, settings.task, preset, settings.judge)
    images, measured = [own.image for own in owns], exact(owns)
    verdict = judge.judge([(settings.task, *images)])[0]
    if not verdict.readable:
        raise InputError(f"{settings.judge} gave nothing that is a verdict: {verdict.raw[:99]!r}")
    reward, report = verm_rewards([verdict], SCALE)[0], Path(settings.out, "report.html")
    baselines = baseline_rewards(settings.task, *images, *(own.code for own in owns), encoder)
    values = {"severity": verdict.severity, "Visual-ERM": reward, **baselines}
    pair_page(report, owns, verdict, values, settings.judge, measured)
    if settings.json:
        print(json.dumps({"verdict": json.loads(verdict.to_json()), "severity": verdict.severity,
                          "reward": reward, "baselines": baselines} | as_json(measured)))
    else:
        print(verdict_lines(settings.pictures[1], verdict, values) + in_words(measured, report))


if __name__ == "__main__":
    sys.exit(main())
