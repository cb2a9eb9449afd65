"""How an agent learns in a dream."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from gensim.core.files import sha256

STEPS = 1_500_000
WILD = 1.3  # temperature of lessons: what was learned in wilder dreams holds best (scripts/ablation)
_FREE = ("steps", "minutes", "threads", "save_every", "init")  # may change when a run goes on


@dataclass(frozen=True)
class PPOConfig:
    """How an agent learns in a dream."""

    steps: int | None = None
    """World steps to dream in all, over all rows; 1,500,000 where no minutes are given."""
    minutes: float | None = None
    """Stop after so many minutes of learning, all runs of this folder counted."""
    init: Path | None = None
    """Agent folder whose weights to start from."""
    observation: Literal["latents", "frames"] = "latents"
    """What the agent sees: the world's latent state, or decoded frames."""
    stack: int = 4
    """Frames seen together, one a decision (of an agent that sees frames)."""
    repeat: int = 1
    """World steps for which a decision is held, in the dream and in the simulator."""
    deterministic: bool = False
    """Whether the finished agent takes its likeliest action, not a drawn one."""
    rows: int = 128
    """Dreams side by side."""
    n_steps: int = 32
    """Decisions a row between updates."""
    batch: int = 512
    """Decisions in a minibatch."""
    epochs: int = 4
    """Passes over each update's decisions."""
    lr: float = 3e-4
    """Learning rate at the beginning; it falls in a straight line to zero."""
    gamma: float = 0.99
    """Discount a decision."""
    gae: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip: float = 0.2
    """Range in which the ratio of probabilities counts."""
    entropy: float = 0.003
    """Weight of the policy's entropy."""
    target_kl: float | None = 0.03
    """An update stops when the policy has moved 1.5 times this far (nats)."""
    net: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers, of policy and value alike."""
    log_std: float = -0.7
    """Initial logarithm of the action noise; with --init the noise is the other agent's."""
    reward_scale: float | None = None
    """Factor on rewards while learning; None divides by the running spread of discounted returns."""
    horizon: int = 100
    """World steps after which a dream is cut; the value of what was to come still counts."""
    start_mix: float = 0.5
    """Share of dreams that start in the middle of a recorded episode, not at its beginning."""
    temperature: float | None = None
    """Of the latents' law; above 1 dreams wilder than the data. None takes 1.3, or 1 in a world whose law its fit made
    as hot as the recordings bear out."""
    dropout: bool = True
    """Whether each dream holds a dropout mask of its own, so that no one error can be relied on."""
    trust_floor: float = 0.05
    """A dream is cut when the running average of its trust falls below; 0 never does."""
    save_every: float = 60.0
    """Seconds between checkpoints."""
    seed: int = 0
    """Of the weights, the dreams and the agent's own chances."""
    threads: int | None = None
    """Threads of torch; None leaves that to torch."""

    def __post_init__(self) -> None:
        sizes = (self.rows, self.n_steps, self.batch, self.epochs, self.repeat, self.stack, self.threads or 1)
        if min(sizes) < 1 or self.batch < 2 or (self.rows * self.n_steps) % self.batch:
            raise ValueError(
                f"rows * n_steps = {self.rows * self.n_steps} decisions must be a multiple of "
                f"batch = {self.batch} >= 2, and all sizes at least 1"
            )
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise ValueError(f"steps={self.steps}, minutes={self.minutes}: give positive numbers")

    def settled(self, world: Path) -> PPOConfig:
        """The same with the temperature that suits a world's folder, where none was given."""
        if self.temperature is not None:
            return self
        from gensim.world import World

        return replace(self, temperature=1.0 if World.load(world).spec.get("calibrated") else WILD)

    def share(self, steps: int, seconds: float) -> float:
        """How much of the budget is spent, in 0..1."""
        goal = self.steps or (None if self.minutes else STEPS)
        spent = [steps / goal] if goal else []
        spent += [seconds / (60 * self.minutes)] if self.minutes else []
        return min(1.0, max(spent))

    def identity(self, world: str) -> str:
        """What must be equal for a run to go on, as JSON."""
        kept = {key: value for key, value in asdict(self).items() if key not in _FREE}
        init = None if self.init is None else sha256(self.init / "policy.safetensors")
        return json.dumps({**kept, "world": world, "init_weights": init}, sort_keys=True)
