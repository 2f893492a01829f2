"""Charts are painted from a list: the same pixels as Matplotlib's, only what can be seen, nothing
forged."""
import json
import random
import struct

import numpy as np
import pytest
from PIL import Image

from data import worlds
from data.experiments import tricks
from data.renderers import draw
from data.renderers.chart import paint_chart, record_chart, reset_matplotlib
from data.renderers.scene import RenderError, target_size
from render import render

START = ("import matplotlib.pyplot as plt\nimport numpy as np\n"
         "fig, ax = plt.subplots(figsize=(4, 3))\n")


def plain_picture(code, size):
    """The last figure of a program as Matplotlib's own Agg canvas draws it, on white."""
    reset_matplotlib()
    reset_matplotlib.cache_clear()
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    exec(compile(code.replace("plt.show()", "").replace("plt.savefig", "str"),
                 "<program>", "exec"), {})
    figure = plt.gcf()
    inches = figure.get_size_inches()
    scale, width, height, canvas = target_size(*(inches * figure.dpi), size)
    if scale != 1:
        figure.set_dpi(max(width / inches[0], height / inches[1]) * (1 + 1e-9))
    agg = FigureCanvasAgg(figure)
    agg.draw()
    image = Image.frombuffer("RGBA", agg.get_width_height(), bytes(agg.buffer_rgba()))
    page = Image.new("RGBA", canvas, "white")
    page.alpha_composite(image.crop((0, 0, width, height)))
    plt.close("all")
    return page.convert("RGB")


@pytest.mark.parametrize("level", [1, 2])
def test_pictures_of_the_worlds_are_matplotlibs_to_the_byte(level):
    size = {1: (128, 128), 2: (256, 256)}[level]
    for seed in range(25):
        code = worlds.draw("chart", level, random.Random(seed))
        assert draw("chart", code, size)[0].tobytes() == plain_picture(code, size).tobytes(), code


CARRIED = {  # what a renderer seldom sees, after START
    "filter": "from matplotlib.patches import Circle\nc = ax.add_patch(Circle((.5, .5), .3))\n"
              "c.set_agg_filter(lambda im, dpi: (im[..., [2, 1, 0, 3]], 3, 4))",
    "path effects": "import matplotlib.patheffects as pe\n"
                    "ax.plot([1, 2], lw=5, path_effects=[pe.withStroke(linewidth=9, "
                    "foreground='red')])\n"
                    "ax.set_title('T', path_effects=[pe.withSimplePatchShadow()])",
    "sketch": "l, = ax.plot([1, 2])\nl.set_sketch_params(3, 20, 9)\n"
              "ax.bar([0], [1], sketch_params=2)",
    "rasterized": "ax.plot([1, 2], rasterized=True)\nax.set_rasterization_zorder(5)",
    "clip path": "from matplotlib.patches import Circle\nim = ax.imshow([[1, 2], [3, 4]])\n"
                 "im.set_clip_path(Circle((.5, .5), .4, transform=ax.transData))",
    "hatches": "ax.bar([1, 2], [3, 4], hatch=['/', 'x'], color='w', edgecolor='r')\n"
               "ax.contourf(np.eye(4), hatches=['/', '*'], colors='none')",
    "mesh": "ax.pcolormesh(np.eye(3), edgecolors='w')\n"
            "ax.pcolormesh(np.eye(3) + 4, shading='gouraud')",
    "collections": "ax.scatter([1, 2, 3], [1, 2, 3], s=[9, 99, 999], c=[1, 2, 3], "
                   "alpha=[.1, .5, 1], marker='*')\n"
                   "ax.hexbin(np.arange(50) % 3, np.arange(50) % 4, gridsize=4)\n"
                   "ax.quiver([1], [2], [1], [1])",
    "mathematics": r"ax.set_title(r'$\frac{a}{b} \mathbf{x}$ and \$5', fontset='cm') if 0 "
                   r"else ax.set_title(r'$\sqrt{x}$')"
                   "\nplt.rcParams['mathtext.fontset'] = 'cm'",
    "no antialiasing": "ax.plot([1, 3, 2], antialiased=False)\n"
                       "ax.text(0, 1, 'a', antialiased=False, rotation=33)",
    "transparent figure": "fig.patch.set_alpha(0)\nax.patch.set_alpha(.5)\nax.plot([1, 3, 2])",
    "many points": "ax.plot(np.sin(np.arange(50_000) / 50), lw=.5)\n"
                   "plt.rcParams['agg.path.chunksize'] = 1000",
    "three dimensions": "ax.remove()\nax = fig.add_subplot(projection='3d')\n"
                        "ax.bar3d([0, 1], [0, 0], [0, 0], .5, .5, [1, 2])",
}


