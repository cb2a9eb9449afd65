"""Fitting a detector: usual episodes in three parts, to learn from, to scale scores on, to set alarms on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from gensim.core.files import read_json, write_json
from gensim.core.frames import check_side
from gensim.core.progress import bar
from gensim.core.settings import differing
from gensim.episodes import Dataset
from gensim.ood.alarm import LEAST, Calibration, check_count
from gensim.ood.combine import crossed
from gensim.ood.config import DetectorConfig
from gensim.ood.detector import TIME_GRAINS, TIME_SIDES, Detector, Reading
from gensim.ood.eye import FRAME_NAMES, Eye
from gensim.ood.motion import Motion
from gensim.ood.shelf import CARD
from gensim.ood.surprise import Film, Surprise
from gensim.ood.tapes import Cut, Shelf, Tape, check_acts, check_frames
from gensim.world.tiles import one_thread

WORK = "work"  # folder of what a stopped fit goes on from
FOLLOWED = 60_000  # moments at most that the predictor learns from


def fit(
    data: Dataset | str | Path | Sequence[Tape],
    out: str | Path | None = None,
    config: DetectorConfig | None = None,
    quiet: bool = True,
) -> Detector:
    """Fits a detector to usual episodes and returns it as `load` would; it is kept in `out`, where that is given.

    data is a gensim data set, its folder, or a sequence of episodes: `Episode`s or tuples (frames, acts or None). The
    same data, config and number of threads give the same file; a fit that was stopped goes on when it is called again,
    and one that is done is not done again. ValueError for too few episodes, for frames or actions of other kinds, and
    for a folder with another detector.
    """
    if out is None:
        with TemporaryDirectory(prefix="detector-") as folder:
            return fit(data, folder, config, quiet)
    config, out, shelf = config or DetectorConfig(), Path(out), Shelf(data)
    size = _size(shelf)
    parts = split(len(shelf), config)
    about = {"size": size, "action": shelf.action.to_dict() if shelf.action else None} | _provenance(shelf)
    about |= {"config": config.to_dict(), "episodes": [len(part) for part in parts], "data": shelf.mark}
    if (out / CARD).is_file():
        return _same(Detector.load(out), about, out)
    work = _opened(out / WORK, about)
    eye = Eye.fit(_sampled(shelf, parts[0], config, size), config.steps, config.seed, work, quiet)
    with one_thread():
        eye.steer(_told(shelf, parts[0], size))
    films = _films(eye, bar(_told(shelf, parts[0], size), "follow", json=quiet, unit="episode"))
    with one_thread():
        surprise = Surprise.fit(films, eye.steered.basis.shape[1], config.ahead, config.seed, work, quiet)
    unscaled: Any = (None, None)
    blank = Detector(eye, surprise, unscaled, unscaled, None, about)
    made = scaled(blank, [blank.read(*shelf[i]) for i in bar(list(parts[1]), "scale", json=quiet, unit="episode")])
    scores = [made.streamed(*shelf[i]) for i in bar(list(parts[2]), "calibrate", json=quiet, unit="episode")]
    made.calibration = Calibration.of(scores, config.kind)
    made.save(out)
    shutil.rmtree(work)
    return Detector.load(out)


def split(episodes: int, config: DetectorConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which whole episodes are learned from, scaled on and calibrated on; ValueError where they are too few."""
    calibrated = max(LEAST, round(config.calibration * episodes))
    shaped = max(2, round(config.shape * episodes))
    if episodes < LEAST + 4:
        raise ValueError(
            f"{episodes} episodes: give at least {LEAST + 4}, of which {LEAST} are kept to calibrate on, 2 to scale on"
        )
    order = np.random.Generator(np.random.Philox(key=[config.seed, 2**59])).permutation(episodes)
    begin = max(episodes - calibrated - shaped, 2)
    shaped = episodes - calibrated - begin
    return np.sort(order[:begin]), np.sort(order[begin : begin + shaped]), np.sort(order[begin + shaped :])


