"""Make pairs of pictures with exact labels: draw programs, damage them or let a policy redraw them, render, measure.

    python -m data.build --task chart,table,svg --n 600 --level 1 --seed 0 --out runs/pairs
    python -m data.build --source infer --model data/tiny/base --n 600 --out runs/own      # --mix 0.5: half of them
    python -m data.build --programs chart2code=runs/chart2code --level 3 --n 600 --out runs/real     # see data/hub.py

The two sources of the paper (section "Training data"), without its annotator: labels are never asserted, `data.compare`
measures what became visible. *Targeted Edit*: `data.edit` damages the code. *Natural Inference* (`--source infer`): a
policy is shown the picture and writes code at temperature 1; its errors are its own. The programs are drawn by
`data.worlds`, or are those of a public data set.
The folder gets `pairs.jsonl` (VC-RewardBench's fields plus both programs), `images/*.png` and `config.json`.
Same seed, same bytes; a killed build goes on where it stopped when the same command is given again. With `--source
infer` that holds on one machine with as many threads, since a policy's samples depend on how its numbers are added; a
server's answers are never the same, but a killed build goes on with one as well.

With `--variants V` every program is damaged V times, and with two or more each pair is also taken the other way round,
with the damaged picture as the reference: the pictures exist already, so these labels are free.
"""
import fcntl
import json
import random
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import HfArgumentParser

from data import compare, edit, hub, worlds
from data.samples import own
from data.worlds.style import Hand
from render import TASKS, Rendering, SandboxMissing, extract_code, render_many
from data.verdict import InputError
from data.models import Chat, fit, preset_for, size_of
from data.runs import same_settings
from data.pairs import load_image, read_pairs
from render import draw_alike
from visual_erm import code_messages

SIZES = {1: (128, 128), 2: 512, 3: 768}                        # `size` of render.py for each level of difficulty
CHUNK = 64                                                     # families rendered and written together
ERRORS = ((1, 0.45), (2, 0.3), (3, 0.15), (4, 0.1))            # damages a variant gets, and how often


@dataclass
class Settings:
    task: str = field(default="chart,table,svg", metadata={"help": "tasks of drawn programs, taken in turn"})
    n: int = field(default=600, metadata={"help": "pairs in all"})
    level: int = field(default=1, metadata={"help": "difficulty: 1 (128 px) for the tiny models, 2 (512), 3 (768)"})
    seed: int = field(default=0, metadata={"help": "same seed, same bytes"})
    out: str = field(default="runs/pairs", metadata={"help": "folder to make or to go on with"})
    variants: int = field(default=1, metadata={"help": "damaged copies of each program"})
    equal: float = field(default=0.12, metadata={"help": "share of edited pairs that are the same picture"})
    programs: str = field(default="worlds", metadata={"help": "worlds, or a set of data/hub.py: SET, SET=FOLDER"})
    source: str = field(default="edit", metadata={"help": "of errors: edit, or infer (a policy's own)"})
    mix: float = field(default=1.0, metadata={"help": "share of --source infer; the rest are edits"})
    model: str = field(default="", metadata={"help": "policy of --source infer: folder, hub name, URL"})
    preset: str = field(default="", metadata={"help": "row of PRESETS for --model; default: tiny, 8b if elsewhere"})


def draw_images(task, n, level, seed):
    """`n` rendered programs of a world, each in another hand (data/worlds/style.py), as prompts for a policy.

    A prompt is a dict: `task`, `image`, `size` (at which it was drawn), `scene`, `code`. Same arguments, same pictures.
    """
    rng, hands = (random.Random(f"{seed}/{level}/{task}{more}") for more in ("", "/hands"))
    programs = [Hand(hands).write(task, worlds.draw(task, level, rng)) for _ in range(n)]
    made = render_many([(task, code) for code in programs], size=SIZES[level])
    return [{"task": task, "image": drawn.image, "size": SIZES[level], "scene": drawn.scene, "code": code}
            for code, drawn in zip(programs, made) if isinstance(drawn, Rendering)]


def references(rows, row):
    """The references of pairs `rows` (see read_pairs), one after the other, as prompts (see draw_images) with an `id`.

    Each program is drawn again, for its scene, as large as its picture is or a preset's `row` says. What cannot be
    drawn is told and left out. Raises InputError for a pair without code.
    """
    distinct = iter({pair["gt_img_path"]: pair for pair in rows if not own(pair, "gt")}.values())
    while some := list(islice(distinct, CHUNK)):
        if bare := [pair["id"] for pair in some if not pair.get("gt_code")]:
            raise InputError(f"{bare[0]} has no gt_code, so nothing can be compared with it exactly.")
        prompts = [{"id": pair["id"], "task": pair["category"], "image": load_image(pair["gt_img_path"]),
                    "code": pair["gt_code"]} for pair in some]
        prompts = [prompt | {"size": size_of(prompt["image"], row)} for prompt in prompts]
        for prompt, drawn in zip(prompts, draw_alike(prompts, [prompt["code"] for prompt in prompts])):
            if isinstance(drawn, Rendering):
                yield prompt | {"image": drawn.image, "scene": drawn.scene}
            else:
                tqdm.write(f"{prompt['id']} is left out: its own code cannot be drawn ({drawn}).")


