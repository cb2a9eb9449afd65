#!/usr/bin/env python
"""False alarms of the shipped detectors: how often on usual frames, and how soon on unusual ones.

The shipped agents play whole episodes in the real simulators, with reset seeds that nothing was made from or chosen on.
Each frame's default score is kept, and the alarms are then raised on the scores as a monitor would raise them: a reset
and an alarm begin the evidence anew, and for 50 frames after an alarm there is none. A false-alarm rate is alarms a
frame; the mean run length is frames between alarms over all frames. Intervals: bootstrap over whole episodes.

Delays: the last episodes are shifted from frame 50 on, at strength 3. Beside them stands a case in which everything is
known: scores that are independent and normal, whose mean moves. log(N) / KL bounds the worst mean delay of any alarm
from below, up to terms of lower order (Lorden, 1971, doi:10.1214/aoms/1177693055); ours has its onset at frame 50.

Run again to go on: scores are kept a block of episodes at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import gensim.ood
from gensim.agents.filter import Pilot, load
from gensim.agents.score import alone, play
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import atomic_path, load_arrays, read_json, sha256, write_json
from gensim.core.progress import bar
from gensim.envs.real import RealEnv, make_real
from gensim.ood.alarm import Alarm, Calibration
from gensim.ood.auroc import auroc
from gensim.ood.detector import Detector
from gensim.ood.shifts import SHIFTS, shifted

ROOT = Path(__file__).parents[1]
SIMULATORS = {"carracing": "CarRacing-v3", "takecover": "vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1"}
BLOCK = 8  # episodes side by side
LEVEL, ONSET = 3.0, 50  # of the shifts
MEANS = (0.5, 1.0, 1.5, 2.0, 3.0)  # by which known scores move


@dataclass(frozen=True)
class FalseAlarms:
    """What to count, on how much."""

    names: tuple[str, ...] = tuple(SIMULATORS)
    """Shipped detectors: carracing, takecover."""
    frames: int = 1_000_000
    """Usual frames of each, as the detector sees them."""
    every: tuple[int, ...] = (1_000, 10_000)
    """Frames between false alarms that are asked for."""
    first: int = 5_000_000
    """Reset seed of the first episode."""
    shifted: int = 24
    """Episodes that delays are measured on, with the seeds before the first."""
    processes: int = 2
    """Simulators side by side, in processes of one thread."""
    draws: int = 2000
    """Bootstrap samples."""
    work: Path = Path("runs/false-alarms")
    """Folder of scores."""
    out: Path = Path("results/false-alarms.json")
    """Where the result goes."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.names} - SIMULATORS.keys())
        if unknown or min(self.frames, self.processes, self.draws) < 1 or self.shifted < 2:
            given = ", ".join(unknown) or f"frames={self.frames}, shifted={self.shifted}"
            raise ValueError(f"{given}: give {', '.join(SIMULATORS)}, frames from 1 and two shifted episodes or more")


def main(config: FalseAlarms) -> None:
    """Plays, scores, counts and writes."""
    told: dict[str, Any] = {name: one for name, one in _there(config).items() if name not in config.names}
    told["known"] = known(config)
    for name in config.names:
        detector = gensim.ood.load(name)
        for every in config.every:
            detector.alarm(every)  # says at once where the calibration does not support it
        scores = [*nominal(config, name)]
        told[name] = {
            "command": circumstances()["command"],
            "detector": detector.hash,
            "frames": sum(map(len, scores)),
            "episodes": len(scores),
            "first_seed": config.first,
            "said": said(detector, scores, config),
            "rates": {str(every): rated(detector, scores, every, config.draws) for every in config.every},
            "delays": delays(config, name, detector),
        }
        settings = {key: value for key, value in asdict(config).items() if key not in ("work", "out")}
        write_json(config.out, {**circumstances(), "settings": settings, **told})
        for every, rate in told[name]["rates"].items():
            print(f"{name}: one in {every} asked, {rate['alarms']} in {told[name]['frames']:,} found", flush=True)


def _there(config: FalseAlarms) -> dict[str, Any]:
    """What was counted for detectors by name before."""
    found = read_json(config.out) if config.out.is_file() else {}
    return {name: found[name] for name in SIMULATORS if name in found}


