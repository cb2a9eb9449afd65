"""How long a frame of MetaDrive's own front camera takes, as it ships: prints seconds of each step as JSON.

It runs with the Python of MetaDrive's own environment, on an X display: xvfb-run python shipped.py FRAMES. Nothing of
MetaDrive is changed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from metadrive.envs.metadrive_env import MetaDriveEnv


def main(frames: int) -> None:
    """Steps so often, after two steps that are not counted."""
    logging.disable(logging.WARNING)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    about = {"start_seed": 0, "environment_num": 1, "map": 4, "traffic_density": 0.1, "image_observation": True}
    seen = {"image_source": "rgb_camera", "rgb_camera": (96, 64)}
    env = MetaDriveEnv({**about, "vehicle_config": seen, "rgb_clip": False})
    env.reset()
    found = []
    for i in range(frames + 2):
        began = time.perf_counter()
        obs = env.step([0.0, 0.2])[0]
        found += [time.perf_counter() - began] if i > 1 else []
    answers.write(json.dumps({"seconds": found, "shape": list(obs["image"].shape)}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
