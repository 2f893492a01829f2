"""What every script shares: its settings, its run folder, its log, and how it ends."""
import argparse
import csv
import fcntl
import functools
import inspect
import json
import logging
import math
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from data.prompts import JUDGE_PROMPTS, with_prompts
from data.verdict import InputError

HERE = Path(__file__).resolve().parent.parent
DISK_FULL = "os error 28", "inline_container.cc:672"  # how safetensors and torch.save tell it
MEMORY_FULL = ("The GPU's memory is full: lower the number of programs or pairs at once, or the "
               "preset's limits")

# --- 1. from the command line to an exit code ---


def _quiet() -> None:
    """Silence what libraries say to their own developers and a reader takes for a failure."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl|peft")


class _Number(argparse.Action):
    """Takes a number that is within its bounds and none such as `nan` or `inf`."""

    def __init__(self, *, positive: bool, most: float, **options):
        super().__init__(**options)
        self.positive, self.most = positive, most

    def __call__(self, parser, namespace, value, option_string=None):
        why = ""
        if not math.isfinite(value):
            why = "must be a finite number"
        elif value < 0 or (self.positive and not value):
            why = "must be greater than 0" if self.positive else "must not be negative"
        elif value > self.most:
            why = f"must be at most {self.most:g}"
        if why:
            raise argparse.ArgumentError(self, f"{why}: {value}")
        setattr(namespace, self.dest, value)


def flag(default: object, text: str, *aliases: str, positive: bool = False,
         most: float = math.inf) -> Any:
    """A field of a Settings dataclass: its default, its help, and older names of its flag.

    A number must be finite and at least 0; `positive`: greater than 0; and it has at most `most`.
    """
    metadata = {"help": text, "aliases": list(aliases)}
    if positive or (isinstance(default, int | float) and not isinstance(default, bool)):
        metadata["action"] = functools.partial(_Number, positive=positive, most=most)
    return field(default=default, metadata=metadata)


def parse(settings: type, argv: list[str] | None, description: str, **positional: dict) -> Any:
    """An instance of the dataclass `settings` from the command line; exits as argparse does.

    `positional`: arguments without a flag, as name=options for `add_argument`; they become
    attributes. A field's metadata may hold `aliases`, older names of its flag. Where there is a
    field `judge`, --judge_prompts becomes a part of its value (data/prompts.py).
    """
    from transformers import HfArgumentParser  # it does not import torch

    _quiet()  # before the script imports the rest

    parser = HfArgumentParser(settings, description=description.split("\n\n")[0])
    for name, options in positional.items():
        parser.add_argument(name, **options)
    asks = any(option.name == "judge" for option in fields(settings))
    if asks:
        parser.add_argument("--judge_prompts", default="", metavar="PLACE", help=JUDGE_PROMPTS)
    for action in parser._actions:
        if action.option_strings and action.option_strings[0] == f"--no_{action.dest}":
            action.help, action.default = f"switches --{action.dest} off", argparse.SUPPRESS
    found, *rest = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if unknown := rest.pop():
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if asks:
        found.judge = with_prompts(rest[0].judge_prompts, found.judge)
    for name in positional:
        setattr(found, name, getattr(rest[0], name))
    return found


def script(main: Callable[..., int | None]) -> Callable[..., int]:
    """`main` with its exceptions turned into exit codes.

    0: done; 2: a sentence says what the user can put right; 130: stopped by Ctrl-C.
    """
    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        _quiet()
        try:
            return main(argv) or 0
        except InputError as error:
            print(error, file=sys.stderr)
        except OSError as error:
            print(f"A file could not be read or written: {error}.", file=sys.stderr)
        except KeyboardInterrupt as stop:
            print(stop if stop.args else "Stopped.", file=sys.stderr)
            return 130
        except Exception as error:
            # Classes of torch and safetensors; this module does not import them.
            if type(error).__name__ == "OutOfMemoryError":
                print(f"{MEMORY_FULL} ({error})", file=sys.stderr)
            elif any(words in str(error) for words in DISK_FULL):
                print(f"The disk is full: make room and go on with --resume ({error}).",
                      file=sys.stderr)
            else:
                raise
        return 2
    return run


@functools.cache
def say(line: str) -> None:
    """Print a line on stderr, once in a program."""
    print(line, file=sys.stderr)


class FinishStep:
    """A block in which Ctrl-C sets `asked` and lets the step end; a second one stops at once."""

    def __enter__(self) -> "FinishStep":
        self.asked, self.usual = False, signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, *_):
        self.asked = True
        signal.signal(signal.SIGINT, self.usual)
        print("Stopping after this step; Ctrl-C again stops at once, and the steps since the last "
              "state are lost.", file=sys.stderr)

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, self.usual)


# --- 2. the run folder ---


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A path to write; it takes the place of `path` when the block ends without an exception.

    So a program that is killed while it writes leaves the old file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a file whole or not at all; what is no Unicode becomes "?"."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8", "replace")


def write_jsonl(path: Path | str, rows: list[dict]) -> None:
    """Write a JSONL file whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


