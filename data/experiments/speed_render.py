"""How fast render.py is, each target as a ratio measured in one run, and whether it leaks.

    python -m data.experiments.speed_render            # about 5 minutes on 2 idle cores
    python -m data.experiments.speed_render --quick    # a tenth of the renders

Prints one line a target: figure, target, PASS or FAIL; the exit code is 1 if one fails. Figures are
per second of processor time of all processes involved (this one, the workers, their children), so
that other work on the machine does not count; what is compared runs in turns, and its ratio by
the clock stands beside it (the two agree on an idle machine). Not a test: figures depend on the
machine.

While two trainings held both cores of a small virtual machine (where a page fault is dear, which
weighs on forks; the clock means little then), it printed:

    charts, times as fast as a fresh process a chart (9.71 by the clock)  12.81   at least 10   PASS
    charts, times as fast as plain drawing to a file (0.73 by the clock)   0.79   at least 0.7  PASS
    charts, times as fast as drawing without a file (0.47 by the clock)    0.50
    svg, pictures a second of one core                                      204   at least 150  PASS
    table, pictures a second of one core                                    245   at least 40   PASS
    processes left behind by 2000 mixed renders                               0   PASS
    descriptors left behind by 2000 mixed renders                             0   PASS
    files left behind by 2000 mixed renders                                   0   PASS
    processes and files after close()                                      none   PASS
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from data.renderers import pool
from data.runs import flag, parse, script
from render import render_many


@dataclass
class Settings:
    quick: bool = flag(False, "a tenth of the renders")


# --- 1. what is drawn ---

SIZE = (128, 128)
START = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 2))\n"
CHARTS = [START + f'ax.bar(["A", "B", "C"], [3, {i}, 5], color="red")\nax.set_title("Sales")\n'
          for i in range(1, 7)]
CHARTS += [START + f'ax.plot([1, 2, 3, 4], [2, {i}, 1, 4], "b--o")\nax.set_xlabel("day")\n'
           "ax.grid(True)\nplt.tight_layout()\nplt.show()\n" for i in range(1, 7)]
CHARTS += [START + f'ax.scatter([1, 2, 3], [3, {i}, 2], color="green")\nax.set_ylabel("cost")\n'
           for i in range(1, 7)]
CHARTS += [START + f'ax.pie([3, {i}, 2], labels=["A", "B", "C"])\nplt.savefig("x.png")\n'
           for i in range(1, 7)]
SVGS = [f'<svg viewBox="0 0 64 64">\n<rect x="4" y="4" width="20" height="{i}" fill="red"/>\n'
        '<circle cx="40" cy="30" r="10" fill="blue"/>\n<text x="5" y="60" font-size="9">Hi</text>\n'
        '<path d="M10 50 C 20 30, 40 30, 50 50 Z" fill="green"/>\n</svg>' for i in range(5, 25)]
TABLES = ["<table><tr><th>Name</th><th>Qty</th><th>Cost</th></tr>" + "".join(
    f"<tr><td>Tea {i}</td><td>{i * j}</td><td>{j}.50</td></tr>" for j in range(1, 4)) + "</table>"
    for i in range(20)]
MIXED = [("chart", c) for c in CHARTS[::4]] + [("svg", s) for s in SVGS[:6]] + [
    ("table", t) for t in TABLES[:6]] + [
    ("chart", "plt.plot(["), ("chart", "1 / 0"), ("chart", ""), ("svg", "<svg"), ("table", ""),
    ("chart", "import os; os._exit(3)"), ("chart", "open('/etc/passwd')"),
    ("chart", "open('a', 'w').write('x'); import os; os.makedirs('b/c')\n" + CHARTS[0]),
    ("chart", "import os\nwhile True: os.fork()"), ("chart", "x = bytearray(3 << 30)"),
    ("chart", "import threading, time\nthreading.Thread(target=time.sleep, args=[99]).start()"),
    ("svg", '<svg viewBox="0 0 9 9"><image href="/etc/passwd" width="9" height="9"/></svg>')]
SLOW = [("chart", "while True: pass"), ("table", "<table>" + "<tr><td>" * 4000)]

# The rivals: the same figures without sandbox and scene, in one warm process ("file": savefig into
# memory, as programs do it; "bare": only Agg's pixels), and in a fresh process each.
PLAIN = """
import sys, io, json, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
save = plt.savefig
plt.show = plt.savefig = lambda *a, **k: None
def draw(code, how):
    exec(code, {})
    if how == "file":
        save(io.BytesIO(), dpi=64)
    else:
        plt.gcf().set_dpi(64)
        plt.gcf().canvas.draw()
        bytes(plt.gcf().canvas.buffer_rgba())
    plt.close("all")
codes = json.loads(input())
for code in codes[::6]:
    draw(code, "file")
print("ready", flush=True)
for line in sys.stdin:
    how, count = line.split()
    for i in range(int(count)):
        draw(codes[i % len(codes)], how)
    print("done", flush=True)
