"""data.score: small sets in the layouts in which they are published, and the scores behind them."""
import json
import sys
from collections import Counter

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw

from conftest import mistake
from data.metrics import teds
from data.score import run
from data.score.__main__ import main
from data.score.chart import bands, ciede2000, color_score, f1, low_level, texts
from data.score.picture import load_measure, ssim
from data.score.table import edit_distance, grids, normalized, passes, tables_of_page
from data.verdict import InputError
from render import render

HEAD = "import matplotlib.pyplot as plt\n"
BARS = HEAD + ("plt.bar(['A', 'B'], [3, 7], color=['red', 'blue'])\n"
               "plt.title('Sales')\nplt.ylabel('k')")
WORSE = BARS.replace("bar(", "barh(").replace("Sales", "Sale").replace("ylabel", "xlabel")
CELLS = "<tr><td>Year</td><td>Sum</td></tr><tr><td>2024</td><td>12</td></tr>"
TABLE = f"<table>{CELLS}</table>"
OTHER = TABLE.replace("12", "13")
SVG = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
       '<circle cx="4" cy="4" r="3"/></svg>')


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Image.Image):
        return content.save(path)
    if isinstance(content, list) and path.suffix == ".jsonl":
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def figures(out):
    """[(name, {figure: value})] of a run, of the one task that it has."""
    results = json.loads(out.read_text())["results"]
    return [(one["name"], {name: told["value"] for name, told in values.items()})
            for one in results for values in one["figures"].values() if values]


# --- 1. the sets, end to end ---


def test_chartmimic(tmp_path, capsys):
    """A folder of programs for three charts: one right, one worse, one missing."""
    place, answers, out = tmp_path / "set", tmp_path / "answers", tmp_path / "r.json"
    for n in (1, 2, 3):
        write(place / f"direct_600/bar_{n}.py", BARS)
        write(place / f"direct_600/bar_{n}.png", Image.new("RGB", (20, 10), "red"))
    write(answers / "direct_600/bar_1.py", BARS)
    write(answers / "direct_600/bar_2.py", f"```python\n{WORSE}\n```")
    assert main([f"chartmimic={place}", "--predictions", str(answers), "--out", str(out)]) == 0
    [(_, found)] = figures(out)
    # worse: text k of {Sales, k}; the same place; barh for bar; no colour of the same kind
    expected = {"text": (1 + 0.5) / 3, "layout": 2 / 3, "type": 1 / 3, "color": 1 / 3,
                "executes": 2 / 3}
    for name, value in expected.items():
        assert found[name] == pytest.approx(100 * value), name
    assert found["low_level"] == pytest.approx(25 * sum(expected[k] for k in list(expected)[:4]))
    assert 100 / 3 < found["fidelity"] < 200 / 3
    assert "| low_level " in capsys.readouterr().out


def omnidocbench(place):
    pages = []
    for page, tables in (("a.png", [TABLE, OTHER]), ("b.png", [TABLE])):
        blocks = [{"category_type": "table", "poly": [0, 0, 9, 0, 9, 9, 0, 9], "html": html}
                  for html in tables]
        pages.append({"page_info": {"image_path": page}, "layout_dets": blocks})
        write(place / "images" / page, Image.new("RGB", (20, 20), "white"))
    write(place / "OmniDocBench.json", pages)


