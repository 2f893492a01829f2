"""Prompts that a judge was trained with, when they are not those of visual_erm.py.

They are part of a judge's name: "prompts:PLACE:NAME", for which every script with --judge takes
`--judge_prompts PLACE`. An empty NAME stands for the preset's judge. PLACE is a folder of
chart.txt, table.txt and svg.txt, or Python files that hold prompts as constants, such as those of
the published repository. These are read as data and never executed.
"""
import ast
from pathlib import Path

from data.verdict import CATEGORIES, InputError

PREFIX = "prompts:"
JUDGE_PROMPTS = "folder or file with the prompts that the judge was trained with (data/prompts.py)"
SHORTEST = 200  # characters of a prompt; other constants are names and numbers


def with_prompts(place: str, judge: str | None) -> str | None:
    """The name of `judge` asked with the prompts at `place`; "": as it is."""
    return f"{PREFIX}{place}:{judge or ''}" if place else judge


def split_prompts(name: str) -> tuple[str, dict[str, str]]:
    """(the judge's own name, {task: prompt}) of a name as above. Raises InputError.

    >>> split_prompts("data/tiny/judge")
    ('data/tiny/judge', {})
    """
    if not name.startswith(PREFIX):
        return name, {}
    place, _, judge = name.removeprefix(PREFIX).partition(":")
    return judge, read_prompts(place)


def read_prompts(place: str) -> dict[str, str]:
    """{task: prompt} of a folder or a file. A task without one is asked with ours.

    In Python files a prompt is a text that is assigned to a name. The name, or that of the function
    around it, has the task in it: PROMPT_CHART2CODE_JUDGEMENT, build_prompt_for_table; a name
    without a task is tables' if the file's name has "table" in it. Raises InputError if there is
    none.
    """
    path, found = Path(place).expanduser(), {}
    for file in sorted(path.glob("*")) if path.is_dir() else [path]:
        try:
            if file.suffix == ".txt" and file.stem in CATEGORIES:
                found[file.stem] = file.read_text("utf-8")
            elif file.suffix == ".py":
                tree = ast.parse(file.read_text("utf-8"))
                found |= dict(_constants(tree, file.stem.lower())) | found
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{file} cannot be read for prompts ({error}).") from None
    if not found:
        raise InputError(f"{place} holds no prompts: give a folder with chart.txt, table.txt and "
                         "svg.txt, or a Python file that holds them as constants.")
    return found


def _constants(tree, where, inside=""):
    """(task, prompt) of every text that is assigned to a name, in functions, too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield from _constants(node, where, node.name.lower())
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        try:
            text = ast.literal_eval(node.value)
        except (ValueError, SyntaxError, TypeError):
            continue
        if not isinstance(text, str) or len(text) < SHORTEST:
            continue
        name = f"{inside} {node.targets[0].id.lower()}"
        task = next((task for task in CATEGORIES if task in name), None)
        if task or "table" in where:
            yield task or "table", text
