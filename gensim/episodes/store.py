"""Episodes on disk: one file each, lossless, checked, and never half written."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path, read_json, write_json
from gensim.core.frames import decode, decode_layer, encode, encode_layer
from gensim.episodes.actions import ActionSpec

FORMAT = 1
ARRAYS = ("png", "offsets", "act", "rew", "term", "trunc", "meta")
PARTS = ("png", "offsets")  # of a layer


@dataclass(frozen=True)
class Layer:
    """A label a pixel for every frame: PNGs end to end, uint8 (bytes,), and where each begins, int64 (T + 2,)."""

    png: np.ndarray
    offsets: np.ndarray

    @classmethod
    def pack(cls, layers: Iterable[np.ndarray]) -> Layer:
        """Layers uint8 or uint16 (h, w), one a frame."""
        blobs = [encode_layer(layer) for layer in layers]
        return cls(np.frombuffer(b"".join(blobs), np.uint8), np.cumsum([0, *map(len, blobs)], dtype=np.int64))

    def at(self, i: int) -> np.ndarray:
        """The layer (h, w) of frame i."""
        i = range(len(self.offsets) - 1)[i]
        return decode_layer(self.png[self.offsets[i] : self.offsets[i + 1]])


@dataclass(frozen=True)
class Episode:
    """One episode of T steps: frame[t], act[t] lead to rew[t], term[t], trunc[t] and frame[t + 1].

    Arguments:
        png: T + 1 lossless PNG frames, end to end, uint8 (bytes,).
        offsets: where each frame begins and the last one ends, int64 (T + 2,).
        act: float32 (T, k) in -1..1, or int64 (T,) choices.
        rew: float32 (T,), summed over the simulator's skipped frames.
        term: bool (T,), the simulator ended the episode with this step.
        trunc: bool (T,), a clock or the recorder cut it there.
        meta: provenance: env_id, seed, policy, real_frames, ...
        layers: labels of every pixel by name, such as classes, where the simulator tells them.
        tracks: numbers by name whose first axis counts frames, T + 1 of them, such as the speed at each.
    """

    png: np.ndarray
    offsets: np.ndarray
    act: np.ndarray
    rew: np.ndarray
    term: np.ndarray
    trunc: np.ndarray
    meta: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    tracks: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def pack(
        cls,
        frames: Iterable[np.ndarray | bytes],
        act: Sequence[Any] | np.ndarray,
        rew: Sequence[float] | np.ndarray,
        term: Sequence[bool] | np.ndarray,
        trunc: Sequence[bool] | np.ndarray,
        meta: Mapping[str, Any],
        layers: Mapping[str, Iterable[np.ndarray]] | None = None,
        tracks: Mapping[str, np.ndarray] | None = None,
    ) -> Episode:
        """An episode of T + 1 frames (uint8 (h, w, 3) or PNG) and T steps; ValueError when they disagree."""
        blobs = [frame if isinstance(frame, bytes) else encode(frame) for frame in frames]
        offsets = np.cumsum([0, *map(len, blobs)], dtype=np.int64)  # (t + 2,)
        png = np.frombuffer(b"".join(blobs), np.uint8)
        kind = np.int64 if np.asarray(act).dtype.kind in "iu" else np.float32
        episode = cls(
            png,
            offsets,
            np.asarray(act, kind),
            np.asarray(rew, np.float32),
            np.asarray(term, bool),
            np.asarray(trunc, bool),
            dict(meta),
            {name: Layer.pack(one) for name, one in (layers or {}).items()},
            {name: np.asarray(one) for name, one in (tracks or {}).items()},
        )
        _check(episode)
        return episode

    def __len__(self) -> int:
        """The number of steps T."""
        return len(self.rew)

    def frame(self, i: int) -> np.ndarray:
        """Frame i of 0..T as uint8 (h, w, 3)."""
        i = range(len(self) + 1)[i]
        return decode(self.png[self.offsets[i] : self.offsets[i + 1]])

    def frames(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames start..stop-1 of 0..T as uint8 (n, h, w, 3)."""
        return np.stack([self.frame(i) for i in range(len(self) + 1)[start:stop]])


