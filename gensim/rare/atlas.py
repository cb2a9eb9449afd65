"""Different failures of dreams as cases: what quality-diversity search finds among the keys of their steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.circumstances import circumstances
from gensim.core.files import atomic_path, parse_json, writable, write_json
from gensim.rare.cases import kept
from gensim.rare.dreams import Dreams, Episodes
from gensim.rare.find import Finding, Look, Shown, find

KEYS = 1 << 40  # keys are below, so that a case of many is still small
MEASURES = ("step", "return", "first action", "second action")  # the last two as means; of one action, only that


@dataclass(frozen=True)
class Keys:
    """Dreams whose every step has a key of its own: the start's, then one a step."""

    dreams: Dreams
    rng: np.random.Generator

    def draw(self, n: int) -> np.ndarray:
        """Keys uint64 (n, 1 + steps)."""
        return self.rng.integers(KEYS, size=(n, 1 + self.dreams.horizon), dtype=np.uint64)

    def look(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least severities (n,), and MEASURES (n, m) of the moments at which they were."""
        least: np.ndarray = np.full(len(x), np.inf)
        where: np.ndarray = np.zeros((0, 0))
        acts: np.ndarray = np.zeros((0, 0))
        for now, alive in self.played(x):
            if not len(where):
                acts = np.zeros((len(x), min(now.act.shape[1], 2)))
                where = np.zeros((len(x), 2 + acts.shape[1]))
            acts[alive] += now.act[:, : acts.shape[1]]
            closer = now.severity < least[alive]
            rows, steps = alive[closer], np.maximum(now.rollout.elapsed[closer], 1)
            least[rows] = now.severity[closer]
            means = acts[rows] / steps[:, None]
            where[rows] = np.column_stack([now.rollout.elapsed[closer], now.rollout.returns[closer], means])
        return least, where

    def played(self, x: np.ndarray) -> Iterator[tuple[Episodes, np.ndarray]]:
        """Moments of those that go on, and which (n,) they are, until the event."""
        now, alive = self.dreams.begin(x[:, 0]), np.arange(len(x))
        yield now, alive
        for step in range(self.dreams.horizon):
            going = np.flatnonzero(~now.done & (now.severity > 0))
            if not len(going):
                return
            alive = alive[going]
            now = self.dreams.advance(self.dreams.branch(now.rows(going), x[alive, 1 + step]))
            yield now, alive

    def end(self, x: np.ndarray) -> Episodes:
        """The last moment (1 row) of keys (1 + steps,)."""
        *_, (now, _) = self.played(x[None])
        return now


class Remembered:
    """What was looked at so far, a batch a line of a file: a search that was stopped is told it again, and goes on.

    Arguments:
        look: what is asked for what the file does not hold.
        path: of the file.
        settings: of the search; its first line.

    Raises ValueError where the file is of another search.
    """

    def __init__(self, look: Look, path: Path, settings: Mapping[str, Any]) -> None:
        self.look, self.path = look, path
        whole = [line for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []
        if whole and parse_json(whole[0].encode()) != settings:
            raise ValueError(f"{path} is of a search with other settings: give another folder, or delete it")
        self.told = [parse_json(line.encode()) for line in whole[1:]]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:  # without a line that was half written
            part.write_text("".join(whole) or json.dumps(settings) + "\n")

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Severities (n,) and measures (n, m)."""
        if self.told:
            severity, measures = self.told.pop(0)
            return np.array(severity, float), np.array(measures, float)
        found = self.look(x)
        if not all(np.isfinite(part).all() for part in found):
            return found  # which the search refuses
        with self.path.open("a") as file:
            file.write(json.dumps([part.tolist() for part in found]) + "\n")
        return found


def atlas(
    dreams: Dreams, out: Path, config: Finding, about: Mapping[str, Any], most: int = 24, shown: Shown | None = None
) -> dict[str, Any]:
    """Searches, writes a case of each of at most so many different failures, and atlas.json, which is returned.

    A search that was stopped goes on.

    Raises:
        ValueError: if severities are not finite, measures never differ, or the folder holds another search.
        OSError: if the folder cannot be written into.
    """
    writable(out)
    searched = out / "searched.jsonl"
    if (out / "atlas.json").exists() or (any((out / "cases").glob("*.json")) and not searched.exists()):
        raise ValueError(f"{out} holds cases already: give another folder, or delete it")
    keys = Keys(dreams, np.random.default_rng([config.seed, 1]))
    look = Remembered(keys.look, searched, {**about, "search": asdict(config)})
    found = find(look, keys.draw, config, shown)
    chosen = found.different()[:most]
    cases = []
    for i, one in enumerate(chosen):
        path = out / "cases" / f"{i:03d}.json"
        kept(dreams, keys.end(found.failures[one]), about).save(path)
        cases.append({"case": str(path.relative_to(out))} | _named(found.behaviours[one]))
    told = {**circumstances(), **about, "calls": found.calls, "failures": len(found.failures), "niches": found.niches}
    told |= {"different": len(found.different()), "cases": cases}
    write_json(out / "atlas.json", told)
    searched.unlink()
    return told


def _named(measures: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(MEASURES, measures)}
