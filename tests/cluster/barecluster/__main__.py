"""python -m barecluster"""

import sys

from barecluster.cli import main

sys.exit(main())
