"""Muon for the matrices inside the blocks and AdamW for everything else, as one optimiser.

Small vision-language models trained from scratch sit on a plateau under AdamW alone; Muon (orthogonalised momentum)
leaves it within minutes. `torch.optim.Muon` takes two-dimensional weights only, hence this pair.
"""
import torch


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser over `model`'s trainable parameters; `lr` is Muon's, AdamW gets `lr / 3`.

    Both halves share their parameter groups with this object, so any learning-rate scheduler works on it.
    """

    def __init__(self, model, lr):
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        inside = [p for n, p in named if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(p) for p in inside}
        rest = [p for _, p in named if id(p) not in chosen]
        super().__init__([{"params": inside}, {"params": rest}] if rest else [{"params": inside}], {"lr": lr})
        self.halves = [torch.optim.Muon(inside, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")]
        if rest:
            self.halves.append(torch.optim.AdamW(rest, lr=lr / 3, betas=(0.9, 0.98), weight_decay=0.0))
        self.param_groups = [half.param_groups[0] for half in self.halves]

    def step(self, closure=None):
        for half in self.halves:
            half.step()

    def state_dict(self):
        return {"halves": [half.state_dict() for half in self.halves]}

    def load_state_dict(self, state):
        for half, saved in zip(self.halves, state["halves"]):
            half.load_state_dict(saved)
        self.param_groups = [half.param_groups[0] for half in self.halves]
