"""What every script shares: its settings, its run folder, its log, and how it ends."""
import csv
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any

from data.prompts import JUDGE_PROMPTS, with_prompts
from data.verdict import InputError

MEMORY_FULL = ("The GPU's memory is full: lower the number of programs or pairs at once, or the "
               "preset's limits")

# --- 1. from the command line to an exit code ---


def flag(default: object, text: str, *aliases: str) -> Any:
    """A field of a Settings dataclass: its default, its help, and older names of its flag."""
    return field(default=default, metadata={"help": text, "aliases": list(aliases)})


def parse(settings: type, argv: list[str] | None, description: str, **positional: dict) -> Any:
    """An instance of the dataclass `settings` from the command line; exits as argparse does.

    `positional`: arguments without a flag, as name=options for `add_argument`; they become
    attributes. A field's metadata may hold `aliases`, older names of its flag. Where there is a
    field `judge`, --judge_prompts becomes a part of its value (data/prompts.py).
    """
    from transformers import HfArgumentParser  # it does not import torch

    parser = HfArgumentParser(settings, description=description.split("\n\n")[0])
    for name, options in positional.items():
        parser.add_argument(name, **options)
    asks = any(option.name == "judge" for option in fields(settings))
    if asks:
        parser.add_argument("--judge_prompts", default="", metavar="PLACE", help=JUDGE_PROMPTS)
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
        try:
            return main(argv) or 0
        except InputError as error:
            print(error, file=sys.stderr)
        except OSError as error:
            print(f"A file could not be read or written: {error}.", file=sys.stderr)
        except KeyboardInterrupt as stop:
            print(stop if stop.args else "Stopped.", file=sys.stderr)
            return 130
        except RuntimeError as error:
            # Torch's class; this module does not import torch.
            if type(error).__name__ != "OutOfMemoryError":
                raise
            print(f"{MEMORY_FULL} ({error})", file=sys.stderr)
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


def save_settings(out: Path, settings: Any) -> None:
    """Write OUT/config.json."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "config.json", json.dumps(asdict(settings), indent=1) + "\n")


def check_settings(out: Path, settings: Any, free: tuple[str, ...] = ()) -> None:
    """Raises InputError if OUT/config.json is broken or holds other `settings` than these.

    `settings` is a dataclass; those in `free` may differ.
    What is not in the file has the default it had when there was no such setting.
    """
    path = Path(out, "config.json")
    if not path.exists():
        return
    try:
        before = asdict(type(settings)()) | json.loads(path.read_text())
    except (ValueError, TypeError):
        raise InputError(f"{path} is broken; mend it, choose another --out or delete it.") from None
    for option in fields(settings):
        value = getattr(settings, option.name)
        old_names = [alias.strip("-") for alias in option.metadata.get("aliases", ())]
        was = next((before[name] for name in old_names if name in before), before[option.name])
        if was != value and option.name not in ("out", "resume", *free):
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


class Log:
    """log.csv of a run: a row a step.

    A run that goes on drops the rows behind its `last_step`. Raises InputError if it finds the log
    of a release with other columns.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], last_step: int = -1):
        self.path, self.columns = path, columns
        old = read_csv(path) if path.exists() and last_step >= 0 else []
        if old and set(old[0]) != set(columns):
            raise InputError(f"{path} has other columns than this release writes; choose another "
                             "--out.")
        write_csv(path, columns, [row for row in old if int(row["step"]) <= last_step])

    def write(self, row: dict) -> None:
        """Append a row, numbers shortened to four digits."""
        short = {name: f"{value:.4g}" if isinstance(value, float) else value
                 for name, value in row.items()}
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(short)

    def rows(self) -> list[dict]:
        """All rows so far, as text."""
        return read_csv(self.path)
