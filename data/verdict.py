"""A verdict: what a judge says about a pair of pictures, as a list of discrepancies.

Its answers are read here, too.

    >>> Verdict.parse("table", '[{"category": "text", "severity": "minor"}]').errors
    [Discrepancy(category='text_error', severity=1, location='', description='')]
"""
import json
import math
import re
from dataclasses import dataclass, field

from data.loose_json import QUOTES, CutList, CutObject, read


class InputError(Exception):
    """Something the user can put right: scripts print its text and exit with code 2."""


CATEGORIES = {  # of errors, by task, in the order in which a verdict counts them
    "chart": ("structure_error", "data_error", "text_error", "style_error"),
    "table": ("layout_error", "text_error", "numeric_error"),
    "svg": ("structure_error", "shape_error", "style_error", "text_symbol_error"),
}


def known_task(task: str, place: str) -> str:
    """`task`, if it is one of CATEGORIES. Raises InputError; `place` is where it was said."""
    if task not in CATEGORIES:
        raise InputError(f"{place} says what a picture shows: {', '.join(CATEGORIES)}; not "
                         f"{task!r}.")
    return task


SEVERITY_WORDS = {"minor": 1, "low": 1, "medium": 2, "moderate": 2,
                  "severe": 3, "major": 3, "high": 3, "critical": 3}


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
    failed: bool = False  # no model said anything: a server's reply failed

    @property
    def severity(self) -> int:
        """S of Eq. 3: the sum of the severities."""
        return sum(error.severity for error in self.errors)

    def to_json(self) -> str:
        """The exact text a judge is trained to write: the list, then the counts; no spaces.

        The order of the keys is the order of the work: what and where, how it looks, how bad that
        is, how many. A model that had to count first would answer "none" whenever it is not sure.

        >>> Verdict("table", [Discrepancy("text_error", 2, "row 1", "missing")]).to_json()[:77]
        '{"errors":[{"category":"text_error","location":"row 1","description":"missing'
        """
        keys = "category", "location", "description", "severity"
        verdict = {"errors": [{key: getattr(error, key) for key in keys} for error in self.errors]}
        for category in CATEGORIES[self.task]:
            verdict[f"{category}_count"] = sum(error.category == category for error in self.errors)
        return json.dumps(verdict, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, task: str, text: str) -> "Verdict":
        """Read a judge's answer. Never raises; what departs from the schema and matters is noted.

        | trouble | rule |
        | --- | --- |
        | `<think>` block | dropped, also one that never ends |
        | code fence, text around | ignored |
        | not quite JSON: escapes, quotes, commas, brackets | read by the rules of loose_json.py |
        | JSON in a JSON string, the whole or the list | read |
        | list or single errors without wrapper | read as the list |
        | errors grouped by category, numbered, or one level too deep | read as the list |
        | capital keys; `type` or `error_type` for `category` | read alike |
        | a key twice, one of them empty | the other counts |
        | several verdicts in one answer | the last counts |
        | an empty list without counts after a list with errors | an example: ignored |
        | JSON cut off | its complete errors count; if there is none: unreadable |
        | "Data error" and "data" | data_error |
        | two categories in one field | the first that the task has |
        | category not of this task | the error is dropped; if none is left of some: unreadable |
        | severity as text | read: "2", "2/3", "Severity: 3", "minor", "not minor, severe" |
        | severity [3], 2.4 | 3, 2 |
        | severity under 1 or over 3 | becomes 1 or 3; missing or unreadable: 2 |
        | the same error again | counts once: who writes in circles finds no more |
        | "reads '4', should be '4'" | dropped: it contradicts itself |
        | "none" or null for the list | no error |
        | counts that disagree | the list counts; empty, with counts over 0: unreadable |
        | counts without a list | all 0: no error; otherwise unreadable: no severities |
        """
        verdict = cls(task, raw=_text(text if isinstance(text, str) else str(text)))
        answer = without_thoughts(verdict.raw[-MAX_ANSWER:])
        found = _last_listing(task, answer)
        if found is None and ENCODED.search(answer):  # JSON in a string
            found = _last_listing(task, re.sub(r"\\(.)", r"\1", answer, flags=re.S))
        if found is None:
            verdict.readable = False
            verdict.notes.append("no verdict found")
            return verdict
        stated = found.counts()
        if found.cut or found.entries and isinstance(found.wrapper, CutObject):
            verdict.notes.append("cut off: only complete errors were read")
        if not found.entries and (found.entries is None or found.cut or any(stated.values())):
            needed = {f"{category}_count" for category in CATEGORIES[task]} if found.cut else set()
            all_zero = bool(stated) and not any(stated.values())
            verdict.readable = all_zero and stated.keys() >= needed
            verdict.notes.append("counts without a list")
            return verdict
        seen = set()
        for entry in found.entries:
            error = _read_error(task, entry, verdict.notes)
            if error is None:
                continue
            what = error.category, error.location, error.description
            if what in seen and any(what[1:]):
                verdict.notes.append(f"listed again: {error.description[:40]!r}")
            elif _contradicts_itself(error.description):
                verdict.notes.append(f"contradicts itself: {error.description[:40]!r}")
            else:
                verdict.errors.append(error)
            seen.add(what)
        verdict.readable = bool(seen) or not found.entries
        for category in CATEGORIES[task]:
            listed = sum(error.category == category for error in verdict.errors)
            if stated.get(f"{category}_count", listed) != listed:
                verdict.notes.append(f"{category}_count disagrees with the list")
        return verdict

    @classmethod
    def of(cls, task: str, entries: list) -> "Verdict":
        """The verdict of a list of errors that people or programs wrote (data, not an answer).

        Entries are read by the rules of `parse`, but none is taken for a repetition or a
        contradiction: who lists two alike errors means two. `raw` keeps the list as it was.
        """
        verdict = cls(task, raw=json.dumps({"errors": entries}))
        for entry in entries:
            error = _read_error(task, entry, verdict.notes)
            if error is not None:
                verdict.errors.append(error)
        return verdict


