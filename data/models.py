"""Models: presets, checkpoints, adapters, devices, and `Chat`, which answers conversations."""
import json
import os
import re
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (AutoTokenizer, BitsAndBytesConfig, Qwen3VLForConditionalGeneration)
from transformers import Qwen3VLProcessor as HubProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from data.runs import say
from data.server import Server, is_url
from data.verdict import InputError, in_one_line

HERE = Path(__file__).resolve().parent.parent
BROKEN = OSError, ValueError, KeyError, RuntimeError, SafetensorError  # what a folder that is no whole model raises


# One row per scale; scripts print the row they use. canvas: pictures are put on a white square of so many px (None: as
# they are, the model's own bounds lowered to max_pixels). tokens: the longest answer. batch: answers written at once.
# micro: pairs or programs in memory at once in training. adapt: layers that an adapter trains, "all-linear" or a
# regular expression; the big rows leave the vision tower as it is. gpu: GB of GPU memory needed.
LANGUAGE_LAYERS = r".*language_model.*_proj"
PRESETS = {
    "tiny": dict(model="data/tiny/base", judge="data/tiny/judge", canvas=128, max_pixels=128 * 128,
                 code_tokens=256, verdict_tokens=512, batch=64, micro=32, adapt="all-linear", quantize=False, gpu=0),
    "2b": dict(model="Qwen/Qwen3-VL-2B-Instruct", judge="internlm/Visual-ERM", canvas=None, max_pixels=1024 * 1024,
               code_tokens=2048, verdict_tokens=1024, batch=4, micro=4, adapt=LANGUAGE_LAYERS, quantize=True, gpu=16),
    "8b": dict(model="Qwen/Qwen3-VL-8B-Instruct", judge="internlm/Visual-ERM", canvas=None, max_pixels=1024 * 1024,
               code_tokens=2048, verdict_tokens=1024, batch=8, micro=1, adapt=LANGUAGE_LAYERS, quantize=True, gpu=24),
}


def choose_preset(name: str, *, anywhere: bool = False) -> dict:
    """The row of PRESETS, printed. Raises InputError: no such row, or no GPU for it (unless it runs `anywhere`)."""
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    row = PRESETS[name]
    if row["gpu"] and not anywhere and not torch.cuda.is_available():
        raise InputError(f"The preset {name} needs a GPU of {row['gpu']} GB and PyTorch finds none here; take the "
                         f"preset tiny or a judge behind a URL.")
    say(f"preset {name}: " + ", ".join(f"{key}={value}" for key, value in row.items()))
    return row


def preset_for(preset: str, *names: str) -> dict:
    """The row of `preset` or, if that is "", of tiny if all models named are folders here, else of 8b; printed.

    `names`: folders, hub names or URLs; "" stands for the preset's own model. Raises InputError as `choose_preset`.
    """
    named = [name for name in names if name]
    remote = list(map(is_url, named))
    big = any(far or not Path(find_folder(name)).is_dir() for name, far in zip(named, remote))
    return choose_preset(preset or ("8b" if big else "tiny"), anywhere=all(remote) and len(named) == len(names))


class Qwen3VLProcessor(HubProcessor):
    """Qwen3-VL's processor for text and images, without the video part, which alone needs torchvision.

    It keeps the official name, so that other programs open a folder it saved with the official class.
    """

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **_):
        for name in ("image_pad", "video_pad", "vision_start", "vision_end"):
            key, token = name.removesuffix("_pad"), f"<|{name}|>"
            setattr(self, f"{key}_token", token)
            setattr(self, f"{key}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    def save_pretrained(self, save_directory, **kwargs):
        """As usual, plus the settings of the video part, which the official class asks for."""
        super().save_pretrained(save_directory, **kwargs)
        shared = "patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std", "size"
        video = {key: value for key, value in self.image_processor.to_dict().items() if key in shared}
        video["video_processor_type"] = "Qwen3VLVideoProcessor"
        Path(save_directory, "video_preprocessor_config.json").write_text(json.dumps(video, indent=2) + "\n")


def load_processor(name: str, *, max_pixels: int | None = None) -> Qwen3VLProcessor:
    """The processor of a Qwen3-VL checkpoint (folder or hub name). Pads on the left, needs no torchvision.

    `max_pixels` lowers the image processor's own bound on width x height. Raises InputError.
    """
    name = find_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        images = Qwen2VLImageProcessorPil.from_pretrained(name)
        template = tokenizer.chat_template or Qwen3VLProcessor.get_processor_dict(name)[0].get("chat_template")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(why_not(name, error)) from error
    longest = min(images.size["longest_edge"], max_pixels or images.size["longest_edge"])
    images.size = {"longest_edge": longest, "shortest_edge": min(images.size["shortest_edge"], longest)}
    return Qwen3VLProcessor(images, tokenizer, chat_template=template)


def load_model(name: str, *, quantize: bool = False, device=None, dtype=None, max_pixels: int | None = None):
    """(model, processor) of a Qwen3-VL checkpoint: a folder, a hub name, or a folder with a LoRA adapter.

    `quantize`: 4-bit NF4 with double quantisation; the vision tower and the output layer stay as they are.
    A folder with adapter_config.json becomes a peft model on its base. Raises InputError.
    """
    device, dtype = choose_device(device, dtype)
    base, adapter = base_of(name)
    options = {}
    if quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=["model.visual", "lm_head"])
    try:
        model = Qwen3VLForConditionalGeneration.from_pretrained(base, dtype=dtype, device_map={"": device}, **options)
        if adapter:
            from peft import PeftModel  # only here: most runs need no adapter

            model = PeftModel.from_pretrained(model, adapter)
    except torch.OutOfMemoryError:
        raise                                  # a RuntimeError, but nothing is wrong with the folder
    except BROKEN as error:
        raise InputError(why_not(base, error)) from error
    processor = adapter if adapter and Path(adapter, "tokenizer_config.json").is_file() else base
    return model.eval(), load_processor(processor, max_pixels=max_pixels)


