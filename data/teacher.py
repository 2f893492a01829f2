"""Let a stronger model label pairs, or damage programs: the paper's way to its training data, behind any API.

    python -m data.teacher runs/pairs --teacher https://api.openai.com/v1#gpt-5-mini --limit 100 --out runs/teacher
    python -m data.teacher runs/pairs --teacher http://localhost:8000/v1#Qwen/Qwen3-VL-8B-Instruct --edit --out runs/e

The folder is one that data.build made: pictures, both programs and the measured labels. The key is read from
OPENAI_API_KEY. `--out` gets `pairs.jsonl`, which train_sft.py takes as `--data`, and `answers.jsonl`.

**Labels.** The teacher sees both pictures and both programs. As in the paper, two filters go over what it lists: an
error is left out if it (1) quotes a text or a value that neither picture shows, or (2) contradicts the scenes, because
they are equal at the place it names. A pair is left out if its answer cannot be read or was cut off, or if no error is
left though the pictures differ. The table printed says how well the teacher, before the filters, agrees with the
measured labels.

**Edits** (`--edit`). The teacher damages each pair's true program, by error types drawn from the taxonomy. What it says
it did does not count: the program is rendered, and the label is measured (data/compare). What does not render or
changes nothing that can be seen is left out.

**Nothing is paid twice.** Each answer is on disk, under the pair's id, the moment it arrives, also while Ctrl-C waits
for the last ones; the same command goes on from there, also with a larger `--limit`. Nonsense was paid for as well and
is not asked for again. Only what is under way when the program is killed outright, and what a server worked out but did
not deliver in time, may be paid once more.
"""
import fcntl
import json
import os
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from tqdm import tqdm
from transformers import HfArgumentParser

from data import bench
from data.build import CHUNK, ERRORS, annotation, label
from data.bench.matchers import COLOURS, QUOTED, same_place
from render import Rendering, SandboxMissing, extract_code
from data.verdict import InputError, Verdict
from data.server import NO_REPLY, Server
from data.pairs import load_image, read_pairs
from render import draw_alike
from visual_erm import LANGUAGE, LOOK_FOR, judge_messages, judge_prompt

RETRIES = 6                                    # of a question that got 429, 5xx or silence: half a minute of patience


@dataclass
class Settings:
    teacher: str = field(default="", metadata={"help": "URL#model; several URLs, with commas between, share the work"})
    out: str = field(default="runs/teacher", metadata={"help": "folder to make or to go on with"})
    edit: bool = field(default=False, metadata={"help": "let it damage programs instead of labelling pairs"})
    limit: int = field(default=0, metadata={"help": "only the first so many pairs; 0: all"})
    workers: int = field(default=8, metadata={"help": "questions at once, to each URL"})
    timeout: float = field(default=300.0, metadata={"help": "seconds to wait for an answer"})
    tokens: int = field(default=8192, metadata={"help": "longest answer, thinking included"})
    price_in: float = field(default=0.0, metadata={"help": "dollars for a million tokens read"})
    price_out: float = field(default=0.0, metadata={"help": "dollars for a million tokens written"})


# ------------------------------------------------------------------------------------------------ 1. What is asked
def label_prompt(row):
    """The judge's question, with the programs to read exact values from and more care asked."""
    return f"""These programs drew the two images. Use them to read exact values; a difference between the programs \
that cannot be seen in the images is no error.
Program of the first image:
{row["gt_code"]}

Program of the second image:
{row["pred_code"]}

A smaller model will learn from your answer, so go through the images part by part, check each error against both of \
them, and put texts and values in quotes exactly as they are shown.
{judge_prompt(row["category"])}"""


