"""The window of a drive: pictures side by side, figures beneath them, help over them, and all its events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gensim.core.files import atomic_path
from gensim.core.frames import encode
from gensim.envs.play.command import Command
from gensim.envs.play.pads import KEYS, Pads
from gensim.envs.play.view import Panel, Side, View

TITLES = {Side.DREAM: "dream", Side.REAL: "simulator"}
INK, FAINT, PAPER, GOOD, BAD = (235, 235, 235), (130, 134, 142), (22, 24, 28), (88, 190, 120), (226, 84, 70)
SMALLEST = 160  # pixels of a picture, below which the figures do not fit


class Screen:
    """A window that shows views and reads keyboard and gamepads; a context manager.

    It has room for two pictures from the first, since another size would be another window, which loses the keys that
    are held. Beside one picture stands the help.

    Arguments:
        title: what stands above it.
        height: of a picture in pixels.
        folder: where pictures of the window are written.
    """

    def __init__(self, title: str, height: int = 512, folder: str | Path = ".") -> None:
        if height < SMALLEST:
            raise ValueError(f"height {height}: give {SMALLEST} pixels or more")
        self.title, self.height, self.folder = title, height, Path(folder)
        self.line = max(12, height // 26)  # pixels of a line of text
        self.helping = False
        self._joysticks: dict[int, Any] = {}
        self._window: Any = None

    def __enter__(self) -> Screen:
        """Opens the window; ValueError where there is no display."""
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame = pygame
        try:
            pygame.display.init()
            self._window = pygame.display.set_mode((2 * self.height, self.height + 5 * self.line))
        except pygame.error as error:
            raise ValueError(f"there is no display to open a window on ({error}): run it where there is one") from error
        pygame.display.set_caption(self.title)
        pygame.font.init()
        pygame.joystick.init()
        self._font = pygame.font.Font(None, int(self.line * 1.2))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the window."""
        self._joysticks.clear()
        self._pygame.joystick.quit()
        self._pygame.display.quit()

    # ------------------------------------------------------------------ events

    def read(self, pads: Pads) -> Iterator[Command]:
        """Tells the pads what was pressed, and yields what was asked for."""
        for event in self._pygame.event.get():
            wish = self._heard(event, pads)
            if wish is not None:
                yield wish

    def _heard(self, event: Any, pads: Pads) -> Command | None:
        pygame = self._pygame
        if event.type == pygame.QUIT:
            return Command.QUIT
        if event.type == pygame.KEYDOWN:
            return pads.press("?" if event.dict.get("unicode") == "?" else pygame.key.name(event.key))
        if event.type == pygame.KEYUP:
            pads.release(pygame.key.name(event.key))
        if event.type == pygame.WINDOWFOCUSLOST:
            pads.let_go()
        if event.type == pygame.JOYBUTTONDOWN:
            return pads.button(event.button)
        if event.type == pygame.JOYAXISMOTION:
            pads.axis(event.axis, event.value)
        if event.type == pygame.JOYHATMOTION:
            pads.cross(*event.value)
        if event.type == pygame.JOYDEVICEADDED:
            joystick = pygame.joystick.Joystick(event.device_index)
            self._joysticks[joystick.get_instance_id()] = joystick  # it speaks for as long as it is held
        if event.type == pygame.JOYDEVICEREMOVED:
            self._joysticks.pop(event.instance_id, None)
        return None

    # ------------------------------------------------------------------ drawing

    def draw(self, view: View) -> None:
        """Shows a view."""
        self._window.fill(PAPER)
        for i, panel in enumerate(view.panels):
            self._panel(panel, i * self.height)
        self._status(view)
        if self.helping or len(view.panels) < 2:
            self._help(self.height)
        self._pygame.display.flip()

    def picture(self) -> np.ndarray:
        """What the window shows, uint8 (h, w, 3)."""
        return self._pygame.surfarray.array3d(self._window).swapaxes(0, 1)

    def save(self) -> Path:
        """Writes what the window shows as play-N.png, with the first N that is free."""
        n = 1
        while (path := self.folder / f"play-{n}.png").exists():
            n += 1
        with atomic_path(path) as temporary:
            temporary.write_bytes(encode(np.ascontiguousarray(self.picture()), 9))
        return path

    def _panel(self, panel: Panel, left: int) -> None:
        surface = self._pygame.surfarray.make_surface(panel.frame.swapaxes(0, 1))
        big = self._pygame.transform.smoothscale(surface, (self.height, self.height))
        self._window.blit(big, (left, 0))
        now, x, y = panel.reading, left + self.line // 2, self.height
        self._text(f"{TITLES[panel.side]}   step {now.step}   return {now.returns:.1f}", x, y)
        self._text(f"reward {now.rew:+.2f}   log p {now.log_prob:.1f}   trust {now.trust:.2f}", x, y + self.line)
        colour = [round(now.trust * good + (1 - now.trust) * bad) for good, bad in zip(GOOD, BAD)]
        self._bar(colour, now.trust, left + int(self.height * 0.72), y + self.line, int(self.height * 0.25))
        if now.end:
            self._text(f" {now.end} ", x, 4, BAD, PAPER)

    def _status(self, view: View) -> None:
        x, y = self.line // 2, self.height + 2 * self.line
        kept = "" if view.kept is None else f"   recorded {view.kept}"
        state = "   over: R again, N next" if view.over else "   paused" if view.paused else ""
        self._text(f"{view.who} drive{'s' * (view.who == 'agent')}   seed {view.seed}{kept}{state}", x, y)
        self._text(f"action {_said(view.act)}   temperature {view.temperature:.1f}   F1 help", x, y + self.line)
        self._text(view.note, x, y + 2 * self.line, BAD)

    def _help(self, left: int) -> None:
        lines = [f"{' or '.join(keys):16}  {wish.value}" for wish, keys in KEYS.items()]
        lines = ["w a s d or digits, arrows, gamepad: drive", *lines, "what is dreamed is not recorded"]
        shade = self._pygame.Surface((self.height, self.height), self._pygame.SRCALPHA)
        shade.fill((*PAPER, 225))
        self._window.blit(shade, (left, 0))
        step = min(self.line, self.height // (len(lines) + 1))
        for i, text in enumerate(lines):
            keys, _, what = text.partition("  ")
            self._text(keys, left + self.line, step // 2 + i * step, INK if what else FAINT)
            self._text(what.strip(), left + self.line + int(self.height * 0.3), step // 2 + i * step, FAINT)

    def _text(self, text: str, x: int, y: int, colour: Any = INK, paper: Any = None) -> None:
        self._window.blit(self._font.render(text, True, colour, paper), (x, y + self.line // 8))

    def _bar(self, colour: Any, share: float, x: int, y: int, width: int) -> None:
        high, rect = self.line // 2, self._pygame.Rect
        self._window.fill((60, 62, 68), rect(x, y + high // 2, width, high))
        self._window.fill(colour, rect(x, y + high // 2, round(width * share), high))


def _said(act: Any) -> str:
    """An action in a few characters."""
    if act is None:
        return "none yet"
    return " ".join(f"{value:+.2f}" for value in act[:6]) if np.ndim(act) else str(act)