# -------------------------------------------------------------------- usual frames


def nominal(config: FalseAlarms, name: str) -> Iterator[np.ndarray]:
    """Scores (t,) of usual episodes, by their seeds, until there are frames enough."""
    there, block = 0, 0
    with ExitStack() as stack:
        pool = ProcessPoolExecutor(config.processes, mp_context=get_context("spawn"), initializer=alone)
        progress = stack.enter_context(bar(config.frames, name, unit="f"))
        stack.enter_context(pool)
        while there < config.frames:
            some = range(block, block + 4 * config.processes)
            jobs = [pool.submit(scored, config, name, i) for i in some if not _path(config, name, i).is_file()]
            for job in as_completed(jobs):
                job.result()
            for scores in (one for i in some for one in _read(_path(config, name, i))):
                if there < config.frames:
                    there += len(scores)
                    progress.update(len(scores))
                    yield scores
            block += len(some)


def scored(config: FalseAlarms, name: str, block: int) -> None:
    """Plays a block of episodes and keeps their frames' default scores."""
    seeds = range(config.first + BLOCK * block, config.first + BLOCK * (block + 1))
    detector = gensim.ood.load(name)
    found = [detector.streamed(frames, acts) for frames, acts in played(name, seeds)]
    arrays = {"scores": np.concatenate(found), "lengths": np.array([len(one) for one in found])}
    with atomic_path(_path(config, name, block)) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def played(name: str, seeds: range) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames (t + 1, h, w, 3) and actions (t, ...) of the shipped agent's episodes."""
    envs = [Taped(make_real(SIMULATORS[name])) for _ in seeds]
    play(envs, Pilot(load(ROOT / "agents" / name)), seeds)
    for env in envs:
        env.close()
    return [(np.stack(env.frames), np.stack(env.acts)) for env in envs]


