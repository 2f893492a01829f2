"""The stages of data/experiments/speed_gpu.py: what each measures, in a process that does several.

A stage is a function of a `Bench` and of the plan's arguments; it writes rows. The models are
loaded by the project's own functions; only the reading of weights from files is left out: they are
drawn on the device (`draw_weights`).
"""
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from data import models
from data.experiments import checkpoint
from data.pairs import Example, Pair, Picture, read_pairs
from data.renderers.scene import RenderError, Rendering
from data.verdict import Discrepancy, InputError, Verdict

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
PRESET = {"nano": "8b", "2b": "2b", "4b": "4b", "8b": "8b"}  # by shape
SVG = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 100'>"
# One that renders and one that does not: their rewards differ, or the gradient would be 0.
PROGRAMS = f"{SVG}<rect x='10' y='10' width='50' height='40' fill='red'/></svg>", f"{SVG}<rect"


def synchronize() -> None:
    """Wait until the GPU has done what it was told."""
    if CUDA:
        torch.cuda.synchronize()


def seconds_of(work: Callable, repeat: int = 1) -> float:
    """Seconds of one call, the mean of `repeat`."""
    synchronize()
    began = time.perf_counter()
    for _ in range(repeat):
        work()
    synchronize()
    return (time.perf_counter() - began) / repeat


def noise(seed: int, side: int) -> Image.Image:
    """A picture in which no two patches are alike."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (side, side, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def examples(n: int, side: int) -> list[Example]:
    """Pictures to draw again."""
    return [Example("svg", noise(i, side), side) for i in range(n)]


# --- 1. the model and its memory ---


def draw_weights(folder: Path) -> None:
    """From now on a model in `folder` gets its weights from a generator on the device.

    It goes through data.models.load_model, so through `from_pretrained` and into 4 bits, as any
    other. All 16-bit weights are on the device for a moment: set the limit of its memory later.
    """
    class Drawn(Qwen3VLForConditionalGeneration):
        @classmethod
        def from_pretrained(cls, base, **options):
            if Path(base).resolve() != folder.resolve():
                return Qwen3VLForConditionalGeneration.from_pretrained(base, **options)
            config = Qwen3VLConfig.from_pretrained(base)
            generator = torch.Generator(device=DEVICE).manual_seed(0)
            state = {name: checkpoint.random_weights(name, shape, generator)
                     for name, shape in checkpoint.tensors(config).items()}
            model = Qwen3VLForConditionalGeneration.from_pretrained(
                None, config=config, state_dict=state, **options)
            model.name_or_path = model.config._name_or_path = str(base)
            model.generation_config = GenerationConfig.from_pretrained(base)
            return model

    models.Qwen3VLForConditionalGeneration = Drawn


def make_adapter(folder: Path, preset: dict, out: Path, rank: int = 64) -> None:
    """Write a judge's adapter with random weights, without the base in memory."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    with torch.device("meta"):
        base = Qwen3VLForConditionalGeneration(Qwen3VLConfig.from_pretrained(folder))
        model = models.add_adapter(base, preset, rank, "default")
    weights = {}
    for name, p in get_peft_model_state_dict(model).items():
        weights[name] = 0.01 * torch.randn(p.shape, dtype=torch.bfloat16)
    out.mkdir(exist_ok=True)
    save_file(weights, out / "adapter_model.safetensors")
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = str(folder), True
    config.save_pretrained(out)


