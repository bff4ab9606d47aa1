"""`python -m FedSegCore` is `fedseg`."""

from FedSegCore.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
