"""All scores that the benchmark holds against each other, of one source of usual frames."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import read_json
from gensim.core.settings import differing
from gensim.episodes import Dataset, read_episode
from gensim.ood.config import DetectorConfig
from gensim.ood.densities import DensityFitConfig, fit_density, log_probs, new_density
from gensim.ood.density_files import load_density
from gensim.ood.detector import TIME_NAMES, Detector
from gensim.ood.fitting import fit
from gensim.ood.heads import Head
from gensim.ood.shelf import load

Cut = tuple[np.ndarray, np.ndarray]
"""Frames uint8 (t + 1, h, w, 3) and the actions (t, ...) between them."""
RAW = "flow likelihood"
TIMED = ("time", *TIME_NAMES)  # scores that say nothing of a frame by itself
ENOUGH = 2000  # usual frames that heads and typicality are fitted on


@dataclass(frozen=True)
class Judge:
    """A detector and what it is compared with.

    Arguments:
        detector: what gives scores by name, "default" among them.
        flow: a density of the same frames, whose raw likelihood is the one to beat; None for none.
        heads: combinations of the detector's statistics by others.
        usual: mean of the flow's log-likelihood on usual frames, in nats.
        hashes: of detector and flow.
    """

    detector: Detector
    flow: Any
    heads: Mapping[str, Head]
    usual: float
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, data: Path, out: Path, config: DetectorConfig, flow: DensityFitConfig, quiet: bool = True) -> Judge:
        """Fits what is not fitted yet to a data set; a fit that was stopped goes on."""
        here = out / "detector"
        detector = load(here) if (here / "detector.json").is_file() else fit(data, here, config, quiet)
        model = _flow(data, out / "flow", flow, detector.size, quiet)
        asked = {"detector": config.to_dict(), "flow": json.loads(flow.identity())}
        fitted = {"detector": detector.about["config"], "flow": read_json(out / "flow" / "density.json")["spec"]["fit"]}
        odd = [f"{name} with {differing(fitted[name], asked[name])}" for name in asked if fitted[name] != asked[name]]
        if odd:
            raise ValueError(f"{out} holds a {' and a '.join(odd)}: measure as it was fitted, or give another folder")
        frames = _some(Dataset(data))
        read = detector.read(frames, blank(detector, len(frames)), np.ones(len(frames), bool)).frame
        heads = {kind: Head.fit(read, kind) for kind in ("copod", "ecod")}  # type: ignore[arg-type]
        hashes = {"detector": detector.hash, "flow": read_json(out / "flow" / "density.json")["files"].popitem()[1]}
        return cls(detector, model, heads, float(log_probs(model, frames).mean()), hashes)

    def loose(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Scores (n,) by name of frames (n, h, w, 3), each by itself; those that need time are left out."""
        first, acts = np.ones(len(frames), bool), blank(self.detector, len(frames))
        found = self.detector.scores(frames, acts, first)
        found = {name: score for name, score in found.items() if name not in TIMED}
        if self.heads:
            read = self.detector.read(frames, acts, first).frame
            found |= {name: head.score(read) for name, head in self.heads.items()}
        return found | self._raw(frames)

    def streamed(self, frames: np.ndarray, acts: np.ndarray, raw: bool = True) -> dict[str, np.ndarray]:
        """Scores (t + 1,) by name of an episode in order, NaN where one is not known yet; `raw`: the flow's, too."""
        return self.detector.scores(frames, acts) | (self._raw(frames) if raw else {})

    def _raw(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """What the flow says: minus its log-likelihood, and how far that is from usual."""
        if self.flow is None:
            return {}
        nats = log_probs(self.flow, frames)
        return {RAW: -nats, "flow typicality": np.abs(nats - self.usual)}

    def alarms(self, scores: np.ndarray, every: int) -> np.ndarray:
        """Whether an alarm is raised, bool (t,), with each of an episode's default scores (t,)."""
        alarm, first = self.detector.alarm(every), np.zeros(1, bool)
        rung = [bool(alarm.step(scores[t : t + 1], first | (t == 0)).alarm[0]) for t in range(len(scores))]
        return np.array(rung, bool)

    def milliseconds(self, cut: Cut, frames: int = 200) -> dict[str, float]:
        """Time for one frame after another, as a monitor sees them: median and 95th percentile, and the core's median.

        Where others share the machine, the core's own time (`cpu`) is what the detector takes; the rest is waiting.
        """
        import torch

        threads, took, busy = torch.get_num_threads(), list[float](), list[float]()
        torch.set_num_threads(1)
        stream = self.detector.stream(1)
        acts = np.concatenate([cut[1][:1], cut[1]])
        for i in range(min(frames, len(cut[0]))):
            began, begun = time.perf_counter(), time.thread_time()
            self.detector.combined(stream.step(cut[0][i : i + 1], acts[i : i + 1], np.array([i == 0])))
            took.append(1000 * (time.perf_counter() - began))
            busy.append(1000 * (time.thread_time() - begun))
        torch.set_num_threads(threads)
        found = {"median": np.median(took), "p95": np.quantile(took, 0.95), "cpu": np.median(busy)}
        return {name: round(float(value), 3) for name, value in found.items()}


def cuts(data: Path) -> list[Cut]:
    """All episodes of a data set; FileNotFoundError that says how to record it."""
    if not (data / "data.json").is_file():
        raise FileNotFoundError(f"{data} is not recorded: run scripts/record_pairs --out {data.parents[1]}")
    read = (read_episode(path) for path in Dataset(data).paths())
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


def _some(data: Dataset) -> np.ndarray:
    """About `ENOUGH` frames of all episodes."""
    lengths = [header.length + 1 for header in data.episodes]
    found = []
    for header, at in zip(data.episodes, spread(lengths, ENOUGH)):
        episode = read_episode(header.path)
        found += [episode.frame(int(i)) for i in at]
    return np.stack(found)


def _flow(data: Path, out: Path, config: DensityFitConfig, size: int, quiet: bool) -> Any:
    if (out / "density.json").is_file():
        return load_density(out)
    return fit_density(new_density("flow", config.seed, size=size), data, config, out, quiet)
