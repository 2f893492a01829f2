"""Code to pixels: charts (Matplotlib programs), tables (HTML or Markdown) and SVG.

    picture = render("chart", "import matplotlib.pyplot as plt\\nplt.bar(['A', 'B'], [3, 7])")
    picture.image       # PIL image, RGB on white
    picture.scene       # plain JSON of what can be seen in it; SCENES shows its shape

Charts are drawn by Matplotlib (Agg), tables by PlutoPrint, SVG by CairoSVG, all with Matplotlib's
DejaVu fonts only, so that one program gives one picture on every machine. The scene is read from
the live drawing (what Matplotlib paints, the parsed table, Cairo's pen), never from the code, so
two programs that draw the same have the same scene. `savefig` and `show` keep the figure as it is
then; the figure taken is the last one the program made that has something in it.

The programs come from models that are rewarded for tricks: reading the reference picture from disk
and drawing it with `imshow` would be a perfect score. So every chart program runs in a process of
its own, forked from a clean worker (no torch, nothing secret in its environment, no earlier drawing
in its memory), behind layers that need neither root nor containers:
  - Landlock: it reads Python, its packages, shared libraries and time zones, writes a scratch
    folder that is made for it and removed after it, and nothing else;
  - seccomp: only the system calls of data/renderers/system_calls.py, and of fcntl, ioctl and
    sockets only what sends nothing to others;
  - limits on memory, processor time, file size and open files, and a deadline that kills all of it;
  - its worker looks every 40 ms at its threads and its scratch folder, and ends it over a quota;
  - its answer is read with a size cap and checked against SCENES, since it may be forged.
Tables and SVG hold no model-written Python; they are drawn behind the same layers in a process that
serves many of them; it also paints the charts, from the list of what Matplotlib was told to paint.
A program shares its process with Matplotlib and may forge that list: it gets the forged picture,
with the scene of the forged picture. What this does not cover: `stat` tells whether a path exists;
bugs in the kernel. Where Landlock or seccomp is missing (macOS, gVisor) chart code is
refused, unless VISUAL_ERM_UNSAFE=1 says that you trust it.

    python render.py FILE [--task chart] --out x.png [--scene x.json] [--size 512]

From data/ come: the processes that draw (renderers/pool; the drawing itself is in renderers/chart,
table and svg), the sandbox (renderers/sandbox), code out of a model's answer (answers).
"""
import argparse
import concurrent.futures
import json
import os
import sys

from data.answers import extract_code
from data.pairs import Example
from data.renderers.pool import the_pool
from data.renderers.sandbox import UNSAFE, SandboxMissing, missing_layer
from data.renderers.scene import TASKS, RenderError, Rendering
from data.runs import script
from data.verdict import InputError

__all__ = ["TASKS", "RenderError", "Rendering", "SandboxMissing", "draw_alike",
           "extract_code", "render", "render_many"]

SUFFIXES = {".py": "chart", ".html": "table", ".md": "table", ".svg": "svg"}
MAX_CODE = 1_000_000  # characters
Size = int | tuple[int, int] | None  # see render()


def render(task: str, code: str | bytes, *, size: Size = None, timeout: float = 10.0) -> Rendering:
    """Draw one program (str, or UTF-8 bytes) in a sandboxed process.

    task     "chart", "table" or "svg".
    size     None: natural size. A number: charts and SVG are drawn so that their longest side is
             that many px, tables only shrink if they are longer. (w, h): a white canvas of exactly
             that size, the drawing as large as fits (tables: at most natural size), top left.
    timeout  seconds of wall-clock time for this program.
    Raises RenderError; SandboxMissing for charts where the sandbox is incomplete.
    """
    result = _render_one(task, code, size, timeout, _cores())
    if isinstance(result, RenderError):
        raise result
    return result


def render_many(jobs: list[tuple[str, str]], *, size: Size = None, timeout: float = 10.0,
                workers: int | None = None) -> list[Rendering | RenderError]:
    """Draw many (task, code) pairs on `workers` processes (default: one a processor core).

    Returns a list in the order of `jobs`: a Rendering each, or the RenderError that explains why
    there is none. The other arguments are those of `render`; the deadline is per program.
    """
    jobs = list(jobs)
    limit = workers or _cores()  # of all threads that draw at this time
    with concurrent.futures.ThreadPoolExecutor(min(limit, len(jobs)) or 1) as threads:
        found = [threads.submit(_render_one, task, code, size, timeout, limit)
                 for task, code in jobs]
        try:
            return [f.result() for f in found]
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def draw_alike(examples: list[Example], codes: list[str]) -> list[Rendering | RenderError]:
    """A Rendering or RenderError for each code, drawn as large as its example's picture.

    Programs of one size are drawn at once.
    """
    by_size = {}
    for i, example in enumerate(examples):
        by_size.setdefault(example.size, []).append(i)
    renderings = [None] * len(codes)
    for size, chosen in by_size.items():
        jobs = [(examples[i].task, codes[i]) for i in chosen]
        for i, drawn in zip(chosen, render_many(jobs, size=size)):
            renderings[i] = drawn
    return renderings


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _render_one(task, code, size, timeout, limit):
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: it must be one of {', '.join(TASKS)}")
    try:
        code = code.decode("utf-8") if isinstance(code, bytes) else code
        code.encode("utf-8")
    except UnicodeError as error:
        return RenderError("syntax", f"the program is not UTF-8 text: {error.reason} at position "
                           f"{error.start}")
    if len(code) > MAX_CODE:
        return RenderError("too_large", f"the program has {len(code)} characters; at most "
                           f"{MAX_CODE} are read")
    if task == "chart" and missing_layer() and not os.environ.get(UNSAFE):
        raise SandboxMissing(
            f"chart code cannot be confined here: this system lacks {missing_layer()}. Set "
            f"{UNSAFE}=1 (--unsafe on the command line) to run it unconfined.")
    return the_pool().draw(task, code, size, timeout, limit)


@script
def main(argv: list[str] | None = None) -> None:
    """The command line; exit code 2 and one sentence where there is no picture."""
    parser = argparse.ArgumentParser(description="Draw a chart program, a table or an SVG file.")
    parser.add_argument("file", help="the code; - reads standard input")
    parser.add_argument("--task", choices=TASKS, help="default: by the file's ending "
                        "(.py chart, .html and .md table, .svg svg)")
    parser.add_argument("--out", required=True, help="the picture to write, e.g. x.png")
    parser.add_argument("--scene", help="also write the scene as JSON to this file")
    parser.add_argument("--size", type=int, help="longest side in px (default: natural size)")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds (default 10)")
    parser.add_argument("--unsafe", action="store_true", help="run chart code even where this "
                        f"system lacks a layer of the sandbox (like {UNSAFE}=1)")
    args = parser.parse_args(argv)
    task = args.task or SUFFIXES.get(os.path.splitext(args.file)[1].lower())
    if task is None:
        parser.error(f"cannot tell the task from the name {args.file!r}: add --task chart, "
                     "table or svg")
    if args.unsafe:
        os.environ[UNSAFE] = "1"
    try:
        code = sys.stdin.buffer.read() if args.file == "-" else open(args.file, "rb").read()
        picture = render(task, code, size=args.size, timeout=args.timeout)
        picture.image.save(args.out)
        if args.scene:
            with open(args.scene, "w") as file:
                json.dump(picture.scene, file, indent=1)
    except (RenderError, OSError, ValueError, RuntimeError) as error:
        sentence = error.message if isinstance(error, RenderError) else error
        raise InputError(f"{args.file}: {sentence}") from None


if __name__ == "__main__":
    sys.exit(main())
