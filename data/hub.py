"""Public data sets as rows of (id, task, image or None, code), from local files or streamed from the hub.

    python -m data.hub                                              # what there is: names, licences, sizes
    python -m data.hub chart2code --out runs/chart2code             # fetch a set and unpack its archives
    python -m data.build --programs chart2code=runs/chart2code --level 3 --n 1000 --out runs/real
    python -m data.build --programs starvector=starvector/svg-emoji --level 2 --n 1000 --out runs/emoji
    python -m data.hub vc-rewardbench --out runs/VC-RewardBench     # pairs of pictures: for data.bench, not data.build

A set's function takes one record as it is published, and the folder it lies in, and returns rows; broken records are
an InputError with file and line. Real code then goes through edit, render and compare like a drawn program. The
pictures of a set are what somebody else's renderer drew (or a scanner saw), so no label is measured on them:
`data.build` renders the code itself and leaves out what does not render. A picture that is not there is None.
Licences and sizes are as found on the sets' own pages; look there again before you publish anything.
"""
import argparse
import html
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from render import extract_code
from data.verdict import InputError


class Row(NamedTuple):
    """One program of a public set; `id` is unique within it as far as the set's own names are."""

    id: str
    task: str
    image: Image.Image | None  # opened, not yet decoded
    code: str


# ---------------------------------------------------------------------------- 1. The sets


def chartmimic(record, folder):
    """4,800 charts redrawn from papers, with Matplotlib code: a benchmark, not to be trained on. Licence: Apache-2.0.

    dataset-iclr.tar.gz: NAME.py beside NAME.png in direct_600, direct_1800, customized_600 and customized_1800. The
    parquet files in preview/ have `Task`, `ExampleID`, `GroundTruthFigureCode` and `GroundTruthFigurePreview`.
    """
    if "file" in record:
        path = folder / record["file"]
        return [Row(f"{path.parent.name}/{path.stem}", "chart", picture(path.with_suffix(".png")), record["text"])]
    return [Row(f"{record['Task']}/{record['ExampleID']}", "chart", picture(record["GroundTruthFigurePreview"]),
                record["GroundTruthFigureCode"])]


def chart2code(record, folder):
    """160,000 charts with Matplotlib code, written by a language model (Chart2Code-160k). Licence: not stated.

    json.tar.gz holds chart2code.json, a list with `id`, `image` (images/...) and `conversations`, whose second
    `value` is the code in a fence; images.tar.gz holds the pictures.
    """
    image = next((found for base in (folder, folder.parent) if (found := picture(base / record["image"]))), None)
    return [Row(str(record["id"]), "chart", image, extract_code("chart", record["conversations"][1]["value"]))]


def pubtabnet(record, folder):
    """501,000 tables of medical articles as HTML, 12.8 GB. Licence: CDLA-Permissive-1.0.

    PubTabNet_2.0.0.jsonl: `filename`, `split`, `html` with `structure` (tokens) and `cells` (tokens of each cell), for
    pictures in train/ and val/. The hub's copy, apoidea/pubtabnet-html, has `image`, `imgid` and `html_table`. Only
    train is read.
    """
    if record.get("split", "train") != "train":
        return []
    if "html_table" in record:
        code = extract_code("table", record["html_table"])
        return [Row(str(record["imgid"]), "table", picture(record["image"]), code)]
    cells, code = iter(record["html"]["cells"]), []
    for token in record["html"]["structure"]["tokens"]:  # <td> or, with spans, "<td", ' colspan="2"', ">"
        code.append(token)
        if token in ("<td>", ">"):                        # of a cell's tokens single characters are text, others tags
            code += [html.escape(t) if len(t) == 1 else t for t in next(cells, {"tokens": ()})["tokens"]]
    image = picture(folder / "train" / record["filename"])
    return [Row(record["filename"], "table", image, f"<table>{''.join(code)}</table>")]


def omnidocbench(record, folder):
    """The tables on 1,651 pages of PDF, as HTML: a benchmark, not to be trained on. Licence: research only.

    OmniDocBench.json lists pages: `page_info` with `image_path` (in images/), `layout_dets` with `category_type`,
    `poly` (four corners, x and y in turn) and, where the type is table, `html`. The picture is cut out of the page.
    """
    page, rows = record["page_info"]["image_path"], []
    scan = picture(folder / "images" / page)
    for n, block in enumerate(record["layout_dets"]):
        if block["category_type"] == "table" and block.get("html") and not block.get("ignore"):
            xs, ys = block["poly"][::2], block["poly"][1::2]
            cut = scan and scan.crop((round(min(xs)), round(min(ys)), round(max(xs)), round(max(ys))))
            rows.append(Row(f"{page}/{n}", "table", cut, extract_code("table", block["html"])))
    return rows