def edit_prompt(row):
    """The order to damage the true program of a pair, by error types that its id draws."""
    rng, kinds = random.Random(row["id"]), LOOK_FOR[row["category"]].splitlines()
    n = min(len(kinds), rng.choices([n for n, _ in ERRORS], [share for _, share in ERRORS])[0])
    wanted = "\n".join(rng.sample(kinds, n))
    return f"""This is {LANGUAGE[row["category"]]}:
{row["gt_code"]}

Change it as somebody would who redraws its picture carelessly: one error of each of these kinds.
{wanted}
Each error must be visible in the picture. Leave everything else as it is, and do not mark or explain what you changed.
Answer with the complete code only."""


def conversation(row, edit):
    """What the teacher is asked about a row of pairs.jsonl; pictures only where there is something to see."""
    if edit:
        return [{"role": "user", "content": [{"type": "text", "text": edit_prompt(row)}]}]
    messages = judge_messages(row["category"], load_image(row["gt_img_path"]), load_image(row["pred_img_path"]))
    messages[0]["content"][-1]["text"] = label_prompt(row)
    return messages


# ------------------------------------------------------------------------------------------------ 2. What was paid
class Paid:
    """The answers on disk, a line each; `rows`: {pair's id: {id, answer, tokens: [read, written]}}."""

    def __init__(self, path):
        self.rows, self.lock, self.file = {}, Lock(), open(path, "ab+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another run writes to {path}; two would pay for the same answers.") from None
        self.file.seek(0)
        *lines, rest = self.file.read().split(b"\n")
        self.file.truncate(self.file.tell() - len(rest))                  # the line that a killed run was writing
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                self.rows[row["id"]] = row | {"answer": str(row["answer"]), "tokens": [int(n) for n in row["tokens"]]}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}:{number} is no answer; mend the line or delete it.") from error

    def keep(self, name, answer, tokens):
        """Write one answer through to the disk; called from many threads."""
        row = {"id": name, "answer": answer, "tokens": tokens}
        with self.lock:
            self.file.write((json.dumps(row) + "\n").encode())
            self.file.flush()
            self.rows[name] = row


def fetch(settings, rows, paid):
    """Ask for what is not paid yet. Returns {why: pairs} of what got no answer; it is asked again in the next run.

    Raises InputError if a whole chunk of questions got no reply, or if there is no answer at all.
    """
    missing, todo = Counter(), [row for row in rows if row["id"] not in paid.rows]
    if not todo:
        return missing
    server = Server(settings.teacher, workers=settings.workers, timeout=settings.timeout, retries=RETRIES)
    with tqdm(total=len(rows), initial=len(rows) - len(todo), unit="pair") as bar:
        for start in range(0, len(todo), CHUNK):
            part, silent = todo[start:start + CHUNK], []

            def each(number, answer, why, tokens):
                if why:
                    missing[why] += 1
                    silent.append(why.startswith(NO_REPLY))
                else:
                    paid.keep(part[number]["id"], answer, tokens)
                bar.update()

            try:
                server.ask_all([conversation(row, settings.edit) for row in part], settings.tokens,
                               temperature=1.0 if settings.edit else 0.0, each=each)
            except InputError as error:
                if any(silent) or not paid.rows:                # what is refused, its siblings answered, stays refused
                    raise InputError(f"{error} {len(paid.rows)} answers are kept in {settings.out}; the same command "
                                     f"goes on.") from error
    return missing


# ------------------------------------------------------------------------------------------------ 3. The filters
def shown(scenes):
    """(texts, numbers) that two scenes hold: the texts as one text in lower case, a line each."""
    texts, numbers, todo = [], set(), list(scenes)
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            texts.append(" ".join(value.casefold().split()))
        elif isinstance(value, (dict, list)):
            todo += value.values() if isinstance(value, dict) else value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers.add(round(value, 6))
    return "\n".join(texts), numbers


