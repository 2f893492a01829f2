"""`--judge URL`: a server process with the tiny judge behind it, and servers that stall, drop, fail
and lie.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

import visual_erm as v
from conftest import ROOT
from data.models import PRESETS, Chat
from data.pairs import read_pairs
from data.runs import say
from data.serve import JudgeServer, pictures
from data.server import NO_REPLY, Server
from data.verdict import Discrepancy, InputError, Verdict

CLEAN = '{"errors":[]}'
JUDGE = str(ROOT / "data/tiny/judge")
WHITE = Image.new("RGB", (8, 8), "white")


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    """Short pauses between two tries; and each test sees what is said once in a program."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    say.cache_clear()


def ask(judge, n=1, task="svg"):
    """Verdicts on `n` pairs; the second picture's shade is the number of the pair."""
    return judge.judge([(task, WHITE, Image.new("RGB", (8, 8), (n, n, n))) for n in range(n)])


def shade(body):
    """The answer that tells the shade of the second picture."""
    place = str(pictures(body)[1].getpixel((4, 4))[0])
    return Verdict("svg", [Discrepancy("shape_error", 1, place, "")]).to_json()


def slowly(body):
    time.sleep(0.01 * (int(json.loads(shade(body))["errors"][0]["location"]) % 4))
    return shade(body)


def shades(verdicts):
    return [verdict.errors[0].location for verdict in verdicts]


# --- a real judge ---
def examples():
    return [(pair.task, *pair.images()) for pair in read_pairs(ROOT / "data/examples")]


def test_a_policy_behind_a_url_writes_code():
    with JudgeServer(lambda body: "<svg/>") as server:
        policy = Chat(server.url, PRESETS["tiny"])
        assert policy.write([v.code_messages("svg", WHITE)] * 3, temperature=0.5) == ["<svg/>"] * 3
        assert {(body["temperature"], body["max_tokens"]) for body in server.bodies} == {(0.5, 256)}
        assert policy.tokens == 3 * 10  # what the server says it wrote


