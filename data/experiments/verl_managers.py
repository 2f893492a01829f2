"""Let verl's own reward managers pay our rewards, and hold these against the functions.

    pip install --no-deps verl
    pip install "tensordict<=0.10" ray hydra-core codetiming torchdata aiohttp
    python -m data.experiments.verl_managers
    python -m data.experiments.verl_managers --path visual_erm.py    # what a file path leads to

The first two lines belong into an environment of its own; no GPU is needed. The shipped judge
answers behind a URL. It is asked about the shipped examples and a program that cannot be drawn, in
batches of verl's `DataProto`, by every manager that this version of verl has: those of its reward
loop (one answer at a time; `remote` in a Ray actor), the whole loop with two workers in Ray, and
the older ones, of which `batch` has all answers at once. Each is asked again with a judge that is
down. A line has the rewards and the largest difference to `compute_score` or `compute_score_batch`,
called here. Exit code 1: one differs, as `prime` and `remote` do with a file's path.
"""
import asyncio
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from data.runs import flag, parse, script
from data.verdict import InputError

DOWN = "http://127.0.0.1:9/v1"
LOOP = asyncio.new_event_loop()


@dataclass
class Settings:
    judge: str = flag("data/tiny/judge", "folder of the judge that is put behind a URL")
    path: str = flag("pkg://visual_erm", "as verl's reward.custom_reward_function.path")
    examples: str = flag("data/examples", "folder of pairs")


if __name__ == "__main__":
    parse(Settings, None, __doc__)  # before the slow imports of torch

import torch

from data import serve
from data.models import load_processor
from data.pairs import read_pairs
from visual_erm import compute_score, compute_score_batch


def questions(folder: str) -> dict[str, list]:
    """The arguments of `compute_score_batch`: every pair's program, and one that is none."""
    pairs = read_pairs(folder)
    rows = [(pair.task, pair.rendering.code, str(Path(pair.reference.path).resolve()), {"index": n})
            for n, pair in enumerate(pairs)]
    rows.append((pairs[0].task, "no program", rows[0][2], {"index": len(rows)}))
    names = "data_sources", "solution_strs", "ground_truths", "extra_infos"
    return dict(zip(names, map(list, zip(*rows))))


def proto(asked: dict[str, list], tokenizer) -> object:
    """The batch as verl hands it to its managers: answers of N tokens, padded on the right."""
    import numpy as np
    from verl import DataProto

    answers = tokenizer(asked["solution_strs"], padding=True, padding_side="right",
                        return_tensors="pt")
    prompts = torch.ones(len(answers.input_ids), 1, dtype=torch.long)
    mask = torch.cat([prompts, answers.attention_mask], dim=1)  # (B, 1 + N)
    tensors = {"prompts": prompts, "responses": answers.input_ids, "attention_mask": mask}
    others = {"data_source": asked["data_sources"],
              "extra_info": [dict(extra) for extra in asked["extra_infos"]],
              "reward_model": [{"ground_truth": path} for path in asked["ground_truths"]]}
    return DataProto.from_dict(tensors, {name: np.array(values, dtype=object)
                                         for name, values in others.items()})


def config_of(settings: Settings, url: str, manager: str, function: str) -> object:
    """verl's own configuration of rewards, with the keys set that the README names."""
    import verl
    from omegaconf import OmegaConf

    reward = OmegaConf.load(Path(verl.__file__).parent / "trainer/config/reward/reward.yaml")
    OmegaConf.update(reward, "num_workers", 2)
    OmegaConf.update(reward, "reward_manager.name", manager)
    OmegaConf.update(reward, "custom_reward_function.path", settings.path)
    OmegaConf.update(reward, "custom_reward_function.name", function)
    OmegaConf.update(reward, "custom_reward_function.reward_kwargs",
                     {"judge": url, "preset": "tiny"}, force_add=True)
    actor = {"model": {"tokenizer_path": settings.judge, "path": settings.judge}}
    return OmegaConf.create({"reward": reward, "actor_rollout_ref": actor,
                             "trainer": {"experiment_name": "managers"}})


# --- 1. the managers ---


