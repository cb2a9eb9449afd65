"""Scores from density models: likelihood as it is, what others have made of it, and a world model's own surprise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gensim.ood.bottleneck import unit
from gensim.ood.densities import log_probs
from gensim.ood.density_files import Density
from gensim.ood.tapes import check_frames
from gensim.ood.texture import complexity

CHUNK = 64  # frames at once


@dataclass(frozen=True)
class Likelihoods:
    """Scores of frames under a density model, higher more unusual.

    likelihood: minus the log-likelihood; on its own it finds simple frames usual, whatever they show. complexity
    corrected: less the nats of a plain lossless code (Serra et al., 2019, arXiv:1909.11480). typicality: how far the
    log-likelihood lies from its usual mean (Nalisnick et al., 2019, arXiv:1906.02994). likelihood ratio: a background
    model's log-likelihood less the model's own (Ren et al., 2019, arXiv:1906.02845); the background is one fitted to
    frames of many kinds (Schirrmeister et al., 2020, arXiv:2006.10848).

    Arguments:
        model: what gives frames uint8 (n, h, w, 3) a log-probability (n,) in nats.
        usual: mean log-probability of usual frames that the model was not fitted to.
        background: a model of frames of many kinds; None for none, and no ratio.
    """

    model: Density
    usual: float
    background: Density | None = None

    @classmethod
    def fit(cls, model: Density, frames: np.ndarray, background: Density | None = None) -> Likelihoods:
        """From usual frames uint8 (n, h, w, 3); ValueError for none."""
        if not len(frames):
            raise ValueError("no usual frames: give some that the model was not fitted to")
        return cls(model, float(log_probs(model, frames).mean()), background)

    def score(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Scores (n,) float64 by name of frames uint8 (n, h, w, 3); ValueError for frames of another kind."""
        frames = check_frames(frames, np.shape(frames)[1] if np.ndim(frames) == 4 else 0)
        nats = log_probs(self.model, frames)
        found = {
            "likelihood": -nats,
            "complexity corrected": -nats - code(frames),
            "typicality": np.abs(nats - self.usual),
        }
        if self.background is not None:
            found["likelihood ratio"] = log_probs(self.background, frames) - nats
        return found


def code(frames: np.ndarray) -> np.ndarray:
    """Nats (n,) that a plain lossless code takes for frames uint8 (n, h, w, 3)."""
    rows = torch.from_numpy(np.ascontiguousarray(frames))
    parts = [complexity(unit(part)).double() for part in rows.split(CHUNK)] if len(rows) else [torch.zeros(0)]
    return np.log(2) * int(np.prod(frames.shape[1:])) * torch.cat(parts).numpy()


def world_surprise(world: Any, frames: np.ndarray, acts: np.ndarray, seed: int = 0) -> np.ndarray:
    """A world model's surprise (t + 1,) along an episode: log q(latent | frame) - log p(latent | past), nats a step.

    world: a `gensim.world.World` of the same simulator; frames uint8 (t + 1, h, w, 3); acts: encoded, float32 (t, k);
    seed: of the latents that are drawn. 0 at the first frame, of which nothing is foretold.
    """
    state, found = world.first(frames[:1], np.array([seed], np.uint64)), [0.0]
    for frame, act in zip(frames[1:], acts):
        state, step = world.observe(state, act[None], frame[None])
        found.append(float(step.log_q[0] - step.log_p[0]))
    return np.array(found)


def prefixed(prefix: str, scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same scores, each name after a prefix."""
    return {f"{prefix} {name}": score for name, score in scores.items()}
