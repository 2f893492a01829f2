"""SVG: drawn by CairoSVG; the scene is recorded at Cairo's pen.

There CSS, <use>, groups and transforms are already resolved and every path can be had flattened.
"""
import functools
import itertools
import math
import re
import types
from xml.etree.ElementTree import ParseError

from PIL import Image

from data.renderers.scene import RenderError, on_canvas, rgb_hex, short, six, target_size

SVG_SPACES = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


def draw_svg(code, size):
    import cairosvg.parser
    from cairosvg.helpers import node_format
    from defusedxml import DefusedXmlException

    def fetch(url, kind):
        if str(url).startswith("data:image/"):
            return cairosvg.url.fetch(url, kind)
        raise RenderError("forbidden", "the SVG refers to a file or address outside itself: "
                          f"{str(url)[:80]}")

    code = code.strip()
    if not code:
        raise RenderError("blank", "the SVG is empty")
    for mark, name in (("xlink:", "xmlns:xlink"), ("", "xmlns")):    # often forgotten; CSS needs it
        if mark in code and not re.search(rf"<svg\b[^>]*\b{name}\s*=", code):
            code = re.sub(r"<svg\b", f'<svg {name}="{SVG_SPACES[name]}"', code, count=1)
    try:
        tree = cairosvg.parser.Tree(bytestring=code.encode(), url_fetcher=fetch)
        if tree.tag != "svg":
            raise RenderError("syntax", f"the root element is <{tree.tag[:40]}>, not <svg>")
        page = types.SimpleNamespace(dpi=96, font_size=16, context_width=0, context_height=0)
        width, height, viewbox = node_format(page, tree)
        if not (width > 0 and height > 0):      # no size given, or a percentage of the page
            width, height = viewbox[2:] if viewbox else (300.0, 150.0)
            tree["width"], tree["height"] = str(width), str(height)
        _, w, h, canvas = target_size(width, height, size)
        pen = _recorder()(tree, None, 96, output_width=w, output_height=h,
                          background_color="white")
    except ParseError as error:
        raise RenderError("syntax", f"not an XML document: {short(error)}") from None
    except DefusedXmlException:
        raise RenderError("forbidden", "the SVG declares entities of its own") from None
    pen.cairo.flush()
    image = Image.frombuffer("RGB", (w, h), bytes(pen.cairo.get_data()), "raw", "BGRX",
                             pen.cairo.get_stride(), 1)
    image = on_canvas(image, canvas)
    return image, {"task": "svg", "size": list(image.size), "shapes": pen.shapes(image.size),
                   "viewbox": six(viewbox or (0, 0, width, height))}


class _Pen:
    """Added to Cairo's drawing context: tells the surface what is painted, then paints it."""

    def fill_preserve(self):
        self.surface.painted("fill", self)
        super().fill_preserve()

    def stroke(self):
        self.surface.painted("stroke", self)
        super().stroke()

    def set_font_options(self, options):    # the best antialiasing would draw masks for LCD stripes
        import cairocffi
        options.set_antialias(cairocffi.ANTIALIAS_GRAY)
        super().set_font_options(options)

    def show_text(self, letter):
        self.surface.lettered(letter, self)
        super().show_text(letter)

    def paint_with_alpha(self, alpha):
        self.surface.pictured(alpha, self)
        super().paint_with_alpha(alpha)


