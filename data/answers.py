"""Code out of a model's answer: thoughts, fences and chatter go."""
import ast
import re

FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.M | re.S)
LANGUAGES = {"chart": ("python", "py", "python3"), "table": ("html", "markdown", "md", "xml"),
             "svg": ("svg", "xml", "html")}


def extract_code(task: str, answer: str) -> str:
    """Code out of a model's answer: thoughts, fences and chatter go; raw code passes unchanged.

    Of several fenced blocks the longest in a fitting language counts; a block or <svg> that was
    cut off runs to the end of the answer.
    """
    text = re.sub(r"\A.*</think>", "", answer, flags=re.S)
    text = re.sub(r"<think>.*\Z", "", text, flags=re.S)
    blocks = FENCE.findall(text)
    fitting = [body for name, body in blocks if name.lower() in LANGUAGES[task]] or \
        [body for _, body in blocks]
    if fitting:
        text = max(fitting, key=len)
    tag = {"svg": "svg", "table": "table"}.get(task)
    if tag is None:
        found = None if fitting else _program_in(text)
    else:
        found = re.search(rf"<{tag}\b.*</{tag}\s*>", text, re.S | re.I) or \
            re.search(rf"<{tag}\b.*", text, re.S | re.I)
    return found[0] if found and found[0].strip() != answer.strip() else text


def _program_in(text: str) -> list[str] | None:
    """The program in chatter without fences: from the first import to the last line that parses."""
    def parses(source):
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return True

    start = re.search(r"^(import|from) \w", text, re.M)
    if start is None or parses(text):
        return None
    lines = text[start.start():].splitlines(keepends=True)
    for cut in range(min(30, len(lines))):
        program = "".join(lines[:len(lines) - cut])
        if parses(program):
            return [program]
    return None
