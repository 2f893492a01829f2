"""Look, be told, try again: test-time scaling with the judge's list as feedback (Eq. 7-9 of the paper).

    y_0 ~ policy(. | x)                                  (Eq. 7: a draft from the picture)
    r_t, f_t = judge(x, render(y_t))                     (Eq. 8: its reward and its list of discrepancies)
    y_{t+1} ~ policy(. | x, y_t, f_t)  while r_t < R     (Eq. 9: a revision, at most `--rounds` times)

    python refine.py data/examples/images/chart-000033-0.png --task chart     # one picture; seconds on a laptop
    python refine.py --eval data/bench --rounds 4                        # what feedback is worth, on many pictures
    python refine.py photo.png --task chart --model http://localhost:8000/v1 --judge internlm/Visual-ERM

`--out` gets the best code, strip.png (the reference and every round, the errors named below) and report.html; `--eval`
writes table.md, rounds.csv and rounds.png instead. Departures from the paper: (1) the best round by reward is kept,
not the last (`--keep last` is the paper's way); (2) code that does not render is revised with the renderer's sentence;
(3) a single picture has no batch to be normalised by: r = clip(1 - S / 50, 0, 1), and R = 1 means: no error found.
In `--eval` feedback without a reward to trust (none, self) uses all rounds and keeps the last.
"""
import csv
import json
import sys
import textwrap
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm
from transformers import HfArgumentParser

from data.build import references
from data.compare import compare, fidelity
from render import Rendering, SandboxMissing, extract_code
from data.verdict import CATEGORIES, InputError, Verdict
from data.models import Chat, fit, preset_for, size_of
from data.report import html_report
from data.runs import same_settings
from data.pairs import load_image, read_pairs
from render import draw_alike
from visual_erm import (NOTHING_SAID, SCALE, VisualERM, code_messages, judge_messages,
                        revise_messages, verm_rewards)

SUFFIX = {"chart": "py", "table": "html", "svg": "svg"}


@dataclass
class Settings:
    # what
    task: str = field(default="", metadata={"help": "chart, table or svg: what the picture shows"})
    eval: str = field(default="", metadata={"help": "folder with a pairs.jsonl: compare kinds of feedback on it"})
    # how
    preset: str = field(default="", metadata={"help": "row of PRESETS; default: tiny, 8b for models elsewhere"})
    model: str = field(default="", metadata={"help": "policy: folder, adapter, hub name or URL; default: the preset's"})
    judge: str = field(default="", metadata={"help": "judge: folder, adapter, hub name or URL; default: the preset's"})
    rounds: int = field(default=3, metadata={"help": "revisions at most"})
    threshold: float = field(default=1.0, metadata={"help": "stop at this reward, 0-1; 1 = the judge finds nothing"})
    keep: str = field(default="best", metadata={"help": "which round is the answer: best (by reward) or last"})
    # evaluation
    feedback: str = field(default="none,self,judge,oracle,best-of-n", metadata={"help": "what --eval compares"})
    seeds: int = field(default=3, metadata={"help": "runs of each kind in --eval; they take --seed and those after it"})
    temperature: float = field(default=1.0, metadata={"help": "of drafts and revisions; 0 takes the likeliest tokens"})
    limit: int = field(default=150, metadata={"help": "pictures in --eval at most"})
    beside: str = field(default="", metadata={"help": "--out of an earlier --eval to draw in the same plot"})
    out: str = field(default="runs/refine", metadata={"help": "folder for what is written"})
    seed: int = field(default=0, metadata={"help": "fixes what is sampled"})
    resume: bool = field(default=False, metadata={"help": "go on with an --eval that was cut short"})


@dataclass
class Round:
    """One program on the way: what was drawn, what was said about it, what it earned."""
    code: str
    drawing: object                          # Rendering, or RenderError
    feedback: str = ""
    reward: float = 0.0                      # r_t of Eq. 8, in [0, 1]; 0 for code that does not render
    verdict: Verdict | None = None


# ------------------------------------------------------------------------------------------ 1. who gives feedback
# A critic takes (items, drawings), only those that rendered, and gives (feedback, reward, verdict) for each. An item is
# a prompt as of data.build: task, image, size and, where the truth is known, scene.


def by_judge(judge):
    """The judge's list, as JSON; what it said if that was no verdict."""
    def critic(items, drawings):
        verdicts = judge.judge([(item["task"], item["image"], drawn.image) for item, drawn in zip(items, drawings)])
        return [(verdict.to_json() if verdict.readable else verdict.raw or "no answer", worth(verdict), verdict)
                for verdict in verdicts]
    return critic


