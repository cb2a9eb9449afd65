"""The benchmark: every pair of `gensim.ood.pairs` under every score, one after another, from where it was stopped.

By frame: each frame by itself. By window: an episode whose first frames are usual goes on unusually, and what counts is
the mean score of 50 such frames in a row, at every 25th frame. Delay: how many unusual frames are seen before the
alarm. A shift is laid over the held-out usual episodes. Another simulator's frames follow a usual episode's beginning,
as if the camera had been switched, and the usual episode's actions go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.circumstances import circumstances
from gensim.core.files import read_json, write_json
from gensim.core.progress import bar
from gensim.core.settings import differing
from gensim.ood.auroc import auroc, curve
from gensim.ood.bench_config import BenchConfig
from gensim.ood.changes import restreamed
from gensim.ood.densities import DensityFitConfig
from gensim.ood.judge import RAW, Cut, Judge, cuts, flow_of, recorded, some, spread
from gensim.ood.pairs import BEGIN, LEVEL, WINDOW, Pair, usual
from gensim.ood.shifts import shifted

STRIDE = 25  # frames between the ends of two windows
Streams = list[tuple[np.ndarray, np.ndarray, int]]
"""Frames, actions and the first unusual frame of each episode."""
Scores = Mapping[str, np.ndarray]
"""Scores (t,) of an episode's frames, by name."""


def bench(config: BenchConfig, json: bool = False) -> dict[str, Any]:
    """Measures the pairs that are not measured yet and writes bench.json, bench.md and a picture a family.

    Returns what bench.json says. Raises FileNotFoundError for recordings that are missing and ValueError for figures
    of other detectors or settings.
    """
    from gensim.ood.bench_report import write_report

    rows, speed = [], {}
    with bar(len(config.chosen), "pairs", json, unit="pair") as progress:
        for one in usual():
            pairs = [pair for pair in config.chosen if pair.inside == one.name]
            if not pairs:
                continue
            ground = Ground.of(config, one.name, json)
            speed[one.name] = ground.speed()
            for pair in pairs:
                progress.set_postfix_str(pair.name)
                rows.append(_kept(config, ground, pair))
                progress.update()
    settings = {key: value for key, value in asdict(config).items() if key not in ("data", "out", "pairs")}
    told = {**circumstances(), "settings": settings, "detectors": speed, "pairs": rows}
    return write_report(config.out, told)


@dataclass
class Ground:
    """What pairs with the same usual frames share: who judges, held-out episodes and, once asked for, their scores.

    Arguments:
        judge: of this source.
        held: usual episodes that nothing was fitted on.
        at: which of their frames are scored one by one.
    """

    judge: Judge
    held: list[Cut]
    at: list[np.ndarray]

    @classmethod
    def of(cls, config: BenchConfig, name: str, quiet: bool = True) -> Ground:
        """Fits what a source's pairs are held against."""
        flow = DensityFitConfig(config.flow_steps, config.flow_batch, seed=config.detector.seed)
        fitted = config.out / "fitted"
        general = background(config, flow, fitted / "background", quiet)
        judge = Judge.of(config.data / name / "fit", fitted / name, config.detector, flow, general, quiet)
        return cls.judged(config, judge, cuts(config.data / name / "held"))

    @classmethod
    def judged(cls, config: BenchConfig, judge: Judge, held: list[Cut]) -> Ground:
        """The same from a judge and held-out episodes."""
        return cls(judge, held, spread([len(frames) for frames, _ in held], config.frames))

    @cached_property
    def loose(self) -> Mapping[str, list[np.ndarray]]:
        """Scores by name of the frames one by one, an array an episode."""
        return _loose(self.judge, [frames[i] for (frames, _), i in zip(self.held, self.at)])

    @cached_property
    def streams(self) -> Mapping[str, list[np.ndarray]]:
        """Mean scores by name of the episodes' windows, likewise; episodes too short for one have none."""
        whole = [(frames, acts, BEGIN) for frames, acts in self.held]
        return _windows(whole, _scored(self.judge, whole, raw=True))

    def speed(self) -> dict[str, Any]:
        """Milliseconds a frame and parameters of the detector, and what was fitted."""
        judge = self.judge
        return {"ms": judge.milliseconds(self.held[0]), "parameters": judge.detector.parameters, **judge.hashes}


