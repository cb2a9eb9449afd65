"""Measures the gap between a world and its simulator, and writes it into the world's folder.

Nothing that is measured here chooses anything. Every policy's episodes are kept, so that a kill loses one at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from gensim.episodes.record import SEED_LIMIT
from gensim.episodes.sample import is_heldout
from gensim.episodes.store import Header
from gensim.gap import words
from gensim.gap.actions import effects
from gensim.gap.alarm import MARGIN, Known, evidence, judged
from gensim.gap.calibration import calibration
from gensim.gap.features import belief_distance
from gensim.gap.picture import scatter
from gensim.gap.policies import Player, folders_of, roster
from gensim.gap.ranking import Measured, ranking
from gensim.gap.readings import Readings, read
from gensim.gap.rollouts import Dreams, Real, Theatre
from gensim.gap.uniformity import uniformity
from gensim.world import World
from gensim.world.card import write_card
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT, HORIZONS, Futures, Pool, by_horizon, ends, futures, rewards

LENGTH = CONTEXT + max(HORIZONS) + 1
SECOND = 32  # dreams of a policy in each other world, and under dropout masks
SCATTER = "dream_vs_real_returns.png"
Again = tuple[list[Dreams], Dreams]
"""A policy's dreams in other worlds, and those under dropout masks."""


