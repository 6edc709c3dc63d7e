"""`python -m epr` runs the register alone."""

import os
import sys

from epr.app import SERVICE
from kaa_common.service import main

sys.exit(main([SERVICE], os.environ))
