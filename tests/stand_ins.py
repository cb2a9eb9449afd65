"""What two optional packages do, for the tests of machines that lack them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gensim.core.video import VideoWriter


def moviepy(patch: pytest.MonkeyPatch) -> None:
    """Lets gymnasium's RecordVideo write its frames without moviepy."""
    if importlib.util.find_spec("moviepy") is None:
        clip = ModuleType("moviepy.video.io.ImageSequenceClip")
        clip.ImageSequenceClip = ImageSequenceClip  # type: ignore[attr-defined]
        for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, clip.__name__, clip)


def jax(patch: pytest.MonkeyPatch) -> None:
    """Lets Minari's collector map its trees without jax."""
    if importlib.util.find_spec("jax") is None:
        root, tree = ModuleType("jax"), ModuleType("jax.tree_util")
        root.tree_util, tree.tree_map = tree, tree_map  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "jax", root)
        patch.setitem(sys.modules, "jax.tree_util", tree)


class ImageSequenceClip:
    """Frames that become a video file."""

    def __init__(self, frames: list[np.ndarray], fps: int) -> None:
        self.frames, self.fps = frames, fps

    def write_videofile(self, path: str, logger: Any = None) -> None:
        """Writes H.264."""
        with VideoWriter(path, self.fps, self.frames[0].shape[:2]) as video:
            for frame in self.frames:
                video.write(frame)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Applies a function to the leaves of dicts and tuples, and to what the others hold in their place."""
    if isinstance(tree, dict):
        return {key: tree_map(function, tree[key], *(other[key] for other in others)) for key in tree}
    if isinstance(tree, tuple):
        return tuple(tree_map(function, *parts) for parts in zip(tree, *others))
    return function(tree, *others)
