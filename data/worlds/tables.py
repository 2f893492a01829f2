"""Levels 2 and 3: tables, in HTML or Markdown."""
import random
import re

from data.worlds.themes import THEMES, calendar, pick

# Head, smallest and largest number v, format (1: 1.15 v, 2: v / 10), whether it has a sum.
COLUMNS = (
    ("Change (%)", -19, 19, "{0:+.1f}", 0), ("Share", 1, 60, "{0:.1f}%", 0),
    ("n", 12, 980, "{0:,.0f}", 1), ("p-value", 0.001, 0.2, "{0:.3f}", 0),
    ("Cost", 90, 9800, "${0:,.2f}", 1), ("Rank", 1, 30, "{0:.0f}", 0),
    ("Mean ± SD", 2, 80, "{0:.1f} ± {2:.1f}", 0), ("95% CI", 0.4, 6, "({0:.2f}, {1:.2f})", 0),
    ("Index", 82, 131, "{0:.1f}", 0), ("Balance", -900, 2400, "{0:+,.0f}", 1),
    ("Growth", -9, 28, "{0:+.2f}%", 0))


def element(_tag: str, _text: str | None = None, **keys) -> str:
    """One element of HTML or SVG. Empty keywords are left out; "_" in their names becomes "-"."""
    head = _tag
    for key, value in keys.items():
        if value:
            head += f' {key.replace("_", "-")}="{value}"'
    return f"<{head}/>" if _text is None else f"<{head}>{_text}</{_tag}>"


def _kind(what, unit, low, high, add):
    """A quantity of a theme as an entry of COLUMNS."""
    digits = 0 if high > 200 else 1 if high > 10 else 2
    return f"{what} ({unit})", low, high, f"{{0:,.{digits}f}}", add


def draw_table(level: int, rng: random.Random) -> str:
    """A table of one theme, some with row and column spans, a sum, a note, missing values."""
    theme, markdown = rng.choice(THEMES), level == 2 and rng.random() < 0.3
    if markdown:
        shares = (0, 0, 0, 0.5)
    elif level == 2:
        shares = (0.25, 0.35, 0.2, 0.5)
    else:
        shares = (0.5, 0.6, 0.4, 0.6)
    nested, double, marked, total = (rng.random() < share for share in shares)
    (axis, words), (by, groups) = rng.sample(theme.sides, 2)
    inner = pick(rng, groups, 2, level)
    words = pick(rng, words, 2, level + 2) if nested else words
    spans = ["Baseline", "Follow-up"] if nested else pick(rng, groups, 2, 3)
    if not nested and rng.random() < 0.5:
        axis, words = calendar(rng, rng.randint(3 * level - 2, 12))
    kinds = [_kind(theme.what, theme.unit, theme.low, theme.high, theme.parts),
             _kind(theme.other, theme.unit2, theme.low2, theme.high2, False)]
    more = rng.randint(0, len(spans) < 3) if double else rng.randint(1, level + 1)
    kinds += rng.sample(COLUMNS, more)
    n = len(words) * (len(inner) if nested else 1)
    columns = kinds * (len(spans) if double else 1)
    total = total and any(kind[4] for kind in kinds)
    texts = []  # column by column
    for _, low, high, form, add in columns:
        digits = int(form.partition(".")[2][0])
        values = [round(rng.uniform(low, high), digits) for _ in range(n)]
        texts.append([form.format(v, v * 1.15, abs(v) / 10) for v in values])
        if total:
            texts[-1].append(f"<b>{form.format(sum(values)) if add else '–'}</b>")
    for _ in range(0 if total else rng.choice((0, 1, level))):  # values that are missing
        missing, column = rng.choice(("–", "n/a", "")), rng.choice(texts)
        column[rng.randrange(n)] = missing
    texts[0][rng.randrange(n)] += "*" * marked
    if markdown:
        rule = [rng.choice((":---", "---"))] + [rng.choice(("---:", ":---:", "---"))] * len(columns)
        heads = [axis, *(kind[0] for kind in columns)]
        rows = [heads, rule, *zip([*words, "<b>Total</b>"], *texts)]
        text = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
        return re.sub("</?b>", "**", text)
    style = rng.choice(("", "text-align: right", "text-align: center"))
    rows = []
    for row in zip(*texts):
        rows.append("".join(element("td", text, style=style) for text in row))
    stubs = [element("td", word, rowspan=nested and len(inner)) for word in words]
    if nested:  # a word stands beside the first of its inner rows only
        outer, stubs = stubs, []
        for head in outer:
            cells = [element("td", word) for word in inner]
            stubs += [head + cells[0], *cells[1:]]
    stubs.append(element("td", "<b>Total</b>", colspan=nested and 2))
    top = "".join(element("th", head, rowspan=double and 2) for head in [axis, by][:1 + nested])
    ends = "".join(element("th", kind[0]) for kind in columns)
    spread = "".join(element("th", span, colspan=len(kinds)) for span in spans)
    head = [top + spread, ends] if double else [top + ends]
    rows = [f"<tr>{row}</tr>" for row in head + [stub + row for stub, row in zip(stubs, rows)]]
    subject = f"{theme.what} by {axis} and {by}" if nested else f"{theme.what} by {axis}"
    title = f"<caption>Table {rng.randint(1, 9)}. {subject}</caption>"
    body = ["<thead>", *rows[:1 + double], "</thead>",
            "<tbody>", *rows[1 + double:], "</tbody>", "</table>"]
    note = f"<p>* {rng.choice(('Provisional', 'Estimated', 'Revised', 'Excludes outliers'))}.</p>"
    return "\n".join(["<table>", *[title] * (rng.random() < 0.35), *body, *[note] * marked])
