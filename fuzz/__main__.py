"""Lets ``python -m fuzz`` run the fuzzer."""

import sys

from fuzz.runner import main

sys.exit(main())
