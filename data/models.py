"""Models: presets, checkpoints, adapters, devices, and `Chat`, which answers conversations."""
import json
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoTokenizer, BitsAndBytesConfig, Qwen3VLForConditionalGeneration
from transformers import Qwen3VLProcessor as HubProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionPatchEmbed
from transformers.processing_utils import ProcessorMixin
from transformers.utils import logging as transformers_logging

from data.cache import growing_cache
from data.prompts import split_prompts
from data.recogniser import RAPID_TABLE, RapidTable
from data.runs import say
from data.server import Server, is_url
from data.verdict import InputError, in_one_line

# --- 1. presets ---

HERE = Path(__file__).resolve().parent.parent
# What a folder that is no whole model raises.
BROKEN = OSError, ValueError, KeyError, RuntimeError, SafetensorError
# One preset a scale; scripts print the one they use.
#   canvas        images are put on a white square of so many px; None: they stay as they are, and
#                 the model's own bound on pixels is lowered to max_pixels
#   code_tokens, verdict_tokens       the longest answer
#   sample_batch, judge_batch         programs sampled and verdicts written at once
#   micro_batch_size                  pairs in memory at once when a judge is trained
#   adapt         layers that an adapter trains: "all-linear" or a regular expression
#   quantize      the base in 4 bits
#   tries         how often an unreadable verdict is asked for in all
#   smallest      px of the longer side to which refine.py enlarges a picture: a rendering is never
#                 drawn larger than its reference, and a table's letters must stay legible
#   gpu           GB of GPU memory needed: estimates, from weights and caches; nobody measured them
LANGUAGE_LAYERS = r".*language_model.*_proj"
READ = "read:"  # before the name of a judge that reads, then measures (data/reading.py)
PRESETS = {
    "tiny": dict(
        model="data/tiny/base", judge="data/tiny/judge", canvas=128, max_pixels=128 * 128,
        code_tokens=256, verdict_tokens=512, sample_batch=64, judge_batch=64, micro_batch_size=32,
        adapt="all-linear", quantize=False, tries=1, gpu=0,
        smallest=1),
    "2b": dict(
        model="Qwen/Qwen3-VL-2B-Instruct", judge="internlm/Visual-ERM", canvas=None,
        max_pixels=1024 * 1024, code_tokens=4096, verdict_tokens=4096, sample_batch=16,
        judge_batch=8, micro_batch_size=4, adapt=LANGUAGE_LAYERS, quantize=True, tries=2, gpu=16,
        smallest=1),
    "4b": dict(
        model="Qwen/Qwen3-VL-4B-Instruct", judge="internlm/Visual-ERM", canvas=None,
        max_pixels=1024 * 1024, code_tokens=4096, verdict_tokens=4096, sample_batch=16,
        judge_batch=8, micro_batch_size=2, adapt=LANGUAGE_LAYERS, quantize=True, tries=2, gpu=24,
        smallest=1),
    "8b": dict(
        model="Qwen/Qwen3-VL-8B-Instruct", judge="internlm/Visual-ERM", canvas=None,
        max_pixels=1024 * 1024, code_tokens=4096, verdict_tokens=4096, sample_batch=16,
        judge_batch=8, micro_batch_size=1, adapt=LANGUAGE_LAYERS, quantize=True, tries=2, gpu=24,
        smallest=1),
    "table": dict(
        model=RAPID_TABLE, judge=READ + RAPID_TABLE, canvas=None, max_pixels=1024 * 1024,
        code_tokens=4096, verdict_tokens=4096, sample_batch=16, judge_batch=8, micro_batch_size=1,
        adapt="all-linear", quantize=False, tries=1, gpu=0, smallest=1024),
}


