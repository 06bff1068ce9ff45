"""``python -m twoclocks`` is the command ``twoclocks``."""

from .cli import main

if __name__ == "__main__":
    main()
