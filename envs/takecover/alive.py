"""Is a TakeCover dream alive? What PSNR and SSIM cannot say: whether fireballs fly, a few bright pixels each."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensim.world import World
from gensim.world.agreement import KINDS, agreement, each
from gensim.world.card import table_by_horizon
from gensim.world.heldout import Heldout
from gensim.world.quality import Futures, mean_figure

BRIGHT, YELLOW, FEW = 200, 60, 3  # of 255: red of a fireball, its lead over blue; pixels that make one
LIMITS = ("Only rows 40 to 91 of the picture's 120 are kept: neither status bar nor ceiling nor floor.",)


def fire(frames: np.ndarray) -> np.ndarray:
    """Whether a fireball is in view, bool (n,), of uint8 frames (n, 64, 64, 3): at least `FEW` pixels of fire."""
    red, green, blue = np.moveaxis(frames.astype(np.int16), -1, 0)
    return ((red > BRIGHT) & ((red + green) // 2 - blue > YELLOW)).sum((1, 2)) >= FEW


def measure(world: World, heldout: Heldout, told: Futures, simulated: int, seed: int = 0) -> dict[str, Any]:
    """Fireballs by horizon, dreamed and by the baselines, against what was recorded; nothing is replayed.

    What is dreamed after the player's death in the dream is left out: no recorded frame shows that.
    """
    seen = {name: each(fire, frames) for name, frames in told.single.items()}  # (n, m, q) bool
    alive = {name: told.alive if name == "dream" else np.ones_like(there) for name, there in seen.items()}
    shown = {name: np.where(alive[name], there, np.nan) for name, there in seen.items()}
    figures: dict[str, Any] = {
        "horizons": list(told.horizons),
        "fire": {name: mean_figure(one, told.group, seed) for name, one in shown.items()},
        "rivals": {
            name: agreement(seen[name], seen["real"], told.group, seed, alive[name]) for name in seen if name != "real"
        },
        "alive": mean_figure(told.alive.astype(float), told.group, seed),
    }
    return figures | {"summary": summary(figures)}


def summary(alive: dict[str, Any]) -> str:
    """The figures in a few words."""
    dream, real = (alive["fire"][name]["value"][-1] for name in ("dream", "real"))
    return f"a fireball in {100 * dream:.0f} % of late dreamed frames, {100 * real:.0f} % of real ones"


def describe(alive: dict[str, Any], fps: float) -> str:
    """The figures as a section of a card, in Markdown."""
    horizons = alive["horizons"]
    text = (
        f"## Alive\n\nFireballs are read from frames alone, as at least {FEW} pixels of fire, alike in the dream and "
        "in what was recorded. Dreams count up to their own end: a share of "
        f"{alive['alive']['value'][-1]:.2f} live on to the last horizon, as all recorded segments do. Always naming "
        "the commoner answer has balanced accuracy 0.5 and kappa 0."
    )
    tables = [table_by_horizon("Share of frames with a fireball", alive["fire"], horizons, fps, 2)]
    for kind, label in KINDS.items():
        rows = {name: figures[kind] for name, figures in alive["rivals"].items()}
        tables.append(table_by_horizon(f"Fireball in view: {label}", rows, horizons, fps, 2))
    return "\n\n".join([text, *tables])
