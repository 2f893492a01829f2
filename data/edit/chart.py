"""Damage to Matplotlib programs, for `data/edit`.

An editor takes (`Program`, rng) and returns (new code, place) or None. The place is named as in
`compare`, or "".
"""
import ast
import math
import random
import re

from data.edit.program import Program, number_in, parses, string_in
from data.worlds.level1 import COLORS, LABELS, LETTERS, TITLES

SETTERS = {"title": ("set_title", "title"), "xlabel": ("set_xlabel", "xlabel"),
           "ylabel": ("set_ylabel", "ylabel")}
PLACES = {"title": "title", "xlabel": "x-axis label", "ylabel": "y-axis label"}


def _like(value, examples):
    """`value` written like the example numbers: as an integer, or with as many decimals."""
    if all(isinstance(e, int) for e in examples):
        return str(round(value))
    decimals = max(len(repr(float(e)).partition(".")[2]) for e in examples)
    return f"{value:.{min(decimals, 6)}f}"


def _other_value(values, old, rng):
    """A value visibly other than `old`, in or a little beyond the range of `values`.

    It does not pass zero. Whole numbers stay multiples of what divides them all: 20, 30 and 50
    become 40 and not 43.
    """
    step = math.gcd(*values) or 1 if all(isinstance(v, int) for v in values) else 1
    low, high = min(values), max(values)
    if all(isinstance(v, int) and 0 < v <= 10 for v in values):
        low, high = 1, 9
    span = (high - low) or abs(high) or 1
    for _ in range(50):
        new = rng.uniform(low - 0.3 * span * (low < 0), high + 0.3 * span * (high > 10))
        text = _like(step * round(new / step) if step > 1 else new, values)
        visible = abs(float(text) - old) >= 0.1 * max(span, abs(high))
        if visible and (float(text) > 0 or low <= 0):
            return text
    return _like(old + 0.5 * span, values)


def other_word(old: str, rng: random.Random, pool: tuple[str, ...]) -> str:
    """Another word of `pool`, or, one time in three, `old` with one wrong letter."""
    letters = [k for k, c in enumerate(old) if c.isalpha()]
    if len(letters) > 3 and rng.random() < 1 / 3:
        k = rng.choice(letters)
        new = rng.choice("aeiou" if old[k] not in "aeiou" else "rstnl")
        return rng.choice((old[:k] + old[k + 1:], old[:k] + new + old[k + 1:]))
    return rng.choice([word for word in pool if word.lower() != old.lower()])


def _other_name(names, rng):
    """A category name that is not yet in `names` and looks like them."""
    if all(len(name) == 1 and name.isupper() for name in names):
        free = [letter for letter in LETTERS if letter not in names]
        return rng.choice(free) if free else None
    years = [name for name in names if name.isdigit()]
    if len(years) == len(names):
        return str(max(map(int, names)) + 1)
    free = [word for word in LABELS if word not in names]
    return rng.choice(free) if free else None


# --- 1. values ---

def _noun(call):
    """What `compare` calls a mark of a call."""
    return {"bar": "bar", "barh": "bar", "pie": "slice"}.get(call.func.attr, "point")


def _item_place(program, call, k):
    """The name of the k-th mark of a call in `compare`, as far as the code shows it."""
    names = program.categories(call)
    if names:
        return f"{_noun(call)} '{string_in(names.elts[k])}'"
    xs = program.numbers(call.args[0]) if len(call.args) > 1 else None
    if xs and len(xs.elts) > k:
        order = sorted(range(len(xs.elts)), key=lambda i: number_in(xs.elts[i]))
        k = order.index(k)
    return f"{_noun(call)} {k + 1}"


def _value(program, rng):
    calls = [call for call in program.plots() if program.values(call)]
    if not calls:
        return None
    call = rng.choice(calls)
    elements = program.values(call).elts
    k = rng.randrange(len(elements))
    values = [number_in(e) for e in elements]
    if call.func.attr == "pie" and len(values) < 2 or call.func.attr in ("hist", "boxplot"):
        return None
    new = _other_value(values, values[k], rng)
    place = _item_place(program, call, k)
    if call.func.attr == "pie" and len(values) == 2:
        place = "slice"  # of two slices, either may have changed
    return program.replace((elements[k], new)), place


