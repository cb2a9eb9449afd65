"""Measures the gap between a world and its simulator, and writes it into the world's folder.

Nothing that is measured here chooses anything. Every policy's episodes are kept, so that a kill loses one at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gensim.core.circumstances import circumstances
from gensim.core.files import read_json
from gensim.core.progress import bar
from gensim.episodes import Dataset, read_episode
from gensim.episodes.sample import is_heldout
from gensim.episodes.store import Header
from gensim.gap import words
from gensim.gap.actions import effects
from gensim.gap.alarm import MARGIN, Known, evidence, judged
from gensim.gap.calibration import calibration
from gensim.gap.config import GapConfig
from gensim.gap.features import belief_distance
from gensim.gap.picture import scatter
from gensim.gap.policies import Player, folders_of, roster
from gensim.gap.ranking import Measured, ranking
from gensim.gap.readings import Readings, read
from gensim.gap.returns import returns, scored, span, spread
from gensim.gap.rollouts import Dreams, Real, Theatre
from gensim.gap.uniformity import uniformity
from gensim.world import World
from gensim.world.card import write_card
from gensim.world.heldout import Heldout
from gensim.world.pool import Pool
from gensim.world.quality import CONTEXT, HORIZONS, Futures, by_horizon, ends, futures, rewards

LENGTH = CONTEXT + max(HORIZONS) + 1
SECOND = 32  # dreams of a policy in each other world, and under dropout masks
SCATTER = "dream_vs_real_returns.png"
Again = tuple[list[Dreams], Dreams]
"""A policy's dreams in other worlds, and those under dropout masks."""


def gap(config: GapConfig, quiet: bool = True) -> dict[str, Any]:
    """Measures a world, writes heldout.npz, pictures, card.md and gap.json into its folder, and returns gap.json."""
    measuring = Measuring(config, quiet)
    figures = measuring.policies()  # first: what is wrong with an agent shows at once
    told = measuring.told
    figures |= {"quality": measuring.quality(), "rewards": rewards(told, config.seed)}
    figures |= {"ends": ends(measuring.world, measuring.segments, seed=config.seed)}
    figures |= {"calibration": measuring.judgements()}
    figures |= {"actions": effects(measuring.world, measuring.segments, seed=config.seed)}
    figures |= {"trust": measuring.trust()}
    found: dict[str, Any] = {**measuring.about(), "figures": figures, "limits": []}
    measures, alive = measures_of(measuring.world), ""
    if measures is not None:
        figures["alive"] = measures.measure(measuring.world, measuring.segments, told, config.simulated, config.seed)
        found["limits"] = list(measures.LIMITS)
        alive = measures.describe(figures["alive"], measuring.world.spec["fps"])
    ranked = figures.get("policies", {}).get("rows", [])
    pictures = {SCATTER: scatter(ranked)} if len(ranked) > 1 else {}
    write_card(
        config.world,
        found,
        measuring.kept(),
        told,
        words.headline(found),
        alive,
        words.sections(found, SCATTER if pictures else None),
        pictures,
    )
    return read_json(config.world / "gap.json")


def measures_of(world: World) -> ModuleType | None:
    """The module `alive` of the world's own folder, where there is one.

    It has LIMITS (sentences), measure(world, heldout, told, simulated, seed) -> figures with a "summary", and
    describe(figures, fps) -> Markdown.
    """
    from gensim.envs.spec import IMITATIONS

    module = IMITATIONS.get(world.spec["env_id"])
    return import_module(f"{module}.alive") if module and find_spec(f"{module}.alive") else None