def hold_out(rows, n, seed=0):
    """(rows to learn from, rows held out): whole families in random order, at least `n` rows are held out."""
    families = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    keys = sorted(families)
    random.Random(seed).shuffle(keys)
    held = []
    while keys and len(held) < n:
        held += families[keys.pop()]
    return [row for key in keys for row in families[key]], held


def jobs_from(settings, number):
    """(task, number, program, its id in a public set) from `number` on; the last two are None for drawn programs."""
    if settings.programs == "worlds":
        tasks = settings.task.split(",")
        for number in count(number):
            yield tasks[number % len(tasks)], number, None, None
    for number, row in enumerate(islice(hub.read_rows(settings.programs), number, None), number):
        yield row.task, number, row.code, f"{settings.programs.partition('=')[0]}/{row.id}"


@dataclass
class Family:
    """A program and its copies: damaged, or None, which is for the policy to write; and the pairs made of them."""
    task: str
    number: int
    programs: list                                              # the true one first
    pairs: list                                                 # (index of the reference, index of the rendering)
    origin: str | None = None                                   # id in a public set
    pictures: list = field(init=False)                          # of the programs: Rendering, RenderError, or not yet

    def __post_init__(self):
        self.pictures = [None] * len(self.programs)
        self.asked = {i for i, code in enumerate(self.programs) if code is None}


def family(settings, task, number, true=None, origin=None):
    """The Family of a drawn program, or of `true`. Raises ValueError if no edit applies to it."""
    rng = random.Random(f"{settings.seed}/{settings.level}/{task}/{number}")
    which = random.Random(f"infer/{settings.seed}/{settings.level}/{task}/{number}")
    kinds = edit.LEVEL_1[task] if settings.level == 1 and true is None else None
    programs = [worlds.draw(task, settings.level, rng) if true is None else true]
    for _ in range(settings.variants):
        if settings.source == "infer" and which.random() < settings.mix:
            programs.append(None)
        else:
            n = rng.choices([n for n, _ in ERRORS], [share for _, share in ERRORS])[0]
            programs.append(edit.damage(task, programs[0], rng, kinds, n)[0])
    pairs = [(0, i) for i in range(1, len(programs))]
    if settings.variants > 1:
        pairs += [(b, a) for a, b in pairs]
    edited = [programs[a] is not None and programs[b] is not None for a, b in pairs]   # a policy makes its own copies
    return Family(task, number, programs, [(a, a if known and rng.random() < settings.equal else b)
                                           for known, (a, b) in zip(edited, pairs)], origin)


def load_policy(settings):
    """Function from [(task, picture), ...] to answers at temperature 1. Raises InputError: no such model or server."""
    row = preset_for(settings.preset, settings.model)
    policy = Chat(settings.model, row)
    return lambda shown: policy.write([code_messages(t, fit(image, row["canvas"])) for t, image in shown], 1.0)


def label(true, pred):
    """The exact annotation of two renderings, as VC-RewardBench's `human_errors`."""
    same = true.image.tobytes() == pred.image.tobytes()
    return annotation(compare.compare(true.scene, pred.scene, same_pixels=same))


def annotation(errors):
    """Discrepancies as VC-RewardBench writes them."""
    return [{"type": e.category, "severity": e.severity, "location": e.location, "description": e.description}
            for e in errors]


def draw(families, size):
    """Draw what has a program and no picture yet."""
    todo = [(f, i) for f in families for i, code in enumerate(f.programs) if code is not None and not f.pictures[i]]
    for (f, i), picture in zip(todo, render_many([(f.task, f.programs[i]) for f, i in todo], size=size)):
        f.pictures[i] = picture


def infer(families, policy, settings, left):
    """Let the policy write the programs that are None, all in one call, and draw them; InputError if none can be."""
    asked = [(f, i) for f in families for i in f.asked]
    if not asked:
        return
    seed = random.Random(f"infer/{settings.seed}/{families[0].number}").getrandbits(63)
    torch.manual_seed(seed)                                  # of this chunk alone, so that a killed build goes on alike
    for (f, i), answer in zip(asked, policy([(f.task, f.pictures[0].image) for f, _ in asked]), strict=True):
        f.programs[i] = extract_code(f.task, answer)
    draw(families, SIZES[settings.level])
    failed = [f.pictures[i] for f, i in asked if not isinstance(f.pictures[i], Rendering)]
    left["answers that draw nothing"] += len(failed)
    if len(failed) == len(asked) >= 16:
        raise InputError(f"None of {len(asked)} answers of {settings.model} can be drawn, for example: {failed[0]}; "
                         "is it a model that writes code?")


def chunk_rows(jobs, settings, images, policy, left):
    """Render the families in `jobs`, save their pictures, return their rows; `left` counts what is left out, by reason.

    A family whose program or damaged copy fails is left out whole; an answer that draws nothing, with its pairs.
    """
    families = []
    for job in jobs:
        try:
            families.append(family(settings, *job))
        except ValueError:
            left["programs that no edit applies to"] += 1
    draw(families, SIZES[settings.level])
    good = [f for f in families if all(isinstance(p, Rendering) for i, p in enumerate(f.pictures) if i not in f.asked)]
    left["programs that cannot be drawn, or not once damaged"] += len(families) - len(good)
    infer(good, policy, settings, left)
    return [row for f in good for row in family_rows(f, images)]


