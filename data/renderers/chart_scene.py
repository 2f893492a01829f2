"""Names and values of a chart, read from the live Matplotlib figure and never from the code's text.

They stand on top of the paint list: each text and each mark names the artists that drew it (`Seen`,
"by"), and `data/renderers/painted.py` leaves out what these artists did not visibly paint.
"""
import collections
import functools
import itertools
import math
import re
from typing import TYPE_CHECKING

from data.renderers.scene import rgb_hex, six

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.text import Text


class Seen(str):
    """A text of the picture that knows its artists."""

    def __new__(cls, text, artists=()):
        self = super().__new__(cls, text)
        self.artists = artists
        return self


def plain_names(value: object, rows_of: dict[int, list[int]]) -> dict | list | str | float | None:
    """A plain JSON copy of names: artists become rows in the paint list, texts {"@": rows}."""
    if type(value) is dict:
        return {key: plain_names(part, rows_of) for key, part in value.items()}
    if type(value) is list:
        if value and type(value[0]) in (float, int):
            return value
        return [plain_names(part, rows_of) for part in value]
    if type(value) is Seen:
        return {"@": [row for artist in value.artists for row in rows_of.get(id(artist), ())]} \
            if value else ""
    return rows_of.get(id(value), []) if hasattr(value, "draw") else value


def axes_scene(ax: "Axes", every: list) -> dict:
    """The scene of an Axes; `every`: all Axes of its figure."""
    space = ax.name == "3d"                     # a space keeps its own flags
    on, framed = ax._axis3don if space else ax.axison, ax.axison and ax.get_frame_on()
    box = ax.get_position()
    twins = [a for a in every if a in ax._twinned_axes.get_siblings(ax)] or [ax]
    base = min(twins, key=every.index)
    scene = {"box": [round(float(v), 3) for v in (box.x0, box.y0, box.width, box.height)],
             "title": _joined(map(seen_text, (ax._left_title, ax.title, ax._right_title))),
             "grid": {}}
    for name in "xyz"[:2 + space]:
        axis = getattr(ax, f"{name}axis")
        shown = on and axis.get_visible()
        scene |= {f"{name}label": seen_text(axis.label) if shown else "",
                  f"{name}scale": axis.get_scale(), f"{name}lim": six(axis.get_view_interval()),
                  f"{name}ticks": _ticks(axis) if shown else []}
        setattr(ax, f"_shown_{name}", scene[f"{name}ticks"])
        if name != "z":
            scene["grid"][name] = bool(shown and (ax._draw_grid if space else any(
                t.gridline.get_visible() for t in axis.get_major_ticks())))
    pies = [call for call in ax.__dict__.get("_calls", []) if call[0] == "pie"]
    of_pies = {id(t) for pie in pies for texts in pie[3].texts for t in texts}
    legends = [a for a in ax.get_children() if type(a).__name__ == "Legend"]
    return scene | {
        "by": {"axes": ax, "x": ax.xaxis, "y": ax.yaxis, "frame": list(ax.spines.values()),
               "background": ax.patch, "legend": legends} |
              ({"z": ax.zaxis} if space else {}),
        "dates": {name: type(axis.get_converter()).__name__.endswith("DateConverter")
                  for name, axis in (("x", ax.xaxis), ("y", ax.yaxis))},
        "view": _view(ax),
        "facecolor": hex_of(ax.get_facecolor()) if framed and ax.patch.get_visible() else None,
        "projection": ax.name,
        "spines": [n for n, s in ax.spines.items() if framed and s.get_visible()
                   and s.get_linewidth() > 0 and hex_of(s.get_edgecolor())],
        "legend": legend_scene(legends),
        "annotations": [n for n in (_note(ax, t) for t in ax.texts if id(t) not in of_pies) if n],
        "twin": every.index(base) if base is not ax else None, "marks": _marks(ax)}


def _view(ax):
    """From where a space is seen (elevation, azimuth, roll), or how a polar chart is turned."""
    if ax.name == "3d":
        return six((ax.elev, ax.azim, ax.roll))
    if ax.name == "polar":
        return six((math.degrees(ax.get_theta_offset()), ax.get_theta_direction()))
    return []


def _joined(texts):
    texts = [text for text in texts if text]
    return Seen(" ".join(texts), tuple(artist for text in texts for artist in text.artists))


