"""Which predicted error is which true one? The two matchers of `data.bench`.

A matcher takes (task, true errors, predicted errors) and returns one-to-one matches (i, j, level):
true error i is predicted error j, level "yes" (found) or "partial" (seen, but not told right).
Every error is in one match at most.

- `match`, offline: deterministic, made of the regular expressions in this file. It reads the
  templated English of `data.compare` exactly and people's English by key words.
- `LLMMatcher`: asks a language model, as the paper does.
"""

import contextlib
import hashlib
import json
import re
import threading
from itertools import product
from pathlib import Path

from PIL import ImageColor

from data.compare.matching import assign
from data.pairs import read_jsonl
from data.server import Server
from data.verdict import Discrepancy, InputError

# --- 1. locations ---

ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
            "eighth": 8, "ninth": 9, "tenth": 10}
CARDINALS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
             "eight": 8, "nine": 9}
AXIS = (  # chart only; "label of the x-axis" and "x-axis label" are one location
    (r"\btick(?: ?label| mark)?s? (?:of|on) the ([xyz])[- ]?axis"
     r"|\b([xyz])[- ]?(?:axis )?tick(?: ?label| mark)?s?\b", "ticks"),
    (r"\b(?:label|title|name) (?:of|on) the ([xyz])[- ]?axis"
     r"|\b([xyz])[- ]?(?:axis )?(?:label|title|name)\b", "label"),
    (r"\b([xyz])[- ]?(?:axis|scale|limits|range)\b()", "axis"))
# task -> words -> element, longer phrases first; what a word means depends on the task
ELEMENTS = {
    "chart": {r"legend(?: (?:title|labels?|entry|entries|text|box|area))?": "legend",
              r"grid ?(?:lines?)?": "grid", r"background|face ?color": "background",
              r"frame|spines?": "frame", r"sub-?plots?|panels?": "subplot",
              r"(?:bar|line|pie|scatter|area|box)[- ](?:chart|plot|graph)"
              r"|chart type|plot|chart|graph|figure": "plot",
              r"(?:main |sup)?title": "title", r"annotations?": "annotation",
              r"bars?|columns?": "bar", r"slices?|wedges?|sectors?": "slice",
              r"(?:data )?points?|dots?|markers?": "point",
              r"(?:data )?series|lines?|curves?|datasets?": "series",
              r"tick(?: ?label)?s?": "ticks", r"axes|axis": "axis"},
    "table": {r"rows?": "row", r"col(?:umn)?s?": "column", r"cells?|entry": "cell",
              r"header|heading": "header", r"caption|title": "caption", r"table": "table"},
    "svg": {r"circles?|dots?|disc|disk": "circle", r"ellipses?|ovals?": "ellipse",
            r"rect(?:angle)?s?|squares?|bars?": "rect", r"polylines?": "polyline",
            r"lines?": "line", r"polygons?|triangles?|stars?|hexagons?|diamonds?": "polygon",
            r"paths?|curves?|arcs?": "path", r"text|letters?|labels?|words?": "text",
            r"background": "background", r"canvas": "canvas"},
}
# Elements of which there may be several.
NAMED = {"bar", "slice", "point", "series", "annotation", "subplot", "row", "column", "table"}
WHOLE = {"plot", "table", "canvas", "cell"}  # ignored beside a more exact word
NO_LOCATION = set("the this that a an of in on at is are was and to with for its it".split())
QUOTED = re.compile(r"(?<!\w)['\"](.*?)['\"](?!\w)")
# An element and which one it is, in a marked text: "^2 @row", "@bar ~b", "@column 3".
REFERENCE = re.compile(
    r"(?:\^(\w+) |~(\w+) )?@(\w+)(?: (?:number|no|labell?ed|named|called|for))?"
    r"(?: (?:~(\w+)|#?(\d+)))?")
# A word with a capital after "bar" or "series" is its name, unless it is a title-cased "Bar Chart".
NAME = r"((?!(?:Chart|Plot|Graph|Colou?r|Label|Value|Width|Height|Legend)s?\b)[A-Z]\w*)\b(?!')"


def _mark_quote(found: re.Match) -> str:
    name = re.sub(r"\W+", "_", found[1].lower()).strip("_")
    return f" ~{name or '_'} "