@pytest.mark.parametrize("name", CARRIED)
def test_pictures_of_rare_calls_are_matplotlibs(name):
    code = START + CARRIED[name]
    assert draw("chart", code, 300)[0].tobytes() == plain_picture(code, 300).tobytes()


def seen(code):
    """The kinds of marks and the texts in the scene of a program, which runs in a process of its
    own."""
    scene = render("chart", code, size=300, timeout=60).scene
    axes = scene["axes"][0]
    return ([mark["type"] for mark in axes["marks"]],
            {key: axes.get(key) for key in ("title", "xlabel")}, scene)


HIDDEN = {  # after START: what is not seen, in the words of `left`
    "white title": ("ax.plot([1, 2]); ax.set_title('T', color='white')", ["line"], {"title": ""}),
    "transparent label": ("ax.plot([1, 2]); ax.set_xlabel('x', alpha=0)", ["line"], {"xlabel": ""}),
    "almost white": ("ax.plot([1, 2]); ax.set_title('T', color='#fefefe')", ["line"],
                     {"title": ""}),
    "covered line": ("ax.plot([1, 2]); ax.fill_between([-1, 2], 0, 3, color='c', zorder=9)",
                     ["area"], {}),
    "covered by white": ("ax.plot([1, 2]); ax.set_title('T')\n"
                         "fig.add_artist(plt.Rectangle((0, .5), 1, .5, color='w'))\n"
                         "ax.bar([.5], [1.3])", ["bars", "line"], {"title": ""}),
    "covered bar": ("ax.bar([1, 2], [3, 4]); ax.bar([2], [5], color='r')", ["bars", "bars"], {}),
    "behind glass": ("ax.plot([1, 2]); ax.axhspan(0, 3, color='c', alpha=.5, zorder=9)",
                     ["line", "patch"], {}),
    "clipped away": ("from matplotlib.transforms import Bbox\n"
                     "l, = ax.plot([1, 2]); ax.bar([0], [1])\n"
                     "l.set_clip_box(Bbox([[0, 0], [1, 1]]))", ["bars"], {}),
    "draw replaced": ("l, = ax.plot([1, 2]); l.draw = lambda r: None\nax.bar([0], [1])",
                      ["bars"], {}),
    "draw of the class replaced": ("from matplotlib.lines import Line2D\n"
                                   "l, = ax.plot([1, 2]); ax.bar([0], [1])\n"
                                   "Line2D.draw = lambda self, r: None", ["bars"], {}),
    "a class of its own": ("from matplotlib.lines import Line2D\nclass Own(Line2D):\n"
                           "  def draw(self, r): super().draw(r)\n"
                           "ax.add_line(Own([0, 1], [0, 1])); ax.bar([0], [1])",
                           ["bars", "line"], {}),
    "a bar of value 0": ("ax.bar([1, 2, 3], [3, 0, 2])", ["bars"], {}),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_only_what_is_seen_is_in_the_scene(name):
    code, marks, texts = HIDDEN[name]
    found, titles, _ = seen(START + code)
    assert sorted(found) == marks
    assert {key: titles[key] for key in texts} == texts


def test_a_covered_bar_is_left_out_of_its_series_and_one_of_value_0_is_not():
    scene = seen(START + HIDDEN["covered bar"][0])[2]
    assert scene["axes"][0]["marks"][0]["value"] == [3.0]
    scene = seen(START + HIDDEN["a bar of value 0"][0])[2]
    assert scene["axes"][0]["marks"][0]["value"] == [3.0, 0.0, 2.0]


def test_a_text_reads_as_it_was_painted():
    """Whatever the object says of itself later."""
    code = START + ("t = ax.set_title('Profit'); ax.plot([1, 2])\nold = type(t)._preprocess_math\n"
                    "type(t)._preprocess_math = lambda self, s: "
                    "('Sales', False) if s == 'Profit' else old(self, s)\n")
    assert seen(code)[1]["title"] == "Sales"


@pytest.mark.parametrize("effects, title", [
    ("[pe.withStroke(linewidth=3, foreground='y')]", "Two\nlines"), ("[pe.Normal()]", "Two\nlines"),
    ("[pe.Stroke(linewidth=2, foreground='w')]", "")])
def test_letters_with_path_effects_are_read(effects, title):
    code = START + ("import matplotlib.patheffects as pe\nax.plot([1, 2])\n"
                    f"ax.set_title('Two\\nlines', path_effects={effects}, ")
    assert seen(code + "color='white')" if not title else code + "color='k')")[1]["title"] == title


# --- Programs that show something else than they say ---
@pytest.mark.parametrize("task", tricks.TRICKS)
def test_no_trick_gets_a_full_score(task):
    assert len(tricks.TRICKS[task]) >= 10
    for name, visible, score in tricks.measure(task):
        assert score < 100 or not visible, name


# --- Programs that plain Python accepts ---
ACCEPTED = {
    "list of alphas": "plt.scatter([1, 2], [1, 2], alpha=[.2, .9])",
    "argparse": "import argparse\np = argparse.ArgumentParser()\n"
                "p.add_argument('--out', default='x.png')\n"
                "a = p.parse_args()\nplt.plot([1, 2])\nplt.savefig(a.out)",
    "__file__": "import os\nplt.plot([1, 2])\n"
                "plt.savefig(os.path.join(os.path.dirname(__file__), 'x.png'))",
    "imread": "plt.plot([1, 2])\nplt.savefig('x.png')\n"
              "assert plt.imread('x.png').shape[2] in (3, 4)",
    "PIL": "plt.plot([1, 2])\nplt.savefig('x.png')\nfrom PIL import Image\n"
           "Image.open('x.png').convert('RGB').save('y.jpg')",
    "pathlib": "from pathlib import Path\nplt.plot([1, 2])\nplt.savefig(Path('x.png'))\n"
               "assert Path('x.png').exists() and Path('x.png').read_bytes()[:4] == b'\\x89PNG'",
    "another folder": "plt.plot([1, 2])\nplt.savefig('/data/out/x.png')\n"
                      "open('/data/out/x.png', 'rb').read(1)",
    "buffer by keyword": "import io\nb = io.BytesIO()\nplt.plot([1, 2])\n"
                         "plt.savefig(fname=b, format='png')\n"
                         "b.seek(0)\nassert plt.imread(b).ndim == 3",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_programs_that_python_accepts_are_drawn(name):
    picture = render("chart", "import matplotlib.pyplot as plt\n" + ACCEPTED[name],
                     size=96, timeout=60)
    assert len(picture.scene["axes"]) == 1


SAVED = {  # what happens to a figure after it was saved changes nothing
    "cla": "plt.cla()", "clf": "plt.clf()", "title": "plt.title('later')",
    "removed": "bars.remove()",
    "closed": "plt.close()", "moved": "bars[0].set_height(9)"}


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("how", ["plt.savefig('x.png')", "plt.show()"])
def test_the_picture_is_the_one_that_was_saved(name, how):
    code = "import matplotlib.pyplot as plt\nbars = plt.bar(['a', 'b'], [3, 7])\n"
    image, scene = draw("chart", code, 96)
    later = draw("chart", f"{code}{how}\n{SAVED[name]}\n", 96)
    assert later[0].tobytes() == image.tobytes() and later[1] == scene


# --- Forged lists ---
def changed(packed, change):
    """A packed list with another head."""
    sizes = struct.unpack("=III", packed[:12])
    head = json.loads(packed[12:12 + sizes[0]])
    change(head)
    text = json.dumps(head).encode()
    return struct.pack("=III", len(text), *sizes[1:]) + text + packed[12 + sizes[0]:]


def entry_of(head, kind):
    return next(entry for entry in head["entries"] if entry["paint"] == kind)


FORGED = {
    "no entries": lambda h: h.pop("entries"),
    "unknown call": lambda h: h["entries"][0].update(paint="exec"),
    "array beyond": lambda h: entry_of(h, "path")["path"].update(points=[0, 10**7]),
    "array before": lambda h: entry_of(h, "path")["path"].update(points=[-5, 4]),
    "other length": lambda h: entry_of(h, "path")["path"].update(points=[0, 3]),
    "no number": lambda h: entry_of(h, "path").update(transform=[1, 0, "x", 0, 1, 0]),
    "not finite": lambda h: h["contexts"][0].update(width=float("nan")),
    "huge canvas": lambda h: h.update(size=[10**6, 10**6]),
    "huge page": lambda h: h["names"].update(page=[10**6, 10**6]),
    "another context": lambda h: h["entries"][0].update(gc=10**4),
    "font elsewhere": lambda h: entry_of(h, "text")["font"].update(file="../../../../etc/passwd"),
    "an artist above itself": lambda h: h["artists"][0].__setitem__(1, 0),
    "owner that is none": lambda h: h["entries"][0].update(by="x"),
    "mark of nobody": lambda h: h["names"]["axes"][0]["marks"][0].update(by=7),
    "names that are none": lambda h: h.update(names=[]),
    "no colour": lambda h: h["contexts"][0].update(color=[2, 0, 0]),
    "a dash of text": lambda h: h["contexts"][0].update(dash=[0, ["x"]]),
}


@pytest.fixture(scope="module")
def packed():
    return record_chart(START + "ax.plot([1, 2], label='a'); ax.legend(); ax.set_title('T')", 128)


@pytest.mark.parametrize("name", FORGED)
def test_a_list_that_is_not_sound_is_refused(name, packed):
    from data.renderers import drawn_or_error
    assert paint_chart(packed, 128)[1]["axes"]
    with pytest.raises(RenderError):
        drawn_or_error(paint_chart, changed(packed, FORGED[name]), 128)


def test_random_bytes_and_cut_lists_are_refused(packed):
    from data.renderers import drawn_or_error
    rng = random.Random(0)
    for _ in range(40):
        with pytest.raises(RenderError):
            drawn_or_error(paint_chart, packed[:rng.randrange(len(packed))], 128)
    with pytest.raises(RenderError):
        drawn_or_error(paint_chart, rng.randbytes(500), 128)


def test_a_forged_list_gives_the_forged_picture(packed):
    """Painting and scene come from one list: who paints red and says blue has a red line."""
    def red(head):
        for context in head["contexts"]:
            context["color"] = [1, 0, 0, 1]
    image, scene = paint_chart(changed(packed, red), 128)
    line = next(entry for entry in scene["painted"] if entry["place"] == "mark")
    assert line["stroke"] == ["#ff0000"]
    assert (np.asarray(image).reshape(-1, 3) == (255, 0, 0)).all(axis=1).any()


def test_counting_in_boxes_counts_as_counting_everywhere():
    from data.renderers.painter import Painter, PaintList
    for name in CARRIED:
        painter = Painter(PaintList(record_chart(START + CARRIED[name], 300)))
        painter.paint()
        counts = painter.counts.copy()
        painter.clear()
        painter._region = lambda gc: painter._everywhere
        painter.paint()
        assert (painter.counts == counts).all(), name
