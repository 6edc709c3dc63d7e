"""`python -m kaa_cli` is the `kaa` command."""

import sys

from kaa_cli.main import main

sys.exit(main())
