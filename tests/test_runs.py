"""data.runs: tables of what a command line, an old run folder or a broken-off write becomes."""
import json
import os
import signal
import sys
import types
from dataclasses import asdict, dataclass

import pytest

from data.pairs import read_jsonl
from data.renderers.sandbox import SandboxMissing
from data.runs import (
    MEMORY_FULL,
    FinishStep,
    Log,
    RunSettings,
    check_settings,
    flag,
    locked,
    parse,
    read_csv,
    read_json,
    replacing,
    run_folder,
    save_settings,
    say,
    script,
    write_csv,
    write_jsonl,
    write_text,
)
from data.verdict import InputError


@dataclass
class Settings(RunSettings):
    steps: int = flag(9, "updates", "--iterations", "--rounds")
    task: str = flag("", "what to do")
    rate: float | None = flag(None, "how fast")
    quick: bool = flag(False, "do less")
    out: str = flag("runs/x", "folder")


DEFAULTS = asdict(Settings())


# --- from the command line to an exit code ---


@pytest.mark.parametrize("line, changed", [
    ("", {}),
    ("--steps 3 --rate 0.5 --task svg --quick",
     {"steps": 3, "rate": 0.5, "task": "svg", "quick": True}),
    ("--iterations 3", {"steps": 3}),
    ("--rounds=3", {"steps": 3}),
    ("--steps 4 --rounds 3", {"steps": 3}),
    ("--task -", {"task": "-"}),
    ("--quick False --resume True", {"resume": True}),
])
def test_parse(line, changed):
    assert asdict(parse(Settings, line.split(), "Do it.\n\nMore.")) == DEFAULTS | changed


@pytest.mark.parametrize("options, line, expected", [
    (dict(nargs="?"), "", None),
    (dict(nargs="?"), "a --steps 3", "a"),
    (dict(nargs="*"), "a b", ["a", "b"]),
    (dict(nargs="*"), "--steps 3", []),
    ({}, "--steps 3 a", "a"),
])
def test_parse_with_a_positional_argument(options, line, expected):
    settings = parse(Settings, line.split(), "Do it.", pictures=options)
    assert settings.pictures == expected and settings.steps == (3 if "3" in line else 9)


@pytest.mark.parametrize("positional, line, words", [
    ({}, "--step-s 3", "unrecognized arguments: --step-s 3"),
    ({}, "3", "unrecognized arguments: 3"),
    ({}, "--steps", "argument --steps/--iterations/--rounds: expected one argument"),
    ({}, "--steps many", "argument --steps/--iterations/--rounds: invalid int value: 'many'"),
    ({"file": {}}, "", "the following arguments are required: file"),
    ({"file": {}}, "a --nonsense", "unrecognized arguments: --nonsense"),
    ({"file": {"nargs": "?"}}, "a b", "unrecognized arguments: b"),
])
def test_mistyped_command_lines_end_with_code_2(positional, line, words, capsys):
    with pytest.raises(SystemExit) as end:
        parse(Settings, line.split(), "Do it.", **positional)
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {words}")


def test_help_shows_the_first_line_of_the_description_and_old_names(capsys):
    with pytest.raises(SystemExit) as end:
        parse(Settings, ["--help"], "Do it.\n\nMore.", file={"help": "what to read"})
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "Do it." in out and "More." not in out and "what to read" in out
    assert "--iterations" in out and "updates" in out


class OutOfMemoryError(RuntimeError):
    """Called as torch's."""


