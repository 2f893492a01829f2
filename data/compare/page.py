"""A page about two pictures: the errors in words, and boxes where they are, linked by hovering."""
from html import escape

from PIL import Image

from data.compare.places import Box
from data.pairs import data_url
from data.verdict import Discrepancy

Finding = tuple[Discrepancy, list[Box], list[Box]]  # an error, its boxes in either picture
STYLE = """body{font:15px/1.4 system-ui,sans-serif;max-width:70em;margin:1em auto;padding:0 1em}
.pair{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;flex:1 1 18em;max-width:34em}
.shown{position:relative;border:1px solid #ccc;line-height:0}.shown img{width:100%}
.shown i{position:absolute;border:2px solid #d0149c;border-radius:3px;opacity:.35;
min-width:6px;min-height:6px;margin:-3px}i.on{opacity:1;background:#d0149c33}
li{padding:.15em .4em;list-style:none;cursor:default}li.on{background:#fbe3f4}ol{padding:0}
td,th{text-align:left;padding:.2em .6em;vertical-align:top;overflow-wrap:anywhere}
figcaption{color:#555;overflow-wrap:anywhere}b{color:#a11}"""
# What is under the pointer, in the list or in a picture, is marked in all three places.
SCRIPT = """for(const name of ["mouseover","focusin"])document.addEventListener(name,event=>{
const key=event.target.dataset&&event.target.dataset.error;
for(const part of document.querySelectorAll("[data-error]"))
part.classList.toggle("on",part.dataset.error===key)})"""


def page(title: str, parts: list[str]) -> str:
    """A page that works without a network: a title and the `section` of each pair."""
    return (f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
            f"<style>{STYLE}</style><h1>{escape(title)}</h1>{''.join(parts)}"
            f"<script>{SCRIPT}</script></html>\n")


def section(number: int, names: tuple[str, str], images: tuple[Image.Image, Image.Image],
            score: float | None, found: list[Finding]) -> str:
    """One pair: both pictures with the boxes of the errors, then the errors in words.

    `score` is the fidelity; None: nothing was measured, and only the pictures are shown.
    """
    figures = []
    for side, (name, image) in enumerate(zip(names, images)):
        boxes = []
        for k, finding in enumerate(found):
            for left, top, right, bottom in finding[1 + side]:
                place = (f"left:{left:.2%};top:{top:.2%};width:{right - left:.2%};"
                         f"height:{bottom - top:.2%}")
                boxes.append(f'<i data-error="{number}-{k}" style="{place}"></i>')
        caption = ("reference: ", "compared: ")[side] + name
        figures.append(f'<figure><div class=shown><img src="{data_url(image)}" alt="">'
                       f"{''.join(boxes)}</div><figcaption>{escape(caption)}</figcaption></figure>")
    lines = [f'<li tabindex=0 data-error="{number}-{k}"><b>{"●" * error.severity}</b> '
             f"{escape(f'{error.category}, {error.location}: {error.description}')}</li>"
             for k, (error, *_) in enumerate(found)]
    told = f"<ol>{''.join(lines)}</ol>" if lines else "<p>No difference found.</p>"
    head = escape(names[1])
    if score is None:
        told = ""
    else:
        head += f": fidelity {score:.1f}"
    return (f"<section><h2>{head}</h2>"
            f"<div class=pair>{''.join(figures)}</div>{told}</section>")
