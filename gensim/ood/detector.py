"""The detector: what is unusual about frames, and about what follows what. (Interface; the parts are being written.)"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

Tape = Any
"""An episode: a gensim `Episode`, or a tuple (frames uint8 (t + 1, h, w, 3), acts (t, k) float or (t,) int, or None)."""


class Detector:
    """Scores of frames; higher is more unusual.

    names: all named scores, "default" first.
    """

    names: tuple[str, ...]

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """Reads what `save` wrote; ValueError or FileNotFoundError if anything is missing, changed or foreign."""
        raise NotImplementedError

    def save(self, folder: str | Path) -> None:
        """Writes detector.safetensors and, last, detector.json with its hash."""
        raise NotImplementedError

    def score(self, frames: np.ndarray) -> np.ndarray:
        """The default score (n,) float64 of loose frames uint8 (n, h, w, 3)."""
        raise NotImplementedError

    def scores(
        self, frames: np.ndarray, acts: np.ndarray | None = None, first: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """All named scores (n,) of frames in order, time included; scores[name][t] knows frames 0..t alone.

        acts (n - 1, k) or (n - 1,): acts[t] leads from frame t to frame t + 1, as in an `Episode`. first (n,) bool marks
        frames that begin an episode (frame 0 always does); the action that leads there is not looked at. Slow scores
        hold a running mean of about 50 frames: what a window of 50 frames says is the score at its last frame.
        """
        raise NotImplementedError

    def stream(self, rows: int = 1) -> Any:
        """Scores frame by frame: stream.step(frames (rows, h, w, 3), acts (rows, k) that led to them, first (rows,))."""
        raise NotImplementedError

    def heat(self, frame: np.ndarray) -> np.ndarray:
        """How unusual each part of a frame uint8 (h, w, 3) is, float32 (h, w)."""
        raise NotImplementedError

    def recalibrated(self, episodes: Iterable[Tape], rescale: bool = False) -> Detector:
        """The same detector, its alarms (and with `rescale` its scores) set on other usual episodes."""
        raise NotImplementedError
