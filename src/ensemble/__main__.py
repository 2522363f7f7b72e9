"""`python -m ensemble`."""

from ensemble.cli.main import main

if __name__ == "__main__":
    main()
