"""``python -m reports.cli``: the command, where its name is not on the path."""

from reports.cli import main

main()