def by_oracle(items, drawings):
    """The exact list, measured from what both pictures show: the ceiling."""
    verdicts = [Verdict(item["task"], compare(item["scene"], drawn.scene)) for item, drawn in zip(items, drawings)]
    return [(verdict.to_json(), worth(verdict), verdict) for verdict in verdicts]


def by_itself(policy):
    """Self-reflection: the policy is asked the judge's question, and its answer is taken as it is."""
    def critic(items, drawings):
        canvas = policy.row["canvas"]
        answers = policy.write([judge_messages(item["task"], fit(item["image"], canvas), fit(drawn.image, canvas))
                                for item, drawn in zip(items, drawings)])
        verdicts = [Verdict.parse(item["task"], answer) for item, answer in zip(items, answers)]
        return [(answer, worth(verdict), verdict)
                for answer, verdict in zip(answers, verdicts)]
    return critic


def by_nobody(items, drawings):
    """No feedback: asked to look again, and told nothing."""
    return [(NOTHING_SAID, 0.0, None) for _ in items]


def worth(verdict):
    """r_t of a verdict, at the fixed scale."""
    return verm_rewards([verdict], SCALE)[0] - 1


# ---------------------------------------------------------------------------------------------------- 2. the loop
def refine(items, policy, critic, rounds, threshold, temperature=0.0):
    """Eq. 7-9 for all `items` at once: for each the list of its Rounds, the draft first."""
    canvas = policy.row["canvas"]
    pictures = [fit(item["image"], canvas) for item in items]
    history = [[] for _ in items]
    active = list(range(len(items)))
    answers = policy.write([code_messages(items[i]["task"], pictures[i]) for i in active], temperature)        # Eq. 7
    for t in range(rounds + 1):
        codes = [extract_code(items[i]["task"], answer) for i, answer in zip(active, answers)]
        drawings = draw_alike([items[i] for i in active], codes)
        good = [k for k, drawn in enumerate(drawings) if isinstance(drawn, Rendering)]
        said = dict(zip(good, critic([items[active[k]] for k in good], [drawings[k] for k in good])))          # Eq. 8
        for k, i in enumerate(active):
            feedback, reward, verdict = said.get(k) or (f"It cannot be drawn: {drawings[k]}", 0.0, None)
            history[i].append(Round(codes[k], drawings[k], feedback, reward, verdict))
        active = [i for i in active if history[i][-1].reward < threshold]
        if t == rounds or not active:
            return history
        answers = policy.write([revise_messages(items[i]["task"], pictures[i], history[i][-1].code,
                                                history[i][-1].feedback) for i in active], temperature)       # Eq. 9


def load(settings, row):
    """(policy, judge). They share one base in memory where both come from the same one."""
    policy = Chat(settings.model or row["model"], row)
    return policy, VisualERM(settings.judge or row["judge"], row, beside=policy)


def answer_of(history, keep):
    """The round whose code is the answer: the best by reward (of equals the first), or the last."""
    return history[-1] if keep == "last" else max(history, key=lambda r: (isinstance(r.drawing, Rendering), r.reward))


