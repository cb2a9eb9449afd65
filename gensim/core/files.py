"""Files that are either whole or absent: atomic writes, JSON, hashes, tensors and arrays without pickle."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows has none; a killed writer's temporary file stays there
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import torch

JSON_LIMIT = 32_000_000  # bytes; what is larger is none of ours
ARRAYS_LIMIT = 512_000_000  # bytes of all arrays of a file, unpacked


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place on success and vanishes on error.

    What a writer of the same file left when it was killed goes on the next success.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _temporary(path)
    try:
        yield temporary
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _sweep(path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open and locked, so that no other writer's sweep takes it for one left behind."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".tmp{path.suffix}", dir=path.parent)
        if not lock(handle) or os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # a sweep was faster than the lock


def lock(handle: int, wait: bool = True) -> bool:
    """Locks an open file or folder for as long as this process has it open; False where another has it, or none can."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # some network drives lock nothing
        return False
    return True


def _sweep(path: Path) -> None:
    """Removes temporary files of `path` whose writers are gone, and so their locks."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}-*.tmp{glob.escape(path.suffix)}"):
        with suppress(OSError), left.open("rb") as file:
            if lock(file.fileno(), wait=False):
                left.unlink()


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Writes an object as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file; FileNotFoundError or ValueError naming the file and what is wrong."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: a JSON file is expected")
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise ValueError(f"more than {JSON_LIMIT:,} bytes")
        value = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): restore it or write it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a JSON {type(value).__name__}: an object is expected")
    return value


def parse_json(data: bytes) -> Any:
    """The JSON value in UTF-8 text; ValueError too for doubled names, numbers without end and bottomless nesting."""
    try:
        text = data.decode("utf-8")
        return json.loads(text, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def inside(folder: str | Path, name: str) -> Path:
    """The path of a file of a folder; FileNotFoundError without it, ValueError when it is a link that leads out."""
    path = Path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is no file: copy the whole folder")
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(f"{path} is a link that leads out of its folder: copy the file itself")
    return path


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named tensors and text metadata as one safetensors file, atomically; equal ones as equal bytes."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, str(temporary), metadata=dict(metadata or {}))
        _order(temporary)


def load_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; ValueError when it is truncated or something else."""
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: a safetensors file is expected")
    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except Exception as error:  # foreign files fail in as many ways as they can be foreign
        raise ValueError(f"{path} is no whole safetensors file ({line(error)}): restore or remake it") from error


def load_arrays(path: str | Path, names: Sequence[str], limit: int = ARRAYS_LIMIT) -> dict[str, np.ndarray]:
    """Exactly these arrays of an .npz, checked against their CRCs; nothing is unpickled.

    Raises ValueError when anything is damaged, foreign, missing or too much, or takes more than `limit` bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: an .npz file is expected")
    try:
        if path.stat().st_size > limit:
            raise ValueError(f"it takes more than {limit:,} bytes")
        with open(path, "rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise ValueError("it does not begin as an .npz does")
        with zipfile.ZipFile(path) as archive:
            _count(archive, names, limit)
            return {name: _array(archive.read(f"{name}.npy")) for name in names}
    except Exception as error:  # a damaged archive fails in as many ways as it can be damaged
        raise ValueError(f"{path} is damaged or foreign ({line(error)}): restore it") from error


def writable(folder: str | Path) -> None:
    """OSError unless a folder can be written into, or made: said before hours of work, not after."""
    there = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written into, {there} is no folder of yours: give another")


def line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _order(path: Path) -> None:
    """Sorts the metadata in a safetensors file's header, which its writer puts in an order drawn anew each time."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" not in header:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > size:
            raise ValueError(f"{path}: its header would not fit; give plainer metadata")
        file.seek(8)
        file.write(text.ljust(size))


def _count(archive: zipfile.ZipFile, names: Sequence[str], limit: int) -> None:
    """ValueError unless an archive holds one plain member a name, and all of them within `limit` bytes."""
    members = archive.infolist()
    if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in names):
        raise ValueError(f"it does not hold {', '.join(names)} and nothing else")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise ValueError("it is packed in a way that numpy does not use")
    if sum(member.file_size for member in members) > limit:
        raise ValueError(f"it unpacks to more than {limit:,} bytes")


def _array(data: bytes) -> np.ndarray:
    """The array of an .npy; ValueError before memory is taken for more numbers than there are."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{dtype} {shape} is not what its bytes hold")
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it gives a name twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    """The process's file mode mask, read without changing it where the system shows it."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    return 0o022
