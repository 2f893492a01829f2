"""Matplotlib programs as text and tree, for `data/edit/chart.py`.

The program is read with `ast`, and pieces of its text are replaced in place, so that a damaged
program looks like an undamaged one: the same quotes, the same order of arguments. Lists may stand
in the call or behind a name.
"""
import ast
import re

PLOTS = ("bar", "barh", "plot", "scatter", "pie", "step", "errorbar", "fill_between", "stem",
         "semilogy", "semilogx", "loglog", "hist", "boxplot")
ORDER = ("set_xscale", "set_yscale", "set_xlim", "set_ylim", "set_xticks", "set_yticks",
         "set_title", "set_xlabel", "set_ylabel", "grid")
TICKS = ("set_xticklabels", "set_yticklabels", "set_xticks", "set_yticks", "xticks", "yticks")
# keywords of a plot whose values are as many as its marks
DATA = ("x", "y", "height", "width", "bottom", "left", "yerr", "xerr", "s", "c", "explode")


class Program:
    """Source code with its syntax tree. Raises SyntaxError for code that is not Python."""

    def __init__(self, code: str):
        self.code, self.bytes = code, code.encode()
        self.tree = ast.parse(code)
        self.starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.names = {}  # name -> the literal last assigned to it, at any level
        self.statements = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
                if isinstance(target, ast.Name):
                    self.names[target.id] = node.value
            if isinstance(node, (ast.Expr, ast.Assign)) and isinstance(node.value, ast.Call):
                self.statements.append(node)

    def calls(self, *methods: str) -> list[ast.Call]:
        """Calls of methods with these names, in the order of the text."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)
                 and isinstance(node.func, ast.Attribute) and node.func.attr in methods]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    def plots(self, *methods: str) -> list[ast.Call]:
        """Calls that draw data and have at least one argument."""
        return [call for call in self.calls(*(methods or PLOTS)) if call.args]

    def span(self, node: ast.AST) -> tuple[int, int]:
        """(start, end) of a node in bytes."""
        start = self.starts[node.lineno - 1] + node.col_offset
        end = self.starts[node.end_lineno - 1] + node.end_col_offset
        return start, end

    def line(self, node: ast.AST) -> tuple[int, int]:
        """(start, end) of the line of a statement, with one of its line ends.

        If something else stands on that line, it is the span of the node.
        """
        start, end = self.starts[node.lineno - 1], self.starts[node.end_lineno]
        if self.bytes[start:end].strip() != self.text(node).encode():
            return self.span(node)
        return (start, end) if self.bytes[start:end].endswith(b"\n") else (max(0, start - 1), end)

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.bytes[start:end].decode()

    def replace(self, *changes: tuple) -> str:
        """Code with ((start, end) or node, new text) replaced; changes must not overlap."""
        pieces = []
        for where, new in changes:
            start, end = where if isinstance(where, tuple) else self.span(where)
            pieces.append((start, end, new))
        out = self.bytes
        for start, end, new in sorted(pieces, reverse=True):
            out = out[:start] + new.encode() + out[end:]
        return out.decode()

    def literal(self, node: ast.AST) -> ast.List | ast.Tuple | None:
        """The list an argument is: itself, behind a name, or inside np.array(...); else None."""
        for _ in range(4):
            if isinstance(node, ast.Name):
                node = self.names.get(node.id)
            elif isinstance(node, ast.Call) and node.args:
                if getattr(node.func, "attr", "") in ("array", "asarray"):
                    node = node.args[0]
        return node if isinstance(node, (ast.List, ast.Tuple)) and node.elts else None

    def numbers(self, node: ast.AST) -> ast.List | ast.Tuple | None:
        """`literal`, if all its elements are numbers."""
        found = self.literal(node)
        return found if found and all(number_in(e) is not None for e in found.elts) else None

    def strings(self, node: ast.AST) -> ast.List | ast.Tuple | None:
        """`literal`, if all its elements are strings."""
        found = self.literal(node)
        return found if found and all(string_in(e) is not None for e in found.elts) else None

    def values(self, call: ast.Call) -> ast.List | ast.Tuple | None:
        """The list of the values that a call draws, or None."""
        key = {"bar": "height", "barh": "width", "pie": "x"}.get(call.func.attr, "y")
        node = next((k.value for k in call.keywords if k.arg == key), None)
        if node is None:
            args = [arg for arg in call.args if string_in(arg) is None]  # without "r--"
            single = call.func.attr in ("pie", "hist") or len(args) == 1
            node = args[0 if single else 1] if args else None
        return self.numbers(node) if node is not None else None

    def categories(self, call: ast.Call) -> ast.List | ast.Tuple | None:
        """The list of strings along the axis of a call (or the labels of a pie), or None."""
        keys = ("x", "y", "labels", "tick_label")
        nodes = [k.value for k in call.keywords if k.arg in keys] + call.args[:1]
        for texts in self.tick_texts():
            nodes += texts
        values = self.values(call)
        for found in map(self.strings, nodes):
            if found and values and len(found.elts) == len(values.elts):
                return found
        return None

    def tick_texts(self) -> list[list[ast.AST]]:
        """Arguments that give tick texts, a list for each call of TICKS."""
        texts = []
        for call in self.calls(*TICKS):
            labels = [k.value for k in call.keywords if k.arg == "labels"]
            texts.append(call.args[-1:] + labels)
        return texts

    def parallel(self, call: ast.Call) -> list[ast.List | ast.Tuple] | None:
        """The lists as long as the values of `call` in it and in calls that share a list with it.

        None if one of these calls draws data of unknown length.
        """
        n = len(self.values(call).elts)
        nodes_of = [[*plot.args, *(k.value for k in plot.keywords)] for plot in self.plots()]
        nodes_of += [nodes + tick.args
                     for nodes, tick in zip(self.tick_texts(), self.calls(*TICKS))]
        groups = []
        for nodes in nodes_of:
            lists = map(self.literal, nodes)
            groups.append([found for found in lists if found and len(found.elts) == n])
        chosen = [self.values(call)]
        for _ in groups:
            for group in groups:
                if any(found in chosen for found in group):
                    chosen += [found for found in group if found not in chosen]
        for plot in self.plots():
            together = any(self.literal(node) in chosen for node in plot.args)
            if together and self.open_ended(plot):
                return None
        return chosen

    def open_ended(self, call: ast.Call) -> bool:
        """Whether a call draws data whose length cannot be read from the text."""
        nodes = call.args + [k.value for k in call.keywords if k.arg in DATA]
        return any(self.literal(node) is None and not isinstance(node, ast.Constant)
                   for node in nodes)

    def insert_call(self, method: str, arguments: str) -> str | None:
        """Code with `ax.method(arguments)` added where ORDER has it; None if there is no call."""
        calls = [call for call in self.calls(*PLOTS, *ORDER)
                 if isinstance(call.func.value, ast.Name)]
        calls = [call for call in calls if any(s.value is call for s in self.statements)]
        if not calls:
            return None
        rank = _rank(method)
        before = [call for call in calls if _rank(call.func.attr) <= rank] or calls[:1]
        last = max(before, key=lambda call: call.end_lineno)
        owner = last.func.value.id
        if owner in ("plt", "pyplot") and method == "set_facecolor":
            return None
        name = method.replace("set_", "") if owner in ("plt", "pyplot") else method
        start = self.starts[last.lineno - 1]
        indent = re.match(rb"[ \t]*", self.bytes[start:]).group().decode()
        end = self.span(last)[1]
        return self.replace(((end, end), f"\n{indent}{owner}.{name}({arguments})"))

    def delete_call(self, call: ast.Call) -> str | None:
        """Code without the statement that is `call`, or None if it is part of something."""
        statement = next((s for s in self.statements if s.value is call), None)
        if statement is None or isinstance(statement, ast.Assign) and self.used(statement):
            return None
        where = self.line(statement)
        new = self.replace((where, ""))
        return new if where != self.span(statement) and parses(new) else None

    def used(self, statement: ast.Assign) -> bool:
        """Whether the program reads a name that the statement assigns."""
        targets = set()
        for target in statement.targets:
            targets |= {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
        names = [node for node in ast.walk(self.tree) if isinstance(node, ast.Name)]
        return any(node.id in targets and isinstance(node.ctx, ast.Load) for node in names)

    def keyword(self, call: ast.Call, *names: str) -> ast.keyword | None:
        """The first keyword argument of a call with one of these names, or None."""
        return next((k for k in call.keywords if k.arg in names), None)

    def set_keyword(self, call: ast.Call, names: tuple[str, ...], text: str) -> tuple:
        """Change for `replace`: one of `names` becomes `text`, or `names[0]` is added."""
        keyword = self.keyword(call, *names)
        if keyword:
            return (keyword.value, text)
        end = self.span(call)[1] - 1
        tail = self.bytes[:end].rstrip()
        comma = "" if tail.endswith((b"(", b",")) else ", "
        return ((len(tail), len(tail)), f"{comma}{names[0]}={text}")

    def quote(self, text: str) -> str:
        """`text` as a string literal with the quotes this program uses."""
        mark = "'" if self.code.count("'") > self.code.count('"') else '"'
        return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def _rank(method):
    name = method if method in ORDER else "set_" + method
    return ORDER.index(name) if name in ORDER else -1


def parses(code: str) -> bool:
    """Whether a text is Python."""
    try:
        ast.parse(code)
        return True
    except SyntaxError:
        return False


def number_in(node: ast.AST) -> int | float | None:
    """The value of a number literal (a sign included), else None."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    return sign * node.value if isinstance(node.value, (int, float)) else None


def string_in(node: ast.AST) -> str | None:
    """The value of a string literal, else None."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
