"""data.experiments.sweep: the runs it plans, runs, repeats and refuses, and its table."""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from conftest import ROOT, mistake
from data.experiments import sweep
from data.runs import RunSettings, flag, read_csv
from data.verdict import InputError

SCRIPT = '''
import sys
import time
from dataclasses import dataclass
sys.path.insert(0, ROOT)
from data.runs import Log, RunSettings, flag, run_folder, script


@dataclass
class Settings(RunSettings):
    out: str = flag("x", "")
    seed: int = flag(0, "")
    lr: float = flag(0.1, "")
    steps: int = flag(3, "")
    rank: int = flag(None, "", positive=True)


@script
def main(argv):
    words = " ".join(sys.argv[1:]).replace("=", " ").split()  # parse() takes seconds to import
    given = {words[i].lstrip("-"): words[i + 1] for i in range(0, len(words) - 1, 2)}
    settings = Settings(resume=True, out=given["out"], seed=int(given["seed"]),
                        lr=float(given["lr"]), steps=int(given.get("steps", 3)),
                        rank=int(given.get("rank", 8)))
    with run_folder(settings) as out:
        log = Log(out / "log.csv", ("step", "fidelity"))
        for step in range(1, settings.steps + 1):
            (out / "state.pt").touch()
            log.write({"step": step, "fidelity": 10 * settings.lr * step + settings.seed})
            if settings.lr == 7:
                raise OSError(28, "No space left on device")
            if settings.lr == 8:
                time.sleep(60)


sys.exit(main())
'''


@dataclass
class Settings(RunSettings):
    out: str = flag("x", "")
    seed: int = flag(0, "")
    lr: float = flag(0.1, "")
    steps: int = flag(3, "")
    rank: int = flag(None, "", positive=True)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The sweep of a script that takes no time: arguments of the sweep -> exit code."""
    (tmp_path / "fake.py").write_text(SCRIPT.replace("ROOT", repr(str(ROOT))))
    monkeypatch.setattr(sweep, "settings_of",
                        lambda name: (Settings, "Do it.", [str(tmp_path / "fake.py")]))
    monkeypatch.setattr("data.runs.script_name", lambda settings: "fake")
    return lambda *words: sweep.main(["fake", "--out", str(tmp_path / "out"), *words])


def test_a_sweep_ends_with_a_table_and_a_plot(fake, tmp_path, capsys):
    words = "--vary", "lr=0.5,2,7", "--seeds", "2", "--jobs", "3", "--", "--steps", "2"
    assert fake(*words) == 1  # the runs with lr 7 fail
    out, err = capsys.readouterr()
    assert out.count("7-0 failed with exit code 2; it said\n  A file could not be") + err.count(
        "7-0 failed with exit code 2; it said\n  A file could not be") == 1
    assert out.startswith("6 runs, 0 of them finished\n") and "left out: " in out
    table = """\