class Taped:
    """A simulator that keeps what was seen and done."""

    def __init__(self, env: RealEnv) -> None:
        self.env = env

    @property
    def real_frames(self) -> int:
        """Simulator frames so far."""
        return self.env.real_frames

    def reset(self, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """The first frame."""
        frame, info = self.env.reset(seed=seed)
        self.frames, self.acts = [frame], list[np.ndarray]()
        return frame, info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """The next one."""
        told = self.env.step(action)
        self.frames.append(told[0])
        self.acts.append(np.array(action))
        return told

    def close(self) -> None:
        """Closes the simulator."""
        self.env.close()


def _path(config: FalseAlarms, name: str, block: int) -> Path:
    return config.work / name / _mark(name) / f"{config.first}-{block:05d}.npz"


@lru_cache
def _mark(name: str) -> str:
    """Which detector and which agent."""
    return f"{gensim.ood.load(name).hash[:12]}-{sha256(ROOT / 'agents' / name / 'policy.safetensors')[:12]}"


def _read(path: Path) -> list[np.ndarray]:
    arrays = load_arrays(path, ("scores", "lengths"))
    return np.split(arrays["scores"], np.cumsum(arrays["lengths"])[:-1])


# -------------------------------------------------------------------- alarms


def rated(detector: Detector, episodes: Sequence[np.ndarray], every: int, draws: int) -> dict[str, Any]:
    """Alarms on usual episodes: their rate over the asked one and frames between them, with 95 % intervals."""
    alarm = detector.alarm(every)
    counts = np.array([alarm.over(scores).alarm.sum() for scores in episodes], np.float64)
    frames = np.array([len(scores) for scores in episodes], np.float64)
    rng = np.random.Generator(np.random.Philox(key=[every, 2**57]))
    n = len(frames)
    drawn = [rng.multinomial(n, np.full(n, 1 / n)) for _ in range(draws)]
    rates = np.array([every * (w @ counts) / (w @ frames) for w in drawn])
    low, high = np.quantile(rates, [0.025, 0.975])
    alarms, rate = int(counts.sum()), float(every * counts.sum() / frames.sum())
    return {
        "alarms": alarms,
        "rate_over_asked": rate,
        "rate_ci95": [float(low), float(high)],
        "upper95": float(np.quantile(rates, 0.95)),
        "run_length": float(frames.sum() / alarms) if alarms else None,
        "run_length_ci95": [float(every / high) if high else None, float(every / low) if low else None],
        "threshold": alarm.threshold,
    }


def said(detector: Detector, episodes: Sequence[np.ndarray], config: FalseAlarms) -> dict[str, Any]:
    """What p-values and evidence come to on usual frames: shares of p below a level, and the mean e at the end."""
    alarm = detector.alarm(config.every[0])
    verdicts = [alarm.over(scores) for scores in episodes]
    p = np.concatenate([one.p for one in verdicts])
    last = np.array([one.e[-1] for one in verdicts])
    below = {str(level): float((p <= level).mean()) for level in (0.05, 0.01, 0.001)}
    return {"p_below": below, "e_at_end": {"mean": float(last.mean()), "highest": float(last.max())}}


def delays(config: FalseAlarms, name: str, detector: Detector) -> dict[str, Any]:
    """By shift: frame AUROC with its interval, and the median number of unusual frames up to the alarm."""
    films = played(name, range(config.first - config.shifted, config.first))
    films = [(frames, acts) for frames, acts in films if len(frames) > ONSET + 1]
    usual = [detector.score(frames[ONSET:]) for frames, _ in films]
    found = {}
    for shift in (name for name, one in SHIFTS.items() if one.kind != "simple"):
        odd = [
            np.concatenate([frames[:ONSET], shifted(frames, shift, LEVEL, k)[ONSET:]])
            for k, (frames, _) in enumerate(films)
        ]
        seen = [detector.score(frames[ONSET:]) for frames in odd]
        scores = [detector.streamed(frames, acts) for frames, (_, acts) in zip(odd, films)]
        waited = {str(every): waiting(detector.alarm(every), scores) for every in config.every}
        found[shift] = {"auroc": auroc(usual, seen, paired=True), "delay": waited}
    return found


def waiting(alarm: Alarm, episodes: Sequence[np.ndarray]) -> dict[str, Any]:
    """Unusual frames up to and with the alarm; episodes in which it rang before them are left out."""
    firsts = [np.flatnonzero(alarm.over(scores).alarm) for scores in episodes]
    kept = [at for at in firsts if not len(at) or at[0] >= ONSET]
    waits = np.array([at[0] - ONSET + 1.0 if len(at) else np.inf for at in kept])
    median = float(np.median(waits)) if len(waits) else np.inf
    early, missed = len(firsts) - len(kept), int(np.isinf(waits).sum())
    return {"median": median if np.isfinite(median) else None, "early": early, "missed": missed}


def known(config: FalseAlarms, episodes: int = 400, rows: int = 400) -> dict[str, Any]:
    """Delays where KL is known: independent normal scores of deviation 1, whose mean moves at frame 50."""
    rng = np.random.Generator(np.random.Philox(7))
    calibration = Calibration.of([rng.standard_normal(200) for _ in range(episodes)])
    found: dict[str, Any] = {}
    for every in config.every:
        for mean in MEANS:
            alarm, waits = Alarm(calibration, every, rows), np.full(rows, np.nan)
            for t in range(ONSET + 400):
                score = rng.standard_normal(rows) + mean * (t >= ONSET)
                said = alarm.step(score, np.full(rows, t == 0)).alarm & np.isnan(waits)
                waits[said] = t - ONSET + 1
            after = np.nan_to_num(waits[~(waits < 1)], nan=np.inf)  # without those that rang before
            median, missed = float(np.median(after)), int(np.isinf(after).sum())
            told = {"median": median if np.isfinite(median) else None, "missed": missed, "rows": len(after)}
            told["mean"] = None if missed else float(after.mean())
            bound = float(np.log(every) / (mean**2 / 2))
            found.setdefault(str(every), {})[str(mean)] = {**told, "kl": mean**2 / 2, "bound": bound}
    return found


if __name__ == "__main__":
    tell(["scripts/false_alarms", *sys.argv[1:]])
    main(tyro.cli(FalseAlarms, description=__doc__))
