"""The `kaa` command as a process, `python -m kaa_cli` likewise."""

import os
import sys


def kaa() -> int:
    """Do what the command line says; the exit code of the process."""
    try:
        # Here, because it takes long enough for a Ctrl-C to fall into it.
        from kaa_cli.main import main

        try:
            return main()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output, `head` for instance, has seen enough; what is left would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(kaa())
