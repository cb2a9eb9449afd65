"""What `gensim gap` measures, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gensim.episodes.record import SEED_LIMIT


@dataclass(frozen=True)
class GapConfig:
    """What is measured, and on what."""

    world: Path
    """World folder."""
    data: Path
    """Data set that the world was fitted to; its held-out episodes are measured on. Or, with `holdout` 1, another one
    of the same simulator."""
    agent: Path | None = None
    """Agent folder whose return is compared, dreamed and real, and that the policies are made of."""
    policies: tuple[Path, ...] = ()
    """Folders of other agents, or of such folders: earlier rounds of `gensim loop`."""
    exploiters: tuple[Path, ...] = ()
    """The same of agents that were made to exploit the dream (scripts/exploiters)."""
    second: tuple[Path, ...] = ()
    """World folders, of other rounds or seeds, in which every policy dreams too: second opinions."""
    new_data: Path | None = None
    """Data set recorded after the fit, on which rewards, ends and trust are judged; else the held-out episodes are."""
    scores: tuple[Path, ...] = ()
    """What `gensim score AGENT --json` wrote of the simulator, or of this world with `horizon` as here and
    `trust_floor 0`, shown instead of own returns."""
    episodes: int = 10
    """Real episodes of each policy."""
    dreams: int = 64
    """Dreams of each policy."""
    seed: int = 900_000
    """Of the first real episode and the first dream of every policy, and of all chances here."""
    processes: int = 2
    """Simulators side by side, each on one thread."""
    work: Path | None = None
    """Folder of what was measured so far; runs/gap-HASH unless given."""
    mixes: int | None = None
    """Mixes of the agent with chance among the policies, evenly spread; None takes as many as make 20 policies. Give
    few where the simulator is slow: ranks then say less."""
    segments: int = 96
    """Held-out segments that figures are made from."""
    kept: int = 10
    """Held-out segments of the world's own file."""
    samples: int = 4
    """Dreams of each segment."""
    simulated: int = 6
    """Starts and segments that are replayed in the simulator; 0 for none."""
    moments: int = 20_000
    """Moments of the training data that the nearest one is looked up among."""
    holdout: float = 0.05
    """Share of the episodes that the fit was told to hold out; 1 for data that it saw nothing of."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.seed + max(self.dreams, self.episodes) > SEED_LIMIT:
            raise ValueError(f"seed={self.seed}: give 0 to 999,000; seeds from {SEED_LIMIT:,} on are for scores alone")
        counts = (self.episodes, self.dreams, self.processes, self.segments, self.kept, self.samples)
        if min(counts) < 1 or min(self.episodes, self.dreams) < 2:
            raise ValueError("give at least 2 episodes and dreams, and 1 of processes, segments, kept and samples")
        if self.mixes is not None and not 0 <= self.mixes < 100:
            raise ValueError(f"mixes={self.mixes}: give a number from 0 to 99")
        if not 0 < self.holdout <= 1:
            raise ValueError(f"holdout={self.holdout}: give the share that the fit held out, or 1 where it saw nothing")
        if self.exploiters and self.agent is None and not self.policies:
            raise ValueError("exploiters are held against honest policies: give an agent or policies, too")