def choose_preset(name: str, *, anywhere: bool = False) -> dict:
    """The preset `name`, printed.

    Raises InputError: there is no such preset, or no GPU for it (unless it runs `anywhere`).
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    if preset["gpu"] and not anywhere and not torch.cuda.is_available():
        raise InputError(f"The preset {name} needs a GPU of {preset['gpu']} GB and PyTorch finds "
                         "none here; take the preset tiny or a judge behind a URL.")
    say(f"preset {name}: " + ", ".join(f"{key}={value}" for key, value in preset.items()))
    return preset


def preset_for(name: str, *models: str) -> dict:
    """The preset `name` or, if that is "", tiny if all `models` are folders here, else 8b; printed.

    `models`: folders, hub names or URLs; "" stands for the preset's own model. With rapid-table
    among them it is table: pictures stay as large as they are.
    Raises InputError as `choose_preset`.
    """
    models = [split_prompts(model or "")[0] for model in models]
    named = [model.removeprefix(READ) for model in models if model]
    if RAPID_TABLE in named:
        return choose_preset(name or "table")
    remote = list(map(is_url, named))
    big = any(far or not Path(find_folder(model)).is_dir() for model, far in zip(named, remote))
    everywhere = all(remote) and len(named) == len(models)
    return choose_preset(name or ("8b" if big else "tiny"), anywhere=everywhere)


class Qwen3VLProcessor(HubProcessor):
    """Qwen3-VL's processor for text and images, without the video part, which needs torchvision.

    It keeps the official name: other programs open a folder it saved with the official class.
    """

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **_):
        for name in ("image_pad", "video_pad", "vision_start", "vision_end"):
            key, token = name.removesuffix("_pad"), f"<|{name}|>"
            setattr(self, f"{key}_token", token)
            setattr(self, f"{key}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    def save_pretrained(self, save_directory: Path | str, **kwargs) -> None:
        """As usual, plus the settings of the video part, which the official class asks for."""
        super().save_pretrained(save_directory, **kwargs)
        shared = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std",
                  "size")
        settings = self.image_processor.to_dict()
        video = {key: value for key, value in settings.items() if key in shared}
        video["video_processor_type"] = "Qwen3VLVideoProcessor"
        file = Path(save_directory, "video_preprocessor_config.json")
        file.write_text(json.dumps(video, indent=2) + "\n")


# --- 2. loading ---


def embed_patches(self: Qwen3VLVisionPatchEmbed, patches: torch.Tensor) -> torch.Tensor:
    """Patches (N, C * T * P * P) -> (N, D): a convolution whose stride is its kernel is a product.

    As a convolution in bfloat16 its backward pass alone is 40 % of the tiny model's step on a CPU.
    """
    weight = self.proj.weight.flatten(1)  # (D, C * T * P * P)
    return torch.nn.functional.linear(patches.to(weight.dtype), weight, self.proj.bias)


Qwen3VLVisionPatchEmbed.forward = embed_patches


def load_processor(name: str, *, max_pixels: int | None = None) -> Qwen3VLProcessor:
    """The processor of a Qwen3-VL checkpoint (folder or hub name); it pads on the left.

    `max_pixels` lowers the image processor's own bound on width x height. Raises InputError.
    """
    name = find_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        images = Qwen2VLImageProcessorPil.from_pretrained(name)
        template = tokenizer.chat_template
        if not template:
            template = Qwen3VLProcessor.get_processor_dict(name)[0].get("chat_template")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(why_not(name, error)) from error
    # These "edges" are numbers of pixels, width x height.
    longest = min(images.size["longest_edge"], max_pixels or images.size["longest_edge"])
    shortest = min(images.size["shortest_edge"], longest)
    images.size = {"longest_edge": longest, "shortest_edge": shortest}
    return Qwen3VLProcessor(images, tokenizer, chat_template=template)


def load_model(name: str, *, quantize: bool = False, device: torch.device | str | None = None,
               dtype: torch.dtype | None = None, max_pixels: int | None = None) -> tuple:
    """(model, processor) of a Qwen3-VL checkpoint: a folder, a hub name or a LoRA adapter.

    `quantize`: 4-bit NF4 with double quantisation; the vision tower and the output layer stay as
    they are. A folder with adapter_config.json becomes a peft model on its base. Raises InputError.
    """
    device, dtype = choose_device(device, dtype)
    base, adapter = base_of(name)
    options = {}
    if Path(base).is_dir():  # "Loading weights" is for those who wait for a download
        transformers_logging.disable_progress_bar()
    if quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=["model.visual", "lm_head"])
    try:
        model = Qwen3VLForConditionalGeneration.from_pretrained(
            base, dtype=dtype, device_map={"": device}, **options)
        for layer in model.modules() if quantize else ():
            # Else the first answer on a CPU packs the weights, and no gradient passes them after.
            layer.support_avx512bf16_for_cpu = False
        if adapter:
            from peft import PeftModel  # only here: most runs need no adapter

            model = PeftModel.from_pretrained(model, adapter)
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, but nothing is wrong with the folder
    except BROKEN as error:
        raise InputError(why_not(base, error)) from error
    processor = adapter if adapter and Path(adapter, "tokenizer_config.json").is_file() else base
    return model.eval(), load_processor(processor, max_pixels=max_pixels)


def base_of(name: str) -> tuple[str, str | None]:
    """(folder or hub name of the base, folder of the LoRA adapter or None). Raises InputError."""
    name = find_folder(name)
    config = Path(name, "adapter_config.json")
    if not config.is_file():
        return name, None
    try:
        base = json.loads(config.read_text())["base_model_name_or_path"]
        return find_folder(base, beside=Path(name)), name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(why_not(name, error)) from error


def trainable(name: str, preset: dict, adapter: str = "") -> str:
    """The model that training begins with: `name`, else the base of `adapter`, else the preset's.

    Raises InputError for an adapter in the place of the model, the other way round, and URLs.
    """
    if is_url(name or adapter):
        raise InputError(f"A model behind a URL cannot be trained: {name or adapter}; give a "
                         "folder or a hub name.")
    if adapter:
        base, found = base_of(adapter)
        if not found:
            raise InputError(f"--adapter {adapter} holds no adapter (adapter_config.json); weights "
                             "of a whole model are given as --model.")
        name = name or base
    name = name or preset["model"]
    base, found = base_of(name)
    if found:
        raise InputError(f"{name} is an adapter, and --model is a model that has weights of its "
                         f"own; give its base, {base}, to go on with --adapter {name}, or merge "
                         "them first (python -m data.merge).")
    return name


def add_adapter(model: torch.nn.Module, preset: dict, rank: int, name: str,
                folder: str = "") -> torch.nn.Module:
    """`model` as a peft model with a LoRA adapter `name`: a new one, or that of `folder`.

    A new one is of `rank`, on the preset's layers. Only the adapter is trained. Raises InputError
    if there are no such layers, or the adapter is broken or of another base.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if folder:
        try:
            return PeftModel.from_pretrained(model, find_folder(folder), adapter_name=name,
                                             is_trainable=True)
        except BROKEN as error:
            raise InputError(why_not(folder, error)) from error
    lora = LoraConfig(r=rank, lora_alpha=rank, target_modules=preset["adapt"])
    try:
        return get_peft_model(model, lora, adapter_name=name)
    except (ValueError, re.error) as error:
        raise InputError(f"{preset['adapt']!r} names no layers that an adapter can train "
                         f"({in_one_line(error)}).") from error