def _drop(program, k, lists):
    """Changes that take the k-th element out of each list."""
    changes = []
    for found in lists:
        spans = [program.span(e) for e in found.elts]
        if k + 1 < len(spans):
            cut = spans[k][0], spans[k + 1][0]
        else:
            cut = spans[k - 1][1], spans[k][1]
        changes.append((cut, ""))
    return changes


def _drop_value(program, rng):
    calls = [call for call in program.plots() if call.func.attr not in ("hist", "boxplot")
             and program.values(call) and len(program.values(call).elts) > 1]
    if not calls:
        return None
    call = rng.choice(calls)
    k = rng.randrange(len(program.values(call).elts))
    lists = program.parallel(call)
    if not lists:
        return None
    return program.replace(*_drop(program, k, lists)), _item_place(program, call, k)


def _add_value(program, rng):
    calls = [call for call in program.plots() if program.values(call)
             and call.func.attr in ("bar", "barh", "plot", "scatter", "pie")]
    if not calls:
        return None
    call = rng.choice(calls)
    names = program.categories(call)
    name = _other_name([string_in(e) for e in names.elts], rng) if names else None
    if names and name is None:
        return None
    lists = program.parallel(call)
    if lists is None:
        return None
    n = len(lists[0].elts)
    k = n  # where the new element goes
    texts = [string_in(e) for e in names.elts] if names else []
    if names and texts == sorted(texts):
        k = sum(text < name for text in texts)
    places = program.numbers(call.args[0]) if len(call.args) > 1 else None
    if places:
        xs = [number_in(e) for e in places.elts]
        x = _new_x(program, xs, rng)
        if x is None:
            return None
        k = sum(v < x for v in xs) if xs == sorted(xs) else n
    changes = []
    for found in lists:
        values = [number_in(e) for e in found.elts]
        if found is names:
            new = program.quote(name)
        elif found is places:
            new = _like(x, values)
        elif None not in values:
            new = _like(rng.choice(values), values)
        else:
            taken = [string_in(e) for e in found.elts]
            free = [c for c in COLORS if c not in taken]
            if None in taken or not free:
                return None
            new = program.quote(rng.choice(free))
        if k < n:
            at = program.span(found.elts[k])[0]
            changes.append(((at, at), f"{new}, "))
        else:
            at = program.span(found.elts[-1])[1]
            changes.append(((at, at), f", {new}"))
    place = f"{_noun(call)} '{name}'" if name else f"{_noun(call)} {k + 1}"
    return program.replace(*changes), place


def _new_x(program, values, rng):
    """A free position inside the limits of the x axis; without limits, one after the last."""
    calls = program.calls("set_xlim", "xlim")
    limits = [number_in(arg) for arg in calls[0].args] if len(calls) == 1 else []
    if len(limits) == 2 and None not in limits:
        low, high = limits
        steps = [low + (high - low) * k / 10 for k in range(1, 10)]
        free = [x for x in steps if min(abs(x - v) for v in values) > 0.05 * (high - low)]
        return float(_like(rng.choice(free), values)) if free else None
    step = values[-1] - values[-2] if len(values) > 1 else 1
    return values[-1] + (step if step > 0 else 1)


def _swap_categories(program, rng):
    calls = [call for call in program.plots("bar", "barh", "pie", "plot", "scatter")
             if program.values(call) and program.categories(call)
             and len(program.values(call).elts) > 1]
    if not calls:
        return None
    call = rng.choice(calls)
    i, j = sorted(rng.sample(range(len(program.values(call).elts)), 2))
    lists = [found for found in program.parallel(call) or [] if found is program.categories(call)
             or None not in [number_in(e) for e in found.elts]]
    if not lists:
        return None
    positions = program.numbers(call.args[0])
    if call.func.attr != "pie" and any(found is positions for found in lists):
        return None  # swapping positions and values changes nothing
    changes = []
    for found in lists:
        one, other = found.elts[i], found.elts[j]
        changes += [(one, program.text(other)), (other, program.text(one))]
    return program.replace(*changes), _item_place(program, call, i)