def _mark_number(found: re.Match) -> str:
    word = found[0]
    if word == "last":
        return "^last"
    if word in ORDINALS:
        return f"^{ORDINALS[word]}"
    return str(CARDINALS.get(word, word))


def _marked(task: str, text: str) -> str:
    """Lower case with marks: "The 2nd bar 'B'" -> "the ^2 @bar ~b".

    ^ marks an ordinal, ~ a name, @ an element.
    """
    text = re.sub("[‘’“”`]", "'", text)
    text = re.sub(r"\b((?i:bar|slice|wedge|series|category))s? " + NAME, r"\1 '\2'", text)
    text = QUOTED.sub(_mark_quote, text).lower()
    if task == "table":
        text = re.sub(r"\((\d+) ?, ?(\d+)\)", r" row \1 column \2 ", text)
    # What follows is a direction or the other value, not the location.
    text = re.sub(r"\b(?:(?:moved|shifted) )?(?:to|towards?) the \w+", " ", text)
    text = re.sub(r"\b(?:moved|shifted|\w*align\w*)(?: \w+)?"
                  r"|\b(?:instead of|should be|rather than)\b.*", " ", text)
    text = re.sub(r"(?<![~\w])(\d+)(?:st|nd|rd|th)\b", r"^\1", text)
    text = re.sub(r"(?<![~\w])[a-z]+\b", _mark_number, text)
    for pattern, part in AXIS if task == "chart" else ():
        text = re.sub(pattern, lambda m, part=part: f" @{m[1] or m[2]}{part} ", text)
    for pattern, element in ELEMENTS[task].items():
        text = re.sub(rf"(?<![@~^\w])(?:{pattern})(?:'s)?\b", f" @{element} ", text)
    return " ".join(re.sub(r"([,;:.()])", r" \1 ", text).split())


def parse_location(task: str, text: str,
                   all_of_it: bool = False) -> frozenset[tuple[str, str]]:
    """The set of (element, which one) that a location or a whole description names.

    >>> parse_location("table", "Third column of the 2nd row") == parse_location(
    ...     "table", "row 2, column 3")
    True
    >>> sorted(parse_location("chart", "The chart's x axis label"))
    [('xlabel', '')]
    >>> sorted(parse_location("chart", "bar B is 7 instead of 5"))
    [('bar', 'b')]
    >>> sorted(parse_location("svg", "big circle in the upper left"))
    [('at', 'top left'), ('circle', '')]
    >>> sorted(parse_location("svg", "train wheel"))
    [('word', 'train'), ('word', 'wheel')]

    Names, numbers and ordinals count beside elements of which there may be several (NAMED). Words
    for the whole image (WHOLE) count only if nothing else is named, or with `all_of_it`. The field
    of a 3x3 grid counts only for SVG, and plain words only if no element is named.
    """
    text = _marked(task, text)
    keys = set()
    for ordinal, before, element, after, number in REFERENCE.findall(text):
        which = after or number or ordinal or before if element in NAMED else ""
        keys.add((element, which))
    keys = {k for k in keys if k[0] not in WHOLE or k[1] or all_of_it} or keys
    words = set(re.findall(r"(?<![@~^])\b[a-z]\w+", text)) - NO_LOCATION
    if task == "svg":
        rows = []
        if words & {"top", "upper"}:
            rows.append("top")
        if words & {"bottom", "lower"}:
            rows.append("bottom")
        columns = [side for side in ("left", "right") if side in words]
        centre = words & {"centre", "center", "central", "middle"}
        words -= centre | {"top", "upper", "bottom", "lower", "left", "right"}
        if len(rows) < 2 and len(columns) < 2 and (rows or columns or centre):
            words = words if not keys else set()
            keys |= {("at", " ".join(rows + columns) or "centre")}
    if not any(element != "at" for element, _ in keys):
        keys |= {("word", w) for w in words}
    return frozenset(keys)


def _covers(general, special) -> bool:
    """Whether each part of `general` is in `special`, or is so more exactly ("bar": "bar 'B'")."""
    elements = {element for element, _ in special}
    for element, which in general:
        known = (element, which) in special or not which and element in elements
        if not known:
            return False
    return bool(general)


