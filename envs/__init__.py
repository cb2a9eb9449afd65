"""Where agents act: learned worlds as Gymnasium environments, and real simulators as gensim sees them."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Dream": "engine",
    "DreamConfig": "engine",
    "Reason": "engine",
    "Rollout": "rollout",
    "DreamEnv": "single",
    "DreamVectorEnv": "vector",
    "DreamVecEnv": "sb3",
    "WorldSpec": "spec",
    "make_real": "real",
    "registered": "registry",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for, so that registration stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__} has no attribute {name!r}: it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
