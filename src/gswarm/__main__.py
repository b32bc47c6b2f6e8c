"""``python -m gswarm`` is the ``gswarm`` command."""

from gswarm.cli.main import main

if __name__ == "__main__":
    main()