# What the scripts leave in a run folder, and what of it --resume goes on with or took long to make.
MADE = ("config.json", "log.csv", "state", "state.pt", "checkpoint", "checkpoint.tmp", "best",
        "best.tmp", "curves.png", "report.html", "samples.jsonl", "samples.txt", "held.jsonl",
        "held.json", "tokenizer", "rounds.csv", "rounds.png", "table.md", "tensorboard")
PRECIOUS = "state.pt", "state/*", "checkpoint", "rounds.csv"
BOOKKEEPING = "out", "resume", "overwrite", "report_to"  # they do not change what a run computes


@dataclass
class RunSettings:
    """The flags of every script with a run folder; see `run_folder`."""

    resume: bool = flag(False, "go on with the last state in --out")
    overwrite: bool = flag(False, "begin again in --out, where an earlier run is lost")


@contextmanager
def locked(folder: Path | str) -> Iterator[bool]:
    """Make `folder` and hold it against other processes; torchrun's first holds it for all.

    Yields whether this is that one. The lock ends with the process, however it ends. Raises
    InputError if another process holds it, OSError if the folder cannot be made.
    """
    if os.environ.get("RANK", "0") != "0":
        yield False
        return
    folder = Path(folder)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process writes to {folder}; wait for it, stop it or choose "
                             "another --out.") from None
        except OSError as error:  # some network file systems
            say(f"{folder} cannot be locked ({error}); start nothing else there.")
        yield True
    finally:
        os.close(handle)
        if new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def run_folder(settings: Any, free: tuple[str, ...] = ()) -> Iterator[Path]:
    """The folder `settings.out` for a run: locked, and never with files of two runs.

    `settings` is a dataclass with the fields of RunSettings; with --resume those in `free` may
    differ from the earlier run's. OUT/config.json holds the settings, the script's name and, once
    the block has ended without an exception, that the run is `finished`. Raises InputError if
    there is a run already, unless --resume or --overwrite says what to do with it.
    """
    out = Path(settings.out)
    open_tracker(getattr(settings, "report_to", ""))  # what cannot be opened is told at once
    with locked(out) as first:
        if first:
            _begin(out, settings, free)
        yield out
        if first:
            save_settings(out, settings, finished=True)


def begun(out: Path) -> bool:
    """Whether a run has left in OUT what --resume goes on with."""
    return any(any(out.glob(name)) for name in PRECIOUS)


def _begin(out: Path, settings: Any, free: tuple[str, ...]) -> None:
    """Refuse the folder, or make it ready and write its config.json."""
    if settings.resume and settings.overwrite:
        raise InputError("--resume goes on with a run and --overwrite begins it again; choose one.")
    before, script = read_json(out / "config.json"), script_name(settings)
    if begun(out) if before is None else before.get("script") != script:
        raise InputError(f"{out} holds files that are not of {script}; choose another --out.")
    if begun(out) and settings.resume:
        check_settings(out, settings, free)
    elif begun(out) and not settings.overwrite:
        how = "a finished run" if before.get("finished") else "a run that was cut short"
        raise InputError(f"{out} holds {how}: --resume goes on with it, --overwrite begins again "
                         "and loses it, another --out keeps both.")
    elif before:
        for name in MADE:
            remove(out / name)
    save_settings(out, settings)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def script_name(settings: Any) -> str:
    """The script that defines the class of `settings`: "train_rl", "data.build"."""
    path = Path(inspect.getfile(type(settings))).resolve()
    path = path.parent if path.stem == "__main__" else path.with_suffix("")
    place = path.relative_to(HERE) if path.is_relative_to(HERE) else Path(path.name)
    return ".".join(place.parts)


