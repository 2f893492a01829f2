"""Choices of train_rl.py that come from other papers than the one reproduced here.

    --importance_sampling_level sequence             GSPO, arXiv 2507.18071
    --loss_type dapo | grpo | dr_grpo                arXiv 2503.14476, 2402.03300, 2503.20783
    --mask_truncated_completions                     DAPO, arXiv 2503.14476
    --multi_objective_aggregation normalize_then_sum GDPO, arXiv 2601.05242

Names and arithmetic are those of trl's GRPOTrainer; the tests compare values and gradients.
"""
import torch


def sequence_log_ratio(log_ratio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """GSPO: the mean of log p - log p_old (b, T) over a completion's tokens, for all: (b, 1).

    >>> sequence_log_ratio(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[1, 1, 0]])).tolist()
    [[1.5]]
    """
    return (log_ratio * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def token_weights(masks: list[torch.Tensor], loss_type: str,
                  longest: int | None = None) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(what each token counts, the tokens N of the batch): a loss is sum(weight * term) / N.

    `masks` (B, T): of each turn the tokens that count. dapo: every token 1. grpo: every completion
    the same, so a token of a long one less. dr_grpo: every token N / (completions * `longest`), a
    constant that does not depend on how long the completions are.

    >>> weights, tokens = token_weights([torch.tensor([[1, 1, 1], [1, 0, 0]])], "grpo")
    >>> [[round(w, 3) for w in row] for row in weights[0].tolist()], tokens.item()
    ([[0.667, 0.667, 0.667], [2.0, 0.0, 0.0]], 4)
    """
    tokens = sum(mask.sum() for mask in masks).clamp(min=1)
    completions = sum(map(len, masks))
    if loss_type == "grpo":
        lengths = [mask.sum(1, keepdim=True).clamp(min=1) for mask in masks]  # (B, 1)
        masks = [mask * tokens / (completions * n) for mask, n in zip(masks, lengths)]
    elif loss_type == "dr_grpo":
        masks = [mask * tokens / (completions * longest) for mask in masks]
    return masks, tokens


def normalize_then_sum(advantages: torch.Tensor, weights: list[float]) -> torch.Tensor:
    """GDPO: advantages (K, B) of K rewards, each taken in its groups alone, as one (B,).

    Their weighted sum is brought to mean 0 and deviation 1 over the batch. So a reward of small
    spread counts as much as one of large.
    """
    total = torch.tensor(weights, device=advantages.device) @ advantages  # (B,)
    return (total - total.mean()) / (total.std() + 1e-4)
