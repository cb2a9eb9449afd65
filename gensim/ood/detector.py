"""The detector: what is unusual about frames, and about what follows what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensim.core.progress import bar
from gensim.episodes import ActionSpec
from gensim.ood.alarm import Alarm, Calibration, Verdict
from gensim.ood.combine import Blend, Scale, blend_of, mean_nats, scale_of, to_tensors
from gensim.ood.eye import FRAME_NAMES, GROUP_OF, TILE, Eye
from gensim.ood.motion import Motion
from gensim.ood.named import named
from gensim.ood.surprise import ACTS, PAST, Surprise, follow, windows
from gensim.ood.tapes import Tape, check_acts, check_frames, reading
from gensim.world.tiles import map_tiles

TIME_NAMES = (*Motion.names, *Surprise.names)
MOVED = len(Motion.names)
TIME_SIDES = (*[0] * MOVED, *Surprise.sides)
TIME_GRAINS = (*[0.0] * MOVED, *Surprise.grains)
GROUPS = GROUP_OF | {name: part.group for part in (Motion, Surprise) for name in part.names}


@dataclass(frozen=True)
class Reading:
    """What n frames show, each column of `FRAME_NAMES` and `TIME_NAMES`; NaN is what is not known yet."""

    frame: np.ndarray  # (n, f) float32
    time: np.ndarray  # (n, g) float32


class Detector:
    """Scores of frames; higher is more unusual. Fitted on usual frames alone, by `gensim.ood.fit`.

    The default score is in nats: minus the logarithm of about the share of usual frames that stick out as much, by what
    single frames show ("frame") and by how they follow each other under the actions ("time"); of both and of two ways
    to combine statistics the most unusual leads. `names` lists all scores.

    Arguments:
        eye: statistics of frames.
        surprise: statistics of what follows what.
        scales: of frames' and of time's statistics as normal scores.
        blends: of either as nats.
        calibration: of p-values and alarms; None before it is calibrated.
        about: size, action and provenance.
    """

    def __init__(
        self,
        eye: Eye,
        surprise: Surprise,
        scales: tuple[Scale, Scale],
        blends: tuple[Blend, Blend],
        calibration: Calibration | None,
        about: Mapping[str, Any],
    ) -> None:
        self.eye, self.surprise, self.scales, self.blends = eye, surprise, scales, blends
        self.calibration, self.about, self.hash = calibration, dict(about), ""
        self.size: int = int(about["size"])
        self.action = None if about.get("action") is None else ActionSpec.from_dict(about["action"])

    @property
    def names(self) -> tuple[str, ...]:
        """All named scores, "default" first."""
        return ("default", "frame", "time", *named(self, np.zeros((1, len(FRAME_NAMES))), None), *TIME_NAMES)

    @property
    def parameters(self) -> int:
        """How many numbers score a frame, the calibration left out."""
        return sum(value.numel() for name, value in self.tensors().items() if not name.startswith("calibration."))

    # ---------------------------------------------------------------- scores

    def score(self, frames: np.ndarray) -> np.ndarray:
        """The default score (n,) float64 of loose frames uint8 (n, h, w, 3): what each shows by itself."""
        frames = check_frames(frames, self.size)
        if not len(frames):
            return np.zeros(0)
        return self.blends[0](self.scales[0](self.eye.look(frames, frames)[0]))

    def scores(
        self, frames: np.ndarray, acts: np.ndarray | None = None, first: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """All named scores (n,) of frames in order, time included; scores[name][t] knows frames 0..t alone.

        acts (n - 1, k) or (n - 1,): acts[t] leads from frame t to frame t + 1, as in an `Episode`. first (n,) bool
        marks frames that begin an episode (frame 0 always does); the action that leads there is not looked at. Slow
        scores hold a running mean of about 50 frames.
        """
        return self.named(self.read(frames, acts, first))

    def named(self, read: Reading) -> dict[str, np.ndarray]:
        """All named scores (n,) of a reading."""
        frame, time = self.scales[0](read.frame), self.scales[1](read.time)
        nats = self.blends[0](frame), self.blends[1](time)
        whole = {"default": mean_nats(nats), "frame": nats[0], "time": nats[1]}
        return whole | named(self, read.frame, frame) | dict(zip(TIME_NAMES, np.abs(time).T))

    def streamed(
        self, frames: np.ndarray, acts: np.ndarray | None = None, first: np.ndarray | None = None
    ) -> np.ndarray:
        """The default score (n,) of frames in order, as `scores` has it, without the others."""
        return self.combined(self.read(frames, acts, first))

    def combined(self, read: Reading) -> np.ndarray:
        """The default score (n,) of a reading."""
        return mean_nats(
            [blend(scale(v)) for blend, scale, v in zip(self.blends, self.scales, (read.frame, read.time))]
        )

    def stream(self, rows: int = 1) -> Stream:
        """Scores frame by frame, of `rows` environments side by side."""
        return Stream(self, rows)

    def heat(self, frame: np.ndarray) -> np.ndarray:
        """How unusual each part of a frame uint8 (h, w, 3) is, float32 (h, w), 0 where usual."""
        return self.eye.heat(check_frames(np.asarray(frame)[None], self.size)[0])

    def watched(
        self, frames: np.ndarray, acts: np.ndarray | None, every: int, first: np.ndarray | None = None
    ) -> Verdict:
        """What a monitor would have said of frames in order; see `Alarm`."""
        score = self.streamed(frames, acts, first)
        return self.alarm(every).over(score, _begins(first, len(score)))

    def alarm(self, every: int, rows: int = 1) -> Alarm:
        """Alarms of which one in `every` usual frames is false; ValueError where the calibration supports none."""
        if self.calibration is None:
            raise ValueError("this detector has an empty calibration: give it one with detector.recalibrated(episodes)")
        return Alarm(self.calibration, every, rows)

    # ---------------------------------------------------------------- statistics

    def read(self, frames: np.ndarray, acts: np.ndarray | None = None, first: np.ndarray | None = None) -> Reading:
        """Statistics of frames in order; see `scores`."""
        frames = check_frames(frames, self.size)
        n = len(frames)
        if not n:
            return Reading(np.zeros((0, len(FRAME_NAMES)), np.float32), np.zeros((0, len(TIME_NAMES)), np.float32))
        told = check_acts(acts, self.action, n - 1)
        begin = _begins(first, n)
        before = np.where(begin[:, None, None, None], frames, np.concatenate([frames[:1], frames[:-1]]))
        stats, features, motion = self.eye.look(frames, before)
        bounds = [*np.flatnonzero(begin), n]
        time = [self._time(features[i:j], told[i : j - 1], motion[i:j]) for i, j in zip(bounds, bounds[1:])]
        return Reading(stats, np.concatenate(time))

    def _time(self, features: np.ndarray, acts: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """Time's statistics (t, g) of one episode."""
        out = np.full((len(features), len(TIME_NAMES)), np.nan, np.float32)
        out[1:, :MOVED] = motion[1:, :MOVED]
        if len(features) > ACTS:
            film = tuple(
                torch.from_numpy(np.ascontiguousarray(x)) for x in (features, acts, motion[:, Motion.followed])
            )
            values = self.averages(*windows([film]))  # type: ignore[list-item]
            out[ACTS:, MOVED:] = self.slow(values, self.surprise.slowed(values))
        return out

    def averages(self, past: Tensor, acts: Tensor, now: Tensor, motion: Tensor) -> Tensor:
        """What is averaged over time, (n, m); see `Surprise.averaged`."""
        return map_tiles(lambda *rows: (self.surprise.averaged(*rows),), past, acts, now, motion, size=TILE)[0]

    def slow(self, values: Tensor, means: Tensor) -> np.ndarray:
        """The dynamics' statistics (n, 14); see `Surprise.read`."""
        return map_tiles(lambda *rows: (self.surprise.read(*rows),), values, means, size=TILE)[0].numpy()

    # ---------------------------------------------------------------- making and keeping

    def recalibrated(
        self,
        episodes: Iterable[Tape],
        rescale: bool = False,
        kind: str | None = None,
        quiet: bool = True,
        about: Mapping[str, Any] | None = None,
    ) -> Detector:
        """The same detector with its alarms set on other whole usual episodes, which are read once and not kept.

        With `rescale` every other episode is used to scale the scores anew, for frames that look otherwise, such as
        dreamed ones, and the rest for the alarms. A data set or its folder does, too. `about` is kept with the
        detector: where the episodes are from. ValueError for fewer than 8 episodes to set alarms on.
        """
        from gensim.ood.fitting import recalibrated

        return recalibrated(self, bar(reading(episodes), "calibrate", json=quiet, unit="episode"), rescale, kind, about)

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name."""
        found = self.eye.tensors() | self.surprise.tensors()
        for name, scale, blend in zip(("frame", "time"), self.scales, self.blends):
            found |= to_tensors(scale, f"scale.{name}") | to_tensors(blend, f"blend.{name}")
        return found | ({} if self.calibration is None else self.calibration.tensors())

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Detector:
        """The reverse of `tensors`; KeyError or RuntimeError when they do not fit."""
        scales = tuple(scale_of(tensors, f"scale.{name}") for name in ("frame", "time"))
        blends = tuple(blend_of(tensors, f"blend.{name}") for name in ("frame", "time"))
        action = None if about.get("action") is None else ActionSpec.from_dict(about["action"])
        eye = Eye.of(tensors, int(about["size"]))
        surprise = Surprise.of(tensors, len(tensors["surprise.scale"][0]), action.dim if action else 0)
        calibration = Calibration.from_tensors(tensors) if "calibration.levels" in tensors else None
        return cls(eye, surprise, (scales[0], scales[1]), (blends[0], blends[1]), calibration, about)

    def save(self, folder: str | Path, base: str | Path | None = None) -> None:
        """Writes detector.safetensors and, last, detector.json with its hash.

        What is equal in the detector in the folder `base`, which lies beside this one, is left to that.
        """
        from gensim.ood.shelf import save

        save(self, folder, base)

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """Reads what `save` wrote; ValueError or FileNotFoundError if anything is missing, changed or foreign."""
        from gensim.ood.shelf import read

        return read(folder)


class Stream:
    """Statistics frame by frame, of n environments side by side; no row feels its neighbours.

    Arguments:
        detector: whose statistics.
        rows: n.
    """

    def __init__(self, detector: Detector, rows: int = 1) -> None:
        self.detector, self.rows, size = detector, rows, detector.size
        s = detector.surprise
        self._before = np.zeros((rows, size, size, 3), np.uint8)
        self._past = np.zeros((rows, PAST, s.scale.shape[1]), np.float32)
        self._acts = np.zeros((rows, ACTS, detector.action.dim if detector.action else 0), np.float32)
        self._mean = np.zeros((rows, len(s.centre)), np.float32)
        self._age = np.full(rows, -1)  # frames of the episode before the last one seen; none yet

    def step(self, frames: np.ndarray, acts: np.ndarray | None = None, first: np.ndarray | None = None) -> Reading:
        """Statistics of the next frames uint8 (n, h, w, 3), to which acts (n, k) or (n,) led.

        first (n,) bool marks frames that begin an episode, whose actions are not looked at; a stream's first frames
        always do. acts may be missing where all begin one.
        """
        frames = check_frames(frames, self.detector.size, self.rows)
        begin = (self._age < 0) | (np.zeros(self.rows, bool) if first is None else np.asarray(first, bool))
        told = np.zeros_like(self._acts[:, 0]) if begin.all() else self._told(acts, begin)
        before = np.where(begin[:, None, None, None], frames, self._before)
        stats, features, motion = self.detector.eye.look(frames, before)
        self._age = np.where(begin, 0, self._age + 1)
        self._acts = np.concatenate([self._acts[:, 1:], told[:, None]], 1)
        self._mean = np.where(begin[:, None], np.float32(0), self._mean)
        time = self._time(features, motion)
        self._past = np.concatenate([self._past[:, 1:], features[:, None]], 1)
        self._before = frames.copy()
        return Reading(stats, time)

    def put(self, rows: np.ndarray, other: Stream) -> None:
        """Takes over another's rows, one for each of `rows` (m,) int."""
        for name in ("_before", "_past", "_acts", "_mean", "_age"):
            getattr(self, name)[rows] = getattr(other, name)

    def _told(self, acts: Any, begin: np.ndarray) -> np.ndarray:
        action = self.detector.action
        if acts is not None and action is not None and begin.any():
            blank = np.zeros((), np.asarray(acts).dtype)
            acts = np.where(begin.reshape(-1, *[1] * (np.ndim(acts) - 1)), blank, acts)
        return check_acts(acts, action, self.rows)

    def _time(self, features: np.ndarray, motion: np.ndarray) -> np.ndarray:
        out = np.full((self.rows, len(TIME_NAMES)), np.nan, np.float32)
        old = self._age > 0
        out[old, :MOVED] = motion[old, :MOVED]
        ready = self._age >= ACTS
        if ready.any():
            rows = (x[ready] for x in (self._past, self._acts, features, motion[:, Motion.followed]))
            values = self.detector.averages(*(torch.from_numpy(np.ascontiguousarray(x)) for x in rows))
            mean = follow(self._mean[ready], (values - self.detector.surprise.centre).numpy())
            self._mean[ready] = mean
            out[ready, MOVED:] = self.detector.slow(values, torch.from_numpy(mean))
        return out


def _begins(first: np.ndarray | None, n: int) -> np.ndarray:
    """Which of n frames begin an episode; ValueError unless `first` is bool (n,)."""
    begin = np.zeros(n, bool) if first is None else np.asarray(first)
    if begin.shape != (n,) or begin.dtype != bool:
        raise ValueError(f"first of {begin.dtype} {begin.shape}: give bool ({n},)")
    begin = begin.copy()
    begin[:1] = True
    return begin