def invents(error, scenes):
    """Filter 1: the error quotes a text or a value that neither scene holds; names of colours may be quoted."""
    texts, numbers = shown(scenes)
    for quote in QUOTED.findall(re.sub("[‘’“”`]", "'", f"{error.location} ; {error.description}")):
        words = " ".join(quote.casefold().split())
        whole = re.escape(words.removesuffix("...")) + ("" if words.endswith("...") else r"(?!\w)")
        number = re.fullmatch(r"[-+]?\d+(\.\d+)?", words)
        if not (re.search(rf"(?<!\w){whole}", texts) or COLOURS.fullmatch(words)
                or number and round(float(words), 6) in numbers):
            return True
    return False


def contradicts(task, error, measured):
    """Filter 2: nothing is wrong at the place that the error names, by the `measured` list."""
    return not any(same_place(task, true, error) for true in measured)


def drawn_pairs(rows, codes):
    """(row, drawing of its true program, drawing of the other, in `codes`), in order; only CHUNK pairs are in memory.

    As large as the reference picture, and on a canvas if that is square, as those for the tiny models are.
    """
    for start in tqdm(range(0, len(rows), CHUNK), "drawing", unit_scale=CHUNK, unit="pair"):
        part, prompts = rows[start:start + CHUNK], []
        for row in part:
            width, height = load_image(row["gt_img_path"]).size
            size = (width, height) if width == height else max(width, height)
            prompts.append({"task": row["category"], "size": size})
        true = draw_alike(prompts, [row["gt_code"] for row in part])
        yield from zip(part, true, draw_alike(prompts, codes[start:start + CHUNK]))


# ------------------------------------------------------------------------------------------------ 4. Rows for training
def row_for(row, out, **changed):
    """A row of the new pairs.jsonl; pictures that are not in `out` are named as seen from there."""
    paths = {key: os.path.relpath(row[key], out) for key in ("gt_img_path", "pred_img_path")}
    kept = {key: row.get(key) for key in ("id", "category", "human_errors", "gt_code", "pred_code", "source")}
    return kept | paths | changed


def label_rows(rows, pairs, verdicts, out, left):
    """Rows with the teacher's errors after both filters. What is left out is counted in `left`."""
    made = []
    for pair, verdict, (row, *drawn) in zip(pairs, verdicts, drawn_pairs(rows, [row["pred_code"] for row in rows])):
        if not verdict.readable or not all(isinstance(drawing, Rendering) for drawing in drawn):
            left["pairs: unreadable, cut off, or a program that does not render"] += 1
            continue
        errors = []
        for error in verdict.errors:
            if invents(error, [drawing.scene for drawing in drawn]):
                left["errors: name what neither picture shows"] += 1
            elif contradicts(pair.task, error, pair.true.errors):
                left["errors: the scenes are equal there"] += 1
            else:
                errors.append(error)
        if pair.true.errors and not errors:
            left["pairs: no error left, though the pictures differ"] += 1
        else:
            made.append(row_for(row, out, human_errors=annotation(errors)))
    return made


def edit_rows(rows, answers, out, left):
    """Rows with the damaged programs and measured labels; their pictures are saved. `left` counts the others."""
    made, codes = [], [extract_code(row["category"], answer) for row, answer in zip(rows, answers)]
    (out / "images").mkdir(exist_ok=True)
    for code, (row, true, pred) in zip(codes, drawn_pairs(rows, codes)):
        if not (isinstance(true, Rendering) and isinstance(pred, Rendering)):
            left["pairs: do not render"] += 1
        elif not (errors := label(true, pred)):
            left["pairs: nothing visible changed"] += 1
        else:
            name = f"images/{re.sub(r'[^A-Za-z0-9_.-]', '_', row['id'])}.png"
            pred.image.save(out / name)
            made.append(row_for(row, out, pred_img_path=name, pred_code=code, human_errors=errors, source="edit"))
    return made