| lr | seeds | fidelity | against lr 0.5 |
| --- | --- | --- | --- |
| 0.5 | 2 | 10.5 [4.1, 16.9] | |
| 2 | 2 | 40.5 [34.1, 46.9] | +30.0 [+30.0, +30.0] |
| 7 | 0 | - | - |
"""
    folder = tmp_path / "out"
    assert table in out and (folder / "table.md").read_text() == table
    assert (folder / "curves.png").stat().st_size > 5000
    rows = read_csv(folder / "runs.csv")
    assert len(rows) == 2 * 2 * 2 and {row["seed"] for row in rows} == {"0", "1"}
    assert fake(*words) == 1 and capsys.readouterr().out.startswith("6 runs, 4 of them finished\n")


@pytest.mark.parametrize("words, told", [
    (["--vary", "lr=1,2", "--", "--steps", "4"], "other settings (--steps 2, not 4)"),
    (["--vary", "lr=1,2", "--", "--steps", "2", "--rank", "4"], "other settings (--rank 8, not 4)"),
    (["--vary", "seed=1,2"], "the sweep itself says --seed"),
    (["--vary", "lr=1,1"], "give each value once"),
    (["--vary", "lr"], "write flag=value,value"),
    (["--vary", "lr=1", "--vary", "lr=2"], "each flag once"),
    (["--vary", "lr=1", "--metric", "beauty", "--", "--steps", "2"], "--metric is one of fidelity"),
])
def test_what_is_refused(fake, tmp_path, capsys, words, told):
    assert fake("--vary", "lr=1", "--seeds", "1", "--", "--steps", "2") == 0
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    _, said = mistake(capsys, lambda argv: fake("--seeds", "1", *argv), *words)
    assert told in said and sorted(tmp_path.rglob("*")) == before  # nothing was started


def test_a_run_of_another_script_is_refused(fake, tmp_path, capsys):
    run = tmp_path / "out/1-0"
    run.mkdir(parents=True)
    (run / "state.pt").touch()
    (run / "config.json").write_text(json.dumps({"script": "train_sft", "finished": True}))
    _, said = mistake(capsys, lambda argv: fake("--seeds", "1", *argv), "--vary", "lr=1")
    assert "holds a run of train_sft" in said


KILLED = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are deaf to it
sys.path.insert(0, {root!r})
sys.path.insert(0, {root!r} + "/tests")
from data.experiments import sweep
from test_sweep import Settings
sweep.settings_of = lambda name: (Settings, "Do it.", [{script!r}])
sys.exit(sweep.main(["fake", "--vary", "lr=8", "--seeds", "1", "--out", {out!r}]))
"""


@pytest.mark.parametrize("kill, code", [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_killed_sweep_leaves_no_run_behind(fake, tmp_path, kill, code):
    """Else the same command would find the folder locked."""
    out = str(tmp_path / "out")
    command = KILLED.format(root=str(ROOT), script=str(tmp_path / "fake.py"), out=out)
    running = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    log = tmp_path / "out/8-0/log.csv"
    while not (log.exists() and len(log.read_text().splitlines()) > 1) and running.poll() is None:
        time.sleep(0.05)
    os.kill(running.pid, kill)
    said, _ = running.communicate()
    assert running.returncode == code, said
    end = time.monotonic() + 5
    while True:
        try:
            with sweep.locked(tmp_path / "out/8-0"):
                break
        except InputError:
            assert time.monotonic() < end, "the run lives on"
            time.sleep(0.1)


@pytest.mark.parametrize("name, vary, fixed, command", [
    ("train_rl", {"reward": ["0.5*verm+0.5*text"], "lr": ["1e-4"]}, ["--no_render_term"],
     ["train_rl.py", "--no_render_term", "--reward=0.5*verm+0.5*text", "--lr=1e-4", "--seed", "0",
      "--out", "OUT/0.5*verm+0.5*text-1e-4-0", "--resume"]),
    ("data.tiny", {"model": ["data/tiny/base"]}, [],
     ["-m", "data.tiny", "--model=data/tiny/base", "--seed", "0", "--out",
      "OUT/data_tiny_base-0", "--resume"]),
    ("train_sft.py", {}, ["--full"],
     ["train_sft.py", "--full", "--seed", "0", "--out", "OUT/0", "--resume"]),
])
def test_any_script_and_any_flag(tmp_path, name, vary, fixed, command):
    first, second = sweep.plan(name, vary, 2, fixed, tmp_path)
    assert [word.replace(str(tmp_path), "OUT") for word in first.command] == command
    assert second.seed == second.settings.seed == 1 and second.settings.resume


@pytest.mark.parametrize("name, told", [
    ("train", "no script 'train'"), ("../train_rl", "no script"), ("", "no script"),
    ("data.bench", "cannot be swept"), ("data.verdict", "cannot be swept")])
def test_other_scripts_are_refused(name, told, tmp_path):
    with pytest.raises(InputError, match=told):
        sweep.plan(name, {}, 1, [], tmp_path)


def test_a_flag_that_does_not_exist_is_told_at_once(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        sweep.plan("train_rl", {"learning_rate": ["1"]}, 1, [], tmp_path)
    assert end.value.code == 2
    assert "unrecognized arguments: --learning_rate=1" in capsys.readouterr().err