def family_rows(family, images):
    """The rows of a drawn family, whose pictures are saved in `images`."""
    drawn = [isinstance(picture, Rendering) for picture in family.pictures]
    names = [f"images/{family.task}-{family.number:06d}-{i}.png" for i in range(len(drawn))]
    pairs = [(k, a, b) for k, (a, b) in enumerate(family.pairs) if drawn[a] and drawn[b]]
    for i in {i for _, *pair in pairs for i in pair}:
        family.pictures[i].image.save(images / Path(names[i]).name)
    return [{"id": f"{family.task}-{family.number:06d}-{k}", "category": family.task, "gt_img_path": names[a],
             "pred_img_path": names[b], "human_errors": label(family.pictures[a], family.pictures[b]),
             "gt_code": family.programs[a], "pred_code": family.programs[b],
             "source": "infer" if family.asked & {a, b} else "edit"}
            | ({"origin": family.origin} if family.origin else {}) for k, a, b in pairs]


def build(settings):
    """Make the folder, or go on with it; returns what was left out: {reason: how many}. Raises InputError."""
    out = Path(settings.out)
    images, path, progress = out / "images", out / "pairs.jsonl", out / "progress.json"
    same_settings(out, settings, free=("n",))
    # progress.json is replaced after each chunk and says how many bytes of pairs.jsonl are good.
    done = json.loads(progress.read_text()) if progress.exists() else {"chunks": 0, "bytes": 0, "pairs": 0}
    jobs, left = jobs_from(settings, done["chunks"] * CHUNK), Counter(done.get("left_out", {}))
    chunk = list(islice(jobs, CHUNK)) if done["pairs"] < settings.n else []
    policy = load_policy(settings) if settings.source == "infer" and chunk else None
    images.mkdir(parents=True, exist_ok=True)                         # not before program and policy were found
    config = {name: value for name, value in asdict(settings).items() if name not in ("out", "n")}      # same bytes
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    with open(path, "ab") as file, tqdm(total=settings.n, initial=done["pairs"], unit="pair") as bar:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another build writes to {out}; wait for it or stop it.") from None
        file.truncate(done["bytes"])
        while chunk:
            rows = chunk_rows(chunk, settings, images, policy, left)
            wanted = rows[:settings.n - done["pairs"]]
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in wanted).encode())
            file.flush()
            bar.update(len(wanted))
            if len(wanted) < len(rows):                   # a chunk that was cut is made again if --n grows later
                break
            done = {"chunks": done["chunks"] + 1, "bytes": file.tell(), "pairs": done["pairs"] + len(rows)}
            done |= {"left_out": +left} if +left else {}
            temporary = progress.with_suffix(".tmp")
            temporary.write_text(json.dumps(done))
            temporary.replace(progress)
            chunk = list(islice(jobs, CHUNK)) if done["pairs"] < settings.n else []
    return +left


def check(settings):
    """Raises InputError for settings that do not fit together."""
    if unknown := [task for task in settings.task.split(",") if task not in TASKS]:
        raise InputError(f"unknown task {unknown[0]!r}; choose among {', '.join(TASKS)}")
    if settings.level not in SIZES:
        raise InputError(f"there is no level {settings.level}; choose 1, 2 or 3")
    if settings.source not in ("edit", "infer"):
        raise InputError(f"--source is edit or infer, not {settings.source!r}; public sets are named by --programs")
    if (settings.source == "infer") != bool(settings.model):
        raise InputError("--source infer and --model go together: the model is the policy whose errors are wanted")
    if not 0 <= settings.mix <= 1 or (settings.source == "edit" and settings.mix != 1):
        raise InputError("--mix is the share of --source infer, between 0 and 1")


def main():
    (settings,) = HfArgumentParser(Settings, description=__doc__.splitlines()[0]).parse_args_into_dataclasses()
    check(settings)
    left = build(settings)
    rows = read_pairs(settings.out)
    if left:
        print("left out: " + ", ".join(f"{n} {what}" for what, n in left.items()))
    if not rows:
        raise InputError(f"{settings.programs} gave no pair.")
    if len(rows) < settings.n:
        print(f"{settings.programs} has no more programs.")
    equal = sum(not row["human_errors"] for row in rows)
    counts = ", ".join(f"{task} {n}" for task, n in Counter(row["category"] for row in rows).items())
    own = sum(row["source"] == "infer" for row in rows)
    print(f"{len(rows)} pairs in {settings.out}: {counts}; " + (f"{own} of them a policy's own; " if own else "")
          + f"{equal / len(rows):.1%} visually equal, "
          f"{sum(len(r['human_errors']) for r in rows) / len(rows):.2f} errors a pair")


if __name__ == "__main__":
    try:
        main()
    except (InputError, SandboxMissing) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
