"""What the pages say is so: their commands run, their options exist, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from gensim.__main__ import VERBS, _verbs
from gensim.envs.spec import IMITATIONS

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "own_world.md"
SMALL_FIT = "--steps 2 --batch 2 --length 16 --hidden 64"
SMALL_LEARN = "--steps 128 --rows 8 --n-steps 8 --batch 32"
BUDGETS = {  # what the pages say, and what is run here instead
    "--frames 20000": "--frames 600 --processes 1",
    "--frames 30000": "--frames 700 --processes 1",
    "--frames 200000": "--frames 400 --processes 1",
    "--minutes 15": SMALL_FIT,
    "--minutes 60": SMALL_FIT,
    "--minutes 5": SMALL_LEARN,
    "--minutes 20": SMALL_LEARN,
    "--episodes 50": "--episodes 1 --processes 1",
    "--episodes 100": "--episodes 1 --processes 1",
    "--env world": "--env world --env-kwargs horizon 20",
    "--seconds 10": "--seconds 1",
    "num_envs=64": "num_envs=3",
    "num_envs=16": "num_envs=2",
    "n_steps=128": "n_steps=16",
    "total_timesteps=100_000": "total_timesteps=32",
}
DOOM = "## VizDoom"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def small(code: str) -> str:
    """The same with this module's budgets."""
    for said, run in BUDGETS.items():
        code = re.sub(rf"{re.escape(said)}(?![\w.])", run, code)
    return code


def commands(text: str) -> list[list[str]]:
    """The arguments of every `gensim` in a page's or a script's lines."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found = [re.match(r"(?:python -m )?gensim (.+)", line) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


def run(code: str, folder: Path, *shell: str) -> str:
    """What code prints in a folder, with this interpreter first on the path."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    quiet = {"PATH": places, "SDL_VIDEODRIVER": "dummy", "OMP_NUM_THREADS": "1"}
    command = [*(shell or ("bash", "-euo", "pipefail")), "-c", code]
    done = subprocess.run(command, cwd=folder, env=os.environ | quiet, capture_output=True, text=True)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def follow(text: str, folder: Path) -> None:
    """Does what a page says: saves code that begins with a file's name, runs the commands, then the other code.

    The first command is run as it stands; the others share an interpreter, which saves most of their time.
    """
    code = blocks(text, "python")
    files = {match[1]: block for block in code if (match := re.match(r"# (\w+\.py)\n", block))}
    for name, block in files.items():
        (folder / name).write_text(block, encoding="utf-8")
    shell = small("".join(blocks(text, "sh")))
    for name in re.findall(r"^python (\w+\.py)$", shell, re.MULTILINE):
        run(f"python {name}", folder)
    first, *others = commands(shell)
    run(shlex.join(["python", "-m", "gensim", *first]), folder)
    main = "from gensim.__main__ import main"
    run(f"{main}\nfor line in {others}:\n    assert main(line) == 0, line", folder, sys.executable)
    for block in code:
        if block not in files.values():
            run(small(block), folder, sys.executable)


def test_own_world(tmp_path: Path) -> None:
    """From a game to an agent, round two included."""
    follow(PAGE.read_text(encoding="utf-8").partition(DOOM)[0], tmp_path)
    assert {"catch.py", "data", "world2", "agent2", "dream.mp4", "dream.png"} <= set(os.listdir(tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_take_cover(tmp_path: Path) -> None:
    """The second simulator of the page, where VizDoom is installed."""
    pytest.importorskip("vizdoom")
    follow(PAGE.read_text(encoding="utf-8").partition(DOOM)[2], tmp_path)
    assert (tmp_path / "doom" / "agent" / "agent.json").is_file()


def test_budgets_are_those_of_the_pages() -> None:
    """A budget that no page mentions would leave its command at full length."""
    text = PAGE.read_text(encoding="utf-8") + README.read_text(encoding="utf-8")
    assert not [said for said in BUDGETS if said not in text]


def test_readme_python(tmp_path: Path) -> None:
    """The snippets of the README, one after another in one interpreter."""
    run(small("\n".join(blocks(README.read_text(encoding="utf-8"), "python"))), tmp_path, sys.executable)


@pytest.mark.parametrize("page", [README, PAGE], ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    """Every `gensim` line of a page is one that the command line takes."""
    given = commands("\n".join(blocks(page.read_text(encoding="utf-8"), "sh")))
    assert given
    for line in given:
        parse(line)


def test_readme_names_every_verb() -> None:
    named = set(re.findall(r"^\| `gensim (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(VERBS)


def test_links_lead_somewhere() -> None:
    for page in (README, PAGE):
        text = page.read_text(encoding="utf-8")
        linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
        files = re.findall(r"`((?:scripts|results|envs|agents|gensim|docs|tests)/[\w./]*)`", text)
        missing = [name for name in linked if not (page.parent / name).exists()]
        missing += [name for name in files if not (ROOT / name).exists()]
        assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("world", ["carracing", "takecover"])
def test_a_recipe_is_a_loop_within_its_budget(world: str) -> None:
    """What scripts/loop_WORLD asks for is what the command line takes, and at most 500,000 frames."""
    text = (ROOT / f"scripts/loop_{world}").read_text().replace("\\\n", " ")
    asked = re.search(r"gensim (loop .*)", text)
    assert asked
    line = asked[1].replace('"$1"', "runs").replace('"$2"', "0").split()
    options = parse(line)
    assert IMITATIONS[options.env_id] == f"gensim.envs.{world}"  # type: ignore[attr-defined]
    assert options.real_frames <= 500_000  # type: ignore[attr-defined]


def parse(line: list[str]) -> object:
    """The options of a command line; the test fails where it is not taken."""
    try:
        return tyro.cli(_verbs(line[0]), args=line, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit:
        pytest.fail(f"gensim does not take: {' '.join(line)}")
