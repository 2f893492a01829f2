"""Make pairs of pictures with exact labels: draw programs, damage them or let a policy redraw them.

    python -m data.build --task chart,table,svg --n 600 --level 1 --seed 0 --out runs/pairs
    python -m data.build --source infer --model data/tiny/base --n 600 --out runs/own
    python -m data.build --programs chart2code=runs/chart2code --level 3 --n 600 --out runs/real

The two sources of the paper (section "Training data"), without its annotator: `data.compare`
measures every label on what became visible. *Targeted Edit*: `data.edit` damages the code. *Natural
Inference* (`--source infer`, or `--mix 0.5` for half of the pairs): a policy gets the picture and
writes code at temperature 1, with errors of its own. The programs are drawn by `data.worlds`, or
are those of a public data set (data/hub.py).

Every picture is drawn in a style of its own (data/worlds/drawing.py): the margins, letters and
lines of two equivalent pictures differ. With `--styles 0` the pictures of one program have one
style. Training sets hold no program that is held out (`worlds.is_held_out`), and sets made with
`--held_out` hold no others.

The folder gets `pairs.jsonl` (VC-RewardBench's fields plus both programs), `images/*.png` and
`config.json`. Same seed, same bytes. The same command continues a killed build. With `--source
infer` the bytes are the same only on one machine with as many threads: a policy's samples depend on
the order in which its numbers are added. A server's answers are never the same.

With `--variants V` every program is damaged V times. With two or more, each pair is also taken the
other way round, with the damaged picture as the reference: no further picture is drawn for it.
"""
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path

from data.runs import check_settings, flag, locked, parse, read_json, script, write_text
from data.verdict import InputError


@dataclass
class Settings:
    task: str = flag("chart,table,svg", "tasks of drawn programs, in turn")
    n: int = flag(600, "pairs in all", positive=True)
    level: int = flag(1, "difficulty: 1 (128 px) for the tiny models, 2 (512), 3 (768)")
    seed: int = flag(0, "same seed, same bytes")
    out: str = flag("runs/pairs", "folder to make or to go on with")
    variants: int = flag(1, "damaged copies of each program", positive=True)
    equal: float = flag(0.12, "share of edited pairs without an error", most=1)
    styles: float = flag(1.0, "share of programs whose pictures each have a style of their own",
                         most=1)
    held_out: bool = flag(False, "draw the programs that no training set holds")
    programs: str = flag("worlds", "worlds, or a set of data/hub.py: SET, SET=FOLDER")
    source: str = flag("edit", "of errors: edit, or infer (a policy's own)")
    mix: float = flag(1.0, "share of --source infer; the rest are edits", most=1)
    model: str = flag("", "policy of --source infer: folder, hub name, URL")
    preset: str = flag("", "preset for --model; default: tiny, 8b if it is elsewhere")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # reports a wrong flag before torch is loaded

import torch
from tqdm import tqdm

from data import compare, edit, hub, worlds
from data.compare.places import boxes_of
from data.models import Chat, drawing_size, fit, preset_for
from data.pairs import Example, Pair, annotation, hold_out, read_pairs
from data.worlds.drawing import DrawingStyle
from data.worlds.style import CodeStyle
from render import TASKS, RenderError, Rendering, draw_alike, extract_code, render_many
from visual_erm import code_messages

SIZES = {1: (128, 128), 2: 512, 3: 768}  # `size` of render() for each level of difficulty
CHUNK = 64  # families rendered and written together
ERRORS = ((1, 0.45), (2, 0.3), (3, 0.15), (4, 0.1))  # number of damages, share of variants

# --- 1. examples in memory ---


def draw_examples(task: str, n: int, level: int, seed: str,
                  held_out: bool = False) -> list[Example]:
    """`n` rendered programs of a world, each written and drawn in a style of its own.

    The `code` of an example draws an equivalent picture (see data/worlds: style.py, drawing.py).
    `held_out`: those that no training set holds. Same arguments, same pictures.
    """
    rng, hands, drawings = (random.Random(f"{seed}/{level}/{task}{of}")
                            for of in ("", "/hands", "/drawings"))
    programs = [worlds.draw(task, level, rng, held_out) for _ in range(n)]
    codes = [CodeStyle(hands).write(task, program) for program in programs]
    jobs = [(task, DrawingStyle(drawings).draw(task, program)) for program in programs]
    return [Example(task, drawn.image, SIZES[level], code, drawn.scene)
            for code, drawn in zip(codes, render_many(jobs, size=SIZES[level]))
            if isinstance(drawn, Rendering)]