ENDS = {  # what main returns or raises -> exit code, stderr
    "nothing": (None, 0, ""),
    "0": (0, 0, ""),
    "3": (3, 3, ""),
    "mistake": (InputError("There is no folder."), 2, "There is no folder.\n"),
    "file": (FileNotFoundError(2, "No such file", "x"), 2,
             "A file could not be read or written: [Errno 2] No such file: 'x'.\n"),
    "disk": (OSError(28, "No space left"), 2,
             "A file could not be read or written: [Errno 28] No space left.\n"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "Stopped.\n"),
    "Ctrl-C with a word": (KeyboardInterrupt("3 are kept."), 130, "3 are kept.\n"),
    "disk, by torch.save": (
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"), 2,
        "The disk is full: make room and go on with --resume ([enforce fail at "
        "inline_container.cc:672] . unexpected pos 704 vs 598).\n"),
    "memory": (OutOfMemoryError("tried 2 GB"), 2, f"{MEMORY_FULL} (tried 2 GB)\n"),
    "no sandbox": (SandboxMissing("It lacks Landlock."), 2, "It lacks Landlock.\n"),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_a_script_ends(name, capsys):
    outcome, code, told = ENDS[name]
    got = []

    @script
    def main(argv=None):
        got.append(argv)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    assert main(["a", "b"]) == code and got == [["a", "b"]]
    assert capsys.readouterr() == ("", told)
    assert main() == code and got[1] is None


@pytest.mark.parametrize("bug", [
    RuntimeError("shapes"), ValueError("no"), KeyError("x"), SystemExit(2)])
def test_a_bug_stays_one(bug):
    @script
    def main(argv=None):
        raise bug

    with pytest.raises(type(bug)) as raised:
        main([])
    assert raised.value is bug


def test_a_line_is_said_once(capsys):
    say.cache_clear()
    for line in ("one", "two", "one"):
        say(line)
    assert capsys.readouterr() == ("", "one\ntwo\n")


@pytest.fixture
def interruptible():
    """Ctrl-C as in a shell's foreground; what handled it before is back afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_lets_a_step_end(interruptible, capsys):
    with FinishStep() as step:
        assert not step.asked
        os.kill(os.getpid(), signal.SIGINT)
        ended = step.asked
    assert ended and "Stopping after this step" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_stops_at_once(interruptible):
    after = []
    with pytest.raises(KeyboardInterrupt), FinishStep() as step:
        os.kill(os.getpid(), signal.SIGINT)
        after.append(step.asked)
        os.kill(os.getpid(), signal.SIGINT)
        after.append("not reached")
    assert after == [True]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_usual_ctrl_c_is_back_after_the_step(error, interruptible):
    try:
        with FinishStep():
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- the run folder ---


@pytest.mark.parametrize("old", ["before", None])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_a_file_is_replaced_whole_or_not_at_all(old, error, tmp_path):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    try:
        with replacing(str(path)) as temporary:
            temporary.write_text("after")
            assert path.exists() == bool(old) and temporary.parent == tmp_path
            if error:
                raise error
    except (ValueError, KeyboardInterrupt, SystemExit):
        assert error
    left = {file.name: file.read_text() for file in tmp_path.iterdir()}
    expected = old if error else "after"
    assert left == ({"a.txt": expected} if expected else {})


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ("step",), [{"step": 1}])
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(path, ("step",), [{"step": 2}, {"other": 3}])
    with pytest.raises(TypeError):
        write_jsonl(path, [{"a": object()}])
    assert read_csv(path) == [{"step": "1"}] and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text, written", [
    ("", b""), ("ü\n", "ü\n".encode()), ("a\ud800b", b"a?b")])
def test_write_text(text, written, tmp_path):
    write_text(tmp_path / "a", text)
    assert (tmp_path / "a").read_bytes() == written


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": ["ü\u2028\n", None]}]])
def test_rows_come_back(rows, tmp_path):
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert [row for _, row in read_jsonl(tmp_path / "a.jsonl")] == rows


SAME = [  # config.json of the run, settings now, free
    ({}, {}, ()),
    (DEFAULTS | {"steps": 5}, {"steps": 5}, ()),
    (DEFAULTS | {"out": "elsewhere", "resume": True}, {}, ()),
    ({"steps": 5}, {"steps": 5}, ()),  # what is not in the file had its default
    ({"iterations": 5}, {"steps": 5}, ()),
    ({"rounds": 5, "task": "svg"}, {"steps": 5, "task": "svg"}, ()),
    ({"iterations": 9}, {}, ()),
    ({"steps": 5, "task": "svg"}, {"steps": 6, "task": "svg"}, ("steps",)),
    ({"iterations": 5}, {"steps": 6}, ("steps",)),
    ({"forgotten": 1}, {}, ()),
]
OTHER = [  # config.json of the run, settings now, free, what the sentence says
    ({"steps": 5}, {}, (), "(--steps 5, not 9)"),
    ({}, {"steps": 5}, (), "(--steps 9, not 5)"),
    ({"iterations": 5}, {}, (), "(--steps 5, not 9)"),
    ({"rounds": 5}, {"steps": 6}, (), "(--steps 5, not 6)"),
    ({"quick": True}, {}, ("steps",), "(--quick True, not False)"),
    ({"rate": 0.5}, {}, (), "(--rate 0.5, not None)"),
    ({"steps": 5, "task": "svg"}, {"steps": 6}, ("steps",), "(--task svg, not )"),
]


@pytest.mark.parametrize("before, now, free", SAME)
def test_a_run_goes_on_with_its_settings(before, now, free, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(before))
    assert check_settings(tmp_path, Settings(**now), free) is None


@pytest.mark.parametrize("before, now, free, words", OTHER)
def test_other_settings_are_told(before, now, free, words, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(before))
    with pytest.raises(InputError) as told:
        check_settings(tmp_path, Settings(**now), free)
    assert words in str(told.value) and str(tmp_path) in str(told.value)


def test_saved_settings_are_those_that_are_checked(tmp_path):
    out, settings = tmp_path / "a/b", Settings(steps=5, rate=0.1)
    check_settings(out, settings)  # there is nothing yet
    save_settings(out, settings)
    assert json.loads((out / "config.json").read_text()) == asdict(settings) | {
        "script": "tests.test_runs", "finished": False}
    check_settings(out, settings)
    with pytest.raises(InputError, match="--rate 0.1, not 0.2"):
        check_settings(out, Settings(steps=5, rate=0.2))


SAVED = {  # what a folder holds: its config.json (a dictionary: changes of a finished run's), files
    "nothing": (None, ()),
    "other files": (None, ("notes.txt", "report.html")),
    "a finished run": ({}, ("state.pt", "checkpoint", "log.csv", "notes.txt")),
    "a run that was cut short": ({"finished": False}, ("state/checkpoint-3", "log.csv")),
    "a run that failed at once": ({"finished": False, "steps": 3}, ("log.csv", "notes.txt")),
    "another script's run": ({"script": "train_sft"}, ("state", "log.csv")),
    "pairs": ({"script": None}, ("pairs.jsonl",)),
    "files of nobody": (None, ("state.pt",)),
    "a broken config.json": ('{"steps": ', ()),
}
RUNS = [  # what the folder holds, flags, what is left of it or the sentence
    ("nothing", {}, set()),
    ("nothing", {"resume": True}, set()),
    ("nothing", {"overwrite": True}, set()),
    ("other files", {}, {"notes.txt", "report.html"}),
    ("other files", {"overwrite": True}, {"notes.txt", "report.html"}),
    ("a finished run", {}, "holds a finished run: --resume goes on with it, --overwrite begins"),
    ("a finished run", {"resume": True}, {"state.pt", "checkpoint", "log.csv", "notes.txt"}),
    ("a finished run", {"resume": True, "task": "svg"}, "other settings (--task , not svg)"),
    ("a finished run", {"resume": True, "steps": 8}, {"state.pt", "checkpoint", "log.csv",
                                                      "notes.txt"}),
    ("a finished run", {"overwrite": True, "task": "svg"}, {"notes.txt"}),
    ("a finished run", {"resume": True, "overwrite": True}, "choose one"),
    ("a run that was cut short", {}, "holds a run that was cut short: --resume"),
    ("a run that was cut short", {"resume": True}, {"state", "log.csv"}),
    ("a run that was cut short", {"overwrite": True}, set()),
    ("a run that failed at once", {}, {"notes.txt"}),
    ("a run that failed at once", {"resume": True, "task": "svg"}, {"notes.txt"}),
    ("another script's run", {}, "holds files that are not of tests.test_runs"),
    ("another script's run", {"overwrite": True}, "holds files that are not of tests.test_runs"),
    ("pairs", {"overwrite": True}, "holds files that are not of tests.test_runs"),
    ("files of nobody", {"overwrite": True}, "holds files that are not of tests.test_runs"),
    ("a broken config.json", {}, "config.json is broken; mend it"),
    ("a broken config.json", {"overwrite": True}, "config.json is broken; mend it"),
]


@pytest.mark.parametrize("held, flags, expected", RUNS)
def test_a_run_folder_is_never_mixed(held, flags, expected, tmp_path):
    config, files = SAVED[held]
    if isinstance(config, dict):
        made = DEFAULTS | {"script": "tests.test_runs", "finished": True} | config
        config = json.dumps(made)
    if config:
        (tmp_path / "config.json").write_text(config)
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("step\n")
    settings = Settings(out=str(tmp_path), **flags)
    if isinstance(expected, str):
        with pytest.raises(InputError) as told, run_folder(settings, free=("steps",)):
            raise AssertionError("the folder was taken")
        assert expected in str(told.value)
        left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
        assert set(files) | ({"config.json"} if config else set()) >= left  # nothing is lost
        return
    with run_folder(settings, free=("steps",)) as out:
        assert {path.name for path in out.iterdir()} == expected | {"config.json"}
        during = read_json(out / "config.json")
    assert during == asdict(settings) | {"script": "tests.test_runs", "finished": False}
    assert read_json(out / "config.json") == during | {"finished": True}


def test_a_run_that_fails_is_not_finished(tmp_path):
    with pytest.raises(OSError), run_folder(Settings(out=str(tmp_path))):
        raise OSError(28, "No space left")
    assert not read_json(tmp_path / "config.json")["finished"]


def test_a_folder_is_held_by_one_process(tmp_path, monkeypatch):
    folder = tmp_path / "a/b"
    with locked(folder) as first:
        assert first
        with pytest.raises(InputError, match="Another process writes to .*a/b; wait for it"):
            with locked(folder):
                raise AssertionError("two hold it")
        monkeypatch.setenv("RANK", "1")  # as torchrun sets it for its second process
        with locked(folder) as second:
            assert not second
        with run_folder(Settings(out=str(folder))):
            assert not (folder / "config.json").exists()
        monkeypatch.delenv("RANK")
        (folder / "x").touch()
    with locked(folder) as first:
        assert first
    with locked(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()  # a mistake leaves no folder behind


NUMBERS = [  # a command line, what is told
    ("--steps -1", "argument --steps/--iterations/--rounds: must not be negative: -1"),
    ("--rate nan", "must be a finite number: nan"),
    ("--rate=-inf", "must be a finite number: -inf"),
    ("--rate=-1e-9", "must not be negative: -1e-09"),
    ("--batch 0", "argument --batch: must be greater than 0: 0"),
    ("--micro 0", "argument --micro: must be greater than 0: 0"),
    ("--share 1.5", "argument --share: must be at most 1: 1.5"),
    ("--share nan", "must be a finite number: nan"),
]


@dataclass
class Numbers:
    steps: int = flag(9, "updates", "--iterations", "--rounds")
    rate: float = flag(0.5, "how fast")
    batch: int = flag(4, "at once", positive=True)
    micro: int = flag(None, "at once", positive=True)
    share: float = flag(0.0, "of it", most=1)
    term: bool = flag(True, "what it is for")


@pytest.mark.parametrize("line, words", NUMBERS)
def test_numbers_have_bounds(line, words, capsys):
    with pytest.raises(SystemExit) as end:
        parse(Numbers, line.split(), "Do it.")
    assert end.value.code == 2 and capsys.readouterr().err.splitlines()[-1].endswith(words)


def test_numbers_within_their_bounds():
    line = "--steps 0 --rate 0 --batch 1 --share 1 --no_term"
    assert asdict(parse(Numbers, line.split(), "Do it.")) == {
        "steps": 0, "rate": 0.0, "batch": 1, "micro": None, "share": 1.0, "term": False}


def test_a_switch_has_a_help_of_its_own(capsys):
    with pytest.raises(SystemExit):
        parse(Numbers, ["--help"], "Do it.")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("what it is for") == 1 and "--no-term switches --term off" in said


# --- the log ---


@pytest.mark.parametrize("last_step, kept", [
    (None, []), (-1, []), (0, ["0"]), (4, ["0", "2", "4"]), (5, ["0", "2", "4"]),
    (99, ["0", "2", "4", "6"])])
def test_a_log_drops_the_rows_behind_its_last_saved_step(last_step, kept, tmp_path):
    path, columns = tmp_path / "log.csv", ("step", "loss", "note")
    first = Log(path, columns)
    for step in (0, 2, 4, 6):
        first.write({"step": step, "loss": step / 3, "note": "a, b"})
    assert first.rows()[1] == {"step": "2", "loss": "0.6667", "note": "a, b"}
    again = Log(path, columns) if last_step is None else Log(path, columns, last_step)
    assert [row["step"] for row in again.rows()] == kept
    again.write({"step": 7, "loss": 1234567.0, "note": None})
    assert again.rows()[-1] == {"step": "7", "loss": "1.235e+06", "note": ""}
    assert len(path.read_text().splitlines()) == 1 + len(kept) + 1


def test_a_new_log_is_there_with_its_header(tmp_path):
    Log(tmp_path / "log.csv", ("step", "loss"))
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss"]


def test_a_tracker_gets_every_row(tmp_path, monkeypatch):
    """By the calls of torch's SummaryWriter, which is there only with the package tensorboard."""
    got = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            got.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            got.append((name, value, step))

        def flush(self):
            got.append("flush")

    tensorboard = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard)
    log = Log(tmp_path / "log.csv", ("step", "loss"), 4, "tensorboard")
    log.write({"step": 5, "loss": "0.25"})
    assert got == [(tmp_path / "tensorboard", 5), ("loss", 0.25, 5), "flush"]
    assert log.rows() == [{"step": "5", "loss": "0.25"}]


@pytest.mark.parametrize("name, words", [
    ("tensorboard", "pip install tensorboard"), ("board", "'board' is unknown")])
def test_no_tracker_is_told_before_the_run(name, words, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not there
    settings = Settings(out=str(tmp_path / "out"))
    settings.report_to = name
    with pytest.raises(InputError, match=words), run_folder(settings):
        raise AssertionError("it began")
    assert not (tmp_path / "out").exists()
