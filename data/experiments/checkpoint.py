"""Write a Qwen3-VL checkpoint of the published shape with random weights.

    python -m data.experiments.checkpoint --shape 8b --out runs/random_8b  # 17.5 GB; 2 of memory

With it the scripts show on one machine what they need of memory and time, without a download. The
folder looks like `Qwen/Qwen3-VL-8B-Instruct` (or internlm/Visual-ERM, the same shape): config,
bfloat16 weights in several shards with an index, processor, chat template. The tokenizer is the
tiny base's, so the config names its ids for pictures and the end; the embedding keeps its 151,936
rows. Without its single tokens for whole questions a question is some 600 tokens long, twice what
it is in Qwen's. `nano` is a model of the same build with 64 units, for tests on a CPU.
"""
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script, write_text
from data.verdict import InputError


@dataclass
class Settings:
    shape: str = flag("nano", "nano, 2b, 4b or 8b")
    out: str = flag("runs/random", "folder for the checkpoint")
    seed: int = flag(0, "fixes the weights")
    shard: float = flag(2.0, "GB of a file, and about what is held in memory")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # a mistyped flag is told before torch is loaded

import torch
from safetensors.torch import save_file
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from data.models import load_processor


@dataclass(frozen=True)
class Shape:
    """A model as the published config.json files have it."""

    text: tuple  # layers, width, heads, key-value heads, head size, inner width
    vision: tuple  # layers, width, heads, inner width, layers that deepstack takes
    words: int = 151936  # rows of the embedding
    tied: bool = False  # the embedding is the output layer as well


SHAPES = {
    "nano": Shape((2, 64, 4, 2, 16, 128), (3, 64, 4, 128, (0, 1)), words=2048),
    "2b": Shape((28, 2048, 16, 8, 128, 6144), (24, 1024, 16, 4096, (5, 11, 17)), tied=True),
    "4b": Shape((36, 2560, 32, 8, 128, 9728), (24, 1024, 16, 4096, (5, 11, 17)), tied=True),
    "8b": Shape((36, 4096, 32, 8, 128, 12288), (27, 1152, 16, 4304, (8, 16, 24))),
}


def make_config(name: str, tokenizer: PreTrainedTokenizerBase) -> Qwen3VLConfig:
    """The config of a shape, with the tokenizer's ids."""
    shape, ids = SHAPES[name], tokenizer.convert_tokens_to_ids
    layers, width, heads, kv_heads, head, inner = shape.text
    depth, tower, tower_heads, tower_inner, deepstack = shape.vision
    side = head * 5 // 32  # rotary frequencies of frame, row and column: of 64 they are 24, 20, 20
    rope = dict(rope_type="default", rope_theta=5_000_000, mrope_interleaved=True,
                mrope_section=[head // 2 - 2 * side, side, side])
    text = dict(
        vocab_size=shape.words, hidden_size=width, intermediate_size=inner,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        head_dim=head,
        max_position_embeddings=262144, eos_token_id=ids("<|im_end|>"),
        pad_token_id=ids("<|endoftext|>"), tie_word_embeddings=shape.tied, rope_parameters=rope)
    vision = dict(
        depth=depth, hidden_size=tower, intermediate_size=tower_inner, num_heads=tower_heads,
        out_hidden_size=width, deepstack_visual_indexes=list(deepstack), patch_size=16,
        spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=2304)
    return Qwen3VLConfig(
        text_config=text, vision_config=vision,
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=shape.tied, dtype="bfloat16",
        architectures=["Qwen3VLForConditionalGeneration"])


def tensors(config: Qwen3VLConfig) -> dict[str, torch.Size]:
    """{name: shape} of what a checkpoint of this config holds, without a tied output layer."""
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    tied = model.all_tied_weights_keys
    return {name: p.shape for name, p in model.state_dict().items() if name not in tied}


def random_weights(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Of the scale of a new model's, on the generator's device: bias 0, norm 1, else 0.02."""
    place = dict(dtype=torch.bfloat16, device=generator.device)
    if len(shape) == 1:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, **place)
    return torch.empty(shape, **place).normal_(0.0, 0.02, generator=generator)


def write_folder(shape: str, out: Path) -> Qwen3VLConfig:
    """Write all of a checkpoint but its weights: config, processor, generation config."""
    processor = load_processor("data/tiny/base")
    config = make_config(shape, processor.tokenizer)
    images = processor.image_processor
    images.merge_size, images.size = 2, {"shortest_edge": 65536, "longest_edge": 16777216}
    processor.save_pretrained(out)
    words = json.loads((out / "tokenizer.json").read_text())
    # Without the tokens that are whole questions.
    words["added_tokens"] = [token for token in words["added_tokens"] if token["special"]]
    write_text(out / "tokenizer.json", json.dumps(words))
    config.save_pretrained(out)
    generation = GenerationConfig(eos_token_id=config.text_config.eos_token_id,
                                  pad_token_id=config.text_config.pad_token_id)
    generation.save_pretrained(out)
    return config


def write_weights(config: Qwen3VLConfig, out: Path, shard_bytes: float, seed: int) -> int:
    """Write shards of at most about `shard_bytes` and their index; the number of weights.

    Only one shard is in memory.
    """
    shards, size, total = [{}], 0, 0
    for name, shape in tensors(config).items():
        stored = 2 * shape.numel()  # bfloat16
        if shards[-1] and size + stored > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += stored
        total += shape.numel()
    generator, where = torch.Generator().manual_seed(seed), {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: random_weights(name, shape, generator) for name, shape in shard.items()},
                  out / file, {"format": "pt"})  # without a name, so that it leaves the memory
        where |= dict.fromkeys(shard, file)
        print(f"{file}: {len(shard)} tensors", flush=True)
    index = {"metadata": {"total_size": 2 * total, "total_parameters": total}, "weight_map": where}
    # Last: with the index the folder is complete.
    write_text(out / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")
    return total


@script
def main(argv: list[str] | None = None) -> None:
    """Write the folder. Raises InputError if the disk has no room for it."""
    settings = parse(Settings, argv, __doc__)
    out = Path(settings.out)
    if settings.shape not in SHAPES:
        raise InputError(f"--shape {settings.shape!r} is unknown; choose among "
                         f"{', '.join(SHAPES)}.")
    if settings.shard <= 0:
        raise InputError("--shard must be greater than 0.")
    out.mkdir(parents=True, exist_ok=True)
    config = write_folder(settings.shape, out)
    needed = 2 * sum(shape.numel() for shape in tensors(config).values())
    free = shutil.disk_usage(out).free
    if needed > free:
        raise InputError(f"{out} has room for {free / 1e9:.1f} GB; the shape {settings.shape} "
                         f"takes {needed / 1e9:.1f} GB.")
    total = write_weights(config, out, settings.shard * 1e9, settings.seed)
    print(f"{total:,} weights in {out}")


if __name__ == "__main__":
    sys.exit(main())
