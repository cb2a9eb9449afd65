"""PPO in a dream: every step of experience is imagined, and a run that was killed goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage

from gensim.agents.agent import Agent, AgentConfig, blank_policy, fill, weights_of
from gensim.agents.filter import load
from gensim.agents.lessons import DreamLog, Lessons, make_rows
from gensim.agents.ppo_config import PPOConfig
from gensim.agents.reference import refer, world_folder
from gensim.core.checkpoint import moments, over, refill, under
from gensim.core.files import load_tensors, save_tensors
from gensim.core.progress import bar
from gensim.core.seeds import fold
from gensim.core.settings import differing
from gensim.envs.rollout import Rollout
from gensim.episodes.actions import ActionSpec
from gensim.world import World

CHECKPOINT = "learn/checkpoint.safetensors"
LOG = "learn/log"


def learn(world: World | str | Path, out: str | Path, config: PPOConfig, quiet: bool = True) -> Agent:
    """Learns an agent in a world (folder, id or loaded) and writes its folder; goes on where it was stopped.

    On one CPU kind and number of threads a run that was killed ends bit for bit as one that was not. The
    generators of torch and numpy are left as they were found. Raises ValueError when the folder holds a
    run with other settings.
    """
    folder = world.folder if isinstance(world, World) else world_folder(world)
    if folder is None:
        raise ValueError("the world has no folder that the agent could find it in: save it first")
    with _own_chances(config):
        run = Run(folder, Path(out), config)
        run.load()
        with bar(1000, "learn", quiet, unit="‰") as progress:
            run.go(progress)
        run.agent().save(out)
        return load(out, folder)


class Run:
    """A run of PPO: the dreams, stable-baselines3's model, and how far it has come.

    Arguments:
        world: the world's folder.
        out: the agent's folder.
        config: how it learns.
    """

    def __init__(self, world: Path, out: Path, config: PPOConfig) -> None:
        self.config, self.out, self.iteration, self.seconds = config.settled(world), out, 0, 0.0
        self.rows = make_rows(world, self.config)
        self.world = self.rows.dream.world
        self.lessons = Lessons(self.rows, config)
        stacks = config.observation == "frames" and config.stack > 1
        self.stack = VecFrameStack(self.lessons, config.stack, "last") if stacks else None
        self.card = self._card()
        torch.manual_seed(config.seed)
        self.model = self._model()
        if config.init is not None:
            self._warm(config.init)
        self.model.set_logger(configure(str(out / LOG), ["tensorboard"]))
        _, self.callback = self.model._setup_learn(1, DreamLog())

    @property
    def steps(self) -> int:
        """World steps dreamed so far."""
        return self.model.num_timesteps * self.config.repeat

    @property
    def share(self) -> float:
        """How much of the budget is spent."""
        return self.config.share(self.steps, self.seconds)

    def go(self, progress: Any) -> None:
        """Learns until the budget is spent, with a checkpoint now and then and one at the end."""
        saved = last = time.monotonic()
        while self.share < 1:
            self.iterate()
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            _show(progress, self)
            if now - saved >= self.config.save_every:
                self.save()
                saved = now
        self.save()

    def iterate(self) -> None:
        """Dreams `n_steps` decisions a row and learns from them."""
        self._seed()
        model = self.model
        model._current_progress_remaining = 1 - self.share
        assert model.env is not None
        model.collect_rollouts(model.env, self.callback, model.rollout_buffer, self.config.n_steps)
        self.iteration += 1
        self.model.dump_logs(self.iteration)
        model.train()

    def agent(self) -> Agent:
        """The agent as it is now."""
        learning = {**json.loads(self.config.identity(self.world.hash)), "init": str(self.config.init or "")}
        learning |= {"steps": self.steps, "seconds": round(self.seconds)}
        learning |= {"dreamed_return": _mean_return(self.model)}
        card = replace(self.card, learning=learning)
        return Agent(card, fill(blank_policy(card), weights_of(self.model.policy), "the policy"))

    # ---------------------------------------------------------------- stopping and going on

    def save(self) -> None:
        """Writes the checkpoint, all or nothing."""
        meta = {
            "identity": self.config.identity(self.world.hash),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "timesteps": self.model.num_timesteps,
            "updates": self.model._n_updates,
            "episodes": [{"r": e["r"], "l": e["l"], "t": e["t"]} for e in self.model.ep_info_buffer or ()],
        }
        tensors = {
            **over("policy.", weights_of(self.model.policy)),
            **over("adam.", moments(self.model.policy.optimizer)),
            **over("dream.", {name: torch.from_numpy(value) for name, value in self._arrays().items()}),
        }
        save_tensors(self.out / CHECKPOINT, tensors, {"run": json.dumps(meta)})

    def load(self) -> bool:
        """Goes on from the folder's checkpoint if there is one; ValueError if that is another run's."""
        path = self.out / CHECKPOINT
        if not path.exists():
            if (self.out / "agent.json").exists():
                raise ValueError(f"{self.out} holds an agent, and no run to go on with: choose another folder")
            return False
        tensors, texts = load_tensors(path)
        meta = json.loads(texts.get("run", "{}"))
        self._check(path, meta)
        fill(self.model.policy, under("policy.", tensors), str(path))
        refill(self.model.policy.optimizer, under("adam.", tensors))
        self._take({name: tensor.numpy() for name, tensor in under("dream.", tensors).items()})
        self.iteration, self.seconds = meta["iteration"], meta["seconds"]
        self.model.num_timesteps, self.model._n_updates = meta["timesteps"], meta["updates"]
        self.model.ep_info_buffer.extend(meta["episodes"])  # type: ignore[union-attr]
        return True

    def _check(self, path: Path, meta: dict[str, Any]) -> None:
        differ = differing(json.loads(meta.get("identity", "{}")), json.loads(self.config.identity(self.world.hash)))
        if differ:
            raise ValueError(f"{path} belongs to a run with {differ}: give the same to go on, or another --out")

    def _arrays(self) -> dict[str, np.ndarray]:
        """Where every dream is."""
        arrays = self.rows.dream.now.arrays()
        spread = self.lessons.spread
        arrays["spread"] = np.array([spread.mean, spread.var, spread.count])
        arrays["scaled"] = self.lessons.returns
        arrays |= {"lengths": self.rows.lengths, "starts": np.asarray(self.model._last_episode_starts)}
        if self.stack is not None:
            arrays["stack"] = self.stack.stacked_obs.stacked_obs
        return {name: np.ascontiguousarray(value) for name, value in arrays.items()}

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        """The reverse of `_arrays`."""
        self.rows.dream.restore(Rollout.of(self.world.hash, arrays))
        spread = self.lessons.spread
        spread.mean, spread.var, spread.count = (np.float64(value) for value in arrays["spread"])
        self.lessons.returns, self.rows.lengths = arrays["scaled"], arrays["lengths"]
        if self.stack is not None:
            self.stack.stacked_obs.stacked_obs = arrays["stack"]
        self.model._last_obs, self.model._last_episode_starts = self._seen(), arrays["starts"]

    def _seen(self) -> np.ndarray:
        """What every row shows, in the memory layout that stable-baselines3 would have it in."""
        obs = self.rows.dream.observe() if self.stack is None else self.stack.stacked_obs.stacked_obs
        env = self.model.env
        return env.transpose_observations(obs) if isinstance(env, VecTransposeImage) else obs  # type: ignore[return-value]

    # ---------------------------------------------------------------- making

    def _card(self) -> AgentConfig:
        config, spec = self.config, self.world.spec
        (h, w), stack = self.world.config.shape, config.stack if config.observation == "frames" else 1
        return AgentConfig(
            observation=config.observation,
            shape=(self.world.latent_dim,) if config.observation == "latents" else (h, w, 3 * stack),
            action=ActionSpec.from_dict(spec["action"]),
            stack=stack,
            repeat=config.repeat,
            skip=spec.get("skip"),
            deterministic=config.deterministic,
            net=config.net,
            log_std=config.log_std,
            world=refer(self.world, self.out),
        )

    def _model(self) -> PPO:
        config = self.config
        return PPO(
            self.card.policy_class,
            self.stack or self.lessons,
            learning_rate=lambda remaining: config.lr * remaining,
            n_steps=config.n_steps,
            batch_size=config.batch,
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae,
            clip_range=config.clip,
            ent_coef=config.entropy,
            target_kl=config.target_kl,
            policy_kwargs=self.card.policy_kwargs,
            device="cpu" if config.observation == "latents" else "auto",
        )

    def _warm(self, folder: Path) -> None:
        """Takes up another agent's weights, its noise included."""
        other = Agent.load(folder)
        fill(self.model.policy, weights_of(other.policy), str(folder))

    def _seed(self) -> None:
        """Every iteration has chances of its own, so that no generator's state need be kept."""
        key = int(fold(np.array([self.config.seed], np.uint64), self.iteration)[0])
        torch.manual_seed(key >> 1)
        np.random.seed(key & 0xFFFFFFFF)


@contextmanager
def _own_chances(config: PPOConfig) -> Iterator[None]:
    """Puts torch's and numpy's generators and torch's threads back when done."""
    before, threads = np.random.get_state(), torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(before)
        torch.set_num_threads(threads)


def _show(progress: Any, run: Run) -> None:
    progress.update(int(1000 * run.share) - progress.n)
    progress.set_postfix(steps=f"{run.steps:,}", dreamed=_mean_return(run.model))


def _mean_return(model: PPO) -> float | None:
    """The mean return of the last dreams, undiscounted and unscaled."""
    returns = [episode["r"] for episode in model.ep_info_buffer or ()]
    return round(float(np.mean(returns)), 2) if returns else None
