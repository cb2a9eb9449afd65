"""Changes that no single frame shows: another physics, actions that come late, a camera that freezes or drops frames.

As wrappers of a simulator in which an agent acts, and as changes of what was recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.ood.shifts import SHIFTS, generator, grade, shifted

STREAMS = ("frozen", "dropped", "late")
CHANGES = ("friction", "power", *STREAMS)
ONSET = 0.05  # probability a step that a camera freezes


class Shutter:
    """Which frames a bad camera shows: `fresh()` says of one step after another whether its frame is a new one.

    Arguments:
        name: frozen (spells of one picture) or dropped (frames missing here and there).
        strength: 0 to 5: spells of 2 to 32 steps, or 5 to 50 % of the frames.
        key: which ones.
    """

    def __init__(self, name: str, strength: float, key: int) -> None:
        if name not in ("frozen", "dropped"):
            raise ValueError(f"a camera is frozen or dropped, not {name!r}")
        self.spell = round(grade(strength, 0, 2, 4, 8, 16, 32)) if name == "frozen" else 1
        self.onset = ONSET if name == "frozen" else grade(strength, 0, 0.05, 0.1, 0.2, 0.35, 0.5)
        self.rng, self.left = generator(key, CHANGES.index(name)), 0

    def fresh(self) -> bool:
        """Whether the next step's frame is shown; the one before it is shown again otherwise."""
        if self.left == 0 and self.rng.random() < self.onset:
            self.left = self.spell
        stale, self.left = self.left > 0, max(0, self.left - 1)
        return not stale