def unisvg(record, folder):
    """The image-to-SVG part of UniSVG's 525,000 questions about SVG. Licence: Apache-2.0.

    JSON lists with `type` (ISVGEN: redraw a picture), `q_text`, `a_text` (the SVG code) and `image_path`, for pictures
    in png.zip. test.json, the benchmark, is passed over.
    """
    if record["type"] != "ISVGEN":
        return []
    return [Row(record["image_path"], "svg", picture(folder / "png" / record["image_path"]),
                extract_code("svg", record["a_text"]))]


def starvector(record, folder):
    """SVG files from the web: svg-stack (2.3 million), svg-emoji, svg-icons, svg-fonts. Licence: not stated.

    Parquet files with `Filename` and `Svg`, no pictures; only train is read. Others than svg-stack are called
    starvector=starvector/svg-emoji and so on.
    """
    return [Row(record["Filename"], "svg", None, record["Svg"])]


def vc_rewardbench(record, folder):
    """1,335 judged pairs of pictures without code, Visual-ERM's benchmark, for data.bench. Licence: Apache-2.0."""
    return []


class Source(NamedTuple):
    rows: object  # function of (record, folder) -> [Row]
    hub: str      # the set's name on the Hugging Face hub
    files: str    # what holds its records in a local folder, beside parquet files; "": it holds no code
    stream: str = ""  # parquet files on the hub that can be read without fetching the set; "": fetch it first
    fetch: str = "*"  # what `fetch` needs of the set


SETS = {
    "chartmimic": Source(chartmimic, "ChartMimic/ChartMimic", "*.py", "preview/*.parquet", "dataset-iclr.tar.gz"),
    "chart2code": Source(chart2code, "xxxllz/Chart2Code-160k", "chart2code.json"),
    "pubtabnet": Source(pubtabnet, "apoidea/pubtabnet-html", "*.jsonl", "data/train-*.parquet", "data/train-*"),
    "omnidocbench": Source(omnidocbench, "opendatalab/OmniDocBench", "OmniDocBench.json"),
    "unisvg": Source(unisvg, "lili24/UniSVG", "*.json"),
    "starvector": Source(starvector, "starvector/svg-stack", "*.jsonl", "data/train-*.parquet", "data/train-*"),
    "vc-rewardbench": Source(vc_rewardbench, "internlm/VC-RewardBench", ""),
}


# ---------------------------------------------------------------------------- 2. Reading


def read_rows(which: str) -> Iterator[Row]:
    """The rows of a set: its name in SETS, or NAME=PLACE, a folder or file here or another name on the hub.

    Raises InputError: no such set or place, nothing in it, a record that is none of this set, no network.
    """
    name, _, place = which.partition("=")
    source, path = named(name), Path(place).expanduser()
    if not source.files:
        raise InputError(f"{name} holds judged pairs and no code: score a judge on it with data.bench.")
    if place and path.exists():
        records, nothing = local_records(source, path), f"{place} holds no {source.files} or *.parquet of {name}."
    elif place and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", place):
        raise InputError(f"There is no folder or file {place!r}; give one, or a name on the hub such as {source.hub}.")
    elif not source.stream:
        raise InputError(f"{name} cannot be streamed from the hub. Fetch it first: python -m data.hub {name} "
                         f"--out runs/{name}; then name the folder: {name}=runs/{name}.")
    else:
        hub, nothing = place or source.hub, f"{which} has no rows."
        records = parquet_records(f"hf://datasets/{hub}/{source.stream}", hub, Path(),
                                  f"{hub!r} is no folder here and could not be read from the Hugging Face hub; check "
                                  "the name and the network")
    at = None
    for at, record, folder in records:
        try:
            yield from (row for row in source.rows(record, folder) if isinstance(row.code, str) and row.code.strip())
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OSError) as error:
            raise InputError(f"{at} is no record of {name} ({type(error).__name__}: {error}).") from error
    if at is None:
        raise InputError(nothing)


def named(name):
    """The Source called `name`. Raises InputError."""
    if name not in SETS:
        raise InputError(f"There is no set {name!r}; choose among {', '.join(SETS)}.")
    return SETS[name]


