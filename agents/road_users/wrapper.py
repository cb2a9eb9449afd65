"""Environments with people in them: drawn into the frames, walking on the ground, answering what the robot does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from gensim.agents.road_users.behaviour import Behaviour, usual_behaviour
from gensim.agents.road_users.camera import DRIVING, Camera
from gensim.agents.road_users.compositor import Shown, Weather, compose
from gensim.agents.road_users.painter import Painter, shipped
from gensim.agents.road_users.person import to_dict
from gensim.agents.road_users.scene import People, RoadUser, Scenes
from gensim.core.seeds import fold
from gensim.envs.driving.source.labels import PERSON
from gensim.envs.engine import Dream

Motion = Callable[[Mapping[str, Any], np.ndarray | None], tuple[np.ndarray, np.ndarray]]
MOVED = ("forward", "left", "turn", "speed")
STREAM = 77  # of an episode's seed, from which people's own is made


def told_motion(info: Mapping[str, Any], action: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A step's metres ahead and to the left and radians (n, 3), and metres a second (n,), where `info` tells them."""
    missing = [name for name in MOVED if name not in info]
    if missing:
        raise ValueError(
            f"info tells no {', '.join(missing)}: make the environment with labels=True, or give motion=, a function "
            "of info and action that returns metres ahead and to the left and radians (n, 3), and metres a second (n,)"
        )
    rows = [np.atleast_1d(np.asarray(info[name], float)) for name in MOVED]
    return np.stack(rows[:3], -1), rows[3]


