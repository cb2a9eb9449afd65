"""A learned simulator in latent space: start, imagine, observe, decode; and its folder on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gensim.core.files import atomic_path, inside, line, load_tensors, read_json, save_tensors, sha256, write_json
from gensim.core.frames import shape_of
from gensim.core.seeds import Stream, uniform
from gensim.episodes.actions import ActionSpec
from gensim.models.cellular import CellDynamics
from gensim.world.config import NAMES, NetConfig
from gensim.world.fast import Dreamed, Fast, traced
from gensim.world.labelling import check_depth
from gensim.world.net import Net
from gensim.world.starts import Starts
from gensim.world.state import State, Step
from gensim.world.tiles import TILE, map_tiles
from gensim.world.trust import Trust

FORMAT = 2
FILES = ("world.safetensors", "starts.npz")  # what world.json has the hashes of
WEIGHTS = 500_000_000  # numbers in the largest network that is loaded
LARGEST = {"size": 1024, "actions": 4096, "groups": 4096, "classes": 256, "hidden": 16_384, "head": 16_384}
PAINTED = 8  # frames of a tile: convolutions gain little from more, and a single row pays for all
SEEN = 4  # real frames of a tile: who filters often has one row alone
Tile = Callable[..., Sequence[Tensor]]
Edit = Callable[[str, Tensor], Tensor]
Proposal = Callable[[Tensor, int], Tensor]


class World:
    """An action-conditional generative model of a simulator, ready to be stepped.

    A step reads the last latent and the action into the memory, draws the next latent from the exact
    law of the memory, and judges reward and end from both. Rows are independent of each other.
    """

    def __init__(self, net: Net, spec: dict[str, Any], trust: Trust, starts: Starts, digest: str = "") -> None:
        self.spec, self.trust, self.starts, self.hash = spec, trust, starts, digest
        self.config, self.net = net.config, net.eval()
        self.fast = Fast(net)
        self.action_dim = net.config.actions
        cells = net.config.cells
        self.tile, self.painted = (TILE // 4, PAINTED // 2) if cells else (TILE, PAINTED)  # a grid is more work
        whole = net.config.hidden + net.config.groups * net.config.classes
        self.latent_dim = net.dynamics.seen if isinstance(net.dynamics, CellDynamics) else whole
        self.folder: Path | None = None

    # ---------------------------------------------------------------- making and keeping

    @classmethod
    def from_weights(cls, config: NetConfig, weights: dict[str, Tensor], spec: dict[str, Any]) -> World:
        """A world from its networks' weights, with trust not yet calibrated and one blank start."""
        net = Net.bare(config)
        net.load_state_dict({k: v.to(torch.bfloat16).float() for k, v in weights.items()})
        return cls(net, spec, Trust.blank(), Starts.blank(config))

    @classmethod
    def random(cls, spec: dict[str, Any], config: NetConfig, seed: int = 0) -> World:
        """A small world with random weights, for tests."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = Net(config).state_dict()
        world = cls.from_weights(config, weights, spec)
        world.starts = Starts.scattered(config, 8, seed)
        return world

    @classmethod
    def load(cls, folder: str | Path) -> World:
        """Reads a world folder; ValueError or FileNotFoundError if anything in it is missing, changed or foreign."""
        folder = Path(folder)
        if not (folder / "world.json").exists():
            raise FileNotFoundError(
                f"no world in {folder}: world.json is missing; give a folder that `gensim fit` wrote, "
                "or an id that `gensim worlds` lists"
            )
        card = read_json(inside(folder, "world.json"))
        config, spec = _config(card, folder), _spec(card, folder)
        weights, starts_path = (_checked(folder, name, card) for name in FILES)
        tensors, meta = load_tensors(weights)
        _finite(tensors, weights)
        trust = Trust.from_tensors(tensors, weights)
        tensors.pop("trust.table")
        net = _filled(config, tensors, weights)
        if meta.get("about", about := _about(config, spec)) != about:
            raise ValueError(f"{folder}/world.json is not what {weights.name} was written with; copy both again")
        world = cls(net, spec, trust, Starts.load(starts_path, config), card["files"][weights.name])
        world.folder = folder
        return world

    def save(self, folder: str | Path) -> None:
        """Writes world.safetensors, starts.npz and, last, world.json with their hashes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.to(torch.bfloat16) for k, v in self.weights().items()}
        meta = {"format": str(FORMAT), "about": _about(self.config, self.spec)}
        save_tensors(folder / "world.safetensors", tensors | self.trust.tensors(), meta)
        with atomic_path(folder / "starts.npz") as path:
            self.starts.save(path)
        files = {name: sha256(folder / name) for name in FILES}
        told = {"format": FORMAT, "net": self.config.to_dict(), "spec": self.spec, "files": files}
        write_json(folder / "world.json", told)
        self.hash, self.folder = files["world.safetensors"], folder

    def weights(self) -> dict[str, Tensor]:
        """The networks' weights by name, float32."""
        return self.net.state_dict()

    # ---------------------------------------------------------------- stepping

    def start(
        self,
        seeds: np.ndarray,
        start: str | int | Sequence[int] | np.ndarray = "real",
        temperature: float | np.ndarray = 1.0,
        dropout: bool = False,
        cond: np.ndarray | None = None,
    ) -> State:
        """Opens n episodes with keys `seeds` (n,) uint64: where real ones start, mid-episode, or at given starts.

        cond (n, c) in 0..1: conditions; NaN or None for those of the start. Raises ValueError if a start is neither
        "real", "mid" nor an index of `starts`.
        """
        seeds = np.asarray(seeds, np.uint64)
        index = self.starts.pick(start, seeds)  # (n,)
        h, z, tally, mid = self.starts.take(index)
        h = torch.where(mid[:, None], h, self.net.dynamics.initial[1].detach())
        state = self._opened(seeds, h, z, dropout)
        state.start, state.tally = torch.from_numpy(index), tally
        state.cond = self._conditions(cond, self.starts.conditions(index))
        state.temperature = torch.as_tensor(temperature, dtype=torch.float32).expand(len(seeds)).clone()
        return state

    def first(
        self, frames: np.ndarray, seeds: np.ndarray, dropout: bool = False, cond: np.ndarray | None = None
    ) -> State:
        """The state (n rows) after the first real frames (n, h, w, 3) uint8 of an episode under conditions (n, c)."""
        seeds = np.asarray(seeds, np.uint64)
        h = self.net.dynamics.initial[1].detach().expand(len(seeds), -1)
        state = self._opened(seeds, h.clone(), torch.zeros(len(seeds), self.config.groups, dtype=torch.int64), dropout)
        state.z = self._encode(frames, state)[0]
        state.cond = self._conditions(cond, np.full((len(seeds), len(self.config.conditions)), 0.5, np.float32))
        return state

    def imagine(
        self,
        state: State,
        act: np.ndarray,
        proposal: Proposal | None = None,
        edit: Edit | None = None,
        draws: np.ndarray | None = None,
    ) -> tuple[State, Step]:
        """One imagined step under actions (n, k) in -1..1.

        proposal(log-law, stage) maps the log-law (rows, groups, classes) float32 to the log-law to sample from;
        edit(name, activation) may change "h" (the new memory) and "prior" (the logits). In a world with stages both
        are asked once a stage, with its groups alone, and the logits are "prior.0", "prior.1" and so on.
        draws (n, groups + 1) float64 in 0..1 are what the latents and the end are drawn by; None takes the keys' own.
        """
        if draws is None:
            own = uniform(state.keys(), Stream.PRIOR, state.step.numpy(), self.config.groups)
            draws = np.concatenate([own, uniform(state.keys(), Stream.TERM, state.step.numpy(), 1)], 1)
        if draws.shape != (len(state), self.config.groups + 1):
            raise ValueError(f"draws {draws.shape}: give ({len(state)}, {self.config.groups + 1}), the end's last")
        drawn = (_rows(draws[:, :-1]), _rows(draws[:, -1]))
        rows: tuple[Tensor, ...] = (state.h, state.z, state.tally, state.cond, _rows(act), state.mask)
        rows = (*rows, *drawn, state.temperature)
        if proposal is not None or edit is not None:
            f = self._steered(proposal, edit)
        elif (state.temperature == 1).all():
            f, rows = self._dream, rows[:-1]
        else:
            f = self._hot_dream
        return self._moved(state, map_tiles(f, *rows, size=self.tile), state.age + 1)

    def observe(
        self, state: State, act: np.ndarray, frames: np.ndarray, rew: np.ndarray | None = None
    ) -> tuple[State, Step]:
        """One real step: the frames (n, h, w, 3) uint8 that followed actions (n, k).

        `log_p` is the prior of their latents, `log_q` their posterior. The rewards rew (n,) that came with them are
        tallied; without them the world's own guess is.
        """
        z, log_post = self._encode(frames, replace(state, step=state.step + 1))
        ends = uniform(state.keys(), Stream.TERM, state.step.numpy(), 1)

        def tile(
            h: Tensor, z0: Tensor, z: Tensor, tally: Tensor, cond: Tensor, act: Tensor, mask: Tensor, end: Tensor
        ) -> tuple[Tensor, ...]:
            h = self.fast.memory(h, z0, act, tally, cond)
            read, unusual, judges = self.fast.read(h)
            log_p = self.fast.surprise(read, mask, z)
            return h, z, log_p, log_p, *self.fast.verdict(judges, z, tally, end), unusual

        rows = (state.h, state.z, z, state.tally, state.cond, _rows(act), state.mask, _rows(ends)[:, 0])
        parts = map_tiles(tile, *rows, size=self.tile)
        new, step = self._moved(state, parts, torch.zeros_like(state.age))
        if rew is not None:
            new.tally[:, 0] = state.tally[:, 0] + torch.from_numpy(np.asarray(rew, np.float32))
        step.log_q = log_post.double().numpy()
        return new, step

    def decode(self, state: State) -> np.ndarray:
        """Frames (n, h, w, 3) uint8 of the latents alone."""
        return map_tiles(self._paint, state.z, size=self.painted)[0].numpy()

    def labelled(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames uint8 (n, h, w, 3), their pixels' classes uint8 (n, h, w), and distances float32 (n, h, w) in 0..1.

        ValueError for a world without labels.
        """
        if not self.config.labels:
            raise ValueError("this world has no labels: it was fitted to data that have none")
        frames, classes, far = map_tiles(self._label, state.z, size=self.painted)
        return frames.numpy(), classes.numpy(), far.numpy()

    def tell(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """What `config.readouts` names, float32 (n, r), and the probabilities (n, k) of `config.kinds`, if it ends."""
        if self.net.telling is None:
            raise ValueError("this world tells no numbers: it was fitted to data that have none")
        numbers, kinds = map_tiles(self._tell, state.h, state.z, size=self.tile)
        return numbers.numpy(), kinds.numpy()

    def latent(self, state: State) -> np.ndarray:
        """The state as one vector (n, latent_dim) float32: the memory, then the one-hot latent.

        Of a world of cells, the means of four cells' memories and of what their latents are read as.
        """
        if isinstance(self.net.dynamics, CellDynamics):
            look = self.net.dynamics.glance
            return map_tiles(lambda h, z: (look(h, z),), state.h, state.z, size=self.tile)[0].numpy()
        one_hot = F.one_hot(state.z, self.config.classes).flatten(1)
        return torch.cat([state.h, one_hot.float()], 1).numpy()

    # ---------------------------------------------------------------- parts of a step

    @cached_property
    def _dream(self) -> Tile:
        return traced(self.fast.dream, *self._one_tile[:-1])

    @cached_property
    def _hot_dream(self) -> Tile:
        return traced(self.fast.dream, *self._one_tile)

    @property
    def _one_tile(self) -> tuple[Tensor, ...]:
        c = self.config
        state = self.start(np.arange(self.tile, dtype=np.uint64), 0)
        draws = torch.full((self.tile, c.groups), 0.5, dtype=torch.float64)
        drawn = (state.mask, draws, draws[:, 0], state.temperature)
        return state.h, state.z, state.tally, state.cond, torch.zeros(self.tile, c.actions), *drawn

    @cached_property
    def _paint(self) -> Tile:
        return traced(self.fast.paint, torch.zeros(self.painted, self.config.groups, dtype=torch.int64))

    @cached_property
    def _label(self) -> Tile:
        return traced(self.fast.label, torch.zeros(self.painted, self.config.groups, dtype=torch.int64))

    @cached_property
    def _tell(self) -> Tile:
        c = self.config
        return traced(self.fast.tell, torch.zeros(self.tile, c.hidden), torch.zeros(self.tile, c.groups).long())

    def _steered(self, proposal: Proposal | None, edit: Edit | None) -> Tile:
        def tile(
            h: Tensor,
            z: Tensor,
            tally: Tensor,
            cond: Tensor,
            act: Tensor,
            mask: Tensor,
            u: Tensor,
            end: Tensor,
            t: Tensor,
        ) -> Dreamed:
            h = self.fast.memory(h, z, act, tally, cond)
            h = edit("h", h) if edit else h
            read, unusual, judges = self.fast.read(h)
            z, log_p, log_q = self.fast.draw(read, mask, u, t, proposal, edit)
            return h, z, log_p, log_q, *self.fast.verdict(judges, z, tally, end), unusual

        return tile

    def _moved(self, state: State, parts: list[Tensor], age: Tensor) -> tuple[State, Step]:
        h, z, log_p, log_q, rew, term, log_end, term_prob, unusual = parts
        new = State(
            h,
            z,
            state.mask.clone(),
            state.seed.clone(),
            state.step + 1,
            age,
            state.temperature.clone(),
            state.start.clone(),
            state.tally + torch.stack([rew.float(), torch.ones(len(rew))], 1),
            state.cond.clone(),
        )
        trust = self.trust.rank(unusual.numpy(), age.numpy())
        return new, Step(
            rew.numpy(),
            term.numpy(),
            (log_p + log_end).numpy(),
            (log_q + log_end).numpy(),
            trust,
            term_prob.numpy(),
            unusual.numpy(),
        )

    def _encode(self, frames: np.ndarray, state: State) -> tuple[Tensor, Tensor]:
        asked = (len(state), *self.config.shape, 3)
        if frames.dtype != np.uint8 or frames.shape != asked:
            raise ValueError(
                f"frames of {frames.dtype} {frames.shape}: give uint8 {asked}, resized with gensim.core.frames.resize"
            )
        draws = uniform(state.keys(), Stream.POSTERIOR, state.step.numpy(), self.config.groups)
        z, log_q = map_tiles(self.fast.see, torch.from_numpy(np.ascontiguousarray(frames)), _rows(draws), size=SEEN)
        return z, log_q

    def _opened(self, seeds: np.ndarray, h: Tensor, z: Tensor, dropout: bool) -> State:
        n, zeros = len(seeds), torch.zeros(len(seeds), dtype=torch.int64)
        return State(
            h=h.float().clone(),
            z=z.clone(),
            mask=self._masks(seeds, dropout),
            temperature=torch.ones(n),
            seed=torch.from_numpy(seeds.view(np.int64).copy()),
            step=zeros,
            age=zeros.clone(),
            start=zeros - 1,
            tally=torch.zeros(n, 2),
            cond=torch.zeros(n, len(self.config.conditions)),
        )

    def _conditions(self, asked: np.ndarray | None, own: np.ndarray) -> Tensor:
        """Conditions (n, c): what is asked for, and a start's own where that is NaN; ValueError outside 0..1."""
        found = own if asked is None else np.where(np.isnan(asked), own, asked)
        if not ((found >= 0) & (found <= 1)).all():
            raise ValueError(f"conditions {self.config.conditions} are numbers in 0..1")
        return torch.from_numpy(found.astype(np.float32))

    def _masks(self, seeds: np.ndarray, dropout: bool) -> Tensor:
        if not dropout or not self.config.dropout:
            return torch.ones(len(seeds), self.config.hidden)
        draws = uniform(seeds, Stream.MASK, np.zeros(len(seeds), np.int64), self.config.hidden)
        keep = 1 - self.config.dropout
        return torch.from_numpy((draws < keep) / keep).float()

    @property
    def dtype(self) -> torch.dtype:
        """The type that steps are computed in."""
        return self.fast.dtype


def _rows(x: np.ndarray) -> Tensor:
    x = np.asarray(x)
    return torch.from_numpy(np.ascontiguousarray(x.astype(np.float32) if x.dtype != np.float64 else x))


def _config(card: dict[str, Any], folder: Path) -> NetConfig:
    if card.get("format") != FORMAT:
        given = card.get("format")
        raise ValueError(f"{folder}/world.json has format {given!r}; gensim reads {FORMAT}: fit the world again")
    try:
        lists = {name: tuple(value) for name, value in card["net"].items() if isinstance(value, list)}
        config = NetConfig(**(card["net"] | lists))
        _measure(config)
    except (KeyError, TypeError, ValueError) as fault:
        text = f"{folder}/world.json does not describe a network ({line(fault)}); fit the world again"
        raise ValueError(text) from fault
    return config


def _measure(config: NetConfig) -> None:
    """ValueError if a network has sizes that are no sizes, before memory is taken for it."""
    sizes = [(f"widths[{i}]", width, 8192) for i, width in enumerate(config.widths)]
    sizes += [(name, getattr(config, name), most) for name, most in LARGEST.items()]
    for name, value, most in sizes:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{name} is a whole number from 1 to {most:,}")
    if config.width is not None and not (type(config.width) is int and 1 <= config.width <= LARGEST["size"]):
        raise ValueError(f"width is a whole number from 1 to {LARGEST['size']:,}")
    for name in NAMES:
        named = getattr(config, name)
        if not (type(named) is tuple and len(named) <= 255 and all(type(one) is str for one in named)):
            raise ValueError(f"{name} is a list of at most 255 names")
    for name in ("dropout", "unimix"):
        if type(value := getattr(config, name)) not in (int, float) or not 0 <= value < 1:
            raise ValueError(f"{name} is a number from 0 to below 1")
    if not (type(config.clock) is type(config.cells) is type(config.light) is bool):
        raise ValueError("clock, cells and light are true or false")
    if config.stages is not None and not (type(config.stages) is int and 2 <= config.stages <= config.groups):
        raise ValueError("stages is a whole number from 2 to groups, or null")
    if config.widths[-1] < 2 or sum(math.prod(shape) for shape in _shapes(config).values()) > WEIGHTS:
        raise ValueError(f"it has no weights, or more than {WEIGHTS:,}")


@lru_cache(maxsize=4)
def _shapes(config: NetConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's weights by name; no memory is taken for them."""
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in Net(config).state_dict().items()}


def _spec(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the world imitates; ValueError if it is not said, or does not fit the network."""
    spec, net = card.get("spec"), card["net"]
    try:
        if not isinstance(spec, dict) or shape_of(spec) != shape_of({"size": NetConfig.size} | net):
            raise ValueError("its frames are not those of the network")
        if ActionSpec.from_dict(spec["action"]).dim != net.get("actions", NetConfig.actions):
            raise ValueError("its actions are not those of the network")
        fps, skip = spec.get("fps", 30), spec.get("skip") or 1
        if not (type(fps) in (int, float) and fps > 0 and type(skip) is int and skip > 0):
            raise ValueError("fps is above 0, and skip a whole number from 1")
        if not isinstance(spec.get("env_id", ""), str):
            raise ValueError("env_id is a text")
        limits = spec.get("conditions") or {}
        if [*limits] != [*net.get("conditions", ())] or not all(_is_span(ends) for ends in limits.values()):
            raise ValueError("its conditions are not those of the network, each between two numbers")
        if net.get("labels") and spec.get("depth"):
            check_depth(spec["depth"])
        if not all(type(value) in (int, float) for value in (spec.get("calibrated") or {}).values()):
            raise ValueError("what calibrated it are numbers by name")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as fault:
        text = f"{folder}/world.json does not say what the world imitates ({line(fault)}); fit the world again"
        raise ValueError(text) from fault
    return spec


def _is_span(ends: Any) -> bool:
    """Whether these are two numbers, the smaller first."""
    return len(ends) == 2 and all(type(end) in (int, float) for end in ends) and ends[0] < ends[1] < math.inf


def _about(config: NetConfig, spec: dict[str, Any]) -> str:
    """What world.json says that must not change unseen, as it is kept beside the weights: all but the clock."""
    told = {name: value for name, value in json.loads(json.dumps(spec)).items() if name != "fit_seconds"}
    return json.dumps({"net": config.to_dict(), "spec": told}, sort_keys=True)


def _checked(folder: Path, name: str, card: dict[str, Any]) -> Path:
    files = card.get("files")
    if not isinstance(files, dict) or set(files) != set(FILES):
        raise ValueError(f"{folder}/world.json does not give the hashes of {' and '.join(FILES)} alone; copy it again")
    if not (folder / name).exists():
        raise FileNotFoundError(f"{folder / name} is missing; copy the whole world folder")
    path = inside(folder, name)
    if path.stat().st_size > 5 * WEIGHTS or sha256(path) != files[name]:
        raise ValueError(f"{path} is not the file that world.json was written for (its hash differs); copy it again")
    return path


def _finite(tensors: dict[str, Tensor], path: Path) -> None:
    """ValueError if weights are no numbers; trust may be infinite, where nothing was measured."""
    for name, tensor in tensors.items():
        bad = not tensor.is_floating_point() or tensor.isnan().any()
        if bad or (tensor.isinf().any() and not name.startswith("trust.")):
            raise ValueError(f"{path} holds {name} of {tensor.dtype} with what is no number; copy it again")


def _filled(config: NetConfig, tensors: dict[str, Tensor], path: Path) -> Net:
    expected, given = _shapes(config), {k: tuple(v.shape) for k, v in tensors.items()}
    if expected != given:
        odd = sorted(k for k in expected.keys() | given.keys() if expected.get(k) != given.get(k))
        raise ValueError(f"{path} does not fit the network in world.json: {odd[:3]} differ; fit the world again")
    net = Net.bare(config)
    net.load_state_dict({k: v.float() for k, v in tensors.items()})
    return net
