"""The command line of data.score; what it scores is said in data/score/__init__.py."""
import argparse
import json
import re
import sys
from pathlib import Path

from data.prompts import JUDGE_PROMPTS, with_prompts
from data.runs import script, write_text
from data.verdict import InputError


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, by argparse: HfArgumentParser has no arguments that can be given twice."""
    parser = argparse.ArgumentParser(prog="python -m data.score",
                                     description="Score a policy on a public set.")
    add = parser.add_argument
    add("data", help="chartmimic=FOLDER, omnidocbench=FOLDER, olmocr=FOLDER, unisvg=FOLDER or a "
        "folder of pairs")
    add("--model", action="append", default=[], help="policy: folder, adapter, hub name or URL; "
        "may be given several times")
    add("--predictions", action="append", default=[], metavar="PLACE",
        help="file or folder of ready answers; several times too")
    add("--judge", default="", help="also score each model's programs after revisions by it")
    add("--rounds", type=int, default=3, help="of revision, with --judge (default 3)")
    add("--preset", default="",
        help="tiny, 2b, 4b or 8b; default: tiny for folders here, 8b for others")
    add("--judge_prompts", default="", metavar="PLACE", help=JUDGE_PROMPTS)
    add("--measure", action="append", default=[], metavar="NAME",
        help="lpips, a CLIP model or a vision encoder to compare pictures by; several times too")
    add("--limit", type=int, metavar="N", help="only the first N pictures")
    add("--beside", action="append", default=[], metavar="JSON",
        help="--out of an earlier run, to set beside these rows; several times too")
    add("--out", type=Path, metavar="JSON", help="default: runs/score/<first policy>.json")
    args = parser.parse_args(argv)
    if not (args.model or args.predictions):
        parser.error("nothing to score: give --model or --predictions")
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    if args.judge and not args.model:
        parser.error("--judge revises what a --model writes")
    if args.judge:
        args.judge = with_prompts(args.judge_prompts, args.judge)
    if args.out is None:
        name = (args.model + [Path(place).stem for place in args.predictions])[0]
        args.out = Path("runs/score", re.sub(r"[^\w.-]+", "_", name).strip("_.") + ".json")
    return args


@script
def main(argv: list[str] | None = None) -> None:
    """Score what the command line names."""
    args = arguments(argv)
    results = [result for file in args.beside for result in earlier(file, args.data)]

    from data.models import PRESETS, preset_for  # the slow imports of torch
    from data.score import run

    policies = [(place, run.Predictions(place)) for place in args.predictions]
    preset = PRESETS["tiny"]
    if args.model:
        preset = preset_for(args.preset, *args.model, *([args.judge] if args.judge else []))
    measures = run.load_measures(args.measure)
    names = [*policies, *((model, None) for model in args.model)]
    for name, who in names:
        for judge in ("", args.judge) if who is None and args.judge else ("",):
            one = who or run.Policy(name, preset, judge, args.rounds)
            title = f"{name}, {args.rounds} rounds with {judge}" if judge else name
            number = sum(result["new"] for result in results) + 1
            keep = None if who else args.out.with_suffix(f".answers{number}.jsonl")
            rows = run.evaluate(args.data, one, preset, measures, args.limit, keep)
            results.append({"name": title, "new": True, "rows": rows})
    print(run.tables(results))
    for result in results:
        run.print_left_out(result)
    content = {"data": args.data, "limit": args.limit, "results": [
        {"name": result["name"], "rows": result["rows"],
         "figures": {task: run.summary(result["rows"], task)[0] for task in run.COLUMNS}}
        for result in results]}
    write_text(args.out, json.dumps(content, ensure_ascii=False) + "\n")
    print(f"written: {args.out}")


def earlier(file: str, data: str) -> list[dict]:
    """The results of an earlier run on the same set. Raises InputError."""
    try:
        content = json.loads(Path(file).read_text("utf-8"))
        found = [{"name": one["name"], "new": False, "rows": one["rows"]}
                 for one in content["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--beside {file} is no result of data.score ({error}).") from None
    if content["data"] != data:
        raise InputError(f"--beside {file} was measured on {content['data']}, not on {data}.")
    return found


if __name__ == "__main__":
    sys.exit(main())
