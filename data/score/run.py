"""Items of a set, who answers, what the answers score, and the tables; see data/score/__init__.py.
"""
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data import hub
from data.answers import extract_code
from data.bench import markdown
from data.bench.scores import interval, resamples
from data.compare import fidelity_or_zero
from data.metrics import teds
from data.pairs import Example, read_jsonl, read_pairs
from data.recogniser import ONLY
from data.score import picture
from data.score.chart import low_level
from data.score.table import edit_distance, grids, normalized, passes, tables_of_page
from data.verdict import InputError
from render import Rendering, draw_alike

CHUNK = 32  # pictures in memory at once
LONGEST = 1024  # px of a picture's longer side

# --- 1. sets ---


@dataclass
class Item(Example):
    """A picture of a set, with what its scores need."""

    page: str = ""  # tables of one page share it
    tests: list[dict] = field(default_factory=list)  # olmOCR's


def read_items(which: str, preset: dict) -> Iterator[Item]:
    """The pictures of NAME=PLACE, or of a folder of pairs. Raises InputError."""
    name, _, place = which.partition("=")
    if name in READERS and not place:
        raise InputError(f"Say where {name} is: {name}=FOLDER. python -m data.hub {name} --out "
                         f"runs/{name} fetches it." if name in hub.SETS else
                         f"Say where {name} is: {name}=FOLDER.")
    if name in READERS:
        yield from READERS[name](Path(place).expanduser())
        return
    if place:
        raise InputError(f"There is no set {name!r} to score on; choose among "
                         f"{', '.join(READERS)}, or give a folder of pairs.")
    from data.build import reference_examples

    for one in reference_examples(read_pairs(which), preset):
        yield Item(one.task, one.image, one.size, one.code, one.scene, one.id)


def _chartmimic(place: Path) -> Iterator[Item]:
    for row in hub.read_rows(f"chartmimic={place}"):
        yield Item("chart", flat(row.image), None, row.code, id=row.id)


def _omnidocbench(place: Path) -> Iterator[Item]:
    for row in hub.read_rows(f"omnidocbench={place}"):
        page = row.id.rpartition("/")[0]
        yield Item("table", flat(row.image), None, row.code, id=row.id, page=page)


def _unisvg(place: Path) -> Iterator[Item]:
    file = place / "test.json" if place.is_dir() else place
    if not file.is_file():
        raise InputError(f"There is no {file}: the pictures to score on are UniSVG's test.json.")
    for where, record in hub.json_records(file):
        try:
            rows = hub.unisvg(record, file.parent)
        except (KeyError, TypeError) as error:
            raise InputError(f"{where} is no record of unisvg ({error!r}).") from error
        for row in rows:
            image = flat(row.image)
            yield Item("svg", image, image and image.size, row.code, id=row.id)


def _olmocr(place: Path) -> Iterator[Item]:
    """The pages with table tests: PDF and page number name one. Pictures are PNGs beside the PDFs.
    """
    tests, files = {}, sorted(place.rglob("*.jsonl")) if place.is_dir() else [place]
    for file in files:
        for where, test in read_jsonl(file):
            if test.get("type") == "table":
                if not all(isinstance(test.get(key), str) for key in ("pdf", "cell")):
                    raise InputError(f"{where}: a table test needs the texts pdf and cell.")
                name = test["pdf"].removesuffix(".pdf") + f"_pg{test.get('page', 1)}"
                tests.setdefault(name, []).append(test)
    if not tests:
        raise InputError(f"{place} holds no table tests of olmOCR-bench (*.jsonl).")
    folder = place if place.is_dir() else place.parent
    for name, of_page in tests.items():
        image = hub.open_image(next(folder.rglob(f"{name}.png"), None))
        yield Item("table", flat(image), None, id=name, tests=of_page)


READERS = {"chartmimic": _chartmimic, "omnidocbench": _omnidocbench, "olmocr": _olmocr,
           "unisvg": _unisvg}


