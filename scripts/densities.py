#!/usr/bin/env python
"""Fits every family of densities to data sets and holds its bits per dimension against lossless codecs; writes JSON.

All figures of a data set are of the same held-out frames, which come from episodes that no fit saw; intervals are by
bootstrap over these episodes, and differences are paired. What was fitted or judged once is not done again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro

from gensim.core.circumstances import circumstances, tell
from gensim.core.files import read_json, sha256, write_json
from gensim.core.frames import mosaic, write_png
from gensim.episodes import Dataset
from gensim.models.bits import bits_per_dim
from gensim.ood.codecs import CODECS, codec_bits
from gensim.ood.densities import DensityFitConfig, fit_density, load_density, log_probs, new_density, spec_of
from gensim.ood.density_frames import Pool

DRAWS = 2000  # bootstrap samples
SHEET = 8  # samples in a row of a contact sheet
SETTINGS: dict[str, DensityFitConfig] = {
    "autoregressive": DensityFitConfig(steps=3000, batch=16, lr=2e-3),
    "flow": DensityFitConfig(steps=3000, batch=16, lr=1e-3),
    "bound": DensityFitConfig(steps=6000, batch=16, lr=1e-3),
}


@dataclass(frozen=True)
class Densities:
    """Bits per dimension of density models and codecs on held-out frames."""

    data: list[Path] = field(default_factory=list)
    """Folders of recorded episodes, each figures of its own."""
    families: tuple[str, ...] = tuple(SETTINGS)
    """Families to fit."""
    frames: int = 500
    """Held-out frames that are judged, evenly over the held-out episodes."""
    samples: int = 64
    """Frames that are drawn and timed."""
    importance: int = 64
    """Samples of the importance-weighted bound."""
    steps: int | None = None
    """Steps of every fit in place of its own, for a trial."""
    size: int = 64
    """Side of the frames."""
    seed: int = 0
    """Of the weights, the frames' order, the samples and the bootstrap."""
    work: Path = Path("runs/densities")
    """Where the fitted models lie."""
    out: Path = Path("results/densities.json")
    """Where the result goes; contact sheets lie beside it."""


def main(options: Densities) -> None:
    """Fits, judges and writes what is missing."""
    if not options.data:
        raise ValueError("no --data: give folders of recorded episodes, such as `gensim record` writes")
    found = {}
    for folder in options.data:
        found[name_of(folder)] = of_data(options, folder)
        write_json(options.out, {"data": found, "options": told(options), **circumstances()})
        print(table(name_of(folder), found[name_of(folder)]), flush=True)


def of_data(options: Densities, folder: Path) -> dict[str, Any]:
    """All figures of a data set."""
    frames, episode = Pool(folder, "heldout", DensityFitConfig.holdout).spread(options.frames)
    judged = kept(options, folder, frames)
    bits = {name: judged(f"codec {name}", lambda name=name: codec_bits(frames, name)) for name in CODECS}
    models: dict[str, Any] = {}
    for family in options.families:
        models[family] = of_family(options, folder, family, frames, judged)
        bits |= models[family].pop("bits")
    best = min(CODECS, key=lambda name: float(np.mean(bits[name])))
    rows = {name: figure(bits[name], bits[best], episode, options.seed) for name in bits}
    return {"frames": len(frames), "episodes": int(episode.max()) + 1, "best_codec": best, "bits": rows, **models}


def of_family(
    options: Densities, folder: Path, family: str, frames: np.ndarray, judged: Callable[..., list[float]]
) -> dict[str, Any]:
    """What a family makes of a data set: bits of each frame, sizes, seconds, and a contact sheet of samples."""
    out = options.work / name_of(folder) / family
    model = fitted(options, folder, family, out)
    key = sha256(out / "density.safetensors")
    judges = {family: model}
    if family == "bound":
        judges = {"bound, ELBO": Bounded(model, "elbo", options.importance)}
        judges[f"bound, {options.importance} importance samples"] = Bounded(model, "log_prob", options.importance)
    bits = {
        name: judged(f"{name} {key}", lambda judge=judge: per_frame(judge, frames)) for name, judge in judges.items()
    }
    drawn, seconds = sampled(model, options)
    sheet(options.out.with_name(f"densities-{name_of(folder)}-{family}.png"), drawn, frames)
    count = sum(weight.numel() for weight in model.parameters())
    return {
        "bits": bits,
        "config": asdict(model.config),
        "parameters": count,
        "fit": spec_of(out)["fit"],
        "weights_sha256": key,
        "sampling": {"frames": options.samples, "seconds": round(seconds, 3), "threads": torch.get_num_threads()},
    }


class Bounded:
    """A bound under another number of samples, as a density."""

    def __init__(self, model: Any, method: str, samples: int) -> None:
        self.method, self.samples = getattr(model, method), samples

    def log_prob(self, frames: torch.Tensor) -> torch.Tensor:
        """The bound (n,) in nats."""
        return self.method(frames, self.samples)