def reference_examples(pairs: list[Pair], preset: dict) -> Iterator[Example]:
    """The references of `pairs` as examples, each program drawn again for its scene.

    They are as large as their picture, or as the preset's canvas. What cannot be drawn is left out
    with a message. Raises InputError for a pair without code.
    """
    distinct = {pair.reference.path: pair for pair in pairs if not pair.reference.is_policy_output}
    left = iter(distinct.values())
    while some := list(islice(left, CHUNK)):
        examples, drawings = [], []
        for pair in some:
            if not pair.reference.code:
                raise InputError(f"{pair.id} has no gt_code, so nothing can be compared with it "
                                 "exactly.")
            image = pair.reference.load()
            size = drawing_size(image, preset)
            examples.append(Example(pair.task, image, size, pair.reference.code, id=pair.id))
            drawings.append(pair.reference.drawing)
        for example, drawn in zip(examples, draw_alike(examples, drawings)):
            if isinstance(drawn, Rendering):
                example.image, example.scene = drawn.image, drawn.scene
                yield example
            else:
                tqdm.write(f"{example.id} is left out: its own code cannot be drawn ({drawn}).")


def check_pictures(task: str, level: int) -> None:
    """Raises InputError if `task` (several, with commas between) or `level` does not exist."""
    if unknown := [name for name in task.split(",") if name not in TASKS]:
        raise InputError(f"--task {unknown[0]!r} is unknown; choose among {', '.join(TASKS)}.")
    if level not in SIZES:
        raise InputError(f"--level {level} does not exist; choose 1, 2 or 3.")


def train_and_held(tasks: list[str], data: str, level: int, seed: int, num_train: int,
                   num_held: int, preset: dict) -> tuple[list[Example], list[Example]]:
    """(examples to learn from, examples held out), so many of each task.

    They are drawn at `level`, or are the references of the folders `data`. Those held out are the
    same for every seed. No program has a copy on the other side. Raises InputError if there are not
    enough.
    """
    train, held = [], []
    pairs = {pair.reference.path: pair for pair in (read_pairs(data) if data else [])}
    for task in tasks:
        if data:
            mine = [pair for pair in pairs.values() if pair.task == task]
            train_pairs, held_pairs = hold_out(mine, num_held)
            learn = list(islice(reference_examples(train_pairs, preset), num_train))
            keep = list(islice(reference_examples(held_pairs, preset), num_held))
        else:
            learn = draw_examples(task, num_train, level, f"rl/{seed}")
            keep = draw_examples(task, num_held, level, "rl/held", held_out=True)
        if not learn or not keep:
            raise InputError(f"{data} has not enough pictures of the task {task} to learn from "
                             "some and hold out others; lower --eval_images or give more.")
        train, held = train + learn, held + keep
    return train, held


# --- 2. programs and their damaged copies ---


@dataclass
class Program:
    """A program to draw: `code` and `origin` (its id in a public set) are None for drawn ones."""

    task: str
    number: int
    code: str | None = None
    origin: str | None = None


def programs_from(settings: Settings, number: int) -> Iterator[Program]:
    """The programs from `number` on: of the worlds, without end, or of a public set."""
    if settings.programs == "worlds":
        tasks = settings.task.split(",")
        for number in count(number):
            yield Program(tasks[number % len(tasks)], number)
    rows = islice(hub.read_rows(settings.programs), number, None)
    name = settings.programs.partition("=")[0]
    for number, row in enumerate(rows, number):
        yield Program(row.task, number, row.code, f"{name}/{row.id}")


@dataclass
class Family:
    """A program, its damaged copies (None: the policy is to write it), and their pairs."""

    task: str
    number: int
    programs: list[str | None]  # the true one first
    pairs: list[tuple[int, int]]  # (index of the reference, index of the rendering)
    styles: list[DrawingStyle]  # in which each program is drawn
    origin: str | None = None
    pictures: list[Rendering | RenderError | None] = field(init=False)  # None: not drawn yet

    def __post_init__(self):
        self.pictures = [None] * len(self.programs)
        self.drawings = [""] * len(self.programs)  # the programs in their styles
        self.drafts = {i for i, code in enumerate(self.programs) if code is None}


