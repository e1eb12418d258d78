"""python -m ddml_kit: the same as ddml-kit."""

import sys

from ddml_kit.command.main import main

if __name__ == "__main__":  # workers that are spawned import this module as well
    sys.exit(main())
