"""Seeds of random tests: fresh each time, printed, and given again by EMBERLOG_TEST_SEED."""

from __future__ import annotations

import os
import random
import sys


def say(text: str) -> None:
    """One line for whoever watches; pytest shows it with a failure, and always under -s."""
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def chosen_seed() -> int:
    """A fresh seed, or the one in EMBERLOG_TEST_SEED to see a failure again."""
    seed = int(os.environ.get("EMBERLOG_TEST_SEED") or random.SystemRandom().randrange(10_000))
    say(f"seed {seed}")
    return seed
