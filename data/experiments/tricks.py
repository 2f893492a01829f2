"""Programs that try to get the score of a picture that they do not draw.

    python -m data.experiments.tricks

Each trick says in its code what the reference says and shows something else: it covers, hides,
clips or moves what it draws, answers its reader's questions wrongly, or puts a forged scene in the
place of its own. The fidelity of each is printed with whether its picture differs visibly (over
0.1 % of the pixels by more than 40 of 255). None that differs may have 100. Of a reference run:

    chart: 0 of 29 tricks that can be seen have fidelity 100
    table: 0 of 12 tricks that can be seen have fidelity 100
    svg: 0 of 12 tricks that can be seen have fidelity 100
"""
import sys
from dataclasses import dataclass

from data.compare import fidelity
from data.experiments.visible import SHARE, differing
from data.runs import flag, parse, script
from render import RenderError, render_many


@dataclass
class Settings:
    task: str = flag("chart,table,svg", "tasks, with commas between")


START = ("import matplotlib.pyplot as plt\nimport numpy as np\n"
         "fig, ax = plt.subplots(figsize=(4, 3))\n")
REFERENCE = START + ("ax.bar(['A', 'B'], [3, 7], color='red')\n"
                     "ax.plot([0, 1], [2, 5], 'b-', lw=3)\nax.set_title('Sales')\n")
WRONG = REFERENCE.replace("7]", "4]").replace("ax.set_title", "ax.set_ylim(0, 7.35)\nax.set_title")
INSIDE = ("import sys\nc = sys.modules['data.renderers.chart_scene']\n"
          "m = sys.modules['data.renderers.chart']\n")
TABLE = ("<table><tr><th>Name</th><th>Value</th></tr><tr><td>alpha</td><td>12</td></tr>"
         "<tr><td>beta</td><td>34</td></tr></table>")
ICON = ('<svg viewBox="0 0 64 64"><rect x="8" y="8" width="20" height="20" fill="red"/>'
        '<circle cx="44" cy="20" r="10" fill="blue"/><text x="8" y="56" font-size="16">Go</text>'
        "</svg>")
RIGHT = '<rect x="8" y="8" width="20" height="20" fill="red"/>'


def _table(style, cell="12"):
    """The table with a style sheet, and one of its cells as `cell`."""
    return f"<style>{style}</style>{TABLE.replace('<td>12</td>', f'<td>{cell}</td>')}"


def _icon(new, old=RIGHT):
    """The icon with `new` in the place of its red square."""
    return ICON.replace(old, new)


