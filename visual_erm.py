"""The judge: two pictures in, a list of discrepancies and a reward out (Visual-ERM, arXiv 2603.13224).

A vision-language model looks at a reference and at the rendering of code that tries to redraw it, and writes what
differs, as JSON: category, severity 1-3, location, description. The sum of the severities becomes a reward (Eq. 3-5,
section 4), and the list itself is the feedback for a revision. Section 5 holds the rewards it is compared with.

    python visual_erm.py                                      # judge the shipped examples; half a minute on 2 cores
    python visual_erm.py ORIGINAL GENERATED --task chart      # judge two pictures
    python visual_erm.py A.png B.png --task svg --judge http://localhost:8000/v1 --json

Departures from the paper: (1) an unreadable verdict is counted and shown, and `verm_rewards` says what it is worth;
(2) code that does not render is always worth less than any picture; (3) the small models in data/tiny are Qwen3-VL
checkpoints like the big ones (same class, same prompts), so that all of this runs on a laptop; (4) the prompts are
worded here, and a judge trained with others, internlm/Visual-ERM too, is asked with these.
"""

import base64
import io
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from threading import Lock, Semaphore
from urllib.parse import urlsplit

import lxml.html
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from safetensors import SafetensorError
from transformers import (AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, BitsAndBytesConfig,
                          HfArgumentParser, Qwen3VLForConditionalGeneration)
from transformers import Qwen3VLProcessor as HubProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from data.verdict import CATEGORIES, InputError, Verdict, in_one_line
from data.renderers.table import markdown_to_html
from render import Rendering, extract_code, render_many

HERE = Path(__file__).resolve().parent


# ------------------------------------------------------------------------------------------------ 2. The prompts

LANGUAGE = {"chart": "Python code for Matplotlib", "table": "HTML code of the table", "svg": "SVG code"}
LOOK_FOR = {
    "chart": """\
- structure_error: chart type, number and place of the subplots, shared axes
- data_error: values and shape of the marks, scale and limits of an axis, missing or extra series, bars, points, slices
- text_error: title, axis labels, tick labels, legend, annotations
- style_error: colours, markers, line styles, grid, background""",
    "table": """\
- layout_error: rows, columns, merged cells, alignment, cells that changed place
- text_error: words that are wrong, missing or extra
- numeric_error: numbers, signs, units and symbols""",
    "svg": """\
- structure_error: composition, grouping, missing or extra parts
- shape_error: geometry, size, position of a part
- style_error: fill, stroke, opacity
- text_symbol_error: letters, digits and symbols""",
}


def judge_prompt(task: str) -> str:
    """What the judge is asked about two pictures of a `task`; it states the schema that `Verdict.parse` reads."""
    counts = ", ".join(f'"{category}_count": int' for category in CATEGORIES[task])
    return f"""The first image is the reference, a {task}. The second image was rendered from code that tries to \
redraw it. List every visible difference, in these categories:
{LOOK_FOR[task]}
Name causes, not consequences: a changed value that moves the axis is one error. Ignore antialiasing and shifts that \
nobody would notice. severity: 1 = minor, hardly disturbs a reader; 2 = medium, needs a correction before use; \
3 = severe, wrong or misleading. location: the part concerned. description: what the second image shows and what it \
should show. If the images look the same, the list is empty. Answer with this JSON and nothing else:
{{"errors": [{{"category": str, "location": str, "description": str, "severity": int}}], {counts}}}
Each count is the number of errors of that category in the list."""


def code_prompt(task: str) -> str:
    """What the policy is asked: image to code."""
    return f"Write the {LANGUAGE[task]} that redraws this image exactly. Answer with the code only."


NOTHING_SAID = "nothing was said about it"           # the feedback of a revision without a judge


def revise_prompt(task: str, code: str, feedback: str) -> str:
    """What the policy is asked in a revision (Eq. 9): image, draft and the judge's list to better code.

    `feedback` is put in word for word (a verdict's JSON, or any other critique).
    """
    return f"""This code tries to redraw the image:
{code}
A comparison of its picture with the image found:
{feedback}
Correct the code. Answer with the complete {LANGUAGE[task]} only."""


def _ask(images: list[Image.Image], prompt: str) -> list[dict]:
    content = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


def judge_messages(task: str, reference: Image.Image, rendering: Image.Image) -> list[dict]:
    """The conversation that asks for a verdict: two images, then the text."""
    return _ask([reference, rendering], judge_prompt(task))


def code_messages(task: str, image: Image.Image) -> list[dict]:
    """The conversation that asks for code."""
    return _ask([image], code_prompt(task))


def revise_messages(task: str, image: Image.Image, code: str, feedback: str) -> list[dict]:
    """The conversation that asks for a revision."""
    return _ask([image], revise_prompt(task, code, feedback))


# ------------------------------------------------------------------------------------------------ 3. Models

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
    _say(f"preset {name}: " + ", ".join(f"{key}={value}" for key, value in row.items()))
    return row


