"""Reports: a self-contained page of images, verdicts and numbers; plots and tables of a log."""
import textwrap
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from data.compare import exact_verdict
from data.pairs import Example, Pair, data_url
from data.runs import read_json, write_text
from data.verdict import CATEGORIES, Verdict
from render import Rendering, draw_alike

STYLE = """:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1rem;margin:0 0 .7rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
article{border:1px solid var(--line);border-radius:12px;padding:1rem 1.2rem;margin:1.2rem 0}
.row{display:flex;flex-wrap:wrap;gap:.6rem 1rem;margin-bottom:.8rem}
figure{margin:0;flex:1 1 14rem;max-width:26rem}figcaption{font-size:.8rem;opacity:.7}
img{width:100%;background:#fff;border:1px solid var(--line);border-radius:6px}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
.row span,pre{background:var(--soft);border-radius:6px;padding:.15rem .6rem}
.s1{color:#b8860b}.s2{color:#d2691e}.s3{color:#d22}
pre{white-space:pre-wrap;font-size:.8rem;padding:.6rem}
summary{cursor:pointer;margin-top:.5rem}
.row>section{flex:1 1 18rem;min-width:0;overflow-x:auto}.row p{margin:.2rem 0}
td:last-child{overflow-wrap:anywhere}.wide{overflow-x:auto}.wide img{min-width:40rem}
@media(max-width:30rem){body{margin:1rem auto}table{font-size:.75rem}
td,th{padding:.2rem}article{padding:.7rem}figure{flex-basis:8rem}}"""

# --- 1. pages ---


def html_report(title: str, cards: list[dict], intro: str = "", opening: str = "") -> str:
    """One self-contained page, everything escaped but `opening`, HTML that stands above the cards.

    A card has `title` and `images` [(caption, image)] and may have `verdicts` {caption: Verdict},
    `beside` [{caption: Verdict}, shown side by side], `values` {name: number or text} and `texts`
    {name: long text, folded}; None is left out.
    """
    page = [f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
            f"<style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(intro)}</p>{opening}"]
    for card in cards:
        page.append(f"<article><h2>{escape(card['title'])}</h2><div class=row>")
        for caption, image in card["images"]:
            page.append(f'<figure><img src="{data_url(image)}" alt="">'
                        f"<figcaption>{escape(caption)}</figcaption></figure>")
        page.append("</div><div class=row>")
        for name, value in card.get("values", {}).items():
            if value is not None:
                page.append(f"<span>{escape(name)} <b>{escape(show(value))}</b></span>")
        page.append("</div>")
        for caption, verdict in card.get("verdicts", {}).items():
            if verdict:
                page += verdict_html(caption, verdict)
        for columns in card.get("beside", []):
            page.append("<div class=row>")
            for caption, verdict in columns.items():
                page += ["<section>", *verdict_html(caption, verdict), "</section>"]
            page.append("</div>")
        for name, text in card.get("texts", {}).items():
            if text:
                page.append(f"<details><summary>{escape(name)}</summary>"
                            f"<pre>{escape(text)}</pre></details>")
        page.append("</article>")
    return "\n".join(page) + "</html>\n"


def verdict_html(caption: str, verdict: Verdict) -> list[str]:
    """A verdict as a table of its errors, or a sentence."""
    lines = [f"<p>{escape(caption)}</p>"] if caption else []
    if not verdict.readable:
        raw = escape(verdict.raw[:2000])
        return [*lines, f"<p class=s3>Unreadable verdict.</p><pre>{raw}</pre>"]
    if not verdict.errors:
        return [*lines, "<p>No difference found.</p>"]
    lines.append("<table><tr><th>severity<th>category<th>location<th>description")
    for error in verdict.errors:
        lines.append(f"<tr><td class=s{error.severity}>{'●' * error.severity}"
                     f"<td>{escape(error.category)}<td>{escape(error.location)}"
                     f"<td>{escape(error.description)}")
    return [*lines, "</table>"]


