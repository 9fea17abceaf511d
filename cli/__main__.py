"""`python -m sanderling.cli`: the same as the `sanderling` command."""

import sys

from sanderling.cli.main import main

sys.exit(main())
