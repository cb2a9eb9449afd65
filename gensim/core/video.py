"""Video files: frames streamed into H.264, and out of anything FFmpeg reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gensim.core.files import atomic_path


class VideoWriter:
    """Writes an mp4 (H.264, yuv420p) frame by frame; the file appears, whole, when the `with` block ends.

    Arguments:
        path: the file to make, ending in .mp4.
        fps: frames a second.
        size: (h, w) of every frame, both even.
        crf: H.264's constant rate factor, 0 (best) to 51.
    """

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int], crf: int = 18) -> None:
        self.path, self.size, self.crf = Path(path), tuple(size), crf
        self.fps = Fraction(fps).limit_denominator(1001)
        if self.path.suffix != ".mp4":
            raise ValueError(f"videos are written as .mp4, not {self.path.name}")
        if min(self.size) < 2 or any(side % 2 for side in self.size) or fps <= 0:
            raise ValueError(f"videos need even sides and fps > 0, not {self.size} at {fps}: resize frames")

    def __enter__(self) -> VideoWriter:
        """Opens a temporary file beside `path`."""
        import av

        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(self.path))
        self._file: Any = self._stack.enter_context(av.open(str(temporary), "w", format="mp4"))
        self._stream = self._file.add_stream("libx264", rate=self.fps, options={"crf": str(self.crf)})
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv420p"
        return self

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame uint8 (h, w, 3)."""
        import av

        if frame.dtype != np.uint8 or frame.shape != (*self.size, 3):
            raise ValueError(f"this video takes uint8 {(*self.size, 3)}, not {frame.dtype} {frame.shape}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._file.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the file and gives it its name; after an error it leaves nothing."""
        if kind is None:
            self._file.mux(self._stream.encode(None))
        self._stack.__exit__(kind, error, trace)


def read_video(path: str | Path) -> Iterator[np.ndarray]:
    """The frames of a video's first stream, uint8 (h, w, 3), one by one; ValueError when it is none."""
    import av

    try:
        with av.open(str(path)) as file:
            for frame in file.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is no readable video ({error}): restore it or convert it to mp4") from error


def video_fps(path: str | Path) -> float:
    """Frames a second of a video's first stream."""
    import av

    try:
        with av.open(str(path)) as file:
            return float(file.streams.video[0].average_rate or 0.0)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is no readable video ({error}): restore it or convert it to mp4") from error
