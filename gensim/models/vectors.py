"""A flow for vectors, such as features of frames, from zuko."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class VectorConfig:
    """Sizes of a VectorFlow."""

    dim: int = 16
    """Numbers in a vector."""
    transforms: int = 3
    """Autoregressive spline layers."""
    width: int = 64
    """Units in each of the two hidden layers of a transform."""

    def __post_init__(self) -> None:
        if min(self.dim, self.transforms, self.width) < 1:
            raise ValueError(f"{self}: give sizes of at least 1")


class VectorFlow(nn.Module):
    """A neural spline flow over vectors, which are brought to mean 0 and deviation 1 before it.

    It takes the extra `ood`; without it, ModuleNotFoundError says so.

    Reference: Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: VectorConfig) -> None:
        super().__init__()
        self.config = config
        self.flow = _zuko().flows.NSF(config.dim, transforms=config.transforms, hidden_features=(config.width,) * 2)
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("std", torch.ones(config.dim))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-densities (n,) of vectors (n, dim), in nats; ValueError for another width."""
        if x.ndim != 2 or x.shape[1] != self.config.dim:
            raise ValueError(f"vectors are (n, {self.config.dim}), not {tuple(x.shape)}")
        return self.flow().log_prob((x - self.mean) / self.std) - self.std.log().sum()

    def loss(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean nats () that vectors cost; nothing is drawn."""
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Vectors (n, dim)."""
        z = torch.randn(n, self.config.dim, generator=generator, device=generator.device).to(self.mean.device)
        return self.flow().transform.inv(z) * self.std + self.mean

    @torch.no_grad()
    def prepare(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Takes mean and deviation from vectors (n, dim)."""
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-6))


def _zuko() -> Any:
    try:
        import zuko
    except ModuleNotFoundError as fault:
        raise ModuleNotFoundError("a flow of vectors needs zuko: pip install 'gensim-worlds[ood]'") from fault
    return zuko
