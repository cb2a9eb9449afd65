"""An agent in a folder: a policy's weights, what it sees, how often it decides; nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from torch import nn

from gensim.agents.reference import WorldRef
from gensim.core.files import inside, line, load_tensors, read_json, save_tensors, sha256, write_json
from gensim.core.seeds import Stream, uniform
from gensim.episodes.actions import ActionSpec

if TYPE_CHECKING:
    from gensim.world import World

FORMAT = 1
LARGEST = 1_000_000_000  # bytes of a policy
TILE = 16  # rows of one pass: of one shape, so that an agent acts alike in any batch


@dataclass(frozen=True)
class AgentConfig:
    """What agent.json says of an agent."""

    observation: Literal["latents", "frames"]
    """What it sees: a world's latent state (d,), or frames (h, w, 3)."""
    shape: tuple[int, ...]
    """Shape of one sight: (d,) latents, or (h, w, 3 * stack) frames, the newest last."""
    action: ActionSpec
    """What it may do."""
    stack: int = 1
    """Frames seen together, one a decision."""
    repeat: int = 1
    """World steps for which a decision is held."""
    skip: int | None = None
    """Simulator frames of a world step; None takes what the imitating world says."""
    deterministic: bool = False
    """Whether it takes its likeliest action, unless asked otherwise."""
    net: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of policy and value, which share none."""
    log_std: float = -0.5
    """Initial logarithm of the action noise."""
    world: WorldRef | None = None
    """The world it learned in; an agent on latents acts through it."""
    learning: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: settings, steps, seconds."""

    def __post_init__(self) -> None:
        sizes = (self.stack, self.repeat, *self.net, *self.shape)
        if self.observation not in ("latents", "frames") or min(sizes) < 1:
            raise ValueError(f"an agent sees latents or frames, in sizes of at least 1: not {self}")
        if len(self.shape) != (1 if self.observation == "latents" else 3):
            raise ValueError(f"{self.observation} are seen as (d,) or (h, w, 3 * stack), not {self.shape}")

    @property
    def sight(self) -> spaces.Box:
        """What the policy takes: float32 (d,), or uint8 (3 * stack, h, w) in 0..255."""
        if self.observation == "latents":
            return spaces.Box(-np.inf, np.inf, self.shape, np.float32)
        h, w, c = self.shape
        return spaces.Box(0, 255, (c, h, w), np.uint8)

    @property
    def policy_class(self) -> type[ActorCriticPolicy]:
        """stable-baselines3's policy over latents or over frames."""
        return ActorCriticPolicy if self.observation == "latents" else ActorCriticCnnPolicy

    @property
    def policy_kwargs(self) -> dict[str, Any]:
        """What stable-baselines3's policy is made with."""
        layers = list(self.net)
        return {
            "net_arch": {"pi": layers, "vf": layers},
            "activation_fn": nn.Tanh,
            "log_std_init": self.log_std,
        }

    def to_dict(self) -> dict[str, Any]:
        """These settings as JSON."""
        return json.loads(json.dumps({**asdict(self), "action": self.action.to_dict()}))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> AgentConfig:
        """The reverse of `to_dict`; ValueError on unknown, missing or impossible settings."""
        unknown = sorted(set(value) - {item.name for item in fields(cls)})
        if unknown:
            raise ValueError(
                f"unknown settings {' '.join(', '.join(unknown).split())}: it is of another gensim, or no agent"
            )
        try:
            world = value.get("world")
            found = {
                "shape": tuple(value["shape"]),
                "action": ActionSpec.from_dict(value["action"]),
                "net": tuple(value["net"]),
                "world": None if world is None else WorldRef(**world),
            }
            config = cls(**{**value, **found})
            config._check_kinds()
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"settings are missing or of the wrong kind ({line(error)})") from error
        return config

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights that say how large a policy is, by name."""
        sizes, shapes = [self.shape[0], *self.net], dict[str, tuple[int, ...]]()
        if self.observation == "frames":
            h, w, c = self.shape
            far = [((side - 4) // 4 - 2) // 2 - 2 for side in (h, w)]  # what three convolutions leave of a side
            shapes["features_extractor.cnn.0.weight"] = (32, c, 8, 8)
            shapes["features_extractor.linear.0.weight"] = (512, 64 * far[0] * far[1])
            sizes[0] = 512
        for i, pair in enumerate(zip(sizes[1:], sizes)):
            shapes |= {f"mlp_extractor.{tower}_net.{2 * i}.weight": pair for tower in ("policy", "value")}
        return shapes | {"action_net.weight": (self.action.size, sizes[-1])}

    @property
    def settings(self) -> str:
        """How the agent acts, as JSON: all but its past."""
        told = {name: value for name, value in self.to_dict().items() if name not in ("learning", "world")}
        return json.dumps(told, sort_keys=True)

    def _check_kinds(self) -> None:
        """TypeError for settings of the wrong kind, which JSON may hold."""
        skip, world = 1 if self.skip is None else self.skip, self.world or WorldRef("")
        whole = (self.stack, self.repeat, skip, *self.net, *self.shape, world.real_frames)
        texts = [world.hash, *(text for text in (world.id, world.folder) if text is not None)]
        if any(type(value) is not int for value in whole) or skip < 1 or len(self.net) > 64:
            raise TypeError("sizes, stack, repeat, skip and real_frames are whole numbers")
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise TypeError("the world is given by plain texts")
        if type(self.log_std) not in (int, float) or type(self.deterministic) is not bool:
            raise TypeError("log_std is a number, deterministic true or false")
        if not isinstance(self.learning, Mapping) or (len(self.shape) == 3 and self.shape[2] != 3 * self.stack):
            raise TypeError("learning is an object, and frames have 3 colours each")


@dataclass
class Memory:
    """What an agent carries from step to step, a row an episode.

    Arguments:
        seeds: uint64 (n,), the key of each row's own randomness.
        clock: int64 (n,), world steps since the row's episode began.
        held: the action that each row holds, float32 (n, k) or int64 (n,).
        frames: uint8 (n, h, w, 3 * stack), for agents that see frames.
    """

    seeds: np.ndarray
    clock: np.ndarray
    held: np.ndarray
    frames: np.ndarray | None


class Agent:
    """A policy that acts on a world's latents or on frames, `repeat` world steps at a time."""

    def __init__(self, config: AgentConfig, policy: ActorCriticPolicy, folder: Path | None = None) -> None:
        self.config, self.policy, self.folder = config, policy.eval(), folder
        self.world: World | None = None
        self.reset(1)

    @classmethod
    def new(cls, config: AgentConfig) -> Agent:
        """An agent that has learned nothing; its weights come from torch's global generator."""
        return cls(config, build_policy(config))

    @classmethod
    def load(cls, folder: str | Path) -> Agent:
        """The agent in a folder, without its world; ValueError when weights or settings are not its own."""
        folder = Path(folder)
        card = read_json(inside(folder, "agent.json"))
        if card.pop("format", None) != FORMAT:
            raise ValueError(f"{folder}/agent.json is no agent of format {FORMAT}: make it with `gensim learn`")
        claimed = card.pop("weights", None)
        try:
            config = AgentConfig.from_dict(card)
        except ValueError as error:
            raise ValueError(f"{folder}/agent.json: {error}") from error
        weights = inside(folder, "policy.safetensors")
        if weights.stat().st_size > LARGEST or sha256(weights) != claimed:
            raise ValueError(f"{weights} is not the file that agent.json was written for: restore both")
        tensors, meta = load_tensors(weights)
        _fits(config, tensors, str(weights))
        if meta.get("settings", config.settings) != config.settings:
            raise ValueError(f"{folder}/agent.json is not what {weights.name} was written with: restore both")
        return cls(config, fill(blank_policy(config), tensors, str(weights)), folder)

    def save(self, folder: str | Path) -> None:
        """Writes agent.json and policy.safetensors, each atomically."""
        folder = Path(folder)
        weights = folder / "policy.safetensors"
        save_tensors(weights, weights_of(self.policy), {"settings": self.config.settings})
        card = {"format": FORMAT, **self.config.to_dict(), "weights": sha256(weights)}
        write_json(folder / "agent.json", card)
        self.folder = folder

    def reset(self, n: int, seeds: np.ndarray | None = None) -> None:
        """Begins n episodes; a row's own randomness depends on its seed (its number by default) alone."""
        keys = np.arange(n) if seeds is None else np.asarray(seeds)
        action, sight = self.config.action, None
        held = np.zeros((n, action.size), np.float32) if action.type == "box" else np.zeros(n, np.int64)
        if self.config.observation == "frames":
            sight = np.zeros((n, *self.config.shape), np.uint8)
        self.memory = Memory(keys.astype(np.uint64), np.zeros(n, np.int64), held, sight)

    def act(self, obs: np.ndarray, deterministic: bool | None = None) -> np.ndarray:
        """The action (n, k) float32 in -1..1, or (n,) int64, of each row; call it once every world step.

        Arguments:
            obs: latents (n, d) float32 or frames (n, h, w, 3) uint8, as the config says.
            deterministic: the likeliest action, not a drawn one; None takes the agent's own habit.
        """
        memory, calm = self.memory, self.config.deterministic if deterministic is None else deterministic
        rows = np.flatnonzero(memory.clock % self.config.repeat == 0)
        if len(rows):
            sight = self._look(self._checked(obs), rows)
            decision = memory.clock[rows] // self.config.repeat
            memory.held[rows] = self._decide(sight, memory.seeds[rows], decision, calm)
        memory.clock += 1
        return memory.held.copy()

    def _checked(self, obs: np.ndarray) -> np.ndarray:
        obs = np.asarray(obs)
        one = self.config.shape if self.config.observation == "latents" else (*self.config.shape[:2], 3)
        if obs.shape != (len(self.memory.clock), *one):
            expected = (len(self.memory.clock), *one)
            raise ValueError(f"the agent sees {self.config.observation} {expected}, not {obs.shape}")
        return obs

    def _look(self, obs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What the policy takes: latents as they are, or the last `stack` frames, channels first."""
        frames = self.memory.frames
        if frames is None:
            return obs[rows].astype(np.float32, copy=False)
        frames[rows] = np.concatenate([frames[rows][..., 3:], obs[rows]], -1)  # (m, h, w, 3 stack)
        return frames[rows].transpose(0, 3, 1, 2)  # (m, 3 stack, h, w)

    def _decide(self, sight: np.ndarray, seeds: np.ndarray, step: np.ndarray, calm: bool) -> np.ndarray:
        tiles = [self._tile(sight[i : i + TILE]) for i in range(0, len(sight), TILE)]
        first, second = (np.concatenate(part) for part in zip(*tiles))
        if self.config.action.type == "box":
            return _gaussian(first, second, seeds, step, calm)
        return _categorical(first, seeds, step, calm)

    @torch.no_grad()
    def _tile(self, sight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (m, k) of up to TILE rows' actions, or their probabilities (m, n) twice."""
        padded = np.zeros((TILE, *sight.shape[1:]), sight.dtype)
        padded[: len(sight)] = sight
        law: Any = self.policy.get_distribution(torch.from_numpy(padded)).distribution
        pair = (law.mean, law.stddev) if self.config.action.type == "box" else (law.probs, law.probs)
        first, second = (part.numpy()[: len(sight)].astype(np.float64) for part in pair)
        return first, second

    def to_sb3(self, path: str | Path) -> None:
        """Writes a stable-baselines3 zip, which `PPO.load(path)` opens without gensim."""
        model = _shell(self.config)
        fill(model.policy, weights_of(self.policy), "the agent")
        model.save(path)

    @classmethod
    def from_sb3(
        cls,
        path: str | Path,
        repeat: int = 1,
        deterministic: bool = False,
        world: WorldRef | None = None,
    ) -> Agent:
        """The agent in a stable-baselines3 PPO zip; ValueError when its policy is of another kind.

        Such a zip holds pickles, which can run any program: open only your own.
        """
        model = PPO.load(path, device="cpu")
        config = _config_of(model, repeat, deterministic, world)
        return cls(config, fill(blank_policy(config), weights_of(model.policy), str(path)))


def build_policy(config: AgentConfig) -> ActorCriticPolicy:
    """A fresh stable-baselines3 policy of an agent's shape."""
    return config.policy_class(config.sight, config.action.space, lambda _: 0.0, **config.policy_kwargs)


def blank_policy(config: AgentConfig) -> ActorCriticPolicy:
    """A policy to be filled; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return build_policy(config)


def weights_of(policy: ActorCriticPolicy) -> dict[str, torch.Tensor]:
    """A policy's weights on the CPU by name, each once where policy and value share it."""
    return {name: weight.detach().cpu().clone() for name, weight in policy.named_parameters()}


def _fits(config: AgentConfig, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """ValueError unless weights are numbers and of the sizes in a config, before memory is taken for a policy."""
    for name, shape in sorted(config.weights.items()):
        if name not in tensors or tuple(tensors[name].shape) != shape:
            raise ValueError(f"{source} does not fit: {name} is {_kind(tensors.get(name))}, not float32 {shape}")
    for name, tensor in tensors.items():
        if tensor.is_complex() or not torch.isfinite(tensor.float()).all():
            raise ValueError(f"{source} holds {name} with what is no number: restore it")


def fill(policy: ActorCriticPolicy, tensors: Mapping[str, torch.Tensor], source: str) -> ActorCriticPolicy:
    """Puts weights into a policy; ValueError naming the first that is missing, unknown or misshapen."""
    own = dict(policy.named_parameters())
    for name in sorted({*own, *tensors}):
        want, got = own.get(name), tensors.get(name)
        if want is None or got is None or want.shape != got.shape or want.dtype != got.dtype:
            raise ValueError(f"{source} does not fit: {name} is {_kind(got)}, not {_kind(want)}")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(tensors[name])
    return policy


def _kind(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _gaussian(mean: np.ndarray, std: np.ndarray, seeds: np.ndarray, step: np.ndarray, calm: bool) -> np.ndarray:
    """Actions (m, k) float32, clipped to -1..1, from their means and deviations (m, k)."""
    if not calm:
        draws = torch.from_numpy(uniform(seeds, Stream.ACTION, step, mean.shape[1]))
        mean = mean + std * torch.special.ndtri(draws).numpy()
    return np.clip(mean, -1.0, 1.0).astype(np.float32)


def _categorical(probs: np.ndarray, seeds: np.ndarray, step: np.ndarray, calm: bool) -> np.ndarray:
    """Choices (m,) int64 from probabilities (m, n)."""
    if calm:
        return probs.argmax(-1)
    draws = uniform(seeds, Stream.ACTION, step, 1)  # (m, 1)
    return (np.cumsum(probs, -1)[:, :-1] < draws).sum(-1)


def _shell(config: AgentConfig) -> PPO:
    """A stable-baselines3 PPO of an agent's shape without an environment."""
    model = PPO(config.policy_class, None, n_steps=2, device="cpu", _init_setup_model=False)  # type: ignore[arg-type]
    model.policy_kwargs = config.policy_kwargs
    model.observation_space, model.action_space, model.n_envs = config.sight, config.action.space, 1
    model._setup_model()
    return model


def _config_of(model: PPO, repeat: int, deterministic: bool, world: WorldRef | None) -> AgentConfig:
    """The settings of an agent that fits a PPO's policy; `fill` then checks every weight."""
    shape = tuple(model.observation_space.shape or ())
    net = model.policy.net_arch
    layers = net.get("pi", []) if isinstance(net, dict) else net
    frames = len(shape) == 3
    if type(model.policy) not in (ActorCriticPolicy, ActorCriticCnnPolicy) or not layers:
        kind = type(model.policy).__name__
        raise ValueError(f"the policy is a {kind} with layers {net}: only MlpPolicy and CnnPolicy with layers fit")
    if model.policy.activation_fn is not nn.Tanh or model.use_sde:
        raise ValueError("only policies with tanh layers and without state-dependent noise can be imported")
    config = AgentConfig(
        observation="frames" if frames else "latents",
        shape=(shape[1], shape[2], shape[0]) if frames else shape,
        action=ActionSpec.of(model.action_space),
        stack=shape[0] // 3 if frames else 1,
        repeat=repeat,
        deterministic=deterministic,
        net=tuple(layers),
        world=world,
    )
    return replace(config, learning={"imported": "a stable-baselines3 zip"})