def base_of(name: str) -> tuple[str, str | None]:
    """(folder or hub name of the base, folder of the LoRA adapter on it or None). Raises InputError."""
    name = find_folder(name)
    config = Path(name, "adapter_config.json")
    if not config.is_file():
        return name, None
    try:
        return find_folder(json.loads(config.read_text())["base_model_name_or_path"], beside=Path(name)), name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(why_not(name, error)) from error


def trainable(name: str) -> str:
    """`name`, if it is a model that training can begin with. Raises InputError for adapters and URLs."""
    if is_url(name):
        raise InputError(f"A model behind a URL cannot be trained: {name}; give a folder or a hub name.")
    base, adapter = base_of(name)
    if adapter:
        raise InputError(f"{name} is an adapter, and training begins with a model that has weights of its own; give "
                         f"its base, {base}, or merge them first (peft's merge_and_unload).")
    return name


def add_adapter(model, row: dict, rank: int, name: str):
    """`model` with a new LoRA adapter `name` on the layers that `row` names, as a peft model: only the adapter trains.

    Raises InputError if there are no such layers.
    """
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=rank, lora_alpha=rank, target_modules=row["adapt"])
    try:
        return get_peft_model(model, lora, adapter_name=name)
    except (ValueError, re.error) as error:
        raise InputError(f"{row['adapt']!r} names no layers that an adapter can train ({in_one_line(error)}).") from error


def choose_device(device=None, dtype=None) -> tuple[torch.device, torch.dtype]:
    """One decision about device and number format for the whole program, printed once with its reason."""
    gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    why = "as asked" if device else "a GPU was found" if gpu else "no GPU was found"
    device = torch.device(device or gpu or "cpu")
    if device.type == "cuda" and gpu != "cuda":
        raise InputError(f"The device {device} was asked for, but PyTorch finds no CUDA GPU here; leave it out.")
    if device.type == "cuda":  # caches that grow by a token at a time would leave holes that nothing fits
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if dtype is None:
        bf16 = device.type == "cuda" and has_bfloat16(device)
        dtype = torch.bfloat16 if bf16 else torch.float16 if device.type == "cuda" else torch.float32
        why += " with bfloat16" if bf16 else ", too old for bfloat16" if device.type == "cuda" else ", so exact numbers"
    say(f"device {device}, {str(dtype).removeprefix('torch.')}: {why}")
    return device, dtype


