"""A verdict: what a judge says about a pair of pictures, as a list of discrepancies, and how its answer is read.

    >>> Verdict.parse("table", '[{"category": "text", "severity": "minor", "description": "row 1 is missing"}]').errors
    [Discrepancy(category='text_error', severity=1, location='', description='row 1 is missing')]
"""
import json
import math
import re
from dataclasses import dataclass, field
from itertools import islice


class InputError(Exception):
    """Something the user can put right. Its text is a sentence; scripts print it and exit with code 2."""


CATEGORIES = {  # of errors, by task, in the order in which a verdict counts them
    "chart": ("structure_error", "data_error", "text_error", "style_error"),
    "table": ("layout_error", "text_error", "numeric_error"),
    "svg": ("structure_error", "shape_error", "style_error", "text_symbol_error"),
}
SEVERITY_WORDS = {"minor": 1, "low": 1, "medium": 2, "moderate": 2, "severe": 3, "major": 3, "high": 3, "critical": 3}


@dataclass(frozen=True)
class Discrepancy:
    """One visible difference between the reference and the rendering."""

    category: str  # one of CATEGORIES[task]
    severity: int  # 1 minor, 2 medium, 3 severe
    location: str
    description: str


@dataclass
class Verdict:
    """What a judge says about one pair. `readable` is False if its answer held no verdict."""

    task: str
    errors: list[Discrepancy] = field(default_factory=list)
    readable: bool = True
    raw: str = ""  # the answer as the model gave it
    notes: list[str] = field(default_factory=list)  # which rules of `parse` had to be used

    @property
    def severity(self) -> int:
        """S of Eq. 3: the sum of the severities."""
        return sum(error.severity for error in self.errors)

    def to_json(self) -> str:
        """The exact text a judge is trained to write: the list, then the counts; no spaces.

        The order of the keys is the order of the work: what and where, how it looks, how bad that is, how many. A
        model that had to count first would answer "none" whenever it is not sure.

        >>> Verdict("table", [Discrepancy("text_error", 2, "row 1", "missing")]).to_json()[:92]
        '{"errors":[{"category":"text_error","location":"row 1","description":"missing","severity":2}'
        """
        keys = "category", "location", "description", "severity"
        verdict = {"errors": [{key: getattr(error, key) for key in keys} for error in self.errors]}
        verdict |= {f"{c}_count": sum(e.category == c for e in self.errors) for c in CATEGORIES[self.task]}
        return json.dumps(verdict, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, task: str, text: str) -> "Verdict":
        """Read a judge's answer. Never raises; a departure from the schema that matters leaves a note.

        | trouble | rule |
        | --- | --- |
        | `<think>` block | dropped, also one that never ends |
        | code fence, text around | ignored; of several verdicts in one answer the last counts |
        | list or single errors without wrapper | read as the list |
        | JSON cut off | its complete errors count; if there is none: unreadable |
        | `type` or `error_type` for `category` | read alike; "Data error" and "data" are data_error |
        | category not of this task | the error is dropped; if none is left of some: unreadable |
        | severity as text | "2", "2/3", "minor", "medium", "severe" are read; 2.4 is rounded |
        | severity under 1 or over 3 | becomes 1 or 3; missing or unreadable: 2 |
        | the same error again | counts once: a model that writes in circles finds no more than it found |
        | counts that disagree | the list counts |
        | counts without a list | all 0: no error; otherwise unreadable, for the severities are unknown |
        """
        verdict = cls(task, raw=text if isinstance(text, str) else str(text))
        found, counts = _last_verdict(re.sub(r"<think>.*?(</think>|$)", "", verdict.raw[-MAX_ANSWER:], flags=re.S))
        if found is None:
            stated = [_number(value) for key, value in counts.items() if key.endswith("_count")]
            verdict.readable = bool(stated) and not any(stated)
            verdict.notes.append("counts without a list" if counts else "no verdict found")
            return verdict
        if found and not counts and '"errors"' in verdict.raw:
            verdict.notes.append("cut off or broken: only complete errors were read")
        seen = set()
        for error in filter(None, (_read_error(task, entry, verdict.notes) for entry in found)):
            what = error.category, error.location, error.description
            if what in seen and any(what[1:]):
                verdict.notes.append(f"listed again: {error.description[:40]!r}")
                continue
            seen.add(what)
            verdict.errors.append(error)
        verdict.readable = bool(verdict.errors) or not found
        for category in CATEGORIES[task]:
            stated = _number(counts.get(f"{category}_count"))
            if stated is not None and stated != sum(e.category == category for e in verdict.errors):
                verdict.notes.append(f"{category}_count disagrees with the list")
        return verdict


