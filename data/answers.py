"""Code out of a model's answer; raw code passes unchanged.

| in the answer | rule |
| --- | --- |
| thoughts, special tokens such as `<|im_end|>` | go, with what follows the end of the turn |
| fenced blocks | the last one in a fitting language: it corrects the others |
| a block of Python that uses names of an earlier one | both: they belong together |
| style sheets in blocks of their own | belong to the table |
| HTML in chatter | from the first element to the last: style sheet, heading, table, note |
| `<html><body>` without attributes around a table | goes |
| Markdown table in chatter | the table with headings and captions next to it |
| several `<svg>` | the last complete one |
| a block or element that was cut off | runs to the end of the answer |
| a program in chatter without fences | from the first import to the last line that parses |
"""
import ast
import builtins
import re

from data.verdict import without_thoughts

FENCE = re.compile(r"[ \t]*(`{3,20}|~{3,20})[ \t]*([\w+-]*)[^`\n]*\n")  # opens a block
MAX_BLOCKS = 100        # fenced blocks that are looked at (the last ones)
LANGUAGES = {"chart": ("python", "py", "python3"), "table": ("html", "markdown", "md", "xml"),
             "svg": ("svg", "xml", "html")}
TOKEN = re.compile(r"<[|｜][\w▁ ]{1,40}[|｜]>|<(?:end_of_turn|eos)>|</s>\s*\Z")
FIRST_TOKENS = re.compile(rf"(?:\s*(?:{TOKEN.pattern})(?:assistant\b)?\s*)+")
ELEMENTS = "html|head|body|style|table|caption|div|section|article|figure|center|h[1-6]|p"
HTML_START = re.compile(rf"(?<!`)<(?:!doctype|{ELEMENTS})\b", re.I)
HTML_END = re.compile(rf"</(?:{ELEMENTS})\s*>", re.I)
TABLE = re.compile(r"(?<!`)<table\b", re.I)
RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")  # below a table's head
CAPTION = re.compile(r"\s*(?:#{1,6} .*|\*.*\*|_.*_|(?:table|tab\.) ?\d.*)\s*", re.I)
PAGE = re.compile(r"\s*(?:<!doctype html>\s*)?<html>\s*<body>\s*(.*?)\s*</body>\s*</html>\s*",
                  re.I | re.S)          # around a table it says nothing
SVG_TAG = re.compile(r"<svg\b[^<>]*?(/?)>|(</)svg\s*>", re.I)


def extract_code(task: str, answer: str) -> str:
    """The code in an answer, by the rules above; the answer itself where there is none."""
    text = _without_tokens(without_thoughts(answer))
    tagged = re.findall(r"<answer>(.*?)(?:</answer>|\Z)", text, re.S)
    text = tagged[-1] if tagged else text
    blocks = _blocks(text)[-MAX_BLOCKS:]
    fitting = [body for language, body in blocks if language in LANGUAGES[task]]
    fitting = fitting or [body for language, body in blocks if language != "css"]
    if task == "chart":
        return _joined_program(fitting) if fitting else _program_in(text) or text
    if task == "svg":
        drawn = [body for body in fitting if re.search(r"<svg\b", body, re.I)]
        text = drawn[-1] if drawn else text
        found = _last_svg(text)
        return text if found is None or found.strip() == answer.strip() else found
    if fitting:
        text = _table_with_styles(fitting, [body for language, body in blocks if language == "css"])
    else:
        text = _html_in(text) or _markdown_in(text) or text
    page = PAGE.fullmatch(text)
    return page[1] if page else text