class Measuring:
    """One measurement: the world, the data, and what was found of both so far."""

    def __init__(self, config: GapConfig, quiet: bool = True) -> None:
        self.config, self.quiet = config, quiet
        self.world, self.data = World.load(config.world), Dataset(config.data)
        self.apart = [header for header in self.data.episodes if is_heldout(header, config.holdout)]
        self.others = [header for header in self.data.episodes if not is_heldout(header, config.holdout)]
        self.work = config.work or Path("runs") / f"gap-{self.world.hash[:12]}"
        self.horizon = _longest(self.world, self.data)

    @property
    def unseen(self) -> bool:
        """Whether the fit saw nothing of the data."""
        return not self.others

    # ---------------------------------------------------------------- frames and judgements

    @cached_property
    def length(self) -> int:
        """Frames of a held-out segment."""
        return min(LENGTH, max((header.length + 1 for header in self.apart), default=LENGTH))

    @cached_property
    def segments(self) -> Heldout:
        """The segments that figures are made from."""
        return Heldout.gather(self.apart, self.config.segments, self.length, self.config.seed)

    @cached_property
    def told(self) -> Futures:
        """What follows their contexts."""
        pool = None if self.unseen else Pool(self.others, self.length - CONTEXT, self.config.moments)
        return futures(self.world, self.segments, pool, samples=self.config.samples, seed=self.config.seed)

    @cached_property
    def held(self) -> Readings:
        """What the world says along all held-out episodes."""
        return read(self.world, _tapes(self.apart), seed=self.config.seed)

    def kept(self) -> Heldout:
        """The segments that travel with the world."""
        return Heldout.gather(self.apart, self.config.kept, self.length, self.config.seed).within()

    def quality(self) -> dict[str, Any]:
        """PSNR, SSIM and the distance of beliefs by horizon, and on what."""
        about = {"samples": self.config.samples, "episodes": len({*self.segments.episode.tolist()})}
        return by_horizon(self.told, self.config.seed, {"beliefs": belief_distance(self.world)}) | about

    @cached_property
    def new(self) -> tuple[Dataset, Readings] | None:
        """Data of after the fit and what the world says along them; ValueError when they are of another kind."""
        if self.config.new_data is None:
            return None
        data = Dataset(self.config.new_data)
        differ = [
            key
            for key in ("env_id", "size", "width", "skip", "action")
            if data.spec.get(key) != self.data.spec.get(key)
        ]
        if differ or not data.episodes:
            wrong = f"differ in {', '.join(differ)}" if differ else "are empty"
            raise ValueError(f"{data.folder}: the new data {wrong}: record the simulator that the world imitates")
        return data, read(self.world, _tapes(data.episodes), seed=self.config.seed)

    def judgements(self) -> dict[str, Any]:
        """Rewards and ends against what came, on new data where they are given."""
        told = calibration(self.new[1] if self.new else self.held, self.config.seed)
        fitted = ", on which its ends were calibrated" if self.world.spec.get("calibrated") else ""
        return told | {"on": "new episodes" if self.new or self.unseen else f"held-out episodes{fitted}"}

    def trust(self) -> dict[str, Any]:
        """Trust against uniform, on new data where they are given."""
        if self.new is None and not self.unseen:
            told = uniformity(self.held, seed=self.config.seed)
            return told | {"on": "held-out episodes, which it was calibrated on"}
        data, tapes = self.new or (self.data, self.held)
        known = None if self.unseen else self.held
        return uniformity(tapes, known, self.config.seed) | {"on": "new episodes", "policies": _policies(data)}

    # ---------------------------------------------------------------- policies

    def policies(self) -> dict[str, Any]:
        """Returns of every policy, really and dreamed, how the two rank, and the alarm."""
        if self.config.agent is None and not self.config.policies:
            return {}
        measured, others = self._play()
        figures: dict[str, Any] = {"policies": self._rows(measured)}
        figures["ranking"] = ranking(measured, self.config.seed)
        if self.config.agent is not None:
            agent, config = next(one for one in measured if one.player.kind == "agent"), self.config
            figures["returns"] = returns(agent, self.world, config.scores, config.seed, self.horizon)
        figures["alarm"] = self._alarm(measured, others)
        return figures

    def _play(self) -> tuple[list[Measured], list[Again]]:
        config = self.config
        players = roster(self.world, config.world, config.agent, config.policies, config.exploiters, config.mixes)
        for player in players:
            if player.kind == "agent":
                scored(config.scores, player, self.world, None)  # refuses now, not after hours of playing
        real = self._real(players)  # first: it says how long a whole dream is
        dreams = range(config.seed, config.seed + config.dreams)
        seconds: list[World] = [World.load(folder) for folder in config.second]
        measured: list[Measured] = []
        others: list[Again] = []
        theatre = Theatre(self.world, self.work, config.processes, self.horizon)
        for player, played in zip(bar(players, "policies, dreamed", self.quiet, unit="policy"), real):
            measured.append(Measured(player, played, theatre.dream(player, dreams)))
            asked = [theatre.dream(player, dreams[:SECOND], world) for world in seconds]
            others.append((asked, theatre.dream(player, dreams[:SECOND], masks=True)))
        return measured, others

    def _real(self, players: Sequence[Player]) -> list[Real]:
        """Real episodes of every player; where one is longer than any recorded one, whole dreams are, too."""
        seeds = self._seeds()
        shown = bar(players, "policies, real", self.quiet, unit="policy")
        with Theatre(self.world, self.work, self.config.processes, self.horizon).open() as theatre:
            found = [theatre.real(player, seeds) for player in shown]
        self.horizon = max(self.horizon, *(length for real in found for length in real.lengths))
        return found

    def _seeds(self) -> range:
        """Reset seeds of the real episodes; ValueError where one was learned from, or chose among a loop's agents."""
        seeds = range(self.config.seed, self.config.seed + self.config.episodes)
        known: dict[Any, str] = {h.meta.get("seed"): f"was recorded in {h.path.parent}" for h in self.data.episodes}
        for path in (folder.parent / "chosen.json" for folder in folders_of(self.config.policies)):
            chosen = read_json(path).get("seeds", []) if path.is_file() else []
            known |= dict.fromkeys(chosen, f"chose among agents in {path}")
        wrong = sorted(known.keys() & {*seeds})
        if wrong:
            raise ValueError(f"seed {wrong[0]:,} {known[wrong[0]]}: give another --seed than {seeds[0]:,}")
        return seeds

    def _rows(self, measured: Sequence[Measured]) -> dict[str, Any]:
        rows = [
            {
                "name": one.player.name,
                "kind": one.player.kind,
                "weights": one.player.weights,
                "real": spread(one.real.returns),
                "dream": spread(one.dreams.returns.tolist()),
                "real_steps": round(float(np.mean(one.real.lengths)), 1),
                "dream_steps": round(float(one.dreams.length.mean()), 1),
            }
            for one in measured
        ]
        ranges = {"real": [*span(measured[0].real.seeds)], "dream": [self.config.seed]}
        ranges["dream"].append(self.config.seed + self.config.dreams - 1)
        frames = sum(one.real.real_frames for one in measured)
        counts = {"episodes": self.config.episodes, "dreams": self.config.dreams, "horizon": self.horizon}
        return {**counts, "seeds": ranges, "real_frames": frames, "rows": rows}

    def _known(self) -> Known:
        """What was recorded; an episode is whole that the simulator ended, or that is as long as one can be."""
        ends = []
        for header in self.data.episodes:
            tape = read_episode(header.path)
            ends.append((tape.rew, bool(tape.term[-1]) or len(tape) >= self.horizon))
        return Known.of(self.held, [rew for rew, _ in ends], [whole for _, whole in ends])

    def _alarm(self, measured: Sequence[Measured], others: Sequence[Again]) -> dict[str, Any]:
        known, players = self._known(), [one.player for one in measured]
        given = [evidence(one.dreams, known, *more) for one, more in zip(measured, others)]
        honest = [one.real_mean for one in measured if one.player.kind != "exploiter"]
        scale = max(honest) - min(honest) or 1.0
        wrong = [one.dream_mean - one.real_mean > MARGIN * scale for one in measured]
        rows = [
            {"name": one.player.name, "exploits": bool(bad), **{k: round(v, 5) for k, v in told.items()}}
            for one, bad, told in zip(measured, wrong, given)
        ]
        made = [player.kind == "exploiter" for player in players]
        about = {"margin": MARGIN, "scale": round(scale, 4), "second": len(self.config.second), "horizon": self.horizon}
        about |= {"made": sum(made), "made_and_exploit": sum(bad for bad, mine in zip(wrong, made) if mine)}
        told = judged(given, wrong, [player.family for player in players], made, self.config.seed)
        return {**about, **told, "known": known.to_dict(), "evidence": rows}

    # ---------------------------------------------------------------- where and when

    def about(self) -> dict[str, Any]:
        """What was measured, from what it was made, by which command, and where."""
        spec, net = self.world.spec, self.world.config
        keys = ("env_id", "size", "width", "skip", "fps", "real_frames", "fit_steps", "fit_seconds")
        about = {key: spec.get(key) for key in keys} | {"hash": self.world.hash}
        about |= {"groups": net.groups, "classes": net.classes, "calibrated": spec.get("calibrated")}
        about["unseen"] = self.unseen
        about["megabytes"] = round((self.config.world / "world.safetensors").stat().st_size / 1e6, 1)
        return {
            "world": about,
            **self._made_from(),
            "seeds": {"all": self.config.seed},
            **circumstances(),
        }

    def _made_from(self) -> dict[str, Any]:
        """What the fit's data cost, and who recorded them; of other data what was said before of these weights."""
        if not self.unseen:
            return {"meter": self.data.meter(), "policies": _policies(self.data)}
        path = self.config.world / "gap.json"
        told = read_json(path) if path.is_file() else {"world": {}}
        known = told["world"].get("hash") == self.world.hash
        return {key: told[key] if known else None for key in ("meter", "policies")}


def _longest(world: World, data: Dataset) -> int:
    """Steps of a whole real episode, as far as the simulator's spec or the data tell."""
    from gensim.envs.spec import spec_of

    spec = spec_of(world.spec["env_id"])
    return spec.max_steps if spec else max(header.length for header in data.episodes)


def _policies(data: Dataset) -> list[str]:
    """Who recorded: a policy, or where a simulator drives by itself, in which manner."""
    return sorted({str(header.meta.get("policy", header.meta.get("manner", "unknown"))) for header in data.episodes})


def _tapes(headers: Sequence[Header]) -> list[Any]:
    return [read_episode(header.path) for header in headers]
