r"""A stronger model labels pairs, or damages programs: the paper's training data, behind any API.

    python -m data.teacher runs/pairs --teacher https://api.openai.com/v1#gpt-5-mini \
        --limit 100 --out runs/teacher
    python -m data.teacher runs/pairs --teacher http://localhost:8000/v1#Qwen/Qwen3-VL-8B-Instruct \
        --edit --out runs/e

The folder is one that data.build made: images, both programs and the measured labels. The key is
read from OPENAI_API_KEY. `--out` gets `pairs.jsonl`, which train_sft.py takes as `--data`, and
`answers.jsonl`.

**Labels.** The teacher gets both images and both programs. As in the paper, two filters drop errors
from its list: those that (1) quote a text or a value that neither image shows, or (2) contradict
the scenes, because they are equal at the location named. A pair is left out if its answer cannot be
read or was cut off, or if no error is left though the images differ. The table printed shows how
well the teacher, before the filters, agrees with the measured labels.

**Edits** (`--edit`). The teacher damages each pair's true program, by error types drawn from the
taxonomy. Its own account of the damage is not used: the program is rendered, and the label is
measured (data/compare). What does not render or changes nothing visible is left out.

**Nothing is paid twice.** Each answer is on disk, under the pair's id, the moment it arrives, also
while Ctrl-C waits for the last ones. The same command goes on from there, also with a larger
`--limit`. An unreadable answer is paid for as well and is not requested again. Only requests under
way when the program is killed, and replies that came after the timeout, may be paid once more.
"""
import fcntl
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from data.runs import flag, parse, script, write_jsonl, write_text
from data.verdict import Discrepancy, InputError, Verdict


@dataclass
class Settings:
    teacher: str = flag("", "URL#model; several URLs, with commas between, share the work")
    out: str = flag("runs/teacher", "folder to make or to go on with")
    edit: bool = flag(False, "let it damage programs instead of labelling pairs")
    limit: int = flag(0, "only the first so many pairs; 0: all")
    workers: int = flag(8, "questions at once, to each URL", positive=True)
    timeout: float = flag(300.0, "seconds to wait for an answer", positive=True)
    tokens: int = flag(8192, "longest answer, thinking included", positive=True)
    price_in: float = flag(0.0, "dollars for a million tokens read")
    price_out: float = flag(0.0, "dollars for a million tokens written")


FOLDER = dict(help="folder with a pairs.jsonl that data.build made")
if __name__ == "__main__":
    parse(Settings, None, __doc__, folder=FOLDER)  # reports a wrong flag before torch is loaded

from tqdm import tqdm

from data import bench
from data.bench.matchers import COLOURS, QUOTED, same_place
from data.build import CHUNK, ERRORS, label
from data.pairs import Example, Pair, annotation, read_jsonl, read_pairs
from data.server import NO_REPLY, Server
from render import Rendering, draw_alike, extract_code
from visual_erm import LANGUAGE, LOOK_FOR, judge_messages, judge_prompt

RETRIES = 6  # of a request with 429, 5xx or no reply: about half a minute

# --- 1. the questions ---


def label_prompt(pair: Pair) -> str:
    """The judge's question with both programs, for exact values, and a request for more care."""
    return f"""These programs drew the two images. Use them to read exact values; a difference \
between the programs that cannot be seen in the images is no error.
Program of the first image:
{pair.reference.code}

Program of the second image:
{pair.rendering.code}

A smaller model will learn from your answer, so go through the images part by part, check each \
error against both of them, and put texts and values in quotes exactly as they are shown.
{judge_prompt(pair.task)}"""


def edit_prompt(pair: Pair) -> str:
    """The request to damage the true program of a pair, by error types drawn with its id."""
    rng, kinds = random.Random(pair.id), LOOK_FOR[pair.task].splitlines()
    counts, shares = zip(*ERRORS)
    n = min(len(kinds), rng.choices(counts, shares)[0])
    wanted = "\n".join(rng.sample(kinds, n))
    return f"""This is {LANGUAGE[pair.task]}:
{pair.reference.code}

Change it as somebody would who redraws its picture carelessly: one error of each of these kinds.
{wanted}
Each error must be visible in the picture. Leave everything else as it is, and do not mark or \
explain what you changed.
Answer with the complete code only."""


def conversation(pair: Pair, edit: bool) -> list[dict]:
    """The messages about a pair: images for a label, text alone for an edit."""
    if edit:
        return [{"role": "user", "content": [{"type": "text", "text": edit_prompt(pair)}]}]
    messages = judge_messages(pair.task, *pair.images())
    messages[0]["content"][-1]["text"] = label_prompt(pair)
    return messages


# --- 2. the answers on disk ---


