"""What was driven in a simulator, step by step, and how it becomes episodes that a fit takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.frames import decode
from gensim.episodes import Dataset, Episode, write_episode
from gensim.episodes.record import made_with

ROUND = 90  # of the names of episodes that a person drove: far behind any round of a loop
PURPOSE = "play"  # what frames are charged to that left no episode


@dataclass(frozen=True)
class Take:
    """One step of a simulator: who did what, and what came of it.

    Arguments:
        act: the action, float32 (k,) or an int64.
        human: whether a person chose it.
        png: the frame that followed.
        rew: the reward, summed over the simulator's skipped frames.
        term: the simulator ended the episode.
        trunc: a clock cut it.
        real_frames: the simulator frames that it took.
    """

    act: Any
    human: bool
    png: bytes
    rew: float
    term: bool
    trunc: bool
    real_frames: int


@dataclass
class Tape:
    """An episode of a simulator under way: its reset seed, its first frame, and its steps.

    Arguments:
        seed: of the simulator's reset.
        first: the first frame as PNG.
        takes: the steps.
        name: of its file, once it has one.
        changed: whether there is more or other to tell than in its file.
    """

    seed: int
    first: bytes
    takes: list[Take] = field(default_factory=list)
    name: str | None = None
    changed: bool = False

    def __len__(self) -> int:
        return len(self.takes)

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return bool(self.takes) and (self.takes[-1].term or self.takes[-1].trunc)

    @property
    def last(self) -> bytes:
        """The newest frame as PNG."""
        return self.takes[-1].png if self.takes else self.first

    @property
    def frame(self) -> np.ndarray:
        """The newest frame, uint8 (h, w, 3)."""
        return np.ascontiguousarray(decode(np.frombuffer(self.last, np.uint8)))

    @property
    def humans(self) -> int:
        """How many steps a person chose."""
        return sum(take.human for take in self.takes)

    def add(self, take: Take) -> None:
        """One more step."""
        self.takes.append(take)
        self.changed = True

    def cut(self, steps: int) -> None:
        """Takes back all but the first steps."""
        if steps < len(self.takes):
            del self.takes[steps:]
            self.changed = True

    def episode(self, meta: Mapping[str, Any]) -> Episode:
        """The steps as an episode; one that is under way is truncated where it stands."""
        takes = self.takes
        trunc = [take.trunc for take in takes[:-1]] + [takes[-1].trunc or not takes[-1].term]
        return Episode.pack(
            [self.first, *(take.png for take in takes)],
            np.stack([np.asarray(take.act) for take in takes]),
            [take.rew for take in takes],
            [take.term for take in takes],
            trunc,
            {**meta, "seed": self.seed, "real_frames": sum(take.real_frames for take in takes)},
        )


class Keeper:
    """Keeps the episodes of a simulator in which a person drove, in a data set, each whole or not at all.

    Arguments:
        folder: of the data set; one of the same simulator is continued.
        about: provenance to write into every episode.
    """

    def __init__(self, folder: str | Path, about: Mapping[str, str] | None = None) -> None:
        self.folder, self.about = Path(folder), dict(about or {})
        self.spec: dict[str, Any] | None = None
        self.kept: dict[str, int] = {}

    @property
    def paths(self) -> list[Path]:
        """The files written so far."""
        return [self.folder / f"ep-{name}.npz" for name in self.kept]

    def open(self, spec: dict[str, Any]) -> None:
        """Makes the data set of a simulator; ValueError when the folder holds another's."""
        Dataset.create(self.folder, spec)
        self.spec = spec

    def keep(self, tape: Tape) -> None:
        """Writes an episode, again when it has changed; one that no person drove is left alone, and goes if it was."""
        if self.spec is None or not tape.changed:
            return
        if not tape.humans:
            return self._forget(tape)
        tape.name = tape.name or self._free(f"{ROUND:02d}-{tape.seed:06d}")
        who = {"policy": "human", "human_steps": tape.humans, **self.about}
        episode = tape.episode({**self.spec, "round": ROUND, **who, "versions": made_with()})
        write_episode(self.folder, episode, tape.name)
        self.kept[tape.name], tape.changed = int(episode.meta["real_frames"]), False

    def close(self, taken: int) -> None:
        """Brings the meter up to date; of the frames taken, those that left no episode are charged to play."""
        lost = taken - sum(self.kept.values())
        if self.spec is not None and lost > 0:
            Dataset(self.folder).charge(PURPOSE, lost)
        elif self.spec is not None:
            Dataset(self.folder).write_meter()

    def _forget(self, tape: Tape) -> None:
        """Removes the file of an episode of which a person has undone all that they drove."""
        if tape.name is not None:
            (self.folder / f"ep-{tape.name}.npz").unlink(missing_ok=True)
            self.kept.pop(tape.name, None)
            tape.name = None

    def _free(self, name: str) -> str:
        """The name, or the first of NAME-2, NAME-3, ... that is not taken: a seed may be driven more than once."""
        taken: Callable[[str], bool] = lambda name: (self.folder / f"ep-{name}.npz").exists()  # noqa: E731
        turn, free = 1, name
        while taken(free):
            turn += 1
            free = f"{name}-{turn}"
        return free
