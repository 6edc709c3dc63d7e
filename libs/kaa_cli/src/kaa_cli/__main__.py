"""The `kaa` command as a process, `python -m kaa_cli` likewise."""

import sys


def kaa() -> int:
    """Do what the command line says; the exit code of the process."""
    try:
        # Here, because it takes long enough for a Ctrl-C to fall into it.
        from kaa_cli.main import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(kaa())
