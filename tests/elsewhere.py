"""Programs of others in environments of their own, for what cannot be installed beside gensim."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def python_with(folder: Path, *asked: str) -> Path:
    """The Python of a new virtual environment in a folder, with what pip is asked for."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *asked], check=True)
    return python


def printed(*argv: str | Path) -> str:
    """What a program prints; AssertionError with all that it said if it fails."""
    done = subprocess.run([str(part) for part in argv], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout
