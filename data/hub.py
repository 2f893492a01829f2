"""Public data sets as rows of (id, task, image or None, code), from local files or the hub.

    python -m data.hub                                     # lists the sets: licences, sizes
    python -m data.hub chart2code --out runs/chart2code    # fetches a set, unpacks its archives
    python -m data.build --programs chart2code=runs/chart2code --level 3 --out runs/real
    python -m data.build --programs starvector=starvector/svg-emoji --level 2 --out runs/emoji
    python -m data.hub vc-rewardbench --out runs/VC-RewardBench

The last set holds pairs of images without code: it is for data.bench, not for data.build.

A set's function takes one record as it is published and the folder that holds it, and returns rows.
A broken record raises InputError with file and line. Real code then goes through edit, render and
compare like a drawn program. The images of a set come from another renderer (or a scanner), so no
label is measured on them: `data.build` renders the code itself and leaves out what does not render.
A missing image is None. Licences and sizes are as found on the sets' own pages; check them there
before you publish anything.
"""
import argparse
import html
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from PIL import Image

from data.pairs import read_jsonl
from data.runs import script
from data.verdict import InputError
from render import extract_code


class Row(NamedTuple):
    """One program of a public set; `id` is unique within it as far as the set's own names are."""

    id: str
    task: str
    image: Image.Image | None  # opened, not yet decoded
    code: str


# --- 1. the sets ---


def chartmimic(record: dict, folder: Path) -> list[Row]:
    """4,800 charts with Matplotlib code: a benchmark, not for training. Licence: Apache-2.0.

    The charts are redrawn from papers.

    dataset-iclr.tar.gz: NAME.py beside NAME.png in direct_600, direct_1800, customized_600 and
    customized_1800. The parquet files in preview/ have `Task`, `ExampleID`, `GroundTruthFigureCode`
    and `GroundTruthFigurePreview`.
    """
    if "file" in record:
        path = folder / record["file"]
        image = open_image(path.with_suffix(".png"))
        return [Row(f"{path.parent.name}/{path.stem}", "chart", image, record["text"])]
    image = open_image(record["GroundTruthFigurePreview"])
    name = f"{record['Task']}/{record['ExampleID']}"
    return [Row(name, "chart", image, record["GroundTruthFigureCode"])]


def chart2code(record: dict, folder: Path) -> list[Row]:
    """160,000 charts with Matplotlib code by a language model. Licence: not stated.

    Chart2Code-160k: json.tar.gz holds chart2code.json, a list with `id`, `image` (images/...) and
    `conversations`, whose second `value` is the code in a fence; images.tar.gz holds the images.
    """
    image = open_image(folder / record["image"]) or open_image(folder.parent / record["image"])
    answer = record["conversations"][1]
    if answer.get("from", "gpt") not in ("gpt", "assistant"):
        raise ValueError("its second turn is no answer")
    code = extract_code("chart", answer["value"])
    return [Row(str(record["id"]), "chart", image, code)]


STRUCTURE = re.compile(r"</?(thead|tbody|tr|td)>|<td| (colspan|rowspan)=\"\d+\"|>")  # tokens


def pubtabnet(record: dict, folder: Path) -> list[Row]:
    """501,000 tables of medical articles as HTML, 12.8 GB. Licence: CDLA-Permissive-1.0.

    PubTabNet_2.0.0.jsonl: `filename`, `split`, `html` with `structure` (tokens) and `cells` (tokens
    of each cell), for images in train/ and val/. The hub's copy, apoidea/pubtabnet-html, has
    `image`, `imgid` and `html_table`. Only train is read.
    """
    if record.get("split", "train") != "train":
        return []
    if "html_table" in record:
        code = extract_code("table", record["html_table"])
        return [Row(str(record["imgid"]), "table", open_image(record["image"]), code)]
    cells, code = iter(record["html"]["cells"]), []
    for token in record["html"]["structure"]["tokens"]:
        if not STRUCTURE.fullmatch(token):  # "<td></td>", "<td>[": how other sets lay out cells
            raise ValueError(f"its structure has the token {token!r}")
        code.append(token)
        if token in ("<td>", ">"):  # with spans a cell is "<td", ' colspan="2"', ">"
            cell = next(cells, None)
            if cell is None:
                raise ValueError("it has fewer cells than its structure")
            for part in cell["tokens"]:  # single characters are text, others tags
                code.append(html.escape(part) if len(part) == 1 else part)
    if next(cells, None) is not None:
        raise ValueError("it has more cells than its structure")
    image = open_image(folder / "train" / record["filename"])
    return [Row(record["filename"], "table", image, f"<table>{''.join(code)}</table>")]


def omnidocbench(record: dict, folder: Path) -> list[Row]:
    """Tables on 1,651 PDF pages, as HTML: a benchmark, not for training. Licence: research only.

    OmniDocBench.json lists pages: `page_info` with `image_path` (in images/), `layout_dets` with
    `category_type`, `poly` (four corners, x and y in turn) and, where the type is table, `html`.
    The image is cut out of the page.
    """
    page, rows = record["page_info"]["image_path"], []
    scan = open_image(folder / "images" / page)
    for n, block in enumerate(record["layout_dets"]):
        if block["category_type"] == "table" and block.get("html") and not block.get("ignore"):
            xs, ys = block["poly"][::2], block["poly"][1::2]
            box = [round(bound) for bound in (min(xs), min(ys), max(xs), max(ys))]
            cut = scan and scan.crop(box)
            rows.append(Row(f"{page}/{n}", "table", cut, extract_code("table", block["html"])))
    return rows


def unisvg(record: dict, folder: Path) -> list[Row]:
    """The image-to-SVG part of UniSVG's 525,000 questions about SVG. Licence: Apache-2.0.

    JSON lists with `type` (ISVGEN: redraw an image), `q_text`, `a_text` (the SVG code) and
    `image_path`, for images in png.zip. test.json, the benchmark, is not read.
    """
    if record["type"] != "ISVGEN":
        return []
    image = open_image(folder / "png" / record["image_path"])
    return [Row(record["image_path"], "svg", image, extract_code("svg", record["a_text"]))]


def starvector(record: dict, folder: Path) -> list[Row]:
    """SVG files from the web: svg-stack (2.3 million) and others. Licence: not stated.

    Parquet files with `Filename` and `Svg`, no images; only train is read. The others are
    svg-emoji, svg-icons and svg-fonts: starvector=starvector/svg-emoji and so on.
    """
    return [Row(record["Filename"], "svg", None, record["Svg"])]


def vc_rewardbench(record: dict, folder: Path) -> list[Row]:
    """1,335 judged pairs of images, no code: for data.bench. Licence: Apache-2.0.

    It is Visual-ERM's benchmark.
    """
    return []


class Source(NamedTuple):
    """A public set: where it is, and how its records become rows."""

    rows: Callable[[dict, Path], list[Row]]  # (record, folder) -> rows
    hub: str  # the set's name on the Hugging Face hub
    files: str  # records in a local folder, beside parquet files; "": the set holds no code
    stream: str = ""  # parquet files on the hub to read without a fetch; "": fetch it first
    fetch: str = "*"  # what `fetch` needs of the set


TRAIN = "data/train-*.parquet", "data/train-*"
SETS = {
    "chartmimic": Source(chartmimic, "ChartMimic/ChartMimic", "*.py", "preview/*.parquet",
                         "dataset-iclr.tar.gz"),
    "chart2code": Source(chart2code, "xxxllz/Chart2Code-160k", "chart2code.json"),
    "pubtabnet": Source(pubtabnet, "apoidea/pubtabnet-html", "*.jsonl", *TRAIN),
    "omnidocbench": Source(omnidocbench, "opendatalab/OmniDocBench", "OmniDocBench.json"),
    "unisvg": Source(unisvg, "lili24/UniSVG", "*.json"),
    "starvector": Source(starvector, "starvector/svg-stack", "*.jsonl", *TRAIN),
    "vc-rewardbench": Source(vc_rewardbench, "internlm/VC-RewardBench", ""),
}


# --- 2. reading ---

Records = Iterator[tuple[str, dict, Path]]  # (where it stands, record, folder)


def read_rows(which: str) -> Iterator[Row]:
    """The rows of a set: NAME in SETS, or NAME=PLACE, a folder or file here or a name on the hub.

    Raises InputError: no such set or place, nothing in it, a record of another form, no network.
    """
    name, _, place = which.partition("=")
    source, path = find_source(name), Path(place).expanduser()
    if not source.files:
        raise InputError(f"{name} holds judged pairs and no code: score a judge on it with "
                         "data.bench.")
    if place and path.exists():
        records = local_records(source, path)
        nothing = f"{place} holds no {source.files} or *.parquet of {name}."
    elif place and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", place):
        raise InputError(f"There is no folder or file {place!r}; give one, or a name on the hub "
                         f"such as {source.hub}.")
    elif not source.stream:
        raise InputError(f"{name} cannot be streamed from the hub. Fetch it first: python -m "
                         f"data.hub {name} --out runs/{name}; then name the folder: "
                         f"{name}=runs/{name}.")
    else:
        hub, nothing = place or source.hub, f"{which} has no rows."
        trouble = (f"{hub!r} is no folder here and could not be read from the Hugging Face hub; "
                   "check the name and the network")
        files = f"hf://datasets/{hub}/{source.stream}"
        records = parquet_records(files, hub, Path(), trouble)
    at = None
    for at, record, folder in records:
        try:
            for row in source.rows(record, folder):
                if isinstance(row.code, str) and row.code.strip():
                    yield row
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{at} is no record of {name} ({reason}).") from error
    if at is None:
        raise InputError(nothing)


def find_source(name: str) -> Source:
    """The Source called `name`. Raises InputError."""
    if name not in SETS:
        raise InputError(f"There is no set {name!r}; choose among {', '.join(SETS)}.")
    return SETS[name]


def local_records(source: Source, path: Path) -> Records:
    """The records of a file, or of a folder's files except test.json."""
    files = {path}
    if not path.is_file():
        files = {*path.rglob(source.files), *path.rglob("*.parquet")}
        files = {file for file in files if file.name != "test.json"}
    for file in sorted(files):
        if file.suffix == ".parquet":
            trouble = f"{file} is no whole parquet file"
            yield from parquet_records([str(file)], str(file), file.parent, trouble)
        elif file.suffix == ".py":
            record = {"file": file.name, "text": file.read_text("utf-8", "replace")}
            yield str(file), record, file.parent
        else:
            for where, record in json_records(file):
                yield where, record, file.parent


def json_records(file: Path) -> Iterator[tuple[str, dict]]:
    """(where, record) for each line of a JSONL file or item of a JSON list, read one at a time."""
    with open(file, encoding="utf-8-sig", errors="replace") as lines:
        start = lines.read(1 << 20)
        if start.lstrip().startswith("["):  # these can be too long for the memory
            yield from list_records(file, lines, start)
            return
    yield from read_jsonl(file)


def list_records(file: Path, lines: TextIO, text: str,
                 longest: int = 1 << 26) -> Iterator[tuple[str, dict]]:
    """(where, item) of a JSON list that begins with `text` and goes on in `lines`.

    An item has at most `longest` characters, 64 million.
    """
    decoder, between = json.JSONDecoder(), re.compile(r"[\s\[,]*")
    at, number = 0, 1
    while True:
        try:
            at = between.match(text, at).end()
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:  # most often an item that is not complete yet
            more = lines.read(1 << 20)
            if text[at:].strip() == "]" and not more:
                return
            if not more or len(text) - at > longest:
                raise InputError(f"{file}, record {number} is not JSON, or the file is cut off "
                                 f"({error}).") from error
            text, at = text[at:] + more, 0
        else:
            yield f"{file}, record {number}", record
            number += 1


def parquet_records(files: str | list[str], where: str, folder: Path, trouble: str) -> Records:
    """The records of parquet files, here or on the hub; their images stay bytes.

    Raises InputError with the sentence `trouble` if they cannot be read.
    """
    from datasets import load_dataset  # here: slow to import, and not always needed

    try:
        rows = load_dataset("parquet", data_files=files, split="train", streaming=True)
        for number, record in enumerate(rows.decode(False), 1):
            yield f"{where}, row {number}", record, folder
    except Exception as error:  # whatever the network and four libraries raise
        raise InputError(f"{trouble} ({type(error).__name__}).") from error


def open_image(value: Path | dict | None) -> Image.Image | None:
    """The image of a path or of {"bytes": ...}, as parquet files hold it; None if there is none."""
    if isinstance(value, dict):
        value = io.BytesIO(value.get("bytes") or b"")
    try:
        return Image.open(value)
    except (OSError, AttributeError, Image.DecompressionBombError):  # AttributeError: value is None
        return None


# --- 3. fetching ---


def fetch(name: str, out: Path) -> None:
    """Download what `out` lacks of a set and unpack the archives. Raises InputError."""
    from huggingface_hub import snapshot_download

    source = find_source(name)
    try:
        snapshot_download(source.hub, repo_type="dataset", local_dir=out,
                          allow_patterns=source.fetch)
    except Exception as error:
        raise InputError(f"{source.hub} could not be fetched from the Hugging Face hub "
                         f"({type(error).__name__}); check network and disk, and give the same "
                         "command again: it goes on where it stopped.") from error
    unpack(out)


def unpack(out: Path) -> None:
    """Unpack every .tar.gz and .zip in the folder `out`; nothing is written outside of it.

    Raises InputError.
    """
    for archive in sorted(out.glob("*.tar.gz")) + sorted(out.glob("*.zip")):
        print(f"unpacking {archive}", file=sys.stderr)
        try:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(out)
            else:
                with tarfile.open(archive) as packed:
                    packed.extractall(out, filter="data")
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise InputError(f"{archive} cannot be unpacked ({error}); check the disk, or delete "
                             "the file and fetch it again.") from error


@script
def main(argv: list[str] | None = None) -> None:
    """Fetch the set that the command line names, or list all."""
    parser = argparse.ArgumentParser(prog="python -m data.hub",
                                     description="Fetch a public data set, or list them.")
    parser.add_argument("name", nargs="?", help="one of the sets; without it they are listed")
    parser.add_argument("--out", type=Path, help="folder for the files; default: runs/NAME")
    args = parser.parse_args(argv)
    if not args.name:
        for name, source in SETS.items():
            how = "streamed or fetched" if source.stream else "to be fetched"
            print(f"{name:15} {source.hub}, {how}")
            print(f"{'':15} {source.rows.__doc__.splitlines()[0]}")
        return
    out = args.out or Path("runs", args.name)
    try:
        fetch(args.name, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped; the same command goes on.") from None
    use = (f"make pairs of it: python -m data.build --programs {args.name}={out} --level 3 "
           "--out runs/real")
    if args.name == "vc-rewardbench":
        use = (f"score a judge on it: python -m data.bench {out} --judge internlm/Visual-ERM "
               "--preset 8b")
    print(f"{args.name} is in {out}; {use}")


if __name__ == "__main__":
    sys.exit(main())
