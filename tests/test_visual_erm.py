"""visual_erm.py: tables of input and expected output; a random Qwen3-VL of 0.1 M weights plays the
judge.
"""
import json
import random
import re
import time
import timeit

import numpy as np
import pytest
import torch
from apted import APTED, Config
from apted.helpers import Tree
from lxml import html
from PIL import Image, ImageDraw
from rapidfuzz.distance import Levenshtein
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import visual_erm as v
from conftest import field_cases, mistake
from data.answers import answer_in
from data.metrics import VisionEncoder, baseline_rewards, ssim, teds, text_reward
from data.models import (
    PRESETS,
    Qwen3VLProcessor,
    choose_device,
    choose_preset,
    fit,
    generate,
    load_model,
    load_processor,
    preset_for,
)
from data.serve import JudgeServer
from data.verdict import CATEGORIES, Discrepancy, InputError, Verdict
from render import RenderError, Rendering

TEMPLATE = """{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if 'image' in part or 'image_url' in part %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif 'text' in part %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|image_pad|>", "<|video_pad|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Qwen3-VL checkpoint with random weights."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    corpus = [f(task) for f in (v.judge_prompt, v.code_prompt) for task in CATEGORIES]
    bpe.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>",
                                        pad_token="<|endoftext|>", chat_template=TEMPLATE)
    images = Qwen2VLImageProcessorPil(patch_size=16, merge_size=1, temporal_patch_size=2,
                                      image_mean=[0.5] * 3, image_std=[0.5] * 3,
                                      size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128})
    ids = {f"{key}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in
           {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start",
            "vision_end": "vision_end"}.items()}
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(Qwen3VLConfig(
        text_config=dict(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64,
                         num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                         head_dim=16, max_position_embeddings=4096,
                         rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                          "mrope_section": [4, 2, 2], "mrope_interleaved": True}),
        vision_config=dict(depth=2, hidden_size=64, intermediate_size=64, num_heads=4,
                           patch_size=16, spatial_merge_size=1, temporal_patch_size=2,
                           out_hidden_size=64, num_position_embeddings=64,
                           deepstack_visual_indexes=[0]),
        tie_word_embeddings=True, **ids)).save_pretrained(path)
    Qwen3VLProcessor(images, tokenizer, chat_template=TEMPLATE).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder)


def picture(color="red", size=(128, 128), at=20):
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle([at, 20, at + 40, 80], fill=color)
    return image


# --- verdicts ---
A = ("data_error", 2, "bar 'B'", "value 7, should be 5")
ENTRY = ('{"category":"data_error","severity":2,"location":"bar \'B\'",'
         '"description":"value 7, should be 5"}')
B = ("data_error", 2, "bar 'C'", "value 7, should be 5")
OTHER = ENTRY.replace("bar 'B'", "bar 'C'")
BARE = '{"category": "data_error", "severity": 2}'
WHOLE = ('{"structure_error_count":0,"data_error_count":1,"text_error_count":0,'
         '"style_error_count":0,"errors":[' + ENTRY + "]}")


def entry(**changes):
    return json.dumps({"errors": [json.loads(ENTRY) | changes]})


PARSE = {  # name: (answer, errors, or None if unreadable, a word of the notes)
    "schema": (WHOLE, [A], ""),
    "no error": (Verdict("chart").to_json(), [], ""),
    "fence": (f"```json\n{WHOLE}\n```", [A], ""),
    "text around": (f"Let me compare {{the two}} images [1].\n{WHOLE}\nHope this helps {{}}!", [A],
                    ""),
    "think": (f'<think>maybe {{"errors": []}}</think>{WHOLE}', [A], ""),
    "think not opened": (f'{{"errors": []}} hmm</think>\n{WHOLE}', [A], ""),
    "think never ends": (f"<think>{WHOLE}", None, "no verdict"),
    "the last of two": (f'{{"errors": []}} Wait, no: {WHOLE}', [A], ""),
    "list without wrapper": (f"[{ENTRY}]", [A], ""),
    "empty list": ("```json\n[]\n```", [], ""),
    "single errors": (f"{ENTRY}\n{OTHER}", [A, B], ""),
    "in circles": (f"[{ENTRY}, {OTHER}, {ENTRY}, {ENTRY}]", [A, B], "listed again"),
    "no words to tell them apart": (f'[{BARE}, {BARE}]', [("data_error", 2, "", "")] * 2, ""),
    "error not in a list": ('{"errors": ' + ENTRY + "}", [A], ""),
    "wrapped deeper": ('{"verdict": ' + WHOLE + "}", [A], ""),
    "type": (WHOLE.replace('"category"', '"type"'), [A], ""),
    "spelling": (entry(category="Data Error"), [A], ""),
    "short": (entry(category="data"), [A], ""),
    "unknown category": (f'{{"errors": [{ENTRY}, {{"category": "layout_error", "severity": 3}}]}}',
                         [A], "layout_error"),
    "only unknown categories": (entry(category="layout_error"), None, "layout_error"),
    "entry of another kind": (f'{{"errors": ["wrong", null, {ENTRY}]}}', [A], "dropped"),
    "severity as text": (entry(severity="2"), [A], ""),
    "severity as fraction": (entry(severity="2/3"), [A], ""),
    "severity as word": (entry(severity="Medium"), [A], ""),
    "severity 3 as word": (entry(severity="severe"), [(A[0], 3, *A[2:])], ""),
    "severity 2.4": (entry(severity=2.4), [A], "2.4 read as 2"),
    "severity 9": (entry(severity=9), [(A[0], 3, *A[2:])], "9 read as 3"),
    "severity 0": (entry(severity=0), [(A[0], 1, *A[2:])], "0 read as 1"),
    "severity NaN": (entry(severity=float("nan")), [A], "read as 2"),
    "severity null": (entry(severity=None), [A], "read as 2"),
    "severity true": (entry(severity=True), [A], "read as 2"),
    "no place": (entry(location=None), [(A[0], 2, "", A[3])], ""),
    "place of another kind": (entry(location=[1, 2]), [(A[0], 2, "[1, 2]", A[3])], ""),
    "counts disagree": (WHOLE.replace('"data_error_count":1', '"data_error_count":4'), [A],
                        "data_error_count"),
    "counts only, zero": ('{"data_error_count": 0, "text_error_count": 0}', [], "without a list"),
    "counts only": ('{"data_error_count": 2}', None, "without a list"),
    "no list": ('{"errors": 7}', None, "dropped"),
    "cut off": (WHOLE[:-2] + ', {"category": "text_error", "sev', [A], "cut off"),
    "cut off, two errors": (WHOLE[:-2] + f", {OTHER}, {ENTRY[:30]}", [A, B], "cut off"),
    "cut off at once": (WHOLE[:-30], None, "cut off"),
    "cut off after an empty list": ('{"data_error_count":0,"errors":[]', [], ""),
    "comma at the end": (WHOLE[:-2] + ",]}", [A], ""),
    "code": ('plt.bar({"a": 1}, [{"type": "bar"}])', None, "no verdict"),
    "empty": ("", None, "no verdict"),
    "no text": (None, None, "no verdict"),
    "lone surrogate": (entry(location="\ud800"), [(A[0], 2, "?", A[3])], ""),
}


@pytest.mark.parametrize("name", PARSE)
def test_parse(name):
    answer, errors, note = PARSE[name]
    verdict = Verdict.parse("chart", answer)
    assert verdict.readable == (errors is not None)
    assert verdict.errors == [Discrepancy(*error) for error in errors or []]
    assert note in " ".join(verdict.notes) and (note or not verdict.notes)


FIELD = field_cases("verdict")


@pytest.mark.parametrize("name", FIELD)
def test_parse_of_answers_from_the_field(name):
    row = FIELD[name]
    verdict = Verdict.parse(row["task"], row["input"])
    assert verdict.readable == (row["expected"] is not None)
    assert verdict.errors == [Discrepancy(*error) for error in row["expected"] or []]


def test_of_a_data_set_s_list_keeps_what_is_listed_twice():
    entry = json.loads(ENTRY)
    errors = Verdict.of("chart", [entry] * 2 + [entry | {"category": "none"}])
    assert errors.errors == [Discrepancy(*A)] * 2 and "dropped" in errors.notes[0]


def test_parse_gives_back_what_to_json_wrote():
    rng = random.Random(0)
    for task in CATEGORIES:
        for n in range(6):
            verdict = Verdict(task, [Discrepancy(rng.choice(CATEGORIES[task]), rng.randint(1, 3),
                                                 f'{k} a "b" {{', "é\n}]")
                                     for k in range(n)])
            again = Verdict.parse(task, verdict.to_json())
            assert again.errors == verdict.errors and again.readable and not again.notes
            assert again.severity == sum(error.severity for error in verdict.errors)


def test_parse_never_raises():
    rng = random.Random(0)
    pieces = ['{"', '"errors"', ":", "[", "]", "}", "{", '"category"', '"data"', '"severity"', "3",
              "null", "NaN", "1e999", ",", "```json", "<think>", "</think>", '"\\ud800"', '_count"',
              "\\", '"', " ", "\n", "\0", "9" * 5000]
    for i in range(100_000):
        text = ("".join(rng.choices(pieces, k=rng.randint(0, 25))) if i % 2 else
                "".join(map(chr, rng.choices(range(0x3000), k=rng.randint(0, 30)))))
        Verdict.parse("chart", text).to_json().encode()


@pytest.mark.parametrize("text", [
    "[" * 200_000, '{"a":' * 40_000, '{"errors":[' * 20_000, "<think>" * 30_000,
    '[{"category":"data","severity":1},' * 5_000, '"errors"' * 20_000, "][{" * 40_000,
    '{"a":"' + '", "b ' * 20_000, '{"a":"' + "\\u1" * 30_000, "{'a':'" + "//'" * 40_000,
    "[{" + "/*" * 60_000, '{\\"a\\":' * 20_000, '{"errors":"' + "[{" * 60_000,
    ", should be " * 10_000])
def test_parse_is_quick_on_hostile_text(text):
    seconds = min(timeit.repeat(lambda: Verdict.parse("chart", text), number=1, repeat=3,
                                timer=time.process_time))  # others may be busy on this machine
    assert seconds < 0.5


@pytest.mark.parametrize("completion, answer", [
    ("<svg/>", "<svg/>"), ([{"role": "assistant", "content": "<svg/>"}], "<svg/>"),
    ([{"role": "assistant", "content": [{"type": "text", "text": "<svg"},
                                        {"type": "text", "text": "/>"}]}], "<svg/>"),
    ([{"role": "user", "content": "a"}, {"role": "assistant", "content": None}], ""),
    ([{"role": "assistant", "content": [{"type": "image"}]}], "")])
def test_an_answer_of_trl_is_a_text_a_conversation_or_parts(completion, answer):
    assert answer_in(completion) == answer


# --- rewards ---
def verdict(*severities, task="svg", readable=True):
    return Verdict(task, [Discrepancy("shape_error", s, "", "") for s in severities], readable)


@pytest.mark.parametrize("severities, scale, expected", [
    ([0, 2, 4], None, [1, 0.5, 0]),
    ([0, 0], None, [1, 1]),  # all equal: nothing to learn
    ([3, 3], None, [0, 0]),
    ([6], None, [0]),
    ([0, 5, 50, 60], 50, [1, 0.9, 0, 0]),
    ([], None, []),
])
def test_severity_reward(severities, scale, expected):
    assert v.severity_reward(severities, scale) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("verdicts, scale, expected", [
    ([verdict(), verdict(2), verdict(3, 1)], None, [1, 0.5, 0]),
    # by task
    ([verdict(2), verdict(1, task="chart"), verdict(1), verdict(task="chart")], None,
     [0, 0, 0.5, 1]),
    ([verdict(), verdict(3, 3, 3), verdict(readable=False)], 50, [1, 0.82, 0]),
    ([verdict(2), verdict(1), verdict(readable=False)], None, [0, 0.5, 0]),
    # it does not count in the maximum
    ([verdict(9, readable=False), verdict(2), verdict()], None, [0, 0, 1]),
    ([verdict(readable=False)], None, [0]),
    ([], None, []),
])
def test_verm_rewards(verdicts, scale, expected):
    assert v.verm_rewards(verdicts, scale) == pytest.approx(expected, abs=1e-5)


DRAWN, BROKEN = Rendering(None, {}), RenderError("syntax", "")


@pytest.mark.parametrize("renderings, verdicts, scale, term, expected", [
    ([DRAWN, DRAWN, DRAWN, BROKEN], [verdict(), verdict(2), verdict(3, 1)], None, 1,
     [2, 1.5, 1, 0]),
    ([DRAWN, DRAWN, DRAWN, BROKEN], [verdict(), verdict(3, 3, 3), verdict(readable=False)], 50, 1,
     [2, 1.82, 1, 0]),
    ([BROKEN, DRAWN, BROKEN, DRAWN], [verdict(1), verdict()], None, 1, [0, 1, 0, 2]),
    ([BROKEN, DRAWN], [verdict()], None, 0.25, [0, 1.25]),
    ([BROKEN, BROKEN], [], None, 1, [0, 0]),
    ([], [], None, 1, []),
])
def test_reward_with_the_render_term(renderings, verdicts, scale, term, expected):
    rewards = v.add_render_term(renderings, v.verm_rewards(verdicts, scale), term)
    assert rewards == pytest.approx(expected, abs=1e-5)


# PubTabNet's metric, written down from its definition with the package it uses for the tree
# distance.
class Node(Tree):
    def __init__(self, label, content=()):
        self.label, self.content, self.children = label, content, []


class Costs(Config):
    def rename(self, a, b):
        if a.label != b.label:
            return 1.0
        longest = max(len(a.content), len(b.content))
        return Levenshtein.distance(a.content, b.content) / longest if longest else 0.0


def reference_teds(true, pred, structure_only):
    def flat(node):
        inside = list(node.text or "") + [token for child in node for token in flat(child)]
        return ([f"<{node.tag}>", *inside, f"</{node.tag}>"]
                + (list(node.tail or "") if node.tag != "td" else []))

    def tree(node):
        if node.tag == "td":
            label = ("td", int(node.get("colspan", "1")), int(node.get("rowspan", "1")))
            return Node(label, [] if structure_only else flat(node)[1:-1])
        root = Node(node.tag)
        root.children = [tree(child) for child in node]
        return root

    parser = html.HTMLParser(remove_comments=True, encoding="utf-8")
    tables = [html.document_fromstring(text, parser=parser).xpath("body/table")[0]
              for text in (true, pred)]
    n = max(len(table.xpath(".//*")) for table in tables)
    return 1 - APTED(*map(tree, tables), Costs()).compute_edit_distance() / n if n else 1.0


WORDS = ("Total Sales 12.5 -3% € n/a 2024 1,200 <b>Q1</b> <i>x<sup>2</sup></i> über A&amp;B "
         "<b>Q2</b>").split()


def random_table(rng, rows, columns, spans=0.1):
    def cell():
        extra = "".join(f' {name}="{rng.randint(1, 3)}"' for name in ("colspan", "rowspan")
                        if rng.random() < spans)
        return f"<td{extra}>{' '.join(rng.choices(WORDS, k=rng.randint(0, 3)))}</td>"

    lines = ["<tr>" + "".join(cell() for _ in range(rng.randint(max(1, columns - 1), columns)))
             + "</tr>" for _ in range(rows)]
    if rng.random() < 0.3 and lines:
        lines = ["<caption>A <b>b</b></caption><thead>", lines[0], "</thead><tbody>", *lines[1:],
                 "</tbody>"]
    return "<table>" + "".join(lines) + "</table>"


def test_teds_equals_the_reference():
    rng, values = random.Random(3), set()
    for _ in range(150):
        true = random_table(rng, rng.randint(0, 6), rng.randint(1, 5))
        pred = random_table(rng, rng.randint(0, 6), rng.randint(1, 5))
        if rng.random() < 0.6:  # mostly the same, as predictions are
            cut = rng.randrange(len(true))
            pred = true.replace(rng.choice(WORDS), rng.choice(WORDS))
            pred = pred.replace("<tr>" + true[cut:cut + 12], "<tr>")
        for structure_only in (False, True):
            value = teds(true, pred, structure_only)
            assert value == pytest.approx(reference_teds(true, pred, structure_only), abs=1e-9)
            values.add(round(value, 6))
    assert len(values) > 100


def test_teds_is_ten_times_as_fast():
    """On a large table, where it matters; times alternate and the best of each counts, so that
    noise hits both.
    """
    rng, ours, theirs = random.Random(0), [], []
    true, pred = random_table(rng, 22, 12, 0), random_table(rng, 22, 12, 0)
    for _ in range(3):
        ours.append(timeit.timeit(lambda: teds(true, pred), timer=time.process_time, number=1))
        theirs.append(timeit.timeit(lambda: reference_teds(true, pred, False),
                                    timer=time.process_time, number=1))
    told = f"{min(theirs) * 1000:.0f} ms against {min(ours) * 1000:.0f} ms"
    assert min(theirs) > 10 * min(ours), told


T = "<table><tr><td>{}</td><td>b</td></tr></table>"


@pytest.mark.parametrize("true, pred, expected", [
    (T.format("a"), T.format("a"), 1),
    (T.format("a"), T.format("x"), 1 - 1 / 3),
    (T.format("ab"), T.format("ax"), 1 - 0.5 / 3),
    (T.format("a"), T.format("a").replace("td", "th"), 1),
    (T.format("a"), f"Here it is: <div>{T.format('a')}</div>", 1),
    (T.format("a"), T.format("a<!-- note -->"), 1),
    (T.format("a"), T.format("a").replace("<td>b", '<td colspan="2">b'), 1 - 1 / 3),
    (T.format("a"), T.format("a").replace("<td>b", '<td colspan="wide">b'), 1),
    (T.format("a"), T.format("a").replace("<td>b", '<td rowspan="99999999999999999999">b'),
     1 - 1 / 3),
    (T.format("a"), "<table></table>", 0),
    ("<table></table>", "<table></table>", 1),
    (T.format("a"), "|a|b|\n|-|-|", 1),  # Markdown
    ("|a|b|\n|-|-|\n|1|2|", "|a|b|\n|-|-|\n|1|3|", 1 - 1 / 6),
    (T.format("a"), "no table", 0),
    (T.format("a"), "", 0),
    (T.format("a"), '<?xml version="1.0" encoding="latin-1"?>' + T.format("a"), 1),
    (T.format("a"), T.format("\ud800"), 1 - 1 / 3),
    (T.format("a"), "<table>" * 3000, None),
])
def test_teds_cases(true, pred, expected):
    value = teds(true, pred)
    assert value == pytest.approx(expected) if expected is not None else value < 0.5


TRICKS = ["x" + "<br>" * 100, "<b>" * 200, "<i></i>" * 300, "<p>" + "<sub>1</sub>" * 99]


@pytest.mark.parametrize("trick", TRICKS)
def test_tags_in_a_cell_buy_nothing(trick):
    """They lift two unrelated tables as published, and not where a reward is paid."""
    true = "<table>" + "<tr><td>a<td>b<td>c" * 4 + "</table>"
    plain, gamed = (f"<table><tr><td>{cell}</table>" for cell in ("x", trick))
    assert teds(true, plain) < 0.1 and teds(true, gamed) > 0.7
    assert text_reward("table", true, gamed) <= text_reward("table", true, plain) < 0.1
    assert text_reward("table", true, true) == 1
    # without tags in cells there is no difference
    rng = random.Random(4)
    for _ in range(20):
        one, other = (re.sub("</?(?!table|t[rdh])[^>]*>", "", random_table(rng, 3, 3))
                      for _ in range(2))
        assert text_reward("table", one, other) == teds(one, other)


def patterns():
    plain = Image.new("RGB", (64, 48), "white")
    draw = ImageDraw.Draw(plain)
    draw.rectangle([8, 8, 30, 40], fill="red")
    draw.ellipse([34, 10, 58, 34], fill="#2060c0")
    green, dot = plain.copy(), plain.copy()
    ImageDraw.Draw(green).rectangle([8, 8, 30, 40], fill="green")
    ImageDraw.Draw(dot).rectangle([20, 20, 24, 24], fill="black")
    noise = np.arange(64 * 48 * 3, dtype=np.int64).reshape(48, 64, 3) * 7919 % 251
    return plain, {"green": green, "dot": dot, "noise": Image.fromarray(noise.astype(np.uint8)),
                   "same": plain}


# structural_similarity 0.25, gaussian_weights, population covariance
@pytest.mark.parametrize("name, scikit_image", [
    ("green", 0.7080703263122393), ("dot", 0.9739525045823797), ("noise", 0.006666750976839535),
    ("same", 1.0)])
def test_ssim_equals_scikit_image(name, scikit_image):
    plain, others = patterns()
    assert ssim(plain, others[name]) == pytest.approx(scikit_image, abs=1e-9)


def test_ssim_takes_any_size():
    assert ssim(picture(), picture(size=(300, 200))) < 1
    assert ssim(Image.new("L", (3, 5)), Image.new("RGB", (1, 1))) == pytest.approx(1)


# --- models ---
def test_processor_survives_saving_and_pads_left(folder, loaded, tmp_path):
    processor = loaded[1]
    processor.save_pretrained(tmp_path)
    again = load_processor(str(tmp_path))
    messages = [v.judge_messages("chart", picture(), picture("blue")),
                v.code_messages("svg", picture(size=(64, 64)))]
    one, two = (p.apply_chat_template(messages, tokenize=True, add_generation_prompt=True,
                                      return_dict=True, return_tensors="pt",
                                      processor_kwargs={"padding": True})
                for p in (processor, again))
    assert all(torch.equal(one[key], two[key]) for key in one) and set(one) == set(two)
    assert one["attention_mask"][1, 0] == 0 and one["attention_mask"][:, -1].all()
    assert (one["input_ids"] == processor.image_token_id).sum(1).tolist() == [128, 16]
    assert (json.loads((tmp_path / "processor_config.json").read_text())["processor_class"]
            == "Qwen3VLProcessor")


def test_files_of_the_published_models(folder, tmp_path):
    """Qwen/Qwen3-VL-8B-Instruct keeps its settings in these files."""
    saved = json.loads(open(f"{folder}/tokenizer.json").read())
    (tmp_path / "vocab.json").write_text(json.dumps(saved["model"]["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in saved["model"]["merges"])
    (tmp_path / "merges.txt").write_text(merges)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "bos_token": None,
        "added_tokens_decoder": {str(t["id"]): {k: t[k] for k in t if k != "id"}
                                 for t in saved["added_tokens"]}}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({
        "size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16,
        "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "processor_class": "Qwen3VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessorFast"}))
    (tmp_path / "config.json").write_text(open(f"{folder}/config.json").read())
    processor = load_processor(str(tmp_path), max_pixels=512 * 512)
    inputs = processor.apply_chat_template([v.code_messages("chart", picture(size=(2048, 1024)))],
                                           tokenize=True, add_generation_prompt=True,
                                           return_dict=True, return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 22, 44]]  # 704 x 352 px, under 512 x 512
    assert processor.chat_template == TEMPLATE and processor.tokenizer.padding_side == "left"


def test_generate_in_batches_keeps_order_and_values(loaded):
    conversations = [v.judge_messages("chart", picture(), picture("blue")),
                     v.code_messages("svg", picture()),
                     v.revise_messages("table", picture("green"), "<table>", "{}")]
    alone = [generate(*loaded, [c], max_new_tokens=6)[0] for c in conversations]
    assert generate(*loaded, conversations, max_new_tokens=6, batch_size=2) == alone
    torch.manual_seed(1)
    hot = generate(*loaded, conversations[:1] * 4, max_new_tokens=6, temperature=2.0)
    assert len(set(hot)) > 1


def test_adapter_folder_and_four_bits(folder, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model, processor = load_model(folder)
    lora = get_peft_model(model, LoraConfig(target_modules="all-linear", r=4,
                                            init_lora_weights=False))
    lora.save_pretrained(tmp_path / "judge")
    expected = generate(lora.eval(), processor, [v.code_messages("svg", picture())],
                        max_new_tokens=4)
    again, processor = load_model(str(tmp_path / "judge"))
    assert isinstance(again, PeftModel)
    assert (generate(again, processor, [v.code_messages("svg", picture())], max_new_tokens=4)
            == expected)
    small, _ = load_model(folder, quantize=True)
    assert type(small.model.language_model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    assert type(small.model.visual.blocks[0].mlp.linear_fc1) is torch.nn.Linear


@pytest.mark.parametrize("name", ["data/nothing", "nothing", "./nothing", "{tmp}", "{tmp}/file"])
def test_wrong_model_folder(name, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"^(There is no folder|The folder) .*"):
        load_model(name.format(tmp=tmp_path))


def test_presets():
    assert choose_preset("tiny") is PRESETS["tiny"]
    assert all(set(preset) == set(PRESETS["tiny"]) for preset in PRESETS.values())
    with pytest.raises(InputError, match="no preset"):
        choose_preset("huge")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="needs a GPU"):
            choose_preset("8b")
    assert choose_preset("8b", anywhere=True)["quantize"]


@pytest.mark.parametrize("preset, names, expected", [
    ("", [""], "tiny"), ("", ["data/tiny/judge", ""], "tiny"), ("", ["http://x/v1"], "8b"),
    ("2b", ["http://x/v1"], "2b"), ("", ["http://x/v1", "http://y/v1"], "8b"),
    ("tiny", ["http://x/v1", "data/tiny/judge"], "tiny"),
    # they need a GPU
    ("", ["http://x/v1", "Qwen/Qwen3-VL-8B-Instruct"], None), ("", ["http://x/v1", ""], None),
])
def test_the_preset_follows_from_where_the_models_are(preset, names, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if expected:
        assert preset_for(preset, *names) is PRESETS[expected]
    else:
        with pytest.raises(InputError, match="needs a GPU"):
            preset_for(preset, *names)


@pytest.mark.parametrize("asked, gpu, bfloat16, expected", [
    (None, False, False, ("cpu", torch.float32, "no GPU was found, so exact numbers")),
    (None, True, True, ("cuda", torch.bfloat16, "a GPU was found with bfloat16")),
    (None, True, False, ("cuda", torch.float32, "a GPU was found, too old for bfloat16")),
    ("cpu", True, True, ("cpu", torch.float32, "as asked, so exact numbers")),
])
def test_numbers_are_of_32_bits_where_there_is_no_bfloat16(monkeypatch, asked, gpu, bfloat16,
                                                           expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bfloat16)
    monkeypatch.setattr("data.models.say", (said := []).append)
    device, dtype = choose_device(asked)
    assert (device.type, dtype) == expected[:2]
    assert said == [f"device {device}, {str(dtype).removeprefix('torch.')}: {expected[2]}"]


@pytest.mark.parametrize("task", CATEGORIES)
def test_prompts(task):
    prompt = v.judge_prompt(task)
    assert all(f'"{category}_count": int' in prompt and f"- {category}: " in prompt
               for category in CATEGORIES[task])
    assert len(prompt.split()) <= 250
    [message] = v.judge_messages(task, picture(), picture("blue"))
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]
    revise = v.revise_prompt(task, "CODE {0} %s", "FEEDBACK {} \\n")
    assert "CODE {0} %s" in revise and "FEEDBACK {} \\n" in revise


def test_fit():
    assert fit(picture(size=(300, 90)), None).size == (300, 90)
    small = fit(picture(size=(300, 90)), 128)
    assert small.size == (128, 128) and small.getpixel((5, 100)) == (255, 255, 255)
    assert fit(picture(), 128).tobytes() == picture().tobytes()


def test_vision_encoders(folder, tmp_path):
    Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                             image_size=56)).save_pretrained(tmp_path)
    BitImageProcessorPil(size={"shortest_edge": 56},
                         crop_size={"height": 56, "width": 56}).save_pretrained(tmp_path)
    for name, width in ((folder, 64), (str(tmp_path), 32)):
        encoder = VisionEncoder(name)
        assert encoder.name == name
        assert encoder.features(picture()).shape == (width,)
        assert encoder.similarity(picture(), picture()) == pytest.approx(1, abs=1e-5)
        assert encoder.similarity(picture(), picture("blue", at=60)) < 0.99999
    assert VisionEncoder().name == "efficientnet-lite0"
    assert VisionEncoder().features(picture()).shape == (1280,)
    assert VisionEncoder("tower").features(picture()).shape == (128,)
    values = baseline_rewards("table", picture(), picture(), T.format("a"), T.format("x"))
    assert values == {"text": pytest.approx(1 - 1 / 44), "teds": pytest.approx(2 / 3),
                      "teds_s": 1.0, "vision_encoder": None, "ssim": pytest.approx(1)}
    assert (list(baseline_rewards("chart", picture(), picture()).values())
            == [None] * 4 + [pytest.approx(1)])


# --- judges ---
def test_judge_on_this_machine(loaded):
    pairs = [("chart", picture(), picture("blue")), ("table", picture(), picture()),
             ("svg", picture(), picture())]
    verdicts = v.VisualERM(loaded, PRESETS["tiny"] | {"verdict_tokens": 5}).judge(iter(pairs))
    assert [verdict.task for verdict in verdicts] == ["chart", "table", "svg"]
    assert not any(verdict.readable for verdict in verdicts)  # random weights
    assert v.VisualERM(loaded).judge([]) == []


@pytest.fixture
def server():
    """A server whose `answer(body)` a test sets."""
    with JudgeServer(None) as running:
        yield running


# --- command line ---
def run(capsys, *arguments):
    code = v.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_command_line_json(server, folder, tmp_path, capsys):
    server.answer = lambda body: "```json\n" + WHOLE + "\n```"
    picture().save(tmp_path / "a.png")
    picture("blue").convert("RGBA").save(tmp_path / "b.png")
    command = [tmp_path / "a.png", tmp_path / "b.png", "--task", "chart", "--judge", server.url,
               "--encoder", folder, "--out", tmp_path / "o"]
    code, out, _ = run(capsys, *command, "--json")
    result = json.loads(out)
    assert code == 0 and set(result) == {"verdict", "severity", "reward", "baselines"}
    assert result["verdict"] == json.loads(WHOLE) and result["severity"] == 2
    assert result["reward"] == pytest.approx(0.96)  # 1 - 2 / 50
    assert set(result["baselines"]) == {"text", "teds", "teds_s", "vision_encoder", "ssim"}
    code, out, _ = run(capsys, *command)
    assert code == 0 and "data_error, bar 'B': value 7, should be 5" in out
    assert "value 7, should be 5" in (tmp_path / "o/report.html").read_text()


BAD = {  # name: (arguments, words of the sentence); {tmp} and {url} are filled in
    "missing file": ("{tmp}/a.png {tmp}/none.png --task chart", "no picture"),
    "a folder": ("{tmp}/a.png {tmp} --task chart", "no picture"),
    "not an image": ("{tmp}/a.png {tmp}/text.png --task chart", "no picture that can be read"),
    "broken image": ("{tmp}/a.png {tmp}/cut.png --task chart", "no picture that can be read"),
    "huge image": ("{tmp}/a.png {tmp}/huge.png --task chart", "at most 64 million"),
    "a line": ("{tmp}/a.png {tmp}/line.png --task chart", "ratio"),
    "unknown task": ("{tmp}/a.png {tmp}/a.png --task poem", "chart, table, svg"),
    "no task": ("{tmp}/a.png {tmp}/a.png", "chart, table, svg"),
    "one picture": ("{tmp}/a.png --task chart", "two pictures"),
    "no such model": ("{tmp}/a.png {tmp}/a.png --task chart --judge data/none", "no folder"),
    "wrong folder": ("{tmp}/a.png {tmp}/a.png --task chart --judge {tmp}", "no complete model"),
    "unknown preset": ("{tmp}/a.png {tmp}/a.png --task chart --preset 9b", "no preset"),
    "server down": ("{tmp}/a.png {tmp}/a.png --task chart --judge http://127.0.0.1:9/v1",
                    "No server answers"),
    "not such a server": ("{tmp}/a.png {tmp}/a.png --task chart --judge {url}/elsewhere",
                          "no OpenAI-compatible"),
    "nonsense": ("{tmp}/a.png {tmp}/a.png --task chart --judge {url}", "nothing that is a verdict"),
    "no examples": ("--examples {tmp}", "is neither a .jsonl file nor a folder that holds one"),
    "broken examples": ("--examples {tmp}/broken", "pairs.jsonl:2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_and_exit_code_2(name, server, folder, tmp_path, capsys):
    arguments, words = BAD[name]
    server.answer = lambda body: "I cannot see any pictures."
    if name == "not such a server":
        server.models = []
    picture().save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:150])
    if name == "huge image":
        Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    Image.new("1", (4000, 2)).save(tmp_path / "line.png")
    (tmp_path / "broken").mkdir()
    good = {"id": "1", "category": "chart", "gt_img_path": "../a.png", "pred_img_path": "../a.png",
            "human_errors": []}
    (tmp_path / "broken/pairs.jsonl").write_text(json.dumps(good) + "\n{\n")
    judge = [] if "--judge" in arguments else ["--judge", folder]
    out, told = mistake(capsys, v.main, *arguments.format(tmp=tmp_path, url=server.url).split(),
                        *judge, "--encoder", folder)
    assert out == "" and words in told


def test_examples_and_report(folder, server, tmp_path, capsys):
    picture().save(tmp_path / "a.png")
    error = {"type": "data_error", "severity": 2, "location": "bar", "description": "<script>"}
    rows = [{"id": "c<1>", "category": "chart", "gt_code": "plt.bar", "pred_code": "plt.<b>bar</b>",
             "human_errors": [error]},
            {"id": "t", "category": "table", "gt_code": T.format("a"), "pred_code": T.format("b"),
             "human_errors": []}]
    paths = {"gt_img_path": "a.png", "pred_img_path": "a.png"}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row | paths) + "\n" for row in rows))
    server.answer = lambda body: WHOLE.replace("bar 'B'", "<script>alert(1)</script>")
    code, out, _ = run(capsys, "--examples", tmp_path, "--judge", server.url, "--encoder", folder,
                       "--out", tmp_path / "o")
    page = (tmp_path / "o/report.html").read_text()
    assert (code == 0 and "teds 0.667" in out and "c<1>: severity 2, Visual-ERM 0.960" in out
            and "unreadable" in out)
    assert page.count("<article>") == 2 and page.count("data:image/png;base64,") == 4
    assert ("<script" not in page and "&lt;script&gt;alert(1)" in page
            and "http" not in page.replace(server.url, ""))
