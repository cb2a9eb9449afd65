"""The dreams that an agent learns in: their rewards as PPO wants them, and what is logged of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from gensim.agents.ppo_config import PPOConfig
from gensim.envs.engine import Reason
from gensim.envs.sb3 import DreamVecEnv
from gensim.envs.vector import DreamVectorEnv


def make_rows(world: Path, config: PPOConfig) -> DreamVecEnv:
    """The dreams that an agent learns in."""
    config = config.settled(world)
    assert config.temperature is not None
    env = DreamVectorEnv(
        num_envs=config.rows,
        world=str(world),
        observation=config.observation,
        horizon=config.horizon,
        temperature=config.temperature,
        dropout=config.dropout,
        trust_floor=config.trust_floor,
        start_mix=config.start_mix,
    )
    rows = DreamVecEnv(env, config.repeat)
    rows.seed(config.seed * config.rows)
    return rows


class Lessons(VecEnvWrapper):
    """Rewards as PPO wants them: in units of the spread of discounted returns.

    Reference: Implementation Matters in Deep Policy Gradients (Engstrom et al., 2020), arXiv:2005.12729.
    """

    def __init__(self, venv: VecEnv, config: PPOConfig) -> None:
        super().__init__(venv)
        self.config, self.spread = config, RunningMeanStd(shape=())
        self.returns = np.zeros(self.num_envs)

    def reset(self) -> Any:
        """Opens every row."""
        self.returns[:] = 0
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """One decision of every row; rewards float32 (n,)."""
        obs, rew, done, infos = self.venv.step_wait()
        if self.config.reward_scale is None:
            self.returns = self.returns * self.config.gamma + rew
            self.spread.update(self.returns)
            self.returns[done] = 0
        return obs, self._scaled(rew).astype(np.float32), done, infos

    def _scaled(self, rew: np.ndarray) -> np.ndarray:
        if self.config.reward_scale is not None:
            return rew * self.config.reward_scale
        return np.clip(rew / np.sqrt(self.spread.var + 1e-8), -10, 10)  # the first spreads are guesses


class DreamLog(BaseCallback):
    """Adds to the log what tells learning from exploiting: trust, and why dreams end."""

    def _on_rollout_start(self) -> None:
        self.trust: list[float] = []
        self.ends = np.zeros(len(Reason), np.int64)  # those without a reason to truncate terminated

    def _on_step(self) -> bool:
        infos, done = self.locals["infos"], self.locals["dones"]
        self.trust.append(float(np.mean([info["trust"] for info in infos])))
        for i in np.flatnonzero(done):
            self.ends[infos[i]["truncation_reason"]] += 1
        return True

    def _on_rollout_end(self) -> None:
        ended = max(1, int(self.ends.sum()))
        self.logger.record("dream/trust", float(np.mean(self.trust)))
        self.logger.record("dream/ends_terminated", self.ends[Reason.NONE] / ended)
        self.logger.record("dream/ends_horizon", self.ends[Reason.HORIZON] / ended)
        self.logger.record("dream/ends_trust", self.ends[Reason.TRUST] / ended)
