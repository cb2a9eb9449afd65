"""Frames that densities learn from or are judged by: of recorded episodes or arrays, drawn by (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gensim.episodes import Dataset, Episode, read_episode
from gensim.episodes.sample import is_heldout


class Pool:
    """Frames of episodes, held in memory as PNG or as they are; a batch is a pure function of (seed, step).

    Arguments:
        data: a data set or its folder, one array of frames uint8 (n, h, w, 3), or several, an episode each.
        part: which episodes of a data set: those to learn from, or those held out; arrays are taken whole.
        holdout: the share of a data set's episodes that is held out, chosen by a hash of each file's name.

    Raises ValueError where no frame is left, or an array is none of frames.
    """

    def __init__(self, data: Any, part: Literal["train", "heldout"] = "train", holdout: float = 0.05) -> None:
        self.episodes = _episodes(data, part, holdout)
        self.lengths = np.array([_length(episode) for episode in self.episodes], np.int64)
        if not self.lengths.sum():
            raise ValueError(f"no frames to {part}: record more episodes, or hold another share than {holdout} out")

    def __len__(self) -> int:
        """The number of frames."""
        return int(self.lengths.sum())

    def batch(self, seed: int, step: int, n: int) -> Tensor:
        """n frames uint8 (n, h, w, 3), each drawn uniformly from all."""
        place = np.random.Generator(np.random.Philox(key=[seed, step])).integers(len(self), size=n)
        ends = np.cumsum(self.lengths)
        episode = np.searchsorted(ends, place, side="right")
        at = place - ends[episode] + self.lengths[episode]
        return torch.from_numpy(np.stack([_frame(self.episodes[e], int(i)) for e, i in zip(episode, at)]))

    def spread(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """About n frames uint8 (m, h, w, 3), evenly over all episodes, and the episode (m,) of each."""
        each = np.minimum(self.lengths, -(-n // len(self.episodes)))
        at = [np.unique(np.linspace(0, length - 1, count).astype(int)) for length, count in zip(self.lengths, each)]
        frames = [_frame(self.episodes[e], int(i)) for e, places in enumerate(at) for i in places]
        return np.stack(frames), np.repeat(np.arange(len(at)), [len(places) for places in at])


def _episodes(data: Any, part: str, holdout: float) -> list[Episode | np.ndarray]:
    if isinstance(data, (str, Path)):
        data = Dataset(data)
    if isinstance(data, Dataset):
        wanted = [header for header in data.episodes if is_heldout(header, holdout) == (part == "heldout")]
        return [read_episode(header.path) for header in wanted]
    arrays = [np.asarray(one) for one in (data if isinstance(data, Sequence) else [data])]
    for array in arrays:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
            raise ValueError(f"frames are uint8 (n, h, w, 3), not {array.dtype} {array.shape}: give such or data")
    return [*arrays]


def _length(episode: Episode | np.ndarray) -> int:
    return len(episode) if isinstance(episode, np.ndarray) else len(episode) + 1


def _frame(episode: Episode | np.ndarray, i: int) -> np.ndarray:
    return episode[i] if isinstance(episode, np.ndarray) else episode.frame(i)