def scaled(detector: Detector, readings: Sequence[Reading]) -> Detector:
    """The same detector with its scores scaled on readings of usual episodes."""
    frame, time = [read.frame for read in readings], [read.time for read in readings]
    if sum((~np.isnan(one).any(1)).sum() > 0 for one in time) < 2:
        raise ValueError("the episodes to scale scores on are too short to know dynamics by: record longer ones")
    (look, looks), (pace, paces) = crossed(frame, [0] * len(FRAME_NAMES)), crossed(time, TIME_SIDES, TIME_GRAINS)
    return Detector(detector.eye, detector.surprise, (look, pace), (looks, paces), None, detector.about)


def recalibrated(
    detector: Detector, episodes: Iterable[Cut], rescale: bool, kind: str | None, about: Mapping[str, Any] | None
) -> Detector:
    """See `Detector.recalibrated`."""
    if rescale:
        readings = [detector.read(*cut) for cut in episodes]
        check_count(len(readings[1::2]), "every other one of them is used to scale the scores")
        made = scaled(detector, readings[::2])
        scores = [made.combined(read) for read in readings[1::2]]
    else:
        made = Detector(detector.eye, detector.surprise, detector.scales, detector.blends, None, detector.about)
        scores = [made.streamed(*cut) for cut in episodes]
    old = detector.calibration
    chosen: Any = kind or (old.kind if old else "shiryaev-roberts")
    made.calibration = Calibration.of(scores, chosen)
    rescaled = rescale or bool(detector.about.get("recalibrated", {}).get("rescaled"))
    told = {"episodes": len(scores), "rescaled": rescaled, "from": detector.hash}
    made.about = {**detector.about, "recalibrated": told | dict(about or {})}
    return made


def _same(there: Detector, about: dict[str, Any], out: Path) -> Detector:
    """A detector that is there already; ValueError unless it is the one that was asked for."""
    odd = differing(there.about, about)
    if odd:
        raise ValueError(f"{out} holds a detector of {odd}: ask for the same, remove it, or give another folder")
    return there


def _size(shelf: Shelf) -> int:
    frames = shelf[0][0]
    if frames.ndim != 4:
        raise ValueError(f"frames of shape {frames.shape}: give (t + 1, h, w, 3)")
    check_side(frames.shape[1])
    check_frames(frames, frames.shape[1])
    return int(frames.shape[1])


def _provenance(shelf: Shelf) -> dict[str, Any]:
    if not isinstance(shelf.data, Dataset):
        return {}
    return {name: shelf.data.spec[name] for name in ("env_id", "env_kwargs", "skip", "fps") if name in shelf.data.spec}


def _opened(work: Path, about: dict[str, Any]) -> Path:
    """The folder of what is done so far; ValueError when it was begun otherwise."""
    path = work / "fit.json"
    odd = differing(read_json(path), about) if path.is_file() else ""
    if odd:
        raise ValueError(f"{work} holds a fit that was begun with {odd}: fit as it was, or remove {work}")
    write_json(path, about)
    return work


def _sampled(shelf: Shelf, part: np.ndarray, config: DetectorConfig, size: int) -> np.ndarray:
    """Frames (n, h, w, 3) of the episodes to learn from, at most `config.frames`, evenly from each."""
    most, found = max(config.frames // len(part), 1), []
    for i in part:
        frames = check_frames(shelf[int(i)][0], size)
        found.append(frames[:: -(-len(frames) // most)])
    return np.concatenate(found)


def _told(shelf: Shelf, part: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and encoded actions of the episodes to learn from, one by one, until there are moments enough."""
    moments = 0
    for i in part:
        if moments >= FOLLOWED:
            return
        frames, acts = shelf[int(i)]
        moments += len(frames) - 1
        yield check_frames(frames, size), check_acts(acts, shelf.action, len(frames) - 1)


def _films(eye: Eye, told: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Film]:
    """Features, actions and motion of episodes."""
    found: list[Film] = []
    for frames, acts in told:
        _, features, motion = eye.look(frames, np.concatenate([frames[:1], frames[:-1]]))
        rows = (torch.from_numpy(np.ascontiguousarray(x)) for x in (features, acts, motion[:, Motion.followed]))
        found.append(tuple(rows))  # type: ignore[arg-type]
    return found