def test_omnidocbench(tmp_path):
    """Pages in Markdown, their tables in another order; and two runs beside each other."""
    place, answers, out = tmp_path / "set", tmp_path / "answers", tmp_path / "r.json"
    omnidocbench(place)
    # of page a the second table first, with a header section; page b in Markdown, one cell wrong
    head = "<thead><tr><th>Year</th><th style='x'>Sum</th></tr></thead><tbody>"
    write(answers / "a.md", f"# Page\n\n{OTHER}\n\ntext\n\n<table>{head}"
          "<tr><td>2024</td><td>１２</td></tr></tbody></table>\n")
    write(answers / "b.md", "Text\n\n| Year | Sum |\n| --- | --- |\n| 2024 | 19 |\n\nend\n")
    command = [f"omnidocbench={place}", "--predictions", str(answers)]
    assert main([*command, "--out", str(out)]) == 0
    [(_, found)] = figures(out)
    assert found["teds"] == pytest.approx(100 * (1 + 1 + 1 - 0.5 / 6) / 3)
    assert found["teds_s"] == found["executes"] == 100
    length = len(normalized(TABLE))
    assert found["edit"] == pytest.approx(100 * (1 + 1 - 1 / length) / 2)  # a mean over pages
    assert found["average"] == pytest.approx((found["teds"] + 100 + found["edit"]) / 3)
    ready = tmp_path / "ready.jsonl"
    write(ready, [{"id": f"{page}/{n}", "answer": f"<table>{CELLS}</table>"}
                  for page, n in (("a.png", 0), ("a.png", 1), ("b.png", 0))])
    beside = tmp_path / "both.json"
    assert main([command[0], "--predictions", str(ready), "--beside", str(out),
                 "--out", str(beside)]) == 0
    (first, earlier), (second, _) = figures(beside)
    assert (first, earlier) == (str(answers), found) and second == str(ready)


def test_olmocr(tmp_path):
    """Two pages of a PDF, four tests; the third test fails, and a page has no answer."""
    place, answers, out = tmp_path / "set", tmp_path / "answers", tmp_path / "r.json"
    test = {"pdf": "t/doc.pdf", "page": 1, "type": "table", "cell": "2024"}
    write(place / "table_tests.jsonl", [
        test | {"id": "1", "right": "12"}, test | {"id": "2", "up": "Year"},
        test | {"id": "3", "top_heading": "Sum"}, test | {"id": "4", "page": 2},
        {"pdf": "t/doc.pdf", "page": 1, "type": "present", "id": "5", "text": "2024"}])
    write(answers / "t/doc_pg1_repeat1.md", f"Before\n\n{TABLE}\n")
    assert main([f"olmocr={place}", "--predictions", str(answers), "--out", str(out)]) == 0
    [(_, found)] = figures(out)
    assert found == {"tests": pytest.approx(50), "executes": 50}  # 2 of 4 tests, 1 of 2 pages


def test_unisvg(tmp_path, capsys):
    """Answers as its script writes them; what is not at hand leaves its column out."""
    place, ready, out = tmp_path / "set", tmp_path / "answers.json", tmp_path / "r.json"
    write(place / "test.json", [
        {"type": "ISVGEN", "q_text": "Redraw.", "a_text": SVG, "image_path": f"{n}.png"}
        for n in (1, 2)] + [{"type": "ISVGUN_color", "q_text": "?", "a_text": "black",
                             "image_path": "1.png"}])
    for n in (1, 2):
        write(place / f"png/{n}.png", render("svg", SVG, size=(36, 36)).image)
    write(ready, [{"q_text": "Redraw.", "image_path": "1.png", "model_answer": f"```{SVG}```"},
                  {"q_text": "Redraw.", "image_path": "2.png", "model_answer": "<svg"}])
    assert main([f"unisvg={place}", "--predictions", str(ready), "--measure", "lpips",
                 "--out", str(out)]) == 0
    [(_, found)] = figures(out)
    assert found["ssim"] == pytest.approx(50, abs=0.01)
    assert (found["executes"], found["fidelity"]) == (50, 50)
    assert "score" not in found
    assert "--measure lpips is left out. LPIPS needs the package" in capsys.readouterr().err


PUBLISHED = [(81.1, 19.2, 92.5, 87.9), (76.9, 23.3, 92.7, 86.3), (85.2, 12.6, 95.2, 91.6)]


