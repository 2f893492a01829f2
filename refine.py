"""Refine: test-time scaling with the judge's list as feedback (Eq. 7-9).

    y_0 ~ policy(. | x)                                (Eq. 7: a draft from the picture)
    r_t, f_t = judge(x, render(y_t))                   (Eq. 8: its reward, its list of errors)
    y_{t+1} ~ policy(. | x, y_t, f_t)  while r_t < R   (Eq. 9: a revision, at most --rounds times)

    python refine.py data/examples/images/chart-000003-0.png --task chart     # one picture; seconds
    python refine.py --eval data/bench --rounds 4                  # what feedback is worth
    python refine.py photo.png --task chart --model http://localhost:8000/v1

OUT gets the best code, strip.png (the reference and every round, the errors named below) and
report.html; with `--eval` table.md, rounds.csv and rounds.png instead. Departures from the paper:

1. The best round by reward is kept, not the last (`--keep last` is the paper's way).
2. Code that does not render is revised with the renderer's sentence.
3. A single picture has no batch to be normalised by: r = clip(1 - S / 50, 0, 1), and R = 1 means
   that no error was found. Feedback without a reward to trust (none, self) uses all rounds of
   `--eval` and keeps the last.

From data/ come: examples of a folder (build), prompts to programs (engine), the exact comparison
(compare), models that answer (models), what is said about a draft (turns), strip, page and plot
(report). An Example is a picture with
its task, the size to draw at and, where the truth is known, code and scene.
"""
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from data import runs
from data.runs import flag
from data.verdict import InputError, Verdict


@dataclass
class Settings(runs.RunSettings):
    # what
    task: str = flag("", "chart, table or svg; default: by the ending of a program")
    eval: str = flag("", "folder of pairs: compare kinds of feedback on it")
    # how
    preset: str = flag("", "tiny, 2b, 4b or 8b; default: tiny, 8b for models not on this disk")
    model: str = flag("", "policy: folder, adapter, hub name or URL; default: the preset's")
    judge: str = flag("", "judge: folder, adapter, hub name or URL; default: the preset's")
    rounds: int = flag(3, "revisions at most")
    threshold: float = flag(1.0, "stop at this reward; 1 = the judge finds nothing", most=1)
    keep: str = flag("best", "the answer: best (by reward) or last round")
    # evaluation
    feedback: str = flag("none,self,judge,oracle,best-of-n", "what --eval compares")
    seeds: int = flag(3, "runs of each kind: --seed and those after it", positive=True)
    temperature: float = flag(1.0, "0 takes the likeliest tokens")
    limit: int = flag(150, "pictures in --eval at most", positive=True)
    compare: str = flag("", "--out of an earlier --eval to draw in the same plot", "--beside")
    out: str = flag("runs/refine", "folder for what is written")
    seed: int = flag(0, "fixes what is sampled")


PICTURE = dict(nargs="?", help="the picture, or program whose picture, is to be redrawn as code")
if __name__ == "__main__":
    runs.parse(Settings, None, __doc__, picture=PICTURE)  # before the slow imports of torch

import torch
from tqdm import tqdm

from data.build import reference_examples
from data.compare import compare, fidelity_or_zero
from data.engine import write_programs, write_revisions
from data.models import Chat, fit, preset_for
from data.own import guess_task, own_example
from data.pairs import Example, read_pairs
from data.recogniser import ONLY
from data.report import film_strip, html_report, rounds_plot, rounds_table
from data.turns import not_drawn, words_of
from render import RenderError, Rendering, draw_alike
from visual_erm import NOTHING_SAID, SCALE, VisualERM, judge_messages, verm_rewards

SUFFIX = {"chart": "py", "table": "html", "svg": "svg"}
FEEDBACK = "none", "self", "judge", "oracle", "best-of-n"


@dataclass
class Round:
    """One program on the way: how it was drawn, what was said about it, what it earned."""

    code: str
    rendering: Rendering | RenderError
    feedback: str = ""
    reward: float = 0.0  # r_t of Eq. 8, in [0, 1]; 0 for code that does not render
    verdict: Verdict | None = None


# --- 1. who gives feedback ---
# A critic takes examples and the renderings of their programs, only those that rendered. It gives
Said = list[tuple[str, float, Verdict | None]]  # (feedback, reward, verdict) for each


def by_judge(examples: list[Example], renderings: list[Rendering], judge: VisualERM) -> Said:
    """The judge's list, as JSON; what it said if that was no verdict."""
    verdicts = judge.judge([(example.task, example.image, drawn.image)
                            for example, drawn in zip(examples, renderings)])
    return [(words_of(verdict), reward_of(verdict), verdict) for verdict in verdicts]


def by_oracle(examples: list[Example], renderings: list[Rendering]) -> Said:
    """The exact list, measured from what both pictures show: the ceiling."""
    verdicts = [Verdict(example.task, compare(example.scene, drawn.scene))
                for example, drawn in zip(examples, renderings)]
    return [(verdict.to_json(), reward_of(verdict), verdict) for verdict in verdicts]


