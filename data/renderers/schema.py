"""Schema: is an answer from outside what an example says? Types, lengths and bounds in one place.

| example | stands for |
| --- | --- |
| `""` | any text of at most 10,000 characters |
| `"v"` | this text |
| a compiled pattern | a text that it matches as a whole |
| `0.0` | a finite number of at most 1e100: its square can be computed |
| `0` | a whole number from 0 to 1,000,000 |
| `Between(a, b)` | a number from a to b |
| `True` | true or false |
| `None` | null |
| `(a, b)` | any of these: `("", None)` is a text or null |
| `[a]` | a list of any number of a, at most 100,000 |
| `[a, a, b]`, `[]` | a list of exactly these |
| `Same("n", a)` | a list of a, as long as every other `Same("n", ..)` in the same object |
| `{"key": a, "more?": b}` | an object of these keys and no others; one with `?` may be absent |
| `ByType({"bars": a}, b)` | an object that is like a if its `type` is "bars", else like b |

    >>> example = {"x": Same("n", 0.0), "y": Same("n", (0.0, None))}
    >>> fault({"x": [1, 2], "y": [3, None]}, example)
    >>> fault({"x": [1, 2], "y": [3]}, example)
    'y: 1 instead of 2'
    >>> fault({"x": [1, float("inf")], "y": [3, 4]}, example)
    'x.1: no number'
"""
import math
import re
from dataclasses import dataclass

LONGEST_TEXT, LONGEST_LIST, LARGEST_NUMBER, LARGEST_COUNT = 10_000, 100_000, 1e100, 1_000_000


@dataclass(frozen=True)
class Same:
    """A list of `item`, as long as the others of this `name` in the same object."""
    name: str
    item: object


@dataclass(frozen=True)
class ByType:
    """An object whose key `type` says which of `examples` it must be like, or else `other`."""
    examples: dict
    other: dict | None = None


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`."""
    low: float
    high: float


def fault(value: object, example: object, lengths: dict | None = None) -> str | None:
    """Where and why `value` is not what `example` stands for; None if it is.

    `lengths` holds the lengths of the `Same` lists that were seen in the object around.
    """
    if isinstance(example, tuple):
        for choice in example:
            trial = dict(lengths or {})
            why = fault(value, choice, trial)
            if why is None:
                (lengths if lengths is not None else {}).update(trial)
                return None
        return why
    if isinstance(example, ByType):
        kind = value.get("type") if isinstance(value, dict) else None
        known = isinstance(kind, str) and kind in example.examples
        if not known and example.other is None:
            return ": no known type"
        return fault(value, example.examples[kind] if known else example.other)
    if isinstance(example, dict):
        return _fault_of_object(value, example)
    if isinstance(example, (list, Same)):
        return _fault_of_list(value, example, {} if lengths is None else lengths)
    if _is_plain(value, example):
        return None
    return f": no {_NAMES.get(type(example), 'such value')}"


_NAMES = {str: "text", re.Pattern: "such text", float: "number", int: "count", bool: "truth value",
          Between: "number in its bounds"}


def _is_plain(value, example) -> bool:
    if example is None or isinstance(example, bool):
        return value is None if example is None else isinstance(value, bool)
    if isinstance(example, float):
        return type(value) in (float, int) and -LARGEST_NUMBER <= value <= LARGEST_NUMBER
    if isinstance(example, Between):
        return type(value) in (float, int) and example.low <= value <= example.high
    if isinstance(example, int):
        return type(value) is int and 0 <= value <= LARGEST_COUNT
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        return False
    if isinstance(example, re.Pattern):
        return example.fullmatch(value) is not None
    return example in ("", value)


def _fault_of_object(value, example: dict) -> str | None:
    if not isinstance(value, dict):
        return ": no object"
    known, lengths = set(), {}
    for name, part in example.items():
        key = name.removesuffix("?")
        known.add(key)
        if key not in value:
            if key == name:
                return f"{key}: missing"
            continue
        why = fault(value[key], part, lengths)
        if why is not None:
            return _under(key, why)
    unknown = value.keys() - known
    return f"{min(unknown)[:40]}: not in the schema" if unknown else None


def _fault_of_list(value, example, lengths: dict) -> str | None:
    if not isinstance(value, list) or len(value) > LONGEST_LIST:
        return ": no list" if not isinstance(value, list) else ": too long"
    needed = len(value)
    if isinstance(example, Same):
        needed = lengths.setdefault(example.name, len(value))
        items = [example.item]
    else:
        needed = len(example) if len(example) != 1 else needed
        items = example
    if len(value) != needed:
        return f": {len(value)} instead of {needed}"
    if items and type(items[0]) is float and len(items) == 1 and _are_numbers(value):
        return None
    for i, item in enumerate(value):
        why = fault(item, items[i % len(items)], lengths)
        if why is not None:
            return _under(i, why)
    return None


def _are_numbers(values: list) -> bool:
    """The common case at once: floats within the bounds (NaN is not: a sum of it is not finite)."""
    if not values or set(map(type, values)) != {float}:
        return not values
    small = -LARGEST_NUMBER <= min(values) and max(values) <= LARGEST_NUMBER
    return small and not math.isnan(sum(values))


def _under(key, why: str) -> str:
    return f"{key}{why}" if why.startswith(":") else f"{key}.{why}"
