#!/usr/bin/env python3
"""What a primary acknowledges is bounded by the credit, with real servers: a standby that is frozen, an agent
that is killed, a sub-lease that is not renewed. pg_credit_tool is src/pg/stream.h and src/core/credit.h as a
program (tests/unit/pg/credit_tool.c); it also writes, and says where the log was before each commit that was
acknowledged."""

import os
import pathlib
import re
import signal
import time

import lib
import postgres
from lib import check, wait_until

TOOL = pathlib.Path(os.environ.get("FULMAR_BUILD", lib.ROOT / "build")) / "tests/unit/pg_credit_tool"
CREDIT = 256 * 1024
# A commit begins right behind where the log was before it, but for what others write meanwhile: a checkpoint, and
# then whole pages. Nothing else writes here.
SLACK = 32 * 1024
LONG_S = 60


class Vouching:
    """The tool, in the place of an agent."""

    def __init__(self, stage, primary, standby):
        name = f"vouch-{len(stage.processes)}"
        self.process = stage.start(name, [TOOL, "vouch", primary.port, standby.port, CREDIT])

    def last(self):
        def said():
            return re.findall(r"^granted=(\d+) flushed=(\d+) kind=(\S+) bytes=(\d+) waiting=(\d)$",
                              self.process.output(), re.M)

        lines = wait_until("it says what it vouches for", said)
        granted, flushed, kind, loss, waiting = lines[-1]
        return {"granted": int(granted), "flushed": int(flushed), "kind": kind, "bytes": int(loss),
                "waiting": waiting == "1"}


def acknowledged(writer):
    check(writer.is_alive(), f"the writer has ended: {writer.output()}")
    return [int(n) for n in re.findall(r"^(\d+)$", writer.output(), re.M)]


def goes_on(writer, more=50):
    have = len(acknowledged(writer))
    wait_until("commits are acknowledged", lambda: len(acknowledged(writer)) >= have + more, LONG_S)


def stops(writer, primary):
    """All that is acknowledged, once a commit waits and nothing more comes."""
    def waits():
        return primary.sql("select count(*) from pg_stat_activity where wait_event = 'SyncRep'") == "1"

    def is_quiet():
        before = len(acknowledged(writer))
        if not waits():
            return False
        time.sleep(0.5)
        return waits() and len(acknowledged(writer)) == before

    wait_until("a commit waits for good", is_quiet, LONG_S)
    return acknowledged(writer)


def every_process(server):
    """Of the server: the postmaster and its children."""
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def bring_up(stage):
    primary = postgres.Server(stage, "west", ["autovacuum=off", "checkpoint_timeout=1h"]).make().start()
    primary.sql("create table t (x text)")
    standby = postgres.Server(stage, "north").copy_of(primary).start()
    agent = Vouching(stage, primary, standby)
    primary.sql("alter system set synchronous_standby_names = 'FIRST 1 (fulmar_credit)'")
    primary.sql("select pg_reload_conf()")
    wait_until("the primary waits for it", lambda: agent.last()["kind"] == "enforced", LONG_S, 0.05)
    writer = stage.start("writer", [TOOL, "write", primary.port])
    goes_on(writer)
    return primary, standby, agent, writer


def test_a_frozen_standby_stops_commits_within_the_credit(stage):
    """Commits go on for what the credit is worth while the standby is frozen, then wait, and go on when it wakes."""
    primary, standby, agent, writer = bring_up(stage)
    frozen = every_process(standby)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        seen = stops(writer, primary)
        wait_until("it says that they wait", lambda: agent.last()["waiting"], LONG_S)
        last = agent.last()
        check(last["waiting"] and last["kind"] == "enforced", f"it does not say so: {last}")
        check(last["bytes"] == CREDIT and last["granted"] == last["flushed"] + CREDIT, f"the bound is wrong: {last}")
        check(seen[-1] < last["granted"], f"acknowledged behind {last['granted']}: {seen[-1]}")
        check(seen[-1] > last["granted"] - SLACK, f"the credit was not used: {seen[-1]} of {last['granted']}")
        check(int(primary.sql("select count(*) from t")) == len(seen), "the commit that waits is seen")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    goes_on(writer)


def test_without_the_agent_commits_wait(stage):
    """An agent that is killed vouches for nothing more than it had; its successor takes up from there."""
    primary, standby, agent, writer = bring_up(stage)
    agent.process.kill()
    granted = agent.last()["granted"]
    seen = stops(writer, primary)
    check(seen[-1] < granted, f"acknowledged behind {granted}: {seen[-1]}")
    received = "select pg_last_wal_receive_lsn() - '0/0'"
    wait_until("the standby has what was acknowledged", lambda: int(standby.sql(received)) > seen[-1], LONG_S)
    Vouching(stage, primary, standby)
    goes_on(writer)


def test_without_a_sub_lease_commits_wait(stage):
    """An agent that lives without a sub-lease grants nothing more, and its stream does not end."""
    primary, _, agent, writer = bring_up(stage)
    agent.process.signal(signal.SIGUSR1)
    seen = stops(writer, primary)
    last = agent.last()
    check(seen[-1] < last["granted"], f"acknowledged behind {last['granted']}: {seen[-1]}")
    check("ended=" not in agent.process.output(), "the stream has ended")
    check(primary.sql("select state from pg_stat_replication where application_name = 'fulmar_credit'")
          == "streaming", "it does not stream")


if __name__ == "__main__":
    lib.main(globals())
