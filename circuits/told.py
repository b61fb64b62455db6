"""What people are told on stderr while something runs: one line, with the command's name in front."""

import sys


def say(message: str) -> None:
    print(f"othello-circuits: {' '.join(message.split())}", file=sys.stderr)


def warn(message: str) -> None:
    say(f"warning: {message}")
