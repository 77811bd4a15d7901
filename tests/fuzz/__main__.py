"""Lets ``python -m tests.fuzz`` run the fuzzer."""

import sys

from tests.fuzz.runner import main

sys.exit(main())
