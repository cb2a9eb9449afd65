"""Held-out frames that travel with a world: short recorded segments that it was not fitted to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path, inside, line, load_arrays, parse_json
from gensim.core.frames import decode, shape_of
from gensim.core.seeds import Stream, uniform
from gensim.episodes import ActionSpec, Episode, read_episode
from gensim.episodes.store import Header

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
        meta: format, env_id, env_kwargs, size, skip and action.
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
        return cls(
            png=np.concatenate([tape.png[cut[0] : cut[-1]] for tape, cut in zip(tapes, cuts)]),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            **steps,
            start=start,
            past=past,
            seed=np.array([-1 if s is None else s for s in seeds], np.int64),
            episode=np.array([header.path.name for header in headers]),
            meta={"format": FORMAT} | {key: headers[0].meta.get(key) for key in _ABOUT if key in headers[0].meta},
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
        blobs = [self.png[self.offsets[f] : self.offsets[f + 1]] for f in frames]
        names = ("act", "rew", "term", "trunc", "start", "past", "seed", "episode")
        return replace(
            self,
            png=np.concatenate(blobs),
            offsets=np.cumsum([0, *map(len, blobs)], dtype=np.int64),
            **{name: getattr(self, name)[index] for name in names},
        )

    def within(self, limit: int = LIMIT) -> Heldout:
        """The first segments, as many as fit into `limit` bytes with room to spare, but at least one."""
        each = np.diff(self.offsets[:: self.length]) + self.past[0].nbytes + self.act[0].nbytes
        fit = int((np.cumsum(each) < 0.95 * limit).sum())
        return self if fit >= len(self) else self.rows(np.arange(max(fit, 1)))

    def save(self, path: str | Path) -> None:
        """Writes an .npz atomically; ValueError when it would be larger than 3 MB."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
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
            arrays = load_arrays(inside(path.parent, path.name), (*_ARRAYS, "meta"), 20 * LIMIT)
            heldout = cls(**arrays | {"meta": parse_json(arrays["meta"].tobytes())})
            heldout._check()
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as fault:
            raise ValueError(
                f"{path} is damaged or no file of held-out frames ({line(fault)}): make it again with `gensim gap`"
            ) from fault
        return heldout

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
        heads = {bytes(self.png[a : a + 24]) for a in self.offsets[:-1]}
        height, width = shape_of(self.meta)
        if heads != {_PNG + width.to_bytes(4, "big") + height.to_bytes(4, "big")}:
            raise ValueError(f"frames are not PNG of {width} x {height}")
        self._check_steps(action)

    def _check_steps(self, action: ActionSpec) -> None:
        """ValueError for rewards that are no numbers and actions that the simulator does not have."""
        kind, low, high = ("float32", -1.001, 1.001) if action.type == "box" else ("int64", 0, action.size - 1)
        acts = (self.act, self.past)
        known = all(act.dtype == np.dtype(kind) and ((act >= low) & (act <= high)).all() for act in acts)
        if not known or not np.isfinite(self.rew).all():
            raise ValueError("actions are none of the simulator's, or rewards no numbers")


_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # what stands before width and height
_KINDS = {"png": "u1", "offsets": "i8", "rew": "f4", "term": "?", "trunc": "?", "start": "i8", "seed": "i8"}
_ABOUT = ("env_id", "env_kwargs", "size", "width", "skip", "action")
_ARRAYS = tuple(field.name for field in fields(Heldout))[:-1]


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
