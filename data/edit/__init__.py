"""Targeted Edit: damages any program of a task by edits of named kinds.

The paper lets a strong model damage the true code by a list of error types. Here an edit is a few
lines: it changes one value, one word or one shape in the text of the program. It applies to
programs of any origin. What the edit did is not asserted: both programs are rendered and
`data/compare` measures what can be seen.

    >>> import random
    >>> circle = '<svg viewBox="0 0 9 9"><circle r="3"/></svg>'
    >>> damage("svg", circle, random.Random(0), kinds=["recolor"])
    ('<svg viewBox="0 0 9 9"><circle r="3" fill="red"/></svg>', ['recolor'])
"""
import random

from data.edit import chart, svg, table

KINDS = {"chart": tuple(chart.EDITS), "table": tuple(table.EDITS), "svg": tuple(svg.EDITS)}
EDITORS = {"chart": chart.damage_chart, "table": table.damage_table, "svg": svg.damage_svg}

# The kinds that lead from one program of level 1 (data/worlds) to another one of level 1.
LEVEL_1 = {
    "chart": ("value", "drop_value", "add_value", "swap_categories", "category",
              "title", "remove_title", "add_title", "xlabel", "remove_xlabel", "add_xlabel",
              "ylabel", "remove_ylabel", "add_ylabel", "chart_type", "color", "line_style",
              "marker", "grid"),
    "table": ("digit", "sign", "unit", "word", "empty", "remove_row", "add_row", "remove_column",
              "swap_cells", "swap_rows", "swap_columns", "header"),
    "svg": ("move", "resize", "stretch", "flip", "type", "recolor", "stroke", "remove", "extra",
            "text"),
}


def damage(task: str, code: str, rng: random.Random, kinds: list[str] | None = None,
           n: int = 1) -> tuple[str, list[str]]:
    """(damaged code, kinds of the edits made) after up to `n` edits of different kinds.

    `kinds`: names out of KINDS[task] to draw from, all by default; those that do not apply to the
    program are passed over. Raises ValueError for unknown names, and if no kind applies.
    """
    if task not in KINDS:
        raise ValueError(f"cannot edit task {task!r}: choose from {', '.join(KINDS)}")
    unknown = [kind for kind in kinds or () if kind not in KINDS[task]]
    if unknown:
        raise ValueError(f"no edit {unknown[0]!r} for {task}: "
                         f"choose from {', '.join(KINDS[task])}")
    kinds = list(kinds or KINDS[task])
    made = []
    for kind in rng.sample(kinds, len(kinds)):
        changed = EDITORS[task](code, kind, rng)
        if changed:
            code = changed[0]
            made.append(kind)
            if len(made) == n:
                break
    if not made:
        raise ValueError(f"none of the edits {', '.join(kinds)} applies to this {task}")
    return code, made
