"""Almost JSON: what language models write where JSON was asked for, read in one pass.

JSON is read as JSON (raw newlines in strings are allowed). What is not goes by these rules:

| trouble | rule |
| --- | --- |
| single, curly or back quotes | read as quotes; a string ends at a quote of its kind |
| quotes inside a string | a quote ends it if a comma and a key, a bracket or the end follow |
| unknown escape | the backslash stays before a letter, `\\alpha`, and goes elsewhere: `\\$` |
| `None`, `True`, other words and numbers without quotes | null, true, text |
| key without quotes; comma missing or too many; comments | read on |
| `}` or `]` missing in the middle | the outer bracket closes both |
| the text ends inside an object or a list | a `CutObject`, a `CutList` of its complete members |
| nested deeper than 40 levels | given up there |

In every object keys are lower case with `_` between words; of equal keys the last that is not empty
counts. Nothing is scanned twice, so the time is proportional to the text.

    >>> read("{'Severity': 3, 'text': 'the bar's end',}", 0)
    ({'severity': '3', 'text': "the bar's end"}, 41)
"""
import json
import re

DEPTH = 40  # levels of brackets
DOUBLE, SINGLE = '"“”„‟″', "'‘’‚`"
QUOTES = DOUBLE + SINGLE
KEY = rf"[{QUOTES}][\w -]{{1,60}}[{QUOTES}]\s*:"
SPACE = re.compile(r"(?:[\s,;]+|//[^\n]*|/\*[^*]{0,200}\*/)*")  # none, one or many are the same
COLON = re.compile(rf"[{QUOTES}]?([\w -]{{1,60}})[{QUOTES}]?\s*:\s*")
WORD = re.compile(rf"[^,{{}}\[\]\n{DOUBLE}]*")  # a value without quotes
REST = re.compile(r"[^,{}\[\]]+")  # what is no member of an object
NOTE = r"\s*(?:(?://[^\n]{0,200}\n|/\*[^*]{0,200}\*/)\s*)?"  # a comment, or nothing
END_OF_MEMBER = re.compile(rf"{NOTE}(?:\Z|[}}\]]|,?{NOTE}{KEY}|,{NOTE}(?:\Z|[}}\]]))")
END_OF_ITEM = re.compile(rf"{NOTE}(?:\Z|[}}\]]|,{NOTE}(?:\Z|[{QUOTES}{{}}\[\]\d-]))")
HEX = "u[0-9a-fA-F]{4}"
SPECIAL = {family: re.compile(rf"\\({HEX}(?:\\{HEX})*|.)|[{family}]", re.S)
           for family in (DOUBLE, SINGLE)}
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
WORDS = {"null": None, "none": None, "true": True, "false": False}


class CutObject(dict):
    """An object whose end is missing: the members that were complete."""


class CutList(list):
    """A list whose end is missing: the items before the end."""


def read(text: str, at: int) -> tuple:
    """(value, index after it) of what begins with a bracket at `at`; None if it is nested too deep.

    Never raises.
    """
    try:
        return STRICT.raw_decode(text, at)
    except (ValueError, RecursionError):
        reader = _Reader(text, at)
    try:
        return reader.value(END_OF_ITEM, 0), reader.at
    except _TooDeep:
        return None, reader.at


def _object(pairs: list[tuple]) -> dict:
    members = {}
    for key, value in pairs:
        name = re.sub(r"[\s-]+", "_", key.strip().lower())
        if value or not members.get(name):
            members[name] = value
    return members


STRICT = json.JSONDecoder(strict=False, object_pairs_hook=_object)


class _TooDeep(Exception):
    pass


class _Reader:
    """A position in a text. Every method reads something and leaves `at` after it."""

    def __init__(self, text: str, at: int):
        self.text, self.at = text, at

    def skip(self, pattern: re.Pattern) -> str:
        """Go to the end of `pattern`; the character there, or "" at the end of the text."""
        self.at = pattern.match(self.text, self.at).end()
        return self.text[self.at:self.at + 1]

    def value(self, end: re.Pattern, depth: int):
        if depth > DEPTH:
            raise _TooDeep
        first = self.text[self.at:self.at + 1]
        if first == "{":
            return self.object(depth)
        if first == "[":
            return self.list(depth)
        return self.string(end) if first and first in QUOTES else self.word()

    def object(self, depth: int) -> dict:
        pairs = []
        self.at += 1
        while (first := self.skip(SPACE)) and first not in "}]":
            key = COLON.match(self.text, self.at)
            if key:
                self.at = key.end()
                value = self.value(END_OF_MEMBER, depth + 1)
                if value is not CUT:
                    pairs.append((key[1], value))
            elif first in "{[":
                pairs.append(("", self.value(END_OF_MEMBER, depth + 1)))
            else:
                self.skip(REST)
        self.at += first == "}"  # a list's bracket closes this object, too
        return _object(pairs) if first else CutObject(_object(pairs))

    def list(self, depth: int) -> list:
        items = []
        self.at += 1
        while (first := self.skip(SPACE)) and first not in "}]":
            value = self.value(END_OF_ITEM, depth + 1)
            if value is not CUT:
                items.append(value)
        self.at += first == "]"
        return items if first else CutList(items)

    def string(self, end: re.Pattern) -> str:
        special = SPECIAL[DOUBLE if self.text[self.at] in DOUBLE else SINGLE]
        parts, start = [], self.at + 1
        for match in special.finditer(self.text, start):
            escape = match[1]
            if escape is None and end.match(self.text, match.end()):
                self.at = match.end()
                return "".join([*parts, self.text[start:match.start()]])
            if escape is not None:
                code = ESCAPES.get(escape, match[0] if escape.isalnum() else escape)
                if len(escape) > 1:  # one or more \\uXXXX, of which two may be one character
                    code = json.loads(f'"{match[0]}"')
                parts += self.text[start:match.start()], code
                start = match.end()
        self.at = len(self.text)
        return CUT

    def word(self):
        match = WORD.match(self.text, self.at)
        self.at = match.end()
        word = match[0].strip()
        return WORDS.get(word.lower(), word)  # numbers stay texts


CUT = object()  # a string that has no end
