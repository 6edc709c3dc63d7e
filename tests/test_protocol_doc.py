import subprocess
import sys
from pathlib import Path

from kaa_common.messages.protocols import records

ROOT = Path(__file__).parents[1]


def run_tool(*arguments: str, tool: Path = ROOT / "tools" / "protocol_doc.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, tool, *arguments], capture_output=True, text=True, timeout=60)


def test_the_protocols_are_documented_as_they_are() -> None:
    checked = run_tool("--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_message_is_documented() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()

    assert [record.__name__ for record in records() if f"### {record.__name__}\n" not in text] == []


def test_an_outdated_document_is_found_and_written_again(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = tmp_path / "tools" / "protocol_doc.py"
    tool.write_text((ROOT / "tools" / "protocol_doc.py").read_text())
    written = tmp_path / "docs" / "protocol.md"
    written.parent.mkdir()

    assert run_tool("--check", tool=tool).returncode == 1
    written.write_text("outdated")
    outdated = run_tool("--check", tool=tool)
    assert (outdated.returncode, outdated.stderr.count("\n")) == (1, 1)
    assert run_tool(tool=tool).returncode == 0
    assert run_tool("--check", tool=tool).returncode == 0
    assert "### ClientData\n" in written.read_text()
