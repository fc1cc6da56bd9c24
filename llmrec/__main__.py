"""``python -m llmrec`` is the command line, for places where its script is not on the path."""

from llmrec.cli import main

if __name__ == "__main__":
    main()