class _Recorder:
    """Added to CairoSVG's PNG surface: notes what is painted, node by node, for the scene."""

    def set_context_size(self, *args):      # first called right after the context is made
        if type(self.context) is not self.pen:
            self.marks, self.nodes = [], []
            self.context.__class__, self.context.surface = self.pen, self
        super().set_context_size(*args)

    def draw(self, node):
        self.nodes.append(node)
        node["text-rendering"] = "geometricPrecision"   # letters where the scale puts them
        super().draw(node)
        self.nodes.pop()

    def mark(self, pen):
        """The entry of the node being drawn; made when it is first painted."""
        node = self.nodes[-1]
        if not self.marks or self.marks[-1]["node"] is not node:
            x0, y0, x1, y1 = pen.clip_extents()
            corners = [pen.user_to_device(x, y) for x in (x0, x1) for y in (y0, y1)]
            group = math.prod(float(n.get("opacity", 1)) for n in self.nodes if n.children)
            self.marks.append({
                "node": node, "text_node": next((n for n in self.nodes if n.tag == "text"),
                                                None),
                "clip": _bounds(corners), "opacity": group, "paths": [], "points": [],
                "fill": None, "fill_opacity": 1.0, "stroke": None, "stroke_opacity": 1.0,
                "stroke_width": 0.0, "dash": False, "stops": None})
        return self.marks[-1]

    def painted(self, how, pen):
        colour, stops, alpha = _paint(pen.get_source())
        tag = self.nodes[-1].tag
        if tag in ("g", "svg", "use", "symbol", "switch", "marker", "a") or (
                how == "fill" and tag == "line") or (
                how == "stroke" and not (colour and pen.get_line_width())):
            return
        mark = self.mark(pen)
        mark |= {how: colour, f"{how}_opacity": alpha, "stops": stops or mark["stops"]}
        if how == "stroke":
            mark |= {"stroke_width": pen.get_line_width() * _zoom(pen),
                     "dash": bool(pen.get_dash()[0])}
        if not mark["paths"] and mark["text_node"] is None:
            fine = pen.get_tolerance()
            pen.set_tolerance(0.1)
            mark["paths"] = _subpaths(pen)
            pen.set_tolerance(fine)

    def lettered(self, letter, pen):
        colour, stops, alpha = _paint(pen.get_source())
        mark, (x, y) = self.mark(pen), pen.get_current_point()
        if not mark["points"]:
            mark |= {"fill": colour, "fill_opacity": alpha, "stops": stops,
                     "text": self.nodes[-1].text, "start": pen.user_to_device(x, y),
                     "em": self.font_size * _zoom(pen)}
        dx, dy, w, h, _, _ = pen.text_extents(letter)
        mark["points"] += [pen.user_to_device(x + dx + i * w, y + dy + j * h)
                           for i in (0, 1) for j in (0, 1)]

    def pictured(self, alpha, pen):
        node = self.nodes[-1]
        if node.tag == "image" and hasattr(node, "image_width"):
            points = [pen.user_to_device(x * node.image_width, y * node.image_height)
                      for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
            self.mark(pen).update(paths=[(points, True)], fill="image", fill_opacity=alpha)

    def shapes(self, canvas):
        runs = []
        for mark in self.marks:
            if runs and _same_run(runs[-1], mark):
                runs[-1]["text"] += mark["text"]
                runs[-1]["points"] += mark["points"]
            else:
                runs.append(mark)
        return [s for s in (_shape(m, self.width, self.height, canvas) for m in runs) if s]


@functools.lru_cache
def _recorder():
    """CairoSVG's PNG surface with both additions (made here, so that charts need no CairoSVG)."""
    import cairocffi
    import cairosvg.surface
    pen = type("Pen", (_Pen, cairocffi.Context), {})
    return type("Recorder", (_Recorder, cairosvg.surface.PNGSurface), {"pen": pen})


def _zoom(pen):
    """Pixels per user unit (the geometric mean where the two axes differ)."""
    a, b, c, d, _, _ = pen.get_matrix().as_tuple()
    return math.sqrt(abs(a * d - b * c))


def _paint(source):
    """A Cairo source -> (colour, gradient stops or None, opacity); colour None paints nothing."""
    import cairocffi
    if isinstance(source, cairocffi.SolidPattern):
        rgba = source.get_rgba()
        return rgb_hex(rgba), None, six(rgba[3]) if rgba[3] else 1.0
    if isinstance(source, cairocffi.Gradient):
        return "gradient", [rgb_hex((*stop[1:4], 1)) for stop in source.get_color_stops()], 1.0
    return "pattern", None, 1.0


def _subpaths(pen):
    """The current path, flattened: a list of (points in px, closed)."""
    a, b, c, d, e, f = pen.get_matrix().as_tuple()
    parts = []
    for kind, point in pen.copy_path_flat():        # 0: move, 1: line, 3: close
        if kind == 3 and parts:
            parts[-1][1] = True
        elif kind != 3:
            x, y = point
            if kind == 0:
                parts.append([[], False])
            parts[-1][0].append((a * x + c * y + e, b * x + d * y + f))
    return [part for part in parts if len(part[0]) > 1]


def _bounds(points):
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs), max(ys)


