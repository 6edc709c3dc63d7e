"""`python -m kpc` runs the communication service alone."""

import os
import sys

from kaa_common.service import main
from kpc.app import SERVICE

sys.exit(main([SERVICE], os.environ))
