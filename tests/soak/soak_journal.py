#!/usr/bin/env python3
"""The journal, for longer: 200 kills of a process, 200 cuts of the power."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))

import lib
import test_journal
from lib import check, check_equal

UNIT = pathlib.Path(os.environ.get("FULMAR_BUILD", ROOT / "build")) / "tests" / "unit"
ROUNDS = 200


def test_200_kills(stage):
    """kill -9 at random points: no acknowledged intent lost, no outcome invented."""
    total = test_journal.kill_at_random_points(stage, ROUNDS, 7)
    print(f"{total} acknowledged intents in {ROUNDS} lives", file=sys.stderr)


def test_200_cuts_of_the_power(stage):
    """Writes that were not synced are dropped, kept or torn."""
    for seed in (1, 2):
        p = subprocess.run([UNIT / "test_journal_power"], capture_output=True, text=True,
                           env={**os.environ, "FM_POWER_CUTS": str(ROUNDS // 2),
                                "FM_POWER_SEED": str(seed)})
        out = p.stdout + p.stderr
        check_equal(p.returncode, 0, f"exit code with seed {seed}: {out[-2000:]}")
        check(re.search(r"OK \] no_cut_loses", out), out[-2000:])


if __name__ == "__main__":
    lib.TEST_MAX_S = 1800
    lib.main(globals())
