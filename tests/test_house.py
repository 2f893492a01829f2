"""The house rules: imports run one way, no torch where none belongs, the book stays short, one
handwriting.
"""
import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

BOOK = {"visual_erm.py": 330, "render.py": 165, "train_sft.py": 289, "train_rl.py": 507,
        "refine.py": 309}
README = (ROOT / "README.md").read_text()
PRODUCT = sorted([*ROOT.glob("*.py"), *ROOT.glob("data/**/*.py")])
FLOORS = (  # a file imports only from its own floor and those before it
    ("data.loose_json", "data.verdict"),
    ("data.pairs", "data.answers", "data.prompts", "data.runs", "data.renderers"),
    ("render",),
    ("data.worlds", "data.edit", "data.compare"),
    ("data.cache", "data.report", "data.server", "data.recogniser", "data.models",
     "data.metrics", "data.reading", "data.own"),
    ("visual_erm",),
    ("data.engine", "data.samples", "data.optim", "data.build", "data.bench", "data.hub",
     "data.serve", "data.published", "data.turns", "data.variants", "data.rl_run", "data.sft_run",
     "data.merge"),
    ("train_sft", "train_rl", "refine", "data.teacher", "data.tiny", "data.experiments",
     "data.course", "data.score"),
)
OPTIONAL = {"rapidocr_onnxruntime", "rapid_table",  # imported where they are used, with a sentence
            "verl", "ray", "omegaconf"}             # where they are missing
WITHOUT_TORCH = ("data.loose_json", "data.verdict", "data.pairs", "data.answers", "data.prompts",
                 "data.runs", "data.renderers", "render", "data.worlds", "data.edit",
                 "data.compare", "data.bench")


def name_of(path):
    """The module of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor(module):
    """Its number, or None for a module that is not the project's."""
    found = [n for n, rooms in enumerate(FLOORS) for room in rooms
             if module == room or module.startswith(room + ".")]
    return found[0] if found else None


def imports(path):
    """(line, module) of everything that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner
                       if floor(name) is not None and floor(node.module) is None]
            yield from ((node.lineno, module) for module in modules or [node.module])


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    if path.name == "__init__.py" and path.parent.name == "data":
        return
    mine = floor(name_of(path))
    assert mine is not None, "this file is on no floor"
    up = [f"line {line}: {module}" for line, module in imports(path) if (floor(module) or 0) > mine]
    assert not up


def test_no_circles():
    """Not on one floor either; packages count as one room."""
    rooms = [room for rooms in FLOORS for room in rooms]
    room_of = {name_of(path): next((r for r in rooms if f"{name_of(path)}.".startswith(r + ".")),
                                   None)
               for path in PRODUCT}
    arrows = {}
    for path in PRODUCT:
        for _, module in imports(path):
            other = next((r for r in rooms if f"{module}.".startswith(r + ".")), None)
            if other and other != room_of[name_of(path)]:
                arrows.setdefault(room_of[name_of(path)], set()).add(other)

    def reach(room, seen=()):
        assert room not in seen, f"a circle: {' -> '.join((*seen, room))}"
        for other in arrows.get(room, ()):
            reach(other, (*seen, room))

    for room in rooms:
        reach(room)


def test_no_torch_where_none_belongs():
    code = (f"import sys, {', '.join(WITHOUT_TORCH)}; "
            "sys.exit(sorted({'torch', 'transformers'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("user, expected", [
    ({}, "expandable_segments:True"), ({"PYTORCH_ALLOC_CONF": "x:1"}, "x:1"),
    ({"PYTORCH_CUDA_ALLOC_CONF": "x:1"}, "None")])
@pytest.mark.parametrize("module", ["visual_erm", "train_sft", "train_rl", "refine", "data.models",
                                    "data.tiny.__main__", "data.experiments.speed_gpu"])
def test_the_allocator_is_set_before_torch_is_loaded(module, user, expected):
    """It reads its setting while it is loaded."""
    code = f"""import os, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("PYTORCH_ALLOC_CONF"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Finder())
import {module}"""
    rest = {name: value for name, value in os.environ.items() if "ALLOC_CONF" not in name}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env=rest | user)
    assert done.stdout == f"{expected}\n", done.stderr


def test_the_book_stays_short():
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in BOOK}
    assert all(lengths[name] <= most for name, most in BOOK.items()), lengths
    assert sum(BOOK.values()) <= 1600


@pytest.mark.parametrize("name", BOOK)
def test_the_readme_names_the_budgets(name):
    assert re.search(rf"^\| `{re.escape(name)}` \| {BOOK[name]} \|", README, re.M)


def test_the_readme_stays_short():
    assert len(README.split()) <= 2600


def statements(tree):
    """Simple statements, and what stands in the head of compound ones."""
    for node in ast.walk(tree):
        if (isinstance(node, ast.stmt) and not hasattr(node, "body")
                and not isinstance(node, (ast.Import, ast.ImportFrom))):
            yield node
        for part in ("test", "iter", "subject"):
            if isinstance(node, ast.stmt) and hasattr(node, "body") and hasattr(node, part):
                yield getattr(node, part)


@pytest.mark.parametrize("name", BOOK)
def test_no_statement_needs_two_looks(name):
    tree = ast.parse((ROOT / name).read_text())
    long = {node.lineno: size for node in statements(tree)
            if (size := sum(1 for _ in ast.walk(node))) > 60}
    comprehensions = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp
    nested = [node.lineno for node in ast.walk(tree) if isinstance(node, comprehensions)
              for inner in ast.walk(node)
              if inner is not node and isinstance(inner, comprehensions)]
    assert not long and not nested


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_banners_are_of_one_kind(path):
    lines = [line for line in path.read_text().splitlines()
             if re.match(r"\s*# ?(-{2,}|={3,})", line)]
    assert all(re.fullmatch(r" *# --- \d\. [^-].* ---", line) for line in lines), lines


def test_requirements_name_every_package():
    wanted = {re.split(r"[=<>\[ ]", line)[0].lower()
              for line in (ROOT / "requirements.txt").read_text().splitlines() if line}
    belongs = importlib.metadata.packages_distributions()
    missing = {}
    for path in [*PRODUCT, *Path(ROOT / "tests").glob("*.py")]:
        for line, module in imports(path):
            package = module.split(".")[0]
            known = "data", *OPTIONAL, *sys.stdlib_module_names
            if (package in known or floor(module) is not None
                    or (ROOT / "tests" / f"{package}.py").exists()):
                continue
            if not {name.lower() for name in belongs.get(package, [package])} & wanted:
                missing.setdefault(package, f"{path.relative_to(ROOT)}:{line}")
    assert not missing
