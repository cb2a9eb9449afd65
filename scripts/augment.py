#!/usr/bin/env python
"""Whether a tenth of generated corner cases helps a detector of clear recorded frames on hard ones.

Detectors are trained on clear frames of MetaDrive alone, and with a tenth of the frames in their place: generated
corner cases, clear frames with people and vehicles pasted onto them, or clear frames through plain filters. Of all that
was chosen, everything was chosen on hard frames of the validation seeds; `--final` judges on others, once. What is
recorded, made or trained is kept in a folder and not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from augment_detector import Detector, Targets, figures, train
from augment_frames import Shots, filtered, generated, inserted, pasted, recorded

from gensim.core.circumstances import circumstances, tell
from gensim.core.files import load_tensors, read_json, save_tensors, write_json
from gensim.core.intervals import student_t95
from gensim.envs.driving.simulator import home

SOURCE = Path(__file__).parent / "augment_source.py"
KINDS = {
    "crossing": "a person on their way across, less than 15 m ahead",
    "cut_in": "a vehicle less than 25 m ahead that came into the car's own lane in the last second",
    "occluded": "a vehicle or a person at least half of whose pixels are hidden by something",
    "collision": "less than 1.5 s to touching a vehicle or a person, if all go on as they go",
    "fog": "Panda3D's fog, of an extinction of 0.04 to 0.12 a metre",
    "dark": "Panda3D's lights, dimmed to 0.12 to 0.35 of the day's",
}  # of hardness, in the order of augment_source.py, where they are decided
ANY = dict.fromkeys(("clear", "rain", "fog", "night", "sun"), (0.4, 1.0))
THREE = dict.fromkeys(("clear", "fog", "night"), (0.4, 1.0))
TWO = {"fog": (0.5, 1.0), "night": (0.85, 1.0)}
FOG = {"clear": (0.0, 0.0), "fog": (0.5, 1.0)}
POOLS: dict[str, Callable[[Shots, int], Shots] | None] = {
    "none": None,
    "copy_paste": lambda clear, n: pasted(clear, n, 0),
    "filters": lambda clear, n: filtered(clear, n, 0),
    "filters_two": lambda clear, n: filtered(clear, n, 0, 2),
    "filters_haze": lambda clear, n: filtered(clear, n, 0, 1),
    "dreamed": lambda clear, n: generated(n, 0, ANY),
    "dreamed_three": lambda clear, n: generated(n, 0, THREE),
    "dreamed_two": lambda clear, n: generated(n, 0, TWO),
    "inserted": lambda clear, n: inserted(clear, n, 0, ANY),
    "inserted_three": lambda clear, n: inserted(clear, n, 0, THREE),
    "inserted_two": lambda clear, n: inserted(clear, n, 0, TWO),
    "inserted_fog": lambda clear, n: inserted(clear, n, 0, FOG),
    "inserted_few": lambda clear, n: inserted(clear, n, 0, FOG, (0, 1)),
}
Seeds = tuple[int, int]


@dataclass(frozen=True)
class Augment:
    """What to compare."""

    folder: Path = Path("runs/augment")
    """Where what is made on the way is kept."""
    out: Path = Path("results/augment.json")
    """Where the result goes."""
    arms: tuple[str, ...] = ("none", "copy_paste", "filters", "filters_haze", "inserted_few")
    """Which frames take the place of a tenth; the last of them is compared with each other."""
    seeds: int = 5
    """Detectors of each."""
    steps: int = 2400
    """Optimiser steps of a detector."""
    batch: int = 8
    """Frames of a step."""
    rate: float = 4e-3
    """Greatest learning rate."""
    standardise: bool = True
    """Whether the detector brings each frame to one mean and one contrast first."""
    share: float = 0.1
    """Of the frames that are not recorded clear ones."""
    clear: Seeds = (0, 150)
    """First seed and number of the episodes that are learned from."""
    heldout: Seeds = (8000, 25)
    """The same of clear ones on which thresholds are set."""
    validation: Seeds = (9000, 60)
    """The same of hard ones on which things were chosen."""
    judged: Seeds = (9300, 80)
    """The same of hard ones that are judged by."""
    final: bool = False
    """Judge by those, and write the result; without it, by validation."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.arms} - POOLS.keys())
        if unknown or len(self.arms) < 2:
            raise ValueError(f"arms {list(self.arms)}: give two or more of {', '.join(POOLS)}")
        if not 0 < self.share <= 0.1 or min(self.seeds, self.steps, self.batch) < 1:
            raise ValueError("share lies above 0 and is at most 0.1; seeds, steps and batch are at least 1")


def main(config: Augment) -> None:
    """Records, makes, trains and judges what is not there yet."""
    torch.set_num_threads(1)
    names = {"clear": config.clear, "heldout": config.heldout}
    names |= {"final": config.judged} if config.final else {"validation": config.validation}
    shots = {name: drawn(config, name, *seeds) for name, seeds in names.items()}
    clear, easy, hard = shots.values()
    count = int(len(clear) * config.share / (1 - config.share))
    targets, rows = Targets.of(clear), {}
    for arm in config.arms:
        pool = pooled(config, arm, clear, count)
        extra = None if pool is None else Targets.of(pool)
        rows[arm] = [judged(config, arm, seed, targets, extra, easy, hard) for seed in range(config.seeds)]
        print(arm, json.dumps({key: rounded(rows[arm], key) for key in ("recall", "recall_why", "false_alarms")}))
    told = result(config, rows, shots, count)
    write_json(config.out if config.final else config.folder / "validation.json", told)
    print(json.dumps(told["differences"], indent=1))


