"""MQTT.js, which devices in Node are written with, from npm."""

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = "mqtt@5.16.0"


def install_mqtt_js(directory: Path) -> Path:
    """The folder that Node finds it in (NODE_PATH); the test is skipped where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE]
    try:
        subprocess.run(npm, check=True, capture_output=True, timeout=50)
    except subprocess.SubprocessError as exc:
        pytest.skip(f"npm cannot install {PACKAGE}: {exc}")
    return directory / "node_modules"
