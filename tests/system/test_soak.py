#!/usr/bin/env python3
"""A short version of tests/soak: a growth that shows in seconds need not wait for its ten minutes."""

import sys

import lib

sys.path.append(str(lib.ROOT / "tests" / "soak"))
import soak_edge  # noqa: E402


def test_edge_short(stage):
    """Twelve seconds of full load with reloads and deaths: no failed request, no growth."""
    soak_edge.soak(stage, 12)


if __name__ == "__main__":
    lib.main(globals())