MAX_ANSWER = 100_000  # characters of an answer that are read (the last); a verdict has hundreds
MAX_VALUES = 2000  # brackets at which reading is tried (the last): a bound on texts made to be slow
THOUGHTS = "think|thinking|thought|thoughts|reasoning"  # tags around what comes before an answer
NAMES = "category", "type", "error_type"  # keys that hold an error's category
START = re.compile(  # of an object, or of a list of objects
    rf"""\{{(?=\s*(?:[{QUOTES}][\w -]{{1,60}}[{QUOTES}]
                  |errors|category|severity|[a-z_]{{1,60}}_count)\s*:)
       |\[(?=\s*[\[{{])""", re.X | re.I)
NO_ERROR = re.compile(r"(no|none|n/a|nothing)?"
                      r"( (visible )?(errors?|differences?|discrepancies))?( found)?\.?", re.I)
ENCODED = re.compile(r"""[{\[]\s*\\+["'{]""")  # JSON in a JSON string
NEST = 6  # levels between an answer's outermost bracket and its errors


def without_thoughts(answer: str) -> str:
    """A model's answer without its thoughts: also one that never ends or that the prompt began."""
    answer = re.sub(rf"<({THOUGHTS})>.*?(</\1>|\Z)", "", answer, flags=re.S)
    ends = [match.end() for match in re.finditer(rf"</(?:{THOUGHTS})>", answer)]
    return answer[ends[-1]:] if ends else answer


@dataclass
class _Listing:
    """One verdict in an answer."""

    entries: list | None  # None: it has no list
    wrapper: dict = field(default_factory=dict)  # the object that the list came in
    cut: bool = False  # the end of the list is missing

    def counts(self) -> dict[str, float]:
        """The counts that it states, by key."""
        keys = [key for key in self.wrapper if key.endswith("_count")]
        numbers = {key: _number(self.wrapper[key]) for key in keys}
        return {key: number for key, number in numbers.items() if number is not None}


