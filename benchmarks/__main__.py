"""``python -m benchmarks``. Its fresh processes import this file again, and should load nothing but
what they measure."""

import sys

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())