def same_place(task: str, true: Discrepancy, predicted: Discrepancy) -> str:
    """"same", "wider" (one names a part of what the other names) or "" (elsewhere).

    | true | predicted | |
    | --- | --- | --- |
    | row 2, column 3 | third column of the 2nd row | same |
    | row 2 | row 2, column 3 | wider |
    | bar 'A' | bar 'B' | elsewhere |
    | circle top left | circle left | elsewhere: the nine fields of the grid are distinct |
    | (no location) "The legend is missing in the chart" | legend | same |

    Without a location, the description is parsed. It names other things too, so it is enough that
    the other side's location is among them.
    """
    if true.location.strip().lower() == predicted.location.strip().lower() != "":
        return "same"
    a, a_free = _locations(task, true)
    b, b_free = _locations(task, predicted)
    if a and a == b or b_free and _covers(a, b_free) or a_free and _covers(b, a_free):
        return "same"
    return "wider" if _covers(a, b) or _covers(b, a) else ""


def _locations(task: str, error: Discrepancy) -> tuple[frozenset, frozenset]:
    """(the location, all that the description names if there is no location)."""
    if error.location.strip():
        return parse_location(task, error.location), frozenset()
    return (parse_location(task, error.description),
            parse_location(task, error.description, all_of_it=True))


# --- 2. phenomena ---

NAMES_OF_COLOURS = "|".join(sorted(ImageColor.colormap, key=len, reverse=True))
COLOURS = re.compile(rf"#[0-9a-f]{{3,8}}\b|\b(?:{NAMES_OF_COLOURS})\b")
PHENOMENA = {  # the first of these that has a word of the masked description
    "missing": r"missing|absent|lack\w*|omit\w*|removed|dropped|lost|gone|no longer|invisible"
               r"|without|hidden|blank"
               r"|not (?:shown|drawn|visible|present|there|rendered|included)|(?<!be )empty",
    "extra": r"extra|additional\w*|added|unexpected|superfluous|spurious|redundant|duplicat\w*"
             r"|should not (?:be there|be present|exist|appear)",
    "order": r"(?:re)?order\w*|swap\w*|switched|exchanged|interchang\w*|revers\w*|sort\w*"
             r"|in front of|behind",
    "span": r"span\w*|rowspan|colspan|merg\w*|split",
    "alignment": r"\w*align\w*|justif\w*|indent\w*|centered|centred",
    "type": r"type|drawn as|(?:bar|line|pie|scatter|area|box)[- ](?:chart|plot|graph)",
    "limits": r"limits?|range",
    "scale": r"scale|log|logarithmic|linear",
    "width": r"(?:stroke|line|outline|border)[- ]?(?:width|thick\w*)|thick\w*|thin\w*",
    "opacity": r"opacity|opaque|transparen\w*|alpha",
    "pattern": r"pattern|hatch\w*",
    "line style": r"dash\w*|dotted|solid|line ?style",
    "stroke": r"stroke|(?<!other )outline\w*|border|contour|edges?",
    "colour": r"colou?r\w*|hue|shade|tint|fill\w*|text C|C text",
    "marker": r"markers?(?! ?size)",
    "angle": r"rotat\w*|tilt\w*|turned|upside down|flip\w*|mirror\w*|angle|orient\w*"
             r"|horizontal\w*|vertical\w*",
    "font": r"font(?! ?size)|bold|italic",
    "header": r"header",
    "size": r"sizes?|bigger|small\w*|larger?|big|scaled|wider|narrow\w*|width|height|radius|tall\w*"
            r"|short\w*|longer",
    "position": r"position\w*|places?|moved|shift\w*|offset|\w*placed|displac\w*|location",
    "text": r"reads?|\w*spell\w*|typo|wording|words?|text|letters?|characters?|labels?|says"
            r"|written",
    "value": r"values?|numbers?|digits?|data|share|off by|signs?|decimals?|percent\w*|units?"
             r"|counts?",
    "shape": r"shapes?|forms?|corners?|curv\w*|distort\w*|sides?|pointed|other outline",
}
# "red instead of blue": nothing but masked values is left
MASKS = {"Q": "text", "C": "colour", "N": "value"}
DIRECTION = r"\b(?:higher|lower|upper|top|bottom|left|right|above|below|inside|outside)\b"