def write_episode(folder: str | Path, episode: Episode, name: str) -> Path:
    """Writes `ep-NAME.npz` into a folder atomically and returns its path."""
    path = Path(folder) / f"ep-{name}.npz"
    _check(episode)
    meta = json.dumps(episode.meta, sort_keys=True, allow_nan=False).encode()
    arrays = {key: getattr(episode, key) for key in ARRAYS[:-1]} | _more(episode)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays, meta=np.frombuffer(meta, np.uint8))
    return path


def read_episode(path: str | Path) -> Episode:
    """The episode in a file, every byte checked; ValueError naming the file and its fault."""
    arrays = _read(Path(path), None)
    try:
        layers, tracks = _layers(arrays), {name[6:]: one for name, one in arrays.items() if name.startswith("track.")}
        plain = {name: arrays[name] for name in ARRAYS}
        episode = Episode(**{**plain, "meta": json.loads(plain["meta"].tobytes())}, layers=layers, tracks=tracks)
        _check(episode)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no gensim episode: {error}") from error
    return episode


@dataclass(frozen=True)
class Header:
    """What is known of an episode without its frames: where it is, T, and its provenance."""

    path: Path
    length: int
    real_frames: int
    meta: dict[str, Any]


def read_header(path: str | Path) -> Header:
    """The header of an episode file; ValueError naming the file and its fault."""
    path = Path(path)
    arrays = _read(path, ("rew", "meta"))
    try:
        meta = json.loads(arrays["meta"].tobytes())
        return Header(path, len(arrays["rew"]), int(meta["real_frames"]), meta)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no gensim episode: its provenance is unreadable ({error})") from error


@dataclass(frozen=True)
class Dataset:
    """A folder of episodes: `data.json` says what they are of, `meter.json` what they cost."""

    folder: Path

    def __init__(self, folder: str | Path) -> None:
        object.__setattr__(self, "folder", Path(folder))
        if not (self.folder / "data.json").is_file():
            raise FileNotFoundError(
                f"{self.folder} has no data.json: make a data set with `gensim record` or `gensim import`"
            )

    @classmethod
    def create(cls, folder: str | Path, spec: Mapping[str, Any]) -> Dataset:
        """Opens a folder for `spec`, made where absent; ValueError when it holds data of another kind."""
        folder, spec = Path(folder), {**spec, "format": FORMAT}
        if not (folder / "data.json").is_file():
            write_json(folder / "data.json", spec)
        there = cls(folder).spec
        differ = sorted(key for key in {*spec, *there} if spec.get(key) != there.get(key))
        if differ:
            old, new = ({key: side.get(key) for key in differ} for side in (there, spec))
            raise ValueError(f"{folder} holds episodes of {old}, not of {new}: choose another folder")
        return cls(folder)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """env_id, env_kwargs, size, skip, fps, action and format."""
        spec = read_json(self.folder / "data.json")
        if spec.get("format") != FORMAT:
            raise ValueError(f"{self.folder} has format {spec.get('format')}: this gensim reads {FORMAT}")
        return spec

    @property
    def action(self) -> ActionSpec:
        """The action space of every episode here."""
        return ActionSpec.from_dict(self.spec["action"])

    @cached_property
    def episodes(self) -> tuple[Header, ...]:
        """Headers of the readable episodes by file name; each unreadable one costs a warning."""
        found = (read_or_warn(read_header, path) for path in self.paths())
        return tuple(header for header in found if header is not None)

    def paths(self) -> list[Path]:
        """The episode files by name, readable or not."""
        return sorted(self.folder.glob("ep-*.npz"))

    def meter(self) -> dict[str, Any]:
        """{"real_frames": all, "episodes": recorded, "others": {purpose: n}}, counted from the files."""
        recorded = sum(header.real_frames for header in Dataset(self.folder).episodes)
        others = self._others()
        return {"real_frames": recorded + sum(others.values()), "episodes": recorded, "others": others}

    def write_meter(self) -> dict[str, Any]:
        """Brings `meter.json` up to date with the files and returns it."""
        meter = self.meter()
        write_json(self.folder / "meter.json", meter)
        return meter

    def charge(self, purpose: str, real_frames: int) -> None:
        """Adds simulator frames that left no episode here, such as those that chose a checkpoint."""
        if real_frames < 0:
            raise ValueError(f"real frames are counted upwards, not by {real_frames}")
        others = self._others()
        others[purpose] = others.get(purpose, 0) + int(real_frames)
        write_json(self.folder / "meter.json", {"others": others})
        self.write_meter()

    def _others(self) -> dict[str, int]:
        path = self.folder / "meter.json"
        return dict(read_json(path).get("others", {})) if path.is_file() else {}


