"""A fit of anything that can be stopped: it goes on from its file as if it had not been."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from gensim.core.checkpoint import moments, over, refill, under
from gensim.core.files import load_tensors, save_tensors
from gensim.core.progress import bar

SAVE = 60.0  # seconds between two checkpoints


def learn(
    net: nn.Module,
    loss: Callable[[int, torch.Generator], Tensor],
    path: Path,
    steps: int,
    lr: float,
    name: str,
    of: str = "",
    clip: float | None = None,
) -> None:
    """Fits `net` by Adam for some steps at a rate that falls to zero, or goes on from a file that was left half-way.

    Arguments:
        loss: of a step, given its number and its chances.
        path: file of weights, moments and steps.
        name: what the bar says.
        of: what else a fit must share to be gone on with: data, sizes, seeds.
        clip: norm over which gradients are cut.

    Raises:
        ValueError: if the file is of another fit.
    """
    whose = f"{name}, {steps} steps at {lr:g}" + (f", {of}" if of else "")
    player, step = torch.optim.Adam(net.parameters(), lr, betas=(0.9, 0.99)), 0
    if path.exists():
        tensors, about = load_tensors(path)
        if about.get("of") != whose:
            raise ValueError(f"{path} is of {about.get('of')!r}, not of {whose!r}: delete it, or give another folder")
        net.load_state_dict(under("net.", tensors))
        refill(player, under("player.", tensors))
        step = int(about["step"])
    shown, saved = bar(steps, name, unit="step"), time.time()
    shown.update(step)
    while step < steps:
        for group in player.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 100, 1.5 * (1 - step / steps))
        value = loss(step, torch.Generator().manual_seed(step))
        player.zero_grad(set_to_none=True)
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        player.step()
        step += 1
        shown.update()
        if step % 50 == 0:
            shown.set_postfix(loss=f"{value.item():.3g}")
        if step == steps or time.time() - saved > SAVE:
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = over("net.", net.state_dict()) | over("player.", moments(player))
            tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
            save_tensors(path, tensors, {"of": whose, "step": str(step)})
            saved = time.time()
    shown.close()