def by_itself(examples: list[Example], renderings: list[Rendering], policy: Chat) -> Said:
    """Self-reflection: the policy is asked the judge's question; its answer is taken as it is."""
    canvas = policy.preset["canvas"]
    conversations = [judge_messages(one.task, fit(one.image, canvas), fit(drawn.image, canvas))
                     for one, drawn in zip(examples, renderings)]
    answers = policy.write(conversations)
    verdicts = [Verdict.parse(example.task, answer) for example, answer in zip(examples, answers)]
    return [(answer, reward_of(verdict), verdict) for answer, verdict in zip(answers, verdicts)]


def by_nobody(examples: list[Example], renderings: list[Rendering]) -> Said:
    """No feedback: the policy is asked to look again and told nothing."""
    return [(NOTHING_SAID, 0.0, None) for _ in examples]


def reward_of(verdict: Verdict) -> float:
    """r_t of a verdict, at the fixed scale."""
    return verm_rewards([verdict], SCALE)[0]


# --- 2. the loop (Eq. 7-9) ---


def refine(examples: list[Example], policy: Chat, critic: Callable, rounds: int, threshold: float,
           temperature: float = 0.0) -> list[list[Round]]:
    """Eq. 7-9 for all `examples` at once: for each the list of its Rounds, the draft first."""
    histories = [[] for _ in examples]
    active = list(zip(examples, histories))  # those that still need a revision
    codes = write_programs(policy, examples, temperature)  # Eq. 7
    for t in range(rounds + 1):
        current = [example for example, _ in active]
        renderings = draw_alike(current, codes)
        good = [k for k, drawn in enumerate(renderings) if isinstance(drawn, Rendering)]
        words = critic([current[k] for k in good], [renderings[k] for k in good])  # Eq. 8
        said = dict(zip(good, words))
        for k, (_, history) in enumerate(active):
            heard = said[k] if k in said else (not_drawn(renderings[k]),)
            history.append(Round(codes[k], renderings[k], *heard))
        active = [one for one in active if one[1][-1].reward < threshold]
        if t == rounds or not active:
            break
        current = [example for example, _ in active]
        drafts = [(history[-1].code, history[-1].feedback) for _, history in active]
        codes = write_revisions(policy, current, drafts, temperature)  # Eq. 9
    return histories


def answer_of(history: list[Round], keep: str) -> Round:
    """The round whose code is the answer: the best by reward (of equals the first), or the last."""
    if keep == "last":
        return history[-1]
    return max(history, key=lambda one: (isinstance(one.rendering, Rendering), one.reward))


def load(settings: Settings, preset: dict) -> tuple[Chat, VisualERM]:
    """(policy, judge). They share one base in memory where both come from the same one."""
    policy = Chat(settings.model or preset["model"], preset)
    if policy.recogniser and settings.rounds:
        raise InputError(ONLY)
    return policy, VisualERM(settings.judge or preset["judge"], preset, share_with=policy)


# --- 3. one picture ---


def refine_one(path: str, settings: Settings, preset: dict) -> None:
    """Refine one picture, print every round, write code, film strip and report."""
    Path(settings.out).mkdir(parents=True, exist_ok=True)  # what cannot be is told at once
    example = own_example(path, settings.task, preset, settings.judge or preset["judge"])
    policy, judge = load(settings, preset)
    torch.manual_seed(settings.seed)
    (history,) = refine([example], policy, partial(by_judge, judge=judge), settings.rounds,
                        settings.threshold, settings.temperature)
    frames, cards = [("reference", example.image, "")], []
    for t, one in enumerate(history):
        name = "draft" if t == 0 else f"round {t}"
        words = one.feedback[:200]
        if one.verdict and one.verdict.readable:
            words = "\n".join(f"{'*' * error.severity:3} {error.location}: {error.description}"
                              for error in one.verdict.errors) or "no error found"
        told = f"reward {one.reward:.2f}"
        if example.scene:  # the reference is a program, so the truth is known
            told += f", fidelity {fidelity_or_zero(example.scene, one.rendering.scene):.1f}"
        print(f"{name}: {told}\n  " + words.replace("\n", "\n  "))
        drawn = one.rendering.image if isinstance(one.rendering, Rendering) else None
        frames.append((f"{name}: {told}", drawn, words))
        images = [("reference", example.image)] + ([("rendering", drawn)] if drawn else [])
        cards.append({"title": f"{name}: {told}", "images": images,
                      "verdicts": {"": one.verdict},
                      "texts": {"code": one.code, "feedback": one.feedback}})
    best, out = answer_of(history, settings.keep), Path(settings.out)
    code = out / f"answer.{SUFFIX[settings.task]}"
    runs.write_text(code, best.code + "\n")
    film_strip(frames).save(out / "strip.png")
    chosen = f"The answer is round {history.index(best)}"
    page = html_report(f"Refining {Path(path).name}", cards, f"{chosen}.")
    runs.write_text(out / "report.html", page)
    print(f"{chosen} (reward {best.reward:.2f}): {code}, {out / 'strip.png'}, "
          f"{out / 'report.html'}")