def show(value: float | str) -> str:
    """A value as text; a float has three decimals."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def verdict_lines(title: str, verdict: Verdict, values: dict) -> str:
    """For the console: a line of values, then a line an error, then an empty one."""
    shown = [f"{name} {show(value)}" for name, value in values.items() if value is not None]
    lines = [f"{title}: {', '.join(shown)}"]
    lines += [f"  {'*' * error.severity:3} {error.category}, {error.location}: {error.description}"
              for error in verdict.errors]
    if not verdict.readable:
        lines.append(f"  unreadable: {verdict.raw[:200]!r}")
    return "\n".join(lines) + "\n"


def pair_card(pair: Pair, images: tuple, verdict: Verdict, values: dict) -> dict:
    """A card of `html_report` for a judged pair: both images, the verdict, the true errors."""
    truth = [f"{error.severity} {error.category}  {error.location}: {error.description}"
             for error in pair.truth.errors]
    return {"title": pair.id, "images": list(zip(("reference", "rendering"), images)),
            "verdicts": {"": verdict}, "values": values,
            "texts": {"true errors": "\n".join(truth), "reference code": pair.reference.code,
                      "code of the rendering": pair.rendering.code}}


# --- 2. logs ---


def curves(path: Path, rows: list[dict], panels: dict[str, list[str]], *,
           labels: dict[str, str] | None = None, log_scale: tuple[str, ...] = ()) -> None:
    """Draw columns of a log against its `step` into a PNG: a panel for each title and its columns.

    A column in `log_scale` gets a logarithmic axis; `labels` are other names for columns.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4), layout="constrained",
                             squeeze=False)
    for ax, (title, columns) in zip(axes[0], panels.items()):
        for column in columns:
            points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
            steps, values = zip(*points) if points else ((), ())
            marker = "o" if len(points) < 30 else ""
            ax.plot(steps, values, marker=marker, label=(labels or {}).get(column, column))
        ax.set(title=title, xlabel="step")
        if len(columns) > 1:
            ax.legend()
        if columns[0] in log_scale:
            ax.set_yscale("log")
    fig.savefig(path, dpi=100)
    plt.close(fig)


# --- 3. an RL run ---


def samples_rows(step: int, group: int, pictures: list[int], codes: list[str], renderings: list,
                 rewards: list[float], advantages: list[float],
                 drafts: list[tuple[str, str]] | None = None) -> list[dict]:
    """The rows of an RL run's samples.jsonl: the programs of a step, best first within a picture.

    `pictures`: their numbers, each with `group` programs that stand together. `drafts`: the draft
    that each program revises and what was said about it.
    """
    rows = []
    for n, picture in enumerate(pictures):
        siblings = range(n * group, (n + 1) * group)
        for i in sorted(siblings, key=lambda i: -rewards[i]):
            error = "" if isinstance(renderings[i], Rendering) else str(renderings[i])
            rows.append({"step": step, "picture": picture, "reward": round(rewards[i], 4),
                         "advantage": round(advantages[i], 4), "error": error, "code": codes[i]})
            if drafts:
                rows[-1] |= dict(zip(("draft", "feedback"), drafts[i]))
    return rows


def rl_pages(out: Path, rows: list[dict], held: list[Example], stages: dict, judge,
             reward: str) -> None:
    """OUT/curves.png and report.html of a finished RL run; `rows` are its log's."""
    fidelity = ["fidelity", "greedy_fidelity"]
    if any(row["revised_fidelity"] for row in rows):
        fidelity.append("revised_fidelity")
    curves(out / "curves.png", rows, {
        f"reward in training: {reward}": ["reward"],
        "held-out reward, fixed scale": ["eval_reward"],
        "fidelity (0-100)": fidelity},
        labels={"fidelity": "sampled programs", "greedy_fidelity": "likeliest programs",
                "revised_fidelity": "revisions"})
    stages_report(out / "report.html", held, stages, judge, reward)


def hacked(before: list[tuple], after: list[tuple]) -> list[int]:
    """Numbers of the held-out pictures whose reward rose and whose fidelity fell, the worst first.

    `before` and `after`: (code, reward, fidelity) for each.
    """
    found = [i for i, (a, b) in enumerate(zip(before, after)) if b[1] > a[1] and b[2] < a[2]]
    return sorted(found, key=lambda i: after[i][2] - before[i][2])


