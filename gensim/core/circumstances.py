"""Under which circumstances a figure came about: command, versions and the kind of machine."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    *("gensim-worlds", "gymnasium", "numpy", "torch", "stable-baselines3", "safetensors", "opencv-python", "pygame"),
    *("Box2D", "vizdoom", "minari", "h5py", "zuko", "pyod", "imagecodecs"),
    *("highway-env", "minigrid", "ale-py", "mujoco"),
)
_given: list[str] = []  # the command line of this process, where one was told


def tell(argv: Sequence[str]) -> None:
    """Remembers the command line that this process was given, its program first."""
    _given[:] = argv


def circumstances() -> dict[str, Any]:
    """What a file of figures says of how it was made: command (None where none was told), versions, machine."""
    return {"command": shlex.join(_given) or None, "versions": versions(), "machine": machine()}


def versions() -> dict[str, str]:
    """Versions of what took part, as far as it is there."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The kind of machine: nothing that names it."""
    import torch

    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": cores(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "avx512_bf16": bool(torch.cpu._is_avx512_bf16_supported()),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
