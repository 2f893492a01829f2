r"""Score a policy on public sets, as the paper's tables do: does its code redraw the picture?

    python -m data.hub chartmimic --out runs/chartmimic
    python -m data.score chartmimic=runs/chartmimic --model Qwen/Qwen3-VL-8B-Instruct
    python -m data.score omnidocbench=runs/omnidocbench --predictions answers.jsonl
    python -m data.score unisvg=runs/unisvg --predictions answers.json --measure lpips \
        --measure openai/clip-vit-large-patch14-336
    python -m data.score data/bench --model data/tiny/base --judge data/tiny/judge --limit 30

A row for each policy, 0-100, with 95 % intervals (bootstrap over pictures, the same samples for
every row): the set's own scores, how many programs execute, fidelity. --model may be given several
times, so a base and what was trained of it stand beside each other; with --judge a second row of
each has its programs after --rounds revisions by the judge's feedback (refine.py). --beside takes
the --out of an earlier run. A second table has the differences to the first row.

| set | place | scores |
| --- | --- | --- |
| chartmimic | NAME.py and NAME.png, or the hub's parquet | text, layout, type, color (chart.py) |
| omnidocbench | OmniDocBench.json and images/ | TEDS, TEDS-S, 100 - edit distance, normalised |
| olmocr | *.jsonl of tests and pdfs/ | share of table tests that hold (table.py) |
| unisvg | test.json and png/ | SSIM; LPIPS, CLIP and the set's score with --measure |
| a folder of pairs | pairs.jsonl of data.build | those of its tasks, on the references |

**Predictions.** JSON lines (or a JSON list) with `id`, or `image_path` as UniSVG has it, and
`answer`, `model_answer`, `pred` or `code`; or a folder of files named by id: NAME.py for
chartmimic, PAGE.md (all tables of a page, matched by edit distance) for omnidocbench,
NAME_pg1_repeat1.md for olmocr. Code is taken out of an answer by data/answers.py.

ChartMimic's customized pictures come with an instruction; a --model is asked for the direct ones.

What does not execute, or has no answer, is worth 0 (LPIPS 1) and stays in every mean; the text of a
table is scored whether or not it can be drawn, as published. Fidelity is out of data.compare, of
programs drawn by this project's renderers; references that these cannot draw are left out of it
and counted. Where ours departs from the published scores is said in the three files of this folder.

TEDS as published can be gamed by tags in cells (data/metrics.py). `teds_plain` does not count them:
where it is far below TEDS, look at the answers.
"""
