"""Opens the window of `gensim play` on an X display of its own and writes what that display shows as PNG."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from gensim.agents import world_folder
from gensim.commands.play import Play, _dream, _hand, _simulator
from gensim.core.frames import write_png
from gensim.envs.play import Command, Pads, Screen, Session, Side, View, play
from gensim.envs.play.loop import DROPPED

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """What is driven and where the picture goes."""

    out: Path = ROOT / "docs" / "play.png"
    """The PNG to write."""
    world: str = "gensim/CarRacing-v0"
    """World folder or id."""
    agent: Path = ROOT / "agents" / "carracing"
    """Who drives."""
    seed: int = 7
    """Of the episode."""
    beats: int = 30
    """Steps before the picture is taken."""
    height: int = 384
    """Pixels of each of the two pictures."""


class Posed(Screen):
    """A window that presses H at its first beat and photographs the display at its last."""

    def __init__(self, options: Options, display: Path) -> None:
        super().__init__(f"gensim play {options.world}", options.height)
        self.options, self.display, self.beat = options, display, 0
        self.photo: np.ndarray | None = None

    def read(self, pads: Pads) -> Iterator[Command]:
        """Events as they come, and one that is posted."""
        if self.beat == 0:
            pygame = self._pygame
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_h, unicode="h"))
        self.beat += 1
        yield from super().read(pads)

    def draw(self, view: View) -> None:
        """Shows a view; the last one is photographed once the server has it."""
        super().draw(view)
        if self.beat + DROPPED >= self.options.beats:
            self._pygame.event.pump()
            self._pygame.time.wait(200)
            self.photo = photograph(self.display)


@contextmanager
def display(width: int, height: int) -> Iterator[Path]:
    """An X server of its own, named in DISPLAY; yields the file in which its pixels lie."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = os.pipe()
        screen = ["-screen", "0", f"{width}x{height}x24", "-fbdir", folder]
        server = subprocess.Popen(["Xvfb", "-displayfd", str(there), *screen, "-nolisten", "tcp"], pass_fds=[there])
        os.close(there)
        try:
            number = os.read(here, 16).decode().strip()
            os.environ |= {"DISPLAY": f":{number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
            yield Path(folder) / "Xvfb_screen0"
        finally:
            server.terminate()
            server.wait()
            os.close(here)


def photograph(path: Path) -> np.ndarray:
    """The picture uint8 (h, w, 3) in an XWD file of 32 bits a pixel, blue first."""
    data = path.read_bytes()
    size, _, _, _, width, height, *rest = np.frombuffer(data, ">u4", 25).tolist()
    line, colours = rest[6], rest[13]
    pixels = np.frombuffer(data, np.uint8, line * height, size + 12 * colours)
    return np.ascontiguousarray(pixels.reshape(height, line // 4, 4)[:, :width, 2::-1])


def main() -> None:
    """Drives, photographs, writes."""
    options = tyro.cli(Options, description=__doc__)
    world_folder(options.world)
    small = Screen("", options.height)
    with display(2 * options.height, options.height + 5 * small.line) as pixels, Posed(options, pixels) as screen:
        dream: Any = _dream(Play(options.world))
        hand = _hand(options.agent, dream)
        session = Session(dream, lambda: _simulator(dream), hand, side=Side.BOTH, seed=options.seed)
        play(session, screen, dream.fps, options.beats)
        session.close()
    if screen.photo is None:
        raise SystemExit("the window was never drawn at its last beat: run it again on a quieter machine")
    write_png(options.out, screen.photo)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes of a {screen.photo.shape[1::-1]} display")


if __name__ == "__main__":
    main()
