"""The exercises of the course: the one list that the hand-out and the grading are made from."""
import ast
from dataclasses import dataclass

from data.verdict import InputError


@dataclass(frozen=True)
class Exercise:
    """Functions to be written; their points are the parts that `checks.<check>` makes."""

    number: int
    title: str
    check: str  # a function of data/course/checks.py
    functions: tuple[tuple[str, str], ...]  # (file, name in it) of each function to be written


EXERCISES = (
    Exercise(1, "The reward: Eq. 3-5", "the_reward", (
        ("visual_erm.py", "severity_reward"), ("visual_erm.py", "verm_rewards"),
        ("visual_erm.py", "add_render_term"))),
    Exercise(2, "Advantages", "advantages", (("train_rl.py", "group_advantages"),)),
    Exercise(3, "The clipped loss: Eq. 6", "clipped_loss", (("train_rl.py", "grpo_loss"),)),
    Exercise(4, "Log-probabilities with left padding", "log_probabilities", (
        ("data/engine.py", "log_probs"),)),
    Exercise(5, "Parse a verdict", "parse_a_verdict", (("data/verdict.py", "Verdict.parse"),)),
    Exercise(6, "A new reward that cannot be gamed", "new_reward", (
        ("data/course/rewards.py", "ink"),)),
    Exercise(7, "Judge against pixels", "judge_against_pixels", (
        ("data/experiments/siblings.py", "right"),)),
    Exercise(8, "Break the reward, then mend it", "break_and_mend", (
        ("data/course/rewards.py", "break_text"), ("data/course/rewards.py", "mend_text"))),
)


def without_answers(source: str, names: dict[str, int]) -> str:
    """Python source in which the bodies of the functions `names` {name: exercise} are taken out.

    Signature, decorators and docstring stay. Raises InputError for a name that is not there.

    >>> print(without_answers('def double(x):\\n    "2x"\\n    return 2 * x\\n', {"double": 7}))
    def double(x):
        "2x"
        raise NotImplementedError("exercise 7: double")
    <BLANKLINE>
    """
    lines = source.splitlines(keepends=True)
    found = [(_function(ast.parse(source), name), name) for name in names]
    for node, name in sorted(found, key=lambda pair: -pair[0].lineno):
        documented = ast.get_docstring(node) is not None
        start = node.body[0].end_lineno if documented else node.body[0].lineno - 1
        indent = " " * node.body[0].col_offset
        lines[start:node.end_lineno] = [
            f'{indent}raise NotImplementedError("exercise {names[name]}: {name}")\n']
    return "".join(lines)


def without_function(source: str, name: str) -> str:
    """Python source without one function and its decorators. Raises InputError: it is not there.

    >>> without_function("x = 1\\n@once\\ndef f():\\n    return 2\\ny = 3\\n", "f")
    'x = 1\\ny = 3\\n'
    """
    lines, node = source.splitlines(keepends=True), _function(ast.parse(source), name)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "".join(lines[:first - 1] + lines[node.end_lineno:])


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    """The function of a dotted name, "function" or "Class.method". Raises InputError."""
    node = tree
    for part in name.split("."):
        inside = [one for one in node.body if getattr(one, "name", None) == part]
        if len(inside) != 1:
            raise InputError(f"There is no function {name} where the list of exercises says; "
                             "put EXERCISES in data/course/exercises.py right.")
        node = inside[0]
    if not isinstance(node, ast.FunctionDef):
        raise InputError(f"{name} in the list of exercises is no function; put EXERCISES in "
                         "data/course/exercises.py right.")
    return node
