"""`python -m muniment` is the `muniment` command."""

from muniment.cli import main

if __name__ == "__main__":
    main()
