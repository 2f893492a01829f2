"""SVG: drawn by CairoSVG; the scene is recorded at Cairo's pen.

There CSS, <use>, groups and transforms are already resolved and every path can be had flattened.
What CairoSVG draws wrongly is corrected before or as it draws (svg_input, svg_text, svg_drawing):
colours of CSS 4 (hsl(), #rrggbbaa, rgb() with spaces or percents), variables, masks by light,
clip paths, patterns, opacity over fill and stroke and of <use>, paint-order, strokes that are not
scaled, transforms and backgrounds of style sheets, markers without a viewBox, anchors of texts in
several pieces, baselines, lines of text-decoration, font shorthands and sizes in em.

What is not drawn is refused with an error of kind "forbidden":
- filters, mix-blend-mode, context-fill and context-stroke, colours outside sRGB (oklch(), lab());
- foreignObject, systemLanguage, files and addresses outside the SVG, entities of its own;
- writing-mode, textLength, word-spacing, baseline-shift, small capitals, text from right to left or
  with combining letters, different baselines in one text, text paths with other pieces of text,
  anchors of texts whose letters are placed one by one;
- calc(), the units rem, ch, vw, vh, Q, transforms in 3-D, transform-origin on paint servers, the
  CSS property clip, overflow="auto", linearRGB, radial gradients of radius 0 or with fr, dashes of
  length 0, <use> and <image> with one side only, variables with several values, currentColor of a
  group whose children have other colours;
- markers that are not clipped, on curves with orient="auto", on several lines of a path, on <rect>,
  <circle> and <ellipse>, or painted between fill and stroke.
"""
import re
import types
from xml.etree.ElementTree import Element, ParseError

from PIL import Image

from data.renderers.scene import RenderError, on_canvas, short, target_size
from data.renderers.svg_drawing import recorder
from data.renderers.svg_scene import scene_of
from data.renderers.svg_values import NUMBER, color, refuse, resolve_variables

SVG_SPACES = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


def draw_svg(code: str, size: int | tuple[int, int] | None) -> tuple[Image.Image, dict]:
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
    code = resolve_variables(code)
    try:
        tree = cairosvg.parser.Tree(bytestring=code.encode(), url_fetcher=fetch)
        if tree.tag != "svg":
            raise RenderError("syntax", f"the root element is <{tree.tag[:40]}>, not <svg>")
        if not re.fullmatch(rf"\s*{NUMBER}(?:[\s,]+{NUMBER}){{3}}\s*", tree.get("viewBox", "")):
            tree.pop("viewBox", None)           # as browsers do with one that is none
        page = types.SimpleNamespace(dpi=96, font_size=16, context_width=0, context_height=0)
        width, height, viewbox = node_format(page, tree)
        if not (width > 0 and height > 0):      # no size given, or a percentage of the page
            width, height = viewbox[2:] if viewbox else (300.0, 150.0)
            tree["width"], tree["height"] = str(width), str(height)
        _, w, h, canvas = target_size(width, height, size)
        _background(tree, viewbox)
        pen = recorder()(tree, None, 96, output_width=w, output_height=h,
                         background_color="white")
    except ParseError as error:
        raise RenderError("syntax", f"not an XML document: {short(error)}") from None
    except DefusedXmlException:
        raise RenderError("forbidden", "the SVG declares entities of its own") from None
    pen.cairo.flush()
    image = Image.frombuffer("RGB", (w, h), bytes(pen.cairo.get_data()), "raw", "BGRX",
                             pen.cairo.get_stride(), 1)
    image = on_canvas(image, canvas)
    return image, scene_of(pen, image, viewbox or (0, 0, width, height), (width, height))


def _background(tree, viewbox):
    """A background of the root element's style, as browsers paint it: a rectangle below all."""
    import cssselect2
    from cairosvg.parser import Node
    value = str(tree.get("background-color", tree.get("background", ""))).strip()
    if not value or value in ("none", "transparent"):
        return
    if color(value) is None:
        refuse(f"the background {value[:40]}")
    x, y = viewbox[:2] if viewbox else (0, 0)
    rect = Element("{http://www.w3.org/2000/svg}rect", x=f"{x}", y=f"{y}", width="100%",
                   height="100%", fill=value, stroke="none")
    tree.children.insert(0, Node(cssselect2.ElementWrapper.from_xml_root(rect), tree.style,
                                 tree.url_fetcher, parent=tree))