def make_family(settings: Settings, program: Program) -> Family:
    """The Family of a program. Raises ValueError if no edit applies to it."""
    task, number = program.task, program.number
    rng = random.Random(f"{settings.seed}/{settings.level}/{task}/{number}")
    which = random.Random(f"infer/{settings.seed}/{settings.level}/{task}/{number}")
    drawn = program.code is None
    kinds = edit.LEVEL_1[task] if settings.level == 1 and drawn else None
    programs = [worlds.draw(task, settings.level, rng, settings.held_out) if drawn
                else program.code]
    for _ in range(settings.variants):
        if settings.source == "infer" and which.random() < settings.mix:
            programs.append(None)
            continue
        counts, shares = zip(*ERRORS)
        n = rng.choices(counts, shares)[0]
        damaged = edit.damage(task, programs[0], rng, kinds, n)[0]
        while drawn and not settings.held_out and worlds.is_held_out(damaged):
            damaged = edit.damage(task, programs[0], rng, kinds, n)[0]
        programs.append(damaged)
    pairs = [(0, i) for i in range(1, len(programs))]
    if settings.variants > 1:
        pairs += [(b, a) for a, b in pairs]
    kept = []
    for a, b in pairs:
        # a policy makes its own copies
        edited = programs[a] is not None and programs[b] is not None
        if edited and rng.random() < settings.equal:  # the same program in another style
            programs.append(programs[a])
            b = len(programs) - 1
        kept.append((a, b))
    own = rng.random() < settings.styles
    styles = [DrawingStyle(rng) for _ in programs]
    return Family(task, number, programs, kept, styles if own else styles[:1] * len(styles),
                  program.origin)


def load_policy(settings: Settings) -> Callable:
    """A function from [(task, picture)] to answers at temperature 1. Raises InputError."""
    preset = preset_for(settings.preset, settings.model)
    policy = Chat(settings.model, preset)

    def write(shown):
        conversations = [code_messages(task, fit(image, preset["canvas"])) for task, image in shown]
        return policy.write(conversations, 1.0)
    return write


def label(true: Rendering, pred: Rendering) -> dict:
    """What a row says of two renderings: their exact `human_errors`, and where those are."""
    same = true.image.tobytes() == pred.image.tobytes()
    errors = compare.compare(true.scene, pred.scene, same_pixels=same)
    boxes = [[round(value, 3) for value in box] for error in errors
             for box in boxes_of(error, true.scene, pred.scene)[1]]
    return {"human_errors": annotation(errors), "pred_boxes": boxes}


def draw(families: list[Family], size: int | tuple[int, int]) -> None:
    """Draw what has a program and no picture yet."""
    todo = []
    for family in families:
        for i, code in enumerate(family.programs):
            if code is not None and not family.pictures[i]:
                family.drawings[i] = family.styles[i].draw(family.task, code)
                todo.append((family, i))
    jobs = [(family.task, family.drawings[i]) for family, i in todo]
    for (family, i), picture in zip(todo, render_many(jobs, size=size)):
        family.pictures[i] = picture


def infer(families: list[Family], policy: Callable, settings: Settings, left: Counter) -> None:
    """Let the policy write the programs that are None, all in one call, and draw them.

    Raises InputError if none of them can be drawn.
    """
    asked = [(family, i) for family in families for i in family.drafts]
    if not asked:
        return
    # A seed of this chunk alone, so that a killed build goes on alike.
    torch.manual_seed(random.Random(f"infer/{settings.seed}/{families[0].number}").getrandbits(63))
    answers = policy([(family.task, family.pictures[0].image) for family, _ in asked])
    for (family, i), answer in zip(asked, answers, strict=True):
        family.programs[i] = extract_code(family.task, answer)
    draw(families, SIZES[settings.level])
    failed = [family.pictures[i] for family, i in asked
              if not isinstance(family.pictures[i], Rendering)]
    left["answers that draw nothing"] += len(failed)
    if len(failed) == len(asked) >= 16:
        raise InputError(f"None of {len(asked)} answers of {settings.model} can be drawn, for "
                         f"example: {failed[0]}; is it a model that writes code?")


# --- 3. the folder ---


def make_rows(programs: list[Program], settings: Settings, images: Path, policy: Callable | None,
              left: Counter) -> list[dict]:
    """Render the families of `programs`, save their pictures, return their rows.

    A family whose program or damaged copy fails is left out whole; an answer that draws nothing,
    with its pairs. `left` counts what is left out, by reason.
    """
    families, good = [], []
    for program in programs:
        try:
            families.append(make_family(settings, program))
        except ValueError:
            left["programs that no edit applies to"] += 1
    draw(families, SIZES[settings.level])
    for family in families:
        known = [picture for i, picture in enumerate(family.pictures) if i not in family.drafts]
        if all(isinstance(picture, Rendering) for picture in known):
            good.append(family)
    left["programs that cannot be drawn, or not once damaged"] += len(families) - len(good)
    infer(good, policy, settings, left)
    rows = []
    for family in good:
        rows += family_rows(family, images)
    return rows


