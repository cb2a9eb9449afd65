"""Held-out frames that travel with a world: short recorded segments that it was not fitted to."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path, inside, line, load_arrays, parse_json
from gensim.core.frames import decode, shape_of
from gensim.core.seeds import Stream, uniform
from gensim.episodes import ActionSpec, Episode, read_episode
from gensim.episodes.sample import Extras
from gensim.episodes.store import Header, Layer
from gensim.world.labelling import check_depth

FORMAT = 1
LIMIT = 3_000_000  # bytes of heldout.npz


@dataclass(frozen=True)
class Heldout:
    """n segments of t frames, each with where it came from; act, rew, term and trunc at i lead to frame i + 1.

    Arguments:
        png: lossless PNG frames, segment by segment, end to end, uint8 (bytes,).
        offsets: where each frame begins and the last one ends, int64 (n t + 1,).
        act: float32 (n, t - 1, k) in -1..1, or int64 (n, t - 1) choices.
        rew: float32 (n, t - 1).
        term: bool (n, t - 1), the simulator ended the episode with this step.
        trunc: bool (n, t - 1), a clock or the recorder cut it there.
        start: int64 (n,), the index in its episode of each segment's first frame.
        past: the `start` actions before it, as `act`, padded with zeros to the longest: (n, p, k) or (n, p).
        seed: int64 (n,), the simulator's reset seed, -1 where there is none.
        episode: str (n,), the episode's file.
        meta: format, env_id, env_kwargs, size, skip and action; of data with labels also what these are.
        layers: labels of the frames by name, where the data have them: classes, depth, and instances.
        numbers: what the simulator tells of each frame, float32 (n, t, r).
        cond: the conditions of each segment's episode in 0..1, float32 (n, c), by name in alphabetical order.
    """

    png: np.ndarray
    offsets: np.ndarray
    act: np.ndarray
    rew: np.ndarray
    term: np.ndarray
    trunc: np.ndarray
    start: np.ndarray
    past: np.ndarray
    seed: np.ndarray
    episode: np.ndarray
    meta: dict[str, Any]
    layers: dict[str, Layer] = field(default_factory=dict)
    numbers: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    cond: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @classmethod
    def gather(cls, episodes: Sequence[Header], segments: int = 10, length: int = 51, seed: int = 0) -> Heldout:
        """Cuts segments of `length` frames from held-out episodes, spread evenly over all that could be cut.

        The first one opens its episode; the second, if there are so many, ends with a termination if there is
        one. Raises ValueError when no episode has so many frames.
        """
        long = [header for header in episodes if header.length + 1 >= length]
        if not long or segments < 1 or length < 2:
            longest = max((header.length + 1 for header in episodes), default=0)
            raise ValueError(
                f"{segments} segments of {length} frames cannot be cut from {len(episodes)} held-out episodes of "
                f"up to {longest} frames: give a shorter length of at least 2, or record more"
            )
        which, start = _spread(long, segments, length, seed)
        tapes = {i: read_episode(long[i].path) for i in sorted({*which})}
        start[0] = 0
        if segments > 1:
            which[1], start[1] = _fatal(long, length, tapes) or (which[1], start[1])
        return cls._cut([long[i] for i in which], [tapes[i] for i in which], start, length)

    @classmethod
    def _cut(cls, headers: list[Header], tapes: list[Episode], start: np.ndarray, length: int) -> Heldout:
        cuts = [tape.offsets[s : s + length + 1] for tape, s in zip(tapes, start)]
        sizes = np.concatenate([np.diff(cut) for cut in cuts])
        steps = {
            name: np.stack([getattr(tape, name)[s : s + length - 1] for tape, s in zip(tapes, start)])
            for name in ("act", "rew", "term", "trunc")
        }
        past = np.zeros((len(tapes), max(start), *tapes[0].act.shape[1:]), tapes[0].act.dtype)
        for row, (tape, s) in enumerate(zip(tapes, start)):
            past[row, :s] = tape.act[:s]
        seeds = [header.meta.get("seed") for header in headers]
        meta = {"format": FORMAT} | {key: headers[0].meta.get(key) for key in _ABOUT if key in headers[0].meta}
        between: dict[str, Any] = headers[0].meta.get("conditions") or {}
        meta |= {"conditions": dict(sorted(between.items()))} if between else {}  # in the order that files have them
        extras, index = Extras(meta, 0), [np.arange(s, s + length) for s in start]
        layers = {
            name: _joined([_picked(tape.layers[name], i) for tape, i in zip(tapes, index)])
            for name in LAYERS
            if meta.get("labels") and name in tapes[0].layers
        }
        return cls(
            png=np.concatenate([tape.png[cut[0] : cut[-1]] for tape, cut in zip(tapes, cuts)]),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            **steps,
            start=start,
            past=past,
            seed=np.array([-1 if s is None else s for s in seeds], np.int64),
            episode=np.array([header.path.name for header in headers]),
            meta=meta,
            layers=layers,
            numbers=np.stack([extras.numbers(tape)[i] for tape, i in zip(tapes, index)]),
            cond=np.stack([extras.conditions(header.meta) for header in headers]),
        )

    def __len__(self) -> int:
        """The number of segments n."""
        return len(self.start)

    @property
    def length(self) -> int:
        """Frames t of a segment."""
        return self.rew.shape[1] + 1

    @cached_property
    def frames(self) -> np.ndarray:
        """All frames, uint8 (n, t, h, w, 3)."""
        one = [decode(self.png[a:b]) for a, b in zip(self.offsets, self.offsets[1:])]
        return np.stack(one).reshape(len(self), self.length, *one[0].shape)

    def layer(self, name: str) -> np.ndarray:
        """A label of every pixel (n, t, h, w): classes uint8, instances uint16; depth as float32 in 0..1.

        ValueError where there is none of that name.
        """
        if name not in self.layers:
            raise ValueError(f"no layer {name!r}: these frames have {', '.join(self.layers) or 'no labels'}")
        held = self.layers[name]
        found = np.stack([held.at(i) for i in range(len(held.offsets) - 1)])
        found = found.reshape(len(self), self.length, *found.shape[1:])
        return found / np.float32(self.meta["depth"]["steps"]) if name == "depth" else found

    def told(self, names: Sequence[str]) -> np.ndarray:
        """The conditions (n, c) in 0..1 of these names; ValueError where one is not there."""
        there = sorted(self.meta.get("conditions") or {})
        missing = [name for name in names if name not in there]
        if missing:
            raise ValueError(f"no condition {', '.join(missing)}: these frames have {', '.join(there) or 'none'}")
        return self.cond[:, [there.index(name) for name in names]] if names else np.zeros((len(self), 0), np.float32)

    @property
    def inputs(self) -> np.ndarray:
        """The actions as a world reads them, float32 (n, t - 1, k), choices one-hot."""
        return ActionSpec.from_dict(self.meta["action"]).encode(self.act)

    def provenance(self, i: int) -> dict[str, Any]:
        """Where segment i begins: simulator, reset seed (None in logs) and all actions since."""
        about = {key: self.meta[key] for key in ("env_id", "env_kwargs", "skip")}
        seed = int(self.seed[i]) if self.seed[i] >= 0 else None
        actions = self.past[i, : self.start[i]].tolist()
        return about | {"episode": str(self.episode[i]), "seed": seed, "actions": actions}

    def rows(self, index: Sequence[int] | np.ndarray) -> Heldout:
        """Some of the segments, at least one."""
        index = np.asarray(index, np.int64)
        frames = (index[:, None] * self.length + np.arange(self.length)).ravel()
        names = ("act", "rew", "term", "trunc", "start", "past", "seed", "episode")
        shown = _picked(Layer(self.png, self.offsets), frames)
        return replace(
            self,
            png=shown.png,
            offsets=shown.offsets,
            **{name: getattr(self, name)[index] for name in names},
            layers={name: _picked(layer, frames) for name, layer in self.layers.items()},
            **{name: getattr(self, name)[index] for name in _ROWS if getattr(self, name).size},
        )

    def within(self, limit: int = LIMIT) -> Heldout:
        """The first segments, as many as fit into `limit` bytes with room to spare, but at least one."""
        each = np.diff(self.offsets[:: self.length]) + self.past[0].nbytes + self.act[0].nbytes
        for layer in self.layers.values():
            each = each + np.diff(layer.offsets[:: self.length])
        fit = int((np.cumsum(each) < 0.95 * limit).sum())
        return self if fit >= len(self) else self.rows(np.arange(max(fit, 1)))

    def save(self, path: str | Path) -> None:
        """Writes an .npz atomically; ValueError when it would be larger than 3 MB."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {name: getattr(self, name) for name in _ROWS if getattr(self, name).size}
        for name, layer in self.layers.items():
            arrays |= {f"{name}.{part}": getattr(layer, part) for part in ("png", "offsets")}
        meta = np.frombuffer(json.dumps(self.meta, sort_keys=True, allow_nan=False).encode(), np.uint8)
        with atomic_path(path) as temporary:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays, meta=meta)
            size = temporary.stat().st_size
            if size > LIMIT:
                raise ValueError(f"{path} would take {size:,} bytes, more than {LIMIT:,}: keep fewer frames (`within`)")

    @classmethod
    def load(cls, path: str | Path) -> Heldout:
        """Reads `save`'s file; FileNotFoundError without it, ValueError if it is damaged or something else."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: make it with `gensim gap`")
        try:
            inside(path.parent, path.name)
            heldout = cls._of(load_arrays(path, (*_ARRAYS, "meta", *_more(path)), 20 * LIMIT))
            heldout._check()
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as fault:
            raise ValueError(
                f"{path} is damaged or no file of held-out frames ({line(fault)}): make it again with `gensim gap`"
            ) from fault
        return heldout

    @classmethod
    def _of(cls, arrays: dict[str, np.ndarray]) -> Heldout:
        plain = {name: arrays[name] for name in (*_ARRAYS, *_ROWS) if name in arrays}
        labelled = [name for name in LAYERS if f"{name}.png" in arrays]
        layers = {name: Layer(arrays[f"{name}.png"], arrays[f"{name}.offsets"]) for name in labelled}
        n, t = arrays["act"].shape[:2]
        none = {"numbers": np.zeros((n, t + 1, 0), np.float32), "cond": np.zeros((n, 0), np.float32)}
        return cls(**none | plain, meta=parse_json(arrays["meta"].tobytes()), layers=layers)

    def _check(self) -> None:
        if not isinstance(self.meta, dict) or self.meta.get("format") != FORMAT:
            raise ValueError(f"this gensim reads format {FORMAT}")
        action = ActionSpec.from_dict(self.meta["action"])
        n, t = self.rew.shape
        k = (action.size,) if action.type == "box" else ()
        shapes: dict[str, tuple[int, ...]] = {"act": (n, t, *k), "past": (n, self.past.shape[1], *k)}
        shapes |= dict.fromkeys(("term", "trunc"), (n, t))
        shapes |= dict.fromkeys(("start", "seed", "episode"), (n,)) | {"offsets": (n * (t + 1) + 1,)}
        wrong = [name for name, shape in shapes.items() if getattr(self, name).shape != shape]
        wrong += [name for name, kind in _KINDS.items() if getattr(self, name).dtype != np.dtype(kind)]
        ends = (self.offsets[0], self.offsets[-1])
        if wrong or ends != (0, len(self.png)) or (np.diff(self.offsets) < 1).any():
            raise ValueError(f"{', '.join(wrong) or 'offsets'} do not fit the frames")
        if min(n, t) < 1 or (self.start < 0).any() or (self.start > self.past.shape[1]).any():
            raise ValueError("segments do not fit the episodes they are of")
        _check_pictures(self.png, self.offsets, shape_of(self.meta), "frames")
        self._check_steps(action)
        self._check_labels()

    def _check_labels(self) -> None:
        """ValueError unless there are just those labels, numbers and conditions that the metadata tell of."""
        n, t = len(self), self.length
        told = [len(self.meta.get(name) or ()) for name in ("labels", "numbers", "conditions")]
        if bool(told[0]) != bool(self.layers) or (told[0] and not {"classes", "depth"} <= self.layers.keys()):
            raise ValueError("its labels are not those that it tells of")
        for name, layer in self.layers.items():
            if layer.offsets.shape != (n * t + 1,) or layer.offsets[0] or layer.offsets[-1] != len(layer.png):
                raise ValueError(f"{name} do not fit the frames")
            _check_pictures(layer.png, layer.offsets, shape_of(self.meta), name)
        if told[0]:
            check_depth(self.meta["depth"])
            depths = {name: 16 if name == "depth" else 8 for name in self.layers}
            wrong = [name for name, bits in depths.items() if not _is_grey(self.layers[name], bits)]
            if wrong or self.layer("classes").max() >= told[0]:
                raise ValueError(f"{', '.join(wrong) or 'classes'} are not what pixels are labelled with")
        for rows, shape in ((self.numbers, (n, t, told[1])), (self.cond, (n, told[2]))):
            if rows.dtype != np.float32 or rows.shape != shape or not np.isfinite(rows).all():
                raise ValueError("numbers or conditions do not fit the frames")

    def _check_steps(self, action: ActionSpec) -> None:
        """ValueError for rewards that are no numbers and actions that the simulator does not have."""
        kind, low, high = ("float32", -1.001, 1.001) if action.type == "box" else ("int64", 0, action.size - 1)
        acts = (self.act, self.past)
        known = all(act.dtype == np.dtype(kind) and ((act >= low) & (act <= high)).all() for act in acts)
        if not known or not np.isfinite(self.rew).all():
            raise ValueError("actions are none of the simulator's, or rewards no numbers")


_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # what stands before width and height
_KINDS = {"png": "u1", "offsets": "i8", "rew": "f4", "term": "?", "trunc": "?", "start": "i8", "seed": "i8"}
_ABOUT = (
    *("env_id", "env_kwargs", "size", "width", "skip", "action"),
    *("labels", "depth", "numbers", "conditions", "kinds"),
)
_ARRAYS = ("png", "offsets", "act", "rew", "term", "trunc", "start", "past", "seed", "episode")
_ROWS = ("numbers", "cond")  # where there are any
LAYERS = ("classes", "instances", "depth")


def _is_grey(layer: Layer, bits: int) -> bool:
    """Whether each picture's head says that it is grey, of so many bits a pixel."""
    return {bytes(layer.png[a + 24 : a + 26]) for a in layer.offsets[:-1]} == {bytes([bits, 0])}


