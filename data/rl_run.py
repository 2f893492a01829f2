"""What a run of train_rl.py writes down: log, held-out scores, states, checkpoint."""
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from data import engine, report, turns
from data.compare import fidelity_or_zero
from data.models import Chat
from data.pairs import Example
from data.runs import replacing
from render import Rendering, draw_alike
from visual_erm import CATEGORIES, SCALE, VisualERM

# --- 1. the log ---

# reward: mean over the batch, of the last turn; draft_reward: of the first, if there are two.
# render_rate: % of the last turn. unreadable: verdicts, both turns. truncated: % of the programs
# that ran out of room. zero_std_groups: of equal rewards, which teach nothing. completion_length:
# tokens, both turns together. policy_loss and kl: terms of Eq. 6. clip_frac: share of the tokens.
# entropy: of the policy, mean over the tokens, nats. grad_norm: of the last update, before the cut
# to 1. lr: the learning rate. sample_s, reward_s (rendering and second turn included), update_s:
# seconds. On held-out pictures, sampled: eval_render_rate, eval_reward (at a fixed scale) and
# fidelity, also by task; greedy_fidelity: of the likeliest programs; revised_fidelity: of a
# revision of each sampled program, told the judge's list, if there are two turns.
COLUMNS = ("step", "reward", "draft_reward", "render_rate", "unreadable", "truncated",
           "zero_std_groups", "completion_length", "policy_loss", "kl", "clip_frac", "entropy",
           "grad_norm", "lr", "sample_s", "reward_s", "update_s", "eval_render_rate", "eval_reward",
           "fidelity", *CATEGORIES, "greedy_fidelity", "revised_fidelity")
SHOWN = ("step", "reward", "render_rate", "unreadable", "completion_length", "kl", "grad_norm")


def shown(columns: dict) -> str:
    """Values for the console."""
    return ", ".join(f"{name} {value:.3g}" for name, value in columns.items())


def log_row(step: int, episode: list, rewards: torch.Tensor, unreadable: int, stats: dict,
            clock: list[float], num_generations: int) -> dict:
    """The row of a step: `episode` has the Batch of each turn, `stats` is of `update`."""
    grouped, last = rewards.view(-1, num_generations), episode[-1]
    rendered = sum(isinstance(drawn, Rendering) for drawn in last.renderings)
    seconds = [after - before for before, after in zip(clock, clock[1:])]
    row = {"step": step, "reward": rewards.mean().item(), "unreadable": unreadable}
    row["render_rate"] = 100 * rendered / len(last.renderings)
    row["zero_std_groups"] = int((grouped == grouped[:, :1]).all(1).sum())
    row["completion_length"] = sum(turn.mask.sum() for turn in episode).item() / len(rewards)
    row["truncated"] = 100 * torch.cat([turn.truncated for turn in episode]).float().mean().item()
    return row | stats | dict(zip(("sample_s", "reward_s", "update_s"), seconds))


# --- 2. held-out pictures ---


def draw_held(policy: Chat, held: list[Example], seed: int, temperature: float,
              drafts: list[tuple[str, str]] | None = None) -> tuple:
    """(codes, renderings, fidelities) of a program, or a revision of its draft, a picture.

    Temperature 0: the likeliest.
    """
    torch.manual_seed(seed)  # the same random numbers at every step
    codes = (engine.write_revisions(policy, held, drafts, temperature) if drafts
             else engine.write_programs(policy, held, temperature))
    renderings = draw_alike(held, codes)
    points = [fidelity_or_zero(a.scene, b.scene) for a, b in zip(held, renderings)]
    return codes, renderings, points


def evaluate(policy: Chat, held: list[Example], judge: VisualERM, score: Callable,
             settings) -> tuple[dict, list[tuple[str, float, float]]]:
    """({column: value}, [(code, reward, fidelity)] of the sampled programs).

    `score` and `settings` are those of train_rl.py.
    """
    policy.model.eval()
    codes, renderings, points = draw_held(policy, held, settings.seed, settings.temperature)
    if settings.turns > 1:
        said, judge = turns.feedback(held, renderings, judge)
    scale = settings.scale or SCALE  # constant, or steps could not be compared
    rewards, _ = score(held, codes, renderings, judge, settings, scale)
    _, _, greedy = draw_held(policy, held, settings.seed, 0.0)
    rendered = sum(isinstance(drawn, Rendering) for drawn in renderings)
    columns = {"eval_reward": sum(rewards) / len(held), "fidelity": sum(points) / len(held),
               "greedy_fidelity": sum(greedy) / len(held),
               "eval_render_rate": 100 * rendered / len(held)}
    for task in settings.task.split(","):
        of_task = [point for one, point in zip(held, points) if one.task == task]
        columns[task] = sum(of_task) / len(of_task)
    if settings.turns > 1:
        _, _, revised = draw_held(policy, held, settings.seed, settings.temperature,
                                  list(zip(codes, said)))
        columns["revised_fidelity"] = sum(revised) / len(held)
    return columns, list(zip(codes, rewards, points))


# --- 3. states and checkpoint ---


def save_state(out: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int,
               stages: dict) -> None:
    """Write OUT/state.pt: everything that a resumed run needs."""
    policy = {name: p.detach() for name, p in model.named_parameters() if ".policy." in name}
    with replacing(out / "state.pt") as path:
        torch.save({"step": step, "policy": policy, "optimizer": optimizer.state_dict(),
                    "stages": stages}, path)


def load_state(out: Path, model: torch.nn.Module,
               optimizer: torch.optim.Optimizer) -> tuple[int, dict]:
    """(step, stages) of the last state, put into model and optimizer; (0, {}) if there is none."""
    if not (out / "state.pt").exists():  # run_folder leaves it only to --resume
        return 0, {}
    state = torch.load(out / "state.pt", weights_only=True, map_location=model.device)
    model.load_state_dict(state["policy"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["stages"]


def finish(out: Path, model: torch.nn.Module, rows: list[dict], held: list[Example], stages: dict,
           judge: VisualERM, reward: str) -> None:
    """Write OUT/checkpoint (the policy's adapter, as peft writes it) and the pages; print the gain.

    `rows` are the log's.
    """
    model.save_pretrained(out / "checkpoint.tmp", selected_adapters=["policy"])
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    (out / "checkpoint.tmp" / "policy").replace(out / "checkpoint")  # a folder for each adapter
    shutil.rmtree(out / "checkpoint.tmp")
    report.rl_pages(out, rows, held, stages, judge, reward)
    scores = [row for row in rows if row["fidelity"]]
    for column in ("eval_reward", "fidelity", "greedy_fidelity", "revised_fidelity"):
        if scores[0][column]:
            print(f"{column} on {len(held)} held-out pictures: {scores[0][column]} -> "
                  f"{scores[-1][column]}")
    print(f"Wrote {out / 'checkpoint'}, {out / 'curves.png'} and {out / 'report.html'}.")