def most_changed(before: list[tuple], after: list[tuple], most: int = 4) -> dict[int, str]:
    """{number of a held-out picture: why it is worth a look}, at most `most` of a kind.

    `before` and `after` as in `hacked`; hacked ones are named after what gained and what else lost
    the most fidelity.
    """
    gained = [b[2] - a[2] for a, b in zip(before, after)]
    order = sorted(range(len(before)), key=gained.__getitem__)
    tricked = hacked(before, after)
    kinds = {"best: most fidelity gained": [i for i in reversed(order) if gained[i] > 0],
             "worst: most fidelity lost": [i for i in order if gained[i] < 0 and i not in tricked],
             "hacked: reward up, fidelity down": tricked}
    return {i: kind for kind, found in kinds.items() for i in found[:most]}


def run_opening(folder: Path, before: list[tuple], after: list[tuple], steps: list[int]) -> str:
    """The top of an RL run's page: what was gained, curves.png, and the settings, folded."""
    lines = []
    for column, name in ((2, "fidelity (0-100)"), (1, "reward")):
        was, now = (sum(one[column] for one in side) / len(side) for side in (before, after))
        up = sum(b[column] > a[column] for a, b in zip(before, after))
        down = sum(b[column] < a[column] for a, b in zip(before, after))
        lines.append(f"<tr><td>{name}<td>{was:.3g}<td>{now:.3g}<td>{up} up, {down} down")
    page = [f"<table><tr><th>mean of {len(before)} held-out pictures<th>step {steps[0]}"
            f"<th>step {steps[-1]}<th>pictures</tr>{''.join(lines)}</table>"]
    if (folder / "curves.png").is_file():
        with Image.open(folder / "curves.png") as image:
            page.append(f'<p class=wide><img src="{data_url(image)}" alt="curves of the run"></p>')
    settings = read_json(folder / "config.json", {}) or {}
    rows = "".join(f"<tr><td>{escape(str(name))}<td>{escape(str(value))}"
                   for name, value in settings.items())
    return "".join([*page, f"<details><summary>settings</summary><table>{rows}</table></details>"])


def stages_report(path: Path, held: list[Example], stages: dict, judge, reward: str) -> None:
    """The page of an RL run: curves and gains, the pictures that changed most, then fixed ones.

    Fixed are the first two held-out pictures of each task. Of each picture three stages are drawn;
    what the judge says and what was measured stand side by side. `stages`: {step: [(code, reward,
    fidelity) for each held-out picture]}. The curves and settings are those beside `path`.
    """
    steps = sorted(stages)
    steps = steps[:1] + steps[1:][-2:]
    before, after = stages[steps[0]], stages[steps[-1]]
    marks = most_changed(before, after)
    for task in CATEGORIES:
        for i in [i for i, example in enumerate(held) if example.task == task][:2]:
            marks.setdefault(i, "fixed")
    wanted = [(i, step) for i in marks for step in steps]
    drawn = draw_alike([held[i] for i, _ in wanted], [stages[step][i][0] for i, step in wanted])
    renderings = {key: one for key, one in zip(wanted, drawn) if isinstance(one, Rendering)}
    asked = [(held[i].task, held[i].image, one.image) for (i, _), one in renderings.items()]
    verdicts = dict(zip(renderings, judge.judge(asked)))
    cards = []
    for i, mark in marks.items():
        example = held[i]
        shown = [step for step in steps if (i, step) in renderings]
        values = {f"step {step}": f"fidelity {stages[step][i][2]:.1f}, reward "
                                  f"{stages[step][i][1]:.2f}" for step in steps}
        images = [("reference", example.image)]
        images += [(f"step {step}", renderings[i, step].image) for step in shown]
        beside = []
        for step in shown:
            beside.append({f"Step {step}, the judge:": verdicts[i, step]})
            if example.scene:
                beside[-1]["True errors:"] = exact_verdict(example.task, example.scene,
                                                           renderings[i, step].scene)
        cards.append({"title": f"{example.task} {i + 1}, {mark}", "images": images,
                      "values": values, "beside": beside,
                      "texts": {"reference code": example.code, "last code": after[i][0]}})
    intro = f"Held-out pictures at the steps {', '.join(map(str, steps))}."
    opening = run_opening(path.parent, before, after, steps)
    write_text(path, html_report(f"GRPO with reward {reward}", cards, intro, opening))


