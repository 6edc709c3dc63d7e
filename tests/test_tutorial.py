"""The tutorial of README.md, run line by line as a newcomer would, against a platform of the test's own.

Its `sh` blocks are one shell session; the `text` block after one is what it must print, `...` standing for what differs
from run to run. Only the ports are others: those of the text are the defaults.
"""

import os
import re
import shutil
import subprocess
import sys
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

import pytest

from kaa_cli.main import parser
from support.process import clean_environ
from support.stack import Stack, running_stack

ROOT = Path(__file__).parents[1]
TITLE = "## Connect your first device"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
STEP_DONE = "-- the step is done --"


def tutorial() -> list[tuple[str, str]]:
    """The commands of each step, and what they print."""
    section = (ROOT / "README.md").read_text().partition(TITLE)[2].partition("\n## ")[0]
    return BLOCK.findall(section)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial calls curl")
def test_every_line_of_the_tutorial_does_what_the_tutorial_says(tmp_path: Path) -> None:
    _, *steps = tutorial()
    with running_stack(tmp_path) as stack:
        printed = run_in_one_shell([commands for commands, _ in steps], tmp_path, stack)
    assert len(printed) == len(steps)
    for (commands, expected), actual in zip(steps, printed, strict=True):
        assert matches(expected, actual), f"{commands}\nprinted\n\n{actual}\ninstead of\n\n{expected}"


def test_the_tutorial_starts_the_platform_as_the_tests_do() -> None:
    (command, _), *_ = tutorial()
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
    planned = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "run"],
        cwd=ROOT,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    assert command == "make run\n"
    assert planned.stdout.splitlines()[-1].split()[-2:] == [".venv/bin/kaa", "up"]


def test_the_ports_of_the_tutorial_are_the_defaults() -> None:
    options = parser({}).parse_args(["up"])
    assert (options.http_port, options.mqtt_port, options.nats_port) == (8080, 1883, 4222)


def run_in_one_shell(steps: list[str], folder: Path, stack: Stack) -> list[str]:
    """What each step printed; fails with the first command that does."""
    # The folder looks like the repository to whoever works in it, save for the stack's own data.
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "examples").symlink_to(ROOT / "examples")
    script = f"echo '{STEP_DONE}'\n".join(["set -e -o pipefail\n", *steps, ""])
    environ = {**clean_environ(), "KAA_URL": stack.http_url, "KAA_MQTT_PORT": str(stack.mqtt_port)}
    environ["PATH"] = os.pathsep.join([str(Path(shutil.which("curl") or "").parent), "/usr/bin", "/bin"])
    shell = subprocess.run(
        ["bash", "-c", script.replace("http://127.0.0.1:8080", stack.http_url)],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert shell.returncode == 0, shell.stdout
    return shell.stdout.split(f"{STEP_DONE}\n")[1:-1]


def matches(expected: str, actual: str) -> bool:
    return OutputChecker().check_output(f"{expected}\n", f"{actual}\n", ELLIPSIS | NORMALIZE_WHITESPACE)
