"""Every command in the README and in the docstrings exists, and every flag they name is one the
script knows.
"""
import re
import runpy
import shlex
import sys

import pytest

from conftest import ROOT

SOURCES = [ROOT / "README.md", *sorted(ROOT.glob("data/**/README.md")), *sorted(ROOT.glob("*.py")),
           *sorted(ROOT.glob("data/**/*.py"))]
COMMAND = re.compile(r"^[ \t$]*(?:(?:\.venv/bin/)?python3?|torchrun --nproc-per-node 2) "
                     r"((?:-m data\.[\w.]+|\w[\w/]*\.py)\b[^\n#`|]*)", re.M)


def named():
    """(file, words) of every command."""
    for source in SOURCES:
        for match in COMMAND.finditer(source.read_text().replace("\\\n", " ")):
            yield source, shlex.split(match[1])


def commands():
    """{script: {flag: where it was first named}}."""
    found = {}
    for source, words in named():
        target = tuple(words[:2]) if words[0] == "-m" else (words[0],)
        found.setdefault(target, {})
        for word in words[len(target):]:
            if word == "--":  # what follows are flags of the script that is swept
                target = (f"{words[len(target)]}.py",)
                found.setdefault(target, {})
            elif word.startswith("--"):
                found[target].setdefault(word.split("=")[0], source.name)
    return found


FOUND = commands()


def test_the_readme_names_commands():
    assert {("visual_erm.py",), ("render.py",), ("train_sft.py",), ("-m", "data.build"),
            ("-m", "data.bench"), ("-m", "data.tiny")} <= set(FOUND)


@pytest.mark.parametrize("target", sorted(FOUND), ids=" ".join)
def test_every_named_flag_exists(target, monkeypatch, capsys):
    """--help of each, in this process: a new one for each would import torch and trl 25 times."""
    monkeypatch.setattr(sys, "argv", [target[-1], "--help"])
    with pytest.raises(SystemExit) as end:
        if target[0] == "-m":
            runpy.run_module(target[1], run_name="__main__")
        else:
            runpy.run_path(str(ROOT / target[0]), run_name="__main__")
    assert not end.value.code
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    known |= {flag.replace("_", "-") for flag in known}
    missing = {flag: source for flag, source in FOUND[target].items() if flag not in known}
    assert not missing, f"{' '.join(target)} does not know {missing}"


def test_no_run_folder_is_used_twice():
    """A second run in a folder is refused: whoever follows a page from top to bottom is stuck."""
    made = {}
    for source, words in named():
        script = words[1] if words[0] == "-m" else words[0]
        default = {"train_sft.py": "runs/judge_sft", "train_rl.py": "runs/rl",
                   "data.tiny": "runs/base", "refine.py": "runs/refine"}.get(script)
        if source.suffix != ".md" or not default or "--score" in words:
            continue
        if script == "refine.py" and "--eval" not in words:  # one picture is no run
            continue
        out = words[words.index("--out") + 1] if "--out" in words else default
        made.setdefault((source, out), set()).add(" ".join(words))
    assert made and not [commands for commands in made.values() if len(commands) > 1]


def test_no_folder_is_made_in_two_ways():
    """data.build goes on with a folder of the same settings and refuses others: a reader would be
    stuck.
    """
    made = {}
    for source, words in named():
        if words[:2] == ["-m", "data.build"] and "--out" in words:
            place = source, words[words.index("--out") + 1]
            made.setdefault(place, set()).add(re.sub(r" --n \d+", "", " ".join(words)))
    assert made and not [commands for commands in made.values() if len(commands) > 1]
