"""Detectors in folders: two files, hashed, bound to each other, nothing pickled; and those that come with gensim."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensim.core.files import inside, line, load_tensors, read_json, save_tensors, sha256, write_json
from gensim.core.frames import check_side
from gensim.ood.combine import LEVELS as QUANTILES
from gensim.ood.detector import TIME_NAMES, Detector
from gensim.ood.eye import FRAME_NAMES
from gensim.ood.surprise import ACTS

FORMAT = 1
WEIGHTS, CARD = "detector.safetensors", "detector.json"
LARGEST = 1024  # pixels to a side


def load(name: str | Path) -> Detector:
    """A detector by name, such as "carracing" or "carracing-dreamed" (dreamed frames), or by its folder.

    FileNotFoundError that lists what there is when there is none; ValueError when one is damaged or foreign.
    """
    known = shipped()
    if str(name) in known:
        return read(known[str(name)])
    if not (Path(name) / CARD).is_file():
        raise FileNotFoundError(
            f"no detector {str(name)!r}: gensim ships {', '.join(known) or 'none'}; give one of these, "
            "or a folder that gensim.ood.fit or `gensim ood fit` wrote"
        )
    return read(name)


def shipped() -> dict[str, Path]:
    """Folders of the detectors that come with gensim: envs/WORLD/detector as WORLD, detector-KIND as WORLD-KIND."""
    worlds = Path(str(files("gensim.envs")))
    found = {path.parent: path.parent.parent.name for path in sorted(worlds.glob(f"*/detector*/{CARD}"))}
    return {world + folder.name.removeprefix("detector"): folder for folder, world in found.items()}


def save(detector: Detector, folder: str | Path, base: str | Path | None = None) -> None:
    """Writes a detector's tensors and, last, what they are and their hash.

    With `base`, the folder of another detector beside this one, what both share is left to that; ValueError where it is
    not beside.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = detector.tensors()
    card: dict[str, Any] = {"format": FORMAT, "about": detector.about}
    if base is not None:
        if Path(base).resolve().parent != folder.resolve().parent:
            raise ValueError(f"{base} is not beside {folder}: a base lies in the same folder")
        shared, _ = load_tensors(inside(base, WEIGHTS))
        tensors = {k: v for k, v in tensors.items() if k not in shared or not _equal(v, shared[k])}
        card["base"] = {"name": Path(base).resolve().name, "hash": sha256(inside(base, WEIGHTS))}
    save_tensors(folder / WEIGHTS, tensors, {"format": str(FORMAT), "about": _digest(card)})
    detector.hash = sha256(folder / WEIGHTS)
    write_json(folder / CARD, {**card, "files": {WEIGHTS: detector.hash}})


def read(folder: str | Path) -> Detector:
    """A detector's folder, every byte checked; ValueError or FileNotFoundError naming the file and its fault."""
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(f"no detector in {folder}: {CARD} is missing; give a folder that gensim.ood.fit wrote")
    card = read_json(inside(folder, CARD))
    about = _about(card, folder)
    path = inside(folder, WEIGHTS)
    if sha256(path) != card["files"].get(WEIGHTS):
        raise ValueError(f"{path} is not the file that {CARD} has the hash of: copy both again, or fit anew")
    tensors, meta = load_tensors(path)
    if meta.get("about") != _digest({name: card[name] for name in ("format", "about", "base") if name in card}):
        raise ValueError(f"{folder}/{CARD} is not what {WEIGHTS} was written with: copy both again, or fit anew")
    tensors = _shared(card, folder) | tensors
    _finite(tensors, path)
    try:
        detector = Detector.of(tensors, about)
        _sound(detector, tensors)
    except (KeyError, RuntimeError, ValueError, IndexError, TypeError) as fault:
        raise ValueError(f"{path} does not hold a detector ({line(fault)}): fit it anew") from fault
    detector.hash = card["files"][WEIGHTS]
    return detector


def _about(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if card.get("format") != FORMAT:
        raise ValueError(f"{folder}/{CARD} has format {card.get('format')!r}; gensim reads {FORMAT}: fit it anew")
    about, named = card.get("about"), card.get("files")
    if not isinstance(about, dict) or not isinstance(named, dict) or type(about.get("size")) is not int:
        raise ValueError(f"{folder}/{CARD} does not describe a detector: copy it again, or fit anew")
    check_side(about["size"])
    if about["size"] > LARGEST:
        raise ValueError(f"{folder}/{CARD}: size={about['size']}: at most {LARGEST}")
    return about


def _shared(card: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """What a detector shares with the one beside it that its card names."""
    if "base" not in card:
        return {}
    base = card["base"] if isinstance(card["base"], dict) else {}
    name, known = base.get("name"), base.get("hash")
    path = inside(folder.resolve().parent, f"{name}/{WEIGHTS}")
    if sha256(path) != known:
        raise ValueError(f"{folder} shares numbers with {path}, which is another by now: copy both folders again")
    return load_tensors(path)[0]


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    odd = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if odd:
        raise ValueError(f"{path}: {odd[0]} holds NaN or infinity: fit it anew")


def _sound(detector: Detector, tensors: Mapping[str, Tensor]) -> None:
    """ValueError unless a detector holds just these tensors, of the kinds that are written, and can judge."""
    for name, value in tensors.items():
        wide = name.startswith(("scale.", "blend.", "calibration."))
        kinds = (torch.float64, torch.int64, torch.int32) if wide else (torch.float32,)
        if value.dtype not in kinds:
            raise ValueError(f"{name} is {value.dtype}")
    odd = tensors.keys() ^ detector.tensors().keys()
    if odd:
        raise ValueError(f"{min(odd)} should not be there, or is missing")
    for (scale, blend), names in zip(zip(detector.scales, detector.blends), (FRAME_NAMES, TIME_NAMES)):
        f = len(names)
        shapes = scale.table.shape, scale.slope.shape, scale.side.shape, blend.root.shape
        if shapes != ((f, QUANTILES), (f, 2), (f,), (f, f)) or (np.diff(scale.table) < 0).any():
            raise ValueError("its scales are no scales of its statistics")
    frames = np.zeros((ACTS + 2, detector.size, detector.size, 3), np.uint8)
    acts = None if detector.action is None else np.stack([np.zeros_like(detector.action.space.sample())] * (ACTS + 1))
    detector.streamed(frames, acts)


def _digest(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
