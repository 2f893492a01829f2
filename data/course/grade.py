"""Grading: what the functions of a folder give for cases that nobody saw before.

Students' code runs only in forks of the cell (data/course/cell.py), behind the doors that rendered
programs run behind, one fork for each exercise with a deadline. What comes back is data, held
against what is right in this process. So nothing that a submission prints, writes or ends can
make points: only right values can.
"""
import json
import os
import random
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.course import calls, checks
from data.course.exercises import EXERCISES
from data.course.handout import write_handout
from data.renderers.pool import GRACE, Worker
from data.renderers.sandbox import UNSAFE, SandboxMissing, missing_layer, remove_folder
from data.renderers.worker import receive
from data.verdict import InputError

LARGEST_ANSWER = 4 << 20  # bytes


@contextmanager
def the_cell() -> Iterator["Cell"]:
    """A Cell with the hand-out that it starts from; both are removed at the end.

    Raises SandboxMissing where a layer of the sandbox is missing and VISUAL_ERM_UNSAFE is not set.
    """
    if missing_layer() and not os.environ.get(UNSAFE):
        raise SandboxMissing(f"Students' code cannot be confined here: this system lacks "
                             f"{missing_layer()}. {UNSAFE}=1 runs it unconfined.")
    folder = tempfile.mkdtemp(prefix="visual_erm_course_")
    cell = None
    try:
        write_handout(Path(folder, "handout"))
        cell = Cell(folder)
        yield cell
    finally:
        if cell:
            cell.worker.stop()
        remove_folder(folder)


class Cell:
    """The cell, seen from the grading."""

    def __init__(self, folder: str):
        self.folder = folder
        self.worker = self._start()

    def _start(self):
        return Worker(self.folder, Path(self.folder, "handout"), "data.course.cell")

    def ask(self, handed_in: Path, questions: list, timeout: float) -> tuple[list[dict], str]:
        """({"value": ..} or {"error": ..} for each (call, cases) that was answered, how it ended).

        The answers are unpacked and may hold anything that JSON can. A new cell is started if this
        one is lost.
        """
        try:
            return self._ask(handed_in, questions, timeout)
        except OSError:
            self.worker.stop()
            self.worker = self._start()
            return [], "the process was lost"

    def _ask(self, handed_in, questions, timeout):
        channel, (ours, theirs) = self.worker.channel, socket.socketpair()
        channel.settimeout(timeout + GRACE)
        ours.settimeout(timeout + GRACE)
        answers = []
        with ours, theirs:
            message = json.dumps([str(handed_in), timeout]).encode()
            socket.send_fds(channel, [message], [theirs.fileno()])
            theirs.close()
            try:
                packed = json.dumps(questions).encode()
                ours.sendall(struct.pack("=I", len(packed)) + packed)
                for _ in questions:
                    [length] = struct.unpack("=I", receive(ours, 4))
                    if length > LARGEST_ANSWER:
                        break
                    answer = calls.unpack(json.loads(receive(ours, length)))
                    answers.append(answer if isinstance(answer, dict) else {})
            except TimeoutError:
                raise
            except Exception:  # cut off or forged: whatever it is, it is no answer
                pass
        return answers, receive(channel, 16).decode().strip()


def make_parts(seed: str) -> dict[int, list[checks.Part]]:
    """{exercise: its parts}, one point each, with the cases that `seed` draws.

    Raises InputError in a copy without answers.
    """
    try:
        return {exercise.number: getattr(checks, exercise.check)(
            random.Random(f"{seed}/{exercise.number}")) for exercise in EXERCISES}
    except (NotImplementedError, FileNotFoundError) as error:
        raise InputError(f"This copy cannot grade, it has no answers ({error}); python -m pytest "
                         "says what is still to be written.") from None


def grade(handed_in: Path, parts: dict[int, list[checks.Part]], cell: Cell,
          timeout: float) -> list[dict]:
    """A row for each point of one submission: exercise, point, earned (0 or 1), why not.

    `handed_in`: the folder with the student's copy. Each exercise has `timeout` seconds.
    """
    rows = []
    for exercise, asked in parts.items():
        started = time.monotonic()
        answers, ended = cell.ask(handed_in, [[part.call, part.cases] for part in asked], timeout)
        seconds = time.monotonic() - started
        for number, part in enumerate(asked):
            if number < len(answers):
                why = _why_not(part, answers[number])
            elif ended == "timeout":
                why = f"no answer within {timeout:g} s"
            else:
                why = f"its process ended without an answer ({ended})"
            rows.append({"submission": handed_in.name, "exercise": exercise,
                         "point": part.name, "earned": int(not why), "why_not": _plain(why),
                         "seconds": round(seconds, 1)})
    return rows


def _why_not(part, answer):
    """"" if the answer is right, or what is wrong."""
    if "value" not in answer:
        return f"error: {answer.get('error', 'no answer')}"
    try:
        return part.wrong(answer["value"])
    except Exception as error:  # the answer is data of any form
        return f"no answer of this form is taken ({type(error).__name__}: {error})"


def _plain(text):
    """One line of printable letters, of at most 200."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return " ".join(line.split())[:200]


def table(rows: list[dict], parts: dict[int, list[checks.Part]]) -> str:
    """Points as Markdown: a line a submission, a column an exercise."""
    heads = [str(number) for number in parts]
    lines = [f"| submission | {' | '.join(heads)} | points |", "| --- " * (len(heads) + 2) + "|"]
    for name in dict.fromkeys(row["submission"] for row in rows):
        mine = [row for row in rows if row["submission"] == name]
        cells = []
        for number, asked in parts.items():
            earned = sum(row["earned"] for row in mine if row["exercise"] == number)
            cells.append(f"{earned}/{len(asked)}")
        total = sum(row["earned"] for row in mine)
        lines.append(f"| {name.replace('|', ' ')} | {' | '.join(cells)} | "
                     f"{total}/{sum(map(len, parts.values()))} |")
    return "\n".join(lines)