class Paid:
    """The answers on disk, a line each: {id of the pair, answer, tokens: [read, written]}.

    `rows`: these objects by id.
    """

    def __init__(self, path: Path):
        self.rows, self.lock, self.file = {}, Lock(), open(path, "ab+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another run writes to {path}; two would pay for the same "
                             "answers.") from None
        self.file.seek(0)
        rest = self.file.read().rpartition(b"\n")[2]
        self.file.truncate(self.file.tell() - len(rest))  # the line that a killed run was writing
        for where, row in read_jsonl(path):
            try:
                row |= {"answer": str(row["answer"]), "tokens": [int(n) for n in row["tokens"]]}
                self.rows[row["id"]] = row
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{where} is no answer; mend the line or delete it.") from error

    def keep(self, name: str, answer: str, tokens: tuple[int, int]) -> None:
        """Write one answer to the disk at once; called from many threads."""
        row = {"id": name, "answer": answer, "tokens": tokens}
        with self.lock:
            self.file.write((json.dumps(row) + "\n").encode())
            self.file.flush()
            self.rows[name] = row


def fetch(settings: Settings, pairs: list[Pair], paid: Paid) -> Counter:
    """Ask for the answers that are not on disk yet. Returns {why: pairs without an answer}.

    The next run asks for those again. Raises InputError if a whole chunk of questions got no reply,
    or if there is no answer at all.
    """
    missing, todo = Counter(), [pair for pair in pairs if pair.id not in paid.rows]
    if not todo:
        return missing
    server = Server(settings.teacher, workers=settings.workers, timeout=settings.timeout,
                    retries=RETRIES)
    with tqdm(total=len(pairs), initial=len(pairs) - len(todo), unit="pair") as bar:
        for start in range(0, len(todo), CHUNK):
            part, silent = todo[start:start + CHUNK], []
            questions = [conversation(pair, settings.edit) for pair in part]

            def each(number, answer, why, tokens):
                if why:
                    missing[why] += 1
                    silent.append(why.startswith(NO_REPLY))
                else:
                    paid.keep(part[number].id, answer, tokens)
                bar.update()

            try:
                server.ask_all(questions, settings.tokens,
                               temperature=1.0 if settings.edit else 0.0, each=each)
            except InputError as error:
                if any(silent) or not paid.rows:  # a chunk that was only refused is passed over
                    raise InputError(f"{error} {kept(settings, paid)}") from error
    return missing


def kept(settings: Settings, paid: Paid) -> str:
    """The sentence about an unfinished run."""
    return f"{len(paid.rows)} answers are kept in {settings.out}; the same command goes on."


# --- 3. the filters ---


def shown(scenes: list) -> tuple[str, set[float]]:
    """(texts, numbers) that two scenes hold: the texts as one text in lower case, a line each."""
    texts, numbers, todo = [], set(), list(scenes)
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            texts.append(" ".join(value.casefold().split()))
        elif isinstance(value, dict):
            todo += [part for key, part in value.items() if key not in ("painted", "pixels")]
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers.add(round(value, 6))
    return "\n".join(texts), numbers


def invents(error: Discrepancy, scenes: list) -> bool:
    """Filter 1: the error quotes a text or a value that neither scene holds, and no colour."""
    texts, numbers = shown(scenes)
    text = re.sub("[‘’“”`]", "'", f"{error.location} ; {error.description}")
    for quote in QUOTED.findall(text):
        words = " ".join(quote.casefold().split())
        whole = re.escape(words.removesuffix("...")) + ("" if words.endswith("...") else r"(?!\w)")
        number = re.fullmatch(r"[-+]?\d+(\.\d+)?", words)
        is_number = number and round(float(words), 6) in numbers
        is_text = re.search(rf"(?<!\w){whole}", texts)
        if not (is_text or is_number or COLOURS.fullmatch(words)):
            return True
    return False


def contradicts(task: str, error: Discrepancy, measured: list[Discrepancy]) -> bool:
    """Filter 2: by the `measured` list nothing is wrong at the location that the error names."""
    return not any(same_place(task, true, error) for true in measured)


def drawn_pairs(pairs: list[Pair], codes: list[str]) -> Iterator[tuple]:
    """(pair, rendering of its true program, rendering of the other, in `codes`), in order.

    They are as large as the reference image, and on a canvas if that is square, as images for the
    tiny models are. Only CHUNK pairs are in memory.
    """
    for start in tqdm(range(0, len(pairs), CHUNK), "drawing", unit_scale=CHUNK, unit="pair"):
        part, examples = pairs[start:start + CHUNK], []
        for pair in part:
            image = pair.reference.load()
            size = image.size if image.width == image.height else max(image.size)
            examples.append(Example(pair.task, image, size))
        true = draw_alike(examples, [pair.reference.drawing for pair in part])
        yield from zip(part, true, draw_alike(examples, codes[start:start + CHUNK]))


# --- 4. rows for training ---


