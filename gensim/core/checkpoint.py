"""What a stopped training goes on from: an optimiser's moments as named tensors, and names below a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def moments(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimiser's state by parameter and name, such as "3.exp_avg"."""
    states = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, state in states.items() for name, value in state.items()}


def refill(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """The reverse of `moments`."""
    whole = optimizer.state_dict()
    for name, value in tensors.items():
        index, key = name.split(".")
        whole["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(whole)


def over(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors with a prefix before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Those tensors whose names have the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