@pytest.mark.parametrize("ssim, lpips, clip, expected", PUBLISHED)
def test_unisvgs_score_is_the_published_one(ssim, lpips, clip, expected):
    """Three rows of the paper's table of SVG (figures of one digit after the point)."""
    scores = {"ssim": (ssim / 100, 1.0), "lpips": (lpips / 100, 1.0), "clip": (clip / 100, 1.0)}
    rows = [{"id": "1", "task": "svg", "page": "", "scores": scores}]
    assert run.summary(rows, "svg")[0]["score"]["value"] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("command, message", [
    (["chartmimic"], "Say where chartmimic is"), (["nothing=x"], "There is no set 'nothing'"),
    (["unisvg={}"], "test.json"), (["olmocr={}"], "holds no table tests"),
    (["chartmimic={}", "--beside", "{}/answers.jsonl"], "is no result of data.score"),
])
def test_mistakes_get_a_sentence(command, message, tmp_path, capsys):
    write(tmp_path / "answers.jsonl", [{"id": "a", "answer": "b"}])
    ready = str(tmp_path / "answers.jsonl")
    _, told = mistake(capsys, main, *(part.format(tmp_path) for part in command),
                      "--predictions", ready, "--out", tmp_path / "r.json")
    assert message in told
    write(tmp_path / "bad.jsonl", [{"answer": "b"}])
    with pytest.raises(InputError, match="a prediction needs id"):
        run.Predictions(tmp_path / "bad.jsonl")


# --- 2. charts ---


def test_text_is_what_matplotlib_is_told_to_draw():
    """Against a log of the renderer's own calls, ticks deleted, as ChartMimic's evaluator keeps."""
    code = HEAD + ("fig, axs = plt.subplots(1, 2, layout='constrained')\n"
                   "axs[0].bar(['A', 'B'], [3, 7], label='bars')\n"
                   "axs[0].set_title('Two\\nlines')\naxs[0].legend(title='Which')\n"
                   "axs[0].set_xlabel('one\\ntwo')\naxs[1].pie([1, 2], labels=['x', 'y'])\n"
                   "axs[1].annotate('peak', (0.2, 0.4))\nfig.suptitle('All of $x^2$')\n")
    drawn = Counter()

    def log(self, gc, x, y, s, *args, **kwargs):
        drawn.update([s])
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import RendererAgg
    with pytest.MonkeyPatch.context() as patch:
        exec(code, {})
        for axes in plt.gcf().axes:
            axes.set_xticks([])
            axes.set_yticks([])
        patch.setattr(RendererAgg, "draw_text", log)
        plt.gcf().canvas.draw()
    plt.close("all")
    assert texts(render("chart", code).scene) == drawn and drawn.total() == 10


GRID = HEAD + "fig = plt.figure()\n"
LAYOUTS = [  # a program's Axes, F1 against two side by side
    ("a = fig.subplots(1, 2); [x.plot([1, 2]) for x in a]", 1),
    ("a = fig.subplots(2, 1); [x.plot([1, 2]) for x in a]", 0),
    ("fig.subplots().plot([1, 2])", 0),
    ("[fig.add_subplot(2, 2, n).plot([1, 2]) for n in (1, 2)]; fig.add_subplot(2, 1, 2).plot([1])",
     0),
]


@pytest.mark.parametrize("code, expected", LAYOUTS)
def test_layout(code, expected):
    true, pred = (render("chart", GRID + part).scene for part in (LAYOUTS[0][0], code))
    assert low_level(true, pred)["layout"] == expected
    assert low_level(pred, pred) == {"text": 0, "layout": 1, "type": 1, "color": 1}


def test_bands_of_a_grid():
    assert bands([(0, 0.4), (0.5, 0.9), (0, 0.9)]) == [(0, 0), (1, 1), (0, 1)]
    assert bands([(0.1, 0.45), (0.12, 0.43), (0.55, 0.9)]) == [(0, 0), (0, 0), (1, 1)]  # a pie
    assert bands([(0, 0.9), (0, 0.9)]) == [(0, 0)] * 2 and bands([]) == []


SHARMA = [  # two colours in CIE Lab and their CIEDE2000 distance, from the paper's table of tests
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (73, 25, -18), 27.1492), ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.441), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize("one, other, expected", SHARMA)
def test_ciede2000_has_the_published_values(one, other, expected):
    assert ciede2000(one, other) == pytest.approx(expected, abs=5e-5)
    assert ciede2000(other, one) == pytest.approx(expected, abs=5e-5)