def phenomenon(task: str, description: str) -> str:
    """What is wrong, whatever the values.

    Quoted strings, colours and numbers are masked, and the first pattern of PHENOMENA that is found
    decides. Without one, two masked values of one kind decide ("7 instead of 5"), then a direction,
    then one masked value; else the masked text itself is the phenomenon.

    >>> phenomenon("chart", "value 7, should be 5")
    'value'
    >>> phenomenon("chart", "The bar is too tall: it shows 9")
    'value'
    >>> phenomenon("svg", "red instead of blue"), phenomenon("svg", "the fill is #00f, not green")
    ('colour', 'colour')
    >>> phenomenon("table", "reads 'Sale', should be 'Sales'"), phenomenon("table", "It looks odd")
    ('text', 'it looks odd')
    >>> phenomenon("svg", "The red wheel is missing"), phenomenon("svg", "stroke missing")
    ('missing', 'stroke missing')
    """
    text = QUOTED.sub(" Q ", re.sub("[‘’“”`]", "'", description))
    text = text.replace("Q", "\0").lower().replace("\0", "Q")  # the mask stays upper case
    text = re.sub(r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", "N", COLOURS.sub("C", text))
    if task == "chart":  # there the height of a mark is its value
        text = re.sub(r"\b(?:tall|taller|short|shorter|higher|heights?|lower(?! left| right))\b",
                      "value", text)
    found = [name for name, words in PHENOMENA.items() if re.search(rf"\b(?:{words})\b", text)]
    if found and found[0] in ("missing", "extra"):
        for paint in ("stroke", "colour"):  # only the paint of a part, not the part
            if paint in found:
                return f"{paint} {found[0]}"
        return found[0]
    masks = {name: len(re.findall(rf"\b{mask}\b", text)) for mask, name in MASKS.items()}
    found += [name for name, n in masks.items() if n > 1]
    if re.search(DIRECTION, text):
        found.append("position")
    found += [name for name, n in masks.items() if n]
    if task == "table" and found[:1] == ["value"]:
        return "text"  # numbers are text there, and their category tells them from words
    return found[0] if found else " ".join(text.split())


# --- 3. the offline matcher ---


def level(task: str, true: Discrepancy, predicted: Discrepancy) -> str:
    """"yes", "partial" or "" for one true and one predicted error.

    Values and severities need not agree. The examples are for the true error text_error, title,
    "reads 'Sale', should be 'Sales'":

    | category | location | phenomenon | level | predicted |
    | --- | --- | --- | --- | --- |
    | same | same | same | yes | title: reads 'Sael', should be 'Sales' |
    | same | same | other | partial | title: missing |
    | same | wider | same | partial | (for row 2, column 3:) row 2: reads 'a', should be 'b' |
    | same | wider | other | no | |
    | same | elsewhere | any | no | x-axis label: reads 'Sale', should be 'Sales' |
    | other | any | any | no | |
    """
    where = same_place(task, true, predicted) if true.category == predicted.category else ""
    if not where:
        return ""
    if phenomenon(task, true.description) == phenomenon(task, predicted.description):
        return "yes" if where == "same" else "partial"
    return "partial" if where == "same" else ""


def match(task: str, true: list[Discrepancy],
          predicted: list[Discrepancy]) -> list[tuple[int, int, str]]:
    """The offline matcher: the one-to-one assignment with the most "yes", then the most "partial".

    >>> bar = lambda which, text: Discrepancy("data_error", 2, f"bar '{which}'", text)
    >>> true = [bar("A", "missing"), bar("A", "value 3, should be 4")]
    >>> match("chart", true, [bar("A", "value 9, should be 4")])
    [(1, 0, 'yes')]
    """
    levels = {}
    for i, j in product(range(len(true)), range(len(predicted))):
        if name := level(task, true[i], predicted[j]):
            levels[i, j] = name
    # `assign` leaves two errors alone at a cost of 1, so a yes gains 1 and all partials together
    # less than that.
    most = min(len(true), len(predicted))
    cost = {"yes": 0.0, "partial": most / (most + 1), "": 2.0}
    some_t, some_p = sorted({i for i, _ in levels}), sorted({j for _, j in levels})
    assigned = assign(some_t, some_p, lambda i, j: cost[levels.get((i, j), "")], gap=0.5)
    pairs = [(some_t[i], some_p[j]) for i, j in assigned if i is not None and j is not None]
    return [(i, j, levels[i, j]) for i, j in pairs if (i, j) in levels]


# --- 4. the LLM matcher ---

LONGEST_ANSWER = 8192  # tokens, thinking included

def matcher_prompt(task: str, true: list[Discrepancy], predicted: list[Discrepancy]) -> str:
    """The question. Categories must agree, as in the paper; severities are left out."""
    def lines(errors):
        rows = [{"id": n, "category": e.category, "location": e.location,
                 "description": e.description} for n, e in enumerate(errors)]
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)

    return f"""Two people compared the picture of a {task} with a copy of it and each listed the \
copy's errors.
Decide which entries of the second list speak of the same error as an entry of the first list.

First list (the truth):
{lines(true)}

Second list:
{lines(predicted)}

Rules:
- Only entries of the same category can be matched.
- "yes": the same element or spot, and the same thing is wrong with it, in whatever words.
- "partial": clearly the same error, but told more vaguely or incompletely.
- Everything else is no match. When in doubt, do not match.
- Each entry is used once at most.

Answer with this JSON and nothing else:
{{"matches": [{{"first": <id>, "second": <id>, "level": "yes" or "partial"}}]}}"""


