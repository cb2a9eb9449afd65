#!/usr/bin/env python
"""What a monitor is worth to an agent: the shipped CarRacing agent under shifts, without one and with one.

The same tracks, shifts and agent, once alone and once with `gensim.ood.Monitor` and its fallback: after an alarm the
car brakes until it stands, for `hold` steps, and then the agent drives again until the next alarm. What sets in lasts
for 40 steps (3.2 s) or to the end. Off the track is a frame in which no wheel touches the road; a crash is the
beginning of such a stretch. Tracks have reset seeds below 1,000,000. Run again to go on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import gensim.ood
from gensim.agents.filter import Driver, driver
from gensim.agents.score import alone
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import atomic_path, read_json, sha256, write_json
from gensim.core.frames import write_png
from gensim.core.settings import differing
from gensim.envs.carracing.readings import speed
from gensim.envs.real import make_real
from gensim.episodes.record import SEED_LIMIT
from gensim.ood.changes import Spell, changed
from gensim.ood.story import story

ROOT = Path(__file__).parents[1]
BEGIN, STEPS = 60, 40
BRIEF, LASTING = Spell(BEGIN, STEPS), Spell(BEGIN)
CASES: dict[str, tuple[str, float, Spell] | None] = {
    "nothing": None,
    "fog for a while": ("fog", 5, BRIEF),
    "noise for a while": ("noise", 5, BRIEF),
    "night for a while": ("night", 5, BRIEF),
    "mud for a while": ("occlusion", 5, BRIEF),
    "tilt for a while": ("tilt", 5, BRIEF),
    "motion blur for a while": ("motion", 5, BRIEF),
    "frozen camera": ("frozen", 4, LASTING),
    "fog": ("fog", 4, LASTING),
    "snow": ("snow", 4, LASTING),
    "slippery road": ("friction", 4, LASTING),
    "weak engine": ("power", 4, LASTING),
    "late actions": ("late", 3, LASTING),
}
SHOWN, FILM = "fog for a while", 160  # the case that is drawn, and steps of it
FIGURES = ("return", "off_track", "crashes", "alarms", "fallback", "steps")


@dataclass(frozen=True)
class Monitored:
    """Under what the agent drives, and how it is watched."""

    cases: tuple[str, ...] = tuple(CASES)
    """Which shifts."""
    episodes: int = 20
    """Tracks a case."""
    first: int = 980_000
    """Reset seed of the first track."""
    false_alarm_every: int = 10_000
    """Frames between false alarms that are asked for."""
    hold: int = 10
    """Steps for which the fallback acts after an alarm."""
    processes: int = 2
    """Episodes side by side."""
    draws: int = 2000
    """Bootstrap samples of tracks behind each interval."""
    work: Path = Path("runs/monitored")
    """Folder of what was driven."""
    out: Path = Path("results/monitored.json")
    """Where the result goes; a table goes beside it."""
    picture: Path = Path("docs/monitor.png")
    """Where a picture of the first track goes: what the agent sees in a fog, and what the monitor says."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.cases} - CASES.keys())
        if unknown or self.episodes < 2 or not 0 <= self.first <= SEED_LIMIT - self.episodes:
            given = ", ".join(unknown) or f"episodes={self.episodes}, first={self.first}"
            raise ValueError(
                f"{given}: give cases of {', '.join(CASES)}, two tracks or more, seeds below {SEED_LIMIT:,}"
            )


def filmed(config: Monitored) -> np.ndarray:
    """The beginning of the first track in a fog, as `gensim.ood.story.story` draws it, uint8 (h, w, 3)."""
    given = CASES[SHOWN]
    assert given is not None
    env, agent = changed(make_real("CarRacing-v3"), *given), driver(ROOT / "agents" / "carracing")
    frame, _ = env.reset(seed=config.first)
    agent.reset(config.first)
    frames, acts = [frame], list[np.ndarray]()
    while len(acts) < FILM:
        acts.append(np.asarray(agent.act(frame, acts[-1] if acts else None)))
        frame, *_ = env.step(acts[-1])
        frames.append(frame)
    env.close()
    detector = gensim.ood.load("carracing")
    seen = np.stack(frames)
    return story(detector, seen, detector.watched(seen, np.stack(acts), config.false_alarm_every))


def brake(frame: np.ndarray) -> np.ndarray:
    """Wheel straight and the brake on until the car stands: the action on a frame uint8 (64, 64, 3)."""
    return np.array([0.0, -0.6 if speed(frame[None])[0] > 0 else 0.0], np.float32)


def main(config: Monitored) -> None:
    """Drives what was not driven yet and writes figures and table."""
    rows = []
    with ProcessPoolExecutor(config.processes, mp_context=get_context("spawn"), initializer=alone) as pool:
        for case in config.cases:
            rows.append(_row(config, case, *(_driven(config, pool, case, watched) for watched in (False, True))))
            _write(config, rows)
            print(f"{case}: {_words(rows[-1])}", flush=True)
    if SHOWN in config.cases:
        write_png(config.picture, filmed(config))


