"""Command lines of scripts and modules: --help and a mistyped flag end at once, without torch."""
import json

import pytest

from conftest import ROOT, script

NEEDED = {  # arguments without which no other mistake is told
    "render.py": ["x.svg", "--out", "x.png"],
    "data.bench": ["data/bench", "--baselines"],
    "data.score": ["data/bench", "--predictions", "x.jsonl"],
    "data.teacher": ["data/examples"], "data.merge": ["folder"], "data.own": ["runs/pairs"],
    "data.experiments.finding": ["runs/rewards"], "data.experiments.hacking": ["runs/rewards"],
    "data.serve": ["data/tiny/judge"], "data.compare": ["a.py", "b.py"],
    "data.course": ["walk"], "data.experiments.sweep": ["train_rl"],
    "data.experiments.coverage_chart": ["folder"],
    "data.experiments.coverage_svg": ["folder"],
    "data.experiments.coverage_table": ["folder"],
}
SECONDS = 3.0  # of CPU time; importing torch alone takes longer
CHILD = """
import contextlib, io, json, runpy, sys, time

name, *needed = sys.argv[1:]
run = runpy.run_path if name.endswith(".py") else runpy.run_module


def end(*arguments):
    sys.argv, out, err, code = [name, *arguments], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(name, run_name="__main__", **({} if run is runpy.run_path else {"alter_sys": True}))
        except SystemExit as stop:
            code = stop.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


ends = {"help": end("--help"), "mistyped": end(*needed, "--mistyped=3")}
print(json.dumps(ends | {"torch": "torch" in sys.modules, "seconds": time.process_time()}))
"""


def command_lines():
    """The scripts by their file's name, the modules as `python -m` calls them."""
    names = []
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("data/**/*.py")]):
        if '\nif __name__ == "__main__":' in path.read_text():
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts).removesuffix(".__main__")
            names.append(module if len(parts) > 1 else path.name)
    return names


def test_none_is_overlooked():
    known = {"visual_erm.py", "render.py", "train_sft.py", "train_rl.py", "refine.py", "data.build",
             "data.bench", "data.hub", "data.teacher", "data.serve", "data.tiny"}
    assert known <= set(command_lines())
    assert sum(name.startswith("data.experiments.") for name in command_lines()) >= 7


@pytest.mark.parametrize("name", command_lines())
def test_help_and_a_mistyped_flag(name):
    done = script("-c", CHILD, name, *NEEDED.get(name, []), timeout=60)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    shown, told = ends["help"], ends["mistyped"]
    assert shown["code"] == 0 and shown["err"] == ""
    usage, description, *_ = shown["out"].split("\n\n")
    assert usage.startswith("usage: ") and "--help" in shown["out"]
    assert description.endswith((".", ")"))  # a whole sentence, wherever its lines end
    assert told["code"] == 2 and told["out"] == ""
    assert told["err"].splitlines()[-1].endswith(": error: unrecognized arguments: --mistyped=3")
    assert not ends["torch"]
    assert ends["seconds"] < SECONDS
