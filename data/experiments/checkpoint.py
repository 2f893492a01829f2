"""Write a Qwen3-VL checkpoint of the published shape with random weights: all of its size, none of its knowledge.

    python -m data.experiments.checkpoint --shape 8b --out runs/random_8b        # 17.5 GB on disk, 2 GB of memory

With it the scripts show on one machine what they need of memory and time, without a download. The folder looks like
`Qwen/Qwen3-VL-8B-Instruct` (or internlm/Visual-ERM, the same shape): config, bfloat16 weights in several shards with an
index, processor, chat template. The tokenizer is the tiny base's, so the config names its ids for pictures and the end;
the embedding keeps its 151,936 rows. Without its single tokens for whole questions a question is some 600 tokens long,
twice what it is in Qwen's. `nano` is a model of the same build with 64 units, for tests on a CPU.
"""
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, HfArgumentParser, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from data.verdict import InputError
from data.models import load_processor

ROOT = Path(__file__).resolve().parent.parent.parent
# text: layers, width, heads, key-value heads, head size, inner width; vision: layers, width, heads, inner width, layers
# that deepstack takes; words: rows of the embedding; tied: it is the output layer as well. As the published config.json
# files have it.
SHAPES = {
    "nano": dict(text=(2, 64, 4, 2, 16, 128), vision=(3, 64, 4, 128, (0, 1)), words=2048, tied=False),
    "2b": dict(text=(28, 2048, 16, 8, 128, 6144), vision=(24, 1024, 16, 4096, (5, 11, 17)), words=151936, tied=True),
    "4b": dict(text=(36, 2560, 32, 8, 128, 9728), vision=(24, 1024, 16, 4096, (5, 11, 17)), words=151936, tied=True),
    "8b": dict(text=(36, 4096, 32, 8, 128, 12288), vision=(27, 1152, 16, 4304, (8, 16, 24)), words=151936, tied=False),
}


@dataclass
class Settings:
    shape: str = field(default="nano", metadata={"help": "nano, 2b, 4b or 8b"})
    out: str = field(default="runs/random", metadata={"help": "folder for the checkpoint"})
    seed: int = field(default=0, metadata={"help": "fixes the weights"})
    shard: float = field(default=2.0, metadata={"help": "GB of a file, and about what is held in memory"})


def make_config(shape, tokenizer):
    """The Qwen3VLConfig of a row of SHAPES, with the tokenizer's ids."""
    row, ids = SHAPES[shape], tokenizer.convert_tokens_to_ids
    layers, width, heads, kv_heads, head, inner = row["text"]
    depth, tower, tower_heads, tower_inner, deepstack = row["vision"]
    side = head * 5 // 32                                   # rotary frequencies of frame, row and column: 24, 20, 20
    return Qwen3VLConfig(
        text_config=dict(vocab_size=row["words"], hidden_size=width, intermediate_size=inner,
                         num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
                         head_dim=head, max_position_embeddings=262144, eos_token_id=ids("<|im_end|>"),
                         pad_token_id=ids("<|endoftext|>"), tie_word_embeddings=row["tied"],
                         rope_parameters=dict(rope_type="default", rope_theta=5_000_000,
                                              mrope_section=[head // 2 - 2 * side, side, side],
                                              mrope_interleaved=True)),
        vision_config=dict(depth=depth, hidden_size=tower, intermediate_size=tower_inner, num_heads=tower_heads,
                           out_hidden_size=width, deepstack_visual_indexes=list(deepstack), patch_size=16,
                           spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=2304),
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=row["tied"], dtype="bfloat16", architectures=["Qwen3VLForConditionalGeneration"])


def tensors(config):
    """{name: shape} of what a checkpoint of this config holds; a tied output layer is not written."""
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    return {name: p.shape for name, p in model.state_dict().items() if name not in model.all_tied_weights_keys}


def draw(name, shape, generator):
    """Random weights of the scale of a new model's: bias 0, norm 1, else a deviation of 0.02."""
    if len(shape) == 1:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)


def write_weights(config, out, shard_bytes, seed):
    """Shards of at most about `shard_bytes` and their index. Only one shard is in memory."""
    shards, size = [{}], 0
    for name, shape in tensors(config).items():
        if shards[-1] and size + 2 * shape.numel() > shard_bytes:
            shards, size = [*shards, {}], 0
        shards[-1][name], size = shape, size + 2 * shape.numel()
    generator, where = torch.Generator().manual_seed(seed), {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: draw(name, shape, generator) for name, shape in shard.items()}, out / file, {"format": "pt"})
        where |= dict.fromkeys(shard, file)
        print(f"{file}: {len(shard)} tensors", flush=True)
    total = sum(shape.numel() for shard in shards for shape in shard.values())
    index = {"metadata": {"total_size": 2 * total, "total_parameters": total}, "weight_map": where}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")        # last: now it is whole
    return total


def main(arguments=None):
    """Exit code 0, or 2 for what the user can put right."""
    (settings,) = HfArgumentParser(Settings, description=__doc__.splitlines()[0]).parse_args_into_dataclasses(arguments)
    out = Path(settings.out)
    try:
        if settings.shape not in SHAPES:
            raise InputError(f"--shape {settings.shape!r} is unknown; choose among {', '.join(SHAPES)}.")
        if settings.shard <= 0:
            raise InputError("--shard must be greater than 0.")
        out.mkdir(parents=True, exist_ok=True)
        processor = load_processor("data/tiny/base")
        config = make_config(settings.shape, processor.tokenizer)
        needed, free = 2 * sum(shape.numel() for shape in tensors(config).values()), shutil.disk_usage(out).free
        if needed > free:
            raise InputError(f"{out} has room for {free / 1e9:.1f} GB; the shape {settings.shape} takes "
                             f"{needed / 1e9:.1f} GB.")
        images = processor.image_processor
        images.merge_size, images.size = 2, {"shortest_edge": 65536, "longest_edge": 16777216}
        processor.save_pretrained(out)
        words = json.loads((out / "tokenizer.json").read_text())
        words["added_tokens"] = [token for token in words["added_tokens"] if token["special"]]      # no whole questions
        (out / "tokenizer.json").write_text(json.dumps(words))
        config.save_pretrained(out)
        GenerationConfig(eos_token_id=config.text_config.eos_token_id,
                         pad_token_id=config.text_config.pad_token_id).save_pretrained(out)
        total = write_weights(config, out, settings.shard * 1e9, settings.seed)
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{total:,} weights in {out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped; the folder is not complete.")