# --- 4. rounds of revision ---


def film_strip(frames: list[tuple[str, Image.Image | None, str]], side: int = 256) -> Image.Image:
    """One image of several, side by side: each with a title above and words below.

    An image is scaled to `side` px; None is a white square.
    """
    small, big = ImageFont.load_default(11), ImageFont.load_default(13)
    texts = []
    for _, _, words in frames:
        lines = [line for row in words.splitlines() for line in textwrap.wrap(row, 42) or [""]]
        texts.append("\n".join(lines))
    height = side + 34 + 15 * max(text.count("\n") + 1 for text in texts)
    strip = Image.new("RGB", (len(frames) * (side + 12) + 12, height + 12), "#f4f4f4")
    pen = ImageDraw.Draw(strip)
    for n, ((title, image, _), text) in enumerate(zip(frames, texts)):
        image = image or Image.new("RGB", (side, side), "white")
        x, scale = 12 + n * (side + 12), side / max(image.size)
        method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        size = [max(1, round(length * scale)) for length in image.size]
        pen.text((x, 6), title, fill="black", font=big)
        strip.paste(image.resize(size, method), (x, 26))
        pen.multiline_text((x, side + 32), text, fill="#a02020", font=small, spacing=3)
    return strip


def _mean_and_spread(rows: list[dict], kind: str, t: int, column: str) -> tuple[float, float]:
    """(mean, half the range) over the seeds."""
    values = [float(row[column]) for row in rows
              if row["feedback"] == kind and int(row["round"]) == t]
    if not values:
        return float("nan"), 0.0
    return sum(values) / len(values), (max(values) - min(values)) / 2


def rounds_table(rows: list[dict], rounds: int) -> str:
    """The rows of a rounds.csv (see refine.py) as Markdown: a line for each kind of feedback.

    Fidelity after each round is the mean and half the range over seeds.
    """
    heads = [f"round {t}" for t in range(rounds + 1)]
    lines = [f"| feedback | {' | '.join(heads)} | executes | tokens |",
             "| --- " * (rounds + 4) + "|"]
    for kind in dict.fromkeys(row["feedback"] for row in rows):
        cells = []
        for t in range(rounds + 1):
            cells.append("{:.1f} ± {:.1f}".format(*_mean_and_spread(rows, kind, t, "fidelity")))
        executes, _ = _mean_and_spread(rows, kind, rounds, "executes")
        tokens, _ = _mean_and_spread(rows, kind, rounds, "tokens")
        lines.append(f"| {kind} | {' | '.join(cells)} | {executes:.1f} % | {tokens:.0f} |")
    return "\n".join(lines)


def rounds_plot(path: Path, runs: dict[str, list[dict]]) -> None:
    """A PNG of fidelity against rounds: a panel for each run, a line for each kind of feedback."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(runs), figsize=(4.5 * len(runs) + 1.5, 3.6), sharey=True,
                             squeeze=False, layout="constrained")
    colors = {}  # a line has the same color in every panel
    for ax, (name, rows) in zip(axes[0], runs.items()):
        rounds = range(1 + max(int(row["round"]) for row in rows))
        for kind in dict.fromkeys(row["feedback"] for row in rows):
            points = [_mean_and_spread(rows, kind, t, "fidelity") for t in rounds]
            values, spreads = zip(*points)
            color = colors.setdefault(kind, f"C{len(colors)}")
            ax.errorbar(rounds, values, spreads, label=kind, capsize=3, marker="o", color=color)
        ax.set(title=name, xlabel="round", xticks=rounds)
    axes[0][0].set(ylabel="fidelity (0-100)")
    fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right center")
    fig.savefig(path, dpi=100)
    plt.close(fig)