MAX_ANSWER = 100_000  # characters of an answer that are read (the last ones); a verdict has a few hundred


def _last_verdict(answer: str) -> tuple[list | None, dict]:
    """(entries of the last verdict in `answer` or None, the object they came in or {})."""
    answer, entries, wrapper, end = answer.rpartition("</think>")[2], None, {}, 0
    for match in islice(re.finditer(r'\{(?=\s*")|\[(?=\s*\{)', answer), 300):  # a bound on texts made to be slow
        if match.start() < end:  # inside of what was read already
            continue
        try:
            value, stop = json.JSONDecoder().raw_decode(answer, match.start())
        except (ValueError, RecursionError):  # not JSON, cut off, or nested a thousand deep
            continue
        if isinstance(value, dict) and ("errors" in value or any(key.endswith("_count") for key in value)):
            listed = value.get("errors")
            entries, wrapper, end = [listed] if isinstance(listed, dict) else listed, value, stop
        elif isinstance(value, list) and all(map(_is_error, value)):
            entries, wrapper, end = value, {}, stop
        elif _is_error(value) and not wrapper:  # also how the complete errors of a cut-off list are found
            entries, end = (entries or []) + [value], stop
    if entries is None and not wrapper and re.search(r'"errors"\s*:\s*\[\s*\]|^[`a-z\s]*\[\s*\][`\s]*$', answer):
        entries = []
    return (entries if isinstance(entries, list) else None), wrapper


def _is_error(value) -> bool:
    return isinstance(value, dict) and any(key in value for key in ("category", "type", "error_type")) and (
        "severity" in value or "description" in value)


def _read_error(task: str, entry, notes: list[str]) -> Discrepancy | None:
    """One entry of a verdict's list, by the rules of `Verdict.parse`."""
    entry = entry if isinstance(entry, dict) else {}
    name = next((entry[key] for key in ("category", "type", "error_type") if isinstance(entry.get(key), str)), "")
    category = re.sub(r"[^a-z]+", "_", name.lower()).strip("_").removesuffix("s")
    category = category if category in CATEGORIES[task] else category + "_error"
    if category not in CATEGORIES[task]:
        notes.append(f"category {_text(name)[:40]!r} dropped")
        return None
    given = entry.get("severity")
    severity = _number(given)
    if severity is None and isinstance(given, str):
        severity = next((n for word, n in SEVERITY_WORDS.items() if word in given.lower()), None)
    level = 2 if severity is None else min(3, max(1, math.floor(severity + 0.5)))
    if level != severity:
        notes.append(f"severity {_text(given)[:20]} read as {level}")
    return Discrepancy(category, level, _text(entry.get("location")), _text(entry.get("description")))


def _number(value) -> float | None:
    """2, 2.0, "2" and "2/3" as a number; None for everything else, NaN and infinity too."""
    if isinstance(value, str) and (match := re.match(r"\s*(-?\d{1,9}(\.\d+)?)\b", value)):
        value = float(match[1])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:
        return None
    return float(value)


def _text(value) -> str:
    """Any JSON value as text that can be written to a file (JSON may hold lone surrogates)."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def in_one_line(error: Exception) -> str:
    """An exception in one line."""
    name = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return _text(f"{name}{error}").strip().splitlines()[0][:200]
