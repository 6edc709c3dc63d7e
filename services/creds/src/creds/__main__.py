"""`python -m creds` runs the service alone."""

import os
import sys

from creds.app import SERVICE
from kaa_common.service import main

sys.exit(main([SERVICE], os.environ))
