"""20,000 schedules of the simulator without a broken invariant; clocks beyond their bound are found;
each rule that is switched off is noticed within 300 schedules, or by a unit test."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FULMAR_BUILD", ROOT / "build"))
SIM = BUILD / "src" / "sim" / "fulmar-sim"


def check(name: str, argv: list) -> bool:
    p = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, check=False)
    print(p.stdout)
    print(f"ok {name}" if p.returncode == 0 else f"FAIL {name}: exit code {p.returncode}", flush=True)
    return p.returncode == 0


ok = check("schedules", [SIM, "--seed", 1000000, "--count", 20000])
ok &= check("clocks-beyond-the-bound", [SIM, "--count", 500, "--beyond"])
ok &= check("mutants", [ROOT / "tests" / "mutants", "--seeds", 300, "--build", BUILD.name])
sys.exit(0 if ok else 1)
