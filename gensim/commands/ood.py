"""gensim ood: detectors of what an agent should not trust its eyes with."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Union

import numpy as np
import tyro

from gensim.core.frames import write_png
from gensim.ood.bench_config import BenchConfig
from gensim.ood.config import DetectorConfig


@dataclass(frozen=True)
class Fit(DetectorConfig):
    """Fit a detector to recorded usual episodes; run again after a stop to go on."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = tyro.MISSING
    """Folder of recorded episodes."""
    out: Path = tyro.MISSING
    """Detector folder to write."""
    json: bool = False
    """Print one JSON object and no progress."""


@dataclass(frozen=True)
class Score:
    """Score recorded episodes, and count the alarms that a monitor would raise."""

    detector: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DETECTOR")]
    """Detector folder, or the name of one that comes with gensim, such as carracing or carracing-dreamed."""
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Folder of recorded episodes."""
    false_alarm_every: int = 10_000
    """Usual frames between two false alarms."""
    episodes: int | None = None
    """The first so many episodes; all by default."""
    picture: Path | None = None
    """A PNG to write, of the first episode with an alarm, or of the first one: frames, heat maps, scores, alarms."""
    json: bool = False
    """Print one JSON object and no progress."""


@dataclass(frozen=True)
class Bench(BenchConfig):
    """Hold detectors against pairs of usual and unusual frames; run again after a stop to go on."""

    json: bool = False
    """Print one JSON object and no progress."""


Action = Union[  # noqa: UP007
    Annotated[Fit, tyro.conf.subcommand("fit")],
    Annotated[Score, tyro.conf.subcommand("score")],
    Annotated[Bench, tyro.conf.subcommand("bench")],
]


@dataclass(frozen=True)
class Ood:
    """Know what an agent cannot know: fit, score and compare out-of-distribution detectors."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]
    """What to do."""


def run(options: Ood) -> int:
    """Fits, scores or compares, and prints what came of it."""
    act = options.action
    if isinstance(act, Fit):
        return _fit(act)
    return _score(act) if isinstance(act, Score) else _bench(act)


def _fit(options: Fit) -> int:
    from gensim.ood.fitting import fit

    config = DetectorConfig(**{item.name: getattr(options, item.name) for item in fields(DetectorConfig)})
    detector = fit(options.data, options.out, config, quiet=options.json)
    frames = int(detector.calibration.frames.sum()) if detector.calibration else 0
    rarest = detector.calibration.rarest if detector.calibration else 0
    told = {"out": str(options.out), "hash": detector.hash, "parameters": detector.parameters}
    told |= {"calibration_frames": frames, "rarest_false_alarm_every": rarest, **detector.about}
    text = f"{options.out}: {detector.parameters:,} parameters, calibrated on {frames:,} frames, {detector.hash[:12]}"
    text += f"\nask for one false alarm in {rarest:,} frames at most, as --false-alarm-every or false_alarm_every"
    print(json.dumps(told) if options.json else text)
    return 0


def _score(options: Score) -> int:
    from gensim.core.progress import bar
    from gensim.episodes import Dataset, read_episode
    from gensim.ood.shelf import load
    from gensim.ood.story import story

    detector = load(options.detector)
    detector.alarm(options.false_alarm_every)
    if options.episodes is not None and options.episodes < 1:
        raise ValueError(f"--episodes {options.episodes}: give 1 or more")
    headers = Dataset(options.data).episodes[: options.episodes]
    rows, drawn = [], None
    for header in bar(headers, "score", json=options.json, unit="episode"):
        episode = read_episode(header.path)
        frames = episode.frames()
        said = detector.watched(frames, episode.act, options.false_alarm_every)
        rows.append(_row(header.path.name, said))
        if drawn is None or (said.alarm.any() and not drawn[1].alarm.any()):
            drawn = (frames, said)
    if options.picture is not None and drawn is not None:
        write_png(options.picture, story(detector, *drawn))
    told = {"detector": options.detector, "hash": detector.hash, "false_alarm_every": options.false_alarm_every}
    print(json.dumps({**told, "episodes": rows}) if options.json else _table(rows))
    return 0


def _row(name: str, said: Any) -> dict[str, Any]:
    """One episode's figures."""
    return {
        "episode": name,
        "frames": len(said.score),
        "mean": round(float(said.score.mean()), 4),
        "highest": round(float(said.score.max()), 4),
        "least_p": float(said.p.min()),
        "alarms": np.flatnonzero(said.alarm).tolist(),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'episode':<24}  {'frames':>6}  {'mean':>8}  {'highest':>8}  {'least p':>9}  alarms at"]
    for row in rows:
        at = ", ".join(map(str, row["alarms"])) or "-"
        figures = f"{row['frames']:>6}  {row['mean']:>8.2f}  {row['highest']:>8.2f}  {row['least_p']:>9.5f}"
        lines.append(f"{row['episode']:<24}  {figures}  {at}")
    frames, alarms = sum(row["frames"] for row in rows), sum(len(row["alarms"]) for row in rows)
    return "\n".join([*lines, f"{frames:,} frames of {len(rows)} episodes: {alarms} alarms"])


def _bench(options: Bench) -> int:
    from gensim.ood.bench import bench

    config = BenchConfig(**{item.name: getattr(options, item.name) for item in fields(BenchConfig)})
    told = bench(config, json=options.json)
    print(json.dumps(told) if options.json else f"{config.out}: {len(told['pairs'])} pairs; see bench.md there")
    return 0