@dataclass(frozen=True)
class GapConfig:
    """What is measured, and on what."""

    world: Path
    """World folder."""
    data: Path
    """Data set that the world was fitted to; its held-out episodes are measured on."""
    agent: Path | None = None
    """Agent folder whose return is compared, dreamed and real, and that the policies are made of."""
    policies: tuple[Path, ...] = ()
    """Folders of other agents, or of such folders: earlier rounds of `gensim loop`."""
    exploiters: tuple[Path, ...] = ()
    """The same of agents that were made to exploit the dream (scripts/exploiters)."""
    second: tuple[Path, ...] = ()
    """World folders, of other rounds or seeds, in which every policy dreams too: second opinions."""
    new_data: Path | None = None
    """Data set recorded after the fit, on which rewards, ends and trust are judged; else the held-out episodes are."""
    scores: tuple[Path, ...] = ()
    """What `gensim score AGENT --json` wrote of the simulator, or of this world with `horizon` as here and
    `trust_floor 0`, shown instead of own returns."""
    episodes: int = 10
    """Real episodes of each policy."""
    dreams: int = 64
    """Dreams of each policy."""
    seed: int = 900_000
    """Of the first real episode and the first dream of every policy, and of all chances here."""
    processes: int = 2
    """Simulators side by side, each on one thread."""
    work: Path | None = None
    """Folder of what was measured so far; runs/gap-HASH unless given."""
    segments: int = 96
    """Held-out segments that figures are made from."""
    kept: int = 10
    """Held-out segments of the world's own file."""
    samples: int = 4
    """Dreams of each segment."""
    simulated: int = 6
    """Starts and segments that are replayed in the simulator; 0 for none."""
    moments: int = 20_000
    """Moments of the training data that the nearest one is looked up among."""
    holdout: float = 0.05
    """Share of the episodes that the fit was told to hold out."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.seed + max(self.dreams, self.episodes) > SEED_LIMIT:
            raise ValueError(f"seed={self.seed}: give 0 to 999,000; seeds from {SEED_LIMIT:,} on are for scores alone")
        counts = (self.episodes, self.dreams, self.processes, self.segments, self.kept, self.samples)
        if min(counts) < 1 or min(self.episodes, self.dreams) < 2:
            raise ValueError("give at least 2 episodes and dreams, and 1 of processes, segments, kept and samples")
        if self.exploiters and self.agent is None and not self.policies:
            raise ValueError("exploiters are held against honest policies: give an agent or policies, too")


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
        pool = Pool(self.others, self.length - CONTEXT, self.config.moments)
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
        differ = [key for key in ("env_id", "size", "skip", "action") if data.spec[key] != self.data.spec[key]]
        if differ or not data.episodes:
            wrong = f"differ in {', '.join(differ)}" if differ else "are empty"
            raise ValueError(f"{data.folder}: the new data {wrong}: record the simulator that the world imitates")
        return data, read(self.world, _tapes(data.episodes), seed=self.config.seed)

    def judgements(self) -> dict[str, Any]:
        """Rewards and ends against what came, on new data where they are given."""
        told = calibration(self.new[1] if self.new else self.held, self.config.seed)
        fitted = ", on which its ends were calibrated" if self.world.spec.get("calibrated") else ""
        return told | {"on": "new episodes" if self.new else f"held-out episodes{fitted}"}

    def trust(self) -> dict[str, Any]:
        """Trust against uniform, on new data where they are given."""
        if self.new is None:
            told = uniformity(self.held, seed=self.config.seed)
            return told | {"on": "held-out episodes, which it was calibrated on"}
        data, tapes = self.new
        policies = sorted({str(header.meta.get("policy", "unknown")) for header in data.episodes})
        return uniformity(tapes, self.held, self.config.seed) | {"on": "new episodes", "policies": policies}

    # ---------------------------------------------------------------- policies

    def policies(self) -> dict[str, Any]:
        """Returns of every policy, really and dreamed, how the two rank, and the alarm."""
        if self.config.agent is None and not self.config.policies:
            return {}
        measured, others = self._play()
        figures: dict[str, Any] = {"policies": self._rows(measured)}
        figures["ranking"] = ranking(measured, self.config.seed)
        if self.config.agent is not None:
            agent = next(one for one in measured if one.player.kind == "agent")
            figures["returns"] = self._returns(agent)
        figures["alarm"] = self._alarm(measured, others)
        return figures

    def _play(self) -> tuple[list[Measured], list[Again]]:
        config = self.config
        players = roster(self.world, config.world, config.agent, config.policies, config.exploiters)
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
                "real": _spread(one.real.returns),
                "dream": _spread(one.dreams.returns.tolist()),
                "real_steps": round(float(np.mean(one.real.lengths)), 1),
                "dream_steps": round(float(one.dreams.length.mean()), 1),
            }
            for one in measured
        ]
        ranges = {"real": [*_ends(measured[0].real.seeds)], "dream": [self.config.seed]}
        ranges["dream"].append(self.config.seed + self.config.dreams - 1)
        frames = sum(one.real.real_frames for one in measured)
        counts = {"episodes": self.config.episodes, "dreams": self.config.dreams, "horizon": self.horizon}
        return {**counts, "seeds": ranges, "real_frames": frames, "rows": rows}

    def _returns(self, agent: Measured) -> dict[str, Any]:
        env, dreamed = self.world.spec["env_id"], agent.dreams.returns.tolist()
        first = {"env": env, "real_frames": agent.real.real_frames} | _spread(agent.real.returns)
        dream = {"env": f"dream of {env}", "real_frames": 0} | _spread(dreamed)
        seeds = [self.config.seed + i for i in range(self.config.dreams)]
        real = first | {"returns": agent.real.returns, "seeds": _ends(agent.real.seeds)}
        told = dream | {"returns": dreamed, "seeds": _ends(seeds)}
        rows = {"real": real, "dream": told, **self._scores(agent)}
        folder = Path(str(agent.player.agent)).resolve().name
        about = {"agent": folder, "weights": agent.player.weights, "horizon": self.horizon}
        return {
            **about,
            **rows,
            "difference": difference(rows["dream"]["returns"], rows["real"]["returns"], self.config.seed),
        }

    def _scores(self, agent: Measured) -> dict[str, Any]:
        """What was scored before, "real" and "dream"; ValueError naming the file that is of something else."""
        found = {}
        for path in self.config.scores:
            one = read_json(path)
            side = "real" if one.get("env") == self.world.spec["env_id"] else "dream"
            wrong = _wrong(one, agent.player, None if side == "real" else self.world, self.horizon)
            if wrong:
                raise ValueError(
                    f"{path} lacks or differs in {', '.join(wrong)}: give what `gensim score AGENT --json` wrote of "
                    f"this agent in its simulator, or in this world with `horizon {self.horizon} trust_floor 0`"
                )
            found[side] = _row(one)
        return found

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
        keys = ("env_id", "size", "skip", "fps", "real_frames", "fit_steps", "fit_seconds")
        about = {key: spec.get(key) for key in keys} | {"hash": self.world.hash}
        about |= {"groups": net.groups, "classes": net.classes, "calibrated": spec.get("calibrated")}
        about["megabytes"] = round((self.config.world / "world.safetensors").stat().st_size / 1e6, 1)
        return {
            "world": about,
            "meter": self.data.meter(),
            "policies": sorted({str(header.meta.get("policy", "unknown")) for header in self.data.episodes}),
            "seeds": {"all": self.config.seed},
            **circumstances(),
        }


def difference(dreamed: Sequence[float], real: Sequence[float], seed: int = 0, draws: int = 2000) -> dict[str, Any]:
    """The mean dreamed return over the mean real one, less one, with its bootstrap interval; null around 0."""
    a, b = np.asarray(dreamed, np.float64), np.asarray(real, np.float64)
    rng = np.random.default_rng(seed)
    shown = [(rng.choice(a, len(a)).mean(), rng.choice(b, len(b)).mean()) for _ in range(draws)]
    if b.mean() == 0 or min(len(a), len(b)) < 2 or any(y * b.mean() <= 0 for _, y in shown):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile([(x - y) / abs(y) for x, y in shown], [0.025, 0.975])
    value = (a.mean() - b.mean()) / abs(b.mean())
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _spread(returns: Sequence[float]) -> dict[str, Any]:
    from gensim.agents.score import student_t95

    mean, n = float(np.mean(returns)), len(returns)
    std = float(np.std(returns, ddof=1)) if n > 1 else None
    half = student_t95(n) * std / np.sqrt(n) if std is not None else None
    ci95 = None if half is None else [float(mean - half), float(mean + half)]
    return {"mean": mean, "std": std, "ci95": ci95, "episodes": n}


def _longest(world: World, data: Dataset) -> int:
    """Steps of a whole real episode, as far as the simulator's spec or the data tell."""
    from gensim.envs.spec import spec_of

    spec = spec_of(world.spec["env_id"])
    return spec.max_steps if spec else max(header.length for header in data.episodes)


def _wrong(one: Mapping[str, Any], player: Player, world: World | None, horizon: int) -> list[str]:
    """What a score lacks, or what of it differs from this player's episodes, dreamed in `world` or else real."""
    from gensim.envs.engine import DreamConfig

    wanted, told = {"weights": player.weights, "deterministic": player.calm}, {**one}
    if world is not None:
        wanted |= {"world_hash": world.hash, **asdict(DreamConfig(horizon=horizon, trust_floor=0.0))}
        told |= asdict(DreamConfig()) | (one.get("env_kwargs") or {})
    missing = {"env", "mean", "ci95", "returns", "seeds"} - one.keys()
    return [*(name for name, value in wanted.items() if told.get(name) != value), *sorted(missing)]


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("env", "mean", "std", "ci95", "deterministic", "real_frames", "returns")
    return {name: one.get(name) for name in names} | {"episodes": len(one["returns"]), "seeds": _ends(one["seeds"])}


def _ends(seeds: Sequence[int]) -> list[int]:
    return [min(seeds), max(seeds)]


def _tapes(headers: Sequence[Header]) -> list[Any]:
    return [read_episode(header.path) for header in headers]