def label_rows(pairs: list[Pair], verdicts: list[Verdict], out: Path,
               left: Counter) -> list[dict]:
    """Rows with the teacher's errors after both filters; `left` counts what is left out."""
    made = []
    drawn = drawn_pairs(pairs, [pair.rendering.drawing for pair in pairs])
    for verdict, (pair, *renderings) in zip(verdicts, drawn):
        if not verdict.readable or not all(isinstance(one, Rendering) for one in renderings):
            left["pairs: unreadable, cut off, or a program that does not render"] += 1
            continue
        errors = []
        for error in verdict.errors:
            if invents(error, [one.scene for one in renderings]):
                left["errors: name what neither picture shows"] += 1
            elif contradicts(pair.task, error, pair.truth.errors):
                left["errors: the scenes are equal there"] += 1
            else:
                errors.append(error)
        if pair.truth.errors and not errors:
            left["pairs: no error left, though the pictures differ"] += 1
        else:
            made.append(pair.row(out, human_errors=annotation(errors)))
            made[-1].pop("pred_boxes", None)  # those of the measured errors
    return made


def edit_rows(pairs: list[Pair], answers: list[str], out: Path, left: Counter) -> list[dict]:
    """Rows with the damaged programs and measured labels; their images are saved."""
    codes = [extract_code(pair.task, answer) for pair, answer in zip(pairs, answers)]
    (out / "images").mkdir(exist_ok=True)
    made = []
    for code, (pair, true, pred) in zip(codes, drawn_pairs(pairs, codes)):
        if not (isinstance(true, Rendering) and isinstance(pred, Rendering)):
            left["pairs: do not render"] += 1
        elif not (found := label(true, pred))["human_errors"]:
            left["pairs: nothing visible changed"] += 1
        else:
            name = f"images/{re.sub(r'[^A-Za-z0-9_.-]', '_', pair.id)}.png"
            pred.image.save(out / name)
            made.append(pair.row(out, pred_img_path=name, pred_code=code, source="edit", **found))
            made[-1].pop("pred_drawing", None)
    return made


def finish(settings: Settings, pairs: list[Pair], name: str, paid: Paid,
           missing: Counter) -> None:
    """Filter or measure the answers, write pairs.jsonl, print cost and what was left out."""
    out, left = Path(settings.out), Counter()
    for why, n in missing.items():
        left[f"pairs: no answer, asked again next time: {why}"] = n
    chosen = [pair for pair in pairs if pair.id in paid.rows]
    answers = [paid.rows[pair.id]["answer"] for pair in chosen]
    if settings.edit:
        made = edit_rows(chosen, answers, out, left)
    else:
        verdicts = [Verdict.parse(pair.task, answer) for pair, answer in zip(chosen, answers)]
        for verdict in verdicts:  # a list that was cut off is not complete, so not used
            if any(note.startswith("cut off") for note in verdict.notes):
                verdict.readable = False
        made = label_rows(chosen, verdicts, out, left)
        print(bench.table([bench.report(name, bench.match_all(chosen, verdicts))]))
    write_jsonl(out / "pairs.jsonl", made)
    read = sum(row["tokens"][0] for row in paid.rows.values())
    written = sum(row["tokens"][1] for row in paid.rows.values())
    cost = (read * settings.price_in + written * settings.price_out) / 1e6
    price = f", {cost:.2f} dollars" if cost else "; --price_in and --price_out tell the cost"
    print(f"{len(paid.rows)} answers paid so far: {read} tokens read, {written} written{price}")
    for why, n in sorted(left.items()):
        print(f"left out, {n} {why}")
    errors = sum(len(row["human_errors"]) for row in made)
    print(f"{len(made)} of {len(pairs)} pairs in {out / 'pairs.jsonl'}, {errors} errors")


def prepare(settings: Settings) -> tuple[list[Pair], str]:
    """(pairs of the folder, the teacher's model). Raises InputError for wrong settings or pairs."""
    name = settings.teacher.split(",")[0].partition("#")[2]
    if not name:
        raise InputError("--teacher names server and model: https://api.openai.com/v1#gpt-5-mini, "
                         "for instance.")
    folder, out = Path(settings.folder), Path(settings.out)
    pairs, ids = read_pairs(folder), set()
    for pair in pairs:
        if not (pair.reference.code and pair.rendering.code):
            raise InputError(f"{pair.where} lacks gt_code or pred_code; the filters read what both "
                             "programs draw.")
        if pair.id in ids:
            raise InputError(f"{pair.where}: the same id twice; answers are kept by id.")
        ids.add(pair.id)
    out.mkdir(parents=True, exist_ok=True)
    config = {"data": str(folder.resolve()), "teacher": name, "edit": settings.edit}
    config, path = json.dumps(config, indent=1) + "\n", out / "config.json"
    if path.exists() and path.read_text() != config or out.samefile(folder):
        raise InputError(f"{out} was made with other settings (see its config.json); choose "
                         "another --out.")
    write_text(path, config)
    return pairs[:settings.limit or None], name


@script
def main(argv: list[str] | None = None) -> None:
    """Ask, filter, write."""
    settings = parse(Settings, argv, __doc__, folder=FOLDER)
    pairs, name = prepare(settings)
    paid = Paid(Path(settings.out, "answers.jsonl"))
    try:
        finish(settings, pairs, name, paid, fetch(settings, pairs, paid))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Stopped; {kept(settings, paid)}") from None
    finally:
        paid.file.close()


if __name__ == "__main__":
    sys.exit(main())