def _last_listing(task: str, answer: str, depth: int = 0) -> _Listing | None:
    """The verdict that counts among all in an answer, by the rules of `Verdict.parse`."""
    best, single, end = None, _Listing([]), 0
    for match in list(START.finditer(answer))[-MAX_VALUES:]:
        if match.start() < end:  # inside of what was read already
            continue
        value, stop = read(answer, match.start())
        end = max(stop, match.end())
        if _is_error(value):
            single.cut |= isinstance(value, CutObject)
            single.entries += [] if isinstance(value, CutObject) else [value]
            continue
        listing = _listing_of(task, value, depth)
        if listing is None:
            continue
        is_example = not listing.entries and (listing.entries is None or not listing.counts())
        if best is None or not best.entries or not is_example:
            best = listing
    if best is None and (single.entries or single.cut):
        best = single
    if best is None and re.fullmatch(r"[`a-z\s]*\[\s*\][`\s]*", answer):
        best = _Listing([])
    return best


def _listing_of(task: str, value, depth: int) -> _Listing | None:
    """The verdict in one JSON value; None if there is none."""
    wrapper = _wrapper(task, value)
    if wrapper is None:
        entries = [entry for entry in _entries(task, value) if _is_error(entry)]
        cut = isinstance(value, (CutObject, CutList))
        return _Listing(entries, cut=cut) if entries else None
    listed = wrapper.get("errors", wrapper)
    cut = isinstance(listed, (CutObject, CutList))
    if isinstance(listed, str):
        if NO_ERROR.fullmatch(listed.strip()):
            return _Listing([], wrapper, cut)
        inner = _last_listing(task, listed, depth + 1) if depth < NEST else None
        return _Listing(inner and inner.entries, wrapper, cut)
    if listed is not wrapper and not listed:
        return _Listing([], wrapper, cut)
    entries = list(_entries(task, listed))
    if listed is wrapper and not _is_grouped(task, wrapper):
        entries = None
    return _Listing(entries, wrapper, cut)


def _wrapper(task: str, value, depth: int = 0) -> dict | None:
    """The last object in `value`, itself or inside, that has a list of errors or counts."""
    if isinstance(value, dict) and ("errors" in value or _is_grouped(task, value)
                                    or any(key.endswith("_count") for key in value)):
        return value
    inside, found = [], None
    if isinstance(value, (dict, list)) and depth < NEST:
        inside = value.values() if isinstance(value, dict) else value
    for inner in inside:
        found = _wrapper(task, inner, depth + 1) or found
    return found


def _is_grouped(task: str, value: dict) -> bool:
    """Are errors listed under their categories, {"data_error": [..]}?"""
    lists = [key for key, inner in value.items() if isinstance(inner, list) and "error" in key]
    return any(_category(task, key) for key in lists)


def _entries(task: str, value, category: str = "", depth: int = 0):
    """The entries of a list of errors, however nested; each with its category or its group's."""
    if isinstance(value, dict):
        is_error = any(isinstance(value.get(name), str) for name in NAMES)
        in_group = category and ("severity" in value or "description" in value)
        inside = [(key, inner) for key, inner in value.items() if isinstance(inner, (dict, list))]
        if is_error or in_group or not inside:
            if not isinstance(value, CutObject):
                yield value if is_error or not category else value | {"category": category}
            return
    elif isinstance(value, list):
        inside = [("", inner) for inner in value]
    else:
        in_words = category and isinstance(value, str)
        yield {"category": category, "description": value} if in_words else value
        return
    for key, inner in inside if depth < NEST else ():
        yield from _entries(task, inner, _category(task, key) or category, depth + 1)