def _same_run(one, two):
    """Two pieces of one <text> that read on without a visible break (a tspan without effect)."""
    if one["text_node"] is None or one["text_node"] is not two["text_node"] or \
            not (one["points"] and two["points"]):
        return False
    same = all(one[k] == two[k] for k in ("fill", "fill_opacity", "stroke", "opacity", "em"))
    left, _, right, _ = _bounds(one["points"])
    return same and abs(one["start"][1] - two["start"][1]) < 0.1 * one["em"] and \
        left <= two["start"][0] < right + one["em"]


def _shape(mark, width, height, canvas):
    """One painted node as a scene entry in fractions of the canvas; None if nothing can be seen."""
    points = mark["points"] or [p for path, _ in mark["paths"] for p in path]
    if not points or mark["opacity"] == 0 or not (mark["fill"] or mark["stroke"]):
        return None
    box, clip, reach = _bounds(points), mark["clip"], mark["stroke_width"] / 2
    if box[2] + reach <= clip[0] or box[0] - reach >= clip[2] or \
            box[3] + reach <= clip[1] or box[1] - reach >= clip[3]:
        return None
    if not mark["stroke"] and (box[2] - box[0] < 1e-6 or box[3] - box[1] < 1e-6):
        return None

    def fraction(values):
        return six(v / canvas[i % 2] for i, v in enumerate(values))
    is_text = mark["text_node"] is not None
    shape = {"type": "text" if is_text else mark["node"].tag, "box": fraction(box),
             "stroke_width": six(mark["stroke_width"] / canvas[0]),
             "opacity": six(mark["opacity"]), **{key: mark[key] for key in (
                 "fill", "fill_opacity", "stroke", "stroke_opacity", "dash")}}
    if mark["stops"]:
        shape["stops"] = mark["stops"]
    seen = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
    if clip[0] > seen[0] + 1 or clip[1] > seen[1] + 1 or clip[2] < seen[2] - 1 or \
            clip[3] < seen[3] - 1:
        shape["clip"] = fraction(clip)
    if is_text:
        text = " ".join(mark.get("text", "").split())
        return shape | {"text": text, "font_size": six(mark["em"] / canvas[1])} if text else None
    outline, starts, many = [], [], len(mark["paths"]) > 1
    for path, _ in mark["paths"]:
        starts.append(len(outline))
        share = max(4, 64 * len(path) // len(points)) if many else 64
        outline += [six((x / canvas[0], y / canvas[1])) for x, y in _resample(path, share)]
    shape |= {"outline": outline[:64], "closed": all(closed for _, closed in mark["paths"])}
    return shape | {"starts": [s for s in starts if s < 64]} if many else shape


def _resample(path, count):
    """At most `count` points: the corners themselves, or points evenly spaced along the path."""
    if len(path) <= count:
        return path
    lengths = [0.0, *itertools.accumulate(math.dist(a, b) for a, b in zip(path, path[1:]))]
    found, i = [], 0
    for at in (lengths[-1] * k / (count - 1) for k in range(count)):
        while i < len(path) - 2 and lengths[i + 1] < at:
            i += 1
        t = (at - lengths[i]) / ((lengths[i + 1] - lengths[i]) or 1)
        found.append(tuple(a + t * (b - a) for a, b in zip(path[i], path[i + 1])))
    return found
