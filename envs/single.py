"""One dream as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from gensim.envs.engine import Dream, DreamConfig
from gensim.envs.rollout import Rollout
from gensim.envs.window import Window

if TYPE_CHECKING:
    from gensim.envs.vector import DreamVectorEnv


class DreamEnv(gym.Env[np.ndarray, Any]):
    """A learned world, dreamed one step at a time.

    ## Description
    A world model takes the simulator's place: each step draws the next latent from its exact law given all
    latents and actions so far, and decodes it. Equal weights, seed and actions give equal bytes.

    ## Action Space
    The world's: `Box(-1, 1, (k,), float32)` or `Discrete(n)`. A driver's are (steer, pedal): pedal > 0 is
    gas, < 0 brake, so that zero is coasting.

    ## Observation Space
    `observation="frames"`: `Box(0, 255, (h, w, 3), uint8)`. `observation="latents"`: `Box(-inf, inf,
    (latent_dim,), float32)`, the world's memory and its latent, and nothing is decoded.

    ## Rewards
    The expected reward of the step, in the simulator's own units.

    ## Starting State
    Where real episodes begin. `reset(options=...)` takes `start` ("real", "mid" or the index of a start),
    `temperature`, `dropout`, or `snapshot` alone; with a seed, a snapshot has another future. Worlds with weather take
    `weather` (strengths in 0..1 by name), worlds with conditions each of them by its name.

    ## Episode End
    Terminated as the world's termination head draws it. Truncated after `horizon` steps, or when the running
    average of trust falls below `trust_floor`; `info["truncation_reason"]` says which (`Reason`). The clock
    is part of the state, so there is no TimeLimit beside it.

    ## Info
    Always: `log_prob` (nats, under the reference law), `log_q` (nats, as sampled), `trust` in [0, 1],
    `is_success` (the return reached the reward threshold), `elapsed`, `truncation_reason`. With `labels=True`, in
    worlds that have them: `classes` and `depth` of every pixel, what the state tells by name, `end_probs`.

    ## Arguments
    `world` (a folder, or "gensim:NAME"), `observation`, `horizon`, `temperature`, `dropout`, `trust_floor`,
    `start_mix`, `labels`, `weather` and `render_mode`; see `DreamConfig`.

    ## Version History
    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 25}  # noqa: RUF012  as gymnasium has it

    def __init__(
        self,
        world: str | None = None,
        observation: str = "frames",
        horizon: int | None = None,
        temperature: float = 1.0,
        dropout: bool = False,
        trust_floor: float = DreamConfig.trust_floor,
        start_mix: float = 0.0,
        labels: bool = False,
        weather: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        config = DreamConfig(world, observation, horizon, temperature, dropout, trust_floor, start_mix, labels, weather)
        self.dream = Dream(config, 1)
        self.observation_space = self.dream.observation_space
        self.action_space = self.dream.controls.space
        self.metadata = dict(self.metadata) | {"render_fps": self.dream.render_fps}
        self.render_mode = checked_mode(render_mode)
        self._window = Window("gensim", self.dream.fps)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Opens an episode; without a seed the next one in the chain that the last seed began."""
        super().reset(seed=seed)
        self.dream.reset(seed, entropy_of(self) if self.dream.rollout is None else 0, options)
        return self._seen()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; ValueError for an action outside the space, ResetNeeded after the episode's end."""
        if self.dream.now.done[0]:
            raise ResetNeeded("the episode has ended: call reset() before the next step()")
        out = self.dream.step(self.dream.controls.read(np.asarray(action)[None], 1))
        obs, info = self._seen(out)
        return obs, float(out.rew[0]), bool(out.term[0]), bool(out.trunc[0]), info

    def render(self) -> np.ndarray | None:
        """The frame uint8 (h, w, 3), or None where it is shown in a window."""
        if self.render_mode == "rgb_array":
            return self.dream.frames()[0]
        if self.render_mode == "human":
            self._window.show(self.dream.frames()[0])
        return None

    def close(self) -> None:
        """Closes the window; the environment can be reset again."""
        self._window.close()

    def snapshot(self) -> Rollout:
        """This moment: to be restored here, or anywhere the same world is, by `restore` or `reset`."""
        return self.dream.snapshot()

    def restore(self, snapshot: Rollout) -> tuple[np.ndarray, dict[str, Any]]:
        """Takes up a moment, bit for bit, and returns what `reset` would."""
        self.dream.restore(snapshot)
        return self._seen()

    def branch(self, n: int) -> DreamVectorEnv:
        """n different futures of this moment, as a vector environment that is ready to be stepped."""
        from gensim.envs.vector import DreamVectorEnv

        return DreamVectorEnv.of(self.dream.config, self.dream.now.branch(n), self.render_mode)

    def get_keys_to_action(self) -> dict[str, Any]:
        """Keys and their actions, for `gymnasium.utils.play.play`."""
        return self.dream.controls.keys_to_action()

    def _seen(self, outcome: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        if self.render_mode == "human":
            self.render()
        told = self.dream.info(outcome).items()
        info = {key: values[0].item() if values.ndim == 1 else values[0] for key, values in told}
        return self.dream.observe()[0], info


def checked_mode(render_mode: str | None) -> str | None:
    """The render mode; ValueError if there is no such."""
    modes = DreamEnv.metadata["render_modes"]
    if render_mode is not None and render_mode not in modes:
        raise ValueError(f"render_mode={render_mode!r}: give one of {modes}, or None")
    return render_mode


def entropy_of(env: Any) -> int:
    """The seed of an environment that was given none: its generator's own, or one drawn from it."""
    seed, draw = env.np_random_seed, env.np_random.integers
    return int(draw(2**63)) if seed in (None, -1) else int(seed)
