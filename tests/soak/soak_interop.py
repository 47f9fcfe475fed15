#!/usr/bin/env python3
"""A rolling restart between the program under test and that of an earlier commit, which is built here: forward, as
an upgrade, and back, where it has to be undone. FULMAR_OLD_COMMIT names the commit (else the one before this)."""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))

import lib
import test_interop

COMMIT = os.environ.get("FULMAR_OLD_COMMIT", "HEAD~1")
OPTIONS = ["-Doptimization=1", "-Ddebug=true", "-Dtests=false", "-Dbench=false"]


def run(*argv):
    p = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                       check=False)
    lib.check(p.returncode == 0, f"{' '.join(map(str, argv))}: {p.stdout[-2000:]}")
    return p.stdout


def build(folder):
    """The program of that commit, in a work tree of its own."""
    tree = pathlib.Path(folder) / "tree"
    print("# " + run("git", "log", "-1", "--format=%h of %ci: %s", COMMIT).strip(), flush=True)
    run("git", "worktree", "add", "--detach", tree, COMMIT)
    run("meson", "setup", tree / "build", tree, *OPTIONS)
    run("ninja", "-C", tree / "build", "fulmar")
    return tree / "build" / "fulmar"


def test_forward(stage):
    """An upgrade, one daemon after the other."""
    test_interop.roll_through(stage, OLD, lib.FULMAR)


def test_there_and_back(stage):
    """Back to the earlier program, and forward again."""
    test_interop.roll_through(stage, lib.FULMAR, OLD, lib.FULMAR)


if __name__ == "__main__":
    lib.TEST_MAX_S = 900
    with tempfile.TemporaryDirectory(prefix="fulmar-interop-") as temporary:
        try:
            OLD = build(temporary)
            lib.main(globals())
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(pathlib.Path(temporary) / "tree")], cwd=ROOT,
                           check=False, capture_output=True)
