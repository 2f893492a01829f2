"""What several tests share: a small folder of pairs, and an untrained checkpoint."""
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

# before torch: runs side by side with two threads each would wait for each other
os.environ["OMP_NUM_THREADS"] = "1"
# The expected numbers are a CPU's. With VISUAL_ERM_TEST_GPU=1 the tests see a GPU that is there.
if os.environ.get("VISUAL_ERM_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


# In a hand-out of the course (data/course) functions are still to be written. A test that fails for
# want of one fails, but is told apart from those that fail for another reason.
UNWRITTEN = r"NotImplementedError: (exercise \d+)"
unwritten = []  # what a script that a test started was in want of
waiting = {}  # test that failed -> the exercise, or ""


def pytest_runtest_setup():
    unwritten.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        told = "\n".join([report.longreprtext, *(text for _, text in report.sections)])
        waiting[item.nodeid] = ([*unwritten, *re.findall(UNWRITTEN, told)] or [""])[0]
    return report


def pytest_terminal_summary(terminalreporter):
    exercises = sorted(filter(None, waiting.values()))
    for exercise in dict.fromkeys(exercises):
        terminalreporter.write_line(f"{exercises.count(exercise)} failed: {exercise} is still to "
                                    "be written")
    if exercises:
        others = [test for test, exercise in waiting.items() if not exercise]
        terminalreporter.write_line(f"{len(others)} failed for another reason"
                                    + "".join(f"\n  {test}" for test in others))


def field_cases(kind):
    """Answers of models and what is in them, by name: lines of field_reading.jsonl of a kind."""
    with open(ROOT / "tests/field_reading.jsonl", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    return {case["id"]: case for case in cases if case["kind"] == kind}


def script(*arguments, **options):
    """Run a script or module of the project from its root, as a user would."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True,
                          text=True, **options)
    unwritten.extend(re.findall(UNWRITTEN, done.stderr))
    return done


def start(*arguments):
    """Start a script of the project in a process group of its own, so that it can be killed with
    all its workers.
    """
    return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def mistake(capsys, main, *arguments):
    """(stdout, last line of stderr) of a command line with a mistake: exit code 2 and
    a sentence.
    """
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory):
    """66 level-1 pairs of tables and icons (charts take longest to draw), and their rows."""
    folder = tmp_path_factory.mktemp("pairs")
    done = script("-m", "data.build", "--task", "table,svg", "--n", 66, "--seed", 7,
                  "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory, pairs_folder):
    """Folder of a tiny Qwen3-VL with random weights, tokenizer and processor."""
    from data.pairs import read_pairs
    from data.samples import STOP
    from data.tiny.__main__ import make_model, make_processor, make_tokenizer

    pairs = read_pairs(pairs_folder)
    texts = [text for pair in pairs for text in (pair.reference.code + STOP, pair.truth.to_json())]
    tokenizer = make_tokenizer(texts)
    torch.manual_seed(0)
    random.seed(0)
    folder = tmp_path_factory.mktemp("untrained")
    make_model(tokenizer).save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def policy(untrained):
    """(peft model, processor) with a policy that is not the reference: every adapter weight drawn
    at random.
    """
    from peft import LoraConfig, get_peft_model

    from data.models import load_model

    base, processor = load_model(str(untrained))
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=4, target_modules="all-linear"),
                           adapter_name="policy")
    for name, p in model.named_parameters():
        if ".policy." in name:
            torch.nn.init.normal_(p, std=0.05)
    return model, processor
