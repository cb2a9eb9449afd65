"""Where the picture is in an observation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces


def image_of(space: spaces.Space) -> Callable[[Any], np.ndarray] | None:
    """How to take a frame uint8 (h, w, 3) out of an observation, or None where it has none or several."""
    if _is_image(space):
        return _coloured
    if isinstance(space, spaces.Dict):
        keys = [key for key, part in space.items() if _is_image(part)]
        if len(keys) == 1:
            return partial(_part, keys[0])
    return None


def _part(key: str, obs: Any) -> np.ndarray:
    return _coloured(obs[key])


def _is_image(space: spaces.Space) -> bool:
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[-1] in (1, 3))


def _coloured(image: np.ndarray) -> np.ndarray:
    """A grey (h, w) or (h, w, 1) image as (h, w, 3); a coloured one as it is."""
    image = image[..., None] if image.ndim == 2 else image
    return image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1)
