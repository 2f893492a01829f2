"""The command line of data.bench; what it counts is said in data/bench/__init__.py."""
import argparse
import re
import sys
from pathlib import Path

from data.bench import evaluate
from data.bench.scores import RULES
from data.prompts import JUDGE_PROMPTS, with_prompts
from data.runs import script


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, by argparse: HfArgumentParser has no arguments that can be given twice."""
    parser = argparse.ArgumentParser(prog="python -m data.bench",
                                     description="Score a judge on VC-RewardBench.")
    add = parser.add_argument
    add("data", help="a .jsonl file with VC-RewardBench's fields, or a folder of them")
    add("--judge", action="append", default=[], metavar="MODEL_OR_URL",
        help="may be given several times")
    add("--preset", default="",
        help="tiny, 2b, 4b or 8b; default: tiny for folders here, 8b for others")
    add("--judge_prompts", default="", metavar="PLACE", help=JUDGE_PROMPTS)
    add("--predictions", action="append", default=[], metavar="FILE",
        help="ready answers; several times too")
    add("--baselines", action="store_true",
        help="add 'always no error' and 'pixel difference' to the table")
    add("--matcher", nargs=2, metavar=("URL", "MODEL"),
        help="match by a language model instead of offline")
    add("--rules", choices=RULES, default=RULES[0],
        help="how errors are counted: as here, or as the paper's script does")
    add("--categories", action="store_true", help="print the figures of each category, too")
    add("--limit", type=int, metavar="N", help="only N pairs, spread evenly")
    add("--out", type=Path, metavar="JSON",
        help="default: runs/bench/<name of the first judge or file>.json")
    args = parser.parse_args(argv)
    if not (args.judge or args.predictions or args.baselines):
        parser.error("nothing to score: give --judge, --predictions or --baselines")
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    args.judge = [with_prompts(args.judge_prompts, judge) for judge in args.judge]
    if args.out is None:
        name = (args.judge + [Path(f).stem for f in args.predictions] + ["baselines"])[0]
        args.out = Path("runs/bench", re.sub(r"[^\w.-]+", "_", name).strip("_.") + ".json")
    return args


@script
def main(argv: list[str] | None = None) -> None:
    """Score what the command line names."""
    args = arguments(argv)
    try:
        evaluate(args.data, judges=args.judge, preset=args.preset, predictions=args.predictions,
                 baselines=args.baselines, llm_matcher=args.matcher, limit=args.limit,
                 rules=args.rules, categories=args.categories, out=args.out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped; the answers so far are kept, and --predictions scores "
                                "them.") from None


if __name__ == "__main__":
    sys.exit(main())
