"""Rounds of splitting in a folder: each is kept when it is over, and none is lost when the next is stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gensim.core.circumstances import circumstances
from gensim.core.files import load_tensors, read_json, save_tensors, writable, write_json
from gensim.core.seeds import fold
from gensim.rare.cases import Case, kept
from gensim.rare.dreams import Dreams, Episodes
from gensim.rare.foresight import Foresight, foresee, foretold
from gensim.rare.result import Estimate, replicated
from gensim.rare.splitting import Shown, Split, Splitting, crowds
from gensim.rare.swarm import Swarm, swarm

Progress = Callable[[int], Shown]


def campaign(
    dreams: Dreams,
    out: Path,
    rounds: int,
    seed: int,
    config: Splitting,
    about: Mapping[str, Any],
    cases: int = 8,
    progress: Progress | None = None,
    foresight: int = 0,
) -> Estimate:
    """The probability of the dreams' event, of so many rounds; goes on with those that the folder holds.

    Writes a file a round, `cases` of the failures that each found, drawn by their weights, the likeliest one besides,
    and estimate.json. The estimate's failures are the paths of the cases.

    Arguments:
        foresight: dreams from which it is learned, first, what the latents foretell, by which a swarm goes; their steps
            are counted. 0 splits, by the event's own severity.

    Raises:
        ValueError: if the folder holds rounds of something else, or fewer than one are asked for.
        OSError: if the folder cannot be written into.
    """
    if rounds < 1 or cases < 0 or seed < 0:
        raise ValueError(f"rounds={rounds}, cases={cases}, seed={seed}: give at least 1, 0 and 0")
    writable(out)
    settings = {**about, "seed": seed, "splitting": asdict(config)} | ({"foresight": foresight} if foresight else {})
    learned = _foreseen(dreams, out, seed, foresight, settings) if foresight else None
    done = [_round(dreams, learned, out, i, config, settings, cases, progress) for i in range(rounds)]
    each = np.concatenate([one["each"] for one in done])
    found = [Path(out / name) for one in done for name in one["cases"]]
    likely = [Case.load(path).log_p for path in found]
    doubts = tuple(dict.fromkeys(doubt for one in done for doubt in one["doubts"]))
    calls = sum(one["calls"] for one in done) + (learned.calls if learned else 0)
    told = replicated(each, calls, found, likely, doubts)
    kind = {"replicates": len(each), "failures": [str(path.relative_to(out)) for path in found]}
    best = {"likeliest": None if told.likeliest is None else str(told.likeliest.relative_to(out))}
    write_json(out / "estimate.json", {**told.told(), **kind, **best, **settings, **circumstances()})
    return told


def _foreseen(dreams: Dreams, out: Path, seed: int, many: int, settings: Mapping[str, Any]) -> Foresight:
    """What the latents foretell, learned once for a folder."""
    path = out / "foresight.safetensors"
    if path.exists():
        tensors, kept = load_tensors(path)
        if kept.get("settings") != json.dumps(settings):
            raise ValueError(f"{path} was learned for other settings: give another folder, or delete it")
        scale, calls, share = (float(one) for one in tensors["about"])
        return Foresight(tensors["weights"].numpy(), tensors["usual"].numpy(), scale, int(calls), share)
    told = foresee(dreams, seed, many)
    about = torch.tensor([told.scale, told.calls, told.share], dtype=torch.float64)
    tensors = {"weights": torch.from_numpy(told.weights), "usual": torch.from_numpy(told.usual), "about": about}
    save_tensors(path, tensors, {"settings": json.dumps(settings)})
    return told


def _round(
    dreams: Dreams,
    learned: Foresight | None,
    out: Path,
    index: int,
    config: Splitting,
    settings: Mapping[str, Any],
    cases: int,
    progress: Progress | None,
) -> dict[str, Any]:
    """What a round found, from its file if it is there."""
    path = out / f"round-{index:03d}.json"
    if path.exists():
        told = read_json(path)
        if told.get("settings") != settings:
            raise ValueError(f"{path} is of other settings ({told.get('settings')}): give another folder, or delete it")
        return told
    seed = int(fold(np.array([settings["seed"]], np.uint64), index)[0] >> np.uint64(1))
    shown = progress(index) if progress else None
    if learned is None:
        found = crowds(dreams, seed, config, shown)
    else:
        found = swarm(dreams, foretold(dreams, learned), seed, Swarm(config.many, config.replicates), shown)
    about = {name: settings[name] for name in settings if name != "splitting"}
    chosen = [(f"{index:03d}-{i:02d}", one, weight) for i, (one, weight) in enumerate(_drawn(found, cases, seed))]
    if chosen:
        chosen.append((f"{index:03d}-likeliest", found.failures[int(np.argmax(found.likely))], 0.0))
    for name, episode, weight in chosen:
        kept(dreams, episode, about, weight).save(out / "cases" / f"{name}.json")
    names = [f"cases/{name}.json" for name, _, _ in chosen]
    told = {"each": found.each.tolist(), "calls": found.calls, "doubts": list(found.doubts), "cases": names}
    write_json(path, told | {"settings": settings})
    return told


def _drawn(found: Split, most: int, seed: int) -> list[tuple[Episodes, float]]:
    """At most so many failures, each drawn by its weight, and what each stands for: together the round's estimate.

    Reference: Monte Carlo filter and smoother for non-Gaussian nonlinear state space models (Kitagawa, 1996),
    doi:10.1080/10618600.1996.10474692; its systematic resampling.
    """
    weights, many = np.array(found.weights), min(most, len(found.weights))
    if not many or not weights.sum() > 0:
        return []
    at = (np.arange(many) + np.random.default_rng(seed).random()) / many
    index = np.searchsorted(weights.cumsum() / weights.sum(), at).clip(0, len(weights) - 1)
    return [(found.failures[i], float(weights.sum() / many)) for i in index]
