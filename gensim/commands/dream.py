"""gensim dream: a video of a world under an agent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

SHEET = 24  # pictures on a contact sheet
COLUMNS = 6


@dataclass(frozen=True)
class Dream:
    """Dream a video and a contact sheet under an agent."""

    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")]
    """World folder, or an id that `gensim worlds` lists."""
    agent: Path = field(kw_only=True)
    """Agent folder."""
    out: Path = Path("dream.mp4")
    """Video to write; the contact sheet lies beside it as .png."""
    seconds: float = 10.0
    """Length of the video, at the simulator's own pace."""
    seed: int = 0
    """Of the first dream; where one ends before the video does, its next begins."""
    temperature: float = 1.0
    """Of the latents' law; above 1 dreams wilder than the data."""
    deterministic: bool | None = None
    """The agent's likeliest actions, not drawn ones; by default as agent.json says."""
    scale: int = 6
    """Pixels of the video for each one of the world's, each way."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Dream) -> int:
    """Dreams, writes both files and prints the return, the pace and where the files are."""
    from gensim.core.frames import mosaic, write_png
    from gensim.core.progress import bar
    from gensim.core.video import VideoWriter

    env, pilot = _seat(options)
    count = max(2, round(options.seconds * env.dream.fps))
    height, width = (side * options.scale for side in env.dream.shape)
    chosen, sheet, tale = set(np.linspace(0, count - 1, SHEET).round().astype(int)), [], Tale()
    with VideoWriter(options.out, env.dream.fps, (height, width)) as video:
        for i, frame in enumerate(bar(dreamed(env, pilot, options.seed, count, tale), "dream", options.json)):
            video.write(_large(frame, options.scale))
            if i in chosen:
                sheet.append(_large(frame, 3))
    picture = options.out.with_suffix(".png")
    write_png(picture, mosaic(np.stack(sheet), COLUMNS))
    _report(options, picture, tale, count)
    return 0


@dataclass
class Tale:
    """What a dream brought: its rewards, how many dreams it took, and the seconds of dreaming alone."""

    reward: float = 0.0
    dreams: int = 1
    seconds: float = 0.0


def dreamed(env: Any, pilot: Any, seed: int, count: int, tale: Tale) -> Iterator[np.ndarray]:
    """Streams `count` frames uint8 (h, w, 3) of one dream after another."""
    began = time.perf_counter()
    obs, _ = env.reset(seed=seed)
    pilot.reset(np.array([seed], np.uint64))
    for _ in range(count - 1):
        frame = env.render()
        act = pilot.act(obs[None])[0]
        tale.seconds += time.perf_counter() - began
        yield frame
        began = time.perf_counter()
        obs, rew, term, trunc, _ = env.step(act)
        tale.reward += rew
        if term or trunc:
            obs, _ = env.reset()
            tale.dreams += 1
            pilot.reset(np.array([seed + tale.dreams - 1], np.uint64))
    frame = env.render()
    tale.seconds += time.perf_counter() - began
    yield frame


def _seat(options: Dream) -> tuple[Any, Any]:
    """The dream and the pilot in it, on latents where the agent knows the world's own."""
    from gensim.agents import Pilot, load, world_folder
    from gensim.envs.engine import load_world
    from gensim.envs.single import DreamEnv

    agent = load(options.agent)
    folder = world_folder(options.world)
    own = agent.world is not None and agent.world.hash == load_world(folder).hash
    env = DreamEnv(
        world=str(folder),
        observation="latents" if own else "frames",
        temperature=options.temperature,
        render_mode="rgb_array",
    )
    return env, Pilot(agent, options.deterministic, filtered=not own)


def _large(frame: np.ndarray, times: int) -> np.ndarray:
    import cv2

    return cv2.resize(frame, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)


def _report(options: Dream, picture: Path, tale: Tale, count: int) -> None:
    result = {
        "return": round(tale.reward, 3),
        "dreams": tale.dreams,
        "frames": count,
        "frames_per_second": round(count / tale.seconds, 1),
        "video": str(options.out),
        "sheet": str(picture),
    }
    dreams = "1 dream" if tale.dreams == 1 else f"{tale.dreams} dreams"
    lines = (
        f"dreamed return   {result['return']} in {count} frames ({dreams})",
        f"frames a second  {result['frames_per_second']}",
        f"video            {options.out}",
        f"contact sheet    {picture}",
    )
    print(json.dumps(result) if options.json else "\n".join(lines))
