"""``python -m gearnet_plugin``: the command ``gearnet``, for where it is not on the path."""

import sys

from gearnet_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