def test_verdicts_over_http_equal_those_of_the_same_judge_here():
    command = [sys.executable, "-m", "data.serve", JUDGE, "--trouble", "ok,later,ok"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        url = process.stdout.readline().strip()
        far, here = v.VisualERM(url).judge(examples()), v.VisualERM(JUDGE).judge(examples())
    finally:
        process.kill()
        process.wait()
    assert [verdict.raw for verdict in far] == [verdict.raw for verdict in here]
    assert sum(len(verdict.errors) for verdict in far) >= 4


def test_transformers_serve_gives_the_same_verdicts():
    """Only where `pip install "transformers[serving]" torchvision` was done."""
    for name in ("fastapi", "uvicorn", "torchvision"):
        pytest.importorskip(name)
    with JudgeServer(None) as free:
        pass
    command = [Path(sys.executable).with_name("transformers"), "serve", JUDGE, "--device", "cpu",
               "--port", str(free.server_port), "--dtype", "float32"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert any("running on" in line for line in process.stderr)
        far = v.VisualERM(f"{free.url}#{JUDGE}").judge(examples())
        here = v.VisualERM(JUDGE).judge(examples())
    finally:
        process.kill()
        process.wait()
    assert [verdict.raw for verdict in far] == [verdict.raw for verdict in here]


# --- one server ---
def test_order_is_kept_in_a_bounded_pool():
    with JudgeServer(slowly) as server:
        verdicts = ask(v.VisualERM(server.url, workers=3), 24)
    assert shades(verdicts) == [str(n) for n in range(24)] and 2 <= server.most <= 3
    assert ({(body["model"], body["temperature"], body["max_tokens"]) for body in server.bodies}
            == {("fake", 0, 512)})


ONE = {  # troubles of the requests in turn -> readable, what the reason says, requests
    "429 twice": (["429", "429"], True, "", 3),
    "told when": (["later"], True, "", 2),
    "500 once": (["500"], True, "", 2),
    "dropped once": (["drop"], True, "", 2),
    "cut once": (["cut"], True, "", 2),
    "stalls once": (["stall"], True, "", 2),
    "429 always": (["429"] * 3, False, NO_REPLY + "RateLimitError", 3),
    "500 always": (["500"] * 3, False, NO_REPLY + "InternalServerError", 3),
    "drops always": (["drop"] * 3, False, NO_REPLY + "APIConnectionError", 3),
    "stalls always": (["stall"] * 3, False, NO_REPLY + "APITimeoutError", 3),
    "drips without end": (["drip"] * 3, False, NO_REPLY + "APITimeoutError", 3),
    "headers without end": (["headers"] * 3, False, NO_REPLY + "APITimeoutError", 3),
    "no usage": (["no usage"], True, "", 1),
    "usage without numbers": (["null usage"], True, "", 1),
    "floods": (["flood"] * 3, False, NO_REPLY + "APITimeoutError", 3),
    "refuses": (["400"], False, "this is a 400", 1),
    "broken JSON": (["json"], False, "JSONDecodeError", 1),
    "HTML": (["html"], False, "AttributeError", 1),
    "another shape": (["shape"], False, "IndexError", 1),
    "says nothing": (["null"], False, "no verdict", 1),
    "nonsense": (["nonsense"], False, "no verdict", 1),
    "another task's verdict": (["other task"], False, "'shape_error' dropped", 1),
}


@pytest.mark.parametrize("name", ONE)
def test_what_becomes_of_bad_replies(name):
    trouble, readable, words, requests = ONE[name]
    with JudgeServer(lambda body: CLEAN, "ok", *trouble) as server:
        judge = v.VisualERM(server.url, workers=1,
                            timeout=0.8 if trouble[0] in ("stall", "drip", "headers")
                            else 30)
        good, verdict = ask(judge, 2, "table")  # a good one first, or all would have failed
    assert good.readable and verdict.readable == readable and len(server.bodies) == 1 + requests
    assert (verdict.notes == []) if readable else words in verdict.notes[0]
    assert words.startswith(NO_REPLY) == "".join(verdict.notes).startswith(NO_REPLY)


def test_a_reasoning_model_gets_the_limit_under_its_other_name():
    def answer(body):
        if "max_tokens" in body:
            return 400, {"error": {"message": "'max_tokens' is not supported. "
                                              "Use 'max_completion_tokens' instead."}}
        return CLEAN

    with JudgeServer(answer) as server:
        assert all(verdict.readable for verdict in ask(v.VisualERM(server.url, workers=1), 3))
    assert len(server.bodies) == 4 and server.bodies[-1]["max_completion_tokens"] == 512
    assert "temperature" not in server.bodies[-1]


@pytest.mark.parametrize("urls, words", [
    ("http://127.0.0.1:9/v1", "No server answers at http://127.0.0.1:9/v1 .APIConnectionError"),
    ("http://127.0.0.1:9,http://127.0.0.1:9/v2",
     "No server answers at http://127.0.0.1:9/v1, http://127.0.0.1:9/v2 "),
    ("{url}",
     "InternalServerError.*name its model if it lists none: http://127.0.0.1:[0-9]*/v1#name"),
    ("{url},localhost:8000", "'localhost:8000' is no URL"),
    ("http://[::1", r"'http://\[::1' is no URL"), ("http://", "'http://' is no URL"),
    ("http://x:port/v1", "'http://x:port/v1' is no URL"),
    ("http://127.0.0.1:9/v1#named",
     "at http://127.0.0.1:9/v1 gave no answer at all .no reply: APIConnectionError"),
])
def test_no_server_is_a_sentence(urls, words):
    with JudgeServer(None) as server, pytest.raises(InputError, match=words):
        server.models = None
        ask(v.VisualERM(urls.format(url=server.url), timeout=1))


def test_ctrl_c_waits_for_answers_under_way_and_asks_no_more():
    # a shell's background jobs are deaf to it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started, release, got = threading.Event(), threading.Event(), []

    def answer(body):
        started.set()
        release.wait(10)
        return CLEAN

    def interrupt():
        started.wait(10)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        release.set()

    with JudgeServer(answer) as server:
        client = Server(server.url, workers=2)
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client.ask_all([v.judge_messages("svg", WHITE, WHITE)] * 20, 10,
                           each=lambda *said: got.append(said))
    assert len(server.bodies) == len(got) <= 3  # all that was asked is there; not 20
    assert all(said[1:] == (CLEAN, "", (1000, 10)) for said in got)


# --- several servers ---
def urls(*servers):
    return ",".join(server.url for server in servers)


def test_several_servers_share_the_work():
    with JudgeServer(slowly) as one, JudgeServer(slowly) as two:
        verdicts = ask(v.VisualERM(urls(one, two), workers=2), 24)
    assert shades(verdicts) == [str(n) for n in range(24)]
    assert min(len(one.bodies), len(two.bodies)) >= 6 and max(one.most, two.most) == 2


@pytest.mark.parametrize("trouble, tried_again", [
    ("drop", False), ("stall", False), ("html", False), ("shape", False),
    ("500", True), ("429", True)])
def test_the_work_of_a_bad_server_goes_to_the_others(trouble, tried_again, capsys):
    with JudgeServer(shade, *[trouble] * 99) as bad, JudgeServer(slowly) as good:
        judge = v.VisualERM(urls(bad, good), workers=2, timeout=1.5 if trouble == "stall" else 30)
        verdicts = ask(judge, 24)
    told = capsys.readouterr().err
    assert shades(verdicts) == [str(n) for n in range(24)] and len(good.bodies) == 24
    assert (len(bad.bodies) > 2) == tried_again  # busy is not dead
    assert told.count(f"No answer from {bad.url}") == (0 if tried_again else 1)


def test_a_server_that_was_dead_works_again_after_a_rest(monkeypatch, capsys):
    monkeypatch.setattr("data.server.REST", 0.1)
    with JudgeServer(slowly) as two:
        with JudgeServer(slowly) as one:
            judge = v.VisualERM(urls(one, two), workers=1)
        assert shades(ask(judge, 4)) == list("0123")
        with JudgeServer(slowly, port=one.server_port) as again:
            time.sleep(0.15)
            assert shades(ask(judge, 8)) == list("01234567") and 1 <= len(again.bodies) <= 7
    assert capsys.readouterr().err.count("No answer from") == 1


def test_a_server_that_is_down_at_the_start_joins_later(monkeypatch):
    monkeypatch.setattr("data.server.REST", 0.0)
    with JudgeServer(slowly) as two:
        with JudgeServer(slowly) as one:
            pass
        judge = v.VisualERM(urls(one, two), workers=1)
        with JudgeServer(slowly, port=one.server_port) as again:
            ask(judge, 8)
    assert again.bodies[0]["model"] == "fake"


@pytest.fixture
def pauses(monkeypatch):
    """The pauses of 5 s and more that a test was to wait; they take 0.01 s here."""
    waited, sleep = [], time.sleep

    def short(seconds):
        if seconds >= 5:
            waited.append(seconds)
        sleep(min(seconds, 0.01))

    monkeypatch.setattr(time, "sleep", short)
    return waited


def test_a_patient_judge_waits_while_all_servers_are_dead(pauses, monkeypatch):
    with JudgeServer(shade) as one, JudgeServer(shade) as two:
        judge, impatient = (v.VisualERM(urls(one, two), patience=seconds) for seconds in (600, 5))
    back, sleep = [], time.sleep

    def wait(seconds):
        if seconds >= 5 and not back:  # one comes back while the judge waits for it
            back.append(JudgeServer(shade, port=two.server_port).__enter__())
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", wait)
    assert shades(ask(judge, 3)) == list("012")
    assert len(back[0].answered) == 3
    back[0].__exit__()
    with pytest.raises(InputError, match="1 of 1 questions got no reply: .* did not reply for 5 s"):
        ask(impatient)


# Troubles in turn (three for a question: it is asked again twice), seconds of patience ->
# which of 3 verdicts are readable, pauses, requests
SILENCE = {
    "no patience": (["ok", *["500"] * 3], 0, [True, False, True], [], 5),
    "silent once": (["ok", *["500"] * 3], 60, [True, True, True], [5], 6),
    "silent for long": (["ok", *["500"] * 6, "ok", *["500"] * 9], 60, [True, True, True],
                        [5, 10, 20, 40], 18),
    "refused": (["ok", "400"], 60, [True, False, True], [], 3),
    "silent, then refused": (["ok", *["drop"] * 3, "ok", "400"], 60, [True, False, True], [5], 6),
}


@pytest.mark.parametrize("name", SILENCE)
def test_only_what_got_no_reply_is_asked_again(name, pauses):
    trouble, patience, readable, waits, requests = SILENCE[name]
    with JudgeServer(shade, *trouble) as server:
        verdicts = ask(v.VisualERM(server.url, workers=1, patience=patience), 3)
    assert [verdict.readable for verdict in verdicts] == readable
    assert pauses == waits and len(server.bodies) == requests


@pytest.mark.parametrize("patience, waits", [(5, [5]), (6, [5, 10]), (100, [5, 10, 20, 40, 60])])
def test_patience_ends_with_a_sentence(patience, waits, pauses):
    with JudgeServer(shade, "ok", *["500"] * 99) as server:
        judge = v.VisualERM(server.url, workers=1, patience=patience)
        with pytest.raises(InputError,
                           match=f"1 of 2 .* got no reply: .* did not reply for {sum(waits)} s"):
            ask(judge, 2)
    assert pauses == waits