def test_colors_are_paired_with_the_best_of_their_kind():
    red, blue, dark = "#ff0000", "#0000ff", "#00008b"
    assert color_score({"bars": [red, blue]}, {"bars": [blue, red]}) == 1
    assert 0.8 < color_score({"bars": [red, blue]}, {"bars": [dark, red]}) < 1
    assert color_score({"bars": [red]}, {"line": [red]}) == 0
    assert color_score({"image": ["viridis"]}, {"image": ["magma"]}) == 0
    assert color_score({"bars": [red, blue]}, {"bars": [red]}) == pytest.approx(2 / 3)
    assert f1(0, 0, 0) == 0


# --- 3. tables ---

# OmniDocBench's rules, worked by hand: (a table's rows, rows that are the same to it)
SAME = [
    (CELLS, f"<tbody>{CELLS}</tbody>"), (CELLS, CELLS.replace("<td>", '<td style="a:b" class=c>')),
    (CELLS, CELLS.replace("12", "１２")), (CELLS, CELLS.replace("12", "<span id='x'>12</span>")),
    (CELLS, CELLS.replace("12", "<p>1<sup>2</sup></p>")), (CELLS, CELLS.replace("<tr>", "<tr>\n")),
    ("<tr><td>$x$</td></tr>", "<tr><td><math alttext='x'><mi>y</mi></math></td></tr>"),
    (CELLS, f"<colgroup><col><col></colgroup>{CELLS}"), ("<tr><td>a b</td></tr>",
                                                         "<tr><th>a&nbsp;  b</th></tr>"),
]


@pytest.mark.parametrize("rows, same", SAME)
def test_normalised_tables_are_one_text(rows, same):
    expected = normalized(f"<table>{rows}</table>")
    assert normalized(f"<table border='2'>{same}</table>") == expected
    assert normalized(f"Text.\n<table>{same}</table>\nMore.") == expected


def test_normalisation_by_its_text():
    code = ("<table><tr><td colspan='2' rowspan=\"2\" width=3>a &lt; b<br>\n <b>c</b></td>"
            "<td><div id='q'>d</div><img src='e.png'></td></tr></table>")
    assert normalized(code) == (
        '<html><body><table border="1" ><tr><td colspan="2" rowspan="2">a < b<br/><b>c</b></td>'
        '<td><div id="q">d<img src="e.png"/></td></tr></table></body></html>')
    assert normalized("no table") == ""
    assert normalized("| Year | Sum |\n|-|-|\n| 2024 | 12 |") == normalized(TABLE)
    # a header section costs a quarter without it
    head = TABLE.replace("<tr><td>Year</td>", "<thead><tr><td>Year</td>", 1)
    head = head.replace("</tr><tr>", "</tr></thead><tr>", 1)
    assert teds(TABLE, head) < 0.9 and teds(normalized(TABLE), normalized(head)) == 1
    assert edit_distance("abc", "abd") == (1, 3)


def test_tables_of_a_page_are_matched_by_likeness():
    page = f"{OTHER}\n\n| Year | Sum |\n|-|-|\n| 2024 | 12 |\n"
    first, second = tables_of_page(page, [TABLE, OTHER])
    assert normalized(first) == normalized(TABLE) and second == OTHER
    assert tables_of_page(OTHER, [TABLE, OTHER]) == ["", OTHER]
    assert tables_of_page("none", [TABLE]) == [""]


SPANS = ("<table><thead><tr><th rowspan=2>Name</th><th colspan=2>Size</th></tr>"
         "<tr><th>cm</th><th>inch</th></tr></thead>"
         "<tr><td>A<br>B</td><td>2.54</td><td><b>1.0</b></td></tr></table>")
PIPES = "Text\n\n| Name | **Size** |\n| --- | --- |\n| A | 2–3 |\n| C | 5 |\n"
TESTS = [  # answer, a test of olmOCR-bench, whether it holds
    (SPANS, {"cell": "2.54"}, True), (SPANS, {"cell": "2.55"}, False),
    (SPANS, {"cell": "2.55", "max_diffs": 2}, True),  # one letter is two of an indel distance
    (SPANS, {"cell": "1.0", "left": "2.54", "up": "inch"}, True),
    (SPANS, {"cell": "inch", "up": "Size", "left": "cm", "down": "1.0"}, True),
    (SPANS, {"cell": "cm", "left": "Name"}, True), (SPANS, {"cell": "Size", "down": "inch"}, True),
    (SPANS, {"cell": "1.0", "top_heading": "Size"}, True),
    (SPANS, {"cell": "1.0", "top_heading": "Name"}, False),
    (SPANS, {"cell": "1.0", "left_heading": "A B"}, True),  # no heading: the outermost cell
    (SPANS, {"cell": "A B", "right": "2.54"}, True),
    (SPANS, {"cell": "A B", "right": "1.0"}, False),
    (PIPES, {"cell": "Size"}, True), (PIPES, {"cell": "2-3", "up": "Size"}, True),
    (PIPES, {"cell": "5", "left_heading": "C", "top_heading": "Size"}, True),
    (PIPES, {"cell": "5", "right": "C"}, False), ("no table", {"cell": "5"}, False),
    ("<table><table", {"cell": "5"}, False),
]


