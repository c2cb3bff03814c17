"""Ends the process that imports it, if nobody minds."""

import sys

sys.exit("good-bye")
