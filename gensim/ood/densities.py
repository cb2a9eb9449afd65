"""Fitting a density model to frames, from any point at which it was stopped, and judging frames by it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensim.core.checkpoint import moments, over, refill, under
from gensim.core.devices import has_bfloat16
from gensim.core.files import load_tensors, save_tensors
from gensim.core.progress import bar
from gensim.core.seeds import fold
from gensim.core.settings import differing
from gensim.ood.density_files import Density, family_of, load_density, new_density, save_density, spec_of
from gensim.ood.density_frames import Pool
from gensim.world.tiles import map_tiles

__all__ = [
    "Density", "DensityFitConfig", "fit_density", "load_density", "log_probs", "new_density", "save_density", "spec_of",
]  # fmt: skip

CHECKPOINT = "fit/checkpoint.safetensors"
TILE = 8  # frames that are judged at once, whatever their number


@dataclass(frozen=True)
class DensityFitConfig:
    """How a density is fitted to frames."""

    steps: int = 4000
    """Optimiser steps; the learning rate falls to zero with the last one."""
    batch: int = 16
    """Frames in a step."""
    lr: float = 2e-3
    """Learning rate of Adam at its highest."""
    warmup: int = 50
    """Steps over which the learning rate rises from zero."""
    clip: float = 1.0
    """Largest norm of the gradient of bits per dimension."""
    average: float = 0.998
    """Decay of the running average of the weights, which is what is kept."""
    save_every: int = 200
    """Steps between checkpoints."""
    holdout: float = 0.05
    """Share of a data set's episodes kept away from the fit."""
    seed: int = 0
    """Of the frames' order and of the noise."""

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "warmup", "save_every")
        wrong = [f"{name}={getattr(self, name)}" for name in counts if getattr(self, name) < 1]
        if wrong or self.lr <= 0 or self.clip <= 0:
            raise ValueError(f"{', '.join(wrong) or f'lr={self.lr}, clip={self.clip}'}: give positive numbers")
        if not (0 <= self.average < 1 and 0 <= self.holdout < 1 and self.seed >= 0):
            raise ValueError(
                f"average={self.average}, holdout={self.holdout}, seed={self.seed}: give 0 to below 1, and a seed >= 0"
            )

    def identity(self) -> str:
        """What must be equal for a fit to go on, as JSON; the number of steps shapes the learning rate."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "save_every"}, sort_keys=True)

    def rate(self, step: int) -> float:
        """The learning rate of a step: up in a line, down in a cosine."""
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.lr * min(1.0, (step + 1) / self.warmup) * fall


class DensityFit:
    """The state of a fit: weights, their running average, Adam's moments, and the step."""

    def __init__(self, model: Any, config: DensityFitConfig, out: str | Path) -> None:
        self.config, self.path, self.step, self.family = config, Path(out) / CHECKPOINT, 0, family_of(model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.train().requires_grad_(True).to(self.device, memory_format=torch.channels_last)
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        self.optimiser = torch.optim.Adam(model.parameters(), config.lr)

    def update(self, frames: Tensor) -> float:
        """One optimiser step on frames uint8 (b, h, w, 3); returns their bits per dimension."""
        frames, generator = frames.to(self.device), self._generator()
        if self.step == 0:
            self.model.prepare(frames, generator)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda" or has_bfloat16()):
            loss = self.model.loss(frames, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip, error_if_nonfinite=True)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return loss.item()

    def save(self) -> None:
        """Writes the checkpoint, all or nothing."""
        tensors = over("model.", self.model.state_dict()) | over("average.", self.average)
        tensors |= over("adam.", moments(self.optimiser))
        save_tensors(self.path, tensors, {"step": str(self.step), "identity": self._identity()})

    def load(self) -> bool:
        """Goes on from the folder's checkpoint if there is one; ValueError if it is another fit's."""
        if not self.path.exists():
            return False
        tensors, meta = load_tensors(self.path)
        differ = differing(json.loads(meta.get("identity", "{}")), json.loads(self._identity()))
        if differ:
            raise ValueError(f"{self.path} belongs to a fit with {differ}: give the same to go on, or another folder")
        self.model.load_state_dict(under("model.", tensors))
        self.average = {k: v.to(self.device) for k, v in under("average.", tensors).items()}
        refill(self.optimiser, under("adam.", tensors))
        self.step = int(meta["step"])
        return True

    def finish(self) -> Any:
        """The model with its averaged weights, ready to judge."""
        self.model.load_state_dict(self.average)
        return self.model.cpu().to(memory_format=torch.contiguous_format).eval().requires_grad_(False)

    def _identity(self) -> str:
        told = json.loads(self.config.identity()) | {"family": self.family}
        return json.dumps(told | asdict(self.model.config), sort_keys=True)

    def _generator(self) -> torch.Generator:
        key = int(fold(np.array([self.config.seed], np.uint64), self.step)[0]) >> 1
        return torch.Generator(self.device).manual_seed(key)

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average; it takes the first batch's setting as it is."""
        decay = 0.0 if self.step == 1 else min(self.config.average, self.step / (self.step + 10))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)


def fit_density(
    model: Any, data: Any, config: DensityFitConfig, out: str | Path, quiet: bool = False, spec: dict | None = None
) -> Any:
    """Fits a density to frames and writes it to a folder; resumes if it was stopped, to the same bytes.

    Arguments:
        model: of `new_density`; it is changed in place and returned.
        data: a data set or its folder, or frames uint8 (n, h, w, 3), or a sequence of such, an episode each.
        config: how.
        out: the folder to write density.json and density.safetensors to.
        quiet: no progress.
        spec: what else density.json shall say.

    Raises ValueError for frames of another size, none at all, or a checkpoint of other settings.
    """
    pool = Pool(data, "train", config.holdout)
    run = DensityFit(model, config, out)
    run.load()
    progress = bar(config.steps, f"fit {run.family}", quiet)
    progress.update(run.step)
    while run.step < config.steps:
        bits = run.update(pool.batch(config.seed, run.step, config.batch))
        progress.update(1)
        progress.set_postfix(bits=f"{bits:.3f}")
        if run.step % config.save_every == 0 or run.step == config.steps:
            run.save()
    progress.close()
    fitted = run.finish()
    save_density(fitted, out, (spec or {}) | {"frames": len(pool), "fit": json.loads(config.identity())})
    return fitted


def log_probs(model: Density, frames: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Log-probabilities (n,) float64 in nats of frames uint8 (n, h, w, 3), in tiles: no frame feels its neighbours."""
    rows = torch.from_numpy(np.ascontiguousarray(frames))
    if not len(rows):
        return np.zeros(0)
    (nats,) = map_tiles(lambda tile: [model.log_prob(tile)], rows, size=TILE)
    return nats.double().numpy()