def _is_error(value) -> bool:
    return isinstance(value, dict) and any(key in value for key in NAMES) and (
        "severity" in value or "description" in value)


def _category(task: str, name: str) -> str | None:
    """The category of `task` that a judge calls `name`: in any spelling; of several the first."""
    by_letters = {}
    for category in CATEGORIES[task]:
        letters = category.replace("_", "")
        by_letters |= {letters: category, letters.removesuffix("error"): category}
    for part in [name, *re.split(r"[|/,;&+]|\band\b|\bor\b", name)]:
        letters = re.sub(r"[^a-z]", "", part.lower()).removesuffix("s")
        if letters in by_letters:
            return by_letters[letters]
    return None


def _read_error(task: str, entry, notes: list[str]) -> Discrepancy | None:
    """One entry of a verdict's list, by the rules of `Verdict.parse`."""
    entry = entry if isinstance(entry, dict) else {}
    name = next((entry[key] for key in NAMES if isinstance(entry.get(key), str)), "")
    category = _category(task, name[:200])
    if category is None:
        notes.append(f"category {_text(name)[:40]!r} dropped")
        return None
    given = entry.get("severity")
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    severity = _severity(given)
    level = 2 if severity is None else min(3, max(1, math.floor(severity + 0.5)))
    if level != severity:
        notes.append(f"severity {_text(given)[:20]} read as {level}")
    location, description = _text(entry.get("location")), _text(entry.get("description"))
    return Discrepancy(category, level, location, description)


def _severity(given) -> float | None:
    """2, "2/3", "Severity: 2", "moderate", "not minor, severe" as a number; None if it is none."""
    if not isinstance(given, str):
        return _number(given)
    given = given[:200]
    number = re.sub(r"^\s*(severity|level)\b\W*", "", given, flags=re.I)
    if _number(number) is not None:
        return _number(number)
    words = re.sub(r"\bnot \w+", "", given.lower())
    places = [(words.find(word), level) for word, level in SEVERITY_WORDS.items() if word in words]
    return min(places)[1] if places else None


JOINT = re.compile(r",?\s*\b(?:should (?:be|read)|expected|instead of|rather than)\b:?\s*")
VERBS = "reads|is|says|shows|value|type|scale|color|colour|stroke|fill"


def _contradicts_itself(description: str) -> bool:
    """Does it say that something should be what it is, like "reads '4', should be '4'"?"""
    parts = JOINT.split(description[:1000])
    if len(parts) != 2:
        return False
    found, expected = parts[0].strip(), parts[1].strip().rstrip(".")
    before = found.removesuffix(expected) if expected else found
    if before == found:
        return False
    if re.fullmatch(r"""'.*'|".*"|[-+]?[\d.,]+ ?%?""", expected):  # its beginning can be seen
        return re.fullmatch(r"(.*\b(?!(?:no|not|without)\b)[A-Za-z]+[:=]?\s+)?", before,
                            re.S) is not None
    return re.fullmatch(rf"((.*\W)?({VERBS})\s+)?", before, re.S) is not None


def _number(value) -> float | None:
    """2, 2.0, "2" and "2/3" as a number; None for everything else, NaN and infinity too."""
    if isinstance(value, str) and (match := re.match(r"\s*(-?\d{1,9}(\.\d+)?)\b", value)):
        value = float(match[1])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:
        return None
    return float(value)


def _text(value) -> str:
    """Any JSON value as text that can be written to a file: JSON may hold lone surrogates."""
    text = "" if value is None else value
    if not isinstance(text, str):
        text = json.dumps(value, ensure_ascii=False)
    text = text.replace("\b", "\\b").replace("\f", "\\f")  # what JSON makes of \beta and \frac
    return text.encode("utf-8", "replace").decode()


def in_one_line(error: Exception) -> str:
    """An exception in one line."""
    name = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return _text(f"{name}{error}").strip().splitlines()[0][:200]