@contextmanager
def reference_policy(model: torch.nn.Module) -> Iterator[None]:
    """The peft `model` as the reference policy of Eq. 6: what the policy was when training began.

    That is the base with all adapters off, or with its frozen adapter "reference" on.
    """
    if "reference" not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.set_adapter("reference", inference_mode=True)
    try:
        yield
    finally:
        model.set_adapter("policy")


def choose_device(device: torch.device | str | None = None,
                  dtype: torch.dtype | None = None) -> tuple[torch.device, torch.dtype]:
    """The device and number format for the whole program, printed with the reason."""
    gpu, why = None, "as asked"
    if torch.cuda.is_available():
        gpu = "cuda"
    elif torch.backends.mps.is_available():
        gpu = "mps"
    if not device:
        why = "a GPU was found" if gpu else "no GPU was found"
    device = torch.device(device or gpu or "cpu")
    if device.type == "cuda" and gpu != "cuda":
        raise InputError(f"The device {device} was asked for, but PyTorch finds no CUDA GPU here; "
                         "leave it out.")
    if dtype is None and device.type != "cuda":
        dtype, why = torch.float32, why + ", so exact numbers"
    elif dtype is None and has_bfloat16(device):
        dtype, why = torch.bfloat16, why + " with bfloat16"
    elif dtype is None:  # in float16 small gradients are 0 and large activations infinite
        dtype, why = torch.float32, why + ", too old for bfloat16"
    say(f"device {device}, {str(dtype).removeprefix('torch.')}: {why}")
    return device, dtype


