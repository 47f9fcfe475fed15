"""What a failover lost, from the writer's own log, from what the database holds afterwards, and from the log that the
old primary had behind the fork: as Fulmar kept it, read by PostgreSQL's own pg_waldump."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field

from .pg_evidence import Write
from .pg_lab import BIN
from .procs import BenchError

RETURNING = "pg_current_xact_id()"  # of the writer, for Write.said
COMMIT = re.compile(r"^rmgr: Transaction +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .*"
                    r"desc: COMMIT ", re.M)


def lsn(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def commits(text: str) -> dict[int, int]:
    """Of what pg_waldump prints: where the commit record of each transaction ends."""
    return {int(tx): lsn(at) + (int(size) + 7) // 8 * 8 for size, tx, at in COMMIT.findall(text)}


def read_copy(folder: str, timeline: int, fork: str) -> dict[int, int]:
    argv = [str(BIN / "pg_waldump"), "-p", folder, "-t", str(timeline), "-s", fork, "-r", "Transaction"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd="/")
    ends = ("invalid record length", "could not find", "invalid magic", "unexpected pageaddr", "incorrect resource")
    if done.returncode and not any(e in done.stderr for e in ends):  # the end of the log is an error to it
        raise BenchError(f"pg_waldump: {done.stderr}")
    return commits(done.stdout)


@dataclass
class Loss:
    acknowledged: int                # by the old primary, in this round
    lost: int                        # of these, not in the database
    size: int = 0                    # bytes of its log from the fork to the end of the last of these
    recovered: int = 0               # transactions behind the fork
    unknown: int = 0                 # neither acknowledged nor refused
    wrong: list[str] = field(default_factory=list)


def judge(acks: list[Write], unknown: int, present: set[int], fork: str, behind: dict[int, int], counted: int) -> Loss:
    """`acks`: of the old primary; `behind`: see commits(); `counted`: the transactions of the item."""
    lost = [a for a in acks if a.id not in present]
    got = Loss(len(acks), len(lost), recovered=len(behind), unknown=unknown)
    missing = [a for a in lost if int(a.said) not in behind]
    if missing:
        got.wrong.append(f"{len(missing)} acknowledged and lost are not recovered, such as {missing[0]}")
    kept = [a for a in acks if a.id in present and int(a.said) in behind]
    if kept:
        got.wrong.append(f"{len(kept)} are recovered and were not lost, such as {kept[0]}")
    if len(behind) > len(lost) + unknown:
        got.wrong.append(f"{len(behind)} recovered of {len(lost)} lost and {unknown} unknown")
    if counted != len(behind):
        got.wrong.append(f"the item counts {counted} transactions, the log has {len(behind)}")
    ends = [behind[int(a.said)] for a in lost if int(a.said) in behind]
    got.size = max(ends) - lsn(fork) if ends else 0
    return got