"""
FRESH = """
import sys, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
save = plt.savefig
plt.show = plt.savefig = lambda *a, **k: None
exec(sys.argv[1], {})
save(sys.argv[2], dpi=64)
"""



# --- 2. the measurements ---


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """(processor seconds of this process and all below it, seconds by the clock) of a call."""
    def processor():
        times = [p.cpu_times() for p in (psutil.Process(), *psutil.Process().children())]
        return sum(t.user + t.system + t.children_user + t.children_system for t in times)

    def family():  # the living children of the workers: those that draw tables and SVG
        return sum(sum(p.cpu_times()[:2]) for child in psutil.Process().children()
                   for p in child.children(recursive=True))

    start = processor() + family(), time.perf_counter()
    work()
    return processor() + family() - start[0], time.perf_counter() - start[1]


def charts_against_rivals(count: int, cores: int) -> dict[str, list[float]]:
    """How many times as fast as each rival: name -> [by processor time, by the clock]."""
    plain = [subprocess.Popen([sys.executable, "-c", PLAIN], stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE) for _ in range(cores)]
    for process in plain:
        process.stdin.write(json.dumps(CHARTS) + "\n")
        process.stdin.flush()
        process.stdout.readline()

    def in_plain(how):
        for process in plain:
            process.stdin.write(f"{how} {count // cores}\n")
            process.stdin.flush()
        for process in plain:
            process.stdout.readline()

    def in_fresh(folder):
        for start in range(0, 2 * cores, cores):
            running = []
            for i in range(cores):
                words = ["-c", FRESH, CHARTS[start + i], os.path.join(folder, f"{i}.png")]
                running.append(subprocess.Popen([sys.executable, *words]))
            for process in running:
                process.wait()

    jobs = [("chart", CHARTS[i % len(CHARTS)]) for i in range(count)]
    render_many(jobs[:2 * cores], size=SIZE)
    works = {"ours": lambda: render_many(jobs, size=SIZE), "file": lambda: in_plain("file"),
             "bare": lambda: in_plain("bare"), "fresh": lambda: in_fresh(folder)}
    sums = dict.fromkeys(works, (0.0, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            for name, work in works.items():
                sums[name] = [a + b for a, b in zip(sums[name], seconds(work))]
    for process in plain:
        process.stdin.close()
        process.wait()
        process.stdout.close()
    charts = {"file": count // cores * cores, "bare": count // cores * cores, "fresh": 2 * cores}
    ratios = {}
    for name, n in charts.items():
        ratios[name] = [theirs / n / (ours / count)
                        for theirs, ours in zip(sums[name], sums["ours"])]
    return ratios


def a_core(task: str, codes: list[str], count: int) -> float:
    """Pictures per second of processor time."""
    jobs = [(task, codes[i % len(codes)]) for i in range(count)]
    render_many(jobs[:10], size=SIZE, workers=1)
    by_processor, _ = seconds(lambda: render_many(jobs, size=SIZE, workers=1))
    return count / by_processor


def left_behind(count: int) -> tuple[int, int, int]:
    """What `count` mixed renders leave: (processes, descriptors, files), beyond before."""
    jobs = [MIXED[i % len(MIXED)] for i in range(count - 8)]
    me = psutil.Process()
    for _ in range(20):  # until each worker has its process for tables and SVG
        render_many(SLOW * 2 + MIXED * 2, size=SIZE, timeout=1)
        if len(me.children(recursive=True)) == 2 * len(pool.the_pool().workers):
            break

    def holdings():
        processes = me.children(recursive=True)
        descriptors = me.num_fds() + sum(p.num_fds() for p in processes)
        files = sum(len(files) + len(folders) for _, folders, files in
                    os.walk(pool.the_pool().folder))
        return len(processes), descriptors, files

    before = holdings()
    render_many(jobs[:count // 2] + SLOW * 2 + jobs[count // 2:] + SLOW * 2, size=SIZE, timeout=1)
    return tuple(max(0, b - a) for a, b in zip(before, holdings()))


# --- 3. the report ---


@script
def main(argv: list[str] | None = None) -> int:
    """Print a line a target; 1 if one is missed."""
    scale = 10 if parse(Settings, argv, __doc__).quick else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, pictures of {SIZE[0]} x {SIZE[1]} px")
    verdicts = []

    def report(name: str, figure: str, target: str, good: bool) -> None:
        verdicts.append(good)
        print(f"{name:68s} {figure:>6s}   {target}{'PASS' if good else 'FAIL'}", flush=True)

    times = charts_against_rivals(max(12, 240 // scale), cores)
    for name, rival, target in (("fresh", "a fresh process a chart", 10),
                                ("file", "plain drawing to a file", 0.7)):
        by_processor, by_clock = times[name]
        report(f"charts, times as fast as {rival} ({by_clock:.2f} by the clock)",
               f"{by_processor:.2f}", f"at least {target:<4} ", by_processor >= target)
    by_processor, by_clock = times["bare"]
    name = f"charts, times as fast as drawing without a file ({by_clock:.2f} by the clock)"
    print(f"{name:68s} {by_processor:>6.2f}", flush=True)
    for task, codes, target in (("svg", SVGS, 150), ("table", TABLES, 40)):
        rate = a_core(task, codes, 2000 // scale)
        report(f"{task}, pictures a second of one core", f"{rate:.0f}", f"at least {target:<4} ",
               rate >= target)
    count = 2000 // scale
    for name, left in zip(("processes", "descriptors", "files"), left_behind(count)):
        report(f"{name} left behind by {count} mixed renders", str(left), "", left == 0)
    folder = pool.the_pool().folder
    pool.close()
    gone = not os.path.exists(folder) and not psutil.Process().children(recursive=True)
    report("processes and files after close()", "none" if gone else "some", "", gone)
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
