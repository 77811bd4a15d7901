"""`python -m alpha_umi`: the command line."""

from alpha_umi.cli import main

if __name__ == "__main__":
    main()