def fitted(options: Densities, folder: Path, family: str, out: Path) -> Any:
    """The family's model, fitted unless it lies there."""
    config = settings(options, family)
    if (out / "density.json").exists():
        if spec_of(out).get("fit") != json.loads(config.identity()):
            raise ValueError(f"{out} was fitted otherwise: delete it, or give another --work")
        return load_density(out)
    spec = Dataset(folder).spec
    known = {name: spec[name] for name in ("env_id", "skip", "size") if name in spec}
    model = new_density(family, options.seed, size=options.size)
    return fit_density(model, folder, config, out, quiet=not sys.stderr.isatty(), spec=known)


def settings(options: Densities, family: str) -> DensityFitConfig:
    """How a family is fitted."""
    told = asdict(SETTINGS[family]) | {"seed": options.seed}
    return DensityFitConfig(**told | ({"steps": options.steps} if options.steps else {}))


def kept(options: Densities, folder: Path, frames: np.ndarray) -> Callable[..., list[float]]:
    """Judges frames by a name once: what it said lies in a file, of these frames alone."""
    path = options.work / name_of(folder) / "judged.json"
    mark = hashlib.sha256(frames.tobytes()).hexdigest()
    known = read_json(path) if path.exists() else {}
    known = known if known.get("frames_sha256") == mark else {"frames_sha256": mark}

    def judged(name: str, judge: Callable[[], np.ndarray]) -> list[float]:
        if name not in known:
            known[name] = [round(float(value), 5) for value in judge()]
            write_json(path, known)
        return known[name]

    return judged


def per_frame(model: Any, frames: np.ndarray) -> np.ndarray:
    """Bits per dimension (n,) of frames."""
    nats = torch.from_numpy(log_probs(model, frames))
    return bits_per_dim(nats, torch.from_numpy(frames)).numpy()


def sampled(model: Any, options: Densities) -> tuple[np.ndarray, float]:
    """Frames that a model draws, and the seconds that it takes."""
    generator = torch.Generator().manual_seed(options.seed)
    model.sample(2, torch.Generator().manual_seed(1))  # warms up
    began = time.perf_counter()
    drawn = model.sample(options.samples, generator)
    return drawn.numpy(), time.perf_counter() - began


def sheet(path: Path, drawn: np.ndarray, real: np.ndarray) -> None:
    """A contact sheet: samples above, held-out frames below a white line."""
    rows = drawn[: 3 * SHEET], real[np.linspace(0, len(real) - 1, 3 * SHEET).astype(int)]
    above, below = (mosaic(part, SHEET) for part in rows)
    line = np.full((6, above.shape[1], 3), 255, np.uint8)
    picture = np.concatenate([above, line, below])
    write_png(path, cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))


def figure(bits: list[float], best: list[float], episode: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean bits with a 95 % interval, and how far below the best codec they are, as a share, likewise."""
    a, b = (by_episode(values, episode, seed) for values in (bits, best))
    saved = 1 - a / b
    ends = lambda x: [round(float(end), 4) for end in np.quantile(x[1:], (0.025, 0.975))]  # noqa: E731
    mean = {"value": round(float(a[0]), 4), "interval": ends(a)}
    return mean | {"below_best_codec": {"value": round(float(saved[0]), 4), "interval": ends(saved)}}


def by_episode(values: list[float], episode: np.ndarray, seed: int) -> np.ndarray:
    """The mean of values (n,), and of so many bootstrap samples over their episodes, (1 + DRAWS,)."""
    sums, counts = (np.bincount(episode, weights) for weights in (np.asarray(values), np.ones(len(values))))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(DRAWS, len(sums)))
    drawn = np.concatenate([np.arange(len(sums))[None], drawn])
    return sums[drawn].sum(1) / counts[drawn].sum(1)


def table(name: str, found: dict[str, Any]) -> str:
    """The figures of a data set as a Markdown table."""
    lines = [
        f"| {name}: {found['frames']} held-out frames | bits/dim (95 %) | below {found['best_codec']} |",
        "|---|---|---|",
    ]
    for what, row in found["bits"].items():
        low, high = row["interval"]
        lines.append(
            f"| {what} | {row['value']:.3f} ({low:.3f} to {high:.3f}) | {row['below_best_codec']['value']:.1%} |"
        )
    return "\n".join(lines)


def name_of(folder: Path) -> str:
    """What a data set is called: its environment's name in small letters."""
    env_id = str(Dataset(folder).spec.get("env_id", folder.name))
    return env_id.split("/")[-1].split(":")[-1].split("-v")[0].lower().removeprefix("vizdoom")


def told(options: Densities) -> dict[str, Any]:
    """The options as JSON has them, without the folders."""
    left_out = {"data", "work", "out"}
    return {name: value for name, value in asdict(options).items() if name not in left_out}


if __name__ == "__main__":
    tell(["scripts/densities", *sys.argv[1:]])
    main(tyro.cli(Densities, description=__doc__))
