"""Merge an adapter into its base: a whole checkpoint, which transformers loads without peft.

    python -m data.merge runs/judge_sft/checkpoint --out runs/judge_whole

The adapter is one of train_sft.py or train_rl.py, or any LoRA of a Qwen3-VL. The weights keep the
base's number format and are merged on the CPU: the memory needed is the size of the checkpoint
(17.5 GB for 8B). An adapter that was trained on a base in 4 bits is merged into the base in full,
as is usual: what it does then differs a little.
"""
import sys
from dataclasses import dataclass
from pathlib import Path

from data.runs import flag, parse, script
from data.verdict import InputError


@dataclass
class Settings:
    base: str = flag("", "base: folder or hub name; default: the one the adapter names")
    out: str = flag("runs/merged", "folder for the checkpoint; must not exist, or be empty")


ADAPTER = dict(help="folder of the adapter")
if __name__ == "__main__":
    parse(Settings, None, __doc__, adapter=ADAPTER)  # a mistyped flag is told before torch loads

from data.models import PRESETS, add_adapter, load_model, trainable


def merge(adapter: str, base: str, out: Path) -> None:
    """Write the checkpoint. Raises InputError: no adapter, no base, or OUT holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; choose another --out.")
    base = trainable(base, PRESETS["tiny"], adapter)
    model, processor = load_model(base, device="cpu", dtype="auto")
    model = add_adapter(model, {}, 0, "default", adapter).merge_and_unload(safe_merge=True)
    model.save_pretrained(out)
    processor.save_pretrained(out)


@script
def main(argv: list[str] | None = None) -> None:
    """Merge and say where."""
    settings = parse(Settings, argv, __doc__, adapter=ADAPTER)
    merge(settings.adapter, settings.base, Path(settings.out))
    print(f"Wrote {settings.out}.")


if __name__ == "__main__":
    sys.exit(main())
