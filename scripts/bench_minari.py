"""Frames a second sampled from Minari's lossless mode and from gensim's episodes, side by side; writes JSON.

Both hold the same recorded episodes and give windows of consecutive frames in random order. Minari is read
in three ways: whole episodes through its interface of which one window is kept, whole episodes of which
every frame counts, and windows sliced out of its HDF5 file past its interface.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from bench import interval

from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json
from gensim.envs.real import make_real
from gensim.episodes.logs import to_minari
from gensim.episodes.record import Maker, RecordConfig, record
from gensim.episodes.sample import Sampler
from gensim.episodes.store import Dataset


@dataclass(frozen=True)
class Bench:
    """Compare sampling from Minari and from gensim."""

    data: Path | None = None
    """Folder of recorded episodes; None records random driving in CarRacing."""
    episodes: int = 40
    """So many of them are used."""
    steps: int = 200
    """Steps of an episode that is recorded for this, of 4 simulator frames each."""
    length: int = 32
    """Frames in a window."""
    batch: int = 16
    """Windows in a batch."""
    batches: int = 8
    """Batches timed in each turn."""
    turns: int = 15
    """Turns that each way takes, one after another; the median counts."""
    seed: int = 0
    """Of the draws."""
    out: Path = Path("results/minari.json")
    """Where the result goes."""


def main(bench: Bench) -> None:
    """Builds both stores in a temporary folder, times them and writes the result."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = str(Path(folder) / "minari")
        ours = excerpt(bench, Path(folder) / "ours")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = to_minari(ours, "bench/lossless-v0")
        turns = race(bench, ways(bench, ours, theirs))
        frames = sum(header.length + 1 for header in ours.episodes)
        sizes = {
            "gensim": bytes_of(ours.folder) / frames,
            "minari": bytes_of(Path(theirs.storage.data_path)) / frames,
        }
    found = report(bench, turns, sizes, frames)
    write_json(bench.out, found)
    print(f"{bench.out}: {found['frames_per_second']}, 95 %: {found['intervals']}")


def excerpt(bench: Bench, folder: Path) -> Dataset:
    """The first episodes of a data set as one of their own."""
    source = Dataset(bench.data or recorded(bench, folder.with_name("recorded")))
    folder.mkdir()
    for path in [source.folder / "data.json", *source.paths()[: bench.episodes]]:
        shutil.copy(path, folder)
    return Dataset(folder)


def recorded(bench: Bench, folder: Path) -> Path:
    """Random driving, recorded."""
    frames = 4 * bench.episodes * bench.steps
    config = RecordConfig(out=folder, frames=frames, seed=bench.seed, max_episode_steps=bench.steps)
    record(config, Maker(partial(make_real, "CarRacing-v3")))
    return folder


def ways(bench: Bench, ours: Dataset, theirs: Any) -> dict[str, Callable[[int], int]]:
    """Ways of sampling: each takes a step and returns the number of frames that it gave."""
    import h5py

    sampler = Sampler(ours, bench.length, bench.batch, bench.seed, holdout=0.0, threads=1)
    lengths = [header.length + 1 for header in ours.episodes]
    file = h5py.File(Path(theirs.storage.data_path) / "main_data.hdf5", "r")

    def draws(step: int) -> list[tuple[int, int]]:
        rng = np.random.default_rng([bench.seed, step])
        episodes = rng.integers(len(lengths), size=bench.batch)
        return [(int(e), int(rng.integers(max(1, lengths[e] - bench.length + 1)))) for e in episodes]

    def windows(step: int) -> int:
        batch = sampler.batch(step)
        return int(batch.valid.sum())

    def interface(step: int) -> int:
        return stacked([theirs[e].observations[s : s + bench.length] for e, s in draws(step)])

    def whole(step: int) -> int:
        return stacked([theirs[e].observations for e, _ in draws(step)[:4]])

    def sliced(step: int) -> int:
        names = [(f"episode_{e}", s) for e, s in draws(step)]
        return stacked([file[name]["observations"][s : s + bench.length] for name, s in names])

    return {
        "gensim windows": windows,
        "minari windows": interface,
        "minari whole episodes": whole,
        "minari file, sliced": sliced,
    }


def stacked(parts: list[np.ndarray]) -> int:
    """The frames of a batch, put side by side as training needs them."""
    return len(np.concatenate(parts))


def race(bench: Bench, entrants: dict[str, Callable[[int], int]]) -> dict[str, list[float]]:
    """Frames a second in the turns that every way takes one after another, one thread each."""
    turns: dict[str, list[float]] = {name: [] for name in entrants}
    for turn in range(bench.turns + 1):
        for name, sample in entrants.items():
            began = time.perf_counter()
            frames = sum(sample(turn * bench.batches + i) for i in range(bench.batches))
            turns[name].append(frames / (time.perf_counter() - began))
    return {name: rates[1:] for name, rates in turns.items()}  # the first warms up


def bytes_of(folder: Path) -> float:
    """The sum of a folder's files."""
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def report(bench: Bench, turns: dict[str, list[float]], sizes: dict[str, float], frames: int) -> dict[str, Any]:
    """The result, with what is needed to make it again."""
    return {
        "what": "frames sampled a second, one thread, median of turns; intervals are of the median, 95 %",
        "frames_per_second": {name: round(statistics.median(rates), 1) for name, rates in turns.items()},
        "intervals": {name: [round(end, 1) for end in interval(rates)] for name, rates in turns.items()},
        "turns": bench.turns,
        "bytes_per_frame": {name: round(size, 1) for name, size in sizes.items()},
        "frames": frames,
        "seed": bench.seed,
        **circumstances(),
    }


if __name__ == "__main__":
    tell(["scripts/bench_minari.py", *sys.argv[1:]])
    main(tyro.cli(Bench))
