"""Failures as small files: the keys that an episode was given, of which it is dreamed again, bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gensim.core.files import read_json, write_json
from gensim.envs.engine import load_world
from gensim.envs.registry import folder_of
from gensim.rare.dreams import Dreams, Episodes

FORMAT = "gensim rare case 1"
COLD = 1e-3  # temperature at which the likeliest is drawn
LONGEST = 100_000  # steps
NUMBER = (int, float)
TYPES: Mapping[str, Any] = {"event": str, "steps": int, "digest": str, "about": dict} | dict.fromkeys(
    ("severity", "log_p", "weight"), NUMBER
)


@dataclass(frozen=True)
class Case:
    """One episode.

    Arguments:
        event: its name.
        steps: until it happened.
        trail: step and key, of every time that the episode was given one; the first at step 0.
        severity: at the end.
        log_p: nats, of the episode under the reference law.
        weight: what it stands for of the event's probability; 0 where it was chosen for itself, as the likeliest is.
        calm: steps whose latents are the likeliest, not drawn ones.
        digest: SHA-256 of all its frames.
        about: world, agent and settings, for people and for `gensim rare replay`.
    """

    event: str
    steps: int
    trail: tuple[tuple[int, int], ...]
    severity: float
    log_p: float
    weight: float = 0.0
    calm: tuple[int, ...] = ()
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
            case = cls(trail=trail, calm=tuple(int(step) for step in told.pop("calm")), **told)
            _check(case)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): find the case anew") from error
        return case


def _check(case: Case) -> None:
    wrong = [name for name, kind in TYPES.items() if not isinstance(getattr(case, name), kind)]
    if wrong or not 0 <= case.steps <= LONGEST:
        raise ValueError(f"{', '.join(wrong or ['steps'])} is nothing that a case has")
    steps, keys = zip(*case.trail) if case.trail else ((1,), (0,))
    if steps[0] != 0 or list(steps) != sorted(steps) or not all(0 <= key < 2**64 for key in keys):
        raise ValueError("its trail does not begin at step 0, or goes back, or has keys of more than 64 bits")


@dataclass(frozen=True)
class Replay:
    """A case dreamed again.

    frames (t, h, w, 3) uint8 and severities (t,) of its moments; acts (t - 1, k); start: where it began, as the
    simulator's reset seed and all actions since; same: whether frames are, byte for byte, those it was kept with.
    """

    frames: np.ndarray
    severities: np.ndarray
    acts: np.ndarray
    start: Mapping[str, Any]
    same: bool


def kept(dreams: Dreams, episode: Episodes, about: Mapping[str, Any] | None = None, weight: float = 0.0) -> Case:
    """An episode (1 row, its last moment) as a case."""
    case = Case(
        event=dreams.event.name,
        steps=int(episode.rollout.elapsed[0]),
        trail=episode.trail[0],
        severity=float(episode.severity[0]),
        log_p=float(episode.log_p[0]),
        weight=weight,
        about=dict(about or {}),
    )
    return replace(case, digest=digest(replay(dreams, case).frames))


def replay(dreams: Dreams, case: Case) -> Replay:
    """Dreams a case again, step by step."""
    moments = list(played(dreams, case))
    shown = np.concatenate([dreams.look(now) for now in moments])
    severities = np.array([now.severity[0] for now in moments])
    acts = np.concatenate([now.act for now in moments[1:]] or [moments[0].act[:0]])
    world = load_world(folder_of(dreams.config.world))
    start = world.starts.provenance(int(moments[0].rollout.state.start[0]))
    return Replay(shown, severities, acts, start, digest(shown) == case.digest)


def played(dreams: Dreams, case: Case, calm: np.ndarray | None = None) -> Iterator[Episodes]:
    """A case's moments, one after the other, in rows that differ in which steps are calm: bool (n, steps)."""
    keys = dict(case.trail[1:])  # of several at one step, the last holds
    if calm is None:
        calm = np.isin(np.arange(case.steps), case.calm)[None]
    n = len(calm)
    now = dreams.begin(np.full(n, case.trail[0][1], np.uint64))
    for step in range(case.steps + 1):
        if step in keys:
            now = dreams.branch(now, np.full(n, keys[step], np.uint64))
        yield now
        if step < case.steps:
            now = calmly(dreams, now, calm[:, step])


def calmly(dreams: Dreams, now: Episodes, calm: np.ndarray) -> Episodes:
    """One step more, in which some rows (n,) take their likeliest latents."""
    state = now.rollout.state
    warm = state.temperature
    cold = torch.where(torch.from_numpy(calm), torch.tensor(COLD), warm)
    after = dreams.advance(replace(now, rollout=replace(now.rollout, state=replace(state, temperature=cold))))
    return replace(after, rollout=replace(after.rollout, state=replace(after.rollout.state, temperature=warm)))


def digest(frames: np.ndarray) -> str:
    """SHA-256 of frames and their shape."""
    return hashlib.sha256(json.dumps(frames.shape).encode() + frames.tobytes()).hexdigest()
