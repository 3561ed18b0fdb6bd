"""`python -m sgs`: will an encoder fit into memory, with which settings, at which cost?"""

import sys

from sgs.planning.command_line.command import main

if __name__ == "__main__":
    sys.exit(main())
