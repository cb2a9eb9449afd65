"""Failures as small files: the keys that an episode was given, of which it is dreamed again, bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import read_json, write_json
from gensim.rare.dreams import Dreams, Episodes

FORMAT = "gensim rare case 1"


@dataclass(frozen=True)
class Case:
    """One episode.

    Arguments:
        event: its name.
        steps: until it happened.
        trail: step and key, of every time that the episode was given one; the first at step 0.
        severity: at the end.
        log_p: nats, of the episode under the reference law.
        digest: SHA-256 of all its frames.
        about: world, agent and settings, for people and for `gensim rare replay`.
    """

    event: str
    steps: int
    trail: tuple[tuple[int, int], ...]
    severity: float
    log_p: float
    digest: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes it, all or nothing."""
        write_json(path, {"format": FORMAT, **asdict(self), "about": dict(self.about)})

    @classmethod
    def load(cls, path: Path) -> Case:
        """What `save` wrote; ValueError if it is something else."""
        told = read_json(path)
        if told.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is no case of this version: give a file that `gensim rare` wrote")
        try:
            trail = tuple((int(step), int(key)) for step, key in told.pop("trail"))
            case = cls(trail=trail, **told)
            if not trail or trail[0][0] != 0 or any(a[0] > b[0] for a, b in zip(trail, trail[1:])):
                raise ValueError("its trail does not begin at step 0, or goes back")
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): find the case anew") from error
        return case


@dataclass(frozen=True)
class Replay:
    """A case dreamed again.

    frames (t, h, w, 3) uint8 and severities (t,) of its moments; acts (t - 1, ...); same: whether frames are, byte for
    byte, those that the case was kept with.
    """

    frames: np.ndarray
    severities: np.ndarray
    acts: np.ndarray
    same: bool


def kept(dreams: Dreams, episode: Episodes, about: Mapping[str, Any] | None = None) -> Case:
    """An episode (1 row, its last moment) as a case."""
    case = Case(
        event=dreams.event.name,
        steps=int(episode.rollout.elapsed[0]),
        trail=episode.trail[0],
        severity=float(episode.severity[0]),
        log_p=float(episode.log_p[0]),
        about=dict(about or {}),
    )
    return replace(case, digest=digest(replay(dreams, case).frames))


def replay(dreams: Dreams, case: Case) -> Replay:
    """Dreams a case again, step by step."""
    keys = dict(case.trail[1:])  # of several at one step, the last holds
    now = dreams.begin(np.array([case.trail[0][1]], np.uint64))
    frames, severities, acts = [dreams.look(now)], [now.severity[0]], []
    for step in range(case.steps + 1):
        if step in keys:
            now = dreams.branch(now, np.array([keys[step]], np.uint64))
        if step == case.steps:
            break
        now = dreams.advance(now)
        frames.append(dreams.look(now))
        severities.append(now.severity[0])
        acts.append(now.act)
    shown = np.concatenate(frames)
    return Replay(shown, np.array(severities), np.concatenate(acts), digest(shown) == case.digest)


def digest(frames: np.ndarray) -> str:
    """SHA-256 of frames and their shape."""
    return hashlib.sha256(json.dumps(frames.shape).encode() + frames.tobytes()).hexdigest()
