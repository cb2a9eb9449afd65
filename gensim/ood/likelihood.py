"""Scores from density models: likelihood as it is, and what others have made of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gensim.ood.bottleneck import unit
from gensim.ood.texture import complexity

CHUNK = 64  # frames at once


class Density(Protocol):
    """What gives frames uint8 (n, h, w, 3) a log-probability (n,) in nats."""

    def log_prob(self, frames: Tensor) -> Tensor:
        """Nats (n,)."""


class Likelihood:
    """Minus a model's log-likelihood. On its own it finds simple frames usual, whatever they show."""

    name = "likelihood"

    def __init__(self, model: Density) -> None:
        self.model = model

    def fit(self, frames: Iterable[np.ndarray], seed: int = 0) -> None:
        """Nothing is fitted."""

    def score(
        self, frames: np.ndarray, previous: np.ndarray | None = None, acts: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (n,) float64 of frames uint8 (n, h, w, 3)."""
        return -log_prob(self.model, frames)

    def state(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        return {}


class Corrected(Likelihood):
    """Bits of a model less bits of a plain lossless code (Serra et al., 2019, arXiv:1909.11480), in nats."""

    name = "complexity corrected likelihood"

    def score(
        self, frames: np.ndarray, previous: np.ndarray | None = None, acts: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (n,) float64 of frames uint8 (n, h, w, 3)."""
        numbers = frames[0].size if len(frames) else 0
        parts = [complexity(unit(part)).double() for part in torch.from_numpy(frames).split(CHUNK)]
        return -log_prob(self.model, frames) - np.log(2) * numbers * torch.cat(parts).numpy()


class Ratio(Likelihood):
    """A background model's log-likelihood less the model's own (Ren et al., 2019, arXiv:1906.02845).

    The background model is one fitted to the same frames after noise, or to frames of many kinds.
    """

    name = "likelihood ratio"

    def __init__(self, model: Density, background: Density) -> None:
        super().__init__(model)
        self.background = background

    def score(
        self, frames: np.ndarray, previous: np.ndarray | None = None, acts: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (n,) float64 of frames uint8 (n, h, w, 3)."""
        return log_prob(self.background, frames) - log_prob(self.model, frames)


class Typicality(Likelihood):
    """How far a log-likelihood lies from its usual mean (Nalisnick et al., 2019, arXiv:1906.02994)."""

    name = "typicality"

    def __init__(self, model: Density, mean: float | None = None) -> None:
        super().__init__(model)
        self.mean = mean

    def fit(self, frames: Iterable[np.ndarray], seed: int = 0) -> None:
        """From usual episodes' frames (t, h, w, 3), one after another."""
        self.mean = float(np.concatenate([log_prob(self.model, part) for part in frames]).mean())

    def score(
        self, frames: np.ndarray, previous: np.ndarray | None = None, acts: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (n,) float64 of frames uint8 (n, h, w, 3); ValueError before `fit`."""
        if self.mean is None:
            raise ValueError("typicality is held against a usual mean: call fit(frames) first")
        return np.abs(log_prob(self.model, frames) - self.mean)

    def state(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        return {} if self.mean is None else {"mean": torch.tensor(self.mean, dtype=torch.float64)}

    @classmethod
    def from_state(cls, model: Density, state: dict[str, Tensor]) -> Typicality:
        """The reverse of `state`."""
        return cls(model, float(state["mean"]) if "mean" in state else None)


def log_prob(model: Density, frames: np.ndarray) -> np.ndarray:
    """Nats (n,) float64 of frames uint8 (n, h, w, 3); ValueError for frames of another kind."""
    if frames.dtype != np.uint8 or frames.ndim != 4:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}: give uint8 (n, h, w, 3)")
    with torch.inference_mode():
        parts = [model.log_prob(part).double() for part in torch.from_numpy(frames).split(CHUNK)]
    return torch.cat(parts).numpy() if parts else np.zeros(0)


class Foreseen:
    """A world model's own surprise: minus log p(latent | past) + log q(latent | frame), nats a step.

    Arguments:
        world: a `gensim.world.World` of the same simulator.
        seed: of the latents that are drawn.
    """

    name = "world surprise"

    def __init__(self, world: Any, seed: int = 0) -> None:
        self.world, self.seed = world, seed

    def score(
        self, frames: np.ndarray, previous: np.ndarray | None = None, acts: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores (n,) of one episode's frames in order under encoded acts (n - 1, k); 0 at the first."""
        seeds = np.array([self.seed], np.uint64)
        state, found = self.world.first(frames[:1], seeds), [0.0]
        acts = np.zeros((len(frames) - 1, self.world.action_dim), np.float32) if acts is None else acts
        for frame, act in zip(frames[1:], acts):
            state, step = self.world.observe(state, act[None], frame[None])
            found.append(float(step.log_q[0] - step.log_p[0]))
        return np.array(found)