class Bench:
    """A process that measures: its model, the limit of its memory, its rows."""

    def __init__(self, shape: str, work: Path, report: Callable[[dict], None]):
        self.shape, self.work, self.report = shape, work, report
        self.preset = models.PRESETS[PRESET[shape]] | {"tries": 1}  # nonsense is unreadable
        self.folder, self.stage, self.name, self.loaded = work / "model", "", None, None
        if not (work / "judge" / "adapter_config.json").is_file():  # written last
            self.folder.mkdir(exist_ok=True)
            checkpoint.write_folder(shape, self.folder)
            make_adapter(self.folder, self.preset, work / "judge")
        draw_weights(self.folder)

    def row(self, **found: object) -> None:
        """Report a row of the running stage."""
        self.report({"stage": self.stage} | found)

    def memory(self) -> dict:
        """GB of the GPU: what tensors took at most since the limit was set, and what was held."""
        if not CUDA:
            return {"peak_gb": ""}
        return {"peak_gb": f"{torch.cuda.max_memory_allocated() / 1e9:.2f}",
                "held_gb": f"{torch.cuda.max_memory_reserved() / 1e9:.2f}"}

    def limit(self, card: int | None) -> None:
        """From now on PyTorch may take no more than a card of `card` decimal GB has.

        (24 GB: the 24 GiB of a card less what its driver and a screen take.) Peaks count anew.
        """
        gc.collect()
        if CUDA:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            total = torch.cuda.get_device_properties(0).total_memory
            share = card * 1e9 / total if card else 1.0
            torch.cuda.set_per_process_memory_fraction(min(1.0, share))

    def load(self, name: tuple, make: Callable) -> object:
        """What `make` gives, kept under `name`; what was kept under another name is let go."""
        if self.name != name:
            self.name = self.loaded = None
            self.limit(None)
            took = seconds_of(lambda: setattr(self, "loaded", make()))
            self.name = name
            resident = torch.cuda.memory_allocated() / 1e9 if CUDA else 0
            self.report({"stage": "load", "what": " ".join(map(str, name)), "s": f"{took:.1f}",
                         "resident_gb": f"{resident:.2f}" if CUDA else ""})
        return self.loaded

    def training(self, quantize: bool = True) -> tuple:
        """(model, processor) of train_sft.py."""
        import train_sft

        settings = train_sft.Settings(model=str(self.folder))
        preset = self.preset | {"quantize": quantize}
        model, processor = self.load(("training", "4 bits" if quantize else "16 bits"),
                                     lambda: train_sft.load(settings, preset))
        model.get_base_model().set_attn_implementation("sdpa")  # on a CPU, too
        return model, processor

    def roles(self) -> tuple:
        """(policy, judge, optimizer) of train_rl.py; the judge is an adapter of the same base."""
        import train_rl
        from data.experiments.speed_grpo import load_endless

        settings = train_rl.Settings(model=str(self.folder), judge=str(self.work / "judge"))
        return self.load(("roles",), lambda: load_endless(settings, self.preset))

    def fits(self, measure: Callable[[], dict], **key: object) -> bool:
        """Report a row of `key` and of what `measure` gives; False: the memory was full."""
        if not CUDA and "card_gb" in key:
            key["card_gb"] = ""  # there is no limit
        try:
            found = measure()
        except torch.OutOfMemoryError as error:
            self.row(**key, note="out of memory", why=" ".join(str(error).split())[:160])
            return False
        finally:
            if self.loaded:
                for p in self.loaded[0].parameters() if self.name[0] == "training" else ():
                    p.grad = None
        self.row(**key, **found, **self.memory())
        return True

    def profile(self, what: str, work: Callable) -> None:
        """Report how busy the device is in `work` and which kernels take its time.

        Recording takes time as well: `device_s` over the seconds that other rows have is the share.
        """
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * CUDA
        with profile(activities=activities) as recorded:
            took = seconds_of(work)
        column = "self_device_time_total" if CUDA else "self_cpu_time_total"
        shares = [(getattr(one, column) / 1e6, one.count, one.key)
                  for one in recorded.key_averages() if getattr(one, column) > 0]
        total = sum(share for share, _, _ in shares)
        self.report({"stage": "where", "of": what, "s": f"{took:.2f}", "device_s": f"{total:.2f}",
                     "kernels": sum(count for _, count, _ in shares)})
        for share, count, key in sorted(shares, reverse=True)[:8]:
            self.report({"stage": "where", "of": what, "device_s": f"{share:.3f}",
                         "kernels": count, "name": " ".join(key.split())[:80].replace("|", "/")})


# --- 2. the machine ---


