"""Whether what an agent sees can be trusted: detectors, alarms and monitors, fitted on usual frames alone."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "load": "shelf",
    "fit": "fitting",
    "DetectorConfig": "config",
    "Detector": "detector",
    "Watch": "watch",
    "Monitor": "monitor",
    "VectorMonitor": "vector",
    "VecMonitor": "sb3",
    "dreams": "dreaming",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for, so that the parts that need torch load with it alone."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__} has no attribute {name!r}: it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
