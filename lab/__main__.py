"""``python -m lab`` is the command ``lab``; runs on the main thread."""

from lab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