def read_or_warn(read: Any, path: Path) -> Any:
    """What `read` makes of a path, or None and one warning when the file is bad."""
    try:
        return read(path)
    except (ValueError, OSError) as error:
        warnings.warn(f"skipped: {error}", stacklevel=2)
        return None


def _more(episode: Episode) -> dict[str, np.ndarray]:
    """Layers and tracks as arrays of a file, by names of their own."""
    parts = {f"layer.{name}.{part}": getattr(one, part) for name, one in episode.layers.items() for part in PARTS}
    return parts | {f"track.{name}": one for name, one in episode.tracks.items()}


def _layers(arrays: Mapping[str, np.ndarray]) -> dict[str, Layer]:
    names = {name.split(".")[1] for name in arrays if name.startswith("layer.")}
    return {name: Layer(*(arrays[f"layer.{name}.{part}"] for part in PARTS)) for name in sorted(names)}


def _read(path: Path, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Named arrays of an npz file, or all, checked against their CRCs."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: an episode file (ep-*.npz) is expected")
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [name.removesuffix(".npy") for name in archive.namelist()] if names is None else names
            return {name: _array(archive.read(f"{name}.npy")) for name in wanted}
    except KeyError as error:
        raise ValueError(f"{path} is no gensim episode: {error.args[0]}") from error
    except Exception as error:  # a damaged archive fails in as many ways as it can be damaged
        raise ValueError(f"{path} is truncated, damaged or foreign ({error}): remove it") from error


def _array(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def _check(episode: Episode) -> None:
    """ValueError unless the parts of an episode agree with each other."""
    if not isinstance(episode.meta, dict) or not isinstance(episode.meta.get("real_frames"), int):
        raise ValueError("its provenance is an object that counts its real_frames")
    t = len(episode.rew)
    kinds = {"png": "u1", "offsets": "i8", "rew": "f4", "term": "?", "trunc": "?"}
    for name, kind in kinds.items():
        if getattr(episode, name).dtype != np.dtype(kind):
            raise ValueError(f"{name} is {getattr(episode, name).dtype}, not {np.dtype(kind)}")
    lengths = {name: len(getattr(episode, name)) for name in ("act", "rew", "term", "trunc")}
    if t < 1 or set(lengths.values()) != {t} or len(episode.offsets) != t + 2:
        frames = len(episode.offsets) - 1
        raise ValueError(f"T >= 1 steps need T + 1 frames, not {lengths} and {frames} frames")
    if episode.act.dtype != np.float32 and not (episode.act.dtype == np.int64 and episode.act.ndim == 1):
        raise ValueError(f"act is float32 (T, k) or int64 (T,), not {episode.act.dtype} {episode.act.shape}")
    if (episode.term | episode.trunc)[:-1].any():
        raise ValueError("an episode ends with its first terminated or truncated step")
    if not _fits(episode.png, episode.offsets):
        raise ValueError("the offsets do not fit the frames")
    for name, layer in episode.layers.items():
        if (layer.png.dtype, layer.offsets.dtype) != (np.uint8, np.int64) or len(layer.offsets) != t + 2:
            raise ValueError(f"layer {name} is uint8 bytes of T + 1 = {t + 1} pictures, with int64 offsets")
        if not _fits(layer.png, layer.offsets):
            raise ValueError(f"the offsets do not fit layer {name}")
    for name, track in episode.tracks.items():
        if track.dtype.kind not in "fiub" or len(track) != t + 1:
            raise ValueError(f"track {name} holds numbers for T + 1 = {t + 1} frames, not {track.dtype} {track.shape}")


def _fits(png: np.ndarray, offsets: np.ndarray) -> bool:
    """Whether offsets begin every one of some pictures and end the last."""
    return (offsets[0], offsets[-1]) == (0, len(png)) and not (np.diff(offsets) < 1).any()
