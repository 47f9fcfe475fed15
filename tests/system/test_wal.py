#!/usr/bin/env python3
"""The log of a real server, counted as pg_waldump shows it. pg_wal_tool is src/pg/wal.h as a program
(tests/unit/pg/wal_tool.c)."""

import os
import pathlib
import re
import signal
import subprocess

import lib
import postgres
from lib import check, check_equal

TOOL = pathlib.Path(os.environ.get("FULMAR_BUILD", lib.ROOT / "build")) / "tests/unit/pg_wal_tool"
SEGMENT = 1 << 20


def count(server, after, reaches="0/0", timeline=1, past=()):
    p = subprocess.run([TOOL, server.data / "pg_wal", str(timeline), str(SEGMENT), after, reaches, *past],
                       capture_output=True, text=True, timeout=60)
    check(p.returncode in (0, 1), f"the tool: {p.stdout}{p.stderr}")
    return p.returncode, dict(line.split("=", 1) for line in p.stdout.splitlines())


def dump(server, begin, timeline=1):
    """Each record from `begin` on: where it begins, what it is, whether it commits."""
    p = subprocess.run(postgres.as_postgres([server.bin / "pg_waldump", "-p", server.data / "pg_wal", "-t", timeline,
                                             "-s", begin]), capture_output=True, text=True, timeout=60, cwd="/")
    found = re.findall(r"^rmgr: (\S+)\s.*?lsn: (\S+), prev \S+, desc: (\S+)", p.stdout, re.M)
    check(found, f"pg_waldump: {p.stdout}{p.stderr}")
    return [(lsn, manager == "Transaction" and what in ("COMMIT", "COMMIT_PREPARED")) for manager, lsn, what in found]


def place(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def make(stage):
    server = postgres.Server(stage, "west", ["max_prepared_transactions=5", "autovacuum=off", "wal_keep_size=512MB"])
    postgres.run([server.bin / "initdb", "-D", server.data, "-U", "postgres", "-A", "trust", "--no-sync",
                  f"--wal-segsize={SEGMENT >> 20}"])
    return server.start()


def write(server):
    """Small and large commits over some files, prepared and rolled back ones, a switch of the file."""
    server.sql("create table t (x text)")
    after = server.sql("select pg_current_wal_insert_lsn()")
    for i in range(5):
        server.sql(f"insert into t select repeat(md5(n::text), 60) from generate_series(1, {i * 300 + 1}) n")
        server.sql("begin; insert into t values ('lost'); rollback")
        server.sql(f"begin; insert into t values ('two'); prepare transaction 'p{i}'")
        server.sql(f"commit prepared 'p{i}'")
        if i == 2:
            server.sql("select pg_switch_wal()")
    server.sql("do $$ begin for i in 1..100 loop insert into t values (i); commit; end loop; end $$")
    return after


def test_counts_what_pg_waldump_shows(stage):
    """Commits behind each of many places of a log, whether the server was stopped or killed."""
    server = make(stage)
    after = write(server)
    server.stop()
    records = dump(server, after)
    check(sum(commits for _, commits in records) >= 110, "too little was written")
    check(place(records[-1][0]) - place(after) > 2 * SEGMENT, "it is all in one file")
    # a record ends where the next one begins, or before the header of a page: no other one ends in between
    for i in range(0, len(records), max(1, len(records) // 60)):
        code, said = count(server, records[i][0], records[-1][0])
        check_equal((code, said["error"]), (0, ""), f"from {records[i][0]}")
        check_equal(int(said["commits"]), sum(commits for _, commits in records[i:]), f"commits from {records[i][0]}")
        check_equal(int(said["records"]), len(records) - i, f"records from {records[i][0]}")
    check_equal(int(count(server, after)[1]["prepared_before"]), 5, "prepared before")
    control = postgres.run([server.bin / "pg_controldata", "-D", server.data])
    shut_down = re.search(r"Latest checkpoint location:\s+(\S+)", control)[1]
    code, said = count(server, after, shut_down)
    check(code == 0 and place(said["end"]) > place(shut_down), f"the log ends at {said['end']}, before {shut_down}")


def test_counts_in_the_log_of_a_server_that_was_killed(stage):
    """The log of a server that crashed ends where it ends, among what files had in them before."""
    server = make(stage)
    write(server)
    server.sql("checkpoint")  # files are used again from here on
    after = write_more(server)
    last = server.sql("select pg_current_wal_flush_lsn()")
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    server.process.wait(30)
    records = dump(server, after)
    code, said = count(server, after)
    check_equal((code, int(said["commits"])), (0, sum(commits for _, commits in records)), "commits")
    check_equal(int(said["records"]), len(records), "records")
    check(place(said["end"]) >= place(last), f"it ends at {said['end']}, and {last} was durable")
    beyond = place(said["end"]) + 64
    code, said = count(server, after, f"{beyond >> 32:X}/{beyond & 0xffffffff:X}")
    check(code == 1 and "at least" in said["error"], f"it misses nothing: {said}")


def write_more(server):
    after = server.sql("select pg_current_wal_insert_lsn()")
    for i in range(20):
        server.sql(f"insert into t select md5(n::text) from generate_series(1, {i * 20}) n")
    return after


def test_counts_over_two_timelines(stage):
    """A server that went on to another timeline has its log in files with two numbers."""
    server = make(stage)
    after = write(server)
    server.stop()
    before = sum(commits for _, commits in dump(server, after))
    (server.data / "standby.signal").touch()
    server.start()
    server.sql("select pg_promote()")
    left = (server.data / "pg_wal" / "00000002.history").read_text().split()[1]
    behind = write_more(server)
    last = server.sql("select pg_current_wal_flush_lsn()")
    server.stop()
    records = dump(server, behind, 2)
    code, said = count(server, after, last, 2, ("1", left))
    check_equal((code, said["error"]), (0, ""), "both timelines")
    check_equal(int(said["commits"]), before + sum(commits for _, commits in records), "commits of both")
    code, said = count(server, behind, last, 2, ("1", left))
    check_equal((code, int(said["commits"])), (0, sum(commits for _, commits in records)), "commits of the second")
    check_equal(count(server, after, last, 2)[0], 1, "without its history")


if __name__ == "__main__":
    lib.main(globals())