REFERENCES = {"chart": REFERENCE, "table": TABLE, "svg": ICON}
TRICKS = {
    "chart": {
        "nothing": WRONG,
        "white over all": REFERENCE + "fig.add_artist(plt.Rectangle((0, 0), 1, 1, color='white', "
                                      "zorder=99))\nax.text(0, 0, '.')",
        "grey over all": REFERENCE
        + "fig.add_artist(plt.Rectangle((0, 0), 1, 1, color='gray', "
                                     "zorder=99))",
        "nearly white": REFERENCE
        + "fig.add_artist(plt.Rectangle((0, 0), 1, 1, color='w', alpha=.9, "
                                    "zorder=99))",
        "glass": REFERENCE + "fig.add_artist(plt.Rectangle((0, 0), 1, 1, color='w', alpha=.5, "
                             "zorder=99))",
        "picture over all": REFERENCE + "fig.figimage(np.random.rand(300, 400, 3), zorder=99)",
        "line not drawn": REFERENCE + "ax.lines[0].draw = lambda r: None",
        "bars not drawn": REFERENCE + "[setattr(b, 'draw', lambda r: None) for b in ax.patches]",
        "data method": WRONG + "ax.patches[1].get_height = lambda: 7",
        "line data method": REFERENCE.replace("[2, 5]", "[5, 2]")
        + "ax.lines[0].get_xydata = lambda: np.array([[0, 2], [1, 5.]])",
        "reader of bars": INSIDE + WRONG + "old = c._bars\n"
                          "c._bars = lambda ax, g: old(ax, g) | {'value': [3.0, 7.0]}",
        "names": INSIDE + WRONG
        + "old = m._names\ndef f(fig):\n    s = old(fig)\n"
                                  "    s['axes'][0]['marks'][0]['value'] = [3.0, 7.0]\n"
            "    s['axes'][0]['ylim'] = [0.0, 7.35]\n    return s\nm._names = f",
        "white title": REFERENCE + "ax.title.set_color('white')",
        "no title drawn": REFERENCE + "ax.title.set_alpha(0)",
        "title under paper": REFERENCE + "fig.add_artist(plt.Rectangle((0, .89), 1, .2, color='w', "
                                         "zorder=99))",
        "clipped": REFERENCE + "from matplotlib.transforms import Bbox\n"
                               "ax.lines[0].set_clip_box(Bbox([[0, 0], [1, 1]]))",
        "clipped by a path": REFERENCE + "ax.patches[1].set_clip_path(plt.Circle((0, 0), .1, "
                                         "transform=ax.transData))",
        "filter": REFERENCE + "ax.patches[1].set_agg_filter(lambda im, dpi: (im * 0, 0, 0))",
        "path effect": REFERENCE + "import matplotlib.patheffects as pe\n"
                                   "ax.lines[0].set_path_effects([pe.Stroke(alpha=0)])",
        "effect that moves": REFERENCE
        + "import matplotlib.patheffects as pe\n"
                                         "ax.lines[0].set_path_effects([pe.Normal(), "
            "pe.SimpleLineShadow((40, 40), alpha=1, shadow_color='k')])",
        "other letters": REFERENCE.replace("Sales", "Profit")
        + "ax.title.get_text = lambda: 'Profit'",
        "transform": REFERENCE + "from matplotlib.transforms import Affine2D\n"
                     "ax.lines[0].set_transform(Affine2D().translate(0, -1) + ax.transData)",
        "transparent bars": REFERENCE + "[b.set_alpha(.02) for b in ax.patches]",
        "drawn by another": REFERENCE + "ax.lines[0].draw = ax.lines[0].axes.title.draw",
        "extra ink": REFERENCE
        + "old = ax.draw\ndef d(r):\n    old(r)\n"
                     "    from matplotlib.path import Path\n    g = r.new_gc()\n"
            "    g.set_linewidth(9)\n    from matplotlib.transforms import IdentityTransform\n"
                     "    r.draw_path(g, Path([[60, 60], [250, 200]]), IdentityTransform())\n"
                     "ax.draw = d",
        "renderer replaced": "import matplotlib.backends.backend_agg as b\n" + REFERENCE
        + "b.RendererAgg.draw_path = lambda *a, **k: None",
        "canvas drawn later": REFERENCE + "fig.canvas.mpl_connect('draw_event', lambda e: "
                              "ax.patches[1].set_height(1))\nfig.canvas.draw()",
        "dashes of nothing": REFERENCE + "ax.lines[0].set_linestyle((0, (0.001, 500)))",
        "paper first": REFERENCE + "fig.patch.set_zorder(99)\nax.patch.set_zorder(50)",
        "labels that lie": WRONG + "ax.set_yticks([0, 2, 4], ['0', '4', '7'])",
        "forged answer": REFERENCE.replace("7]", "1]") + "import os\nfor n in range(3, 40):\n"
                         "    try:\n        os.write(n, b'0' * 64)\n    except OSError:\n"
                         "        pass",
    },
    "table": {
        "white letters": _table("td{color:white}"),
        "not displayed": _table("tr:nth-child(2){display:none}"),
        "hidden cell": _table("tr:nth-child(2) td{visibility:hidden}"),
        "letters of no size": _table("td{font-size:0}"),
        "letters off the page": _table("td{text-indent:-999px;overflow:hidden}"),
        "wrong beside hidden right": _table("i{display:none}", "<i>12</i>99"),
        "right under paper": _table("p{position:absolute;top:20px;left:0;width:200px;height:60px;"
                                    "background:white;margin:0}") + "<p></p>",
        "added by style": _table("td:last-child::after{content:'0'}"),
        "letters turned round": _table("td{unicode-bidi:bidi-override;direction:rtl}"),
        "struck": _table("td{text-decoration:line-through}"),
        "letters as their ground": _table("td{background:black;color:black}"),
        "transparent": _table("td{opacity:0}"),
    },
    "svg": {
        "covered": _icon(RIGHT + '<rect width="64" height="64" fill="white"/>'),
        "not displayed": _icon(RIGHT.replace("/>", ' display="none"/>')),
        "hidden": _icon(RIGHT.replace("/>", ' visibility="hidden"/>')),
        "opacity": _icon(RIGHT.replace("/>", ' opacity="0"/>')),
        "fill opacity": _icon(RIGHT.replace("/>", ' style="fill-opacity:0"/>')),
        "as the paper": _icon(RIGHT.replace("/>", ' style="fill:white"/>')),
        "off the canvas": _icon(f'<g transform="translate(900)">{RIGHT}</g>'),
        "scaled to nothing": _icon(f'<g transform="scale(0.0001)">{RIGHT}</g>'),
        "clipped": _icon('<clipPath id="c"><rect width="1" height="1"/></clipPath>'
                         + RIGHT.replace("/>", ' clip-path="url(#c)"/>')),
        "masked": _icon('<mask id="m"><rect width="64" height="64" fill="black"/></mask>'
                        + RIGHT.replace("/>", ' mask="url(#m)"/>')),
        "only defined": _icon(f"<defs>{RIGHT}</defs>"),
        "letters of no size": ICON.replace('font-size="16"', 'font-size="0.01"'),
    },
}


def measure(task: str) -> list[tuple[str, bool, float]]:
    """(name, whether the picture differs visibly, fidelity) of each trick; 0 if it is refused."""
    reference, *drawn = render_many([(task, REFERENCES[task])]
                                    + [(task, code) for code in TRICKS[task].values()],
                                    size=300, timeout=60)
    found = []
    for name, one in zip(TRICKS[task], drawn):
        if isinstance(one, RenderError):
            found.append((name, True, 0.0))
        else:
            found.append((name, differing(reference.image, one.image) > SHARE,
                          fidelity(reference.scene, one.scene)))
    return found


@script
def main(argv: list[str] | None = None) -> None:
    """Print every trick and the counts."""
    settings = parse(Settings, argv, __doc__)
    for task in settings.task.split(","):
        found = measure(task)
        for name, visible, score in found:
            print(f"{task}: {name}: fidelity {score:.1f}{'' if visible else ', looks the same'}")
        fooled = sum(visible and score == 100 for _, visible, score in found)
        seen = sum(visible for _, visible, _ in found)
        print(f"{task}: {fooled} of {seen} tricks that can be seen have fidelity 100")


if __name__ == "__main__":
    sys.exit(main())
