"""Who plays for the gap: a fixed list of policies from chance to the best, each small enough to hand to a process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from gensim.core.files import read_json, sha256
from gensim.core.seeds import Stream, fold, uniform
from gensim.episodes.actions import ActionSpec
from gensim.episodes.policies import random_policy

if TYPE_CHECKING:
    from gensim.agents import Pilot
    from gensim.world import World

SHARES = tuple(round(0.1 * i, 2) for i in range(1, 10))  # of an agent's decisions that chance takes over
FINER = tuple(round(0.05 + 0.1 * i, 2) for i in range(10))  # these too, where policies would be fewer than LEAST
LEAST = 20
CHANCE = 1 << 40  # folds into a seed for what chance draws, beside the agent's own draws
Kind = Literal["chance", "constant", "agent", "mixed", "calm", "round", "exploiter"]


@dataclass(frozen=True)
class Player:
    """A policy by name; equal players act alike in any process."""

    name: str
    """How the card calls it."""
    kind: Kind
    """Where it comes from."""
    agent: str | None = None
    """Folder of its agent; None for chance and for what always does the same."""
    weights: str = ""
    """SHA-256 of the agent's weights."""
    world: str | None = None
    """Folder of the agent's world, where its own reference does not find it."""
    chance: float = 0.0
    """Share of decisions that chance takes over."""
    deterministic: bool | None = None
    """The likeliest actions, not drawn ones; None takes the agent's own habit."""

    @property
    def family(self) -> str:
        """Equal for an agent, its likeliest form and its mixes with chance; and for all that no agent drives."""
        return self.weights or "chance"

    @property
    def calm(self) -> bool:
        """Whether it takes the likeliest actions: told so, or else by its agent's habit."""
        if self.deterministic is not None or self.agent is None:
            return bool(self.deterministic)
        return bool(read_json(Path(self.agent) / "agent.json").get("deterministic"))

    def digest(self, *more: Any) -> str:
        """16 hexadecimal digits of what it does, and of whatever else is named; not of where its files lie."""
        acts = {key: value for key, value in asdict(self).items() if key not in ("name", "kind", "agent", "world")}
        told = json.dumps([acts, self.agent is None and self.kind, *more], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


class Seated(Protocol):
    """A policy in its seat, rows side by side.

    `sight` is what it must be shown: "frames" (n, h, w, 3), "latents" (n, d), or "nothing".
    """

    sight: str

    def reset(self, seeds: np.ndarray) -> None: ...

    def act(self, obs: np.ndarray | None) -> np.ndarray: ...


class Blind:
    """Chance, or with `still` the action that is all zeros (choice 0), for n rows."""

    sight = "nothing"

    def __init__(self, action: ActionSpec, still: bool = False) -> None:
        self.action, self.still = action, still

    def reset(self, seeds: np.ndarray) -> None:
        """Begins n episodes with the keys seeds (n,)."""
        self.rows = [random_policy(self.action) for _ in seeds]
        for row, key in zip(self.rows, fold(np.asarray(seeds).astype(np.uint64), CHANCE)):
            row.reset(np.random.default_rng(int(key)))

    def act(self, obs: np.ndarray | None = None) -> np.ndarray:
        """Actions (n, k) float32 or (n,) int64."""
        acts = np.stack([row.act(np.zeros(0), None) for row in self.rows])
        return np.zeros_like(acts) if self.still else acts


class Driven:
    """An agent, some of whose decisions chance takes over.

    Arguments:
        pilot: the agent as it is shown frames, or latents where `latents` says so.
        chance: the share of decisions replaced; the steps of such a decision are chance's.
        latents: it is shown its own world's latents.
    """

    def __init__(self, pilot: Pilot, chance: float = 0.0, latents: bool = False) -> None:
        self.pilot, self.chance, self.sight = pilot, chance, "latents" if latents else "frames"
        self.repeat, self.noise = pilot.agent.config.repeat, Blind(pilot.agent.config.action)

    def reset(self, seeds: np.ndarray) -> None:
        """Begins n episodes with the keys seeds (n,)."""
        self.seeds, self.clock = np.asarray(seeds).astype(np.uint64), 0
        self.pilot.reset(self.seeds)
        self.noise.reset(self.seeds)
        self.last: np.ndarray | None = None

    def act(self, obs: np.ndarray | None) -> np.ndarray:
        """Actions (n, k) float32 or (n,) int64; the filter is told what was really executed."""
        assert obs is not None
        own = self.pilot.act(obs, self.last)
        if self.chance:
            step = np.full(len(own), self.clock // self.repeat)
            lost = uniform(fold(self.seeds, CHANCE + 1), Stream.ACTION, step, 1)[:, 0] < self.chance
            own = np.where(lost.reshape(-1, *[1] * (own.ndim - 1)), self.noise.act(), own)
        self.clock, self.last = self.clock + 1, own
        return own


def seat(player: Player, action: ActionSpec, dreamed: World | None = None) -> Seated:
    """A player ready to act, in a simulator or in the world `dreamed`; ValueError when its actions do not fit."""
    from gensim.agents import Pilot, load
    from gensim.envs.engine import load_world

    if player.agent is None:
        return Blind(action, still=player.kind == "constant")
    agent = load(player.agent, player.world and load_world(Path(player.world)))
    if agent.config.action != action:
        raise ValueError(f"{player.agent} gives actions {agent.config.action}, here are {action}: leave it out")
    own = dreamed is not None and agent.world is not None and agent.world.hash == dreamed.hash
    return Driven(Pilot(agent, player.deterministic, filtered=not own), player.chance, latents=own)


# -------------------------------------------------------------------- the list


def roster(
    world: World,
    folder: Path,
    agent: Path | None,
    rounds: Sequence[Path] = (),
    exploiters: Sequence[Path] = (),
    mixes: int | None = None,
) -> list[Player]:
    """The fixed list: chance, standing still, the agent with shares of chance, as it is and calm, and the others.

    Equal weights come once, as the agent, else as made to exploit. With an agent they are `LEAST` at least, unless it
    is said in how many mixes chance has a share.
    """
    fixed = [Player("chance", "chance"), Player("constant", "constant")]
    if agent is None:
        return fixed + _others(world, folder, rounds, exploiters)
    best, others = _player(world, folder, agent, "agent", "agent"), _others(world, folder, rounds, exploiters)
    others = [one for one in others if one.weights != best.weights]
    calm = _variant(best, f"agent, {'drawn' if best.calm else 'likeliest'}", "calm", calm=not best.calm)
    shares = SHARES if len(fixed) + len(SHARES) + 2 + len(others) >= LEAST else tuple(sorted(SHARES + FINER))
    if mixes is not None:
        shares = tuple(round((i + 1) / (mixes + 1), 2) for i in range(mixes))
    mixed = [_variant(best, f"agent, {100 * share:.0f} % chance", "mixed", share) for share in shares]
    return [*fixed, *reversed(mixed), best, calm, *others]


def folders_of(places: Sequence[Path]) -> list[Path]:
    """Agent folders: those given, or all that lie anywhere inside those given; FileNotFoundError if none."""
    found: list[Path] = []
    for place in places:
        inside = [place] if _is_agent(place) else sorted(p.parent for p in place.rglob("agent.json"))
        if not inside:
            raise FileNotFoundError(f"{place} is no agent and holds none: give folders that `gensim learn` wrote")
        found += inside
    return found


def _others(world: World, folder: Path, rounds: Sequence[Path], exploiters: Sequence[Path]) -> list[Player]:
    sides: tuple[tuple[Kind, Sequence[Path]], ...] = (("exploiter", exploiters), ("round", rounds))
    listed: dict[Path, Kind] = {}
    for kind, places in sides:
        for place in folders_of(places):
            listed.setdefault(place.resolve(), kind)  # exploiters may lie among the rounds
    found: dict[str, Player] = {}
    for (place, kind), name in zip(listed.items(), _names([*listed])):
        one = _player(world, folder, place, name, kind)
        found.setdefault(one.weights, one)
    return list(found.values())


def _player(world: World, folder: Path, agent: Path, name: str, kind: Kind) -> Player:
    ref = read_json(agent / "agent.json").get("world") or {}
    own = str(folder) if ref.get("hash") == world.hash else None  # the agent may know its world by another place
    return Player(name, kind, str(agent), sha256(agent / "policy.safetensors"), own)


def _variant(player: Player, name: str, kind: Kind, chance: float = 0.0, calm: bool | None = None) -> Player:
    return Player(name, kind, player.agent, player.weights, player.world, chance, calm)


def _names(places: Sequence[Path]) -> Iterator[str]:
    """The shortest ends that differ, of resolved paths that do."""
    for path in places:
        deep = 1
        while deep < len(path.parts) and sum(o.parts[-deep:] == path.parts[-deep:] for o in places) > 1:
            deep += 1
        yield "/".join(path.parts[-deep:]) if deep < len(path.parts) else path.name


def _is_agent(place: Path) -> bool:
    return (place / "agent.json").is_file()
