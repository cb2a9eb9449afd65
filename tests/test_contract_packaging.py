"""The contract, part 6: what is installed, what it needs, what imports what."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("gensim", "envs", "agents")


def sources() -> list[Path]:
    return [path for name in SOURCES for path in (ROOT / name).rglob("*.py")]


def imported(path: Path) -> set[str]:
    """The full names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def test_nothing_imports_a_top_level_envs_or_agents() -> None:
    for path in [*sources(), *(ROOT / "tests").glob("*.py")]:
        assert not {name.split(".")[0] for name in imported(path)} & {"envs", "agents"}, path


def test_imports_point_downwards() -> None:
    """core < episodes < models < world < ood < envs < agents < gap < commands."""
    floors = ["core", "episodes", "models", "world", "ood", "envs", "agents", "gap", "commands"]
    for path in sources():
        parts = path.relative_to(ROOT).parts
        floor = parts[0] if parts[0] != "gensim" else parts[1]
        if floor not in floors:
            continue
        above = floors[floors.index(floor) + 1 :]
        used = {name.split(".")[1] for name in imported(path) if name.startswith("gensim.")}
        lazily = {"envs"} if floor in ("episodes", "ood") else set()  # which make simulators, and dreams, when asked
        assert not used & set(above) - lazily, f"{path} imports {used & set(above)}"


def test_requirements() -> None:
    needs = metadata.requires("gensim-worlds") or []
    plain = [need for need in needs if "extra ==" not in need]
    assert {"Box2D", "pygame"} <= {re.split(r"[\s\[<>=;]", need)[0] for need in plain}
    assert not [need for need in needs if re.match(r"(gymnasium|stable-baselines3)\[", need)]
    assert metadata.metadata("gensim-worlds")["Requires-Python"] == ">=3.10"


def test_one_pygame_and_nothing_in_conflict() -> None:
    assert set(metadata.packages_distributions()["pygame"]) == {"pygame"}
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    without = "(vizdoom|highway-env|minigrid)"  # they ask for it and do without
    odd = [text for text in checked.stdout.splitlines() if not re.match(rf"{without} .* requires pygame-ce", text)]
    assert checked.returncode == 0 or not odd, checked.stdout


def test_wheel_holds_gensim_only(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (*SOURCES, "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "pip", "wheel", str(tree), "-w", str(tmp_path), "--no-deps", "-q"]
    subprocess.run([*command, "--no-build-isolation", "--disable-pip-version-check"], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    outside = [name for name in names if not name.startswith("gensim/") and ".dist-info/" not in name]
    assert not outside
    expected = {
        "gensim/__init__.py",
        "gensim/envs/engine.py",
        "gensim/envs/carracing/__init__.py",
        "gensim/py.typed",
    }
    assert expected <= set(names) and not [name for name in names if "__pycache__" in name]
    shipped = [path.relative_to(ROOT) for path in (ROOT / "envs" / "carracing").glob("*.*") if path.is_file()]
    assert {f"gensim/{path.as_posix()}" for path in shipped} <= set(names)
