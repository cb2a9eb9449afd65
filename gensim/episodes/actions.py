"""What an agent may do: k numbers in -1..1, or one of n choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

SIZE_KEY = {"box": "dim", "discrete": "n"}


@dataclass(frozen=True)
class ActionSpec:
    """An action space that fits in JSON: `size` numbers in -1..1 ("box") or `size` choices ("discrete")."""

    type: Literal["box", "discrete"] = "box"
    size: int = 2

    def __post_init__(self) -> None:
        if self.type not in SIZE_KEY or self.size < 1:
            raise ValueError(f"an action space is box or discrete of size >= 1, not {self.type} {self.size}")

    @property
    def dim(self) -> int:
        """The width of an action inside a model: k, or n for one-hot choices."""
        return self.size

    @property
    def space(self) -> spaces.Box | spaces.Discrete:
        """The Gymnasium space: Box -1..1 of shape (k,), or Discrete(n) from 0."""
        if self.type == "discrete":
            return spaces.Discrete(self.size)
        return spaces.Box(-1.0, 1.0, (self.size,), np.float32)

    def encode(self, act: npt.ArrayLike) -> np.ndarray:
        """Actions as a model takes them: box (..., k) as they are, choices (...) one-hot; float32."""
        if self.type == "box":
            return np.asarray(act, np.float32)
        return np.eye(self.size, dtype=np.float32)[np.asarray(act, np.int64)]  # (..., n)

    def mirror(self, act: np.ndarray, image: Sequence[int]) -> np.ndarray:
        """Encoded actions (..., dim) as seen in a mirror: `image` is the choice that each becomes, or each's sign."""
        if self.type == "box":
            return act * np.asarray(image, np.float32)
        return act[..., np.asarray(image)]  # an image of an image is the choice itself

    def check_mirror(self, image: Sequence[int]) -> None:
        """ValueError unless `image` is one that `mirror` takes."""
        if self.type == "box":
            right = len(image) == self.size and all(sign in (-1, 1) for sign in image)
        else:
            right = sorted(image) == [*range(self.size)] and all(image[image[i]] == i for i in range(self.size))
        if not right:
            wanted = "a sign for each number" if self.type == "box" else "for each choice the one that it becomes"
            raise ValueError(f"mirror={(*image,)} does not fit {self.to_dict()}: give {wanted}")

    def to_dict(self) -> dict[str, Any]:
        """{"type": "box", "dim": k} or {"type": "discrete", "n": n}."""
        return {"type": self.type, SIZE_KEY[self.type]: self.size}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ActionSpec:
        """The reverse of `to_dict`; ValueError on anything else."""
        try:
            return cls(value["type"], int(value[SIZE_KEY[value["type"]]]))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f'actions are {{"type": "box", "dim": k}} or {{"type": "discrete", "n": n}}, not {value}'
            ) from error

    @classmethod
    def of(cls, space: spaces.Space) -> ActionSpec:
        """The spec of a flat Box or of a Discrete space; ValueError on any other."""
        if isinstance(space, spaces.Discrete):
            return cls("discrete", int(space.n))
        if isinstance(space, spaces.Box):
            return cls("box", int(np.prod(space.shape)))
        raise ValueError(f"actions are a Box or a Discrete space, not {space}: wrap the simulator first")


def to_simulator(space: spaces.Space) -> Callable[[Any], Any]:
    """Turns -1..1 into a bounded Box's own range, and 0..n-1 into a Discrete's own."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return lambda act: int(act) + start
    low, half = _range(space)

    def own(act: Any) -> np.ndarray:
        unit = np.clip(np.asarray(act, np.float64).reshape(low.shape), -1.0, 1.0)
        return np.clip(low + half * (unit + 1.0), low, low + 2.0 * half).astype(space.dtype)

    return own


def from_simulator(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    """The reverse for many steps: a Box's (t, ...) as float32 (t, k) in -1..1, a Discrete's (t,) from 0."""
    if isinstance(space, spaces.Discrete):
        return partial(_from_zero, int(space.start))
    return partial(_unscaled, *_range(space))


def _from_zero(start: int, act: npt.ArrayLike) -> np.ndarray:
    return np.asarray(act, np.int64) - start


def _unscaled(low: np.ndarray, half: np.ndarray, act: npt.ArrayLike) -> np.ndarray:
    """Actions (t, ...) from their bounds to -1..1, float32 (t, k)."""
    act = np.asarray(act)
    act = act.reshape(len(act), *low.shape)
    unscaled = np.where((low == -1.0) & (half == 1.0), act, (act - low) / half - 1.0)
    return np.clip(unscaled, -1.0, 1.0).astype(np.float32).reshape(len(act), -1)


def _range(space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """Lower bounds and half widths, float64; ValueError unless the space is a Box with bounds that differ."""
    if not (isinstance(space, spaces.Box) and space.is_bounded() and (space.low < space.high).all()):
        raise ValueError(f"actions are a bounded Box or a Discrete, not {space}: wrap the simulator")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return low, (high - low) / 2.0