class Stage:
    """People in m frames: the part that single and vector environments share."""

    def __init__(
        self,
        people: Sequence[RoadUser],
        rows: int,
        camera: Camera,
        dt: float,
        painter: Painter | None,
        behaviour: Behaviour | None,
        sun: float,
        sun_azimuth: float,
    ) -> None:
        self.scenes = Scenes(people, rows, behaviour, dt)
        self.camera, self.painter = camera, painter or shipped()
        self.sun, self.sun_azimuth = sun, sun_azimuth

    def drawn(
        self, frames: np.ndarray, info: Mapping[str, Any], weather: Weather | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Frames (m, h, w, 3) with people, and what is told of them."""
        if frames.shape[1:3] != self.camera.shape:
            raise ValueError(
                f"frames of {frames.shape[1:3]} pixels: give camera=Camera(shape={frames.shape[1:3]}, ...)"
            )
        depth = np.asarray(info["depth"], np.float32).reshape(frames.shape[:3]) if "depth" in info else None
        cast = self.scenes.cast(self.camera, self.sun, self.sun_azimuth)
        out, shown = compose(frames, depth, cast, self.camera, self.painter, weather)
        found: dict[str, Any] = {"people": [self._told(some) for some in shown]}
        if depth is not None:
            found |= self._relabelled(info, depth, shown)
        return out, found

    def _relabelled(
        self, info: Mapping[str, Any], depth: np.ndarray, shown: list[list[Shown]]
    ) -> dict[str, np.ndarray]:
        """Depth, and classes where there are any, with the people."""
        depth = depth.copy()
        classes = np.asarray(info["classes"]).reshape(depth.shape).copy() if "classes" in info else None
        for row, some in enumerate(shown):
            for one in some:
                depth[row][one.mask] = one.distance
                if classes is not None:
                    classes[row][one.mask] = PERSON
        return {"depth": depth} | ({"classes": classes} if classes is not None else {})

    def _told(self, shown: list[Shown]) -> list[dict[str, Any]]:
        return [vars(one) | {"attributes": to_dict(self.scenes.persons[one.who])} for one in shown]

    def log_prob(self) -> np.ndarray:
        """Log-probability (m,) of what people did in the last step."""
        return np.bincount(self.scenes.now.scene, self.scenes.now.log_prob, self.scenes.rows)

    def contact(self) -> np.ndarray:
        """Who (m,) is touched by the robot: their place in the list of people, or -1."""
        touched = self.scenes.touched().reshape(self.scenes.rows, -1)
        if not touched.shape[1]:
            return np.full(self.scenes.rows, -1)
        return np.where(touched.any(1), touched.argmax(1), -1)


class RoadUsers(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """An environment with people in it: a gensim world, or any other whose camera is known.

    People stand on flat ground, are drawn by the GAN as large as their distance makes them, are hidden by what is
    nearer, cast a shadow, and are in the weather that the frame is in. They notice the robot and each other and answer.
    Who is touched by the robot ends the episode: `info["contact"]` is their place in the list, else -1.

    `info` adds `people`, a list of those in the picture, nearest last: who (their place in the list), identity,
    distance, box, visible, mask, joints and attributes (`gensim.agents.road_users.compositor.Shown`); and
    `people_log_prob`, nats of what all of them did in the last step. `classes` and `depth` are told with the people,
    where the environment tells any.

    Arguments:
        env: observations are frames uint8 (h, w, 3). What moved the robot is told by `info`, or by `motion`.
        people: who is there as each episode begins.
        camera: of the frames; None: that of gensim/Driving-v0 and of MetaDrive.
        motion: a function of info and action that tells a step's metres ahead and to the left and radians (1, 3), and
            metres a second (1,); None: `info` tells forward, left, turn and speed.
        behaviour: what people do next; "learned", or None, where they go on as they like.
        painter: who draws; None: the GAN that comes with gensim.
        sun, sun_azimuth: the sun's share of the light, and radians from the robot's first heading to it.
        dt: seconds of a step.

    Raises ValueError for environments whose observations are no frames: an agent that sees latents would not see the
    people.
    """

    def __init__(
        self,
        env: gym.Env,
        people: Sequence[RoadUser],
        camera: Camera | None = None,
        motion: Motion | None = None,
        behaviour: Behaviour | str | None = "learned",
        painter: Painter | None = None,
        sun: float = 0.6,
        sun_azimuth: float = 2.2,
        dt: float = 0.1,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "env", "__class__")}
        gym.utils.RecordConstructorArgs.__init__(self, **given)
        gym.Wrapper.__init__(self, env)
        _check_frames(env.observation_space)
        self.motion = motion or told_motion
        self.stage = Stage(people, 1, camera or DRIVING, dt, painter, behaviour_of(behaviour), sun, sun_azimuth)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Opens an episode; people are where they were placed, and what they do depends on the seed."""
        obs, info = self.env.reset(seed=seed, options=options)
        own = int(self.env.unwrapped.np_random.integers(2**63)) if seed is None else seed
        self.stage.scenes.reset(fold(np.array([own], np.uint64), STREAM), np.ones(1, bool))
        return self._with_people(obs, info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the environment, then of the people."""
        obs, rew, term, trunc, info = self.env.step(action)
        self.stage.scenes.advance(*self.motion(info, np.asarray(action)), np.ones(1, bool))
        obs, info = self._with_people(obs, info)
        return obs, float(rew), bool(term) or info["contact"] >= 0, bool(trunc), info

    def snapshot(self) -> tuple[Any, People]:
        """This moment, the people's and the environment's own, which must have snapshots."""
        return self.env.get_wrapper_attr("snapshot")(), self.stage.scenes.now.copy()

    def restore(self, snapshot: tuple[Any, People]) -> tuple[Any, dict[str, Any]]:
        """Takes up a moment, and returns what `reset` would."""
        obs, info = self.env.get_wrapper_attr("restore")(snapshot[0])
        self.stage.scenes.now = snapshot[1].copy()
        return self._with_people(obs, info)

    def _with_people(self, obs: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        out, told = self.stage.drawn(np.asarray(obs)[None], info, weather_of(self.env.unwrapped))
        told = {name: value[0] for name, value in told.items()}
        contact, log_prob = int(self.stage.contact()[0]), float(self.stage.log_prob()[0])
        return out[0], {**info, **told, "contact": contact, "people_log_prob": log_prob}


class RoadUsersVector(VectorWrapper):
    """The same of a vector environment: every row has the same people at first; see `RoadUsers`.

    The environment's own `autoreset_mode` is "Disabled", for a contact ends a row that the environment itself would go
    on with; here ended rows are opened anew in the same step (`AutoresetMode.SAME_STEP`), their last observation and
    info being `info["final_obs"]` and `info["final_info"]`. `info["people"]` is a list of lists.
    """

    def __init__(
        self,
        env: VectorEnv,
        people: Sequence[RoadUser],
        camera: Camera | None = None,
        motion: Motion | None = None,
        behaviour: Behaviour | str | None = "learned",
        painter: Painter | None = None,
        sun: float = 0.6,
        sun_azimuth: float = 2.2,
        dt: float = 0.1,
    ) -> None:
        super().__init__(env)
        _check_frames(env.single_observation_space)
        mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        if mode != AutoresetMode.DISABLED:
            raise ValueError(f"autoreset_mode={mode.value}: make the environment with autoreset_mode='Disabled'")
        self._metadata = env.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.motion = motion or told_motion
        rows = env.num_envs
        self.stage = Stage(people, rows, camera or DRIVING, dt, painter, behaviour_of(behaviour), sun, sun_azimuth)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Opens an episode in every row, or in those of `options["reset_mask"]` (n,) bool."""
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        rows = np.ones(self.num_envs, bool) if not options else options.get("reset_mask", np.ones(self.num_envs, bool))
        self._open(seed, rows)
        return self._with_people(obs, info)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every row; ended ones are opened anew in it."""
        obs, rew, term, trunc, info = self.env.step(actions)
        self.stage.scenes.advance(*self.motion(info, actions), np.ones(self.num_envs, bool))
        obs, info = self._with_people(obs, info)
        term = term | (info["contact"] >= 0)
        done = term | trunc
        if done.any():
            obs, info = self._reopened(obs, info, done)
        return obs, rew, term, trunc, info

    def _reopened(self, obs: np.ndarray, info: dict[str, Any], done: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        fresh, told = self.env.reset(options={"reset_mask": done})
        self._open(None, done)
        first, begun = self._with_people(fresh, told)
        last = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(done):  # an array of arrays, as gymnasium has it, cannot be filled at once
            last[i] = obs[i].copy()
        now = {key: _chosen(done, begun[key], value) for key, value in info.items() if key in begun}
        ends = {"final_obs": last, "_final_obs": done.copy(), "final_info": info, "_final_info": done.copy()}
        return np.where(done[:, None, None, None], first, obs), now | ends

    def _open(self, seed: Any, rows: np.ndarray) -> None:
        """Places people anew under keys of the seeds, or of the environment's generator where there are none."""
        given = seed is not None
        if given and np.ndim(seed) == 0:
            seed = [int(seed) + i for i in range(self.num_envs)]
        drawn = self.env.unwrapped.np_random.integers(2**63, size=self.num_envs)
        own = [int(d) if not given or s is None else int(s) for s, d in zip(seed if given else drawn, drawn)]
        self.stage.scenes.reset(fold(np.array(own, np.uint64), STREAM), rows)

    def _with_people(self, obs: np.ndarray, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        out, told = self.stage.drawn(np.asarray(obs), info, weather_of(self.env.unwrapped))
        found = {**info, **told, "contact": self.stage.contact(), "people_log_prob": self.stage.log_prob()}
        return out, found


def weather_of(env: Any) -> Weather | None:
    """The same of the dream behind an environment, if there is one."""
    dream = getattr(env, "dream", None)
    return None if dream is None else weather_in(dream)


def weather_in(dream: Dream) -> Weather | None:
    """What a dream's weather makes of its frames; None where there is none."""
    if dream.weather is None or dream.rollout is None or not dream.rollout.weather.any():
        return None

    def under(frames: np.ndarray, people: np.ndarray, depth: np.ndarray) -> np.ndarray:
        return dream.weathered(frames, np.where(people, PERSON, dream.labels()["classes"]), depth)

    return under


def _check_frames(space: gym.Space) -> None:
    shape: tuple[int, ...] = getattr(space, "shape", None) or ()
    if getattr(space, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise ValueError(
            f"observations of {space}: people are drawn into frames uint8 (h, w, 3), and an agent that sees latents "
            "would not see them; make the environment with observation='frames'"
        )


def behaviour_of(given: Behaviour | str | None) -> Behaviour | None:
    """A behaviour by its name, or as it is given."""
    if isinstance(given, str) and given != "learned":
        raise ValueError(f"behaviour={given!r}: give 'learned', a Behaviour, or None")
    return usual_behaviour() if isinstance(given, str) else given


def _chosen(done: np.ndarray, first: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [a if new else b for new, a, b in zip(done, first, value)]
    wide = (len(done), *(1 for _ in np.shape(value)[1:]))
    return np.where(done.reshape(wide), first, value)