def preset_for(preset: str, *names: str) -> dict:
    """The row of `preset` or, if that is "", of tiny if all models named are folders here, else of 8b; printed.

    `names`: folders, hub names or URLs; "" stands for the preset's own model. Raises InputError as `choose_preset`.
    """
    named = [name for name in names if name]
    remote = list(map(is_url, named))
    big = any(far or not Path(_find(name)).is_dir() for name, far in zip(named, remote))
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
    name = _find(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        images = Qwen2VLImageProcessorPil.from_pretrained(name)
        template = tokenizer.chat_template or Qwen3VLProcessor.get_processor_dict(name)[0].get("chat_template")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(_why_not(name, error)) from error
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
        raise InputError(_why_not(base, error)) from error
    processor = adapter if adapter and Path(adapter, "tokenizer_config.json").is_file() else base
    return model.eval(), load_processor(processor, max_pixels=max_pixels)


def base_of(name: str) -> tuple[str, str | None]:
    """(folder or hub name of the base, folder of the LoRA adapter on it or None). Raises InputError."""
    name = _find(name)
    config = Path(name, "adapter_config.json")
    if not config.is_file():
        return name, None
    try:
        return _find(json.loads(config.read_text())["base_model_name_or_path"], beside=Path(name)), name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(_why_not(name, error)) from error


def is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def trainable(name: str) -> str:
    """`name`, if it is a model that training can begin with. Raises InputError for adapters and URLs."""
    if is_url(name):
        raise InputError(f"A model behind a URL cannot be trained: {name}; give a folder or a hub name.")
    base, adapter = base_of(name)
    if adapter:
        raise InputError(f"{name} is an adapter, and training begins with a model that has weights of its own; give "
                         f"its base, {base}, or merge them first (peft's merge_and_unload).")
    return name


def same_settings(out: Path, settings, free=()):
    """Raises InputError if OUT/config.json is of a run with other `settings` (a dataclass), those in `free` aside.

    What is not in the file has the default it had when there was no such setting.
    """
    path = Path(out, "config.json")
    if not path.exists():
        return
    before = asdict(type(settings)()) | json.loads(path.read_text())
    for name, value in asdict(settings).items():
        if before[name] != value and name not in ("out", "resume", *free):
            raise InputError(f"{out} was made with other settings (--{name} {before[name]}, not {value}): go on with "
                             "the ones it had, or choose another --out or delete it.")


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
    _say(f"device {device}, {str(dtype).removeprefix('torch.')}: {why}")
    return device, dtype


def has_bfloat16(device) -> bool:
    """Whether `device` computes in bfloat16. Most CPUs only emulate it: a training step then takes 20 times as long."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


@cache
def _say(line: str) -> None:
    """Print a line on stderr, once in a program."""
    print(line, file=sys.stderr)


def _find(name: str, beside: Path | None = None) -> str:
    """A folder as given, or seen from this file (so that scripts run from anywhere), or else a hub name."""
    for folder in (Path(name), HERE / name, *([beside / name, beside.parent / Path(name).name] if beside else [])):
        if folder.is_dir():
            return str(folder)
    local = any((folder / str(name).split("/")[0]).is_dir() for folder in (Path(), HERE))  # data/..., runs/...
    if local or str(name).startswith((".", "/", "~")) or str(name).count("/") != 1:
        raise InputError(f"There is no folder {name!r}; give a folder or a hub name such as {PRESETS['2b']['model']}.")
    return str(name)


def _why_not(name: str, error: Exception) -> str:
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


NO_REPLY = "no reply: "
REST = 30.0                       # seconds for which a server that was silent or talked nonsense gets no questions
LONGEST_REPLY = 4_000_000         # bytes; more than any answer of a preset needs


class _Host:
    """One of the servers of a `Server`: its address, its model's name and how it is doing."""

    def __init__(self, url: str, workers: int, timeout: float):
        import openai  # only here: local models need no client

        url, _, self.model = url.partition("#")
        self.url = url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1")
        self.client = openai.OpenAI(base_url=self.url, api_key=os.environ.get("OPENAI_API_KEY") or "none",
                                    timeout=timeout, max_retries=0, http_client=_bounded_http(timeout))
        self.slots = Semaphore(workers)
        self.busy = 0                # questions it was given and has not answered
        self.rests_until = 0.0       # time.monotonic()
        self.reasons = False         # OpenAI's reasoning models name the length otherwise and take no temperature

    def awake(self) -> bool:
        return self.rests_until <= time.monotonic()

    def find_model(self, retries: int):
        """Asks which model it serves, if none was named. Raises whatever goes wrong."""
        self.model = self.model or self.client.with_options(max_retries=retries).models.list().data[0].id

    def ask(self, content: list, max_tokens: int, temperature: float, retries: int):
        """The server's reply, a ChatCompletion if it keeps to the protocol. Raises whatever goes wrong."""
        self.find_model(retries)
        limits = {"max_tokens": max_tokens, "temperature": temperature}
        if self.reasons:
            limits = {"max_completion_tokens": max_tokens}
        try:
            return self.client.with_options(max_retries=retries).chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": content}], **limits)
        except Exception as error:
            if "max_tokens" not in limits or "Use 'max_completion_tokens'" not in str(error):
                raise
            self.reasons = True
            return self.ask(content, max_tokens, temperature, retries)


def _bounded_http(seconds: float):
    """The openai client's HTTP client with an end: its own timeouts begin anew with every byte that arrives."""
    import httpx2  # what openai is built on
    import openai

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream):
            self.stream = stream

        def __iter__(self):
            end, size = time.monotonic() + seconds, 0
            for chunk in self.stream:
                size += len(chunk)
                if size > LONGEST_REPLY or time.monotonic() > end:
                    raise httpx2.ReadTimeout("The reply has no end.")
                yield chunk

        def close(self):
            self.stream.close()

    def bound(response):
        response.stream = Bounded(response.stream)

    return openai.DefaultHttpxClient(event_hooks={"response": [bound]})