# ------------------------------------------------------------------------------------------------ 3. one picture
def film_strip(image, history, side=256):
    """One picture: the reference, then every round, with reward and errors in words below."""
    frames = [("reference", image, "")]
    for t, r in enumerate(history):
        words = r.feedback if r.verdict is None or not r.verdict.readable else "\n".join(
            f"{'*' * e.severity} {e.location}: {e.description}" for e in r.verdict.errors) or "no error found"
        drawn = r.drawing.image if isinstance(r.drawing, Rendering) else Image.new("RGB", (side, side), "white")
        frames.append((f"{'draft' if t == 0 else f'round {t}'}: reward {r.reward:.2f}", drawn, words))
    small, big = ImageFont.load_default(11), ImageFont.load_default(13)
    texts = ["\n".join(line for row in words.splitlines() for line in textwrap.wrap(row, 42) or [""])
             for _, _, words in frames]
    height = side + 34 + 15 * max(text.count("\n") + 1 for text in texts)
    strip = Image.new("RGB", (len(frames) * (side + 12) + 12, height + 12), "#f4f4f4")
    pen = ImageDraw.Draw(strip)
    for n, ((title, picture, _), text) in enumerate(zip(frames, texts)):
        x, scale = 12 + n * (side + 12), side / max(picture.size)
        picture = picture.resize([max(1, round(s * scale)) for s in picture.size],
                                 Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
        pen.text((x, 6), title, fill="black", font=big)
        strip.paste(picture, (x, 26))
        pen.multiline_text((x, side + 32), text, fill="#a02020", font=small, spacing=3)
    return strip


def refine_one(path, settings, row):
    """Refine one picture, print every round, write code, film strip and report."""
    image = fit(load_image(path), row["canvas"])
    item = {"task": settings.task, "image": image, "size": size_of(image, row)}
    policy, judge = load(settings, row)
    torch.manual_seed(settings.seed)
    (history,) = refine([item], policy, by_judge(judge), settings.rounds, settings.threshold, settings.temperature)
    for t, r in enumerate(history):
        print(f"{'draft' if t == 0 else f'round {t}'}: reward {r.reward:.2f}")
        for error in r.verdict.errors if r.verdict else ():
            print(f"  {'*' * error.severity:3} {error.category}, {error.location}: {error.description}")
        print("" if r.verdict and r.verdict.readable else f"  {r.feedback[:200]}\n", end="")
    best, out = answer_of(history, settings.keep), Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    code = out / f"answer.{SUFFIX[settings.task]}"
    code.write_text(best.code + "\n", "utf-8")
    film_strip(image, history).save(out / "strip.png")
    cards = [{"title": "draft" if t == 0 else f"round {t}", "verdicts": {"": r.verdict}, "values": {"reward": r.reward},
              "images": [("reference", image)] + [("drawn", d.image) for d in [r.drawing] if isinstance(d, Rendering)],
              "texts": {"code": r.code, "feedback": r.feedback}} for t, r in enumerate(history)]
    (out / "report.html").write_text(html_report(f"Refining {Path(path).name}", cards,
                                                 f"The answer is round {history.index(best)}."), "utf-8")
    print(f"The answer is round {history.index(best)} (reward {best.reward:.2f}): {code}, {out / 'strip.png'}, "
          f"{out / 'report.html'}")


# ------------------------------------------------------------------------------------------------ 4. many pictures
def best_of(items, policy, judge, n, temperature):
    """The other way to spend tokens: n independent drafts, for each prefix of them the judge's favourite; as Rounds."""
    drafts = [refine(items, policy, by_judge(judge), 0, 0.0, temperature) for _ in range(n)]
    rounds = [[tries[i][0] for tries in drafts] for i in range(len(items))]
    return [[answer_of(tried[:k + 1], "best") for k in range(n)] for tried in rounds]


def measure(items, histories, rounds, keep):
    """[(fidelity, executed) after each round 0..rounds], averages over items, 0-100."""
    table = []
    for t in range(rounds + 1):
        chosen = [answer_of(history[:t + 1], keep) for history in histories]
        scenes = [r.drawing.scene for r in chosen]
        points = [fidelity(item["scene"], scene) for item, scene in zip(items, scenes)]
        table.append((sum(points) / len(points), 100 * sum(scene is not None for scene in scenes) / len(scenes)))
    return table


def evaluate(settings, row):
    """Fidelity and execution rate after each round for every kind of feedback and seed: rounds.csv, table, plot."""
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    path, columns = out / "rounds.csv", ("feedback", "seed", "round", "fidelity", "executes", "tokens")
    rows = list(csv.DictReader(open(path))) if settings.resume and path.exists() else []
    if settings.resume:
        same_settings(out, settings, free=("feedback", "seeds", "beside"))
    else:
        path.unlink(missing_ok=True)                        # or a later --resume could mix the rows of two runs
    (out / "config.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    items = list(islice(references(read_pairs(settings.eval), row), settings.limit))
    if not items:
        raise InputError(f"{settings.eval} has no picture to refine.")
    policy, judge = load(settings, row)
    critics = {"none": by_nobody, "self": by_itself(policy), "judge": by_judge(judge), "oracle": by_oracle}
    seeds = range(settings.seed, settings.seed + settings.seeds)
    wanted = [(kind, seed) for kind in settings.feedback.split(",") for seed in seeds]
    if unknown := [kind for kind, _ in wanted if kind not in (*critics, "best-of-n")]:
        raise InputError(f"--feedback {unknown[0]!r} is unknown; choose among {', '.join(critics)}, best-of-n.")
    for kind, seed in tqdm(wanted, unit="run"):
        if any(r["feedback"] == kind and int(r["seed"]) == seed for r in rows):
            continue                                                                # done before the run was cut short
        torch.manual_seed(seed)
        policy.tokens = 0
        if kind == "best-of-n":
            histories = best_of(items, policy, judge, settings.rounds + 1, settings.temperature)
        else:
            threshold = settings.threshold if kind in ("judge", "oracle") else 2.0   # others cannot know when to stop
            histories = refine(items, policy, critics[kind], settings.rounds, threshold, settings.temperature)
        keep = settings.keep if kind in ("judge", "oracle", "best-of-n") else "last"
        for t, (points, executes) in enumerate(measure(items, histories, settings.rounds, keep)):
            rows.append({"feedback": kind, "seed": seed, "round": t, "fidelity": f"{points:.2f}",
                         "executes": f"{executes:.2f}", "tokens": policy.tokens})
        temporary = path.with_suffix(".tmp")
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(path)
    table = summary(rows, settings.rounds)
    (out / "table.md").write_text(table + "\n")
    runs = {out.name: rows}
    if settings.beside:
        before = Path(settings.beside)
        runs = {before.name: list(csv.DictReader(open(before / "rounds.csv")))} | runs
    plot(runs, out / "rounds.png")
    print(f"{len(items)} pictures\n{table}\nwritten: {path}, {out / 'table.md'}, {out / 'rounds.png'}")


def mean_and_spread(rows, kind, t, column):
    """(mean, half the range) over the seeds."""
    values = [float(r[column]) for r in rows if r["feedback"] == kind and int(r["round"]) == t]
    return (sum(values) / len(values), (max(values) - min(values)) / 2) if values else (float("nan"), 0.0)


def summary(rows, rounds):
    """Fidelity after each round, mean and half the range over seeds, and the sampled tokens, as Markdown."""
    lines = [f"| feedback | {' | '.join(f'round {t}' for t in range(rounds + 1))} | executes | tokens |",
             "| --- " * (rounds + 4) + "|"]
    for kind in dict.fromkeys(r["feedback"] for r in rows):
        cells = ["{:.1f} ± {:.1f}".format(*mean_and_spread(rows, kind, t, "fidelity")) for t in range(rounds + 1)]
        executes, tokens = (mean_and_spread(rows, kind, rounds, column)[0] for column in ("executes", "tokens"))
        lines.append(f"| {kind} | {' | '.join(cells)} | {executes:.1f} % | {tokens:.0f} |")
    return "\n".join(lines)


def plot(runs, path):
    """Fidelity against rounds, a line for each kind of feedback and a panel for each run: {its name: its rows}."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(runs), figsize=(4.5 * len(runs) + 1.5, 3.6), sharey=True, squeeze=False,
                             layout="constrained")
    kinds = list(dict.fromkeys(r["feedback"] for rows in runs.values() for r in rows))
    for ax, (name, rows) in zip(axes[0], runs.items()):
        rounds = range(1 + max(int(r["round"]) for r in rows))
        for n, kind in enumerate(kinds):                                            # the same colour in every panel
            points = [mean_and_spread(rows, kind, t, "fidelity") for t in rounds]
            ax.errorbar(rounds, [p for p, _ in points], [s for _, s in points], label=kind, capsize=3, marker="o",
                        color=f"C{n}")
        ax.set(title=name, xlabel="round", xticks=rounds)
    axes[0][0].set(ylabel="fidelity (0-100)")
    fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right center")
    fig.savefig(path, dpi=100)
    plt.close(fig)


def main(arguments=None):
    """Exit code 0, or 2 for what the user can put right."""
    parser = HfArgumentParser(Settings, description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", help="the picture to redraw as code")
    settings, rest = parser.parse_args_into_dataclasses(arguments)
    try:
        if bool(rest.picture) == bool(settings.eval):
            raise InputError("Give one picture, or --eval FOLDER.")
        if rest.picture and settings.task not in CATEGORIES:
            raise InputError(f"--task says what the picture shows: {', '.join(CATEGORIES)}; not {settings.task!r}.")
        if settings.beside and not Path(settings.beside, "rounds.csv").is_file():
            raise InputError(f"--beside: there is no {settings.beside}/rounds.csv; make it with --eval and --out.")
        if settings.keep not in ("best", "last"):
            raise InputError(f"--keep is best or last, not {settings.keep!r}.")
        row = preset_for(settings.preset, settings.model, settings.judge)
        evaluate(settings, row) if settings.eval else refine_one(rest.picture, settings, row)
    except (InputError, SandboxMissing) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
