#!/usr/bin/env python3
"""`fulmar demo` with the ledger in a PostgreSQL group: is the truth of the ledger told, is going home refused until the data
are there, and is nothing left of PostgreSQL when it ends? What is counted must hold on any machine."""

import glob
import json
import os
import signal

import lib
from lib import check, check_equal, wait_until
from test_demo import LATE_MS, children_of, demo, its_own_cold, left_nothing, met

RUN_S = 220  # about 40 where nothing else runs


def servers(process):
    """Processes whose folder is one of the demonstration's."""
    found = []
    for pid in (p for p in os.listdir("/proc") if p.isdigit()):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(process.tmp)):
                found.append(int(pid))
        except OSError:
            pass
    return found


def begin(stage, name, *arguments):
    if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):
        raise lib.Skip("PostgreSQL is not installed")
    stage.dir.chmod(0o755)
    return demo(stage, name, *arguments)


def ledger_is_right(one, may_fail=False):
    name, ledger = one["name"], one["ledger"]
    late_ms = one["load_generator_late_ms"] or 0
    if may_fail:  # while nobody could answer; every one of them was told, but on a machine as busy as below
        told = one["failed_by_kind"].get("status_5xx", 0)
        check(0 < told <= one["failed"] and (told == one["failed"] or late_ms >= LATE_MS), f"{name}: {one}")
    elif late_ms < LATE_MS:
        check_equal((one["failed"], one["failed_by_kind"]), (0, {}), f"{name}: failures")
    else:  # a command may have run out of its time on a machine that was this busy; the ledger must be right on any
        print(f"# {name}: {one['failed']} failed, of a load that was {late_ms} ms late itself", flush=True)
    check_equal(one["writes_applied_twice"], 0, f"{name}: applied twice")
    check(ledger["acknowledged"] <= ledger["in_database"] + ledger["recovered"]
          <= ledger["acknowledged"] + ledger["unknown"], f"{name}: {ledger}")
    check(ledger["rows_agree"] is not False, f"{name}: {ledger}")  # None: of some the rows are not known
    check(ledger["acknowledged"] > 50 and ledger["holds"] and ledger["balances"] and ledger["within_bound"], f"{name}: {ledger}")
    check_equal(one["acknowledged_writes_missing"], ledger["lost"], f"{name}: acknowledged writes missing")
    detected = one["detect_ms"] is not None or name not in ("forced", "stand-down", "complete")
    failed = one.get("queries_failed_when_ready") or one.get("failed_when_taken") or (one["failed"] and not may_fail)
    check_equal(one["pass"], met(one) and detected and not failed, f"objectives and pass of {one}")


def forced_is_right(one):
    ledger_is_right(one)
    check_equal(one["bound"], {"bytes": 1 << 20, "transactions": (1 << 20) // 34 + 1, "kind": "enforced"}, "what was shown before")
    check(one["taken_over"] and one["rejoined_ms"] > 0, f"forced: {one}")


def failback_is_right(one):
    ledger_is_right(one)
    check("replication lags" in one["refused"][0] and "bytes behind" in one["refused"][0], f"failback: {one['refused']}")
    check_equal((one["ledger"]["lost"], one["failed_back"], one["is_home"]), (0, True, True), f"failback: {one}")


def test_forced_and_back(stage):
    """The region of the primary dies with its PostgreSQL; what is lost is counted, and within what was shown before. Then
    replication is broken, and going home is refused until it is not. Ctrl-C leaves nothing."""
    process = begin(stage, "group", "--scenario", "forced,failback", "--keep", "-o", "json")

    def is_told():
        check(process.is_alive(), f"it has ended: {process.output()}")
        return "Ctrl-C ends it" in process.output()

    wait_until("both are over", is_told, RUN_S)
    children = children_of(process.pid)
    check(len(servers(process)) > 4, "PostgreSQL runs")
    process.signal(signal.SIGINT)
    code = process.wait(60)
    left_nothing(process, children)
    check_equal(servers(process), [], "what is left of PostgreSQL")
    doc = json.loads(process.out.read_text())
    check_equal([o["name"] for o in doc["scenarios"]], ["forced", "failback"], "scenarios")
    forced_is_right(doc["scenarios"][0])
    failback_is_right(doc["scenarios"][1])
    check_equal(code, 0 if doc["pass"] else 2, "exit code")
    print(f"  {json.dumps(doc['scenarios'])}")


CREDIT = {"bytes": 1 << 16, "transactions": (1 << 16) // 34 + 1, "kind": "enforced"}


def cold_is_right(one):
    """A standby whose app is stopped, and whose database follows until it is prepared."""
    name = one["name"]
    ledger_is_right(one, may_fail=name in ("stand-down", "complete"))
    its_own_cold(one)
    if name == "prepare":
        check(0 < one["broken_ms"] < one["unbounded_ms"] < one["restored_ms"], f"{name}: {one}")
        check(0 <= one["lacked_bytes"][0] < one["lacked_bytes"][1], f"{name}: what it lacks does not grow: {one}")
    if name in ("stand-down", "complete"):
        check(one["failed_when_taken"] == 0 or (one["load_generator_late_ms"] or 0) >= LATE_MS, f"{name}: {one}")
        check(one["queries_failed_when_ready"] == 0 or one["load_generator_late_ms"] > LATE_MS / 3, f"{name}: {one}")
        check_equal(one["bound"], CREDIT, f"{name}: what was shown before")
    if name == "complete":
        check(one["quoted_as_shown"] and one["rejoined_ms"] > 0, f"{name}: {one}")
    else:
        check_equal(one["ledger"]["lost"], 0, f"{name}: {one['ledger']}")
    if name == "stand-down":
        check(one["restored_ms"] > one["commands_taken_ms"], f"{name}: {one}")


def test_cold_standby(stage):
    """Replication is broken while a cold standby is prepared, and what would be lost grows. Stood down, it is restored, by a
    person while all was well, and when the primary is back; completed, it goes on with the bound that was shown before."""
    process = begin(stage, "cold", "cold-standby", "-o", "json")
    code = process.wait(RUN_S)
    check(code in (0, 2), f"it has failed: {process.output()}")
    doc = json.loads(process.out.read_text())
    check_equal([o["name"] for o in doc["scenarios"]], ["prepare", "stand-down", "complete", "failback"], "scenarios")
    for one in doc["scenarios"]:
        cold_is_right(one)
        print(f"  {one['name']}: {json.dumps(one)}")
    check_equal(code, 0 if doc["pass"] else 2, "exit code")
    check_equal((list(process.tmp.iterdir()), servers(process)), ([], []), "what is left")


def test_interrupted_while_it_is_made(stage):
    """Ctrl-C while PostgreSQL is made."""
    process = begin(stage, "early", "--scenario", "switchover")
    wait_until("PostgreSQL is made", lambda: servers(process), 60)
    children = children_of(process.pid)
    process.signal(signal.SIGINT)
    check_equal(process.wait(60), 130, "exit code")
    left_nothing(process, children)
    check_equal(servers(process), [], "what is left of PostgreSQL")


if __name__ == "__main__":
    lib.main(globals())
