"""The reward in other engines: the README's words for trl, and verl's calls.

`python -m data.experiments.verl` calls verl's own reward managers, where verl is installed.
"""
import re
from functools import partial
from itertools import repeat

import pytest
import trl
from datasets import Dataset
from peft import LoraConfig, PeftModel

from conftest import ROOT
from data.build import draw_examples
from data.models import PRESETS, load_model
from data.serve import JudgeServer, pictures
from data.verdict import Discrepancy, InputError, Verdict
from render import render
from visual_erm import VisualERM as Judge
from visual_erm import code_prompt, compute_score, compute_score_batch, load_judge, trl_reward

QUESTION = code_prompt("svg")
PARTS = [{"type": "image"}, {"type": "text", "text": QUESTION}]


def severe(body):
    """What a judge says that finds a severe error in all that is not equal to its reference."""
    reference, rendering = pictures(body)
    same = reference.tobytes() == rendering.tobytes()
    return Verdict("svg", [] if same else [Discrepancy("shape_error", 3, "", "")]).to_json()


@pytest.fixture
def icons(tmp_path):
    """Three icons' programs, the first one's picture, and where that is saved."""
    codes = [example.code for example in draw_examples("svg", 3, 1, 0)]
    image = render("svg", codes[0], size=(256, 256)).image
    image.save(tmp_path / "x.png")
    return codes, image, str(tmp_path / "x.png")


# --- 1. trl ---
def rows(content):
    return Dataset.from_list([{"prompt": [{"role": "user", "content": content}], "task": "svg",
                               "image": draw_examples("svg", 1, 1, 0)[0].image}])


@pytest.fixture
def short_runs(monkeypatch, tmp_path):
    """trl's runs take one step here; the trainers that ran."""
    ran, train = [], trl.GRPOTrainer.train
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trl, "GRPOConfig", partial(
        trl.GRPOConfig, max_steps=1, num_generations=4, per_device_train_batch_size=4,
        report_to=[], save_strategy="no"))
    monkeypatch.setattr(trl.GRPOTrainer, "train", lambda self: ran.append(self) or train(self))
    return ran


def test_the_readmes_trl_snippet_runs(short_runs):
    """Word for word; only the models' names are others."""
    text = re.search(r"For trl;.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    for big, small in (("http://localhost:8000/v1", "data/tiny/judge"), ("8b", "tiny"),
                       ("Qwen/Qwen3-VL-8B-Instruct", "data/tiny/base")):
        assert text.count(f'"{big}"') == 1
        text = text.replace(f'"{big}"', f'"{small}"')
    exec(text, {"rows": rows(PARTS)})
    (trainer,) = short_runs
    assert isinstance(trainer.model, PeftModel) and trainer.max_completion_length == 4096
    assert 0 < trainer.state.log_history[0]["rewards/visual_erm/mean"] <= 2


def test_trl_takes_a_question_as_a_string(short_runs):
    model, processor = load_model("data/tiny/base")
    with JudgeServer(severe) as server:
        trl.GRPOTrainer(
            model, trl_reward(Judge(server.url)), trl.GRPOConfig(
                max_completion_length=8, bf16=False), rows(QUESTION), processing_class=processor,
            peft_config=LoraConfig(r=2, target_modules="all-linear")).train()
    log = short_runs[0].state.log_history[0]
    assert log["rewards/visual_erm/mean"] == 0.0  # 8 tokens draw nothing


@pytest.mark.parametrize("wrap", [str, lambda code: [{"role": "assistant", "content": code}]],
                         ids=["text", "conversation"])
@pytest.mark.parametrize("scale, expected", [(6, [2.0, 1.5, 0.0]), (None, [2.0, 1.0, 0.0])])
def test_trl_pays(icons, wrap, scale, expected):
    codes, image, _ = icons
    with JudgeServer(severe) as server:
        judge = Judge(server.url, PRESETS["8b"])
        paid = trl_reward(judge, scale)(completions=list(map(wrap, [*codes[:2], "<svg"])),
                                        task=["svg"] * 3, image=[image] * 3, prompts=[""] * 3)
    assert paid == pytest.approx(expected, abs=1e-5)


# --- 2. verl ---
def in_order(judge):
    """One question at a time, so that the order of a server's answers is known."""
    load_judge(judge, "8b").server.workers = 1


