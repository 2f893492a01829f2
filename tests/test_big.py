"""What the big presets rest on, with a small random model in 4 bits: shapes, adapters, memory."""
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import DynamicCache

import train_rl
import train_sft
from data.build import draw_examples
from data.cache import ROOM, growing_cache
from data.engine import log_probs, rollout
from data.experiments import checkpoint, speed_grpo
from data.models import PRESETS, Chat, add_adapter, load_model
from data.verdict import Discrepancy, InputError, Verdict
from render import render
from visual_erm import VisualERM, judge_messages

# Nonsense by random weights is unreadable, and a second try would be sampled.
PRESET = PRESETS["8b"] | {"gpu": 0, "max_pixels": 256 * 256, "code_tokens": 6,
                          "verdict_tokens": 12, "tries": 1}


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """Folder of a random model in four files."""
    folder = tmp_path_factory.mktemp("nano")
    assert checkpoint.main(["--shape", "nano", "--shard", "0.0005", "--out", str(folder)]) == 0
    assert len(list(folder.glob("model-*-of-00004.safetensors"))) == 4
    return folder


@pytest.fixture(scope="module")
def pair():
    first, second = draw_examples("svg", 2, 1, "0")
    return "svg", first.image, second.image


def small(folder, quantize=True):
    return load_model(str(folder), quantize=quantize, max_pixels=PRESET["max_pixels"])


def adapted(folder, seed, name="default", quantize=True):
    """(model, processor) with an adapter that is far from doing nothing."""
    model, processor = small(folder, quantize)
    model = add_adapter(model, PRESET, 4, name)
    torch.manual_seed(seed)
    for key, p in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(p, std=0.3)
    return model.eval(), processor