def drawn(config: Augment, name: str, first: int, count: int) -> Shots:
    """Frames of so many seeds, drawn by MetaDrive where they are not there."""
    folder, which = config.folder / name, "hard" if name in ("validation", "final") else "clear"
    if not all((folder / f"seed-{seed:06d}.npz").exists() for seed in range(first, first + count)):
        python = home() / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError(f"MetaDrive's own environment is not in {home()}: run scripts/setup_metadrive")
        asked = [str(python), str(SOURCE), which, str(first), str(count), str(folder)]
        subprocess.run(asked, check=True, stderr=subprocess.DEVNULL)
    return recorded(folder, first, count)


def pooled(config: Augment, arm: str, clear: Shots, count: int) -> Shots | None:
    """So many frames of an arm."""
    make = POOLS[arm]
    if make is None:
        return None
    path = config.folder / "pools" / f"{arm}-{count}.npz"
    if not path.exists():
        make(clear, count).save(path)
    return Shots.load(path)


def judged(
    config: Augment, arm: str, seed: int, real: Targets, extra: Targets | None, easy: Shots, hard: Shots
) -> dict[str, Any]:
    """A detector's figures, of one trained now unless it is there."""
    about = json.dumps([arm, seed, len(real.frames), config.steps, config.batch, config.rate, config.share])
    about += " standardised" if config.standardise else ""
    stem = f"{arm}-{seed}-{zlib.crc32(about.encode()):08x}"
    net, path = Detector(config.standardise), config.folder / "nets" / f"{stem}.safetensors"
    if path.exists():
        net.load_state_dict(load_tensors(path)[0])
    else:
        net = train(real, extra, config.share, config.steps, config.rate, config.batch, config.standardise, seed)
        save_tensors(path, net.state_dict(), {"about": about})
    told = config.folder / "figures" / f"{stem}-{'final' if config.final else 'validation'}-{len(hard)}.json"
    if not told.exists():
        write_json(told, figures(net.eval(), easy, hard, (*KINDS,)))
    return read_json(told)


def result(config: Augment, rows: dict[str, list[dict[str, Any]]], shots: dict[str, Shots], count: int) -> dict:
    """What is written."""
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    told: dict[str, Any] = {**circumstances(), "settings": settings, "extra_frames": count, "hard": KINDS}
    told["frames"] = {name: counts(one) for name, one in shots.items()}
    told["chosen_on_validation"] = seen_before(config)
    told["arms"] = {arm: summary(some) for arm, some in rows.items()}
    last = config.arms[-1]
    told["differences"] = {
        f"{last} - {arm}": {key: difference(rows[last], rows[arm], key) for key in COMPARED} for arm in config.arms[:-1]
    }
    return told


def seen_before(config: Augment) -> list[dict[str, Any]]:
    """What was judged on validation frames, on which things were chosen: each detector that is kept, how it was made.

    `made` is its arm, seed, clear frames, steps, batch, rate, share, and whether it standardises.
    """
    found = []
    for path in sorted((config.folder / "nets").glob("*.safetensors")):
        for figure in (config.folder / "figures").glob(f"{path.stem}-validation-*.json"):
            told, made = read_json(figure), load_tensors(path)[1]["about"]
            keys = ("recall", "average_precision", "false_alarms")
            found.append({"made": made, **{key: round(told[key], 4) for key in keys}})
    return found


COMPARED = ("recall", "recall_kinds_mean", "recall_why", "recall_equal_alarms", "average_precision", "false_alarms")


def counts(shots: Shots) -> dict[str, Any]:
    """How many frames and things there are, by kind."""
    told: dict[str, Any] = {"frames": len(shots), "things": len(shots.things), "people": int(shots.things[:, 0].sum())}
    kind, why = shots.kind[shots.owner], shots.things[:, 7] > 0
    if (shots.kind >= 0).any():
        told["by_kind"] = {
            name: {"frames": int((shots.kind == i).sum()), "things": int((kind == i).sum())}
            | {"things_why": int((why & (kind == i)).sum())}
            for i, name in enumerate(KINDS)
        }
    return told


def summary(some: list[dict[str, Any]]) -> dict[str, Any]:
    """Each figure's mean over seeds, and the recall of each."""
    flat: dict[str, Any] = {key: rounded(some, key) for key, value in some[0].items() if isinstance(value, float)}
    for key in ("by_kind", "by_kind_why", "by_class"):
        flat[key] = {name: rounded([one[key] for one in some], name) for name in some[0][key]}
    return flat | {"recall_of_seeds": [round(one["recall"], 4) for one in some]}


def rounded(some: list[dict[str, Any]], key: str) -> float:
    """The mean of a figure."""
    return round(float(np.mean([one[key] for one in some])), 4)


def difference(a: list[dict[str, Any]], b: list[dict[str, Any]], key: str) -> dict[str, float | None]:
    """The mean of a figure of `a` less that of `b`, of pairs of one seed, and Student's interval of 95 %."""
    each = np.array([one[key] - other[key] for one, other in zip(a, b)])
    mean = float(each.mean())
    if len(each) < 2:
        return {"mean": round(mean, 4), "low": None, "high": None}
    half = student_t95(len(each)) * float(each.std(ddof=1)) / len(each) ** 0.5
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


if __name__ == "__main__":
    tell(["scripts/augment", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Augment, description=__doc__))
