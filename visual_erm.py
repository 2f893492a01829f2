"""The judge: two pictures in, a list of discrepancies and a reward out (Visual-ERM, arXiv 2603.13224).

A vision-language model looks at a reference and at the rendering of code that tries to redraw it, and writes what
differs, as JSON: category, severity 1-3, location, description. The sum of the severities becomes a reward (Eq. 3-5,
section 4), and the list itself is the feedback for a revision. Section 5 holds the rewards it is compared with.

    python visual_erm.py                                      # judge the shipped examples; half a minute on 2 cores
    python visual_erm.py ORIGINAL GENERATED --task chart      # judge two pictures
    python visual_erm.py A.png B.png --task svg --judge http://localhost:8000/v1 --json

Departures from the paper: (1) an unreadable verdict is counted and shown, and `verm_rewards` says what it is worth;
(2) code that does not render is always worth less than any picture; (3) the small models in data/tiny are Qwen3-VL
checkpoints like the big ones (same class, same prompts), so that all of this runs on a laptop; (4) the prompts are
worded here, and a judge trained with others, internlm/Visual-ERM too, is asked with these.
"""

import json
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image
from transformers import HfArgumentParser

from data.metrics import VisionEncoder, rivals
from data.models import PRESETS, Chat, find_folder, fit, preset_for, size_of
from data.pairs import load_image, read_pairs
from data.report import html_report, show
from data.verdict import CATEGORIES, InputError, Verdict
from render import Rendering, draw_alike, extract_code

# ------------------------------------------------------------------------------------------------ 2. The prompts