def test_verl_calls_the_reward(icons):
    codes, _, path = icons
    for answer, expected in ((codes[0], 2.0), (f"```svg\n{codes[1]}\n```", 1.94), ("<svg", 0.0)):
        with JudgeServer(severe) as server:
            # the call of verl's reward loop, whose two last keywords go to rewards with a model of
            # their own
            paid = compute_score(data_source="svg", solution_str=answer, ground_truth=path,
                                 extra_info={"index": 3}, judge=server.url,
                                 reward_router_address=None, reward_model_tokenizer=None)
        assert paid == pytest.approx(expected)


@pytest.mark.parametrize("scale, expected", [(None, [2.0, 1.5, 1.0, 0.0, 2.0]),
                                             (8, [2.0, 1.75, 1.5, 0.0, 2.0])])
def test_verl_calls_the_reward_of_a_batch(icons, scale, expected):
    """Eq. 4's maximum is that of a task in the batch: here 4 of icons, 0 of tables."""
    codes, _, path = icons
    asked = iter([0, 2, 4, 0])

    def answer(body):
        return Verdict("svg", [Discrepancy("shape_error", 2, str(n), "")
                               for n in range(next(asked) // 2)]).to_json()

    with JudgeServer(answer) as server:
        in_order(server.url)
        paid = compute_score_batch(
            data_sources=["svg"] * 4 + ["doc"],
            solution_strs=[*codes, "<svg", "<table><tr><td>1</td></tr></table>"],
            ground_truths=[path] * 5, extra_infos=[{}, None, {}, {}, {"task": "table"}],
            judge=server.url, scale=scale)
    assert paid == pytest.approx(expected, abs=1e-5)


# what the judge does: (troubles of the server, rewards of a picture and of a broken program)
SILENT = {"down": None, "refuses": "400", "fails": "500"}


@pytest.mark.parametrize("name", SILENT)
def test_a_judge_that_is_down_does_not_cost_verls_run(icons, name):
    codes, _, path = icons
    with JudgeServer(severe, *repeat(SILENT[name] or "ok", 9)) as server:
        judge = "http://127.0.0.1:9/v1" if name == "down" else server.url
        for options, expected in (({}, 1.5), ({"fallback": 0.0}, 1.0)):
            with pytest.warns(UserWarning, match="1 of 1 pictures were not judged: The server at"):
                assert compute_score("svg", codes[0], path, judge=judge, **options) == expected
            assert compute_score("svg", "<svg", path, judge=judge, **options) == 0.0


def test_a_judge_that_comes_back_is_asked_again(icons):
    codes, _, path = icons
    with JudgeServer(severe, *repeat("500", 3)) as server:
        with pytest.warns(UserWarning, match="not judged"):
            assert compute_score("svg", codes[0], path, judge=server.url) == 1.5
        assert compute_score("svg", codes[0], path, judge=server.url) == 2.0


def test_a_batch_of_which_some_are_not_judged(icons):
    codes, _, path = icons
    with (JudgeServer(severe, "400") as server,
          pytest.warns(UserWarning, match="1 of 2 pictures were not judged")):
        paid = compute_score_batch(["svg"] * 2, [codes[0]] * 2, [path] * 2, [{}, {}],
                                   judge=f"{server.url}#fake")
    assert sorted(paid) == [1.5, 2.0]


def test_a_reader_that_is_down_is_no_reader_of_nothing(icons):
    codes, _, path = icons
    with (JudgeServer(lambda body: codes[0], "ok", "400") as server,
          pytest.warns(UserWarning, match="1 of 2 pictures were not judged")):
        judge = f"read:{server.url}#fake"
        in_order(judge)  # the second picture that it does not know is the other icon's
        paid = compute_score_batch(["svg"] * 2, codes[:2], [path] * 2, [{}, {}], judge=judge)
    assert paid == [2.0, 1.5]


@pytest.mark.parametrize("task, judge, words", [
    ("gsm8k", "http://127.0.0.1:9/v1", r"extra_info\['task'\] says .*; not 'gsm8k'"),
    ("svg", "http://[::1", "is no URL"), ("svg", "data/nothing", "no folder")])
def test_verl_is_told_a_mistake(icons, task, judge, words):
    """Mistakes are no silence: they end the run."""
    codes, _, path = icons
    with pytest.raises(InputError, match=words):
        compute_score(task, codes[0], path, judge=judge, preset="tiny")