class Server:
    """OpenAI-compatible servers: `http://host:8000/v1`, or several separated by commas; `...#name` picks a model.

    Each is asked `workers` questions at once, the least busy first, and has `timeout` seconds to begin a reply and as
    many to end it. Busy and broken servers (429, 5xx) are asked again up to `retries` times, with growing pauses, if
    no other can take the question. One of several that is silent or no such server gets no questions for REST seconds.
    Raises InputError if none of them answers or one is no such server.
    """

    def __init__(self, urls: str, *, workers: int = 8, timeout: float = 120.0, retries: int = 2):
        import openai

        self.silent = openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError
        self.refusal = openai.APIStatusError
        urls = [url.strip() for url in urls.split(",") if url.strip()]
        if wrong := [url for url in urls if not is_url(url)]:
            raise InputError(f"{wrong[0]!r} is no URL; write http://host:port/v1, several of them with commas between.")
        self.hosts, self.retries, self.lock = [_Host(url, workers, timeout) for url in urls], retries, Lock()
        self.workers = workers * len(urls)
        why = ""
        for host in self.hosts:
            try:
                host.find_model(retries if len(urls) == 1 else 0)
            except self.silent as error:
                why = in_one_line(error)
                self._rest(host)
            except Exception as error:  # whatever a program that is no such server may send
                raise InputError(f"What answers at {host.url} is no OpenAI-compatible server, or lists no model and "
                                 f"needs its name, {host.url}#name ({in_one_line(error)}).") from error
        if all(host.rests_until for host in self.hosts):
            raise InputError(f"No server answers at {self} ({why}); start it, check address and port, or name its model "
                             f"if it lists none: {self.hosts[-1].url}#name.")

    def __str__(self):
        return ", ".join(host.url for host in self.hosts)

    def ask_all(self, conversations, max_tokens: int, temperature: float = 0.0, each=None) -> list[tuple[str, str]]:
        """(answer, "") for each conversation, or ("", why not). InputError if all of them fail.

        The reason begins with NO_REPLY if no server replied (down, overloaded, too slow); a refusal is a reply.
        `each(number, answer, why not, (tokens read, tokens written))` is called, in the thread that asked, as soon as
        there is an answer. Ctrl-C ends it once the questions under way are answered, and `each` gets those answers.
        """
        def one(number, messages):
            answer, why, tokens = self._ask(messages, max_tokens, temperature)
            if each:
                each(number, answer, why, tokens)
            return answer, why

        pool = ThreadPoolExecutor(self.workers)
        try:
            answers = list(pool.map(one, range(len(conversations)), conversations))  # map keeps the order
        finally:
            pool.shutdown(cancel_futures=True)
        failed = [why for _, why in answers if why]
        if failed and len(failed) == len(answers):
            raise InputError(f"The server at {self} gave no answer at all ({failed[0]}).")
        return answers

    def _ask(self, messages, max_tokens, temperature):
        """(answer, why not, (tokens read, tokens written)). Asks all servers that are awake in turn, or else all."""
        content = [{"type": "image_url", "image_url": {"url": data_url(part["image"])}} if "image" in part else part
                   for part in messages[0]["content"]]
        why, left = "", [host for host in self.hosts if host.awake()] or self.hosts[:]
        while left:
            with self.lock:
                host = min(left, key=lambda host: (not host.awake(), host.busy))
                host.busy += 1
            left.remove(host)
            try:
                with host.slots:
                    elsewhere = any(other.awake() for other in left)
                    reply = host.ask(content, max_tokens, temperature, 0 if elsewhere else self.retries)
                answer, used = reply.choices[0].message.content or "", reply.usage
                host.rests_until = 0.0
                return answer, "", (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
            except Exception as error:  # the network, the server, or a reply of any shape
                silent = isinstance(error, self.silent)
                why = (NO_REPLY if silent else "") + in_one_line(error)
                if not isinstance(error, self.refusal):  # silent, or no such server
                    self._rest(host)
                elif not silent:
                    break  # the others would say the same
            finally:
                with self.lock:
                    host.busy -= 1
        return "", why, (0, 0)

    def _rest(self, host: _Host):
        host.rests_until = time.monotonic() + REST
        if len(self.hosts) > 1:
            _say(f"No answer from {host.url}: the others take its work, and it is tried again every {REST:.0f} s.")


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
            raise InputError(_why_not(adapter, error)) from error
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


class VisualERM(Chat):
    """The judge: `VisualERM("data/tiny/judge").judge([("chart", reference, rendering), ...])` -> [Verdict, ...]."""

    def judge(self, pairs) -> list[Verdict]:
        """Verdicts on `pairs` of (task, reference, rendering), in their order.

        A server's reply that fails three times becomes an unreadable verdict with the reason in its notes, so that one
        bad reply does not cost a whole run; if every reply fails, InputError gives the reason.
        """
        pairs = list(pairs)
        asked = [judge_messages(task, *(fit(image, self.row["canvas"]) for image in images)) for task, *images in pairs]
        answers = self.answer(asked, self.row["verdict_tokens"])
        return [Verdict(task, readable=False, notes=[why]) if why else Verdict.parse(task, answer)
                for (task, *_), (answer, why) in zip(pairs, answers)]


# ------------------------------------------------------------------------------------------------ 4. Reward, Eq. 3-5

EPS = 1e-6
SCALE = 50.0                      # severities are divided by it where no batch has a maximum; the published code's


def severity_reward(severities: list[float], scale: float | None = None) -> list[float]:
    """Eq. 3-4 for one task's batch: r_verm = clip(1 - S / (max S + eps), 0, 1), 1 = no error found.

    With `scale` (see SCALE) S is divided by it instead of by the batch's maximum.

    >>> [round(r, 3) for r in severity_reward([0, 2, 4])]
    [1.0, 0.5, 0.0]
    >>> severity_reward([0, 0]), [round(r, 3) for r in severity_reward([3, 3])]  # equal: nothing to learn from either
    ([1.0, 1.0], [0.0, 0.0])
    >>> severity_reward([0, 5, 60], scale=50)
    [1.0, 0.9, 0.0]
    """
    scale = scale or max(severities, default=0) + EPS
    return [min(1.0, max(0.0, 1 - severity / scale)) for severity in severities]


def verm_rewards(verdicts: list[Verdict | None], scale: float | None = None) -> list[float]:
    """Eq. 5: r = r_rsr + r_verm, in [0, 2]; None stands for code that did not render and is worth 0.

    Each task of the batch is normalised by its own maximum (or by a fixed `scale`). The rule for an unreadable
    verdict, here and nowhere else: it earns what the worst rendering of its batch earns, r_verm = 0, and does not
    count in the maximum. So nothing can be won by a picture that confuses the judge, and it is still worth more
    than code that does not render.

    >>> from data.verdict import Discrepancy
    >>> v = lambda *s: Verdict("svg", [Discrepancy("shape_error", n, "", "") for n in s])
    >>> [round(r, 3) for r in verm_rewards([v(), v(2), v(3, 1), None, Verdict("svg", readable=False)])]
    [2.0, 1.5, 1.0, 0.0, 1.0]
    """
    rewards = [0.0 if verdict is None else 1.0 for verdict in verdicts]  # r_rsr
    for task in CATEGORIES:
        judged = [i for i, verdict in enumerate(verdicts) if verdict and verdict.task == task and verdict.readable]
        for i, reward in zip(judged, severity_reward([verdicts[i].severity for i in judged], scale)):
            rewards[i] += reward
    return rewards


# ------------------------------------------------------------------------------------------------ 5. Rival rewards


def text_similarity(code_true: str, code_pred: str) -> float:
    """1 - Levenshtein distance / length of the longer code, over characters. It never sees a picture."""
    return Levenshtein.normalized_similarity(code_true, code_pred)


def teds(html_true: str, html_pred: str, structure_only: bool = False) -> float:
    """Tree-edit-distance similarity of the first tables of two HTML texts (PubTabNet's TEDS; TEDS-S without contents).

    TEDS = 1 - distance / max(n); n = elements below the table, inline tags in cells included. Insert and delete cost
    1; rename 1 if tag or spans differ, else for cells the normalised Levenshtein distance over characters and inline
    tags. Departures: `th` counts as `td`; Markdown tables count; a span that is no number is 1; two empty tables
    give 1. No table gives 0.

    >>> round(teds("<table><tr><td>ab<td>7</table>", "<table><tr><th>ab<td>9</table>"), 4)
    0.6667
    """
    trees = [_table_tree(code) for code in (html_true, html_pred)]
    if None in trees:
        return 0.0
    (left1, labels1, cells1, n1), (left2, labels2, cells2, n2) = trees
    number, letter = {}, {}  # labels become integers and tokens letters, which C code compares
    ids1, ids2 = ([number.setdefault(label, len(number)) for label in labels] for labels in (labels1, labels2))
    rename = np.not_equal.outer(ids1, ids2).astype(float)  # (nodes 1, nodes 2)
    if cells1 and cells2 and not structure_only:
        words1, words2 = (["".join(chr(letter.setdefault(token, len(letter))) for token in cell)
                           for cell in cells.values()] for cells in (cells1, cells2))
        longest = np.maximum.outer([len(w) for w in words1], [len(w) for w in words2]).clip(1)
        apart = cdist(words1, words2, scorer=Levenshtein.distance, dtype=np.int32) / longest
        block = np.ix_(list(cells1), list(cells2))
        rename[block] = np.maximum(rename[block], apart)
    return 1.0 - tree_distance(np.array(left1), np.array(left2), rename) / max(n1, n2, 1)


def _table_tree(code: str):
    """The first table as postorder lists: leftmost leaf and label of each node, {cell's node: tokens}, n; or None."""
    if "<table" not in code.lower():
        code = markdown_to_html(code)
    try:
        parser = lxml.html.HTMLParser(remove_comments=True, remove_pis=True, encoding="utf-8")
        table = lxml.html.document_fromstring(code.encode("utf-8", "replace"), parser=parser).find(".//table")
    except (lxml.etree.LxmlError, ValueError):
        table = None
    if table is None:
        return None
    for cell in table.iter("th"):
        cell.tag = "td"
    left, labels, cells = [], [], {}

    def span(cell, name):
        digits = re.match(r"\s*(\d{1,6})", cell.get(name, ""))
        return int(digits[1]) if digits else 1

    def tokens(element):
        yield from element.text or ""
        for child in element:
            yield f"<{child.tag}>"
            yield from tokens(child)
            yield f"</{child.tag}>"
            if child.tag != "td":  # as in the reference implementation
                yield from child.tail or ""

    def visit(element):
        first = len(left)  # the next node to be written is the leftmost leaf below this one
        if element.tag == "td":
            cells[first] = list(tokens(element))
            labels.append(("td", span(element, "colspan"), span(element, "rowspan")))
        else:
            for child in element:
                visit(child)
            labels.append(element.tag)
        left.append(first)

    visit(table)
    return left, labels, cells, sum(1 for _ in table.iterdescendants())


def tree_distance(left1: np.ndarray, left2: np.ndarray, rename: np.ndarray) -> float:
    """Zhang and Shasha's tree edit distance; insert and delete cost 1, rename costs rename[node 1, node 2].

    `left`: for each node in postorder the index of the leftmost leaf below it. The textbook algorithm fills one table
    per pair of key roots (a table's rows and cells are mostly such); here all pairs whose subtrees have the same two
    shapes are filled at once, line by line, so that numpy does the work.
    """
    tree = np.zeros(rename.shape)  # tree[i, j]: distance between the subtrees under nodes i and j
    for shape1, roots1 in _key_roots(left1):
        for shape2, roots2 in _key_roots(left2):
            first1, columns = roots1 - len(shape1) + 1, (roots2 - len(shape2) + 1)[:, None] + np.arange(len(shape2))
            steps, spine = np.arange(len(shape2) + 1.0), shape2 == 0  # spine: nodes above the leftmost leaf
            forest = np.empty((len(shape1) + 1, len(roots1), len(roots2), len(steps)))
            forest[0] = steps
            for i, leaf in enumerate(shape1):
                row = (first1 + i)[:, None, None]
                best = forest[leaf][..., shape2] + tree[row, columns]  # match two subtrees  (R1, R2, S2)
                if leaf == 0:  # both forests are trees: match their roots
                    best[..., spine] = forest[i][..., :-1][..., spine] + rename[row, columns[:, spine]]
                line = forest[i + 1]
                line[..., 0], line[..., 1:] = i + 1, np.minimum(best, forest[i][..., 1:] + 1)  # or delete node i
                line[:] = np.minimum.accumulate(line - steps, axis=-1) + steps  # or insert any number of nodes
                if leaf == 0:
                    tree[row, columns[:, spine]] = line[..., 1:][..., spine]
    return float(tree[-1, -1])


def _key_roots(left: np.ndarray):
    """[(leftmost leaf of each node of a subtree, counted within it; the roots of all such subtrees)], small first."""
    shapes = {}
    for root in {leaf: node for node, leaf in enumerate(left)}.values():  # the highest node above each leaf
        shapes.setdefault(tuple(left[left[root]:root + 1] - left[root]), []).append(root)
    return [(np.array(shape), np.array(roots)) for shape, roots in sorted(shapes.items(), key=lambda s: len(s[0]))]


def ssim(reference: Image.Image, rendering: Image.Image) -> float:
    """Structural similarity, mean over pixels and RGB: Gaussian window of 11 px, sigma 1.5, K1 0.01, K2 0.03.

    A rendering of another size is resized to the reference's; under 11 px the edge is repeated.
    """
    images = [reference.convert("RGB"), rendering.convert("RGB").resize(reference.size, Image.Resampling.BILINEAR)]
    x, y = (torch.from_numpy(np.array(im)).double().permute(2, 0, 1)[:, None] for im in images)  # (3, 1, H, W)
    short = [max(0, 11 - side) for side in reference.size]
    x, y = (F.pad(z, (0, short[0], 0, short[1]), mode="replicate") for z in (x, y))
    window = torch.exp(-torch.arange(-5, 6).double() ** 2 / (2 * 1.5**2))
    window = (window / window.sum()).tolist()

    def blur(z):  # (3, 1, H, W) -> (3, 1, H - 10, W - 10); sums of shifted pictures, faster than a convolution
        for axis in (3, 2):
            z = sum(weight * z.narrow(axis, k, z.shape[axis] - 10) for k, weight in enumerate(window))
        return z

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(value.mean())


class VisionEncoder:
    """Cosine similarity of two pictures' features: the reward that overlooks small things.

    By default the tiny base's own vision tower, mean over its patch features: it needs no download, but it is not
    DINO. With "facebook/dinov2-large" (any model that AutoModel loads) it is the class token, as the paper compares.
    """

    def __init__(self, name: str = PRESETS["tiny"]["model"], *, device=None):
        device, dtype = choose_device(device)
        name = _find(name)
        try:
            self.is_qwen = AutoConfig.from_pretrained(name).model_type == "qwen3_vl"
            if self.is_qwen:
                self.images = load_processor(name).image_processor
                self.model = Qwen3VLForConditionalGeneration.from_pretrained(name, dtype=dtype).model.visual
            else:
                self.images = AutoImageProcessor.from_pretrained(name, backend="pil")
                self.model = AutoModel.from_pretrained(name, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(_why_not(name, error)) from error
        self.model = self.model.to(device).eval()

    @torch.inference_mode()
    def features(self, image: Image.Image) -> torch.Tensor:
        """(D,) features of one picture."""
        inputs = self.images(fit(image, None), return_tensors="pt").to(self.model.device)
        pixels = inputs["pixel_values"].to(self.model.dtype)
        if self.is_qwen:
            return self.model(pixels, grid_thw=inputs["image_grid_thw"]).last_hidden_state.mean(0).float()
        return self.model(pixel_values=pixels).last_hidden_state[0, 0].float()

    def similarity(self, reference: Image.Image, rendering: Image.Image) -> float:
        """Cosine, -1 to 1."""
        return float(F.cosine_similarity(self.features(reference), self.features(rendering), dim=0))


def rivals(task: str, reference, rendering, code_true=None, code_pred=None, encoder=None) -> dict[str, float | None]:
    """All rival rewards of one pair; None where there is no code, no table or no encoder to compare with."""
    coded, table = bool(code_true and code_pred), task == "table"
    return {
        "text": text_similarity(code_true, code_pred) if coded else None,
        "teds": teds(code_true, code_pred) if coded and table else None,
        "teds_s": teds(code_true, code_pred, structure_only=True) if coded and table else None,
        "vision_encoder": encoder.similarity(reference, rendering) if encoder else None,
        "ssim": ssim(reference, rendering),
    }


# ------------------------------------------------------------------------------------------------ 6. Other engines


def size_of(image: Image.Image, row: dict):
    """The `size` at which render draws a program like `image`: a preset's canvas, or else as long a longest side."""
    return (row["canvas"], row["canvas"]) if row["canvas"] else max(image.size)


def draw_alike(prompts: list[dict], codes: list[str]) -> list:
    """A Rendering or RenderError for each code, as large as its prompt's picture was drawn.

    `prompts` are dicts with `task` and `size` (see `size_of`); those of one size are drawn at once.
    """
    jobs, drawings = {}, {}
    for i, prompt in enumerate(prompts):
        jobs.setdefault(prompt["size"], []).append(i)
    for size, chosen in jobs.items():
        drawings |= zip(chosen, render_many([(prompts[i]["task"], codes[i]) for i in chosen], size=size))
    return [drawings[i] for i in range(len(prompts))]


def reward_answers(judge: VisualERM, tasks, references, answers, scale: float | None = None) -> list[float]:
    """Eq. 3-5 from a policy's answers: extract the code, render it as large as its reference, judge, reward.

    `tasks`, `references` (pictures) and `answers` (texts) are parallel; the tasks' severities are normalised by the
    maximum of this call, or by `scale`.
    """
    prompts = [{"task": task, "size": size_of(image, judge.row)} for task, image in zip(tasks, references)]
    drawings = draw_alike(prompts, list(map(extract_code, tasks, answers)))
    good = [i for i, drawn in enumerate(drawings) if isinstance(drawn, Rendering)]
    verdicts = dict(zip(good, judge.judge([(tasks[i], references[i], drawings[i].image) for i in good])))
    return verm_rewards([verdicts.get(i) for i in range(len(answers))], scale)


def trl_reward(judge: VisualERM, scale: float | None = None):
    """A function for trl's `GRPOTrainer(reward_funcs=...)`; its dataset has the columns `task` and `image`."""
    def visual_erm(completions, task, image, **_):
        answers = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return reward_answers(judge, task, image, answers, scale)
    return visual_erm


@cache
def _judge_of(judge: str, preset: str) -> VisualERM:
    return VisualERM(judge, preset_for(preset, judge))


def compute_score(data_source, solution_str, ground_truth, extra_info=None, *, judge="http://localhost:8000/v1",
                  preset="8b", scale=SCALE, **_) -> float:
    """verl's custom_reward_function: the reward of one answer, in [0, 2].

    `ground_truth`: path of the reference picture; the task is `extra_info["task"]`, else `data_source`. verl asks for
    one answer at a time, so severities are divided by a fixed `scale` (published: 50), not by a batch maximum. `preset`
    says how large pictures are. Raises InputError if the judge gives no answer.
    """
    task = (extra_info or {}).get("task", data_source)
    if task not in CATEGORIES:
        raise InputError(f"The task {task!r} is none of {', '.join(CATEGORIES)}; name it in extra_info['task'].")
    return reward_answers(_judge_of(judge, preset), [task], [load_image(ground_truth)], [solution_str], scale)[0]


# ------------------------------------------------------------------------------------------------ 7. The report

STYLE = """:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1rem;margin:0 0 .7rem}table{border-collapse:collapse;width:100%;font-size:.9rem}
article{border:1px solid var(--line);border-radius:12px;padding:1rem 1.2rem;margin:1.2rem 0}
.row{display:flex;flex-wrap:wrap;gap:.6rem 1rem;margin-bottom:.8rem}figure{margin:0;flex:1 1 14rem;max-width:26rem}
img{width:100%;background:#fff;border:1px solid var(--line);border-radius:6px}figcaption{font-size:.8rem;opacity:.7}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
.row span,pre{background:var(--soft);border-radius:6px;padding:.15rem .6rem}.s1{color:#b8860b}.s2{color:#d2691e}
.s3{color:#d22}pre{white-space:pre-wrap;font-size:.8rem;padding:.6rem}summary{cursor:pointer;margin-top:.5rem}"""


def data_url(image: Image.Image) -> str:
    """A picture as a PNG data URL."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def html_report(title: str, cards: list[dict], intro: str = "") -> str:
    """One self-contained page, everything escaped. A card has `title`, `images` [(caption, picture)] and may have
    `verdicts` {caption: Verdict}, `values` {name: number or text} and `texts` {name: long text, folded away}; what is
    None is left out."""
    page = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
            f"<h1>{escape(title)}</h1><p>{escape(intro)}</p>"]
    for card in cards:
        page.append(f"<article><h2>{escape(card['title'])}</h2><div class=row>")
        page += [f'<figure><img src="{data_url(image)}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
                 for caption, image in card["images"]]
        page.append("</div><div class=row>")
        page += [f"<span>{escape(name)} <b>{escape(_show(value))}</b></span>"
                 for name, value in card.get("values", {}).items() if value is not None]
        page.append("</div>")
        for caption, verdict in card.get("verdicts", {}).items():
            page += [f"<p>{escape(caption)}</p>"] if caption and verdict else []
            if verdict and not verdict.readable:
                page.append(f"<p class=s3>Unreadable verdict.</p><pre>{escape(verdict.raw[:2000])}</pre>")
            elif verdict and verdict.errors:
                page.append("<table><tr><th>severity<th>category<th>location<th>description")
                page += [f"<tr><td class=s{e.severity}>{'●' * e.severity}<td>{escape(e.category)}"
                         f"<td>{escape(e.location)}<td>{escape(e.description)}" for e in verdict.errors]
                page.append("</table>")
            elif verdict:
                page.append("<p>No difference found.</p>")
        page += [f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
                 for name, text in card.get("texts", {}).items() if text]
        page.append("</article>")
    return "\n".join(page) + "</html>\n"


def _show(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------------ 8. Command line


@dataclass
class Settings:
    """Flags of the command line."""

    task: str = field(default="", metadata={"help": "chart, table or svg: what the two pictures show"})
    judge: str = field(default="", metadata={"help": "model folder, hub name or URL; default: the preset's judge"})
    preset: str = field(default="", metadata={"help": "row of PRESETS: tiny, 2b, 8b (8b: the default off this disk)"})
    encoder: str = field(default=PRESETS["tiny"]["model"], metadata={"help": "vision encoder to compare with"})
    examples: str = field(default="data/examples", metadata={"help": "folder with a pairs.jsonl to judge"})
    out: str = field(default="runs/judge", metadata={"help": "folder for report.html"})
    json: bool = field(default=False, metadata={"help": "print JSON and nothing else"})


def load_image(path) -> Image.Image:
    """A picture from disk, RGB on white, shrunk to 1024 px. Raises InputError: missing, no picture, too large."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > 64_000_000 or max(image.size) > 150 * min(image.size):
                raise InputError(f"The picture {path} is {image.width} x {image.height}; at most 64 million pixels and "
                                 f"a ratio of 150 between the sides are taken.")
            image = image.convert("RGBA")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"There is no picture {path}.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read, or a much too large one.") from error
    image.thumbnail((1024, 1024))
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def read_pairs(folders) -> list[dict]:
    """Rows of pairs.jsonl in `folders` (one, or several separated by commas), with paths that open from here.

    A row has VC-RewardBench's fields, `family` (the name that pairs of one program share) and, if data.build wrote it,
    `gt_code` and `pred_code`. Raises InputError with file and line for a row that is broken.
    """
    rows = []
    for folder in map(Path, str(folders).split(",")):
        path = folder / "pairs.jsonl"
        if not path.is_file():
            raise InputError(f"{path} does not exist; make it with: python -m data.build --out {folder}")
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            try:
                row = json.loads(line)
                row |= {key: str(folder / row[key]) for key in ("gt_img_path", "pred_img_path")}
                row["family"] = f"{folder}/{row['id'].rpartition('-')[0]}"
                CATEGORIES[row["category"]]  # KeyError: an unknown task
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}:{number} is no pair of pictures ({in_one_line(error)}).") from error
            rows.append(row)
    return rows


