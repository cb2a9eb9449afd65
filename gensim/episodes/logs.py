"""Logs without a simulator: Minari data sets in and out, and videos with a table of actions."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from gensim.core.files import sha256
from gensim.core.frames import encode, resize
from gensim.core.progress import bar
from gensim.core.video import read_video, video_fps
from gensim.episodes.actions import ActionSpec, from_simulator
from gensim.episodes.looks import image_of
from gensim.episodes.store import Dataset, Episode, read_episode, write_episode

if TYPE_CHECKING:
    from minari import MinariDataset

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")
FLAGS = {"0": False, "1": True, "false": False, "true": True, "": False}
Log = tuple[str, Callable[[], Episode]]  # a name, and how to make its episode


@dataclass(frozen=True)
class ImportConfig:
    """Which log to read, and what is known of the simulator or camera that it came from."""

    source: str
    """A Minari data set (its id or folder), a video beside its table, or a folder of such pairs."""
    out: Path
    """Folder of the data set to make or to add to."""
    size: int = 64
    """Side of a stored frame in pixels."""
    skip: int = 1
    """Simulator frames for each logged step, for the meter."""
    fps: int | None = None
    """Logged steps for each second; by default what the log says, or 30."""
    env_id: str | None = None
    """What the log is of; by default what the log says."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.skip < 1 or (self.fps or 1) < 1:
            raise ValueError("size, skip and fps are at least 1")


def import_logs(config: ImportConfig, json: bool = False) -> dict[str, Any]:
    """Turns logs into episodes, one after another; those already there are kept. Returns the meter."""
    spec, logs = _video_logs(config) if _is_video_source(config.source) else _minari_logs(config)
    data = Dataset.create(config.out, spec)
    for name, make in bar(logs, "episodes", json):
        if not (config.out / f"ep-{name}.npz").exists():
            write_episode(config.out, make(), name)
    return data.write_meter()


def to_minari(dataset: Dataset, dataset_id: str) -> MinariDataset:
    """Writes the episodes as a Minari data set in its lossless mode; actions stay in -1..1 or 0..n-1."""
    minari = _minari()
    from minari.data_collector import EpisodeBuffer

    size = int(dataset.spec["size"])
    buffers = (
        EpisodeBuffer(
            seed=header.meta.get("seed"),
            observations=list(episode.frames()),
            actions=list(episode.act),
            rewards=episode.rew.tolist(),
            terminations=episode.term.tolist(),
            truncations=episode.trunc.tolist(),
        )
        for header, episode in ((header, read_episode(header.path)) for header in dataset.episodes)
    )
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,  # type: ignore[arg-type]
        action_space=dataset.action.space,
        observation_space=spaces.Box(0, 255, (size, size, 3), np.uint8),
        description=f"{dataset.spec['env_id']} by gensim, {dataset.spec['skip']} simulator frames a step",
        jpeg_encoding=False,
    )


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise ValueError(f"Minari is not installed ({error}): python -m pip install 'gensim-worlds[minari]'") from error
    return minari


def _minari_logs(config: ImportConfig) -> tuple[dict[str, Any], Iterable[Log]]:
    """The description of a Minari data set and its episodes."""
    source = _open_minari(config.source)
    look = image_of(source.observation_space)
    if look is None:
        raise ValueError(f"{config.source} has no image observations but {source.observation_space}")
    known = source.env_spec.id if source.env_spec else source.id
    spec = _spec(config, known, 30.0, ActionSpec.of(source.action_space))
    convert, slug = from_simulator(source.action_space), _slug(source.id)

    def make(index: int) -> Episode:
        log = source[index]
        frames = (resize(np.asarray(look(obs)), config.size) for obs in _unbatch(log.observations))
        steps = _ended(log.terminations, log.truncations)
        return _pack(spec, frames, convert(log.actions), log.rewards, *steps, f"minari:{source.id}#{index}")

    return spec, [(f"{slug}-{i:06d}", lambda i=i: make(i)) for i in range(len(source))]  # type: ignore[misc]


def _open_minari(source: str) -> MinariDataset:
    minari = _minari()
    folder = Path(source)
    data = folder / "data" if (folder / "data").is_dir() else folder
    try:
        return minari.MinariDataset(data) if folder.is_dir() else minari.load_dataset(source)
    except Exception as error:  # Minari raises whatever its parts raise
        raise ValueError(
            f"{source} is neither a Minari data set here ({error}) nor a video beside a table (.csv), nor"
            " a folder of such pairs"
        ) from error


def _unbatch(observations: Any) -> Iterator[Any]:
    """Single observations out of an array (t, ...) or a dictionary of such arrays."""
    if isinstance(observations, dict):
        return (dict(zip(observations, values)) for values in zip(*observations.values()))
    return iter(observations)


def _is_video_source(source: str) -> bool:
    path = Path(source)
    return path.suffix.lower() in VIDEOS or (path.is_dir() and any(_videos(path)))