class LLMMatcher:
    """Asks `model` at `url`, any OpenAI-compatible server (data/server.py). Called like `match`.

    One question for a pair of lists, none if a list is empty. Answers are kept in the file `cache`,
    by model and question. An unreadable answer is asked for again, three times in all; then the
    offline matcher takes the pair and `fell_back` counts it. Ids that do not exist, are used twice
    or belong to different categories (with `same_category`) are ignored. Raises InputError if the
    server fails.
    """

    def __init__(self, url: str, model: str, cache: Path, attempts: int = 3, *,
                 same_category: bool = True):
        self.server, self.model = Server(f"{url}#{model}"), model
        self.cache, self.attempts, self.same_category = Path(cache), attempts, same_category
        self.asked = self.fell_back = 0
        self.lock = threading.Lock()
        self.known = {}
        if self.cache.exists():
            for _, row in read_jsonl(self.cache, torn=True):
                with contextlib.suppress(KeyError, TypeError):
                    self.known[row["key"]] = [tuple(m) for m in row["matches"]]

    def __call__(self, task: str, true: list[Discrepancy],
                 predicted: list[Discrepancy]) -> list[tuple[int, int, str]]:
        if not true or not predicted:
            return []
        prompt = matcher_prompt(task, true, predicted)
        key = hashlib.sha256(f"{self.model}\n{prompt}".encode()).hexdigest()
        if key not in self.known and not self._learn(key, prompt):
            return match(task, true, predicted)
        matches, used_true, used_predicted = [], set(), set()
        for i, j, name in self.known[key]:
            if not (0 <= i < len(true) and 0 <= j < len(predicted)):
                continue
            fits = not self.same_category or true[i].category == predicted[j].category
            if fits and i not in used_true and j not in used_predicted:
                used_true.add(i)
                used_predicted.add(j)
                matches.append((i, j, name))
        return sorted(matches)

    def _learn(self, key: str, prompt: str) -> bool:
        """Ask until an answer can be read, and keep it; whether there is one."""
        for _ in range(self.attempts):
            matches = self._ask(prompt)
            if matches is not None:
                break
        with self.lock:
            if matches is None:
                self.fell_back += 1
                return False
            self.known[key] = matches
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with open(self.cache, "a", encoding="utf-8") as out:
                row = {"key": key, "model": self.model, "matches": matches}
                out.write("\n" + json.dumps(row))
        return True

    def _ask(self, prompt: str) -> list[tuple[int, int, str]] | None:
        """The matches in one answer, or None if it cannot be read."""
        with self.lock:
            self.asked += 1
        messages = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        try:
            [(text, _)] = self.server.ask_all([messages], LONGEST_ANSWER, temperature=1.0)
        except InputError as error:
            raise InputError(f"The matcher {self.model} did not answer. {error} Start it or leave "
                             "out --matcher; the judge's answers are kept.") from None
        try:
            found = json.loads(text[text.index("{"):text.rindex("}") + 1])["matches"]
            return [(int(m["first"]), int(m["second"]), m["level"]) for m in found
                    if m["level"] in ("yes", "partial")]
        except (ValueError, KeyError, TypeError):
            return None