def one_by_one(config: object, data: object, tokenizer) -> list[float]:
    """A manager of the reward loop: one answer at a time, all of them at once."""
    from verl.trainer.ppo.reward import load_reward_manager

    asyncio.set_event_loop(LOOP)  # one for all: `rate_limited` keeps what belongs to its first
    manager = load_reward_manager(config, tokenizer)

    async def run():
        return await asyncio.gather(*(manager.run_single(data[n:n + 1]) for n in range(len(data))))
    return [paid["reward_score"] for paid in LOOP.run_until_complete(run())]


def whole_loop(config: object, data: object, tokenizer) -> list[float]:
    """verl's reward loop as its trainer calls it, with workers in Ray."""
    from verl.experimental.reward_loop.reward_loop import RewardLoopManager

    return RewardLoopManager(config).compute_rm_score(data).batch["rm_scores"].sum(1).tolist()


def all_at_once(config: object, data: object, tokenizer) -> list[float]:
    """A manager of verl's older trainers, which takes the whole batch."""
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.workers.reward_manager import get_reward_manager_cls

    manager = get_reward_manager_cls(config.reward.reward_manager.name)
    paid = manager(tokenizer=tokenizer, num_examine=0, compute_score=get_custom_reward_fn(config))
    return paid(data).sum(1).tolist()


def managers() -> list[tuple[str, str, Callable]]:
    """(what it is, its name, the function above that calls it) of every manager of this verl."""
    from verl.experimental.reward_loop.reward_manager import registry
    from verl.workers.reward_manager import registry as older

    loop = next(value for name, value in vars(registry).items() if isinstance(value, dict)
                and name.isupper())
    found = [("older", name, all_at_once) for name in sorted(older.REWARD_MANAGER_REGISTRY)
             if older.REWARD_MANAGER_REGISTRY[name] is not loop.get(name)]
    # Those in Ray come last: where it runs, the processes that `prime` ends print their stacks.
    names = sorted(loop, key=lambda name: (name == "remote", name))
    found += [("reward loop", name, one_by_one) for name in names]
    return [*found, ("reward loop, 2 Ray workers", "naive", whole_loop)]


# --- 2. command line ---


@script
def main(argv: list[str] | None = None) -> int:
    """Print a line for each manager; 1 if one differs."""
    settings = parse(Settings, argv, __doc__)
    try:
        import ray
        import verl  # noqa: F401
    except ImportError as error:
        raise InputError(f"verl is not installed here ({error}); the docstring says how.") from None

    warnings.filterwarnings("ignore", category=UserWarning, message=".*pictures were not judged")
    tokenizer = load_processor(settings.judge).tokenizer
    asked = questions(settings.examples)
    print(f"verl {version('verl')}, ray {version('ray')}, {settings.path}, "
          f"{len(asked['data_sources'])} answers")
    worst = 0.0
    with serve.JudgeServer(serve.judge(settings.judge)) as server:
        urls = {"": server.url, ", judge down": DOWN}
        expected = {}
        for url in urls.values():
            options = {"judge": url, "preset": "tiny"}
            singly = [compute_score(*one, **options) for one in zip(*asked.values())]
            together = compute_score_batch(**asked, **options)
            expected[url] = {"compute_score": singly, "compute_score_batch": together}
        for kind, name, call in managers():
            if call is whole_loop or name == "remote":
                ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False,
                         logging_level="ERROR", ignore_reinit_error=True)
            function = "compute_score_batch" if name == "batch" else "compute_score"
            for state, url in urls.items():
                line = f"{kind}: {name}{state}"
                try:
                    paid = call(config_of(settings, url, name, function), proto(asked, tokenizer),
                                tokenizer)
                    differs = max(abs(a - b) for a, b
                                  in zip(paid, expected[url][function], strict=True))
                    rewards = " ".join(f"{reward:.2f}" for reward in paid)
                    print(f"{line:47} {rewards}  differs by {differs:.0e}", flush=True)
                except Exception as error:  # whatever a manager makes of our function
                    differs = float("inf")
                    print(f"{line:47} {type(error).__name__}: {str(error)[:60]}", flush=True)
                worst = max(worst, differs)
    ray.shutdown()
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
