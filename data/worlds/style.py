"""How people write programs: in other styles, and with corrupted details.

`worlds.draw` writes one faultless program for each picture. Found programs differ in two ways.
(1) Styles (`CodeStyle`): attributes and arguments come in another order, tables with or without
<tbody>; the picture is the same. A reward that compares texts changes, one that compares pictures
does not.
(2) Corruptions (`corrupt`): a detail is wrong. A title is left out, every line is solid, a red
shape is called orange, an 8 is read as a 3. Few pixels change, so a reward on the whole picture
changes little.

The base of data/tiny learned from such programs, and the references of reinforcement learning come
in many styles.

    >>> import random
    >>> CodeStyle(random.Random(0)).write("svg", '<circle cx="9" cy="9" r="3" fill="red"/>')
    '<circle cx="9" cy="9" fill="red" r="3"/>'
    >>> corrupt("svg", '<circle cx="9" cy="9" r="3" fill="red"/>', random.Random(0), share=1)
    '<circle cx="9" cy="9" r="3" fill="orange"/>'
"""
import ast
import random
import re

ELEMENT = re.compile(r'<(?!svg\b)([\w:]+)((?:\s+[\w:-]+="[^"]*")+)')
# Calls on one object, which may come in any order.
SETTERS = ("set_title", "set_xlabel", "set_ylabel", "set_xlim", "set_ylim", "grid")

COLORS = ('"red"', '"orange"'), ('"blue"', '"purple"'), ('"brown"', '"black"')
CORRUPTIONS = {  # task -> (what is to be written, what is written), ...
    "chart": ((r'\nax\.set_(title|xlabel|ylabel)\(.*', ""), (r"\nax\.grid\(True\)", ""), *COLORS,
              (r'linestyle="(--|:)"', 'linestyle="-"'), (r'marker="[s^]"', 'marker="o"'),
              (r"8(?=[],])", "6")),
    "table": (("8", "3"), (">-", ">"), ("%<", "<")),
    "svg": (*COLORS, (">E<", ">F<"), (">M<", ">N<"), (">G<", ">C<"),
            (' stroke="black" stroke-width="2"', "")),
}


def corrupt(task: str, code: str, rng: random.Random, share: float = 0.6) -> str:
    """The program with each match of CORRUPTIONS replaced with chance `share`."""
    for pattern, instead in CORRUPTIONS[task]:
        code = re.sub(pattern, lambda match: instead if rng.random() < share else match[0], code)
    return code


class CodeStyle:
    """A way of writing, drawn with `rng`: order of names, spaces, sections of a table."""

    def __init__(self, rng: random.Random):
        # as they come, by name, or reversed
        self.order = rng.choice((list, sorted, lambda names: [*names][::-1]))
        self.spaces = rng.random() < 0.5
        self.sections = rng.choice(("", "tbody", "thead"))

    def write(self, task: str, code: str) -> str:
        """The program in this style: the same picture. What cannot be parsed stays as it is."""
        writers = {"chart": self._chart, "table": self._table, "svg": self._svg}
        return writers[task](code)

    def _svg(self, code):
        def element(match):
            values = dict(re.findall(r'([\w:-]+)="([^"]*)"', match[2]))
            names = self.order(values)
            return f"<{match[1]}" + "".join(f' {name}="{values[name]}"' for name in names)

        return ELEMENT.sub(element, code).replace("/>", " />" if self.spaces else "/>")

    def _table(self, code):
        table = re.fullmatch(r"<table>\n((<tr>.*</tr>\n)+)</table>", code)
        if not self.sections or not table:
            return code
        rows = table[1].splitlines()
        if self.sections == "thead" and "<th>" in rows[0]:
            lines = ["<thead>", rows[0], "</thead>", "<tbody>", *rows[1:], "</tbody>"]
        else:
            lines = ["<tbody>", *rows, "</tbody>"]
        return "\n".join(["<table>", *lines, "</table>"])

    def _chart(self, code):
        try:
            statements = ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError):
            return code
        for one, other in zip(statements, statements[1:]):
            if one.end_lineno >= other.lineno:  # two statements on one line
                return code
        lines, out, run = code.split("\n"), [], {}
        for node in [*statements, None]:
            text = "\n".join(lines[node.lineno - 1:node.end_lineno]) if node else ""
            is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            call = node.value if is_call else None
            name = call.func.attr if call and isinstance(call.func, ast.Attribute) else ""
            if name in SETTERS and name not in run:
                run[name] = text
                continue
            out += [run[key] for key in self.order(run)]
            run = {name: text} if name in SETTERS else {}
            if not run and node:
                out.append(self._call(node, call) if call else text)
        return "\n".join(out)

    def _call(self, node, call):
        """A call with its keywords and spaces in this style."""
        # the first lines are the same in every style
        if ast.unparse(call.func) == "fig.subplots_adjust":
            return ast.unparse(node)
        names = self.order([keyword.arg or "" for keyword in call.keywords])
        call.keywords.sort(key=lambda keyword: names.index(keyword.arg or ""))
        plain = ast.unparse(node)
        text = re.sub(r"'([^'\"\\]*)'", r'"\1"', plain)
        text = text if self.spaces else text.replace(", ", ",")
        try:  # a text may hold quotes and commas of its own
            written, wanted = ast.parse(text).body[0], ast.parse(plain).body[0]
        except SyntaxError:
            return plain
        return text if ast.dump(written) == ast.dump(wanted) else plain
