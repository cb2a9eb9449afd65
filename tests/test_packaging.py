"""What is shipped: a wheel that works by itself, small files, scripts that say what they do, one version."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import gensim

ROOT = Path(__file__).parents[1]
PACKAGES = ("gensim", "envs", "agents")
LARGEST = 20_000_000  # bytes of a file in git
ALONE = """
import gymnasium, gensim, gensim.__main__
names = [f"gensim/{name}-v0" for name in ("CarRacing", "Driving", "TakeCover", "World")]
assert gensim.registered() == names, gensim.registered()
assert gymnasium.spec("gensim/CarRacing-v0").reward_threshold == 900
print(gensim.__file__, gensim.envs.__file__)
"""


def tracked() -> list[Path]:
    """The files that git keeps; skips the test where this is no checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel of this tree holds."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "tree").mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "tree" / name)
    command = [sys.executable, "-m", "pip", "wheel", str(folder / "tree"), "-w", str(folder), "--no-deps", "-q"]
    subprocess.run([*command, "--no-build-isolation", "--disable-pip-version-check"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_works_by_itself(unpacked: Path, tmp_path: Path) -> None:
    """Away from the checkout, all of gensim comes out of the wheel."""
    run = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert all(Path(place).is_relative_to(unpacked) for place in run.stdout.split())


def test_the_wheel_holds_every_module(unpacked: Path) -> None:
    """A package that pyproject.toml forgets would be missing."""
    for name in PACKAGES:
        target = unpacked / ("gensim" if name == "gensim" else f"gensim/{name}")
        sources = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*.py")}
        missing = [str(path) for path in sources if not (target / path).is_file()]
        assert not missing, f"{missing} of {name} are not in the wheel: name their packages in pyproject.toml"


def test_floors_are_imported_by_their_full_names() -> None:
    """`from gensim import world` or a relative import would hide from the test of the floors."""
    for path in [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module != "gensim", f"{path}:{node.lineno}"


def test_no_file_in_git_is_large() -> None:
    large = {str(path): path.stat().st_size for path in tracked() if path.stat().st_size > LARGEST}
    assert not large


def test_one_version() -> None:
    """pyproject.toml, the package, the citation and the changelog name the same one."""
    cited = re.search(r'^version: "?([^"\n]+)', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    logged = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    declared = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert cited and logged and declared
    versions = {cited[1], logged[1], declared[1], gensim.__version__, metadata.version("gensim-worlds")}
    assert len(versions) == 1, versions


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "scripts").iterdir() if p.is_file() and not p.suffix))
def test_scripts(script: str) -> None:
    """Each can be run, stops at its first fault, and says in its first lines what it does."""
    path = ROOT / "scripts" / script
    lines = path.read_text(encoding="utf-8").splitlines()
    assert os.access(path, os.X_OK) and lines[0].startswith("#!")
    assert len(lines[1].strip('#" ')) > 20
    if lines[0].endswith("bash"):
        assert "set -euo pipefail" in lines
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_nothing_names_this_folder() -> None:
    """No path of the machine that a file was made on is of use elsewhere."""
    for path in tracked():
        if path.suffix in (".py", ".md", ".json", ".toml", ".cff", ".yaml", ""):
            assert f"{ROOT}/" not in path.read_text(encoding="utf-8", errors="ignore"), path