LANGUAGE = {"chart": "Python code for Matplotlib", "table": "HTML code of the table", "svg": "SVG code"}
LOOK_FOR = {
    "chart": """\
- structure_error: chart type, number and place of the subplots, shared axes
- data_error: values and shape of the marks, scale and limits of an axis, missing or extra series, bars, points, slices
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
    """What the judge is asked about two pictures of a `task`; it states the schema that `Verdict.parse` reads."""
    counts = ", ".join(f'"{category}_count": int' for category in CATEGORIES[task])
    return f"""The first image is the reference, a {task}. The second image was rendered from code that tries to \
redraw it. List every visible difference, in these categories:
{LOOK_FOR[task]}
Name causes, not consequences: a changed value that moves the axis is one error. Ignore antialiasing and shifts that \
nobody would notice. severity: 1 = minor, hardly disturbs a reader; 2 = medium, needs a correction before use; \
3 = severe, wrong or misleading. location: the part concerned. description: what the second image shows and what it \
should show. If the images look the same, the list is empty. Answer with this JSON and nothing else:
{{"errors": [{{"category": str, "location": str, "description": str, "severity": int}}], {counts}}}
Each count is the number of errors of that category in the list."""


def code_prompt(task: str) -> str:
    """What the policy is asked: image to code."""
    return f"Write the {LANGUAGE[task]} that redraws this image exactly. Answer with the code only."


NOTHING_SAID = "nothing was said about it"           # the feedback of a revision without a judge


def revise_prompt(task: str, code: str, feedback: str) -> str:
    """What the policy is asked in a revision (Eq. 9): image, draft and the judge's list to better code.

    `feedback` is put in word for word (a verdict's JSON, or any other critique).
    """
    return f"""This code tries to redraw the image:
{code}
A comparison of its picture with the image found:
{feedback}
Correct the code. Answer with the complete {LANGUAGE[task]} only."""


def _ask(images: list[Image.Image], prompt: str) -> list[dict]:
    content = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


def judge_messages(task: str, reference: Image.Image, rendering: Image.Image) -> list[dict]:
    """The conversation that asks for a verdict: two images, then the text."""
    return _ask([reference, rendering], judge_prompt(task))


def code_messages(task: str, image: Image.Image) -> list[dict]:
    """The conversation that asks for code."""
    return _ask([image], code_prompt(task))


def revise_messages(task: str, image: Image.Image, code: str, feedback: str) -> list[dict]:
    """The conversation that asks for a revision."""
    return _ask([image], revise_prompt(task, code, feedback))


# ------------------------------------------------------------------------------------------------ 3. Models


class VisualERM(Chat):
    """The judge: `VisualERM("data/tiny/judge").judge([("chart", reference, rendering), ...])` -> [Verdict, ...]."""

    def judge(self, pairs) -> list[Verdict]:
        """Verdicts on `pairs` of (task, reference, rendering), in their order.

        A server's reply that fails three times becomes an unreadable verdict with the reason in its notes, so that one
        bad reply does not cost a whole run; if every reply fails, InputError gives the reason.
        """
        pairs = list(pairs)
        asked = [judge_messages(task, *(fit(image, self.row["canvas"]) for image in images)) for task, *images in pairs]
        answers = self.answer(asked, self.row["verdict_tokens"])
        return [Verdict(task, readable=False, notes=[why]) if why else Verdict.parse(task, answer)
                for (task, *_), (answer, why) in zip(pairs, answers)]


# ------------------------------------------------------------------------------------------------ 4. Reward, Eq. 3-5

EPS = 1e-6
SCALE = 50.0                      # severities are divided by it where no batch has a maximum; the published code's


def severity_reward(severities: list[float], scale: float | None = None) -> list[float]:
    """Eq. 3-4 for one task's batch: r_verm = clip(1 - S / (max S + eps), 0, 1), 1 = no error found.

    With `scale` (see SCALE) S is divided by it instead of by the batch's maximum.

    >>> [round(r, 3) for r in severity_reward([0, 2, 4])]
    [1.0, 0.5, 0.0]
    >>> severity_reward([0, 0]), [round(r, 3) for r in severity_reward([3, 3])]  # equal: nothing to learn from either
    ([1.0, 1.0], [0.0, 0.0])
    >>> severity_reward([0, 5, 60], scale=50)
    [1.0, 0.9, 0.0]
    """
    scale = scale or max(severities, default=0) + EPS
    return [min(1.0, max(0.0, 1 - severity / scale)) for severity in severities]


def verm_rewards(verdicts: list[Verdict | None], scale: float | None = None) -> list[float]:
    """Eq. 5: r = r_rsr + r_verm, in [0, 2]; None stands for code that did not render and is worth 0.

    Each task of the batch is normalised by its own maximum (or by a fixed `scale`). The rule for an unreadable
    verdict, here and nowhere else: it earns what the worst rendering of its batch earns, r_verm = 0, and does not
    count in the maximum. So nothing can be won by a picture that confuses the judge, and it is still worth more
    than code that does not render.

    >>> from data.verdict import Discrepancy
    >>> v = lambda *s: Verdict("svg", [Discrepancy("shape_error", n, "", "") for n in s])
    >>> [round(r, 3) for r in verm_rewards([v(), v(2), v(3, 1), None, Verdict("svg", readable=False)])]
    [2.0, 1.5, 1.0, 0.0, 1.0]
    """
    rewards = [0.0 if verdict is None else 1.0 for verdict in verdicts]  # r_rsr
    for task in CATEGORIES:
        judged = [i for i, verdict in enumerate(verdicts) if verdict and verdict.task == task and verdict.readable]
        for i, reward in zip(judged, severity_reward([verdicts[i].severity for i in judged], scale)):
            rewards[i] += reward
    return rewards


# ------------------------------------------------------------------------------------------------ 6. Other engines


def reward_answers(judge: VisualERM, tasks, references, answers, scale: float | None = None) -> list[float]:
    """Eq. 3-5 from a policy's answers: extract the code, render it as large as its reference, judge, reward.

    `tasks`, `references` (pictures) and `answers` (texts) are parallel; the tasks' severities are normalised by the
    maximum of this call, or by `scale`.
    """
    prompts = [{"task": task, "size": size_of(image, judge.row)} for task, image in zip(tasks, references)]
    drawings = draw_alike(prompts, list(map(extract_code, tasks, answers)))
    good = [i for i, drawn in enumerate(drawings) if isinstance(drawn, Rendering)]
    verdicts = dict(zip(good, judge.judge([(tasks[i], references[i], drawings[i].image) for i in good])))
    return verm_rewards([verdicts.get(i) for i in range(len(answers))], scale)


def trl_reward(judge: VisualERM, scale: float | None = None):
    """A function for trl's `GRPOTrainer(reward_funcs=...)`; its dataset has the columns `task` and `image`."""
    def visual_erm(completions, task, image, **_):
        answers = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return reward_answers(judge, task, image, answers, scale)
    return visual_erm


@cache
def _judge_of(judge: str, preset: str) -> VisualERM:
    return VisualERM(judge, preset_for(preset, judge))


def compute_score(data_source, solution_str, ground_truth, extra_info=None, *, judge="http://localhost:8000/v1",
                  preset="8b", scale=SCALE, **_) -> float:
    """verl's custom_reward_function: the reward of one answer, in [0, 2].

    `ground_truth`: path of the reference picture; the task is `extra_info["task"]`, else `data_source`. verl asks for
    one answer at a time, so severities are divided by a fixed `scale` (published: 50), not by a batch maximum. `preset`
    says how large pictures are. Raises InputError if the judge gives no answer.
    """
    task = (extra_info or {}).get("task", data_source)
    if task not in CATEGORIES:
        raise InputError(f"The task {task!r} is none of {', '.join(CATEGORIES)}; name it in extra_info['task'].")
    return reward_answers(_judge_of(judge, preset), [task], [load_image(ground_truth)], [solution_str], scale)[0]


# ------------------------------------------------------------------------------------------------ 8. Command line


@dataclass
class Settings:
    """Flags of the command line."""

    task: str = field(default="", metadata={"help": "chart, table or svg: what the two pictures show"})
    judge: str = field(default="", metadata={"help": "model folder, hub name or URL; default: the preset's judge"})
    preset: str = field(default="", metadata={"help": "row of PRESETS: tiny, 2b, 8b (8b: the default off this disk)"})
    encoder: str = field(default=PRESETS["tiny"]["model"], metadata={"help": "vision encoder to compare with"})
    examples: str = field(default="data/examples", metadata={"help": "folder with a pairs.jsonl to judge"})
    out: str = field(default="runs/judge", metadata={"help": "folder for report.html"})
    json: bool = field(default=False, metadata={"help": "print JSON and nothing else"})


def judge_examples(settings: Settings, judge: VisualERM, encoder: VisionEncoder) -> None:
    """Judge every pair of a folder, print all rewards side by side, write the report."""
    rows = read_pairs(find_folder(settings.examples))
    pictures = [[load_image(row[key]) for key in ("gt_img_path", "pred_img_path")] for row in rows]
    verdicts, cards = judge.judge([(row["category"], *images) for row, images in zip(rows, pictures)]), []
    for row, images, verdict, reward in zip(rows, pictures, verdicts, verm_rewards(verdicts)):
        codes = row.get("gt_code"), row.get("pred_code")
        values = {"severity": verdict.severity if verdict.readable else None, "Visual-ERM": reward - 1}  # r_verm
        values |= rivals(row["category"], *images, *codes, encoder)
        truth = "\n".join(f"{e['severity']} {e['type']}  {e.get('location', '')}: {e['description']}"
                          for e in row.get("human_errors", []))
        print_verdict(str(row["id"]), verdict, values)
        cards.append({"title": str(row["id"]), "images": list(zip(("reference", "rendering"), images)),
                      "verdicts": {"": verdict}, "values": values,
                      "texts": {"true errors": truth, "reference code": codes[0], "code of the rendering": codes[1]}})
    report = Path(settings.out, "report.html")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(html_report("Visual-ERM: two pictures in, a list of discrepancies and a reward out", cards,
                                  f"Judge {settings.judge}, vision encoder {settings.encoder}."), "utf-8")
    print(f"{sum(not v.readable for v in verdicts)} of {len(verdicts)} verdicts unreadable; report: {report}")


def print_verdict(title: str, verdict: Verdict, values: dict) -> None:
    print(f"{title}: " + ", ".join(f"{name} {show(value)}" for name, value in values.items() if value is not None))
    for error in verdict.errors:
        print(f"  {'*' * error.severity:3} {error.category}, {error.location}: {error.description}")
    print("" if verdict.readable else f"  unreadable: {verdict.raw[:200]!r}\n")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 for what the user can put right."""
    parser = HfArgumentParser(Settings, description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", help="ORIGINAL GENERATED; without pictures the examples are judged")
    settings, rest = parser.parse_args_into_dataclasses(arguments)
    try:
        if len(rest.pictures) not in (0, 2):
            raise InputError("Give two pictures, the original and the generated one, or none to judge the examples.")
        if rest.pictures and settings.task not in CATEGORIES:
            raise InputError(f"--task says what the pictures show: {', '.join(CATEGORIES)}; not {settings.task!r}.")
        pictures = [load_image(path) for path in rest.pictures]
        row = preset_for(settings.preset, settings.judge)
        settings.judge = settings.judge or row["judge"]
        judge, encoder = VisualERM(settings.judge, row), VisionEncoder(settings.encoder)
        if not pictures:
            judge_examples(settings, judge, encoder)
            return 0
        verdict = judge.judge([(settings.task, *pictures)])[0]
        if not verdict.readable:
            raise InputError(f"The judge {settings.judge} answered nothing that is a verdict: {verdict.raw[:100]!r}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    others = rivals(settings.task, *pictures, encoder=encoder)
    reward = verm_rewards([verdict], SCALE)[0]  # one pair has no batch to be normalised by
    if settings.json:
        print(json.dumps({"verdict": json.loads(verdict.to_json()), "severity": verdict.severity, "reward": reward,
                          "rivals": others}))
    else:
        print_verdict(rest.pictures[1], verdict, {"severity": verdict.severity, "reward": reward} | others)
    return 0


if __name__ == "__main__":
    sys.exit(main())
