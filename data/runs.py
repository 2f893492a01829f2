"""What every script shares: run folders, messages, how a program ends."""
import json
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

from data.verdict import InputError


def same_settings(out: Path, settings, free=()):
    """Raises InputError if OUT/config.json is of a run with other `settings` (a dataclass), those in `free` aside.

    What is not in the file has the default it had when there was no such setting.
    """
    path = Path(out, "config.json")
    if not path.exists():
        return
    before = asdict(type(settings)()) | json.loads(path.read_text())
    for name, value in asdict(settings).items():
        if before[name] != value and name not in ("out", "resume", *free):
            raise InputError(f"{out} was made with other settings (--{name} {before[name]}, not {value}): go on with "
                             "the ones it had, or choose another --out or delete it.")


@cache
def say(line: str) -> None:
    """Print a line on stderr, once in a program."""
    print(line, file=sys.stderr)
