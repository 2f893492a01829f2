"""Matplotlib programs as text and tree, for `data/edit/chart.py`.

The program is read with `ast`, and pieces of its text are replaced in place, so that a damaged program looks like an
undamaged one: the same quotes, the same order of arguments. Lists may stand in the call or behind a name.
"""
import ast
import re

PLOTS = ("bar", "barh", "plot", "scatter", "pie", "step", "errorbar", "fill_between", "stem", "semilogy", "semilogx",
         "loglog", "hist", "boxplot")
ORDER = ("set_xscale", "set_yscale", "set_xlim", "set_ylim", "set_xticks", "set_yticks", "set_title",
         "set_xlabel", "set_ylabel", "grid")


class Program:
    """Source code with its syntax tree. Raises SyntaxError for code that is not Python."""

    def __init__(self, code):
        self.code, self.bytes = code, code.encode()
        self.tree = ast.parse(code)
        self.starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.names = {}                                  # name -> the literal last assigned to it, at any level
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self.names[node.targets[0].id] = node.value
        self.statements = [node for node in ast.walk(self.tree) if isinstance(node, (ast.Expr, ast.Assign))
                           and isinstance(node.value, ast.Call)]

    def calls(self, *methods):
        """Calls of methods with these names, in the order of the text."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)
                 and isinstance(node.func, ast.Attribute) and node.func.attr in methods]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset))

    def plots(self, *methods):
        """Calls that draw data and have at least one argument."""
        return [call for call in self.calls(*(methods or PLOTS)) if call.args]

    def span(self, node):
        """(start, end) of a node in bytes."""
        return (self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset)

    def line(self, node):
        """(start, end) of the line of a statement with one of its line ends; of the node, if it is not alone there."""
        start, end = self.starts[node.lineno - 1], self.starts[node.end_lineno]
        if self.bytes[start:end].strip() != self.text(node).encode():
            return self.span(node)
        return (start, end) if self.bytes[start:end].endswith(b"\n") else (max(0, start - 1), end)

    def text(self, node):
        start, end = self.span(node)
        return self.bytes[start:end].decode()

    def replace(self, *changes):
        """Code with ((start, end) or node, new text) replaced; changes must not overlap."""
        pieces = [(*(where if isinstance(where, tuple) else self.span(where)), new) for where, new in changes]
        out = self.bytes
        for start, end, new in sorted(pieces, reverse=True):
            out = out[:start] + new.encode() + out[end:]
        return out.decode()

    # ------------------------------------------------------------------------------------------------ literals
    def literal(self, node):
        """The list that an argument is: itself, behind a name, or inside np.array(...); None if it is no literal."""
        for _ in range(4):
            if isinstance(node, ast.Name):
                node = self.names.get(node.id)
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("array", "asarray") and node.args:
                node = node.args[0]
        return node if isinstance(node, (ast.List, ast.Tuple)) and node.elts else None

    def numbers(self, node):
        """`literal`, if all its elements are numbers."""
        found = self.literal(node)
        return found if found and all(number_in(e) is not None for e in found.elts) else None

    def strings(self, node):
        found = self.literal(node)
        return found if found and all(string_in(e) is not None for e in found.elts) else None

    def values(self, call):
        """The list of the values that a call draws, or None."""
        key = {"bar": "height", "barh": "width", "pie": "x"}.get(call.func.attr, "y")
        node = next((k.value for k in call.keywords if k.arg == key), None)
        if node is None:
            args = [arg for arg in call.args if string_in(arg) is None]                # without "r--"
            single = call.func.attr in ("pie", "hist") or len(args) == 1
            node = args[0 if single else 1] if args else None
        return self.numbers(node) if node is not None else None

    def categories(self, call):
        """The list of strings along the axis of a call (or the labels of a pie), or None."""
        nodes = [k.value for k in call.keywords if k.arg in ("x", "y", "labels", "tick_label")] + call.args[:1]
        lists = [self.strings(node) for node in nodes] + [self.strings(arg) for tick in self.tick_texts()
                                                          for arg in tick]
        n = len(self.values(call).elts) if self.values(call) else None
        return next((found for found in lists if found and len(found.elts) == n), None)

    def tick_texts(self):
        """Arguments that give tick texts."""
        return [[*call.args[-1:], *(k.value for k in call.keywords if k.arg == "labels")] for call
                in self.calls("set_xticklabels", "set_yticklabels", "set_xticks", "set_yticks", "xticks", "yticks")]

    def parallel(self, call):
        """All lists as long as the values of `call` that belong to it, or to calls that share a list with it."""
        n = len(self.values(call).elts)
        groups = [[self.literal(node) for node in [*c.args, *(k.value for k in c.keywords)]] for c in self.plots()]
        groups += [[self.literal(node) for node in nodes + c.args] for nodes, c in zip(
            self.tick_texts(), self.calls("set_xticklabels", "set_yticklabels", "set_xticks", "set_yticks", "xticks",
                                          "yticks"))]
        groups = [[found for found in group if found and len(found.elts) == n] for group in groups]
        chosen = [self.values(call)]
        for _ in groups:
            for group in groups:
                if any(found in chosen for found in group):
                    chosen += [found for found in group if found not in chosen]
        together = [c for c in self.plots() if any(self.literal(node) in chosen for node in c.args)]
        return None if any(self.open_ended(c) for c in together) else chosen

    def open_ended(self, call):
        """Whether a call draws data whose length cannot be read from the text."""
        nodes = call.args + [k.value for k in call.keywords if k.arg in ("x", "y", "height", "width", "bottom", "left",
                                                                        "yerr", "xerr", "s", "c", "explode")]
        return any(self.literal(node) is None and not isinstance(node, ast.Constant) for node in nodes)

    # ---------------------------------------------------------------------------------------------------- text
    def insert_call(self, method, arguments):
        """Code with `ax.method(arguments)` added at the place where this project's programs have it."""
        calls = [call for call in self.calls(*PLOTS, *ORDER) if isinstance(call.func.value, ast.Name)]
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

    def delete_call(self, call):
        """Code without the statement that is `call`, or None if it is part of something."""
        statement = next((s for s in self.statements if s.value is call), None)
        if statement is None or isinstance(statement, ast.Assign) and self.used(statement):
            return None
        where = self.line(statement)
        new = self.replace((where, ""))
        return new if where != self.span(statement) and parses(new) else None

    def used(self, statement):
        targets = {node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        return any(isinstance(node, ast.Name) and node.id in targets and isinstance(node.ctx, ast.Load)
                   for node in ast.walk(self.tree))

    def keyword(self, call, *names):
        return next((k for k in call.keywords if k.arg in names), None)

    def set_keyword(self, call, names, text):
        """Change for `replace`: keyword `names[0]` of `call` becomes `text`; added at the end if there is none."""
        keyword = self.keyword(call, *names)
        if keyword:
            return (keyword.value, text)
        end = self.span(call)[1] - 1
        tail = self.bytes[:end].rstrip()
        comma = "" if tail.endswith((b"(", b",")) else ", "
        return ((len(tail), len(tail)), f"{comma}{names[0]}={text}")

    def quote(self, text):
        """`text` as a string literal with the quotes this program uses."""
        mark = "'" if self.code.count("'") > self.code.count('"') else '"'
        return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def _rank(method):
    name = method if method in ORDER else "set_" + method
    return ORDER.index(name) if name in ORDER else -1


def parses(code):
    try:
        ast.parse(code)
        return True
    except SyntaxError:
        return False


def number_in(node):
    """The value of a number literal (a sign included), else None."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    ok = isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    return sign * node.value if ok else None


def string_in(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
