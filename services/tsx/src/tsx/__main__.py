"""`python -m tsx` runs the service alone."""

import os
import sys

from kaa_common.service import main
from tsx.app import SERVICE

sys.exit(main([SERVICE], os.environ))