def flat(image: Image.Image | None) -> Image.Image | None:
    """An opened picture in RGB on white, at most LONGEST px a side; None stays None."""
    if image is None:
        return None
    try:
        with image:
            image = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError):
        return None
    image.thumbnail((LONGEST, LONGEST))
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


# --- 2. who answers ---


class Predictions:
    """Ready answers: `answer(items)` gives a text for each, "" where there is none."""

    def __init__(self, place: str):
        self.path, self.answers = Path(place), {}
        if self.path.is_dir():
            files = sorted(path for path in self.path.rglob("*") if path.is_file())
            for file in files:
                name = file.relative_to(self.path).with_suffix("").as_posix()
                name = re.sub(r"_repeat\d+$", "", name)
                self.answers.setdefault(name, file.read_text("utf-8", "replace"))
            return
        for where, row in read_jsonl(self.path):
            name = row.get("id", row.get("image_path"))
            texts = [row[key] for key in ("answer", "model_answer", "pred", "code")
                     if isinstance(row.get(key), str)]
            if name is None or not texts:
                raise InputError(f"{where}: a prediction needs id (or image_path) and answer (or "
                                 "model_answer, pred, code).")
            self.answers[str(name)] = texts[0]

    def answer(self, items: list[Item]) -> list[str]:
        """By id, or by its last part; of a page's text the table that is most like the true one."""
        pages = {}
        for item in items:
            if item.page and item.id not in self.answers:
                pages.setdefault(item.page, []).append(item)
        found = {}
        for page, of_page in pages.items():
            text = self.answers.get(page, self.answers.get(str(Path(page).with_suffix("")), ""))
            tables = tables_of_page(text, [item.code for item in of_page])
            found |= {item.id: table for item, table in zip(of_page, tables)}
        short = [item.id.rpartition("/")[2] for item in items]
        return [self.answers.get(item.id, found.get(item.id, self.answers.get(name, "")))
                for item, name in zip(items, short)]


class Policy:
    """A model; with a judge its programs after revisions by the judge's feedback."""

    def __init__(self, model: str, preset: dict, judge: str = "", rounds: int = 0):
        from data.models import Chat
        from visual_erm import VisualERM

        self.chat, self.rounds = Chat(model, preset), rounds
        if self.chat.recogniser and judge:
            raise InputError(ONLY)
        self.judge = VisualERM(judge, preset, share_with=self.chat) if judge else None

    def answer(self, items: list[Item]) -> list[str]:
        """The likeliest program for each picture, or the best of all rounds."""
        from data.engine import write_programs
        from refine import answer_of, by_judge, refine

        for item in items:
            if item.image is None:
                raise InputError(f"{item.id} has no picture, so no model can redraw it. Pictures "
                                 "of PDF pages are made with pdftoppm -r 150 -png, and named "
                                 "NAME_pg1.png.")
        if self.judge is None:
            return write_programs(self.chat, items)

        def critic(examples, renderings):
            return by_judge(examples, renderings, self.judge)
        histories = refine(items, self.chat, critic, self.rounds, 1.0)
        return [answer_of(history, "best").code for history in histories]


# --- 3. scores ---
# A score of a picture is (value, weight); a figure is the weighted mean.
Scores = dict[str, tuple[float, float]]


def score_items(items: list[Item], answers: list[str], measures: dict[str, Callable]) -> list[dict]:
    """{"id", "task", "page", "scores": Scores} for each picture."""
    codes = [extract_code(item.task, answer) if answer else ""
             for item, answer in zip(items, answers)]
    drawn = draw_alike(items, codes)
    unknown = [item for item in items if item.scene is None and item.code]
    for item, true in zip(unknown, draw_alike(unknown, [item.code for item in unknown])):
        item.scene = true.scene
        if item.image is None and isinstance(true, Rendering):
            item.image = true.image
    rows = []
    for item, answer, code, one in zip(items, answers, codes, drawn):
        scores = {"executes": (float(isinstance(one, Rendering)), 1.0)}
        if item.scene is not None:
            scores["fidelity"] = fidelity_or_zero(item.scene, one.scene) / 100, 1.0
        scores |= SCORES[item.task](item, code, answer, one)
        if item.image is not None:
            for column, measure in measures.items():
                worst = float(column == "lpips")
                value = measure(item.image, one.image) if isinstance(one, Rendering) else worst
                scores[column] = value, 1.0
        rows.append({"id": item.id, "task": item.task, "page": item.page, "scores": scores})
    return rows