def local_records(source, path):
    """(where, record, folder) for each record of a file, or of a folder's files except test.json."""
    files = sorted({f for pattern in (source.files, "*.parquet") for f in path.rglob(pattern) if f.name != "test.json"})
    for file in [path] if path.is_file() else files:
        if file.suffix == ".parquet":
            yield from parquet_records([str(file)], file, file.parent, f"{file} is no whole parquet file")
        elif file.suffix == ".py":
            yield str(file), {"file": file.name, "text": file.read_text("utf-8", "replace")}, file.parent
        else:
            for where, record in json_records(file):
                yield where, record, file.parent


def json_records(file):
    """(where, record) for each line of a JSONL file or item of a JSON list, of which one at a time is in memory."""
    with open(file, encoding="utf-8-sig", errors="replace") as lines:
        start = lines.read(1 << 20)
        if start.lstrip().startswith("["):
            yield from list_records(file, lines, start)
            return
        lines.seek(0)
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:
                raise InputError(f"{file}:{number} is not JSON ({error}).") from error
            if record is not None:
                yield f"{file}:{number}", record


def list_records(file, lines, text, longest=1 << 26):
    """The items of a JSON list that begins with `text` and goes on in `lines`; an item has at most 64 MB."""
    decoder, between, at, number = json.JSONDecoder(), re.compile(r"[\s\[,]*"), 0, 1
    while True:
        try:
            at = between.match(text, at).end()
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:                   # most often an item that is not complete yet
            more = lines.read(1 << 20)
            if text[at:].strip() == "]" and not more:
                return
            if not more or len(text) - at > longest:
                raise InputError(f"{file}, record {number} is not JSON, or the file is cut off ({error}).") from error
            text, at = text[at:] + more, 0
        else:
            yield f"{file}, record {number}", record
            number += 1


def parquet_records(files, where, folder, trouble):
    """(where, record, folder) for each row of parquet files, here or on the hub; pictures stay bytes. InputError."""
    from datasets import load_dataset                                   # here: slow to import, and not always needed

    try:
        rows = load_dataset("parquet", data_files=files, split="train", streaming=True).decode(False)
        for number, record in enumerate(rows, 1):
            yield f"{where}, row {number}", record, folder
    except Exception as error:                                          # whatever the network and four libraries raise
        raise InputError(f"{trouble} ({type(error).__name__}).") from error


def picture(value):
    """A picture from a path, or from {"bytes": ...} as parquet files hold it; None if none can be opened."""
    if isinstance(value, dict):
        value = io.BytesIO(value.get("bytes") or b"")
    try:
        return Image.open(value)
    except (OSError, AttributeError, Image.DecompressionBombError):     # AttributeError: value is None
        return None


# ---------------------------------------------------------------------------- 3. Fetching


def fetch(name: str, out: Path) -> None:
    """Download a set into `out` (what is there already is kept) and unpack its archives. Raises InputError."""
    from huggingface_hub import snapshot_download

    source = named(name)
    try:
        snapshot_download(source.hub, repo_type="dataset", local_dir=out, allow_patterns=source.fetch)
    except Exception as error:
        raise InputError(f"{source.hub} could not be fetched from the Hugging Face hub ({type(error).__name__}); check "
                         f"network and disk, and give the same command again: it goes on where it stopped.") from error
    unpack(out)


def unpack(out):
    """Unpack every .tar.gz and .zip of a folder beside itself; nothing is written outside of it. Raises InputError."""
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
            raise InputError(f"{archive} cannot be unpacked ({error}); check the disk, or delete the file and fetch it "
                             "again.") from error


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data.hub", description="Fetch a public data set, or list them.")
    parser.add_argument("name", nargs="?", help="one of the sets; without it they are listed")
    parser.add_argument("--out", type=Path, help="folder for the files; default: runs/NAME")
    args = parser.parse_args(argv)
    if not args.name:
        for name, source in SETS.items():
            how = "streamed or fetched" if source.stream else "to be fetched"
            print(f"{name:15} {source.hub}, {how}\n{'':15} {source.rows.__doc__.splitlines()[0]}")
        return 0
    try:
        out = args.out or Path("runs", args.name)
        fetch(args.name, out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.name} is in {out}; " + (
        f"score a judge on it: python -m data.bench {out} --judge internlm/Visual-ERM --preset 8b"
        if args.name == "vc-rewardbench" else
        f"make pairs of it: python -m data.build --programs {args.name}={out} --level 3 --out runs/real"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
