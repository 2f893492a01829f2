"""Make pairs of pictures with exact labels: draw programs, damage them, render both, measure the difference.

    python -m data.build --task chart,table,svg --n 600 --level 1 --seed 0 --out runs/pairs

Targeted Edit of the paper (section "Training data"): there a strong model damages the code and another one labels the
pair; here `data.edit` damages it and `data.compare` measures what became visible, so no label is ever asserted.
The folder gets `pairs.jsonl` (VC-RewardBench's fields plus both programs), `images/*.png` and `config.json`.
Same seed, same bytes; a killed build goes on where it stopped when the same command is given again.

With `--variants V` every program is damaged V times, and with two or more each pair is also taken the other way round,
with the damaged picture as the reference: the pictures exist already, so these labels are free.
"""
import json
import random
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm
from transformers import HfArgumentParser

from data import compare, edit, worlds
from data.hands import Hand
from render import TASKS, Rendering, render_many
from visual_erm import InputError, read_pairs

SIZES = {1: (128, 128), 2: 512, 3: 768}                        # `size` of render.py for each level of difficulty
CHUNK = 64                                                     # families rendered and written together
ERRORS = ((1, 0.45), (2, 0.3), (3, 0.15), (4, 0.1))            # damages a variant gets, and how often


@dataclass
class Settings:
    task: str = field(default="chart,table,svg", metadata={"help": "tasks, taken in turn"})
    n: int = field(default=600, metadata={"help": "pairs in all"})
    level: int = field(default=1, metadata={"help": "difficulty: 1 for the tiny models, 2 and 3 for big ones"})
    seed: int = field(default=0, metadata={"help": "same seed, same bytes"})
    out: str = field(default="runs/pairs", metadata={"help": "folder to make or to go on with"})
    variants: int = field(default=1, metadata={"help": "damaged copies of each program"})
    equal: float = field(default=0.12, metadata={"help": "share of pairs that are the same picture"})


def draw_images(task, n, level, seed):
    """`n` rendered programs of a world, each in another hand (data/hands.py): dicts with `task`, `image`, `scene`, `code`.

    Same arguments, same pictures.
    """
    rng, hands = (random.Random(f"{seed}/{level}/{task}{more}") for more in ("", "/hands"))
    programs = [Hand(hands).write(task, worlds.draw(task, level, rng)) for _ in range(n)]
    made = render_many([(task, code) for code in programs], size=SIZES[level])
    return [{"task": task, "image": drawn.image, "scene": drawn.scene, "code": code}
            for code, drawn in zip(programs, made) if isinstance(drawn, Rendering)]


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


def family(task, settings, number):
    """(programs, pairs of indices) of one family: the drawn program first, then its damaged copies."""
    rng = random.Random(f"{settings.seed}/{settings.level}/{task}/{number}")
    true = worlds.draw(task, settings.level, rng)
    programs = [true]
    for _ in range(settings.variants):
        n = rng.choices([n for n, _ in ERRORS], [share for _, share in ERRORS])[0]
        kinds = edit.LEVEL_1[task] if settings.level == 1 else None
        programs.append(edit.damage(task, true, rng, kinds, n)[0])
    pairs = [(0, i) for i in range(1, len(programs))]
    if settings.variants > 1:
        pairs += [(b, a) for a, b in pairs]
    return programs, [(a, a if rng.random() < settings.equal else b) for a, b in pairs]


def label(true, pred):
    """The exact annotation of two renderings, as VC-RewardBench's `human_errors`."""
    same = true.image.tobytes() == pred.image.tobytes()
    errors = compare.compare(true.scene, pred.scene, same_pixels=same)
    return [{"type": e.category, "severity": e.severity, "location": e.location, "description": e.description}
            for e in errors]


def chunk_rows(jobs, settings, images):
    """Render the families in `jobs`, save their pictures, return their rows; a family with a failure is left out."""
    made = [(task, number, *family(task, settings, number)) for task, number in jobs]
    renderings = iter(render_many([(task, code) for task, _, programs, _ in made for code in programs],
                                  size=SIZES[settings.level]))
    rows = []
    for task, number, programs, pairs in made:
        pictures = [next(renderings) for _ in programs]
        if not all(isinstance(picture, Rendering) for picture in pictures):
            continue
        names = [f"images/{task}-{number:06d}-{i}.png" for i in range(len(programs))]
        used = {i for pair in pairs for i in pair}
        for i in used:
            pictures[i].image.save(images / Path(names[i]).name)
        for k, (a, b) in enumerate(pairs):
            rows.append({"id": f"{task}-{number:06d}-{k}", "category": task, "gt_img_path": names[a],
                         "pred_img_path": names[b], "human_errors": label(pictures[a], pictures[b]),
                         "gt_code": programs[a], "pred_code": programs[b], "source": "edit"})
    return rows


def main():
    (settings,) = HfArgumentParser(Settings).parse_args_into_dataclasses()
    tasks = settings.task.split(",")
    if unknown := [task for task in tasks if task not in TASKS]:
        raise InputError(f"unknown task {unknown[0]!r}; choose among {', '.join(TASKS)}")
    if settings.level not in SIZES:
        raise InputError(f"there is no level {settings.level}; choose 1, 2 or 3")
    out = Path(settings.out)
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    config = {k: v for k, v in asdict(settings).items() if k not in ("out", "n")}
    if (out / "config.json").exists() and json.loads((out / "config.json").read_text()) != config:
        raise InputError(f"{out} was made with other settings (see its config.json); choose another --out or delete it")
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    path, progress = out / "pairs.jsonl", out / "progress.json"
    # progress.json is replaced after each chunk and says how many bytes of pairs.jsonl are good.
    done = json.loads(progress.read_text()) if progress.exists() else {"chunks": 0, "bytes": 0, "pairs": 0}
    with open(path, "ab") as file, tqdm(total=settings.n, initial=done["pairs"], unit="pair") as bar:
        file.truncate(done["bytes"])
        while done["pairs"] < settings.n:
            first = done["chunks"] * CHUNK
            jobs = [(tasks[i % len(tasks)], i) for i in range(first, first + CHUNK)]
            rows = chunk_rows(jobs, settings, images)
            wanted = rows[:settings.n - done["pairs"]]
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in wanted).encode())
            file.flush()
            bar.update(len(wanted))
            if len(wanted) < len(rows):                   # a chunk that was cut is made again if --n grows later
                break
            done = {"chunks": done["chunks"] + 1, "bytes": file.tell(), "pairs": done["pairs"] + len(rows)}
            temporary = progress.with_suffix(".tmp")
            temporary.write_text(json.dumps(done))
            temporary.replace(progress)
    rows = read_pairs(out)
    equal = sum(not row["human_errors"] for row in rows)
    counts = ", ".join(f"{task} {sum(row['category'] == task for row in rows)}" for task in tasks)
    print(f"{len(rows)} pairs in {out}: {counts}; "
          f"{equal / max(1, len(rows)):.1%} visually equal, "
          f"{sum(len(r['human_errors']) for r in rows) / max(1, len(rows)):.2f} errors a pair")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