def seen_text(text: "Text | None") -> str:
    """A Text's string, `Seen`, if its centre lies on the canvas: else it cannot be read."""
    if text is None or not text.get_visible() or not text.get_text().strip():
        return ""
    box, page = text.get_window_extent(), text.get_figure(root=True).bbox
    seen = page.contains((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    return Seen(text.get_text().strip(), (text,)) if seen else ""


def _ticks(axis):
    """Ticks inside the limits of which the mark or the text can be seen, with their text."""
    low, high = sorted(axis.get_view_interval())
    slack, found = 1e-9 * (high - low), []
    for tick in axis.get_major_ticks() + [t for t in axis.get_minor_ticks() if t.label1.get_text()]:
        text = seen_text(tick.label1) or seen_text(tick.label2)
        line = any(t.get_visible() and t.get_markersize() > 0
                   for t in (tick.tick1line, tick.tick2line))
        if tick.get_visible() and (text or line) and low - slack <= tick.get_loc() <= high + slack:
            if text:
                text = Seen(re.sub(r"^\$\\mathdefault\{(.*)\}\$$", r"\1", text), text.artists)
            found.append({"pos": six(tick.get_loc()), "text": text})
    return sorted(found, key=lambda t: t["pos"])


def legend_scene(legends: list) -> dict | None:
    """Figures and axes can have several legends: the first one's title, the entries of all."""
    legends = [g for g in legends if g.get_visible()]
    if not legends:
        return None
    return {"title": seen_text(legends[0].get_title()),
            "entries": [{"text": Seen(text.get_text(), (text,)), "color": _color(handle)}
                        for g in legends for handle, text in zip(g.legend_handles, g.get_texts())]}


def _note(ax, text):
    """A text inside the axes: its anchor, and the arrow's target, in data coordinates."""
    if not seen_text(text) or (
            text.get_clip_on() and not ax.bbox.overlaps(text.get_window_extent())):
        return None
    place = text.get_transform().transform(text.get_unitless_position())
    where = ax.transData.inverted().transform(place)
    note = {"text": seen_text(text), "x": six(where[0]), "y": six(where[1])}
    if not getattr(text, "arrow_patch", None):
        return note
    x, y = text.xy  # may be a date or a category's name
    return note | {"target": six((text.convert_xunits(x), text.convert_yunits(y)))}


def hex_of(color: object) -> str | None:
    from matplotlib.colors import to_rgba
    try:
        return rgb_hex(to_rgba(color))
    except (ValueError, TypeError):
        return None


def _color(artist):
    """The colour by which a reader would name the artist: face, then line, then edge."""
    if hasattr(artist, "get_markerfacecolor"):
        return _look(artist)["color"]
    for name in ("get_facecolor", "get_color", "get_edgecolor"):
        value = getattr(artist, name, lambda: None)()
        if value is not None and len(value):
            found = hex_of(value if isinstance(value, str) or not hasattr(value[0], "__len__")
                         else value[0])
            if found:
                return found
    return _color(artist[0]) if isinstance(artist, tuple) and artist else None


def _alpha(artist, color):
    """Opacity whichever way it was given: alpha=, or the fourth number of the colour."""
    from matplotlib.colors import to_rgba
    alpha = to_rgba(color)[3] if artist.get_alpha() is None else artist.get_alpha()
    return six(sum(alpha) / len(alpha)) if hasattr(alpha, "__len__") else six(alpha)


def _hidden(artist):
    alpha = artist.get_alpha()
    return alpha is not None and not (max(alpha) if hasattr(alpha, "__len__") else alpha)


def _label(thing):
    text = str(thing.get_label() or "") if hasattr(thing, "get_label") else ""
    return "" if text.startswith("_") else text  # "_child0" is Matplotlib's own name


def data_artists(ax: "Axes") -> "list[Artist]":
    """The artists that carry data, in drawing order."""
    frame = {id(a) for a in (ax.patch, *ax.spines.values(), ax.title, ax._left_title, ax.xaxis,
                             ax.yaxis, ax._right_title, *ax.texts, *ax.child_axes)}
    things = [a for a in ax.get_children() if id(a) not in frame and a.get_visible()
              and type(a).__name__ not in ("Legend", "Axis", "ZAxis", "Shadow")]
    return sorted(things, key=lambda a: a.get_zorder())


def _marks(ax):
    from matplotlib import collections as many
    from matplotlib import image, lines, patches
    owner = {}  # id(artist) -> (kind, the call or container it belongs to)
    for kind, args, kwargs, result in ax.__dict__.get("_calls", []):
        call = (kind, (args, kwargs, result))
        parts = result.wedges if kind == "pie" else itertools.chain(*result.values())
        owner |= {id(a): call for a in parts}
    for group in ax.containers:
        if ax.name == "3d" and type(group).__name__ == "BarContainer":
            continue  # there bars are polygons
        for part in group:
            for artist in part if isinstance(part, (list, tuple)) else [part]:
                owner[id(artist)] = (type(group).__name__, group)
    loose = [a for a in data_artists(ax) if type(a) is patches.Rectangle and id(a) not in owner
             and a.get_data_transform() == ax.transData]
    owner |= {id(a): ("BarContainer", loose) for a in loose}
    readers = {"BarContainer": _bars, "pie": _pie, "box": _box, "ErrorbarContainer": _errorbar,
               "StemContainer": _stem}
    classes = ((lines.Line2D, _line), (many.PathCollection, _scatter),
               ((many.QuadMesh, many.PolyQuadMesh), _image),
               (many.FillBetweenPolyCollection, _area), (image.AxesImage, _image), (object, _patch))
    marks, done = [], set()
    for artist in data_artists(ax):
        kind, thing = owner.get(id(artist), (None, artist))
        if id(thing) not in done:
            done.add(id(thing))
            read = readers.get(kind) or next(r for cls, r in classes if isinstance(artist, cls))
            mark = read(ax, thing)
            if mark:
                marks.append({"by": _parts(kind, thing)} | mark)
    return marks


def _parts(kind, thing):
    """The artists that draw a mark."""
    if kind == "pie":
        return list(thing[2].wedges)
    if kind == "box":
        return list(itertools.chain(*thing[2].values()))
    if kind is None:
        return [thing]
    parts = []
    for part in thing:
        parts += part if isinstance(part, (list, tuple)) else [part]
    return [part for part in parts if part is not None]


def _inside(ax, xs, ys):
    """Does the data's bounding box touch the view? (Polar and 3-D views clip by other rules.)"""
    for values, limits in ((xs, ax.get_xlim()), (ys, ax.get_ylim())):
        values = [v for v in values if math.isfinite(v)]
        if not values or (ax.name == "rectilinear" and
                          (max(values) < min(limits) or min(values) > max(limits))):
            return False
    return True


def _thin(points, most=1000):
    """Drop non-finite rows and keep at most `most`, evenly spaced."""
    import numpy as np
    points = np.ma.filled(np.ma.asarray(points, float), np.nan)
    points = points[np.isfinite(points).all(axis=1)]
    return points[np.linspace(0, len(points) - 1, min(len(points), most)).astype(int)]


def _tick_names(ax, positions, vertical):
    """The tick text at each position; texts that are words also name what is near them."""
    ticks = [t for t in (ax._shown_x if vertical else ax._shown_y) if t["text"]]
    if not ticks:
        return [""] * len(positions)
    words = not all(re.fullmatch(r"[-−\d.,eE]+", t["text"]) for t in ticks)
    gaps = [b["pos"] - a["pos"] for a, b in zip(ticks, ticks[1:])] or [1.0]
    reach = min(gaps) * (0.5 if words else 1e-3)
    nearest = [min(ticks, key=lambda t: abs(t["pos"] - p)) for p in positions]
    names = [t["text"] if abs(t["pos"] - p) < reach else "" for t, p in zip(nearest, positions)]
    return names if words or all(names) else [""] * len(names)


def _bars(ax, group):
    bars = [b for b in getattr(group, "patches", group) if b.get_visible()
            and math.isfinite(b.get_width() * b.get_height())
            and _inside(ax, (b.get_x(), b.get_x() + b.get_width()),
                        (b.get_y(), b.get_y() + b.get_height()))]
    if not bars:
        return None
    vertical = getattr(group, "orientation", "vertical") != "horizontal"
    low, thick, base, length = zip(*((b.get_x(), b.get_width(), b.get_y(), b.get_height())
                                     for b in bars))
    if not vertical:
        low, thick, base, length = base, length, low, thick
    centre = [a + b / 2 for a, b in zip(low, thick)]
    return {"type": "bars", "by": bars, "orient": "v" if vertical else "h", "label": _label(group),
            "names": _tick_names(ax, centre, vertical), "pos": six(centre), "base": six(base),
            "value": six(map(sum, zip(base, length))), "thick": six(map(abs, thick)),
            "colors": [hex_of(b.get_facecolor()) if b.get_fill() else None for b in bars],
            "edges": [hex_of(b.get_edgecolor()) if b.get_linewidth() else None for b in bars],
            "alpha": _alpha(bars[0], bars[0].get_facecolor()), "hatch": bars[0].get_hatch() or ""}


def _look(line):
    """A Line2D's colour, line style and marker; what is not drawn is "none" and 0."""
    style, marker, none = line.get_linestyle(), line.get_marker(), ("None", "none", "", " ", None)
    style = "none" if style in none or not line.get_linewidth() else \
        style if style in ("-", "--", ":", "-.") else "--"
    marker = "none" if marker in none or not line.get_markersize() else str(marker)
    color = hex_of(line.get_color()) if style != "none" else \
        hex_of(line.get_markerfacecolor()) or hex_of(line.get_markeredgecolor())
    return {"color": color, "linestyle": style, "marker": marker,
            "linewidth": six(line.get_linewidth()) if style != "none" else 0.0,
            "markersize": six(line.get_markersize()) if marker != "none" else 0.0}


def _line(ax, line):
    points, look = line.get_xydata(), _look(line)
    if line.get_transform() != ax.transData:  # axhline and friends: other coordinates
        points = ax.transData.inverted().transform(line.get_transform().transform(points))
    points = _thin(points)
    if look["color"] is None or _hidden(line) or not _inside(ax, *points.T) or (
            look["marker"] == "none" and (look["linestyle"] == "none" or len(points) == 1)):
        return None
    mark = {"type": "line", "label": _label(line), "x": six(points[:, 0]), "y": six(points[:, 1]),
            **look, "alpha": _alpha(line, line.get_color())}
    if line.get_drawstyle() != "default":
        mark["drawstyle"] = line.get_drawstyle()
    if hasattr(line, "get_data_3d"):
        mark |= zip("xyz", map(six, line.get_data_3d()))
    return mark


def _stem(ax, stem):
    mark = _line(ax, stem.markerline)
    return mark and mark | {"label": _label(stem), "drawstyle": "stem"}


@functools.lru_cache
def _marker_names():
    """Outline -> marker name: a scatter keeps the outline of its marker only."""
    from matplotlib.markers import MarkerStyle
    styles = [(name, MarkerStyle(name)) for name in "4321,.8|_dD+XxHh*Pps><^vo"]
    return {_outline_key(s.get_path().transformed(s.get_transform())): n for n, s in styles}


def _outline_key(path):
    return tuple((path.vertices.round(3) + 0.0).ravel())


def _scatter(ax, dots):
    import numpy as np
    if hasattr(dots, "_offsets3d"):
        offsets = np.ma.stack([np.ma.asarray(o, float) for o in dots._offsets3d], axis=1)
    else:
        offsets = np.ma.asarray(dots.get_offsets(), float)
    numbers = np.arange(len(offsets))[:, None]
    points = _thin(np.ma.hstack([offsets, numbers]))  # the last column: which dot it was
    faces = dots.get_facecolors() if len(dots.get_facecolors()) else dots.get_edgecolors()
    paths, sizes, which = dots.get_paths(), dots.get_sizes(), points[:, -1].astype(int)
    if not (len(faces) and len(sizes) and len(paths)) or _hidden(dots) or \
            not _inside(ax, points[:, 0], points[:, 1]):
        return None
    mark = {"type": "scatter", "label": _label(dots),
            "colors": [rgb_hex(faces[i % len(faces)]) for i in which],
            "sizes": [six(sizes[i % len(sizes)]) for i in which],
            "marker": _marker_names().get(_outline_key(paths[0]), "other"),
            "alpha": _alpha(dots, faces[0])}
    return mark | dict(zip("xyz", map(six, points[:, :-1].T)))


def _pie(ax, call):
    _, kwargs, pie = call
    wedges = [w for w in pie.wedges if w.get_visible()]
    if not wedges:
        return None
    first, names = wedges[0], [_label(w) for w in wedges]
    clockwise = bool(len(wedges) > 1 and wedges[1].theta2 <= first.theta1 + 1e-6 < first.theta2)
    centres = [tuple(round(float(v), 9) for v in w.center) for w in wedges]
    middle, times = collections.Counter(centres).most_common(1)[0]
    middle = middle if times > 1 else kwargs.get("center", (0, 0))
    return {"type": "pie", "by": wedges, "written": list(itertools.chain(*pie.texts)),
            "names": names,
            "fractions": six((w.theta2 - w.theta1) / 360 for w in wedges),
            "colors": [hex_of(w.get_facecolor()) for w in wedges],
            "start": six((first.theta2 if clockwise else first.theta1) % 360),
            "clockwise": clockwise, "radius": six(first.r),
            "hole": six(first.r - first.width) if first.width else 0.0,
            "explode": six(round(math.dist(c, middle) / w.r, 6) for c, w in zip(centres, wedges)),
            "texts": [seen_text(t) for t in itertools.chain(*pie.texts)
                      if seen_text(t) and t.get_text() not in names]}


def _box(ax, call):
    args, kwargs, artists = call
    stats = list(args[0] if args else kwargs["bxpstats"])
    pos = args[1] if len(args) > 1 else kwargs.get("positions")
    pos = list(range(1, len(stats) + 1)) if pos is None else list(pos)
    vertical = kwargs.get("vert") is not False and kwargs.get("orientation") != "horizontal"
    colors = [_color(a) for a in artists["boxes"] or artists["medians"]]
    keys = dict(median="med", q1="q1", q3="q3", low="whislo", high="whishi")
    return {"type": "box", "orient": "v" if vertical else "h", "pos": six(pos),
            "names": _tick_names(ax, pos, vertical),
            **{name: six(s[key] for s in stats) for name, key in keys.items()},
            "fliers": [six(s.get("fliers", ())) for s in stats] if artists["fliers"] else [],
            "color": colors[0] if colors else None, "colors": colors}


def _errorbar(ax, group):
    line, _, stretches = group
    mark, points = {"type": "errorbar", "label": _label(group)}, []
    for name in "xy":
        mark |= {f"{name}low": None, f"{name}high": None}
    for bars, name in zip(stretches, ["x"] * group.has_xerr + ["y"] * group.has_yerr):
        segments = [s for s in bars.get_segments() if len(s)]
        ends = [sorted(s[:, "xy".index(name)]) for s in segments]
        mark |= {f"{name}low": six(e[0] for e in ends), f"{name}high": six(e[-1] for e in ends)}
        points = [s.mean(axis=0) for s in segments]
    if line is not None:
        points = _thin(line.get_xydata())
    if not len(points) or not _inside(ax, *zip(*points)):
        return None
    look = _look(line) if line is not None and line.get_visible() else {}
    return mark | {"x": six(p[0] for p in points), "y": six(p[1] for p in points),
                   "color": look.get("color") or _color(stretches[0]),
                   "linestyle": look.get("linestyle", "none"), "marker": look.get("marker", "none")}


def _area(ax, area):
    across, rows = area.t_direction == "y", []  # y: fill_betweenx
    for path in area.get_paths():  # start, curve 1, end, curve 2 backwards, close
        points = path.vertices[:, ::-1] if across else path.vertices
        n = (len(points) - 3) // 2
        rows += [(x, min(a, b), max(a, b)) for (x, a), (_, b) in
                 zip(points[1:n + 1], points[n + 2:2 * n + 2][::-1])]
    color, rows = _color(area), _thin(rows or [(math.nan,) * 3])
    spread = (rows[:, 0], rows[:, 1:].ravel())
    if color is None or _hidden(area) or not _inside(ax, *spread[::-1 if across else 1]):
        return None
    return {"type": "area", "orient": "h" if across else "v", "label": _label(area), "color": color,
            **dict(zip(("x", "low", "high"), map(six, rows.T))),
            "alpha": _alpha(area, area.get_facecolor()[0])}


def _image(ax, picture):
    import numpy as np
    if picture.get_array() is None or not np.size(picture.get_array()):
        return None
    data = np.ma.filled(np.ma.asarray(picture.get_array(), float), np.nan)
    colored = data.ndim == 3
    data = data.mean(axis=2) if colored else np.atleast_2d(data)
    rows, cols = (np.linspace(0, n - 1, min(n, 64)).astype(int) for n in data.shape)
    return {"type": "image", "data": six(data[rows][:, cols]), "shape": list(data.shape),
            "cmap": "rgb" if colored else picture.get_cmap().name,
            "clim": [] if colored else six(picture.get_clim())}


def _patch(ax, artist):
    """Anything else that can be seen: its class, its extent in data coordinates, its colour."""
    color = _color(artist)
    if color is None or _hidden(artist):
        return None
    mark = {"type": "patch", "shape": type(artist).__name__, "label": _label(artist),
            "color": color}
    if hasattr(artist, "get_segments"):  # hlines, vlines, event plots
        ends = [[*s[0][:2], *s[-1][:2]] for s in artist.get_segments()[:200] if len(s)]
        xs, ys = ([v for e in ends for v in e[i::2]] for i in (0, 1))
        return mark | {"box": six((min(xs), min(ys), max(xs), max(ys))), "segments": six(ends)} \
            if ends and _inside(ax, xs, ys) else None
    box = artist.get_window_extent(ax.figure.canvas.get_renderer())
    if not all(map(math.isfinite, box.extents)):  # some 3-D collections do not know theirs
        box = ax.bbox
    if not (box.width or box.height) or not ax.bbox.overlaps(box):
        return None
    return mark | {"box": six(ax.transData.inverted().transform(box.get_points()).ravel())}