def _driven(config: Monitored, pool: ProcessPoolExecutor, case: str, watched: bool) -> list[dict[str, float]]:
    """Each track's figures, from its file where it was driven."""
    name = f"{case.replace(' ', '-')}-{'watched' if watched else 'alone'}"
    path = config.work / f"{name}.json"
    agent = sha256(ROOT / "agents" / "carracing" / "policy.safetensors")
    asked: dict[str, Any] = {"first": config.first, "episodes": config.episodes, "case": _named(case), "agent": agent}
    if watched:
        asked |= {"every": config.false_alarm_every, "hold": config.hold, "detector": gensim.ood.load("carracing").hash}
    if path.is_file():
        odd = differing(read_json(path)["asked"], asked)
        if odd:
            raise ValueError(f"{path} was driven with {odd}: delete {config.work}, or give another --work")
        return read_json(path)["tracks"]
    seeds = range(config.first, config.first + config.episodes)
    jobs = {pool.submit(drive, config, case, watched, seed): seed for seed in seeds}
    found = {jobs[job]: job.result() for job in as_completed(jobs)}
    write_json(path, {"asked": asked, "tracks": [found[seed] for seed in seeds]})
    return read_json(path)["tracks"]


def drive(config: Monitored, case: str, watched: bool, seed: int) -> dict[str, float]:
    """One track: return, frames off the track, how often it was left, alarms, steps of the fallback, steps."""
    real = make_real("CarRacing-v3")
    env: Any = real
    given = CASES[case]
    if given is not None:
        env = changed(real, *given)
    if watched:
        detector = gensim.ood.load("carracing")
        env = gensim.ood.Monitor(env, detector, config.false_alarm_every, brake, config.hold)
    car = real.env.unwrapped
    return _episode(env, driver(ROOT / "agents" / "carracing"), seed, lambda: _off(car))


def _episode(env: Any, agent: Driver, seed: int, off: Callable[[], bool]) -> dict[str, float]:
    """Drives to the end; the agent is told which action was really executed."""
    frame, _ = env.reset(seed=seed)
    agent.reset(seed)
    told = dict.fromkeys(FIGURES, 0.0)
    done, was, act = False, False, None
    while not done:
        act = agent.act(frame, act)
        frame, rew, term, trunc, info = env.step(act)
        act = info.get("ood_action", act)
        now, done = off(), term or trunc
        step = (float(rew), now, now and not was, info.get("ood_alarm", False), info.get("ood_fallback", False), 1)
        told = {name: told[name] + float(value) for name, value in zip(FIGURES, step)}
        was = now
    env.close()
    return told


def _off(car: Any) -> bool:
    """Whether no wheel touches the road."""
    return not any(wheel.tiles for wheel in car.car.wheels)


# -------------------------------------------------------------------- figures


def _row(
    config: Monitored, case: str, bare: Sequence[dict[str, float]], kept: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Means with and without, and their difference on the same tracks, with 95 % intervals by bootstrap."""
    row: dict[str, Any] = {"case": case, "shift": _named(case), "tracks": len(bare)}
    for name in FIGURES:
        a, b = (np.array([one[name] for one in side]) for side in (bare, kept))
        row[name] = {"alone": _mean(a, config), "watched": _mean(b, config), "difference": _mean(b - a, config)}
    return row


def _mean(values: np.ndarray, config: Monitored) -> dict[str, Any]:
    rng = np.random.Generator(np.random.Philox(key=[config.first, 2**56]))
    drawn = values[rng.integers(len(values), size=(config.draws, len(values)))].mean(1)
    return {"mean": float(values.mean()), "ci95": [float(x) for x in np.quantile(drawn, [0.025, 0.975])]}


def _named(case: str) -> dict[str, Any] | None:
    given = CASES[case]
    return None if given is None else {"name": given[0], "strength": given[1], **asdict(given[2])}


def _write(config: Monitored, rows: Sequence[dict[str, Any]]) -> None:
    settings = {key: value for key, value in asdict(config).items() if key not in ("work", "out", "picture")}
    write_json(config.out, {**circumstances(), "settings": settings, "rows": list(rows)})
    head = ["case", "return alone", "watched", "off track alone (frames)", "watched", "crashes alone", "watched"]
    lines = ["| " + " | ".join([*head, "alarms", "steps braked"]) + " |", "|" + "---|" * (len(head) + 2)]
    for row in rows:
        both = [_cell(row[name][side]) for name in FIGURES[:3] for side in ("alone", "watched")]
        cells = [row["case"], *both, *(_cell(row[name]["watched"]) for name in ("alarms", "fallback"))]
        lines.append("| " + " | ".join(cells) + " |")
    with atomic_path(config.out.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['mean']:.1f} ({low:.1f} to {high:.1f})"


def _words(row: dict[str, Any]) -> str:
    pairs = ((name, row[name]["alone"]["mean"], row[name]["watched"]["mean"]) for name in FIGURES[:3])
    return ", ".join(f"{name.replace('_', ' ')} {a:.1f} alone, {b:.1f} watched" for name, a, b in pairs)


if __name__ == "__main__":
    tell(["scripts/monitored", *sys.argv[1:]])
    main(tyro.cli(Monitored, description=__doc__))