def _chart(item, code, answer, drawn) -> Scores:
    if item.scene is None:
        return {}
    nothing = {"axes": [], "painted": []}
    scores = low_level(item.scene, drawn.scene or nothing)
    return {name: (value, 1.0) for name, value in scores.items()}


def _table(item, code, answer, drawn) -> Scores:
    if item.tests:
        tables = grids(answer)
        held = sum(passes(test, tables) for test in item.tests)
        return {"tests": (held / len(item.tests), float(len(item.tests)))}
    true, pred = normalized(item.code), normalized(code) if code else ""
    distance, longest = edit_distance(true, pred)
    return {"teds": (teds(true, pred), 1.0),
            "teds_s": (teds(true, pred, structure_only=True), 1.0),
            "teds_plain": (teds(true, pred, cell_tags=False), 1.0),
            "edit": (1 - distance / max(1, longest), float(longest))}


def _svg(item, code, answer, drawn) -> Scores:
    if item.image is None:
        return {}
    value = picture.ssim(item.image, drawn.image) if isinstance(drawn, Rendering) else 0.0
    return {"ssim": (value, 1.0)}


SCORES = {"chart": _chart, "table": _table, "svg": _svg}


def by_page(rows: list[dict]) -> list[dict]:
    """Rows whose edit distances are those of their pages, as OmniDocBench counts.

    Over a page distances and lengths are added up; the figure is the mean over pages.
    """
    pages = {}
    for row in rows:
        if row["page"] and "edit" in row["scores"]:
            pages.setdefault(row["page"], []).append(row["scores"]["edit"])
    found = []
    for row in rows:
        scores = dict(row["scores"])
        if "edit" in scores:
            parts = pages.get(row["page"], [(scores["edit"][0], 1.0)])
            length = sum(weight for _, weight in parts)
            mean = sum(value * weight for value, weight in parts) / length if length else 1.0
            scores["edit"] = mean, 1.0 / len(parts)
        found.append(row | {"scores": scores})
    return found


def figures(rows: list[dict], times: np.ndarray) -> dict[str, np.ndarray]:
    """{figure: (B,)} in 0-100 of rows, row i taken times[b, i] times; NaN: none has it."""
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row["scores"]):
        pairs = np.array([row["scores"].get(name, (0.0, 0.0)) for row in rows], float)
        weight = times @ pairs[:, 1]
        with np.errstate(invalid="ignore"):
            found[name] = 100 * (times @ pairs.prod(1)) / np.where(weight > 0, weight, np.nan)
    for name, parts in AVERAGES.items():
        if parts.keys() <= found.keys():
            found[name] = sum(share * found[part] for part, share in parts.items())
            if name == "score":  # LPIPS is a distance
                found[name] = found[name] + 100 * 0.2
    return found


AVERAGES = {
    "low_level": dict.fromkeys(("text", "layout", "type", "color"), 1 / 4),
    "average": dict.fromkeys(("teds", "teds_s", "edit"), 1 / 3),
    "score": {"ssim": 0.2, "lpips": -0.2, "clip": 0.6},  # UniSVG's
}
COLUMNS = {  # of the table, by task: those that there are
    "chart": ("text", "layout", "type", "color", "low_level"),
    "table": ("teds", "teds_s", "edit", "average", "teds_plain", "tests"),
    "svg": ("ssim", "lpips", "clip", "score"),
}


# --- 4. tables ---


def summary(rows: list[dict], task: str) -> tuple[dict, dict[str, np.ndarray]]:
    """({figure: {"value", "interval"}} of the rows of a task, {figure: resampled values})."""
    mine = [row for row in by_page(rows) if row["task"] == task]
    values = figures(mine, np.ones((1, len(mine))))
    sampled = figures(mine, resamples(len(mine)))
    told = {name: {"value": float(value[0]), "interval": interval(sampled[name])}
            for name, value in values.items() if not np.isnan(value[0])}
    return told, sampled