def peak_memory() -> float:
    """Highest memory use so far in GB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16. A CPU that emulates it takes 20 times as long."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


def find_folder(name: str, beside: Path | None = None) -> str:
    """A folder as given, or in the project's folder (or `beside` another), or a hub name.

    Raises InputError: it can be neither.
    """
    places = [Path(name), HERE / name]
    if beside:
        places += [beside / name, beside.parent / Path(name).name]
    for folder in places:
        if folder.is_dir():
            return str(folder)
    first = str(name).split("/")[0]  # data/..., runs/...
    local = any((folder / first).is_dir() for folder in (Path(), HERE))
    if local or str(name).startswith((".", "/", "~")) or str(name).count("/") != 1:
        raise InputError(f"There is no folder {name!r}; give a folder or a hub name such as "
                         f"{PRESETS['2b']['model']}.")
    return str(name)


def why_not(name: str, error: Exception) -> str:
    """The sentence for a model that could not be loaded."""
    if Path(name).is_dir():
        return (f"The folder {name!r} holds no complete model (config.json, *.safetensors, "
                f"tokenizer and processor): {in_one_line(error)}")
    return (f"The model {name!r} is no folder here and could not be fetched from the Hugging Face "
            f"hub ({type(error).__name__}); check the name and the network.")


# --- 3. answers ---


@torch.inference_mode()
def generate(model: torch.nn.Module, processor: ProcessorMixin, conversations: list, *,
             max_new_tokens: int, batch_size: int = 8, temperature: float = 0.0) -> list[str]:
    """Answers to `conversations` (lists of messages), in order; left-padded batches, a KV cache.

    temperature 0 takes the likeliest token.
    """
    tokenizer, answers = processor.tokenizer, []
    stop = {tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id} - {None}
    sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:  # a checkpoint may bring its own top_k; 0 switches it off
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    for start in range(0, len(conversations), batch_size):
        inputs = processor.apply_chat_template(
            conversations[start:start + batch_size], tokenize=True, add_generation_prompt=True,
            return_dict=True, return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"}).to(model.device)
        tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, use_cache=True,
                                past_key_values=growing_cache(),
                                eos_token_id=sorted(stop), pad_token_id=tokenizer.pad_token_id,
                                **sampling)  # (B, prompt + answer)
        answers += tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1]:],
                                          skip_special_tokens=True)
    return answers


def fit(image: Image.Image, canvas: int | None) -> Image.Image:
    """`image` in RGB at the top left of a white square of `canvas` px, shrunk if larger.

    canvas None: in RGB, as it is.
    """
    image = image.convert("RGB")
    if canvas is None or image.size == (canvas, canvas):
        return image
    square = Image.new("RGB", (canvas, canvas), "white")
    image.thumbnail((canvas, canvas), Image.Resampling.LANCZOS)
    square.paste(image)
    return square


def drawing_size(image: Image.Image, preset: dict) -> int | tuple[int, int]:
    """The `size` at which render() draws a program like `image`: the canvas, or the longer side."""
    canvas = preset["canvas"]
    return (canvas, canvas) if canvas else max(image.size)


class Chat:
    """A model that answers conversations.

        Chat("data/tiny/base").write([code_messages("svg", image)])  # -> [code]

    `model`: folder or hub name of a checkpoint or of a LoRA adapter, a pair (model, processor) that
    is loaded already, rapid-table, or the URLs of a `Server`. A server gets `workers` requests at
    once and has `timeout` seconds for each; those without a reply are repeated for `patience`
    seconds.
    `preset`: one of PRESETS. `share_with`: a Chat whose weights this one shares if both have the
    same base. Each then answers with its own adapter on, so that policy, reference and judge need
    the memory of one model. Raises InputError: no such model or server; a server that need not
    reply at once (`must_reply`) may be started later.
    """

    def __init__(self, model, preset: dict = PRESETS["tiny"], *, share_with: "Chat | None" = None,
                 workers: int = 8, timeout: float = 120.0, patience: float = 0.0,
                 must_reply: bool = True):
        self.preset, self.server, self.base, self.patience = preset, None, None, patience
        self.recogniser = None  # what cannot do more than read a table
        self.adapter = None  # to be on while it answers; "": none; None: as the model is
        self.tokens = 0  # written so far, stop tokens included
        self.prompts, self.reads = {}, False  # prompts: of a judge that has its own
        if isinstance(model, str):
            model, self.prompts = split_prompts(model)
            model = model or preset["judge"]
            self.reads = model.startswith(READ)
            model = model.removeprefix(READ)
        if not isinstance(model, str):
            self.model, self.processor = model
        elif is_url(model):
            self.server = Server(model, workers=workers, timeout=timeout,
                                 must_reply=must_reply)
        elif model == RAPID_TABLE:
            self.recogniser = RapidTable()
        else:
            self.base, adapter = base_of(model)
            if share_with and share_with.base and _same_folder(share_with.base, self.base):
                self._join(share_with, adapter)
            else:
                self.model, self.processor = load_model(model, quantize=preset["quantize"],
                                                        max_pixels=preset["max_pixels"])

    def _join(self, other: "Chat", adapter: str | None) -> None:
        """Take the weights of `other`, and add this Chat's adapter, if there is one, as "judge"."""
        from peft import PeftModel

        wrapped = isinstance(other.model, PeftModel)
        try:
            if wrapped and adapter:
                other.adapter = other.model.active_adapter
                other.model.load_adapter(adapter, adapter_name="judge")
                other.model.set_adapter(other.adapter)
            elif adapter:
                other.adapter = ""
                other.model = PeftModel.from_pretrained(other.model, adapter, adapter_name="judge")
                other.model.eval()
        except BROKEN as error:
            raise InputError(why_not(adapter, error)) from error
        self.model, self.processor = other.model, other.processor
        if adapter:
            self.adapter = "judge"
        elif wrapped:
            self.adapter = ""

    @contextmanager
    def _switched(self) -> Iterator[None]:
        """This Chat's adapter on, or all off; afterwards the model is as it was."""
        if self.adapter:
            before = self.model.active_adapter
            self.model.set_adapter(self.adapter)
            try:
                yield
            finally:
                self.model.set_adapter(before)
        else:
            with nullcontext() if self.adapter is None else self.model.disable_adapter():
                yield

    def answer(self, conversations: list, max_tokens: int, batch_size: int,
               temperature: float = 0.0) -> list[tuple[str, str]]:
        """(answer, "") for each conversation, or ("", why not) where a server gave none.

        temperature 0 takes the likeliest token. Raises InputError if a server never answers.
        """
        if self.recogniser:
            return [(self.recogniser.answer(conversation), "") for conversation in conversations]
        if self.server:
            written = []
            answers = self.server.ask_all(
                conversations, max_tokens, temperature, patience=self.patience,
                each=lambda number, answer, why, tokens: written.append(tokens[1]))
            self.tokens += sum(written)
            return answers
        with self._switched():
            answers = generate(self.model, self.processor, conversations, max_new_tokens=max_tokens,
                               batch_size=batch_size, temperature=temperature)
        if answers:
            tokens = self.processor.tokenizer(answers)["input_ids"]
            self.tokens += sum(map(len, tokens)) + len(answers)
        return [(answer, "") for answer in answers]

    def write(self, conversations: list, temperature: float = 0.0) -> list[str]:
        """Code for each conversation, of the preset's length at most; "" if a server gave none."""
        answers = self.answer(conversations, self.preset["code_tokens"],
                              self.preset["sample_batch"], temperature)
        return [answer for answer, _ in answers]


def _same_folder(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()
