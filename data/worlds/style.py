"""How people write programs: each in a hand of his own, and with bad habits.

`worlds.draw` writes one faultless program for each picture. Found programs are not like that. (1) Hands: attributes and
arguments come in another order, tables with or without <tbody>; the picture is the same. A reward that compares texts
pays for such things, one that looks at pictures does not. (2) Habits: the gist is right and a detail is not. A title is
left out, every line is solid, a red shape is called orange, an 8 is read as a 3. Few pixels change, so a reward that
looks at the whole picture hardly minds.

The base of data/tiny learned from such programs, and the references of reinforcement learning come in many hands.

    >>> import random
    >>> Hand(random.Random(0)).write("svg", '<circle cx="9" cy="9" r="3" fill="red"/>')
    '<circle cx="9" cy="9" fill="red" r="3"/>'
    >>> habits("svg", '<circle cx="9" cy="9" r="3" fill="red"/>', random.Random(0), share=1)
    '<circle cx="9" cy="9" r="3" fill="orange"/>'
"""
import ast
import re

ELEMENT = re.compile(r'<(?!svg\b)([\w:]+)((?:\s+[\w:-]+="[^"]*")+)')
SETTERS = ("set_title", "set_xlabel", "set_ylabel", "set_xlim", "set_ylim", "grid")   # on one object, in any order

COLORS = ('"red"', '"orange"'), ('"blue"', '"purple"'), ('"brown"', '"black"')
HABITS = {                                            # task -> (what is to be written, what is written), ...
    "chart": ((r'\nax\.set_(title|xlabel|ylabel)\(.*', ""), (r"\nax\.grid\(True\)", ""), *COLORS,
              (r'linestyle="(--|:)"', 'linestyle="-"'), (r'marker="[s^]"', 'marker="o"'), (r"8(?=[],])", "6")),
    "table": (("8", "3"), (">-", ">"), ("%<", "<")),
    "svg": (*COLORS, (">E<", ">F<"), (">M<", ">N<"), (">G<", ">C<"), (' stroke="black" stroke-width="2"', "")),
}


def habits(task, code, rng, share=0.6):
    """The program as somebody with HABITS writes it: each place that one of them fits is spoilt with chance `share`."""
    for pattern, instead in HABITS[task]:
        code = re.sub(pattern, lambda match: instead if rng.random() < share else match[0], code)
    return code


class Hand:
    """A way of writing, drawn with `rng` (random.Random): the order of names, the spaces, the sections of a table."""

    def __init__(self, rng):
        self.order = rng.choice((list, sorted, lambda names: [*names][::-1]))        # as they come, by name, or reversed
        self.spaces = rng.random() < 0.5
        self.sections = rng.choice(("", "tbody", "thead"))

    def write(self, task, code):
        """The program `code` of `task` in this hand: another text, the same picture. What cannot be read stays."""
        return {"chart": self._chart, "table": self._table, "svg": self._svg}[task](code)

    def _svg(self, code):
        def element(match):
            values = dict(re.findall(r'([\w:-]+)="([^"]*)"', match[2]))
            return f"<{match[1]}" + "".join(f' {name}="{values[name]}"' for name in self.order(values))

        return ELEMENT.sub(element, code).replace("/>", " />" if self.spaces else "/>")

    def _table(self, code):
        table = re.fullmatch(r"<table>\n((<tr>.*</tr>\n)+)</table>", code)
        if not self.sections or not table:
            return code
        rows = table[1].splitlines()
        head = rows[:1] if self.sections == "thead" and "<th>" in rows[0] else []
        body = ["<tbody>", *rows[len(head):], "</tbody>"]
        return "<table>\n" + "\n".join(["<thead>", *head, "</thead>"] * bool(head) + body) + "\n</table>"

    def _chart(self, code):
        try:
            statements = ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError):
            return code
        if any(one.end_lineno >= other.lineno for one, other in zip(statements, statements[1:])):
            return code                                                              # two statements on one line
        lines, out, run = code.split("\n"), [], {}
        for node in [*statements, None]:
            text = "\n".join(lines[node.lineno - 1:node.end_lineno]) if node else ""
            call = node.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
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
        """A call with its keywords and spaces as this hand writes them; the first lines are the same in every hand."""
        if ast.unparse(call.func) == "fig.subplots_adjust":
            return ast.unparse(node)
        names = self.order([keyword.arg or "" for keyword in call.keywords])
        call.keywords.sort(key=lambda keyword: names.index(keyword.arg or ""))
        plain = ast.unparse(node)
        text = re.sub(r"'([^'\"\\]*)'", r'"\1"', plain)
        text = text if self.spaces else text.replace(", ", ",")
        try:                                                            # a text may hold quotes and commas of its own
            return text if ast.dump(ast.parse(text).body[0]) == ast.dump(ast.parse(plain).body[0]) else plain
        except SyntaxError:
            return plain
