"""Training that a stop does not spoil: weights, moments and step are kept, and batches are a function of the step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gensim.core.checkpoint import moments, over, refill, under
from gensim.core.files import load_tensors, save_tensors
from gensim.core.progress import bar

KEPT = 250  # steps between two checkpoints
WARM = 100  # steps over which the rate rises


def train(
    net: nn.Module,
    loss: Callable[[np.random.Generator], Tensor],
    steps: int,
    rate: float,
    seed: int,
    kept: Path,
    quiet: bool = True,
) -> None:
    """Adam on `loss`, whose generator is keyed by seed and step; goes on from `kept` where that is there.

    The rate rises over the first steps and falls to nothing along half a cosine. ValueError when the loss is not
    finite.
    """
    optimizer = torch.optim.Adam(net.parameters(), rate)
    done = _resume(net, optimizer, kept) if kept.is_file() else 0
    for step in bar(range(done, steps), kept.stem, json=quiet, unit="step"):
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / WARM, 1.0) * 0.5 * (1 + np.cos(np.pi * step / steps))
        value = loss(np.random.Generator(np.random.Philox(key=[seed, step])))
        if not torch.isfinite(value):
            raise ValueError(f"{kept.stem}: the loss is {float(value)} at step {step}; look for NaN in the data")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 100.0)
        optimizer.step()
        if (step + 1) % KEPT == 0 or step + 1 == steps:
            _keep(net, optimizer, step + 1, kept)


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose first weights are drawn under a seed; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _keep(net: nn.Module, optimizer: torch.optim.Adam, step: int, path: Path) -> None:
    tensors = over("net.", net.state_dict()) | over("adam.", moments(optimizer))
    save_tensors(path, {name: value.detach() for name, value in tensors.items()}, {"step": str(step)})


def _resume(net: nn.Module, optimizer: torch.optim.Adam, path: Path) -> int:
    tensors, meta = load_tensors(path)
    net.load_state_dict(under("net.", tensors))
    refill(optimizer, under("adam.", tensors))
    return int(meta["step"])
