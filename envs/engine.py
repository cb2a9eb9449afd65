"""The contract once: n rows of a dream that are reset, stepped, looked at, kept and taken up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from gensim.core.seeds import Stream, fold, uniform
from gensim.envs.controls import Controls
from gensim.envs.options import Options
from gensim.envs.registry import anchored, folder_of
from gensim.envs.rollout import Rollout
from gensim.envs.spec import spec_of
from gensim.episodes.actions import ActionSpec
from gensim.world import State, World

OBSERVATIONS = ("frames", "latents")
MEMORY = 0.1  # weight of the last step in the running average of trust
HORIZON = 500  # where the world's simulator is not known by name
_FAR = 1 << 32  # a counter that neither branches nor steps reach


class Reason(IntEnum):
    """Why an episode was truncated, as info["truncation_reason"] gives it."""

    NONE = 0
    HORIZON = 1
    TRUST = 2


@dataclass(frozen=True)
class DreamConfig:
    """How a world is dreamed."""

    world: str | None = None
    """World folder, or "gensim:NAME" for a shipped one."""
    observation: str = "frames"
    """What is observed: "frames" uint8 (h, w, 3) or "latents" float32 (latent_dim,), not decoded."""
    horizon: int | None = None
    """Steps after which an episode is truncated; None takes the world's own."""
    temperature: float = 1.0
    """Of the latents' logits; above 1 dreams wilder than the data."""
    dropout: bool = False
    """Whether each episode holds a dropout mask of its own."""
    trust_floor: float = 0.05
    """An episode is truncated when the running average of trust falls below; 0 never does."""
    start_mix: float = 0.0
    """Share of plain resets that start in mid-episode."""
    labels: bool = False
    """Whether info holds labels of every pixel and what the state tells, in worlds that have them."""
    weather: Mapping[str, float] | None = None
    """Strengths in 0..1 by name of the weather of every episode, in worlds that have weather."""

    def __post_init__(self) -> None:
        if self.observation not in OBSERVATIONS:
            raise ValueError(f"observation={self.observation!r}: give one of {OBSERVATIONS}")
        if self.horizon is not None and self.horizon < 2:
            raise ValueError(f"horizon={self.horizon}: give 2 steps or more, or None for the world's own")
        for name in ("trust_floor", "start_mix"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number in [0, 1]")
        Options(temperature=self.temperature, dropout=self.dropout, weather=self.weather)


@dataclass(frozen=True)
class Outcome:
    """What a step of n rows brought; rows that had ended stand still and bring nothing."""

    rew: np.ndarray  # (n,) float64
    term: np.ndarray  # (n,) bool
    trunc: np.ndarray  # (n,) bool
    log_prob: np.ndarray  # (n,) float64, nats, under the reference law
    log_q: np.ndarray  # (n,) float64, nats, as sampled
    trust: np.ndarray  # (n,) float64 in [0, 1]
    reason: np.ndarray  # (n,) int64, a Reason

    def then(self, later: Outcome) -> Outcome:
        """Two steps as one: rewards and log-probabilities summed, the lesser trust, either end."""
        return Outcome(
            rew=self.rew + later.rew,
            term=self.term | later.term,
            trunc=self.trunc | later.trunc,
            log_prob=self.log_prob + later.log_prob,
            log_q=self.log_q + later.log_q,
            trust=np.minimum(self.trust, later.trust),
            reason=np.maximum(self.reason, later.reason),
        )


class Dream:
    """n rows of a world: what environments of every kind are thin shells over.

    Pickles as world folder, hash and Rollout, so that any process that sees the folder can go on.

    Arguments:
        config: how the world is dreamed.
        rows: how many at once.
    """

    def __init__(self, config: DreamConfig, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"{rows} environments: give 1 or more")
        self.config, self.rows = replace(config, world=anchored(config.world)), rows
        self.world = load_world(folder_of(self.config.world))
        card, known = self.world.spec, spec_of(self.world.spec.get("env_id", ""))
        self.shape, self.fps = self.world.config.shape, float(card.get("fps", 30))
        self.controls = Controls(ActionSpec.from_dict(card["action"]), known.keys if known else {})
        self.horizon = config.horizon or (known.horizon if known else HORIZON)
        self.threshold = known.reward_threshold if known else None
        self.weather = known.weather() if known and known.weather and self.world.config.labels else None
        self._strengths(Options(weather=self.config.weather), 1)  # says what is wrong with it
        if config.labels and not self.world.config.labels:
            raise ValueError(f"labels=True: {self.config.world} has none; it was fitted to data without")
        self.rollout: Rollout | None = None
        self._shown: tuple[Rollout, tuple[np.ndarray, ...]] | None = None

    @property
    def render_fps(self) -> int:
        """Steps a second as a whole number, as gymnasium's play wants it."""
        return max(1, round(self.fps))

    @property
    def observation_space(self) -> spaces.Box:
        """The space of one row's observation."""
        if self.config.observation == "frames":
            return spaces.Box(0, 255, (*self.shape, 3), np.uint8)
        return spaces.Box(-np.inf, np.inf, (self.world.latent_dim,), np.float32)

    @property
    def now(self) -> Rollout:
        """The rollout; ResetNeeded before the first reset."""
        if self.rollout is None:
            raise ResetNeeded("this environment was not reset yet: call reset() first")
        return self.rollout

    # ------------------------------------------------------------------ resets

    def reset(
        self,
        seed: int | Sequence[int | None] | None,
        entropy: int,
        options: dict[str, Any] | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """Opens episodes in the rows of `mask` (all without one).

        Row i gets seed + i, or seed[i]; without a seed a row goes on in its chain of episodes, or
        begins one at entropy + i if it has none.
        """
        wish = Options.parse(options, self.world.config.conditions, self.weather is not None)
        if isinstance(wish.start, np.ndarray) and len(wish.start) != self.rows:
            raise ValueError(f"start has {len(wish.start)} indices: give one, or one for each of {self.rows} rows")
        seeds, given = _seeds(seed, self.rows)
        if self.rollout is None:
            if mask is not None and not mask.all():
                raise ResetNeeded("some rows cannot be reset before all were: call reset() without a mask")
            fresh, _ = _seeds(entropy, self.rows)
            seeds, given = np.where(given, seeds, fresh), given | (wish.snapshot is None)
        index = np.arange(self.rows) if mask is None else np.flatnonzero(mask)
        opened = self._open(index, seeds[index], given[index], wish.rows(index))
        self.rollout = opened if len(index) == self.rows else self.now.put(index, opened)

    def again(self, index: np.ndarray) -> None:
        """Opens the next episode of some rows."""
        opened = self._open(index, np.zeros(len(index), np.uint64), np.zeros(len(index), bool), Options())
        self.rollout = self.now.put(index, opened)

    def _open(self, index: np.ndarray, seeds: np.ndarray, given: np.ndarray, wish: Options) -> Rollout:
        if wish.snapshot is not None:
            return self._resume(index, seeds, given, wish.snapshot)
        episode = np.zeros(len(index), np.int64)
        if not given.all():
            past = self.now.rows(index)
            seeds, episode = np.where(given, seeds, past.seed), np.where(given, 0, past.episode + 1)
        return self._begin(seeds, episode, wish)

    def _begin(self, seeds: np.ndarray, episode: np.ndarray, wish: Options) -> Rollout:
        n, keys = len(seeds), np.where(episode == 0, seeds, fold(seeds, episode + _FAR))
        temperature = self.config.temperature if wish.temperature is None else wish.temperature
        dropout = self.config.dropout if wish.dropout is None else wish.dropout
        start = self._mixed(keys) if wish.start is None else wish.start
        start = start if isinstance(start, str) else np.broadcast_to(np.asarray(start, np.int64), (n,))
        state = self.world.start(keys, start, temperature, bool(dropout), self._conditions(wish.conditions, n))
        return replace(Rollout.begun(self.world.hash, state, seeds, self._strengths(wish, n)), episode=episode)

    def _conditions(self, asked: Mapping[str, float], n: int) -> np.ndarray | None:
        """Conditions (n, c) in 0..1, NaN where none is asked for; ValueError outside what the data have."""
        if not asked:
            return None
        found = np.full((n, len(self.world.config.conditions)), np.nan)
        for i, name in enumerate(self.world.config.conditions):
            low, high = self.world.spec["conditions"][name]
            value = asked.get(name, low)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
                raise ValueError(f"{name}={value!r}: give a number from {low} to {high}, as the data have")
            if name in asked:
                found[:, i] = (value - low) / (high - low)
        return found

    def _strengths(self, wish: Options, n: int) -> np.ndarray:
        """Strengths (n, k) of the weather that is asked for, or of every episode's."""
        asked = self.config.weather if wish.weather is None else wish.weather
        if self.weather is None:
            if asked:
                raise ValueError(f"weather={dict(asked)}: {self.config.world} has no weather")
            return np.zeros((n, 0), np.float32)
        return self.weather.Weather.of(asked or {}, n).array

    def _mixed(self, keys: np.ndarray) -> str | np.ndarray:
        if self.config.start_mix == 0:
            return "real"
        mid = uniform(keys, Stream.START, np.full(len(keys), _FAR), 1)[:, 0] < self.config.start_mix
        starts = self.world.starts
        return np.where(mid, starts.pick("mid", keys), starts.pick("real", keys))

    def _resume(self, index: np.ndarray, seeds: np.ndarray, given: np.ndarray, snapshot: Rollout) -> Rollout:
        rollout = self._fitting(snapshot).rows(index)
        if rollout.done.any():
            raise ValueError("the snapshot is of an episode that had ended: take it before, or use restore()")
        return rollout.reseed(np.where(given, seeds, rollout.seed), given) if given.any() else rollout

    def _fitting(self, snapshot: Rollout) -> Rollout:
        """The snapshot with as many rows as here; ValueError for another world's or another number."""
        if snapshot.world != self.world.hash:
            raise ValueError(
                f"the snapshot is of the world {snapshot.world[:12]}, this is {self.world.hash[:12]}: "
                "make the environment with the world that it was taken in"
            )
        if len(snapshot) not in (1, self.rows):
            raise ValueError(f"a snapshot of {len(snapshot)} rows: give one of 1 or of {self.rows}")
        return snapshot.rows(np.zeros(self.rows, np.int64)) if len(snapshot) == 1 else snapshot.copy()

    # ------------------------------------------------------------------ steps

    def step(self, act: np.ndarray, draws: np.ndarray | None = None) -> Outcome:
        """One step of every row that has not ended, under actions (n, k) from `controls.read`.

        draws: see `World.imagine`.
        """
        past, live = self.now, ~self.now.done
        state, step = self.world.imagine(past.state, act, draws=draws)
        if not live.all():
            still = np.flatnonzero(past.done)
            state = state.put(still, past.state.rows(still))
        elapsed, trust = past.elapsed + live, np.where(live, step.trust.astype(np.float64), 1.0)
        confidence = np.where(live, past.confidence + MEMORY * (trust - past.confidence), past.confidence)
        rew, term = np.where(live, step.rew.astype(np.float64), 0.0), step.term & live
        reason = np.where(live & ~term, self._reasons(elapsed, confidence), int(Reason.NONE))
        self.rollout = Rollout(
            world=past.world,
            state=state,
            seed=past.seed,
            episode=past.episode,
            elapsed=elapsed,
            returns=past.returns + rew,
            confidence=confidence,
            done=past.done | term | (reason > 0),
            weather=past.weather,
            turned=past.turned + np.where(live, self._turn(state, past.weather), 0.0),
            sky=past.sky,
        )
        log_prob, log_q = np.where(live, step.log_p, 0.0), np.where(live, step.log_q, 0.0)
        return Outcome(rew, term, reason > 0, log_prob, log_q, trust, reason)

    def _turn(self, state: State, weather: np.ndarray) -> np.ndarray:
        """Radians (n,) to the left that a step brought, where somebody looks at the sky."""
        told = self.world.config.readouts
        if not weather.any() or "turn" not in told:
            return np.zeros(len(weather))
        return self.world.tell(state)[0][:, told.index("turn")].astype(np.float64)

    def _reasons(self, elapsed: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        lost = (confidence < self.config.trust_floor) & (elapsed > 1)  # a first step never truncates
        reason = np.where(lost, int(Reason.TRUST), int(Reason.NONE))
        return np.where(elapsed >= self.horizon, int(Reason.HORIZON), reason)

    # ------------------------------------------------------------------ looking

    def observe(self, index: np.ndarray | None = None) -> np.ndarray:
        """Observations of all rows, or of some, in memory of their own."""
        rollout = self.now if index is None else self.now.rows(index)
        if self.config.observation == "latents":
            return self.world.latent(rollout.state)
        return self._look(rollout)[0].copy()

    def frames(self) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) of all rows."""
        return self._look(self.now)[0].copy()

    def labels(self) -> dict[str, np.ndarray]:
        """What `labels=True` adds to info: classes uint8 (n, h, w), depth float32 (n, h, w), and what the state tells.

        depth is in metres where the world's data say what its steps are; `end_probs` (n, k) are the probabilities of
        each kind of end, were this the last step.
        """
        _, classes, far = self._look(self.now, True)
        about = self.world.spec.get("depth") or {}
        depth = about["near"] * np.exp(far * np.float32(np.log(about["far"] / about["near"]))) if about else far
        found = {"classes": classes.copy(), "depth": depth.astype(np.float32)}
        if self.world.config.readouts or self.world.config.kinds:
            numbers, kinds = self.world.tell(self.now.state)
            found |= {name: numbers[:, i] for i, name in enumerate(self.world.config.readouts)} | {"end_probs": kinds}
        return found

    def _look(self, rollout: Rollout, labels: bool = False) -> tuple[np.ndarray, ...]:
        """Frames, and where they were needed classes and distances; a moment is drawn once."""
        if self._shown is not None and self._shown[0] is rollout and len(self._shown[1]) == 3:
            return self._shown[1]
        labels = labels or self.config.labels or bool(rollout.weather.any())
        if not labels:
            return (self.world.decode(rollout.state),)
        frames, classes, far = self.world.labelled(rollout.state)
        if self.weather is not None and rollout.weather.any():
            frames = self._under(rollout, frames, classes, far)
        if rollout is self.rollout:
            self._shown = (rollout, (frames, classes, far))
        return frames, classes, far

    def weathered(self, frames: np.ndarray, classes: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Clear frames uint8 (n, h, w, 3) of all rows under this moment's weather, by classes and metres (n, h, w).

        What is put into a dream's frames is then in its weather.
        """
        if self.weather is None:
            raise ValueError(f"{self.config.world} has no weather")
        about = self.world.spec.get("depth")
        if about:
            low, high = about["near"], about["far"]
            depth = np.log(np.clip(depth, low, high) / low) / np.log(high / low)
        return self._under(self.now, frames, classes, depth.astype(np.float32))

    def _under(self, rollout: Rollout, frames: np.ndarray, classes: np.ndarray, far: np.ndarray) -> np.ndarray:
        assert self.weather is not None
        strengths, steps = self.weather.Weather.rows_of(rollout.weather), rollout.state.step.numpy()
        return self.weather.apply(strengths, frames, classes, far, rollout.sky, steps, rollout.turned)

    def info(self, outcome: Outcome | None = None) -> dict[str, np.ndarray]:
        """The info of every row, arrays (n,); without an outcome, that of a reset."""
        n, rollout = self.rows, self.now
        solved = np.zeros(n, bool) if self.threshold is None else rollout.returns >= self.threshold
        return {
            "log_prob": outcome.log_prob.copy() if outcome else np.zeros(n),
            "log_q": outcome.log_q.copy() if outcome else np.zeros(n),
            "trust": outcome.trust.copy() if outcome else np.ones(n),
            "is_success": solved,
            "elapsed": rollout.elapsed.copy(),
            "truncation_reason": outcome.reason.copy() if outcome else np.zeros(n, np.int64),
            **(self.labels() if self.config.labels else {}),
        }

    # ------------------------------------------------------------------ keeping

    def snapshot(self) -> Rollout:
        """This moment of all rows, in memory of its own."""
        return self.now.copy()

    def restore(self, snapshot: Rollout) -> None:
        """Takes up a moment, bit for bit: of as many rows, or one row for all."""
        Options(snapshot=snapshot)  # says what is wrong with anything else
        self.rollout = self._fitting(snapshot)

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "rows": self.rows, "hash": self.world.hash, "rollout": self.rollout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Dream.__init__(self, state["config"], state["rows"])
        if self.world.hash != state["hash"]:
            raise ValueError(
                f"{self.world.folder} holds the world {self.world.hash[:12]}, the dream is of "
                f"{state['hash'][:12]}: put the old weights back, or start a new dream"
            )
        self.rollout = state["rollout"]


def load_world(folder: Path) -> World:
    """The world in a folder, read once a process and again when its files have changed."""
    files = ("world.json", "world.safetensors", "starts.npz")
    return _load(str(folder.resolve()), tuple(_stamp(folder / name) for name in files))


@lru_cache(maxsize=4)
def _load(folder: str, stamp: tuple[Any, ...]) -> World:
    return World.load(folder)


def _stamp(path: Path) -> tuple[int, int] | None:
    if not path.exists():
        return None  # World.load says what is missing
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _seeds(seed: int | Sequence[int | None] | None, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeds (n,) uint64 and whether each was given; ValueError for negative or missing ones."""
    if seed is None:
        return np.zeros(rows, np.uint64), np.zeros(rows, bool)
    if isinstance(seed, (int, np.integer)):
        seed = [int(seed) + i for i in range(rows)]
    if len(seed) != rows or any(s is not None and s < 0 for s in seed):
        raise ValueError(f"seed={seed}: give an integer >= 0, or {rows} of them (None goes on)")
    values = [0 if s is None else int(s) % 2**64 for s in seed]
    return np.array(values, np.uint64), np.array([s is not None for s in seed])
