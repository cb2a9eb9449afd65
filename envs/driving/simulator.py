"""MetaDrive as a Gymnasium environment, from another process with a Python of its own.

The last MetaDrive with its assets inside wants packages that gensim cannot have beside it. It lives in an environment
of its own, which `scripts/setup_metadrive` makes; here is its front door.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gensim.envs.driving import CONDITIONS, FPS, HEIGHT, WIDTH
from gensim.envs.driving.source.labels import KINDS
from gensim.envs.driving.source.manners import MANNERS
from gensim.envs.driving.source.wire import receive, send

SERVER = Path(__file__).parent / "source" / "serve.py"
RIGHT = np.array([-1, 1], np.float32)  # MetaDrive counts steering to the left
HOME = "GENSIM_METADRIVE"  # the variable that says where its environment lies, if elsewhere


def home() -> Path:
    """The folder of MetaDrive's own environment, whether it is there or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(HOME) or cache / "gensim" / "metadrive")


class MetaDrive(gym.Env[np.ndarray, np.ndarray]):
    """MetaDrive's street through the windscreen.

    ## Description
    Maps of four blocks, traffic, obstacles and their physics are MetaDrive's (Li et al., 2022, arXiv:2109.12674).
    People beside and on the road are gensim's. The picture is drawn by a camera of gensim's from MetaDrive's meshes.

    ## Action Space
    (steer, pedal) in -1..1, to the right and gas being positive.

    ## Observation Space
    uint8 (64, 96, 3).

    ## Rewards
    MetaDrive's: metres gained along the route and a tenth of the share of the greatest speed; 10 at the destination, -5
    for leaving the road and for touching a vehicle, an obstacle, or a person.

    ## Starting State
    The first block of the seed's map. Options: traffic (vehicles for each 10 m of lane, 0 to 0.4), people (how many
    along the way), accidents (probability of an obstacle in each block), manner (of the driver whom `step(None)` asks);
    what is not given is drawn from the seed.

    ## Episode End
    Terminated by a crash, by leaving the road, at the destination; truncated after `max_episode_steps`. `info["end"]`
    says which.

    ## Arguments
    labels: whether `info` holds classes and instances uint8 (64, 96), depth uint16 (64, 96), ego and actors, as
    `gensim.envs.driving.source` describes them.

    Raises FileNotFoundError where MetaDrive's environment was not made.
    """

    def __init__(self, labels: bool = False, max_episode_steps: int = 400) -> None:
        self.labels, self.max_episode_steps = labels, max_episode_steps
        self.metadata, self.render_mode = {"render_modes": ["rgb_array"], "render_fps": FPS}, "rgb_array"
        self.observation_space = spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.process: subprocess.Popen[bytes] | None = None
        python = home() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if not python.exists():
            raise FileNotFoundError(
                f"MetaDrive's own environment is not in {home()}: run scripts/setup_metadrive, "
                f"or say where it is by {HOME}"
            )
        self.python = python

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Opens the episode of a seed; without one, of a seed drawn from the last."""
        super().reset(seed=seed)
        seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self.asked = drawn(seed) | _checked(options or {})
        self.steps = 0
        told, arrays = self._ask({"do": "reset", "seed": seed, **self.asked})
        return self._seen(told, arrays)

    def step(self, action: np.ndarray | None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """A tenth of a second with an action, or, given None, with what the driver does; `info["act"]` says what."""
        act = {} if action is None else {"act": np.asarray(action, np.float32) * RIGHT}
        told, arrays = self._ask({"do": "step"}, act)
        self.steps += 1
        obs, info = self._seen(told, arrays)
        term = told["end"] != 0
        return obs, told["rew"], term, not term and self.steps >= self.max_episode_steps, info

    def render(self) -> np.ndarray:
        """The last frame."""
        return self.frame.copy()

    def close(self) -> None:
        """Ends the other process."""
        if self.process is not None:
            process, self.process = self.process, None
            assert process.stdin is not None and process.stdout is not None
            for pipe in (process.stdin, process.stdout):
                pipe.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _seen(self, told: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, Any]]:
        self.frame = arrays.pop("frame")
        info: dict[str, Any] = {"end": KINDS[told["end"]], "act": arrays.pop("act") * RIGHT}
        return self.frame.copy(), info | self.asked | (arrays if self.labels else {})

    def _ask(self, request: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> tuple[dict, dict]:
        process = self.process or self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            send(process.stdin, request, arrays)
            told, found = receive(process.stdout)
        except (EOFError, BrokenPipeError) as gone:
            self.close()
            raise RuntimeError("MetaDrive's process ended; GENSIM_METADRIVE_LOUD=1 shows what it prints") from gone
        if "fault" in told:
            raise RuntimeError(f"MetaDrive failed: {told['fault']}")
        return told, found

    def _started(self) -> subprocess.Popen[bytes]:
        stderr = None if os.environ.get("GENSIM_METADRIVE_LOUD") else subprocess.DEVNULL
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.process = subprocess.Popen(
            [self.python, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=alone
        )
        assert self.process.stdout is not None
        try:
            told, _ = receive(self.process.stdout)
        except EOFError:
            told = {"fault": "it said nothing; GENSIM_METADRIVE_LOUD=1 shows what it prints"}
        if "fault" in told:
            self.close()
            raise RuntimeError(f"MetaDrive did not start: {told['fault']}")
        return self.process


def drawn(seed: int) -> dict[str, Any]:
    """The conditions of a seed's episode where none are asked for."""
    rng = np.random.default_rng([seed, 5])
    (sparse, dense), (few, many) = CONDITIONS["traffic"], CONDITIONS["people"]
    return {
        "traffic": round(float(rng.uniform(sparse, dense)), 3),
        "people": int(rng.integers(int(few), int(many) + 1)),
        "accidents": round(float(rng.uniform(0, 0.6)), 3),
        "manner": str(rng.choice([*MANNERS], p=(0.25, 0.3, 0.2, 0.13, 0.12))),
    }


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    limits = {"traffic": CONDITIONS["traffic"], "people": (0, 200), "accidents": (0, 1)}
    unknown = sorted(options.keys() - limits.keys() - {"manner"})
    if unknown:
        raise ValueError(f"options {unknown}: give {', '.join(limits)} or manner")
    for name, (low, high) in limits.items():
        if name in options and not low <= options[name] <= high:
            raise ValueError(f"{name}={options[name]}: give {low} to {high}")
    if "manner" in options and options["manner"] not in MANNERS:
        raise ValueError(f"manner={options['manner']!r}: give one of {', '.join(MANNERS)}")
    return dict(options)