def logits(model, processor, pair):
    inputs = processor.apply_chat_template(
        [judge_messages(*pair)], tokenize=True, add_generation_prompt=True, return_dict=True,
        return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits[0, -8:]


def verdict(judge, pair):
    return VisualERM(judge, PRESET).judge([pair])[0].raw


# --- the shapes ---
@pytest.mark.parametrize("shape, weights, stored, width, inner, tower, merged", [
    ("2b", 2_127_532_032, 625, 2048, 6144, 1024, 4096),  # the numbers of weights on the hub
    ("4b", 4_437_815_808, 713, 2560, 9728, 1024, 4096),
    ("8b", 8_767_123_696, 750, 4096, 12288, 1152, 4608),
])
def test_shapes_are_the_published_ones(nano, shape, weights, stored, width, inner, tower, merged):
    found = checkpoint.tensors(checkpoint.make_config(shape, small(nano)[1].tokenizer))
    assert sum(size.numel() for size in found.values()) == weights and len(found) == stored
    assert found["model.language_model.embed_tokens.weight"] == (151936, width)
    assert found["model.language_model.layers.27.mlp.down_proj.weight"] == (width, inner)
    assert found["model.visual.patch_embed.proj.weight"] == (tower, 3, 2, 16, 16)
    assert found["model.visual.deepstack_merger_list.2.linear_fc2.weight"] == (width, merged)
    assert ("lm_head.weight" in found) == (shape == "8b")


def test_every_tensor_of_the_checkpoint_is_read(nano):
    model, _ = small(nano, quantize=False)
    stored = {name: t for path in nano.glob("*.safetensors") for name, t in load_file(path).items()}
    assert {name: t.float() for name, t in stored.items()}.keys() == model.state_dict().keys()
    assert all(torch.equal(stored[name].float(), t) for name, t in model.state_dict().items())
    names = "image", "video", "vision_start", "vision_end"
    ids = {getattr(model.config, f"{name}_token_id") for name in names}
    assert len(ids) == 4 and max(ids) < model.config.text_config.vocab_size


def test_mistakes_get_a_sentence(tmp_path, capsys):
    assert checkpoint.main(["--shape", "9b", "--out", str(tmp_path)]) == 2
    assert "choose among nano, 2b, 4b, 8b" in capsys.readouterr().err


def test_the_layout_of_the_published_judge(nano, pair, tmp_path):
    """Full weights in several files, configuration files as transformers 4.57 wrote them."""
    shutil.copytree(nano, tmp_path, dirs_exist_ok=True)
    config = json.loads((nano / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"] |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    config["vision_config"].pop("rope_parameters", None)
    config["vision_config"]["model_type"] = "qwen3_vl"
    (tmp_path / "config.json").write_text(json.dumps(config))
    images = json.loads((nano / "processor_config.json").read_text())["image_processor"] | {
        "image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    (tmp_path / "processor_config.json").unlink()
    template = (tmp_path / "chat_template.jinja")
    old_template = json.dumps({"chat_template": template.read_text()})
    (tmp_path / "chat_template.json").write_text(old_template)
    template.unlink()
    assert torch.equal(logits(*small(tmp_path), pair), logits(*small(nano), pair))
    assert verdict(str(tmp_path), pair) == verdict(str(nano), pair) != ""
    (tmp_path / "model-00003-of-00004.safetensors").unlink()
    with pytest.raises(InputError, match="holds no complete model"):
        small(tmp_path)


# --- the adapters ---
def test_in_4_bits_one_base_plays_three_roles(nano, pair, tmp_path):
    """Policy, reference and judge on one base give exactly what each gives when loaded alone."""
    for seed, name in enumerate(("policy", "judge")):
        adapted(nano, seed)[0].save_pretrained(tmp_path / name)
    settings = train_rl.Settings(model=str(nano), judge=str(tmp_path / "judge"), rank=4)
    policy, judge = train_rl.load_roles(settings, PRESET)
    model, processor = policy.model, policy.processor
    assert judge.adapter == "judge" and judge.model is model
    model.load_adapter(str(tmp_path / "policy"), "policy")
    model.set_adapter("policy")
    alone = {name: small(folder) for name, folder in
             (("policy", tmp_path / "policy"), ("base", nano), ("judge", tmp_path / "judge"))}
    expected = {name: logits(*loaded, pair) for name, loaded in alone.items()}
    model.eval()
    assert torch.equal(logits(model, processor, pair), expected["policy"])
    said = judge.judge([pair])[0].raw
    assert said == verdict(alone["judge"], pair) != verdict(alone["policy"], pair)
    with model.disable_adapter():
        assert torch.equal(logits(model, processor, pair), expected["base"])
    assert torch.equal(logits(model, processor, pair), expected["policy"])  # as it was before
    for name in ("policy", "judge"):
        assert not torch.allclose(expected["base"], expected[name], atol=1e-2)
    training = {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad}
    assert training == {"policy"}


@pytest.mark.parametrize("policy, judge", [
    ("one", "two"), ("nano", "two"), ("one", "nano"), ("nano", "nano")])
def test_two_models_on_one_base_answer_as_they_do_alone(nano, pair, tmp_path, policy, judge):
    for seed, name in enumerate(("one", "two")):
        adapted(nano, seed)[0].save_pretrained(tmp_path / name)
    policy, judge = (str(nano if name == "nano" else tmp_path / name) for name in (policy, judge))
    writer = Chat(policy, PRESET)
    erm = VisualERM(judge, PRESET, share_with=writer)
    assert erm.model is writer.model
    asked = [judge_messages(*pair)]
    for _ in range(2):  # each leaves the other as it was
        assert writer.answer(asked, 12, 1) == Chat(policy, PRESET).answer(asked, 12, 1)
        assert erm.judge([pair])[0].raw == verdict(judge, pair)


def test_a_judge_cut_off_on_the_disk_gets_a_sentence(nano, tmp_path):
    adapted(nano, 0)[0].save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match="holds no complete model"):
        VisualERM(str(tmp_path), PRESET, share_with=Chat(str(nano), PRESET))


def test_a_saved_adapter_and_merged_weights_give_the_same_verdict(nano, pair, tmp_path):
    model, processor = adapted(nano, 0)
    model.save_pretrained(tmp_path / "adapter")
    assert torch.equal(logits(*small(tmp_path / "adapter"), pair), logits(model, processor, pair))
    said = verdict(str(tmp_path / "adapter"), pair)
    assert said == verdict((model, processor), pair) != verdict(str(nano), pair)
    exact, _ = small(tmp_path / "adapter", quantize=False)  # 4 bits would round what is merged
    said, scores = verdict((exact, processor), pair), logits(exact, processor, pair)
    exact.merge_and_unload().save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    merged, processor = small(tmp_path / "merged", quantize=False)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert torch.allclose(logits(merged, processor, pair), scores, atol=1e-4)
    assert verdict((merged, processor), pair) == said


# --- the memory ---
def test_only_the_language_layers_are_small_and_train(nano):
    model, _ = adapted(nano, 0)
    linear = {name: type(layer).__name__ for name, layer in model.get_base_model().named_modules()
              if isinstance(layer, torch.nn.Linear) and "lora" not in name}
    small_ones = {name for name, kind in linear.items() if kind == "Linear4bit"}
    assert len(small_ones) == 2 * 7
    assert all(".language_model.layers." in name for name in small_ones)
    assert any("visual" in name for name in linear) and "lm_head" in linear
    state = model.get_base_model().get_submodule(min(small_ones)).weight.quant_state
    assert state.quant_type == "nf4" and state.nested  # double quantisation
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 7
    assert all("language_model" in name and "lora_" in name for name in trained)


def test_a_layer_regex_that_fits_nothing_gets_a_sentence(nano):
    with pytest.raises(InputError, match="'nowhere' names no layers"):
        add_adapter(small(nano)[0], PRESET | {"adapt": "nowhere"}, 4, "default")


def test_training_recomputes_layers_and_leaves_the_tower_alone(nano):
    """QLoRA with checkpointing: a language layer runs twice, the tower once and without a graph."""
    torch.manual_seed(0)
    settings = train_rl.Settings(model=str(nano), judge=str(nano), rank=4)
    policy, _ = train_rl.load_roles(settings, PRESET)
    model, calls, kept = policy.model, [], []
    base = model.get_base_model().model
    base.language_model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append("layer"))
    base.visual.blocks[1].mlp.register_forward_pre_hook(lambda *_: calls.append("tower"))
    base.visual.register_forward_hook(
        lambda _, __, out: kept.extend([out.pooler_output, *out.deepstack_features]))
    batch = rollout(model.eval(), policy.processor, draw_examples("svg", 1, 1, "0"), 2, PRESET, 1.0)
    del calls[:], kept[:]
    log_p = log_probs(model.train(), *batch, torch.arange(2), 2, 1.0)
    assert calls == ["tower", "layer"]
    log_p.sum().backward()
    assert calls == ["tower", "layer", "layer"]
    assert len(kept) == 3 and not any(t.requires_grad for t in kept)
    assert all(p.grad is not None for name, p in model.named_parameters() if ".policy." in name)


def test_a_step_reads_each_picture_once_to_sample_to_compare_and_to_learn(nano):
    """By the preset's and the flags' defaults, however many siblings there are."""
    settings = train_rl.Settings(model=str(nano), judge=str(nano), rank=4, num_generations=4,
                                 reward="ssim")
    preset = PRESET | {"sample_batch": 4}
    policy, judge, optimizer = speed_grpo.load_endless(settings, preset)
    calls, pictures = [], draw_examples("svg", 2, 1, "0")
    policy.model.get_base_model().model.visual.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(len(kwargs["grid_thw"])), with_kwargs=True)
    speed_grpo.timed_step(policy, judge, optimizer, pictures, settings, preset,
                          (pictures[0].code, pictures[1].code))
    assert calls == [1, 1, 2, 2]  # two rollouts of four programs, then both pictures at once


def test_adapters_compute_in_the_numbers_of_their_base(nano):
    """In bfloat16 beside float32: log p and gradients agree as far as bfloat16 goes."""
    found, seen = {}, []
    for dtype in (torch.float32, torch.bfloat16):
        model, processor = load_model(str(nano), quantize=True, dtype=dtype,
                                      max_pixels=PRESET["max_pixels"])
        torch.manual_seed(0)
        model = add_adapter(model, PRESET, 4, "default")
        for key, p in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(p, std=0.1)
            if "lora_" in key:
                assert p.dtype == torch.float32
        layer = model.get_base_model().model.language_model.layers[1].mlp.up_proj
        layer.lora_A["default"].register_forward_hook(lambda _, __, y: seen.append(y.dtype))
        if dtype == torch.float32:
            batch = rollout(model, processor, draw_examples("svg", 1, 1, "0"), 2, PRESET, 1.0)
            del seen[:]
        log_p = log_probs(model.train(), *batch, torch.arange(2), 2, 1.0)
        log_p.sum().backward()
        found[dtype] = log_p.detach(), layer.lora_A["default"].weight.grad
        assert set(seen) == {dtype}
        del seen[:]
    (exact, true), (near, gradient) = found.values()
    assert gradient.dtype == torch.float32 and torch.allclose(exact, near, atol=0.1)
    assert 0 < (gradient - true).norm() < 0.1 * true.norm()


def test_an_answer_leaves_the_gradients_of_4_bits_as_they_were(nano):
    """On CPUs with AVX512-BF16 bitsandbytes packs the weights for an answer, and packed ones let no
    gradient through.
    """
    torch.manual_seed(0)
    (model, processor), pictures = adapted(nano, 0), draw_examples("svg", 1, 1, "0")
    torch.manual_seed(1)
    (other, _), gradients = adapted(nano, 0), []
    other.load_state_dict(model.state_dict(), strict=False)
    batch = rollout(model, processor, pictures, 2, PRESET, 1.0)  # only `model` answers
    for one in (other, model):
        log_probs(one.train(), *batch, torch.arange(2), 2, 1.0).sum().backward()
        gradients.append({name: p.grad for name, p in one.named_parameters() if p.requires_grad})
    assert len(gradients[0]) == 2 * 2 * 7
    for name, gradient in gradients[0].items():
        assert gradient.norm() > 0 and torch.allclose(gradient, gradients[1][name], rtol=1e-4), name


def test_the_cache_holds_what_transformers_own_does():
    """Prompts, repeated rows, more tokens than there is room for, rows that leave; and few copies.
    """
    torch.manual_seed(0)
    ours, theirs, copies = growing_cache(), DynamicCache(), 0
    for step in range(2 * ROOM + 20):
        rows = 2 if not step else 6 if step < ROOM + 9 else 3
        new = torch.randn(2, rows, 4, 5 if not step else 1, 8)
        kept = ours.layers[0].keys.data_ptr() if step else 0
        for layer in range(2):
            for one, other in zip(ours.update(*new, layer), theirs.update(*new, layer)):
                assert torch.equal(one, other)
        copies += kept != ours.layers[0].keys.data_ptr()
        for cache in (ours, theirs):
            if not step:
                cache.batch_repeat_interleave(3)
            if step == ROOM + 8:
                cache.batch_select_indices(torch.tensor([5, 0, 2]))
    assert ours.get_seq_length() == 2 * ROOM + 24 and copies == 5


@pytest.mark.parametrize("chunk", [1, 7])
def test_log_probs_do_not_depend_on_the_chunk(nano, chunk):
    settings = train_rl.Settings(model=str(nano), judge=str(nano), rank=4)
    policy, _ = train_rl.load_roles(settings, PRESET)
    torch.manual_seed(0)
    batch = rollout(policy.model, policy.processor, draw_examples("svg", 1, 1, "0"), 2, PRESET, 1.0)
    with torch.no_grad():
        whole, parts = (log_probs(policy.model, *batch, torch.arange(2), 2, 1.0, size)
                        for size in (None, chunk))
    assert torch.allclose(whole, parts, atol=1e-5) and whole.abs().max() > 1


@pytest.mark.parametrize("flags, quantize, micro, adapt", [
    ([], True, 1, ".*language_model.*_proj"), (["--full"], False, 1, ".*language_model.*_proj"),
    (["--quantize", "False", "--micro", "4"], False, 4, ".*language_model.*_proj"),
    (["--adapt", "all-linear"], True, 1, "all-linear"),
    (["--preset", "tiny", "--batch", "8"], False, 8, "all-linear"),
])
def test_a_preset_is_enough(monkeypatch, tmp_path, capsys, flags, quantize, micro, adapt):
    seen = {}

    def stop(settings, preset):
        seen.update(preset, micro=settings.micro_batch_size)
        raise InputError("seen")

    monkeypatch.setitem(PRESETS, "8b", PRESET)
    monkeypatch.setattr(train_sft, "read_data", lambda *_: ([], []))
    monkeypatch.setattr(train_sft, "load", stop)
    assert train_sft.main(["--preset", "8b", "--out", str(tmp_path), *flags]) == 2
    assert capsys.readouterr().err.endswith("seen\n")
    assert (seen["quantize"], seen["micro"], seen["adapt"]) == (quantize, micro, adapt)
    assert PRESETS["8b"] == PRESET  # the table itself is not touched


@pytest.mark.parametrize("flags, words", [
    (["--full", "--quantize"], "4 bits cannot hold"),
    (["--micro", "3"], "does not divide --batch 32"),
])
def test_contradictions_get_a_sentence(tmp_path, capsys, flags, words):
    assert train_sft.main(["--out", str(tmp_path), *flags]) == 2
    assert words in capsys.readouterr().err


def test_the_adapter_of_a_4_bit_base_trains_in_float32(nano, tmp_path):
    settings = train_sft.Settings(model=str(nano), out=str(tmp_path), rank=4, micro_batch_size=1,
                                  batch=1, steps=1)
    model, processor = train_sft.load(settings, PRESET)
    train_sft.make_trainer(model, processor, [None], [], settings, PRESET)  # it reads no pair yet
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_a_timed_step_is_one_of_train_rl(nano):
    """It samples whole programs, shows the judge the given one, and moves the adapter."""
    settings = train_rl.Settings(model=str(nano), judge=str(nano), rank=4, num_generations=2,
                                 micro_batch_size=1)
    policy, _, optimizer = speed_grpo.load_endless(settings, PRESET)
    example, other = draw_examples("svg", 2, 1, "0")
    _, _, mask = rollout(policy.model.eval(), policy.processor, [example], 2, PRESET, 1.0)
    assert mask.shape == (2, PRESET["code_tokens"]) and mask.all()
    shown = []

    class Judge:
        def judge(self, pairs):
            shown.extend(pairs)
            error = Discrepancy("shape_error", 1, "all", "moved")
            return [Verdict("svg"), Verdict("svg", [error])]

    weights = optimizer.param_groups[0]["params"]
    before = [weight.detach().clone() for weight in weights]
    found = speed_grpo.timed_step(policy, Judge(), optimizer, [example], settings, PRESET,
                                  (other.code,))
    parts = [found[f"{part}_s"] for part in ("sample", "reference", "judge", "update")]
    assert min(parts) > 0 and sum(parts) == pytest.approx(found["s"])
    assert found["grad_norm"] > 0 == found["zero_std_groups"]
    drawn = render("svg", other.code, size=example.size).image  # in no style of its own
    assert shown == [("svg", example.image, drawn)] * 2
    assert not all(torch.equal(one, now) for one, now in zip(before, weights))