def save_settings(out: Path, settings: Any, finished: bool = False) -> None:
    """Write OUT/config.json: the settings, the script's name, whether the run is finished."""
    config = asdict(settings) | {"script": script_name(settings), "finished": finished}
    write_text(out / "config.json", json.dumps(config, indent=1) + "\n")


def read_json(path: Path, default: dict | None = None) -> dict | None:
    """The object in a file; `default` if there is no file.

    Raises InputError if there is no object in it, or none with the fields and types of `default`.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return default
    except (ValueError, RecursionError):
        value = None
    wanted = (default or {}).items()
    if not isinstance(value, dict) or any(type(value.get(name)) is not type(one)
                                          for name, one in wanted):
        raise InputError(f"{path} is broken; mend it, choose another --out or delete it.")
    return value


def check_settings(out: Path, settings: Any, free: tuple[str, ...] = ()) -> None:
    """Raises InputError if OUT/config.json is broken or holds other `settings` than these.

    `settings` is a dataclass; those in `free` may differ.
    What is not in the file has the default it had when there was no such setting.
    """
    saved = read_json(Path(out, "config.json"))
    if saved is None:
        return
    if saved.get("script", script_name(settings)) != script_name(settings):
        raise InputError(f"{out} holds a run of {saved['script']}; choose another --out.")
    before = asdict(type(settings)()) | saved
    for option in fields(settings):
        value = getattr(settings, option.name)
        old_names = [alias.strip("-") for alias in option.metadata.get("aliases", ())]
        was = next((before[name] for name in old_names if name in before), before[option.name])
        if was != value and option.name not in (*BOOKKEEPING, *free):
            raise InputError(f"{out} was made with other settings (--{option.name} {was}, not "
                             f"{value}): go on with the ones it had, or choose another --out or "
                             "delete it.")


# --- 3. the log ---


def read_csv(path: Path | str) -> list[dict]:
    """The rows of a CSV file with a header."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path | str, columns: tuple[str, ...], rows: list[dict]) -> None:
    """Write a CSV file with a header, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def open_tracker(name: str) -> Callable | None:
    """The class that writes for a tracker: tensorboard's; None for "". Raises InputError."""
    if name not in ("", "tensorboard"):
        raise InputError(f"--report_to {name!r} is unknown; the log goes to tensorboard or nowhere "
                         "but to log.csv.")
    if not name:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter  # only here: the package is optional
    except ImportError as error:
        raise InputError(f"--report_to {name} needs a package: pip install {name} "
                         f"({error}).") from None
    return SummaryWriter


class Log:
    """log.csv of a run: a row a step, which a tracker gets, too, if `report_to` names one.

    A run that goes on drops the rows behind its `last_step`. Raises InputError if it finds the log
    of a release with other columns.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], last_step: int = -1,
                 report_to: str = ""):
        self.path, self.columns, self.tracker = path, columns, None
        old = read_csv(path) if path.exists() and last_step >= 0 else []
        if old and set(old[0]) != set(columns):
            raise InputError(f"{path} has other columns than this release writes; choose another "
                             "--out.")
        write_csv(path, columns, [row for row in old if int(row["step"]) <= last_step])
        if writer := open_tracker(report_to):
            self.tracker = writer(path.parent / report_to, purge_step=last_step + 1)

    def write(self, row: dict) -> None:
        """Append a row, numbers shortened to four digits."""
        short = {name: f"{value:.4g}" if isinstance(value, float) else value
                 for name, value in row.items()}
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(short)
        if self.tracker:
            for name in row.keys() - {"step"}:
                self.tracker.add_scalar(name, float(row[name]), row["step"])
            self.tracker.flush()

    def rows(self) -> list[dict]:
        """All rows so far, as text."""
        return read_csv(self.path)
