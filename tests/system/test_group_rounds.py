#!/usr/bin/env python3
"""A short version of tests/soak/soak_group.py: faults of two kinds against a real PostgreSQL group."""

import sys

import lib

sys.path.append(str(lib.ROOT / "tests" / "soak"))
import soak_group  # noqa: E402


def test_group_rounds(stage):
    """The postmaster killed with a backend left alive, the region of the primary cut off: the group is whole
    again each time, by itself, with everything that it acknowledged."""
    soak_group.soak(stage, 355, 2, ["PostmasterKilled", "RegionCut", "SlotDropped"], nodes=("west", "north"))


if __name__ == "__main__":
    lib.main(globals())
