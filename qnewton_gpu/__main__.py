"""`python -m qnewton_gpu` is the command `qnewton`."""

import sys

from .cli import main

sys.exit(main())