@pytest.mark.parametrize("answer, test, expected", TESTS)
def test_olmocr_table_tests(answer, test, expected):
    assert passes(test, grids(answer)) is expected


# --- 4. pictures ---


def pictures(size):
    width, height = size
    plain = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(plain)
    draw.rectangle([4, 4, width // 2, height - 6], fill="red")
    draw.line([0, 0, width, height], fill="blue", width=2)
    other = plain.copy()
    ImageDraw.Draw(other).rectangle([6, 3, width // 2 + 3, height - 6], fill="green")
    return plain, other


@pytest.mark.parametrize("size, expected", [  # scikit-image 0.26's structural_similarity
    ((64, 48), 0.5473689989382838), ((20, 33), 0.33694781534325885),
    ((15, 12), 0.5804872591017288)])
def test_ssim_is_scikit_images(size, expected):
    one, other = pictures(size)
    assert ssim(one, other) == pytest.approx(expected, abs=1e-12)
    assert ssim(one, one) == 1 and ssim(one, one.resize((9, 9))) == 0


def test_measures_by_name(tmp_path, monkeypatch):
    """CLIP from a folder, LPIPS by its package (a stand-in here), an encoder; sentences if not."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel
    small = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    CLIPModel(CLIPConfig(text_config=small | {"vocab_size": 20}, projection_dim=8,
                         vision_config=small | {"image_size": 32, "patch_size": 8})
              ).save_pretrained(tmp_path / "clip-tiny")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
                          ).save_pretrained(tmp_path / "clip-tiny")
    one, other = pictures((40, 40))
    column, clip = load_measure(str(tmp_path / "clip-tiny"))
    assert column == "clip" and clip(one, one) == pytest.approx(1)
    assert -1 <= clip(one, other) < 0.9999999

    class Lpips:
        def __init__(self, net, verbose):
            assert net == "alex"

        def __call__(self, a, b):
            return np.abs(a - b).mean()
    monkeypatch.setitem(sys.modules, "lpips", type(sys)("lpips"))
    sys.modules["lpips"].LPIPS = Lpips
    sys.modules["lpips"].im2tensor = lambda array: array / 127.5 - 1
    column, lpips = load_measure("lpips")
    assert column == "lpips" and lpips(one, one) == 0 < lpips(one, other)
    for missing in (str(tmp_path / "dinov2-none"), str(tmp_path / "clip-none")):
        with pytest.raises(InputError, match="There is no folder"):
            load_measure(missing)


# --- 5. models ---


def test_a_model_and_its_revisions(untrained, tmp_path, capsys):
    """An untrained policy on two charts: its answers are kept and give the same scores again."""
    out = tmp_path / "r.json"
    command = ["data/examples", "--limit", "1", "--out", str(out)]
    assert main([*command, "--model", str(untrained), "--judge", str(untrained), "--rounds", "1",
                 "--preset", "tiny"]) == 0
    (base, scores), (revised, _) = figures(out)
    assert base == str(untrained) and revised == f"{base}, 1 rounds with {base}"
    kept = tmp_path / "r.answers1.jsonl"
    assert len(kept.read_text().splitlines()) == 1 and (tmp_path / "r.answers2.jsonl").is_file()
    assert main([*command, "--predictions", str(kept), "--out", str(tmp_path / "again.json")]) == 0
    assert figures(tmp_path / "again.json") == [(str(kept), scores)]
