"""What a failover lost, from the writer's own log, from what the database holds afterwards, from the rows that were
recovered, and from the log that the old primary had behind the fork: as it was kept, read by PostgreSQL's own
pg_waldump."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import Any

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


def rows_of(decoded: list[dict[str, Any]] | None) -> set[int]:
    """The writes among the transactions of an item."""
    return {int(c["new"]["id"]) for t in decoded or [] for c in t["changes"]
            if c.get("relation") == "public.bench_writes" and c.get("op") == "insert"}


@dataclass(frozen=True)
class Found:
    """About the part of the old primary's log that the others have not."""
    fork: str = "0/0"
    commits: dict[int, int] = field(default_factory=dict)  # see commits()
    counted: int = 0                                       # transactions, by the item
    known: str = "all"                                     # of the rows, by the item
    rows: set[int] = field(default_factory=set)


@dataclass
class Loss:
    acknowledged: int                # by the old primary, in this round
    lost: int                        # of these, not in the database
    size: int = 0                    # bytes of its log from the fork to the end of the last of these
    recovered: int = 0               # rows
    unknown: int = 0                 # neither acknowledged nor refused
    wrong: list[str] = field(default_factory=list)


def judge(acks: list[Write], unknown: set[int], present: set[int], found: Found) -> Loss:
    """`acks`: of the old primary; `unknown`: writes that nobody answered for."""
    lost = {a.id: a for a in acks if a.id not in present}
    got = Loss(len(acks), len(lost), recovered=len(found.rows), unknown=len(unknown))

    def wrong(ids: set[int], text: str) -> None:
        if ids:
            got.wrong.append(f"{len(ids)} {text}, such as {min(ids)}")

    wrong(lost.keys() - found.rows, "acknowledged and lost are not recovered")
    wrong(found.rows - lost.keys() - unknown, "are recovered that were not lost")
    wrong(found.rows & present, "are recovered and there")
    wrong({i for i, a in lost.items() if int(a.said) not in found.commits}, "lost have no commit behind the fork")
    if found.counted != len(found.commits):
        got.wrong.append(f"the item counts {found.counted} transactions, the log has {len(found.commits)}")
    if found.counted and found.known != "all":
        got.wrong.append(f"the rows are known: {found.known}")
    ends = [found.commits[int(a.said)] for a in lost.values() if int(a.said) in found.commits]
    got.size = max(ends) - lsn(found.fork) if ends else 0
    return got