def _category(program, rng):
    calls = [call for call in program.plots() if program.values(call) and program.categories(call)]
    if not calls:
        return None
    call = rng.choice(calls)
    names = program.categories(call)
    k = rng.randrange(len(names.elts))
    name = _other_name([string_in(e) for e in names.elts], rng)
    if not name:
        return None
    place = {"barh": "y ticks", "pie": _item_place(program, call, k)}.get(call.func.attr, "x ticks")
    return program.replace((names.elts[k], program.quote(name))), place


# --- 2. texts ---

def _change_text(which):
    def change(program, rng):
        calls = [call for call in program.calls(*SETTERS[which])
                 if call.args and string_in(call.args[0])]
        if not calls:
            return None
        call = rng.choice(calls)
        pool = TITLES if which == "title" else LABELS
        new = other_word(string_in(call.args[0]), rng, pool)
        return program.replace((call.args[0], program.quote(new))), PLACES[which]
    return change


def _remove_text(which):
    def remove(program, rng):
        return _delete_one(program, rng, program.calls(*SETTERS[which]), PLACES[which])
    return remove


def _add_text(which):
    def add(program, rng):
        if program.calls(*SETTERS[which]):
            return None
        word = program.quote(rng.choice(TITLES if which == "title" else LABELS))
        code = program.insert_call(SETTERS[which][0], word)
        return code and (code, PLACES[which])
    return add


def _delete_one(program, rng, calls, place):
    codes = [code for code in map(program.delete_call, calls) if code]
    return (rng.choice(codes), place) if codes else None


def _legend_text(program, rng):
    nodes = []
    for call in program.plots():
        nodes += [k.value for k in call.keywords if k.arg == "label"]
    for call in program.calls("legend"):
        texts = program.strings(call.args[-1]) if call.args else None
        if texts:
            nodes += texts.elts
    nodes = [node for node in nodes if string_in(node)]
    if not nodes or not program.calls("legend"):
        return None
    node = rng.choice(nodes)
    new = other_word(string_in(node), rng, TITLES)
    return program.replace((node, program.quote(new))), "legend"


def _remove_legend(program, rng):
    return _delete_one(program, rng, program.calls("legend"), "legend")


def _annotation(program, rng):
    found = []
    for call in program.calls("annotate", "text"):
        k = 0 if call.func.attr == "annotate" else 2
        if len(call.args) > k and string_in(call.args[k]):
            found.append(call.args[k])
    if not found:
        return None
    node = rng.choice(found)
    new = other_word(string_in(node), rng, LABELS)
    return program.replace((node, program.quote(new))), "annotation"


def _remove_annotation(program, rng):
    return _delete_one(program, rng, program.calls("annotate", "text"), "annotation")


def _remove_ticks(program, rng):
    plots = program.plots()
    if any(call.func.attr == "pie" for call in plots) or program.tick_texts():
        return None
    axis = rng.choice("xy")
    code = program.insert_call(f"set_{axis}ticks", "[]")
    return code and (code, f"{axis} ticks")


# --- 3. chart type ---

FITS = {  # chart types that take the same (x, y); all keyword arguments but these are dropped
    "bar": ("barh", "plot", "scatter", "pie"), "barh": ("bar", "plot", "pie"),
    "plot": ("bar", "scatter", "barh"), "scatter": ("plot", "bar"), "pie": ("bar", "barh"),
}


