"""data/bench/scores.py: the published rules, intervals, rank correlation."""
import json

import numpy as np
import pytest
import scipy.stats

from conftest import ROOT
from data import bench
from data.bench.__main__ import main
from data.bench.scores import figures, interval, resamples, score, spearman, strict, tally
from data.verdict import Discrepancy

# 36 pairs with answers as bad as answers are, and the figures that the published script (with the
# offline matcher in its language model's place) gave for them, to the last digit.
PUBLISHED, *ROWS = [json.loads(line) for line in open(ROOT / "tests/published_scoring.jsonl")]
EXPECTED = PUBLISHED["figures"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The rows of a run by the published rules and of one by ours: (published, ours)."""
    folder = tmp_path_factory.mktemp("rules")
    pictures = {"gt_img_path": "a.png", "pred_img_path": "b.png"}  # not opened
    pairs = [row | pictures for row in ROWS]
    answers = [{"id": row["id"], "pred_json": row["answer"]} for row in ROWS]
    for name, lines in (("pairs", pairs), ("answers", answers), ("fewer", answers[::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    rows = []
    for rules in ("published", "ours"):
        out = folder / f"{rules}.json"
        command = [folder / "pairs.jsonl", "--rules", rules, "--out", out, "--categories"]
        for name in ("answers", "fewer"):
            command += ["--predictions", folder / f"{name}.jsonl"]
        assert main(list(map(str, command))) == 0
        rows.append(json.loads(out.read_text())["rows"])
    return rows


def test_the_published_rules_give_the_published_figures(scored):
    row = scored[0][0]
    assert row["left_out"] == EXPECTED["left_out"] == 1
    for task in ("chart", "table", "svg", "average"):
        groups = [(row["scores"][task], EXPECTED[task])]
        groups += [(row["scores"][task]["categories"][name], one)
                   for name, one in EXPECTED[task]["categories"].items()]
        for ours, theirs in groups:
            for name in ("f1h", "f1s", "sc"):
                if name in theirs:
                    assert ours[name] == pytest.approx(theirs[name], abs=1e-9), (task, name)


def test_our_rules_give_other_figures(scored):
    published, ours = (one[0]["scores"]["average"] for one in scored)
    assert published["pairs"] == 35 and ours["pairs"] < 35
    assert ours["f1h"] != published["f1h"] and ours["sc"] != published["sc"]


def test_each_figure_lies_in_its_interval_and_beside_its_difference(scored):
    for row in [row for rows in scored for row in rows]:
        for task, scores in row["scores"].items():
            for name, bounds in scores["intervals"].items():
                assert (bounds is None) == (scores[name] is None)
                if bounds:
                    assert -1 <= bounds[0] <= scores[name] <= bounds[1] <= 1
    first, second = scored[1]
    found = second["more_than_first"]["average"]["f1h"]
    both = [row["scores"]["average"] for row in (first, second)]
    assert found["difference"] == pytest.approx(both[1]["f1h"] - both[0]["f1h"])
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]


@pytest.mark.parametrize("rules, expected", [
    ("ours", ["chart", "table", "svg", "average"]), ("published", ["average: text_error"])])
def test_the_tables_that_are_printed(scored, rules, expected):
    text = bench.table_of_intervals(scored[rules == "ours"], categories=rules == "published")
    named = [line.split("|")[2].strip() for line in text.splitlines()]
    assert set(expected) <= set(named)
    assert "more than" in bench.table_of_differences(scored[0])


STRICT = [  # task, an answer, [(category, severity)]; None: the pair is left out
    ("chart", '```json\n{"errors": [{"category": "data_error", "severity": "2"}]}\n```',
     [("data_error", 2.0)]),
    ("chart", 'Well: {"errors": [{"category": "data_error", "severity": "severe"}]}.',
     [("data_error", 0.0)]),
    ("chart", '{"errors": [{"category": "Data error", "severity": 2}]}', []),
    ("chart", '{"errors": [{"type": "", "category": "data_error"}]}', [("data_error", 0.0)]),
    ("table", '{"errors": [{"type": "text_error", "severity": 9}, {"type": "text_error", '
              '"severity": 9}]}', [("text_error", 9.0)] * 2),
    ("table", '{"errors": [{"type": "text_error", "severity": 1}', []),
    ("table", '{"errors": null}', []), ("table", "null", []), ("table", "", []),
    ("table", '[{"type": "text_error", "severity": 1}]', None),
    ("table", "[]", []), ("table", "3", None), ("table", '{"errors": {"a": 1}}', None),
    ("table", '{"errors": ["text_error"]}', None),
]


@pytest.mark.parametrize("task, answer, expected", STRICT)
def test_strict(task, answer, expected):
    errors = strict(task, answer)
    assert (errors and [(e.category, e.severity) for e in errors]) == (expected or errors)
    assert (errors is None) == (expected is None) and len(errors or []) == len(expected or [])


def test_the_published_corner_cases():
    """Nothing at all: F1s is 0 there; partial matches alone: F1h is 1 there."""
    nothing, partial = [0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 2, 2]
    for counts, ours, published in ((nothing, (1, 1), (1, 0)), (partial, (0, 1), (1, 1))):
        for rules, expected in (("ours", ours), ("published", published)):
            found = figures(np.array([counts], float), np.ones((1, 1)), rules)
            assert (found["f1h"][0], found["f1s"][0]) == expected


@pytest.mark.parametrize("tallies, alarm", [
    # yes, partial, FP, FN; of three wrong pairs two are reported, of two right ones one is not
    ([(1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 1, 0), (0, 0, 0, 0)], (2 / 3 + 1 / 2) / 2),
    ([(0, 1, 0, 0), (0, 0, 0, 0)], 1.0), ([(0, 0, 0, 1), (0, 0, 1, 0)], 0.0),
    ([(0, 0, 1, 1), (0, 0, 1, 0)], 0.5),        # a judge that always finds something
    ([(1, 0, 0, 0)], None)])                    # no pair without an error
def test_is_there_an_error(tallies, alarm):
    table = np.array([(*counts, 0, 0) for counts in tallies], float)
    found = figures(table, np.ones((1, len(table))))["alarm"][0]
    assert np.isnan(found) if alarm is None else found == pytest.approx(alarm)


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 80):
        x, y = rng.integers(0, 6, (2, n))
        if len(set(x)) > 1 < len(set(y)):
            assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert spearman([1, 1], [1, 2]) is spearman([], []) is None


def test_intervals_are_those_of_samples_drawn_with_repetition():
    """Each resampled figure is that of the items written down as often as they were drawn."""
    rng = np.random.default_rng(1)
    items = []
    for _ in range(12):
        true, predicted = rng.integers(0, 3, 2)
        yes = min(true, predicted)
        matches = [{"level": rng.choice(["yes", "partial"])} for _ in range(yes)]
        items.append({"true": [0] * true, "predicted": [0] * predicted, "matches": matches,
                      "severity_true": int(true), "severity_predicted": int(2 * predicted)})
    row, sampled = score(items)
    for b, times in enumerate(resamples(12)[:20]):
        written = [item for item, count in zip(items, times) for _ in range(count)]
        again, _ = score(written)
        for name in ("f1h", "f1s", "sc", "spearman"):
            assert again[name] == pytest.approx(sampled[name][b], nan_ok=True)
    assert row["intervals"]["f1h"] == pytest.approx(np.percentile(sampled["f1h"], [2.5, 97.5]))
    assert interval(np.array([np.nan])) is None


def test_the_width_of_an_interval_is_scipys():
    """The bootstrap of a library, on F1 of 60 pairs."""
    rng = np.random.default_rng(2)
    tallies = np.column_stack([rng.integers(0, 3, (60, 4)), rng.integers(0, 9, (60, 2))]) * 1.0

    def f1h(index, axis=-1):
        chosen = tallies[index.astype(int)].sum(axis if axis >= 0 else index.ndim - 1)
        return 2 * chosen[..., 0] / (2 * chosen[..., 0] + chosen[..., 2] + chosen[..., 3])

    found = scipy.stats.bootstrap((np.arange(60),), f1h, n_resamples=4000, method="percentile",
                                  vectorized=True, rng=np.random.default_rng(3))
    ours = interval(figures(tallies, resamples(60))["f1h"])
    assert ours == pytest.approx(list(found.confidence_interval), abs=0.012)


def test_a_category_counts_its_own_errors():
    errors = [vars(Discrepancy(name, severity, "", ""))
              for name, severity in (("text_error", 2), ("data_error", 3), ("text_error", 1))]
    item = {"true": errors[:2], "predicted": errors[1:], "severity_true": 5,
            "severity_predicted": 4, "matches": [{"true": 1, "predicted": 0, "level": "yes"}]}
    assert tally(item) == [1, 0, 1, 1, 4, 5]
    assert tally(item, "text_error") == [0, 0, 1, 1, 1, 2]
    assert tally(item, "data_error") == [1, 0, 0, 0, 3, 3]
    assert tally(item, "style_error") == [0] * 6