# --- 4. many pictures ---


def best_of(examples: list[Example], policy: Chat, judge: VisualERM, n: int,
            temperature: float) -> list[list[Round]]:
    """The other way to spend tokens: histories[i][k] is the best of the first k + 1 drafts."""
    critic = partial(by_judge, judge=judge)
    drafts = [refine(examples, policy, critic, 0, 0.0, temperature) for _ in range(n)]
    histories = []
    for i in range(len(examples)):
        tried = [draft[i][0] for draft in drafts]
        histories.append([answer_of(tried[:k + 1], "best") for k in range(n)])
    return histories


def measure(examples: list[Example], histories: list[list[Round]], rounds: int,
            keep: str) -> list[tuple[float, float]]:
    """[(fidelity, render rate) after each round 0..rounds], averages over examples, 0-100."""
    table = []
    for t in range(rounds + 1):
        scenes = [answer_of(history[:t + 1], keep).rendering.scene for history in histories]
        points = [fidelity_or_zero(one.scene, scene) for one, scene in zip(examples, scenes)]
        rendered = sum(scene is not None for scene in scenes)
        table.append((sum(points) / len(points), 100 * rendered / len(scenes)))
    return table


def evaluate(settings: Settings, preset: dict, out: Path) -> None:
    """Fidelity after each round for every kind of feedback and seed: rounds.csv, table, plot."""
    path = out / "rounds.csv"
    # tokens: all that the policy wrote in the run, the same in each of its rows
    columns = "feedback", "seed", "round", "fidelity", "executes", "tokens"
    rows = runs.read_csv(path) if path.exists() else []  # run_folder leaves it only to --resume
    examples = list(islice(reference_examples(read_pairs(settings.eval), preset), settings.limit))
    if not examples:
        raise InputError(f"{settings.eval} has no picture to refine.")
    policy, judge = load(settings, preset)
    critics = {"none": by_nobody, "self": partial(by_itself, policy=policy),
               "judge": partial(by_judge, judge=judge), "oracle": by_oracle}
    kinds = settings.feedback.split(",")
    seeds = range(settings.seed, settings.seed + settings.seeds)
    done = {(row["feedback"], int(row["seed"])) for row in rows}
    for kind, seed in tqdm([(kind, seed) for kind in kinds for seed in seeds], unit="run"):
        if (kind, seed) in done:
            continue  # before the run was cut short
        torch.manual_seed(seed)
        policy.tokens = 0
        trusted = kind in ("judge", "oracle", "best-of-n")
        if kind == "best-of-n":
            histories = best_of(examples, policy, judge, settings.rounds + 1, settings.temperature)
        else:
            threshold = settings.threshold if trusted else math.inf  # the others use all rounds
            histories = refine(examples, policy, critics[kind], settings.rounds, threshold,
                               settings.temperature)
        keep = settings.keep if trusted else "last"
        for t, (points, rendered) in enumerate(measure(examples, histories, settings.rounds, keep)):
            rows.append({"feedback": kind, "seed": seed, "round": t, "fidelity": f"{points:.2f}",
                         "executes": f"{rendered:.2f}", "tokens": policy.tokens})
        runs.write_csv(path, columns, rows)
    table = rounds_table(rows, settings.rounds)
    runs.write_text(out / "table.md", table + "\n")
    panels = {out.name: rows}
    if settings.compare:
        before = Path(settings.compare)
        panels = {before.name: runs.read_csv(before / "rounds.csv")} | panels
    rounds_plot(out / "rounds.png", panels)
    print(f"{len(examples)} pictures\n{table}\nwritten: {path}, {out / 'table.md'}, "
          f"{out / 'rounds.png'}")


@runs.script
def main(argv: list[str] | None = None) -> None:
    """Refine one picture, or compare kinds of feedback on many."""
    settings = runs.parse(Settings, argv, __doc__, picture=PICTURE)
    if bool(settings.picture) == bool(settings.eval):
        raise InputError("Give one picture, or --eval FOLDER.")
    if settings.picture:
        settings.task = guess_task([settings.picture], settings.task)
    if settings.compare and not Path(settings.compare, "rounds.csv").is_file():
        raise InputError(f"--compare: there is no {settings.compare}/rounds.csv; make it with "
                         "--eval and --out.")
    if unknown := [kind for kind in settings.feedback.split(",") if kind not in FEEDBACK]:
        raise InputError(f"--feedback {unknown[0]!r} is unknown; choose among "
                         f"{', '.join(FEEDBACK)}.")
    if settings.keep not in ("best", "last"):
        raise InputError(f"--keep is best or last, not {settings.keep!r}.")
    preset = preset_for(settings.preset, settings.model, settings.judge)
    if settings.eval:
        with runs.run_folder(settings, free=("feedback", "seeds", "compare")) as out:
            evaluate(settings, preset, out)
    else:
        refine_one(settings.picture, settings, preset)


if __name__ == "__main__":
    sys.exit(main())