def family_rows(family: Family, images: Path) -> list[dict]:
    """The rows of a drawn family, whose pictures are saved in `images`."""
    drawn = [isinstance(picture, Rendering) for picture in family.pictures]
    name = f"{family.task}-{family.number:06d}"
    rows, used = [], set()
    for k, (a, b) in enumerate(family.pairs):
        if not (drawn[a] and drawn[b]):
            continue
        used |= {a, b}
        row = {"id": f"{name}-{k}", "category": family.task,
               "gt_img_path": f"images/{name}-{a}.png", "pred_img_path": f"images/{name}-{b}.png",
               **label(family.pictures[a], family.pictures[b]),
               "gt_code": family.programs[a], "pred_code": family.programs[b],
               "gt_drawing": family.drawings[a], "pred_drawing": family.drawings[b],
               "source": "infer" if family.drafts & {a, b} else "edit"}
        if drafts := [side for side, i in (("gt", a), ("pred", b)) if i in family.drafts]:
            row["policy_output"] = drafts
        if family.origin:
            row["origin"] = family.origin
        rows.append(row)
    for i in used:
        family.pictures[i].image.save(images / f"{name}-{i}.png")
    return rows


def build(settings: Settings) -> dict[str, int]:
    """Make the folder, or go on with it. Returns {reason: number left out}. Raises InputError."""
    with locked(settings.out):
        return _build(settings, Path(settings.out))


def _build(settings: Settings, out: Path) -> dict[str, int]:
    images, path, progress = out / "images", out / "pairs.jsonl", out / "progress.json"
    check_settings(out, settings, free=("n",))
    # progress.json is replaced after each chunk and says how many bytes of pairs.jsonl are good.
    done = read_json(progress, {"chunks": 0, "bytes": 0, "pairs": 0})
    programs = programs_from(settings, done["chunks"] * CHUNK)
    left = Counter(done.get("left_out", {}))
    chunk = list(islice(programs, CHUNK)) if done["pairs"] < settings.n else []
    policy = load_policy(settings) if settings.source == "infer" and chunk else None
    images.mkdir(parents=True, exist_ok=True)  # not before program and policy were found
    # Without folder and number, so that the same seed gives the same bytes.
    config = {name: value for name, value in asdict(settings).items() if name not in ("out", "n")}
    write_text(out / "config.json", json.dumps(config, indent=1) + "\n")
    with (open(path, "ab") as file,
          tqdm(total=settings.n, initial=done["pairs"], unit="pair") as bar):
        if file.tell() < done["bytes"]:
            raise InputError(f"{path} is shorter than {progress.name} says: lines are lost; delete "
                             "the folder or choose another --out.")
        file.truncate(done["bytes"])
        while chunk:
            rows = make_rows(chunk, settings, images, policy, left)
            wanted = rows[:settings.n - done["pairs"]]
            for row in wanted:
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            file.flush()
            bar.update(len(wanted))
            if len(wanted) < len(rows):  # a chunk that was cut is made again if --n grows later
                break
            done = {"chunks": done["chunks"] + 1, "bytes": file.tell(),
                    "pairs": done["pairs"] + len(rows)}
            done |= {"left_out": +left} if +left else {}
            write_text(progress, json.dumps(done))
            chunk = list(islice(programs, CHUNK)) if done["pairs"] < settings.n else []
    return +left


def check(settings: Settings) -> None:
    """Raises InputError for settings that do not fit together."""
    check_pictures(settings.task, settings.level)
    if settings.source not in ("edit", "infer"):
        raise InputError(f"--source is edit or infer, not {settings.source!r}; public sets are "
                         "named by --programs")
    if (settings.source == "infer") != bool(settings.model):
        raise InputError("--source infer and --model go together: the model is the policy whose "
                         "errors are wanted")
    if settings.source == "edit" and settings.mix != 1:
        raise InputError("--mix is the share of --source infer; give it with that one")


@script
def main(argv: list[str] | None = None) -> None:
    """Make or complete the folder and say what is in it."""
    settings = parse(Settings, argv, __doc__)
    check(settings)
    left = build(settings)
    if left:
        print("left out: " + ", ".join(f"{n} {what}" for what, n in left.items()))
    if not Path(settings.out, "pairs.jsonl").stat().st_size:
        raise InputError(f"{settings.programs} gave no pair.")
    pairs = read_pairs(settings.out)
    if len(pairs) < settings.n:
        print(f"{settings.programs} has no more programs.")
    tasks = Counter(pair.task for pair in pairs)
    errors = [len(pair.truth.errors) for pair in pairs]
    named = Counter(error.category for pair in pairs for error in pair.truth.errors)
    own = sum(pair.source == "infer" for pair in pairs)
    kinds = ", ".join(f"{task} {n}" for task, n in tasks.items())
    policy = f" {own} of them a policy's own;" if own else ""
    print(f"{len(pairs)} pairs in {settings.out}: {kinds};{policy} "
          f"{errors.count(0) / len(pairs):.1%} visually equal, "
          f"{sum(errors) / len(pairs):.2f} errors a pair"
          + "".join(f", {name} {n}" for name, n in named.most_common()))


if __name__ == "__main__":
    sys.exit(main())