def _videos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)


def _video_logs(config: ImportConfig) -> tuple[dict[str, Any], Iterable[Log]]:
    """The description of one or several videos with tables and their episodes."""
    path = Path(config.source)
    videos = _videos(path) if path.is_dir() else [path]
    actions = [read_table(video.with_suffix(".csv")).action for video in videos]
    spec = _spec(config, "video", video_fps(videos[0]), max(actions, key=lambda action: action.size))
    return spec, [(_slug(video.stem), lambda video=video: _film(config, spec, video)) for video in videos]  # type: ignore[misc]


def _film(config: ImportConfig, spec: dict[str, Any], video: Path) -> Episode:
    table = read_table(video.with_suffix(".csv"))
    action, known = table.action, ActionSpec.from_dict(spec["action"])
    if action.type != known.type or (action.type == "box" and action != known):
        raise ValueError(f"{video.with_suffix('.csv')} has actions {action}, unlike {known}")
    t, frames = len(table.rew), read_video(video)
    head = list(islice((encode(resize(frame, config.size)) for frame in frames), t + 1))
    more = sum(1 for _ in frames)
    if len(head) + more != t + 1:
        raise ValueError(
            f"{video} has {len(head) + more} frames and its table {t} rows: each row leads from one frame to"
            " the next, so a table has one row less than its video has frames"
        )
    steps = _ended(table.term, table.trunc)
    return _pack(spec, head, table.act, table.rew, *steps, f"video:{video.name} sha256:{sha256(video)}")


@dataclass(frozen=True)
class Table:
    """T logged steps: act float32 (t, k) or int64 (t,), rew float32 (t,), term and trunc bool (t,)."""

    action: ActionSpec
    act: np.ndarray
    rew: np.ndarray
    term: np.ndarray
    trunc: np.ndarray


def read_table(path: str | Path) -> Table:
    """Reads a CSV whose row t holds the action at frame t and what came of it.

    Columns: `act_0`, `act_1`, ... in -1..1, or `act` with choices from 0; `rew`, `term` and `trunc` (0/1)
    where known. ValueError names the file and row of a fault.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: a video needs a table of its actions beside it")
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names, rows = list(reader.fieldnames or []), list(reader)
    columns = [f"act_{i}" for i in range(sum(name.startswith("act_") for name in names))]
    if not rows or not ({"act", *columns} & set(names)) or not set(columns) <= set(names):
        raise ValueError(f"{path} needs rows and the columns act_0, act_1, ... or act, not {names}")
    cells = [_row(path, i, row, columns) for i, row in enumerate(rows)]
    act, rew, term, trunc = (np.array(column) for column in zip(*cells))
    if columns:
        action, act = ActionSpec("box", len(columns)), act.astype(np.float32)
    else:
        action = ActionSpec("discrete", int(act.max()) + 1)
    return Table(action, act, rew.astype(np.float32), term, trunc)


def _row(path: Path, i: int, row: dict[str, Any], columns: list[str]) -> tuple[Any, float, bool, bool]:
    try:
        act = [float(row[name]) for name in columns] if columns else int(row["act"])
        rew = float(row.get("rew") or 0.0)
        flags = [FLAGS[(row.get(name) or "").strip().lower()] for name in ("term", "trunc")]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}, row {i + 1}: {error} is no number or flag") from error
    low, high = (min(act), max(act)) if isinstance(act, list) else (min(act, 0), 0)
    if not (np.isfinite(rew) and low >= (-1 if columns else 0) and high <= 1):
        raise ValueError(f"{path}, row {i + 1}: act is -1..1 or whole from 0, rew finite: {row}")
    return act, rew, flags[0], flags[1]


def _ended(term: Any, trunc: Any) -> tuple[np.ndarray, np.ndarray]:
    """The flags with the last step truncated where the log just stops."""
    term, trunc = np.array(term, bool), np.array(trunc, bool)
    trunc[-1:] |= ~term[-1:]
    return term, trunc


def _spec(config: ImportConfig, known: str, fps: float, action: ActionSpec) -> dict[str, Any]:
    return {
        "env_id": config.env_id or known,
        "env_kwargs": {},
        "size": config.size,
        "skip": config.skip,
        "fps": config.fps or max(1, round(fps)) if fps else config.fps or 30,
        "action": action.to_dict(),
    }


def _pack(
    spec: dict[str, Any],
    frames: Iterable[Any],
    act: np.ndarray,
    rew: np.ndarray,
    term: np.ndarray,
    trunc: np.ndarray,
    source: str,
) -> Episode:
    real_frames = int(spec["skip"]) * len(rew)
    meta = {**spec, "seed": None, "round": 0, "policy": "log", "real_frames": real_frames, "source": source}
    return Episode.pack(chain(frames), act, rew, term, trunc, meta)


def _slug(name: str) -> str:
    """A name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name)
