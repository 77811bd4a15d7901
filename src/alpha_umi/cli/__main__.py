"""For ``python -m alpha_umi.cli`` and ``accelerate launch -m alpha_umi.cli``."""

from alpha_umi.cli import main

main()