def judge_examples(settings: Settings, judge: VisualERM, encoder: VisionEncoder) -> None:
    """Judge every pair of a folder, print all rewards side by side, write the report."""
    rows = read_pairs(_find(settings.examples))
    pictures = [[load_image(row[key]) for key in ("gt_img_path", "pred_img_path")] for row in rows]
    verdicts, cards = judge.judge([(row["category"], *images) for row, images in zip(rows, pictures)]), []
    for row, images, verdict, reward in zip(rows, pictures, verdicts, verm_rewards(verdicts)):
        codes = row.get("gt_code"), row.get("pred_code")
        values = {"severity": verdict.severity if verdict.readable else None, "Visual-ERM": reward - 1}  # r_verm
        values |= rivals(row["category"], *images, *codes, encoder)
        truth = "\n".join(f"{e['severity']} {e['type']}  {e.get('location', '')}: {e['description']}"
                          for e in row.get("human_errors", []))
        print_verdict(str(row["id"]), verdict, values)
        cards.append({"title": str(row["id"]), "images": list(zip(("reference", "rendering"), images)),
                      "verdicts": {"": verdict}, "values": values,
                      "texts": {"true errors": truth, "reference code": codes[0], "code of the rendering": codes[1]}})
    report = Path(settings.out, "report.html")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(html_report("Visual-ERM: two pictures in, a list of discrepancies and a reward out", cards,
                                  f"Judge {settings.judge}, vision encoder {settings.encoder}."), "utf-8")
    print(f"{sum(not v.readable for v in verdicts)} of {len(verdicts)} verdicts unreadable; report: {report}")