def tables(results: list[dict]) -> str:
    """A table for each task, and one of the differences to the first row, in Markdown."""
    parts = []
    for task in COLUMNS:
        several = [(result["name"], result["rows"], *summary(result["rows"], task))
                   for result in results]
        several = [one for one in several if one[2]]
        if not several:
            continue
        named = dict.fromkeys(name for _, _, told, _ in several for name in told)
        columns = [*(name for name in COLUMNS[task] if name in named),
                   *(name for name in named if name not in COLUMNS[task])]
        lines = [[task, "n", *columns]]
        for name, rows, told, _ in several:
            n = sum(row["task"] == task for row in rows)
            cells = [_cell(told[key]["value"], told[key]["interval"]) if key in told else "-"
                     for key in columns]
            lines.append([name, str(n), *cells])
        parts.append(markdown(lines))
        if len(several) > 1:
            parts.append(_differences(task, columns, several))
    return "\n\n".join(parts)


def _differences(task, columns, several):
    first, first_rows, first_told, first_sampled = several[0]
    ids = [row["id"] for row in first_rows if row["task"] == task]
    lines = [[f"{task}: more than {first}", *columns]]
    for name, rows, told, sampled in several[1:]:
        cells = []
        for key in columns:
            if key not in told or key not in first_told:
                cells.append("-")
                continue
            same = [row["id"] for row in rows if row["task"] == task] == ids
            bounds = interval(sampled[key] - first_sampled[key]) if same else None
            cells.append(_cell(told[key]["value"] - first_told[key]["value"], bounds, "+"))
        lines.append([name, *cells])
    return markdown(lines)


def _cell(value, bounds, sign=""):
    text = f"{value:{sign}.1f}"
    return text + (f" [{bounds[0]:{sign}.1f}, {bounds[1]:{sign}.1f}]" if bounds else "")


# --- 5. all of it ---


def chunks(items: Iterator[Item], limit: int | None) -> Iterator[list[Item]]:
    """Parts of at most CHUNK pictures; the tables of one page stay together."""
    items, part = islice(items, limit), []
    for item in items:
        if len(part) >= CHUNK and not (item.page and item.page == part[-1].page):
            yield part
            part = []
        part.append(item)
    if part:
        yield part


def evaluate(which: str, who: Predictions | Policy, preset: dict, measures: dict[str, Callable],
             limit: int | None = None, keep: Path | None = None) -> list[dict]:
    """The rows of `score_items` of a whole set; answers are written to `keep` as they come."""
    rows = []
    if keep:
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.write_text("")
    items = read_items(which, preset)
    if isinstance(who, Policy):  # these come with an instruction, which a model is not shown here
        items = (item for item in items if not item.id.startswith("customized"))
    for part in tqdm(chunks(items, limit), unit="part"):
        answers = who.answer(part)
        if keep:
            with open(keep, "a", encoding="utf-8", errors="replace") as out:
                for item, answer in zip(part, answers):
                    out.write(json.dumps({"id": item.id, "answer": answer}) + "\n")
        rows += score_items(part, answers, measures)
    if not rows:
        raise InputError(f"{which} has no picture to score on.")
    return rows


def load_measures(names: list[str]) -> dict[str, Callable]:
    """{column: function} of those at hand; a sentence on stderr for each that is not."""
    found = {}
    for name in names:
        try:
            column, measure = picture.load_measure(name)
        except InputError as error:
            print(f"--measure {name} is left out. {error}", file=sys.stderr)
        else:
            found[column] = measure
    return found


def print_left_out(result: dict) -> None:
    """Print how many pictures have no fidelity, and what went wrong most often."""
    rows = result["rows"]
    without = sum("fidelity" not in row["scores"] for row in rows)
    if without:
        print(f"{result['name']}: {without} of {len(rows)} pictures have no fidelity: there is no "
              "program of the reference, or it cannot be drawn here")
