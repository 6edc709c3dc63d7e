import os
import subprocess
import sys

PRINTING = """
import sys
import kaa_cli.main
from kaa_cli.__main__ import kaa
kaa_cli.main.main = lambda: print("a table") or 0
sys.exit(kaa())
"""


def test_whoever_has_seen_enough_of_the_output_sees_no_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        command = [sys.executable, "-c", PRINTING]
        ended = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(write_end)
    assert (ended.returncode, ended.stderr) == (141, b"")