def _chart_type(program, rng):
    calls = [call for call in program.plots(*FITS)
             if len(call.args) == (1 if call.func.attr == "pie" else 2)
             and not any(k.arg is None for k in call.keywords)
             and string_in(call.args[-1]) is None]
    if not calls:
        return None
    call = rng.choice(calls)
    old, new = call.func.attr, rng.choice(FITS[call.func.attr])
    names, label = program.keyword(call, "labels"), program.keyword(call, "label")
    color = program.keyword(call, "color", "colors", "c")
    if {"pie", "barh"} & {old, new} and len(program.plots()) > 1:
        return None
    if new == "pie" and not program.categories(call):
        return None
    many = color is not None and program.literal(color.value) is not None
    paint = program.text(color.value) if color is not None else None
    x, y = ("", program.text(call.args[0])) if old == "pie" else map(program.text, call.args)
    arguments = [y, f"labels={x}"] if new == "pie" else [x, y]
    if old == "pie":
        if names is None:
            return None
        arguments[0] = program.text(names.value)
    if new == "pie":
        values = program.values(call)
        if values is None or min(number_in(e) for e in values.elts) <= 0:
            return None
        free = rng.sample(COLORS, len(COLORS))
        if not many:
            paint = None
        if not paint and len(values.elts) <= len(free):
            paint = "[" + ", ".join(map(program.quote, free[:len(values.elts)])) + "]"
    elif many and new == "plot":
        paint = program.quote(rng.choice(COLORS))
    if paint:
        arguments.append(f"{'colors' if new == 'pie' else 'color'}={paint}")
    if new == "plot":
        arguments += [f"linestyle={program.quote('-')}", f"marker={program.quote('o')}"]
    elif new == "scatter":
        arguments.append(f"marker={program.quote('o')}")
    if label and new != "pie":
        arguments.append(f"label={program.text(label.value)}")
    changes = [(call, f"{program.text(call.func.value)}.{new}({', '.join(arguments)})")]
    return program.replace(*changes, *_turn_limits(program, old, new)), "plot"


def _turn_limits(program, old, new):
    """Limits of the value axis follow it when a chart is turned, and go when it becomes a pie."""
    value_axis = {"barh": "x", "pie": None}
    before, after = value_axis.get(old, "y"), value_axis.get(new, "y")
    changes = []
    for call in program.calls(f"set_{before}lim"):
        if len(program.plots()) > 1 or before == after or program.calls(f"set_{after}lim"):
            continue
        start, end = program.span(call.func)
        changes.append(((end - 4, end - 3), after) if after else (program.line(call), ""))
    return changes


def _remove_series(program, rng):
    plots = program.plots()
    if len(plots) < 2:
        return None
    call = rng.choice(plots)
    label = program.keyword(call, "label")
    code = program.delete_call(call)
    where = f"series '{string_in(label.value)}'" if label and string_in(label.value) else ""
    return code and (code, where)


# --- 4. style ---

def _color(program, rng):
    """Another colour for a series, or for one mark of a list of colours. A missing one is added."""
    calls = program.plots("bar", "barh", "plot", "scatter", "pie", "step", "fill_between",
                          "errorbar")
    if not calls:
        return None
    call = rng.choice(calls)
    keyword = program.keyword(call, "color", "c", "colors", "facecolor")
    found = program.strings(keyword.value) if keyword else None
    formats = [string_in(arg) or "" for arg in call.args[1:]]
    if found:
        k = rng.randrange(len(found.elts))
        node, place = found.elts[k], _item_place(program, call, k)
        taken = [string_in(e) for e in found.elts]
    elif keyword and string_in(keyword.value):
        node, place = keyword.value, "plot"
        taken = [string_in(node)]
    elif keyword or call.func.attr == "pie" or re.search("[rgbcmykw]", " ".join(formats)):
        return None
    else:
        new = program.quote(rng.choice([c for c in COLORS if c != "blue"]))
        return program.replace(program.set_keyword(call, ("color",), new)), "plot"
    free = [c for c in COLORS if c not in taken] or [c for c in COLORS if c != string_in(node)]
    return program.replace((node, program.quote(rng.choice(free)))), place


def _choose(names, values, methods, place="plot"):
    """Editor that gives a keyword argument another of `values`."""
    def change(program, rng):
        calls = [call for call in program.plots(*methods)
                 if not any(string_in(arg) for arg in call.args[1:])]
        if not calls:
            return None
        call = rng.choice(calls)
        keyword = program.keyword(call, *names)
        if keyword and not isinstance(keyword.value, ast.Constant):
            return None
        old = keyword.value.value if keyword else values[0]
        new = rng.choice([v for v in values if v != old and {v, old} != {"None", "none"}])
        text = program.quote(new) if isinstance(new, str) else repr(new)
        return program.replace(program.set_keyword(call, names, text)), place
    return change


