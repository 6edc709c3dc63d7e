"""`python -m tekton` runs the service alone."""

import os
import sys

from kaa_common.service import main
from tekton.app import SERVICE

sys.exit(main([SERVICE], os.environ))
