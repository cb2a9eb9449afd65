"""A window on the screen."""

from __future__ import annotations

from typing import Any

import numpy as np


class Window:
    """Shows frames, scaled up, at the pace that they were dreamed for; opens with the first.

    Arguments:
        title: what stands above it.
        fps: frames a second.
        height: at least so many pixels high, in whole multiples of the frame.
    """

    def __init__(self, title: str, fps: float, height: int = 512) -> None:
        self.title, self.fps, self.height = title, fps, height
        self._screen: Any = None
        self._clock: Any = None

    def show(self, frame: np.ndarray) -> None:
        """Shows a frame uint8 (h, w, 3) and waits until the next is due."""
        import pygame

        scale = max(1, -(-self.height // frame.shape[0]))
        big = frame.repeat(scale, 0).repeat(scale, 1)  # (h scale, w scale, 3)
        if self._screen is None:
            self._open(pygame, big.shape[1], big.shape[0])
        pygame.surfarray.blit_array(self._screen, big.swapaxes(0, 1))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self.fps)

    def close(self) -> None:
        """Closes the window, if it is open."""
        if self._screen is not None:
            import pygame

            pygame.display.quit()
            self._screen = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Window, (self.title, self.fps, self.height)

    def _open(self, pygame: Any, width: int, height: int) -> None:
        pygame.display.init()
        pygame.display.set_caption(self.title)
        self._screen = pygame.display.set_mode((width, height))
        self._clock = pygame.time.Clock()