def _grid(program, rng):
    """Grid on where it is off, and off where it is on."""
    if program.calls("grid"):
        return _delete_one(program, rng, program.calls("grid"), "grid")
    if any(call.func.attr == "pie" for call in program.plots()):
        return None
    code = program.insert_call("grid", "True")
    return code and (code, "grid")


def _background(program, rng):
    if program.calls("set_facecolor") or any(call.func.attr == "pie" for call in program.plots()):
        return None
    color = rng.choice(("lightyellow", "lightblue", "lightgray"))
    code = program.insert_call("set_facecolor", program.quote(color))
    return code and (code, "background")


def _limits(program, rng):
    """Other limits of an axis that has limits given as numbers."""
    calls = [call for call in program.calls("set_xlim", "set_ylim", "xlim", "ylim")
             if len(call.args) == 2 and None not in map(number_in, call.args)]
    if not calls:
        return None
    call = rng.choice(calls)
    low, high = (number_in(arg) for arg in call.args)
    new = _like(low + (high - low) * rng.choice((0.6, 0.8, 1.2, 1.5, 2)), [low, high])
    if float(new) in (low, high):
        return None
    axis = "x" if "x" in call.func.attr else "y"
    return program.replace((call.args[1], new)), f"{axis} axis"


def _scale(program, rng):
    """Logarithmic y axis where it is linear, linear where it is logarithmic."""
    logs = [call for call in program.calls("set_yscale", "yscale")
            if call.args and string_in(call.args[0]) == "log"]
    if logs:
        return _delete_one(program, rng, logs, "y axis")
    plots = program.plots()
    if not plots or any(call.func.attr not in ("bar", "plot", "scatter") for call in plots):
        return None
    values = [program.values(call) for call in plots]
    if None in values or program.calls("set_ylim", "ylim"):
        return None
    if any(number_in(e) <= 0 for found in values for e in found.elts):
        return None
    code = program.insert_call("set_yscale", program.quote("log"))
    return code and (code, "y axis")


EDITS = {
    "value": _value, "drop_value": _drop_value, "add_value": _add_value,
    "swap_categories": _swap_categories, "category": _category,
    "title": _change_text("title"), "remove_title": _remove_text("title"),
    "add_title": _add_text("title"), "xlabel": _change_text("xlabel"),
    "remove_xlabel": _remove_text("xlabel"), "add_xlabel": _add_text("xlabel"),
    "ylabel": _change_text("ylabel"), "remove_ylabel": _remove_text("ylabel"),
    "add_ylabel": _add_text("ylabel"), "legend_text": _legend_text,
    "remove_legend": _remove_legend, "annotation": _annotation,
    "remove_annotation": _remove_annotation, "remove_ticks": _remove_ticks,
    "chart_type": _chart_type, "remove_series": _remove_series, "color": _color,
    "line_style": _choose(("linestyle", "ls"), ("-", "--", ":"), ("plot",)),
    "marker": _choose(("marker",), ("o", "s", "^"), ("scatter", "plot")),
    "line_width": _choose(("linewidth", "lw"), (1.5, 4, 6), ("plot",)),
    "bar_width": _choose(("width",), (0.8, 0.4), ("bar",)),
    "opacity": _choose(("alpha",), (1, 0.4), ("bar", "barh", "plot", "scatter", "fill_between")),
    "grid": _grid, "background": _background, "limits": _limits, "scale": _scale,
}


def damage_chart(code: str, kind: str, rng: random.Random) -> tuple[str, str] | None:
    """(damaged code, place) or None if `kind` does not apply to the program."""
    try:
        program = Program(code)
    except (SyntaxError, ValueError, RecursionError):
        return None
    changed = EDITS[kind](program, rng)
    return changed if changed and changed[0] != code and parses(changed[0]) else None