def background(config: BenchConfig, flow: DensityFitConfig, out: Path, quiet: bool = True) -> Path:
    """The folder of a flow of all sources' usual frames, which likelihood ratios are held against."""
    sources = () if (out / "density.json").is_file() else usual()
    frames = [some(recorded(config.data / one.name / "fit")) for one in sources]
    flow_of(frames, out, flow, frames[0].shape[1] if frames else 0, quiet)
    return out


def _kept(config: BenchConfig, ground: Ground, pair: Pair) -> dict[str, Any]:
    """A pair's figures from its file, which is made where it is not there."""
    path = config.out / "pairs" / f"{pair.name.replace('/', '--')}.json"
    numbers = {"frames": config.frames, "every": config.every, "draws": config.draws, "seed": config.seed}
    asked: dict[str, Any] = {**numbers, **ground.judge.hashes, "recorded": _mark(config, pair)}
    if path.is_file():
        told = read_json(path)
        odd = differing(told["asked"], asked)
        if odd:
            raise ValueError(f"{path} was measured with {odd}: measure as it was, or give another folder")
        return told
    write_json(path, {"asked": asked, **measure(config, ground, pair)})
    return read_json(path)


def _mark(config: BenchConfig, pair: Pair) -> str:
    """What a pair's recordings are told from others by: the sizes of their files."""
    names = (pair.inside, pair.outside) if pair.kind in ("environment", "dynamics") else (pair.inside,)
    files = [path for name in names for path in sorted((config.data / name / "held").glob("*.npz"))]
    told = [(path.parents[1].name, path.name, path.stat().st_size) for path in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def measure(config: BenchConfig, ground: Ground, pair: Pair) -> dict[str, Any]:
    """A pair's figures: AUROC by frame at each strength, by window and delay at `LEVEL`, and ROC curves."""
    about = {"name": pair.name, "family": pair.family, "part": pair.part, "kind": pair.kind, "trap": pair.trap}
    other = _recorded(config, pair)
    frame: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for strength in pair.strengths if pair.kind != "time" else ():
        seen = _loose(ground.judge, _unusual(config, ground, pair, other, strength))
        frame[str(strength)] = _figures(config, ground.loose, seen, other is None)
        if strength == LEVEL and not pair.windowed:
            curves = _curves(ground.loose, seen)
    window: dict[str, Any] = {}
    delay: dict[str, Any] = {}
    for strength in pair.strengths if pair.kind == "time" else (LEVEL,):
        streams = _streams(config, ground, pair, other, strength)
        scored = _scored(ground.judge, streams, pair.windowed)
        ends = _windows(streams, scored)
        paired = other is None and all(len(ends[name]) == len(ground.streams[name]) for name in ends)
        window[str(strength)] = _figures(config, ground.streams, ends, paired)
        if strength == LEVEL:
            delay = _delay(ground.judge, streams, scored, config.every)
            curves = curves or _curves(ground.streams, ends)
    return {**about, "by": "window" if pair.windowed else "frame", "frame": frame, "window": window} | {
        "delay": delay,
        "curves": curves,
    }


# -------------------------------------------------------------------- unusual frames


def _recorded(config: BenchConfig, pair: Pair) -> list[Cut] | None:
    """The held-out episodes of the other source; None where it is a shift."""
    if pair.kind not in ("environment", "dynamics"):
        return None
    return cuts(config.data / pair.outside / "held")


def _unusual(
    config: BenchConfig, ground: Ground, pair: Pair, other: list[Cut] | None, strength: float
) -> list[np.ndarray]:
    """Unusual frames of each episode, to be scored one by one."""
    if other is None:
        some = zip(ground.held, ground.at)
        return [_shift(config, pair, frames, strength, k)[at] for k, ((frames, _), at) in enumerate(some)]
    begin = BEGIN + 1 if pair.kind == "dynamics" else 0
    parts = [frames[begin:] for frames, _ in other if len(frames) > begin]
    return [part[i] for part, i in zip(parts, spread([len(part) for part in parts], config.frames))]


def _shift(config: BenchConfig, pair: Pair, frames: np.ndarray, strength: float, episode: int) -> np.ndarray:
    return shifted(frames, pair.outside, strength, key=(config.seed << 20) + episode)


def _streams(config: BenchConfig, ground: Ground, pair: Pair, other: list[Cut] | None, strength: float) -> Streams:
    """Episodes that begin as usual, with the frame from which on they do not."""
    if pair.kind == "dynamics":
        return [(*cut, BEGIN + 1) for cut in other or ()]
    if other is not None:
        return [_switched(ground.held[k % len(ground.held)], frames) for k, (frames, _) in enumerate(other)]
    found: Streams = []
    for k, (frames, acts) in enumerate(ground.held):
        begin = min(BEGIN, len(acts))
        if pair.kind == "time":
            after, told = restreamed(frames[begin:], acts[begin:], pair.outside, strength, (config.seed << 20) + k)
        else:
            after, told = _shift(config, pair, frames, strength, k)[begin:], acts[begin:]
        found.append((np.concatenate([frames[:begin], after]), np.concatenate([acts[:begin], told]), begin))
    return found


def _switched(held: Cut, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """A usual episode's beginning and then other frames, under the usual episode's actions, over and over."""
    frames, acts = held
    begin = min(BEGIN, len(acts))
    shown = np.concatenate([frames[:begin], after])
    return shown, np.resize(acts, (len(shown) - 1, *acts.shape[1:])), begin


# -------------------------------------------------------------------- scores and figures


def _loose(judge: Judge, episodes: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Scores by name of frames one by one, an array an episode."""
    ends = np.cumsum([len(frames) for frames in episodes])[:-1]
    return {name: np.split(score, ends) for name, score in judge.loose(np.concatenate(episodes)).items()}


def _scored(judge: Judge, streams: Streams, raw: bool) -> list[Scores]:
    """Scores by name along each episode; those of the flow, which are dear, where they are wanted."""
    return [judge.streamed(frames, acts, raw) for frames, acts, _ in streams]


def _windows(streams: Streams, scored: Sequence[Scores]) -> dict[str, list[np.ndarray]]:
    """Mean scores by name of windows of unusual frames, an array an episode that has any."""
    found: dict[str, list[np.ndarray]] = {}
    for (frames, _, begin), scores in zip(streams, scored):
        ends = np.arange(begin + WINDOW - 1, len(frames), STRIDE)
        for name, score in scores.items() if len(ends) else ():
            means = np.array([score[end - WINDOW + 1 : end + 1].mean() for end in ends])
            found.setdefault(name, []).append(means)
    return {name: parts for name, parts in found.items() if all(np.isfinite(part).all() for part in parts)}


def _figures(
    config: BenchConfig,
    inside: Mapping[str, list[np.ndarray]],
    outside: Mapping[str, list[np.ndarray]],
    paired: bool,
) -> dict[str, Any]:
    """AUROC and interval by name, of the names that both sides have."""
    names = [name for name in inside if name in outside]
    return {name: auroc(inside[name], outside[name], paired, config.draws, config.seed) for name in names}


def _curves(inside: Mapping[str, list[np.ndarray]], outside: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
    names = [name for name in ("default", RAW) if name in inside and name in outside]
    return {name: curve(np.concatenate(inside[name]), np.concatenate(outside[name])) for name in names}


def _delay(judge: Judge, streams: Streams, scored: Sequence[Scores], every: int) -> dict[str, Any]:
    """Unusual frames up to and with the first alarm: the median, and in how many episodes there is none at all.

    An alarm before the first unusual frame is an early one; episodes that have one are left out.
    """
    waited, early, rings = list[float](), 0, judge.rings(every)
    for (_, _, begin), scores in zip(streams, scored):
        rung = np.flatnonzero(rings(scores["default"]))
        if len(rung) and rung[0] < begin:
            early += 1
        else:
            waited.append(float(rung[0] - begin + 1) if len(rung) else np.inf)
    found = np.array(waited)
    median = float(np.median(found)) if len(found) else np.inf
    told = {"every": every, "median": median if np.isfinite(median) else None, "episodes": len(streams)}
    return told | {"early": early, "missed": int(np.isinf(found).sum())}
