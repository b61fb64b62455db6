"""AdamW, or Muon for the matrices and AdamW for the rest; which parameters learn; one learning-rate schedule.

Muon (Jordan et al. 2024; `torch.optim.Muon`) replaces a matrix's momentum by its nearest semi-orthogonal matrix;
``match_rms_adamw`` scales it to AdamW's usual update size (Liu et al. 2025). It is given the matrices inside the
blocks, queries, keys and values apart; embeddings, unembedding, biases and LayerNorms go to AdamW.
"""

import torch
from torch import Tensor, nn

from circuits.errors import InputError
from circuits.gpt import GPT
from circuits.training.config import TrainConfig, frozen_layers

BETAS = (0.9, 0.95)
MOMENTUM = 0.95


def learning(gpt: GPT, config: TrainConfig) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name; the others stop asking for gradients.

    Raises:
        InputError: a frozen layer that the model does not have, or nothing is left to learn.
    """
    layers = frozen_layers(config.freeze)
    missing = [i for i in sorted(layers) if i >= config.full_shape.n_layers]
    if missing:
        raise InputError(f"freeze L{missing[0]}: the model has layers L0 to L{config.full_shape.n_layers - 1}")
    parts = {part for part in config.freeze if not part.startswith("L")}
    if "init" in parts:  # everything but the new layers
        parts |= {"embed", "pos_embed", "ln_final", "unembed"}
        layers |= set(range(config.shape.n_layers))
    chosen = {}
    for name, parameter in gpt.named_weights().items():
        part, _, rest = name.partition(".")
        frozen = int(rest.partition(".")[0]) in layers if part == "blocks" else part in parts
        parameter.requires_grad_(not frozen)
        if not frozen:
            chosen[name] = parameter
    if not chosen:
        raise InputError("every part of the model is frozen: nothing is left to learn (--add-layers adds some)")
    return chosen


def build(parameters: dict[str, nn.Parameter], config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimisers of a run, at their peak learning rates.

    Raises:
        InputError: Muon with a torch that has none.
    """
    lr, lr_rest = config.rates
    matrices = [p for name, p in parameters.items() if p.dim() == 2 and name.startswith("blocks.")]
    ids = {id(p) for p in matrices}
    rest = [p for p in parameters.values() if id(p) not in ids]
    if config.optimiser == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"torch {torch.__version__} has no Muon (2.9 does): give --optimiser adamw")
        groups = [{"params": rest, "lr": lr_rest, "weight_decay": 0.0}]
        muon = torch.optim.Muon(
            matrices, lr=lr, momentum=MOMENTUM, weight_decay=config.matrix_decay, adjust_lr_fn="match_rms_adamw"
        )
        found = ([muon] if matrices else []) + ([_adamw(groups)] if rest else [])
    else:
        groups = [
            {"params": matrices, "lr": lr, "weight_decay": config.matrix_decay},
            {"params": rest, "lr": lr_rest, "weight_decay": 0.0},
        ]
        found = [_adamw([g for g in groups if g["params"]])]
    for optimiser in found:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return found


def _adamw(groups: list[dict]) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, betas=BETAS, fused=True)


def set_rates(optimisers: list[torch.optim.Optimizer], factor: float) -> None:
    """Every learning rate at a share of its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor


def state_tensors(optimisers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimisers remember, by place: ``"0.3.exp_avg"`` is the first one's fourth parameter's."""
    found = {}
    for i, optimiser in enumerate(optimisers):
        for j, slots in optimiser.state_dict()["state"].items():
            for slot, value in slots.items():
                found[f"{i}.{j}.{slot}"] = torch.as_tensor(value)
    return found


def restore(optimisers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """The inverse of `state_tensors`.

    Raises:
        ValueError: tensors that are not of all these optimisers' parameters.
    """
    for i, optimiser in enumerate(optimisers):
        state = optimiser.state_dict()
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            which, j, slot = key.split(".")
            if int(which) == i:
                slots.setdefault(int(j), {})[slot] = value
        if sorted(slots) != [j for group in state["param_groups"] for j in group["params"]]:
            raise ValueError("the state of some parameters is missing")
        state["state"] = slots
        optimiser.load_state_dict(state)
