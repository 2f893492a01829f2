"""Muon for the matrices inside the blocks and AdamW for everything else, as one optimiser.

Small vision-language models trained from scratch stay on a plateau under AdamW alone; Muon
(orthogonalised momentum) leaves it within minutes. `torch.optim.Muon` is the same rule (the tests
compare the two), but it computes in bfloat16, which most CPUs only emulate, and one matrix at a
time: a step took 1.5 s there and takes 0.1 s here.
"""
import math

import torch

# Coefficients of the quintic iteration, torch.optim.Muon's defaults.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Matrices with the singular vectors of `matrices` (N, A, B) and singular values of about 1."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.mT if matrices.size(1) > matrices.size(2) else matrices  # (N, A, B), A <= B
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT  # (N, A, A)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if matrices.size(1) > matrices.size(2) else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised and scaled to the size of AdamW's updates; float32."""

    def __init__(self, params: list, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update the matrices."""
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p.grad))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                shapes.setdefault(p.shape, []).append((p, p.grad.lerp(buffer, group["momentum"])))
            for shape, parts in shapes.items():  # all matrices of one shape at once
                updates = orthogonalize(torch.stack([update for _, update in parts]))
                for (p, _), update in zip(parts, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser over `model`'s trainable parameters; `lr` is Muon's, AdamW gets `lr / 3`.

    Both halves share their parameter groups with this object, so learning-rate schedulers work.
    """

    def __init__(self, model, lr: float):
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        inside = [p for n, p in named if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(p) for p in inside}
        rest = [p for _, p in named if id(p) not in chosen]
        groups = [{"params": part} for part in (inside, rest) if part]
        super().__init__(groups, {"lr": lr})
        self.halves = [Muon(inside, lr)]
        if rest:
            adamw = torch.optim.AdamW(rest, lr=lr / 3, betas=(0.9, 0.98), weight_decay=0.0)
            self.halves.append(adamw)
        self.param_groups = [half.param_groups[0] for half in self.halves]

    def step(self, closure: None = None) -> None:
        """Update all parameters."""
        for half in self.halves:
            half.step()

    def state_dict(self) -> dict:
        """The states of both halves."""
        return {"halves": [half.state_dict() for half in self.halves]}

    def load_state_dict(self, state: dict) -> None:
        """Load what `state_dict` gave."""
        for half, saved in zip(self.halves, state["halves"]):
            half.load_state_dict(saved)
        self.param_groups = [half.param_groups[0] for half in self.halves]


def learning_rate(highest: float, kind: str, step: int, steps: int, warmup: int) -> float:
    """The learning rate of `step` (from 1 on): a rise over `warmup` steps, then as `kind` says.

    constant: it stays; linear and cosine: it falls to nearly 0 at the last of `steps`, as with
    transformers' schedules of these names. There the rise begins at 0; here the first step counts.

    >>> [round(learning_rate(1.0, "linear", step, 6, 2), 2) for step in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warm = min(1.0, step / max(1, warmup))
    done = max(0, step - 1 - warmup) / max(1, steps - warmup)  # of the way down, in [0, 1)
    falls = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return highest * warm * falls[kind]