def check(bench: Bench, side: int, rows: tuple[int, ...]) -> None:
    """Versions, matrix rate, bandwidth, and the product of 4-bit weights beside float64.

    The layer is 4096 units in and, on a GPU, 12288 out; `rows` are the tokens that it gets.
    """
    import bitsandbytes
    import peft
    import transformers
    import trl

    one, other = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    one @ other
    product = 2 * side ** 3 / seconds_of(lambda: one @ other, 10)
    large = torch.empty(2 ** (31 if CUDA else 24), dtype=torch.uint8, device=DEVICE)
    large.clone()
    copied = 2 * large.numel() / seconds_of(large.clone, 10)  # read and written
    del large
    layer = bitsandbytes.nn.Linear4bit(
        4096, 12288 if CUDA else 256, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4",
        compress_statistics=True).to(DEVICE)
    exact = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    exact = exact.double()

    def error(found, true):
        found = found.detach().double()
        return f"{float((found - true).norm() / true.norm()):.1e}"

    for n in rows:
        x = torch.randn(n, 4096, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
        y = layer(x)
        up = torch.randn_like(y)
        y.backward(up)
        with torch.no_grad():
            took = seconds_of(lambda: layer(x), 20)
        bench.row(tokens=n, us=f"{1e6 * took:.0f}", error=error(y, x.detach().double() @ exact.T),
                  backward_error=error(x.grad, up.double() @ exact))
    bench.stage = "machine"
    bench.row(bf16_tflops=f"{product / 1e12:.1f}", copy_tb_s=f"{copied / 1e12:.2f}",
              cores=os.cpu_count(), python=sys.version.split()[0], torch=torch.__version__,
              transformers=transformers.__version__, peft=peft.__version__, trl=trl.__version__,
              bitsandbytes=bitsandbytes.__version__)


# --- 3. judge training ---


def _trainer(bench: Bench, pairs: list[Pair], work: str, **settings) -> tuple:
    """(trainer of train_sft.py, seconds of its steps so far: a list that grows)."""
    from transformers import TrainerCallback

    import train_sft

    times = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            synchronize()
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            synchronize()
            times.append(time.perf_counter() - self.began)

    model, processor = bench.loaded
    settings = train_sft.Settings(model=str(bench.folder), out=str(bench.work / work), read=0.0,
                                  log_every=1, save_every=1000, **settings)
    preset = bench.preset | {"quantize": "4 bits" in bench.name}
    return train_sft.make_trainer(model, processor, pairs, [Clock()], settings, preset), times


def sft(bench: Bench, card: int, at_once: tuple[int, ...], side: int, length: int) -> None:
    """A step of train_sft.py: so many pairs of two pictures of `side` px, `length` tokens each."""
    from data.samples import judge_sample, training_batch

    model, processor = bench.training()
    pictures = [Picture(bench.work / f"{number}-{side}.png") for number in range(2)]
    for number, picture in enumerate(pictures):
        noise(number, side).save(picture.path)
    text = "x9" * (max(2, length - 16) // 2)  # two tokens each; the JSON around them has 16
    truth = Verdict("svg", [Discrepancy("shape_error", 1, "all", text)])
    pair = Pair("svg", *pictures, truth, id="a", family="a")
    mask = training_batch(processor, [judge_sample(pair)])["attention_mask"]
    steps = 3 if CUDA else 2  # the first makes Adam's moments

    def measure(n):
        trainer, times = _trainer(bench, [pair] * n, "sft", batch=n, micro_batch_size=n,
                                  steps=steps)
        trainer.train()
        took = statistics.median(times[1:])
        return {"s_step": f"{took:.2f}", "tokens_s": f"{n * int(mask.sum()) / took:.0f}"}

    for n in at_once:
        bench.limit(card)
        if not bench.fits(lambda: measure(n), card_gb=card, at_once=n, tokens=int(mask.sum())):
            return
    if at_once[0] == 1:
        trainer, _ = _trainer(bench, [pair], "sft", batch=1, micro_batch_size=1, steps=1)
        bench.profile("sft", trainer.train)


def losses(bench: Bench, quantize: bool, pairs: int, steps: int) -> None:
    """The losses of train_sft.py on a few shipped pairs: are they finite, and do they fall?"""
    bench.training(quantize)
    bench.limit(None)
    toy = read_pairs("data/bench")[:pairs]
    trainer, times = _trainer(bench, toy, "losses", batch=pairs, micro_batch_size=pairs,
                              steps=steps, lr=1e-3)
    trainer.train()
    found = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    part = max(1, len(found) // 3)
    finite = bool(torch.isfinite(torch.tensor(found)).all())
    bench.row(bits=4 if quantize else 16, finite=finite,
              falling=statistics.mean(found[-part:]) < statistics.mean(found[:part]),
              s_step=f"{statistics.median(times):.2f}", **bench.memory(),
              losses=" ".join(f"{loss:.3f}" for loss in found))


# --- 4. reinforcement learning and judging ---


def decode(bench: Bench, card: int, at_once: tuple[int, ...], side: int, tokens: int) -> None:
    """Milliseconds a token of engine.rollout, with and without adapters: is the device idle?"""
    from data.engine import rollout

    policy, _, _ = bench.roles()
    model, picture = policy.model.eval(), examples(1, side)

    def sample(n, length):
        preset = bench.preset | {"code_tokens": length, "sample_batch": n}
        rollout(model, policy.processor, picture, n, preset, 1.0)

    def each_token(n):
        few = tokens // 5
        sample(n, few)
        took = [seconds_of(lambda: sample(n, length)) for length in (few, tokens)]
        return (took[1] - took[0]) / (tokens - few)

    def measure(n):
        took = each_token(n)
        with model.disable_adapter():
            bare = each_token(n)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=CUDA):
            cast = each_token(n)
        return {"ms_token": f"{1e3 * took:.1f}", "without_adapters": f"{1e3 * bare:.1f}",
                "with_autocast": f"{1e3 * cast:.1f}", "tokens_s": f"{n / took:.0f}"}

    for n in at_once:
        bench.limit(card)
        if not bench.fits(lambda: measure(n), card_gb=card, at_once=n):
            break
    bench.profile(f"{max(2, tokens // 5)} tokens of {at_once[0]} programs",
                  lambda: sample(at_once[0], max(2, tokens // 5)))


def logp(bench: Bench, card: int, group: int, side: int, length: int) -> None:
    """Forward and backward of engine.log_probs: siblings in one sequence, and one by one."""
    from data.engine import log_probs, rollout

    policy, _, optimizer = bench.roles()
    model, words, found = policy.model, bench.preset | {"code_tokens": 1}, {}
    inputs, first, _ = rollout(model.eval(), policy.processor, examples(1, side), group, words, 1.0)
    generator = torch.Generator().manual_seed(0)
    answers = torch.randint(10, 200, (group, length), generator=generator).to(first.device)
    mask = torch.ones_like(answers)

    def both_ways(size):
        model.train()
        parts = torch.arange(group, device=answers.device).split(size)
        kept = []
        for rows in parts:
            log_p = log_probs(model, inputs, answers, mask, rows, group, 1.0)
            log_p.sum().backward()
            kept.append(log_p.detach())
        optimizer.zero_grad()
        found[size] = torch.cat(kept)

    def measure(size):
        both_ways(size)
        return {"s": f"{seconds_of(lambda: both_ways(size)):.2f}"}

    for size in (1, group):
        bench.limit(card)
        bench.fits(lambda: measure(size), card_gb=card, siblings=size, group=group, length=length,
                   prompt=inputs["input_ids"].shape[1])
    if len(found) == 2:
        difference = (found[1] - found[group]).abs()
        bench.row(largest_difference=f"{difference.max():.1e}", mean=f"{difference.mean():.1e}",
                  log_p=f"{found[1].mean():.2f}")
        bench.profile("log p and its gradient", lambda: both_ways(group))


def grpo(bench: Bench, card: int, prompts: int, group: int, side: int, length: int,
         at_once: tuple[tuple[int, int], ...]) -> None:
    """A step of train_rl.py; verdicts have half the length of programs.

    `at_once`: so many programs are sampled and verdicts written at once; the first that fit.
    """
    import train_rl
    from data.experiments.speed_grpo import timed_step

    policy, judge, optimizer = bench.roles()
    if why := cannot_draw():
        bench.row(note=f"Nothing can be drawn here, noise stands in: {why}")
        train_rl.draw_alike = draw_noise
    settings = train_rl.Settings(prompts_per_step=prompts, num_generations=group)
    pictures = examples(prompts, side)

    def measure(sample, judged):
        preset = bench.preset | {"code_tokens": length, "verdict_tokens": max(1, length // 2),
                                 "sample_batch": sample, "judge_batch": judged}
        policy.preset = judge.preset = preset
        judge.model.generation_config.min_new_tokens = preset["verdict_tokens"]
        found = timed_step(policy, judge, optimizer, pictures, settings, preset, PROGRAMS)
        shown = {name: f"{found[name]:.1f}" for name in
                 ("s", "sample_s", "reference_s", "judge_s", "update_s")}
        return shown | {"tokens_s": f"{prompts * group * length / found['s']:.0f}",
                        "grad_norm": f"{found['grad_norm']:.2e}",
                        "equal_groups": found["zero_std_groups"]}

    for sample, judged in at_once:
        bench.limit(card)
        if bench.fits(lambda: measure(sample, judged), card_gb=card, length=length,
                      programs=f"{prompts} x {group}", sampled=sample, judged=judged):
            return
        optimizer.zero_grad()


def cannot_draw() -> str:
    """Why no picture can be drawn on this machine, or ""."""
    import render

    try:
        render.render("svg", PROGRAMS[0], size=32)
        return ""
    except (InputError, RenderError) as error:
        return str(error)[:160]


def draw_noise(pictures: list[Example], codes: list[str]) -> list[Rendering | RenderError]:
    """For machines that cannot draw: a picture for each program but those that are cut off."""
    return [Rendering(noise(i, one.size), {}) if code == PROGRAMS[0]
            else RenderError("syntax", "it is cut off")
            for i, (one, code) in enumerate(zip(pictures, codes))]


def judge(bench: Bench, card: int, at_once: tuple[int, ...], side: int, length: int) -> None:
    """VisualERM.judge: so many pairs of pictures of `side` px at once, `length` tokens each."""
    policy, erm, _ = bench.roles()
    policy.model.eval()

    def measure(n):
        pairs = [("svg", noise(2 * i, side), noise(2 * i + 1, side)) for i in range(n)]
        erm.preset = bench.preset | {"verdict_tokens": length, "judge_batch": n}
        erm.model.generation_config.min_new_tokens = length
        took = seconds_of(lambda: erm.judge(pairs))
        return {"s": f"{took:.1f}", "ms_token": f"{1e3 * took / length:.1f}",
                "tokens_s": f"{n * length / took:.0f}"}

    for n in at_once:
        bench.limit(card)
        if not bench.fits(lambda: measure(n), card_gb=card, at_once=n, length=length):
            return


# --- 5. small models ---


def tiny(bench: Bench, at_once: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """A training step of models of the tiny design, so many times as wide, batch on the device."""
    from data.samples import judge_sample, training_batch
    from data.tiny.__main__ import answer_loss, make_model

    bench.name = bench.loaded = None
    processor = models.load_processor("data/tiny/base", max_pixels=128 * 128)
    pairs = read_pairs("data/bench")
    for width in widths:
        config = make_model(processor.tokenizer).config
        for part, names in ((config.text_config, ("num_attention_heads", "num_key_value_heads")),
                            (config.vision_config, ("num_heads", "out_hidden_size"))):
            for name in ("hidden_size", "intermediate_size", *names):
                setattr(part, name, width * getattr(part, name))
        model = Qwen3VLForConditionalGeneration(config).to(DEVICE).train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=CUDA)

        def step(batch):
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=models.has_bfloat16(DEVICE)):
                loss = answer_loss(model, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        def measure(n):
            samples = [judge_sample(pairs[i % len(pairs)]) for i in range(n)]
            batch = training_batch(processor, samples).to(DEVICE)
            step(batch)
            took = seconds_of(lambda: step(batch), 5 if CUDA else 1)
            return {"ms_step": f"{1e3 * took:.1f}", "samples_s": f"{n / took:.0f}"}

        weights = sum(p.numel() for p in model.parameters()) / 1e6
        for n in at_once:
            bench.limit(None)
            bench.fits(lambda: measure(n), millions=f"{weights:.1f}", at_once=n)


STAGES = {one.__name__: one for one in (check, sft, losses, decode, logp, grpo, judge, tiny)}