def _picked(layer: Layer, index: np.ndarray) -> Layer:
    """Some of a layer's pictures."""
    blobs = [layer.png[layer.offsets[i] : layer.offsets[i + 1]] for i in index]
    return Layer(np.concatenate(blobs), np.cumsum([0, *map(len, blobs)], dtype=np.int64))


def _joined(layers: Sequence[Layer]) -> Layer:
    """Several layers' pictures, end to end."""
    sizes = np.concatenate([np.diff(layer.offsets) for layer in layers])
    return Layer(np.concatenate([layer.png for layer in layers]), np.concatenate([[0], np.cumsum(sizes)]))


def _more(path: Path) -> list[str]:
    """Which arrays that a file may have are there."""
    known = [*_ROWS, *(f"{name}.{part}" for name in LAYERS for part in ("png", "offsets"))]
    try:
        with zipfile.ZipFile(path) as archive:
            there = {*archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []  # what is wrong is said where it is read
    return [name for name in known if f"{name}.npy" in there]


def _check_pictures(png: np.ndarray, offsets: np.ndarray, shape: tuple[int, int], what: str) -> None:
    """ValueError unless PNGs of this height and width lie end to end."""
    if png.dtype != np.uint8 or offsets.dtype != np.int64 or (np.diff(offsets) < 1).any():
        raise ValueError(f"the offsets do not fit the {what}")
    heads = {bytes(png[a : a + 24]) for a in offsets[:-1]}
    height, width = shape
    if heads != {_PNG + width.to_bytes(4, "big") + height.to_bytes(4, "big")}:
        raise ValueError(f"{what} are not PNG of {width} x {height}")


def _spread(headers: list[Header], segments: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which episode each segment comes from and where it starts, int64 (n,) each, systematically sampled."""
    windows = np.array([header.length + 2 - length for header in headers])
    draw = uniform(np.array([seed], np.uint64), Stream.FIT, np.zeros(1, np.int64), segments)[0]  # (n,)
    ticket = ((np.arange(segments) + draw) / segments * windows.sum()).astype(np.int64)
    ends = np.cumsum(windows)
    which = np.searchsorted(ends, ticket, side="right")
    return which, ticket - (ends - windows)[which]


def _fatal(headers: list[Header], length: int, tapes: dict[int, Episode]) -> tuple[int, int] | None:
    """An episode that ended with a termination and where its last segment starts, or None."""
    for i, header in enumerate(headers):
        if i not in tapes:
            tapes[i] = read_episode(header.path)
        if tapes[i].term[-1]:
            return i, header.length + 1 - length
    return None
