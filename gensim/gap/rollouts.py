"""Whole episodes of a player: real ones in several processes, dreamed ones in rows, kept so that a kill loses one."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gensim.agents.score import TOGETHER, Played, alone, blocks, play
from gensim.core.files import atomic_path, read_json, write_json
from gensim.core.frames import shape_of
from gensim.core.seeds import fold
from gensim.episodes.actions import ActionSpec
from gensim.gap.policies import Player, Seated, seat

if TYPE_CHECKING:
    from gensim.world import State, World

ROWS = 64  # dreamed episodes side by side
REREAD = 8  # steps from one reading of decoded frames to the next
VERSION = 1  # of what the work folder holds


@dataclass(frozen=True)
class Stage:
    """The simulator that real episodes are played in, small enough to hand to a process."""

    env_id: str
    shape: tuple[int, int]
    skip: int
    kwargs: str = "{}"
    """Arguments of the simulator, as JSON."""

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Stage:
        """The simulator that a world imitates."""
        return cls(spec["env_id"], shape_of(spec), int(spec["skip"]), json.dumps(spec.get("env_kwargs", {})))


@dataclass(frozen=True)
class Real:
    """Real episodes of a player."""

    returns: list[float]
    lengths: list[int]
    seeds: list[int]
    real_frames: int


@dataclass(frozen=True)
class Dreams:
    """n dreams of a player, step by step; what lies beyond the end of one is NaN.

    Arguments:
        rew: float32 (n, t), expected rewards.
        trust: float32 (n, t).
        unusual: float32 (n, t), the disagreement behind it.
        log_p: float32 (n, t), nats, of latents and end.
        drift: float32 (n, t), the share of a latent's groups that change when its decoded frame is read again;
            NaN at the steps between readings.
        length: int64 (n,), steps until the end.
        term: bool (n,), whether a termination ended it.
    """

    rew: np.ndarray
    trust: np.ndarray
    unusual: np.ndarray
    log_p: np.ndarray
    drift: np.ndarray
    length: np.ndarray
    term: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted returns, float64 (n,)."""
        return np.nan_to_num(self.rew).sum(1, dtype=np.float64)

    def save(self, path: Path) -> None:
        """Writes an .npz, atomically."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Dreams:
        """Reads `save`'s file."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{field.name: file[field.name] for field in fields(cls)})


class Theatre:
    """Plays and dreams, and remembers in a folder what these versions of numpy and torch played and dreamed.

    Arguments:
        world: whose gap is measured.
        work: folder of what was measured so far; a killed measurement goes on from there.
        processes: simulators side by side, each on one thread.
        horizon: steps of a whole dream.
    """

    def __init__(self, world: World, work: Path, processes: int, horizon: int) -> None:
        self.world, self.work, self.processes, self.horizon = world, work, processes, horizon
        self.stage, self.made = Stage.of(world.spec), [VERSION, version("numpy"), version("torch")]
        self._pool: ProcessPoolExecutor | None = None

    @contextmanager
    def open(self) -> Iterator[Theatre]:
        """Within the block the processes live on from player to player."""
        if self.processes > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.processes, mp_context=context, initializer=alone)
        try:
            yield self
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def real(self, player: Player, seeds: range) -> Real:
        """A player's real episodes with these reset seeds, played or remembered."""
        path = self.work / f"real-{player.digest(self.made, asdict(self.stage), [*seeds])}.json"
        if path.is_file():
            known = read_json(path)
            return Real(**{field.name: known[field.name] for field in fields(Real)})
        jobs = [(self.stage, player, block) for block in blocks(seeds, self.processes)]
        parts = self._pool.map(_some, *zip(*jobs)) if self._pool else (_some(*job) for job in jobs)
        played = [one for part in parts for one in part]
        frames = sum(one.real_frames for one in played)
        real = Real([one.reward for one in played], [one.length for one in played], [*seeds], frames)
        write_json(path, asdict(real) | {"player": asdict(player), "stage": asdict(self.stage)})
        return real

    def dream(self, player: Player, seeds: range, world: World | None = None, masks: bool = False) -> Dreams:
        """A player's dreams with these keys in this world, or in another one; dreamed or remembered."""
        world = world or self.world
        told = player.digest(self.made, world.hash, self.horizon, [*seeds], *["masks"] * masks)
        path = self.work / f"dream-{told}.npz"
        if path.is_file():
            return Dreams.load(path)
        dreams = dream(world, player, seeds, self.horizon, masks)
        dreams.save(path)
        return dreams


# -------------------------------------------------------------------- dreamed


def dream(world: World, player: Player, seeds: Sequence[int], horizon: int, masks: bool = False) -> Dreams:
    """Whole dreams from real starts: temperature 1, no cut for lost trust, with `masks` a dropout mask for each."""
    seated = seat(player, ActionSpec.from_dict(world.spec["action"]), world)
    parts = [_rows(world, seated, seeds[i : i + ROWS], horizon, masks) for i in range(0, len(seeds), ROWS)]
    return Dreams(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Dreams)))


def reread(world: World, state: State) -> np.ndarray:
    """Share (n,) of the latents' groups that change when their decoded frames are read again."""
    again = world.first(world.decode(state), fold(state.keys(), state.step.numpy())).z
    return (again != state.z).double().mean(1).numpy()


def _rows(world: World, seated: Seated, seeds: Sequence[int], horizon: int, masks: bool) -> Dreams:
    keys = np.array(seeds, np.uint64)
    action = ActionSpec.from_dict(world.spec["action"])
    state, n = world.start(keys, dropout=masks), len(keys)
    seated.reset(keys)
    length, term, alive = np.full(n, horizon), np.zeros(n, bool), np.ones(n, bool)
    told = {name: np.full((n, horizon), np.nan, np.float32) for name in ("rew", "trust", "unusual", "log_p", "drift")}
    for t in range(horizon):
        state, step = world.imagine(state, action.encode(seated.act(_shown(world, state, seated.sight))))
        for name in ("rew", "trust", "unusual", "log_p"):
            told[name][alive, t] = getattr(step, name)[alive]
        if (t + 1) % REREAD == 0:
            told["drift"][alive, t] = reread(world, state)[alive]
        ended = alive & step.term
        length[ended], term[ended] = t + 1, True
        alive &= ~ended
        if not alive.any():
            break
    return Dreams(**told, length=length, term=term)


def _shown(world: World, state: State, sight: str) -> np.ndarray | None:
    if sight == "nothing":
        return None
    return world.latent(state) if sight == "latents" else world.decode(state)


# -------------------------------------------------------------------- real


def _some(stage: Stage, player: Player, seeds: range) -> list[Played]:
    """Real episodes side by side."""
    return play([_simulator(stage, i) for i in range(len(seeds))], _seated(stage, player), seeds)


@lru_cache(maxsize=TOGETHER)
def _simulator(stage: Stage, index: int) -> Any:
    """One of the simulators side by side, kept from one block of episodes to the next."""
    from gensim.envs.real import make_real

    return make_real(stage.env_id, stage.shape, stage.skip, json.loads(stage.kwargs))


@lru_cache(maxsize=1)
def _seated(stage: Stage, player: Player) -> Seated:
    return seat(player, ActionSpec.from_dict(_simulator(stage, 0).spec_dict["action"]))
