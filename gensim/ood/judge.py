"""All scores that the benchmark holds against each other, of one source of usual frames."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import read_json
from gensim.core.settings import differing
from gensim.episodes import Dataset, read_episode
from gensim.ood.config import DetectorConfig
from gensim.ood.densities import DensityFitConfig, fit_density, new_density
from gensim.ood.density_files import load_density
from gensim.ood.detector import TIME_NAMES, Detector
from gensim.ood.fitting import fit, split
from gensim.ood.heads import Head
from gensim.ood.likelihood import Likelihoods, prefixed, world_surprise
from gensim.ood.tapes import check_acts

Cut = tuple[np.ndarray, np.ndarray]
"""Frames uint8 (t + 1, h, w, 3) and the actions (t, ...) between them."""
RAW = "flow likelihood"
TIMED = ("time", *TIME_NAMES)  # scores that say nothing of a frame by itself
ENOUGH = 2000  # usual frames that heads and typicality are fitted on
PASSES = 5  # over the frames that are timed
WORLDS = ("carracing", "takecover")  # sources of which gensim ships a world


@dataclass(frozen=True)
class Judge:
    """A detector and what it is compared with.

    Arguments:
        detector: what gives scores by name, "default" among them.
        flow: a density of the same frames, whose raw likelihood is the one to beat, and what others made of it.
        heads: combinations of the detector's statistics by others.
        world: a world model of the same simulator; None where there is none.
        hashes: of detector and flows.
    """

    detector: Detector
    flow: Likelihoods
    heads: Mapping[str, Head]
    world: Any
    hashes: Mapping[str, str]

    @classmethod
    def of(
        cls, data: Path, out: Path, config: DetectorConfig, flow: DensityFitConfig, background: Path, quiet: bool = True
    ) -> Judge:
        """Fits what is not fitted yet to a data set; a fit that was stopped goes on. background: a density's folder.

        What others' scores are held against comes from the episodes that the detector's scores are scaled on: no
        network learned from them.
        """
        known = recorded(data)
        detector = fit(known, out / "detector", config, quiet)
        model = flow_of(known, out / "flow", flow, detector.size, quiet)
        frames = some(known, split(len(known.episodes), config)[1])
        read = detector.read(frames, blank(detector, len(frames)), np.ones(len(frames), bool)).frame
        heads = {kind: Head.fit(read, kind) for kind in ("copod", "ecod")}  # type: ignore[arg-type]
        folders = {"flow": out / "flow", "background": background}
        hashes = {name: read_json(path / "density.json")["files"].popitem()[1] for name, path in folders.items()}
        likelihoods = Likelihoods.fit(model, frames, load_density(background))
        return cls(detector, likelihoods, heads, _world(data), {"detector": detector.hash, **hashes})

    def loose(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Scores (n,) by name of frames (n, h, w, 3), each by itself; those that need time are left out."""
        read = self.detector.read(frames, blank(self.detector, len(frames)), np.ones(len(frames), bool))
        found = {name: score for name, score in self.detector.named(read).items() if name not in TIMED}
        found |= {name: head.score(read.frame) for name, head in self.heads.items()}
        return found | prefixed("flow", self.flow.score(frames))

    def streamed(self, frames: np.ndarray, acts: np.ndarray, raw: bool = True) -> dict[str, np.ndarray]:
        """Scores (t + 1,) by name of an episode in order, NaN where one is not known yet; `raw`: dear ones, too."""
        found = self.detector.scores(frames, acts)
        if raw:
            found |= prefixed("flow", self.flow.score(frames))
        if raw and self.world is not None:
            told = check_acts(acts, self.detector.action, len(acts))
            found["world surprise"] = world_surprise(self.world, frames, told)
        return found

    def rings(self, every: int) -> Callable[[np.ndarray], np.ndarray]:
        """Says with which of an episode's default scores (t,) an alarm is raised, bool (t,)."""
        alarm = self.detector.alarm(every)
        return lambda scores: alarm.over(scores).alarm

    def milliseconds(self, cut: Cut, frames: int = 200) -> dict[str, float]:
        """Time for one frame after another, as a monitor sees them: median and 95th percentile, and the core's median.

        Of `PASSES` over the same frames the quickest counts: what others do on the machine only adds. Where they share
        it, the core's own time (`cpu`) is what the detector takes; the rest is waiting.
        """
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        passes = [self._timed(cut, frames) for _ in range(PASSES)]
        torch.set_num_threads(threads)
        took, busy = min(passes, key=lambda one: float(np.median(one[0])))  # (n,) ms each
        found = {"median": np.median(took), "p95": np.quantile(took, 0.95), "cpu": np.median(busy)}
        return {name: round(float(value), 3) for name, value in found.items()}

    def _timed(self, cut: Cut, frames: int) -> np.ndarray:
        stream, acts, found = self.detector.stream(1), np.concatenate([cut[1][:1], cut[1]]), []
        for i in range(min(frames, len(cut[0]))):
            began, begun = time.perf_counter(), time.thread_time()
            self.detector.combined(stream.step(cut[0][i : i + 1], acts[i : i + 1], np.array([i == 0])))
            found.append((time.perf_counter() - began, time.thread_time() - begun))
        return 1000 * np.array(found).T  # (2, n)


def recorded(data: Path) -> Dataset:
    """A source's data set; FileNotFoundError that says how to record it."""
    if not (data / "data.json").is_file():
        raise FileNotFoundError(f"{data} is not recorded: run scripts/record_pairs --out {data.parents[1]}")
    return Dataset(data)


def cuts(data: Path) -> list[Cut]:
    """All episodes of a source's data set."""
    read = (read_episode(path) for path in recorded(data).paths())
    return [(episode.frames(), episode.act) for episode in read]


def blank(detector: Detector, n: int) -> np.ndarray | None:
    """Actions between n loose frames, which are never looked at."""
    action = detector.action
    if action is None:
        return None
    return np.zeros(n - 1, np.int64) if action.type == "discrete" else np.zeros((n - 1, action.size), np.float32)


def spread(lengths: Sequence[int], frames: int) -> list[np.ndarray]:
    """Which frames of episodes of such lengths are looked at: evenly, about `frames` in all, one at least of each."""
    step = max(1, round(sum(lengths) / frames))
    return [np.arange(0, length, step) for length in lengths]


def some(data: Dataset, part: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """About `ENOUGH` frames (n, h, w, 3) of the episodes of a part, all by default."""
    headers = data.episodes if part is None else [data.episodes[int(i)] for i in part]
    found = []
    for header, at in zip(headers, spread([header.length + 1 for header in headers], ENOUGH)):
        episode = read_episode(header.path)
        found += [episode.frame(int(i)) for i in at]
    return np.stack(found)


def flow_of(data: Any, out: Path, config: DensityFitConfig, size: int, quiet: bool) -> Any:
    """A flow fitted to a data set or to episodes' frames, from its folder where it is there; ValueError for another."""
    if not (out / "density.json").is_file():
        return fit_density(new_density("flow", config.seed, size=size), data, config, out, quiet)
    fitted, asked = read_json(out / "density.json")["spec"]["fit"], json.loads(config.identity())
    if fitted != asked:
        raise ValueError(f"{out} was fitted with {differing(fitted, asked)}: ask for the same, or remove it")
    return load_density(out)


def _world(data: Path) -> Any:
    """The world that comes with gensim for a source's simulator; None where there is none."""
    name = data.parent.name
    if name not in WORLDS:
        return None
    from gensim.world import World

    return World.load(Path(str(files("gensim.envs"))) / name)