def has_bfloat16(device) -> bool:
    """Whether `device` computes in bfloat16. Most CPUs only emulate it: a training step then takes 20 times as long."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


def find_folder(name: str, beside: Path | None = None) -> str:
    """A folder as given, or seen from this file (so that scripts run from anywhere), or else a hub name."""
    for folder in (Path(name), HERE / name, *([beside / name, beside.parent / Path(name).name] if beside else [])):
        if folder.is_dir():
            return str(folder)
    local = any((folder / str(name).split("/")[0]).is_dir() for folder in (Path(), HERE))  # data/..., runs/...
    if local or str(name).startswith((".", "/", "~")) or str(name).count("/") != 1:
        raise InputError(f"There is no folder {name!r}; give a folder or a hub name such as {PRESETS['2b']['model']}.")
    return str(name)


def why_not(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return (f"The folder {name!r} holds no complete model (config.json, *.safetensors, tokenizer and processor): "
                f"{in_one_line(error)}")
    return (f"The model {name!r} is no folder here and could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}); check the name and the network.")


@torch.inference_mode()
def generate(model, processor, conversations, *, max_new_tokens: int, batch_size: int = 8,
             temperature: float = 0.0) -> list[str]:
    """Answers to `conversations` (lists of messages), in order. Left-padded batches with a KV cache.

    temperature 0 takes the likeliest token.
    """
    tokenizer, answers = processor.tokenizer, []
    stop = {tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id} - {None}
    sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:  # a checkpoint may bring its own top_k; 0 switches it off
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    for start in range(0, len(conversations), batch_size):
        inputs = processor.apply_chat_template(
            conversations[start:start + batch_size], tokenize=True, add_generation_prompt=True, return_dict=True,
            return_tensors="pt", processor_kwargs={"padding": True, "padding_side": "left"}).to(model.device)
        tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, use_cache=True, eos_token_id=sorted(stop),
                                pad_token_id=tokenizer.pad_token_id, **sampling)  # (B, prompt + answer)
        answers += tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
    return answers


def fit(image: Image.Image, canvas: int | None) -> Image.Image:
    """`image` in RGB at the top left of a white square of `canvas` px, shrunk if larger; None: in RGB, as it is."""
    image = image.convert("RGB")
    if canvas is None or image.size == (canvas, canvas):
        return image
    square = Image.new("RGB", (canvas, canvas), "white")
    image.thumbnail((canvas, canvas), Image.Resampling.LANCZOS)
    square.paste(image)
    return square


class Chat:
    """A model that answers conversations: `Chat("data/tiny/base").write([code_messages("svg", picture)])` -> [code].

    `model`: folder or hub name of a checkpoint or of a LoRA adapter, a pair (model, processor) that is loaded already,
    or the URLs of a `Server`, which is asked `workers` questions at once and has `timeout` seconds for each. `row`: a
    row of PRESETS. `beside`: a Chat whose weights this one shares if both have the same base; each then answers with
    its own adapter on, so that policy, reference and judge fit where one model does. Raises InputError: no such model
    or server.
    """

    def __init__(self, model, row: dict = PRESETS["tiny"], *, beside: "Chat | None" = None, workers: int = 8,
                 timeout: float = 120.0):
        self.row, self.server, self.base = row, None, None
        self.adapter = None          # to be on while it answers; "": none; None: as the model is
        self.tokens = 0              # written so far, stop tokens included
        if not isinstance(model, str):
            self.model, self.processor = model
        elif is_url(model):
            self.server = Server(model, workers=workers, timeout=timeout)
        else:
            self.base, adapter = base_of(model)
            if beside and beside.base and Path(beside.base).resolve() == Path(self.base).resolve():
                self._join(beside, adapter)
            else:
                self.model, self.processor = load_model(model, quantize=row["quantize"], max_pixels=row["max_pixels"])

    def _join(self, other: "Chat", adapter: str | None):
        """Take the weights of `other` and add one's own adapter, if there is one, under the name "judge"."""
        from peft import PeftModel

        wrapped = isinstance(other.model, PeftModel)
        try:
            if wrapped and adapter:
                other.adapter = other.model.active_adapter
                other.model.load_adapter(adapter, adapter_name="judge")
                other.model.set_adapter(other.adapter)
            elif adapter:
                other.model, other.adapter = PeftModel.from_pretrained(other.model, adapter, adapter_name="judge"), ""
                other.model.eval()
        except BROKEN as error:
            raise InputError(why_not(adapter, error)) from error
        self.model, self.processor = other.model, other.processor
        self.adapter = "judge" if adapter else "" if wrapped else None

    @contextmanager
    def _switched(self):
        """Its own adapter on, or all off; afterwards the model is as it was."""
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

    def answer(self, conversations, max_tokens: int, temperature: float = 0.0) -> list[tuple[str, str]]:
        """(answer, "") for each conversation, or ("", why not) where a server gave none; InputError if it never did.

        temperature 0 takes the likeliest token.
        """
        if self.server:
            written = []
            answers = self.server.ask_all(conversations, max_tokens, temperature,
                                          each=lambda number, answer, why, tokens: written.append(tokens[1]))
            self.tokens += sum(written)
            return answers
        with self._switched():
            answers = generate(self.model, self.processor, conversations, max_new_tokens=max_tokens,
                               batch_size=self.row["batch"], temperature=temperature)
        if answers:
            self.tokens += sum(map(len, self.processor.tokenizer(answers)["input_ids"])) + len(answers)
        return [(answer, "") for answer in answers]

    def write(self, conversations, temperature: float = 0.0) -> list[str]:
        """Code for each conversation, of the preset's length at most; "" where a server gave no answer."""
        return [answer for answer, _ in self.answer(conversations, self.row["code_tokens"], temperature)]


def size_of(image: Image.Image, row: dict):
    """The `size` at which render draws a program like `image`: a preset's canvas, or else as long a longest side."""
    return (row["canvas"], row["canvas"]) if row["canvas"] else max(image.size)
