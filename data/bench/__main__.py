"""The command line of data.bench: `python -m data.bench --help`; what it counts is said in data/bench/__init__.py."""
import argparse
import json
import re
import sys
from pathlib import Path

from data.bench import (always_no_error, ask_judge, match_all, pixel_difference, read_answers, read_pairs, report,
                        table)
from data.bench.matchers import LLMMatcher, match
from data.models import preset_for
from data.verdict import CATEGORIES, InputError


def arguments(argv=None) -> argparse.Namespace:
    """The command line; argparse and not HfArgumentParser, which has no arguments that can be given twice."""
    parser = argparse.ArgumentParser(prog="python -m data.bench", description="Score a judge on VC-RewardBench.")
    add = parser.add_argument
    add("data", help="a .jsonl file with VC-RewardBench's fields, or a folder of them")
    add("--judge", action="append", default=[], metavar="MODEL_OR_URL", help="may be given several times")
    add("--preset", default="", help="row of PRESETS; default: tiny for folders here, 8b for others")
    add("--predictions", action="append", default=[], metavar="FILE", help="ready answers; several times too")
    add("--baselines", action="store_true", help="add 'always no error' and 'pixel difference' to the table")
    add("--matcher", nargs=2, metavar=("URL", "MODEL"), help="match by a language model instead of offline")
    add("--limit", type=int, metavar="N", help="only N pairs, spread evenly")
    add("--out", type=Path, metavar="JSON", help="default: runs/bench/<name of the first judge or file>.json")
    args = parser.parse_args(argv)
    if not (args.judge or args.predictions or args.baselines):
        parser.error("nothing to score: give --judge, --predictions or --baselines")
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    if args.out is None:
        name = (args.judge + [Path(f).stem for f in args.predictions] + ["baselines"])[0]
        args.out = Path("runs/bench", re.sub(r"[^\w.-]+", "_", name).strip("_.") + ".json")
    return args


def run(args: argparse.Namespace) -> list[dict]:
    """Answer, match, score; the rows of the table. Raises InputError."""
    pairs = read_pairs(args.data, check_images=bool(args.judge or args.baselines))
    answered = [(file, read_answers(file, pairs)) for file in args.predictions]  # first what can fail at once
    n = min(args.limit or len(pairs), len(pairs))
    chosen = [i * len(pairs) // n for i in range(n)]
    pairs, answered = [pairs[i] for i in chosen], [(file, [all_[i] for i in chosen]) for file, all_ in answered]
    matcher, workers = match, 1
    if args.matcher:
        matcher, workers = LLMMatcher(*args.matcher, cache=args.out.parent / "matcher.jsonl"), 8
    kinds = ", ".join(f"{sum(p.task == task for p in pairs)} {task}" for task in CATEGORIES)
    print(f"{args.data}: {len(pairs)} pairs ({kinds}), {sum(not p.true.errors for p in pairs)} of them without errors; "
          f"matcher: {args.matcher[1] if args.matcher else 'offline'}", flush=True)
    for n, judge in enumerate(args.judge):
        file = args.out.with_suffix(f".answers{n + 1 if n else ''}.jsonl")
        print(f"the answers of {judge} go to {file}", flush=True)
        preset = preset_for(args.preset, judge)
        answered.insert(n, (judge, ask_judge(judge, preset, pairs, file)))
    if args.baselines:
        answered += [("always no error", always_no_error(pairs)), ("pixel difference", pixel_difference(pairs))]
    rows = [report(judge, match_all(pairs, verdicts, matcher, workers)) for judge, verdicts in answered]
    if args.matcher:
        print(f"matcher: {matcher.asked} questions asked; {matcher.fell_back} pairs fell back to the offline matcher "
              "because its answers could not be read")
    return rows


def main(argv=None) -> int:
    args = arguments(argv)
    try:
        rows = run(args)
        print(table(rows))
        for row in rows:
            average = row["scores"]["average"]
            if average["dropped_predicted"] or average["dropped_true"]:
                print(f"{row['judge']}: {average['dropped_predicted']} predicted and {average['dropped_true']} true "
                      "errors dropped (category not of the task)")
            if row["unreadable"]:
                other = row["scores_unreadable_as_no_error"]["average"]
                print(f"{row['judge']}: {row['unreadable']} answers unreadable or missing, left out; counted as "
                      f"\"no error\" the average F1h would be {100 * other['f1h']:.1f}")
        args.out.parent.mkdir(parents=True, exist_ok=True)
        content = {"data": str(args.data), "matcher": args.matcher or "offline", "limit": args.limit, "rows": rows}
        temporary = args.out.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8",
                             errors="replace")
        temporary.replace(args.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"A file could not be written: {error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the answers so far are kept, and --predictions scores them.", file=sys.stderr)
        return 130
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
