"""A judge that reads, then measures: both pictures become programs, and those are compared exactly.

The paper's judge looks at two pictures and writes what differs. This one writes each picture down
as a program (it is asked what a policy is asked), the programs are rendered, and `data.compare`
makes the verdict from their scenes. Its eyes are the model's, its arithmetic is the yardstick's:
margins and fonts of a picture are gone once it is read. Any model that can read a picture will do.

    python -m data.bench data/bench --judge read:data/tiny/judge --judge data/tiny/judge
"""
import warnings
from collections.abc import Callable

from PIL import Image

from data.compare import errors_or_none
from data.models import Chat, drawing_size, fit
from data.pairs import Example
from data.server import NoAnswer
from data.verdict import Verdict
from render import Rendering, draw_alike, extract_code

SECOND = 0.7  # temperature of a second try: the likeliest answer would be the same again


def ask_verdicts(judge: Chat, tasks: list[str], conversations: list) -> list[Verdict]:
    """The verdicts on `conversations` that ask for them, unreadable ones asked for again.

    A server's reply that fails is not asked for again here: its client has tried three times.
    """
    limits = judge.preset["verdict_tokens"], judge.preset["judge_batch"]
    verdicts, left = {}, list(range(len(conversations)))
    for temperature in (0.0, *[SECOND] * (judge.preset["tries"] - 1)):
        if not left:
            break
        answers = judge.answer([conversations[n] for n in left], *limits, temperature)
        for n, (answer, why_not) in zip(left, answers):
            verdicts[n] = failed_verdict(tasks[n], why_not) if why_not else \
                Verdict.parse(tasks[n], answer)
        left = [n for n, (_, why_not) in zip(left, answers)
                if not verdicts[n].readable and not why_not]
    return [verdicts[n] for n in range(len(conversations))]


def failed_verdict(task: str, why_not: str) -> Verdict:
    """The verdict of a judge that could not be asked."""
    return Verdict(task, readable=False, notes=[why_not], failed=True)


def judge_or_warn(judge: Chat, pairs: list[tuple]) -> list[Verdict]:
    """`judge.judge(pairs)`; where no server gives an answer, failed verdicts and a warning."""
    try:
        verdicts = judge.judge(pairs)
    except NoAnswer as error:
        verdicts = [failed_verdict(task, str(error)) for task, *_ in pairs]
    reasons = [verdict.notes[0] for verdict in verdicts if verdict.failed]
    if reasons:
        warnings.warn(f"{len(reasons)} of {len(pairs)} pictures were not judged: {reasons[0]}",
                      stacklevel=2)
    return verdicts


def judge_by_reading(reader: Chat, pairs: list[tuple],
                     messages: Callable[[str, Image.Image], list]) -> list[Verdict]:
    """Verdicts on `pairs` of (task, reference, rendering), in their order.

    `messages`: the conversation that asks `reader` for the program of a (task, picture). A picture
    that occurs more than once is read once. A verdict is unreadable, with the reason in its notes,
    where one of the two programs cannot be drawn.
    """
    numbers: dict[tuple[str, bytes], int] = {}
    pictures: list[tuple[str, Image.Image]] = []
    sides = []
    for task, *images in pairs:
        for image in images:
            key = task, image.tobytes()
            if key not in numbers:
                numbers[key] = len(pictures)
                pictures.append((task, image))
        sides.append([numbers[task, image.tobytes()] for image in images])
    canvas = reader.preset["canvas"]
    conversations = [messages(task, fit(image, canvas)) for task, image in pictures]
    limits = reader.preset["code_tokens"], reader.preset["sample_batch"]
    answers = reader.answer(conversations, *limits)
    codes = [extract_code(task, answer) for (task, _), (answer, _) in zip(pictures, answers)]
    examples = [Example(task, image, drawing_size(image, reader.preset))
                for task, image in pictures]
    drawn = draw_alike(examples, codes)
    verdicts = []
    for (task, *_), (i, j) in zip(pairs, sides):
        if why_not := answers[i][1] or answers[j][1]:
            verdicts.append(failed_verdict(task, why_not))
            continue
        raw = f"{codes[i]}\n\n{codes[j]}"
        unread = [f"{name}: its reading cannot be drawn ({drawn[k]})" for name, k
                  in (("reference", i), ("rendering", j)) if not isinstance(drawn[k], Rendering)]
        errors = None if unread else errors_or_none(drawn[i].scene, drawn[j].scene)
        verdicts.append(Verdict(task, errors or [], errors is not None, raw, unread))
    return verdicts