def print_verdict(title: str, verdict: Verdict, values: dict) -> None:
    print(f"{title}: " + ", ".join(f"{name} {_show(value)}" for name, value in values.items() if value is not None))
    for error in verdict.errors:
        print(f"  {'*' * error.severity:3} {error.category}, {error.location}: {error.description}")
    print("" if verdict.readable else f"  unreadable: {verdict.raw[:200]!r}\n")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 for what the user can put right."""
    parser = HfArgumentParser(Settings, description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", help="ORIGINAL GENERATED; without pictures the examples are judged")
    settings, rest = parser.parse_args_into_dataclasses(arguments)
    try:
        if len(rest.pictures) not in (0, 2):
            raise InputError("Give two pictures, the original and the generated one, or none to judge the examples.")
        if rest.pictures and settings.task not in CATEGORIES:
            raise InputError(f"--task says what the pictures show: {', '.join(CATEGORIES)}; not {settings.task!r}.")
        pictures = [load_image(path) for path in rest.pictures]
        row = preset_for(settings.preset, settings.judge)
        settings.judge = settings.judge or row["judge"]
        judge, encoder = VisualERM(settings.judge, row), VisionEncoder(settings.encoder)
        if not pictures:
            judge_examples(settings, judge, encoder)
            return 0
        verdict = judge.judge([(settings.task, *pictures)])[0]
        if not verdict.readable:
            raise InputError(f"The judge {settings.judge} answered nothing that is a verdict: {verdict.raw[:100]!r}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    others = rivals(settings.task, *pictures, encoder=encoder)
    reward = verm_rewards([verdict], SCALE)[0]  # one pair has no batch to be normalised by
    if settings.json:
        print(json.dumps({"verdict": json.loads(verdict.to_json()), "severity": verdict.severity, "reward": reward,
                          "rivals": others}))
    else:
        print_verdict(rest.pictures[1], verdict, {"severity": verdict.severity, "reward": reward} | others)
    return 0


if __name__ == "__main__":
    sys.exit(main())