def answer_in(completion: str | list[dict]) -> str:
    """The answer in trl's completion: a text, or a conversation that ends with a text or parts."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def _without_tokens(text):
    """The first turn in a text: what comes before the first special token, not counting its own."""
    first = FIRST_TOKENS.match(text)
    text = text[first.end():] if first else text
    end = TOKEN.search(text)
    return text[:end.start()] if end else text


def _blocks(text):
    """(language, body) of every fenced block."""
    blocks, fence = [], None
    for line in re.findall(r".*\n|.+", text):
        opening = FENCE.fullmatch(line)
        if fence is None and opening:
            fence, language, body = opening[1], opening[2].lower(), []
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            blocks.append((language, "".join(body)))
            fence = None
        elif fence:
            body.append(line)
    return blocks if fence is None else [*blocks, (language, "".join(body))]


def _parse(source):
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names(source):
    """(names that a program makes, names that it uses without making them); empty if it is none."""
    made, used = set(), set()
    for node in ast.walk(_parse(source) or ast.Module([], [])):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
                               ast.ExceptHandler)):
            made.add(node.name)
    return made, used - made - set(dir(builtins))


def _joined_program(blocks):
    """The last block, after those before it that make the names which it uses."""
    blocks = [body for body in blocks if _parse(body)] or blocks if len(blocks) > 1 else blocks
    program = blocks[-1]
    for earlier in reversed(blocks[:-1]):
        made, _ = _names(earlier)
        _, missing = _names(program)
        if made & missing:
            program = earlier + program
    return program


def _program_in(text):
    """The program in chatter without fences; None if there is none or it is all of the text."""
    start = re.search(r"^(import|from) \w", text, re.M)
    if start is None or _parse(text):
        return None
    lines = text[start.start():].splitlines(keepends=True)
    for cut in range(min(30, len(lines))):
        program = "".join(lines[:len(lines) - cut])
        if _parse(program):
            return program
    return None


def _table_with_styles(blocks, sheets):
    """The last block with a table, after the style sheets that came in blocks of their own."""
    tables = [body for body in blocks if TABLE.search(body) or _table_lines(body.split("\n"))]
    table = tables[-1] if tables else blocks[-1]
    styles = [f"<style>{sheet.strip()}</style>" for sheet in sheets]
    if tables:
        styles += [body.strip() for body in blocks if "<style" in body and body not in tables]
    return "\n".join([*styles, table.strip()]) if styles or TABLE.search(table) else table


def _html_in(text):
    """The table with all elements around it; None if there is no table in HTML."""
    if not TABLE.search(text):
        return None
    start = HTML_START.search(text).start()
    ends = [match.end() for match in HTML_END.finditer(text, start)]
    opened = [match.start() for match in TABLE.finditer(text)]
    whole = ends and ends[-1] > opened[-1]
    found = text[start:ends[-1] if whole else len(text)]
    return text if found.strip() == text.strip() else found


def _table_lines(lines):
    """(first, last) line of every Markdown table."""
    found, i = [], 0
    while i + 1 < len(lines):
        if "|" in lines[i] and RULE.fullmatch(lines[i + 1][:2000]):
            last = i + 1
            while last + 1 < len(lines) and "|" in lines[last + 1]:
                last += 1
            found.append((i, last))
            i = last
        i += 1
    return found


def _markdown_in(text):
    """All Markdown tables with what is between them, and headings and captions around."""
    lines = text.split("\n")
    tables = _table_lines(lines)
    if not tables:
        return None
    first, last = tables[0][0], tables[-1][1]
    for step in (-1, 1):
        at = (first if step < 0 else last) + step
        while 0 <= at < len(lines):
            line = lines[at][:2000].strip()
            if line and not CAPTION.fullmatch(line):
                break
            if line:
                first, last = min(first, at), max(last, at)
            at += step
    rest = lines[:first] + lines[last + 1:]
    return "\n".join(lines[first:last + 1]) if any(line.strip() for line in rest) else text


def _last_svg(text):
    """The last complete outermost <svg>, else the last that was cut off, else None."""
    complete, start, depth = None, None, 0
    for tag in SVG_TAG.finditer(text):
        if tag[2]:
            depth = max(0, depth - 1)
        else:
            start = tag.start() if depth == 0 else start
            depth += not tag[1]
        if depth == 0 and start is not None:
            complete = text[start:tag.end()]
    if complete is None:
        cut = re.search(r"<svg\b.*", text, re.S | re.I)
        complete = cut and cut[0]
    return complete
