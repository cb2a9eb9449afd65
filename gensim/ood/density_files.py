"""Density models on disk: density.json and density.safetensors, hashed; the families by name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gensim.core.files import inside, line, load_tensors, read_json, save_tensors, sha256, write_json
from gensim.models.autoregressive import PixelCNN, PixelConfig
from gensim.models.bound import BoundConfig, FrameVAE
from gensim.models.flow import FlowConfig, ImageFlow

FORMAT = 1
WEIGHTS = 100_000_000  # numbers; what is larger is none of ours
LARGEST = 8192  # of any size in a config
CARD, TENSORS = "density.json", "density.safetensors"
FAMILIES: dict[str, tuple[Any, Any]] = {
    "flow": (ImageFlow, FlowConfig),
    "autoregressive": (PixelCNN, PixelConfig),
    "bound": (FrameVAE, BoundConfig),
}


class Density(Protocol):
    """What every family of densities can do; frames are uint8 (n, h, w, 3)."""

    config: Any

    def log_prob(self, frames: Tensor) -> Tensor:
        """Log-probabilities (n,) in nats, exact or a bound from below."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Frames uint8 (n, h, w, 3)."""

    def loss(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean bits per dimension (), to be made small."""

    def prepare(self, frames: Tensor, generator: torch.Generator | None = None) -> None:
        """What a first batch sets."""


def new_density(family: str, seed: int = 0, **sizes: Any) -> Any:
    """A model of a family ("flow", "autoregressive", "bound") with random weights; ValueError for another name."""
    if family not in FAMILIES:
        raise ValueError(f"family={family!r}: give one of {', '.join(FAMILIES)}")
    build, config = FAMILIES[family]
    unknown = sorted(sizes.keys() - {field.name for field in fields(config)})
    if unknown:
        known = ", ".join(field.name for field in fields(config))
        raise ValueError(f"{', '.join(unknown)}: a density of family {family} is told {known}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config(**sizes))


def family_of(model: Any) -> str:
    """The name of a model's family; ValueError for what is none."""
    for name, (build, _) in FAMILIES.items():
        if type(model) is build:
            return name
    raise ValueError(f"{type(model).__name__} is no density: give a model of new_density({' | '.join(FAMILIES)})")


def save_density(model: Any, folder: str | Path, spec: Mapping[str, Any]) -> None:
    """Writes density.safetensors and, last, density.json with its hash; `spec` says what it was fitted to."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    told = {"format": FORMAT, "family": family_of(model), "config": asdict(model.config), "spec": dict(spec)}
    save_tensors(folder / TENSORS, model.state_dict(), {"about": _about(told)})
    write_json(folder / CARD, told | {"files": {TENSORS: sha256(folder / TENSORS)}})


def load_density(folder: str | Path) -> Any:
    """The density in a folder, ready to judge; ValueError or FileNotFoundError if anything is missing or changed."""
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(f"no density in {folder}: {CARD} is missing; give a folder that fit_density wrote")
    card = read_json(inside(folder, CARD))
    build, config = _config(card, folder)
    path = _checked(card, folder)
    tensors, meta = load_tensors(path)
    if meta.get("about") != _about(card):
        raise ValueError(f"{folder / CARD} is not what {TENSORS} was written with; copy both again")
    _check_tensors(tensors, _shapes(build, config), path)
    return _filled(build, config, tensors)


def spec_of(folder: str | Path) -> dict[str, Any]:
    """What the density in a folder was fitted to, and how."""
    return dict(read_json(inside(folder, CARD)).get("spec", {}))


def _about(card: Mapping[str, Any]) -> str:
    """What density.json says that must not change unseen, as it is kept beside the weights."""
    return json.dumps({name: card.get(name) for name in ("format", "family", "config", "spec")}, sort_keys=True)


def _config(card: Mapping[str, Any], folder: Path) -> tuple[Any, Any]:
    """The family's class and its config; ValueError where density.json tells none, or sizes beyond reason."""
    if card.get("format") != FORMAT:
        raise ValueError(f"{folder / CARD} has format {card.get('format')!r}; gensim reads {FORMAT}: fit it again")
    try:
        build, kind = FAMILIES[card["family"]]
        sizes = card["config"]
        wrong = [f"{name}={value!r}" for name, value in sizes.items() if type(value) is not int or value > LARGEST]
        if wrong or set(sizes) != {field.name for field in fields(kind)}:
            raise ValueError(f"sizes are whole numbers up to {LARGEST} by name, {', '.join(wrong) or sorted(sizes)}")
        config = kind(**sizes)
        if sum(math.prod(shape) for shape in _shapes(build, config).values()) > WEIGHTS:
            raise ValueError(f"it has more than {WEIGHTS:,} weights")
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as fault:
        raise ValueError(f"{folder / CARD} does not describe a density ({line(fault)}); fit it again") from fault
    return build, config


def _checked(card: Mapping[str, Any], folder: Path) -> Path:
    files = card.get("files")
    if not isinstance(files, dict) or set(files) != {TENSORS}:
        raise ValueError(f"{folder / CARD} does not give the hash of {TENSORS} alone; copy it again")
    path = inside(folder, TENSORS)
    if sha256(path) != files[TENSORS]:
        raise ValueError(f"{path} is not the file that {CARD} was written for (its hash differs); copy it again")
    return path


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    odd = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if odd:
        raise ValueError(f"{path} does not fit the model in {CARD}: {odd[:3]} differ; fit it again")
    bad = [name for name, x in tensors.items() if x.dtype != torch.float32 or not torch.isfinite(x).all()]
    if bad:
        raise ValueError(f"{path} holds {bad[0]} with what is no float32 number; copy it again")


def _filled(build: Any, config: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(config)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


@lru_cache(maxsize=8)
def _shapes(build: Any, config: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's weights by name; no memory is taken for them."""
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in build(config).state_dict().items()}
