"""Networks that judge dreamed frames, having learned from recorded ones alone: what is where, and which weather."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gensim.core.progress import bar
from gensim.envs.driving.source.labels import GROUPS

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""A batch by chance: frames uint8 (n, h, w, 3) and what is to be said of them, int (n, h, w) or (n,)."""


class Segmenter(nn.Module):
    """Which of `GROUPS` each pixel is of.

    Reference: U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger et al., 2015),
    arXiv:1505.04597.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        w = width
        self.one, self.two, self.three = _twice(3, w), _twice(w, 2 * w), _twice(2 * w, 4 * w)
        self.back, self.out = _twice(6 * w, 2 * w), _twice(3 * w, w)
        self.last = nn.Conv2d(w, len(GROUPS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, groups, h, w) of frames (n, 3, h, w) in -1..1."""
        a = self.one(x)
        b = self.two(F.max_pool2d(a, 2))
        c = self.three(F.max_pool2d(b, 2))
        b = self.back(torch.cat([_up(c), b], 1))
        return self.last(self.out(torch.cat([_up(b), a], 1)))


class Classifier(nn.Module):
    """Which of some kinds a frame is of."""

    def __init__(self, kinds: int, width: int = 16) -> None:
        super().__init__()
        w = width
        self.parts = nn.Sequential(_twice(3, w), nn.MaxPool2d(2), _twice(w, 2 * w), nn.MaxPool2d(2), _twice(2 * w, 64))
        self.last = nn.Linear(64, kinds)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, kinds) of frames (n, 3, h, w) in -1..1."""
        return self.last(self.parts(x).mean((2, 3)))


def learn(
    make: Callable[[], nn.Module], draw: Draw, steps: int, name: str, lr: float = 2e-3, seed: int = 0
) -> nn.Module:
    """A network after so many steps of Adam on batches; its learning rate rises, then falls to nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, steps)
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**55]))
    for _ in bar(range(steps), name):
        frames, goal = draw(rng)
        loss = F.cross_entropy(net(prepared(frames)), torch.from_numpy(goal.astype(np.int64)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    return net.eval()


@torch.no_grad()
def said(net: nn.Module, frames: np.ndarray) -> np.ndarray:
    """What a network says of frames uint8 (n, h, w, 3): uint8 (n, h, w) or (n,)."""
    parts = [net(prepared(frames[i : i + 128])).argmax(1).byte().numpy() for i in range(0, len(frames), 128)]
    return np.concatenate(parts)


def prepared(frames: np.ndarray) -> Tensor:
    """Frames as networks take them, float32 (n, 3, h, w) in -1..1."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def _twice(i: int, o: int) -> nn.Sequential:
    layers = [(nn.Conv2d(a, o, 3, 1, 1), nn.GroupNorm(4, o), nn.SiLU()) for a in (i, o)]
    return nn.Sequential(*(layer for three in layers for layer in three))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
