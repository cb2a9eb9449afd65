"""MetaDrive 0.3.0.1 without window, interface, sensors and pictures of its own: maps, traffic and physics are left.

Import this before anything of MetaDrive: Panda3D reads its settings once.
"""

from __future__ import annotations

import logging
import os
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")  # the software rasteriser's threads: frames this small gain from none
if not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
    os.environ.setdefault("EGL_PLATFORM", "surfaceless")

import numpy as np
from panda3d.core import loadPrcFileData

SETTINGS = """
load-display p3headlessgl
window-type offscreen
framebuffer-multisample 0
multisamples 0
compressed-textures 0
garbage-collect-states-rate 0.2
notify-level-device fatal
"""
loadPrcFileData("", SETTINGS)

import gym  # noqa: E402
import metadrive.engine.core.engine_core  # noqa: E402, F401  its import sets Panda3D up its own way
import metadrive.engine.core.our_pbr as pbr  # noqa: E402
import metadrive.envs.base_env as base_env  # noqa: E402
from metadrive.component.vehicle.base_vehicle import BaseVehicle  # noqa: E402
from metadrive.envs.metadrive_env import MetaDriveEnv  # noqa: E402

loadPrcFileData("", SETTINGS)
CONFIG: dict[str, Any] = {
    "start_seed": 0,
    "environment_num": 1,
    "force_destroy": True,  # nothing is used again: an episode is made of its seed alone
    "map": 4,  # blocks of a map
    "traffic_density": 0.1,
    "need_inverse_traffic": True,
    "accident_prob": 0.3,
    "random_lane_num": True,
    "random_spawn_lane_index": True,
    "image_observation": True,  # without it nothing is drawn that a camera could see
    "window_size": (32, 32),
    "show_interface": False,
    "show_fps": False,
    "show_logo": False,
    "multi_thread_render": False,  # its thread would not share our camera's context
    "disable_model_compression": True,
    "vehicle_config": {"image_source": "rgb_camera", "rgb_camera": (96, 64), "show_navi_mark": False},
}


class _Blind:
    """In the place of MetaDrive's observation, which draws: nothing is observed but by our camera."""

    observation_space = gym.spaces.Dict(nothing=gym.spaces.Box(0.0, 1.0, (1,), np.float32))

    def __init__(self, config: Any) -> None:
        pass

    def observe(self, vehicle: Any) -> dict[str, np.ndarray]:
        return {"nothing": np.zeros(1, np.float32)}

    def reset(self, env: Any, vehicle: Any = None) -> None:
        pass

    def destroy(self) -> None:
        pass


class _NoPipeline:
    """In the place of its shading of the main window, which nobody sees."""

    msaa_samples, render_node = 0, None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _recompile_pbr(self) -> None:
        pass


class _Maps(dict):
    """In the place of the maps of all seeds there are: the last one alone is kept."""

    def __getitem__(self, seed: int) -> Any:
        return self.get(seed)

    def __setitem__(self, seed: int, made: Any) -> None:
        self.forget()
        super().__setitem__(seed, made)

    def forget(self) -> None:
        """Destroys what is kept."""
        for old in self.values():
            old.destroy()
        self.clear()


def make() -> MetaDriveEnv:
    """The environment with its engine started; reset it with `reset(force_seed=SEED)`."""
    logging.disable(logging.WARNING)
    base_env.ImageStateObservation = _Blind
    pbr.OurPipeline = _NoPipeline
    BaseVehicle.setup_sensors = lambda self: None
    env = MetaDriveEnv(CONFIG)
    env.lazy_init()
    env.engine.map_manager.maps = _Maps()
    for window in env.engine.graphicsEngine.getWindows():
        window.setActive(False)
    return env