def restreamed(
    frames: np.ndarray, acts: np.ndarray, name: str, strength: float = 3.0, key: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A recorded episode, frames (t + 1, h, w, 3) and acts (t, ...), as a camera or a controller at fault shows it.

    frozen and dropped: frames that show an earlier moment. late: acts[i] is executed `strength` steps later; this is
    exact where whoever acted did not look at the frames. The last steps, whose actions are unknown, are left out.
    """
    if name not in STREAMS:
        raise ValueError(f"no change {name!r} of what was recorded: there are {', '.join(STREAMS)}")
    if len(acts) != len(frames) - 1:
        raise ValueError(f"{len(acts)} actions lie between {len(frames)} frames: give one less than frames")
    if name == "late":
        steps = min(round(strength), len(acts))
        return frames[: len(frames) - steps], acts[steps:]
    shutter, shown = Shutter(name, strength, key), [0]
    for i in range(1, len(frames)):
        shown.append(i if shutter.fresh() else shown[-1])
    return frames[shown], acts


@dataclass(frozen=True)
class Spell:
    """When in an episode something is otherwise, and which chances it has.

    Arguments:
        begin: the first step of it.
        steps: how many; None to the episode's end.
        key: of its chances, folded with each episode's seed.
    """

    begin: int = 0
    steps: int | None = None
    key: int = 0

    def __post_init__(self) -> None:
        if self.begin < 0 or (self.steps is not None and self.steps < 1) or self.key < 0:
            raise ValueError(f"{self}: give a begin and a key from 0, and at least one step")

    def holds(self, now: int) -> bool:
        """Whether step `now` of an episode is one of it."""
        return self.begin <= now and (self.steps is None or now < self.begin + self.steps)


ALWAYS = Spell()


def changed(env: gym.Env, name: str, strength: float = 3.0, spell: Spell = ALWAYS) -> Change:
    """A simulator under a change of its dynamics, its camera or its frames, by name, for a spell of every episode."""
    if not 0.0 <= strength <= 5.0:
        raise ValueError(f"strength={strength}: give 0 to 5")
    if name == "friction":
        return CarPhysics(env, friction=grade(strength, 1, 0.85, 0.7, 0.5, 0.35, 0.25), spell=spell)
    if name == "power":
        return CarPhysics(env, power=grade(strength, 1, 0.8, 0.6, 0.4, 0.25, 0.15), spell=spell)
    if name == "late":
        return LateActions(env, round(strength), spell)
    if name in ("frozen", "dropped"):
        return BadShutter(env, name, strength, spell)
    if name in SHIFTS:
        return ShiftedFrames(env, name, strength, spell)
    raise ValueError(f"no change {name!r}: there are {', '.join((*CHANGES, *SHIFTS))}")


class Change(gym.Wrapper):
    """A wrapper that counts steps and episodes, and passes on what else its simulator has."""

    def __init__(self, env: gym.Env, spell: Spell = ALWAYS) -> None:
        super().__init__(env)
        self.spell, self.now, self.episode, self.chance = spell, 0, -1, 0

    def __getattr__(self, name: str) -> Any:
        """What the simulator has and the wrapper has not."""
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode; its chances follow from the key and its seed, or from its number where it has none."""
        self.now, self.episode = 0, self.episode + 1
        self.chance = (self.spell.key << 32) + (self.episode if seed is None else seed)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step, counted."""
        self.now += 1
        return super().step(action)


class CarPhysics(Change):
    """CarRacing on other tyres or with another engine.

    Arguments:
        env: CarRacing, wrapped or not.
        friction: the tyres' grip, on grass and road, over the usual one.
        power: the engine's, likewise.
        spell: when.
    """

    def __init__(self, env: gym.Env, friction: float = 1.0, power: float = 1.0, spell: Spell = ALWAYS) -> None:
        super().__init__(env, spell)
        if friction <= 0 or power <= 0:
            raise ValueError(f"friction={friction}, power={power}: give more than 0")
        self.friction, self.power = friction, power

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step of the simulator under its physics of this moment."""
        on = self.spell.holds(self.now)
        with _physics(self.friction if on else 1.0, self.power if on else 1.0):
            return super().step(action)


@contextmanager
def _physics(friction: float, power: float) -> Iterator[None]:
    """Scales the constants by which every car of this process moves; threads must not step others meanwhile."""
    from gymnasium.envs.box2d import car_dynamics

    kept = car_dynamics.FRICTION_LIMIT, car_dynamics.ENGINE_POWER
    car_dynamics.FRICTION_LIMIT, car_dynamics.ENGINE_POWER = kept[0] * friction, kept[1] * power
    try:
        yield
    finally:
        car_dynamics.FRICTION_LIMIT, car_dynamics.ENGINE_POWER = kept


class LateActions(Change):
    """Actions that are executed some steps after they were given; the first one is held until then.

    Arguments:
        env: any environment.
        steps: by how many they come late.
        spell: when.
    """

    def __init__(self, env: gym.Env, steps: int = 3, spell: Spell = ALWAYS) -> None:
        super().__init__(env, spell)
        if steps < 0:
            raise ValueError(f"actions come {steps} steps late: give at least 0")
        self.steps = steps

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode."""
        self.given: deque[Any] = deque(maxlen=self.steps + 1)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Executes the action that was given so many steps ago, while the spell lasts."""
        self.given.append(action)
        return super().step(self.given[0] if self.spell.holds(self.now) else action)


class BadShutter(Change):
    """A camera that freezes or drops frames; whoever acts sees what it shows.

    Arguments:
        env: an environment with frames as observations.
        name: frozen or dropped.
        strength: 0 to 5.
        spell: when.
    """

    def __init__(self, env: gym.Env, name: str, strength: float = 3.0, spell: Spell = ALWAYS) -> None:
        super().__init__(env, spell)
        self.name, self.strength = name, strength
        Shutter(name, strength, 0)  # says what is wrong, if anything

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode, whose first frame is shown."""
        self.shown, info = super().reset(seed=seed, options=options)
        self.shutter = Shutter(self.name, self.strength, self.chance)
        return self.shown, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; its frame may be an earlier one."""
        obs, rew, term, trunc, info = super().step(action)
        if not self.spell.holds(self.now - 1) or self.shutter.fresh():
            self.shown = obs
        return np.array(self.shown), rew, term, trunc, info


class ShiftedFrames(Change):
    """Observations under a shift of `gensim.ood.shifts`.

    Arguments:
        env: an environment whose observations are frames uint8 (h, w, 3).
        name: of the shift.
        strength: 0 to 5.
        spell: when, by the number of the frame.
    """

    def __init__(self, env: gym.Env, name: str, strength: float = 3.0, spell: Spell = ALWAYS) -> None:
        super().__init__(env, spell)
        self.name, self.strength = name, strength

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode."""
        obs, info = super().reset(seed=seed, options=options)
        return self._seen(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step."""
        obs, *rest = super().step(action)
        return self._seen(obs), *rest

    def _seen(self, obs: np.ndarray) -> np.ndarray:
        if not self.spell.holds(self.now):
            return obs
        return shifted(obs[None], self.name, self.strength, self.chance, self.now)[0]
