"""Reports: one self-contained page of pictures, verdicts and numbers."""
import base64
import io
from html import escape

from PIL import Image

STYLE = """:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1rem;margin:0 0 .7rem}table{border-collapse:collapse;width:100%;font-size:.9rem}
article{border:1px solid var(--line);border-radius:12px;padding:1rem 1.2rem;margin:1.2rem 0}
.row{display:flex;flex-wrap:wrap;gap:.6rem 1rem;margin-bottom:.8rem}figure{margin:0;flex:1 1 14rem;max-width:26rem}
img{width:100%;background:#fff;border:1px solid var(--line);border-radius:6px}figcaption{font-size:.8rem;opacity:.7}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
.row span,pre{background:var(--soft);border-radius:6px;padding:.15rem .6rem}.s1{color:#b8860b}.s2{color:#d2691e}
.s3{color:#d22}pre{white-space:pre-wrap;font-size:.8rem;padding:.6rem}summary{cursor:pointer;margin-top:.5rem}"""


def data_url(image: Image.Image) -> str:
    """A picture as a PNG data URL."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def html_report(title: str, cards: list[dict], intro: str = "") -> str:
    """One self-contained page, everything escaped. A card has `title`, `images` [(caption, picture)] and may have
    `verdicts` {caption: Verdict}, `values` {name: number or text} and `texts` {name: long text, folded away}; what is
    None is left out."""
    page = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
            f"<h1>{escape(title)}</h1><p>{escape(intro)}</p>"]
    for card in cards:
        page.append(f"<article><h2>{escape(card['title'])}</h2><div class=row>")
        page += [f'<figure><img src="{data_url(image)}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
                 for caption, image in card["images"]]
        page.append("</div><div class=row>")
        page += [f"<span>{escape(name)} <b>{escape(show(value))}</b></span>"
                 for name, value in card.get("values", {}).items() if value is not None]
        page.append("</div>")
        for caption, verdict in card.get("verdicts", {}).items():
            page += [f"<p>{escape(caption)}</p>"] if caption and verdict else []
            if verdict and not verdict.readable:
                page.append(f"<p class=s3>Unreadable verdict.</p><pre>{escape(verdict.raw[:2000])}</pre>")
            elif verdict and verdict.errors:
                page.append("<table><tr><th>severity<th>category<th>location<th>description")
                page += [f"<tr><td class=s{e.severity}>{'●' * e.severity}<td>{escape(e.category)}"
                         f"<td>{escape(e.location)}<td>{escape(e.description)}" for e in verdict.errors]
                page.append("</table>")
            elif verdict:
                page.append("<p>No difference found.</p>")
        page += [f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
                 for name, text in card.get("texts", {}).items() if text]
        page.append("</article>")
    return "\n".join(page) + "</html>\n"


def show(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
