"""`python -m alpha_umi`: the command line."""

from alpha_umi.cli import main

main()