def finish(settings, rows, pairs, name, paid, missing):
    """Filters or measures what was paid, writes pairs.jsonl, prints what it cost and what was left out."""
    out = Path(settings.out)
    left = Counter({f"pairs: no answer, asked again next time: {why}": n for why, n in missing.items()})
    pairs = [pair for row, pair in zip(rows, pairs) if row["id"] in paid.rows]
    chosen = [row for row in rows if row["id"] in paid.rows]
    answers = [paid.rows[row["id"]]["answer"] for row in chosen]
    if settings.edit:
        made = edit_rows(chosen, answers, out, left)
    else:
        verdicts = [Verdict.parse(pair.task, answer) for pair, answer in zip(pairs, answers)]
        for verdict in verdicts:
            verdict.readable &= not any(note.startswith("cut off") for note in verdict.notes)  # half a list
        made = label_rows(chosen, pairs, verdicts, out, left)
        print(bench.table([bench.report(name, bench.match_all(pairs, verdicts))]))
    temporary = out / "pairs.tmp"
    temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), "utf-8", "replace")
    temporary.replace(out / "pairs.jsonl")
    read, written = (sum(row["tokens"][side] for row in paid.rows.values()) for side in (0, 1))
    cost = (read * settings.price_in + written * settings.price_out) / 1e6
    print(f"{len(paid.rows)} answers paid so far: {read} tokens read, {written} written" +
          (f", {cost:.2f} dollars" if cost else "; --price_in and --price_out tell the cost"))
    for why, n in sorted(left.items()):
        print(f"left out, {n} {why}")
    print(f"{len(made)} of {len(rows)} pairs in {out / 'pairs.jsonl'}, "
          f"{sum(len(row['human_errors']) for row in made)} errors")


def prepare(settings):
    """(rows of the folder, the same as bench.Pairs, the teacher's model), after all that can be wrong was looked at."""
    name = settings.teacher.split(",")[0].partition("#")[2]
    if not name:
        raise InputError("--teacher names server and model: https://api.openai.com/v1#gpt-5-mini, for instance.")
    if settings.limit < 0 or min(settings.workers, settings.timeout, settings.tokens) <= 0:
        raise InputError("--limit, --workers, --timeout and --tokens cannot be negative, the last three not 0 either.")
    file, out = Path(settings.folder, "pairs.jsonl"), Path(settings.out)
    rows, pairs = read_pairs(settings.folder), bench.read_pairs(file)
    if bad := [n for n, row in enumerate(rows, 1) if not (row.get("gt_code") and row.get("pred_code"))]:
        raise InputError(f"{file}:{bad[0]} lacks gt_code or pred_code; the filters read what both programs draw.")
    if len({row["id"] for row in rows}) < len(rows):
        raise InputError(f"{file} has the same id twice; answers are kept by id.")
    out.mkdir(parents=True, exist_ok=True)
    config = json.dumps({"data": str(file.parent.resolve()), "teacher": name, "edit": settings.edit}, indent=1) + "\n"
    if (out / "config.json").exists() and (out / "config.json").read_text() != config or out.samefile(file.parent):
        raise InputError(f"{out} was made with other settings (see its config.json); choose another --out.")
    (out / "config.json").write_text(config)
    return rows[:settings.limit or None], pairs[:settings.limit or None], name


def main(arguments=None):
    """Exit code 0; 2 for what the user can put right; 130 after Ctrl-C."""
    parser = HfArgumentParser(Settings, prog="python -m data.teacher", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder with a pairs.jsonl that data.build made")
    settings, rest = parser.parse_args_into_dataclasses(arguments)
    settings.folder = rest.folder
    paid = None
    try:
        rows, pairs, name = prepare(settings)
        paid = Paid(Path(settings.out, "answers.jsonl"))
        finish(settings, rows, pairs, name, paid, fetch(settings, rows, paid))
    except KeyboardInterrupt:
        print(f"Stopped; {len(paid.rows) if paid else 0} answers are kept in {settings.out}; the same command goes on.",
              file=sys.stderr)
        return 130
    except (InputError, SandboxMissing) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"A file could not be written or read: {error}.", file=sys.stderr)
        return 2
    finally:
        if paid:
            paid.file.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
