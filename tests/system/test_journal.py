#!/usr/bin/env python3
"""The journal: what was acknowledged outlives kill -9 at any moment, and `fulmar journal` shows it,
also while it is written. journal_tool stands in for a gate (tests/unit/journal/tool.c)."""

import json
import os
import pathlib
import random
import subprocess
import time

import lib
from lib import check, check_equal, wait_until

TOOL = pathlib.Path(os.environ.get("FULMAR_BUILD", lib.ROOT / "build")) / "tests/unit/journal_tool"
ROUNDS = int(os.environ.get("FM_KILLS", "15"))
CONTEXTS = ("ledger", "cards", "profile")
STATES = ("queued", "in-flight", "unknown", "done")

CONFIG = """
fulmar: 1
service: bank
state: "{dir}/state/{{host}}"
edge: {{listen: [{{address: "127.0.0.1:{port}"}}]}}
regions: {{west: {{apps: ["127.0.0.1:1"]}}}}
contexts: {{ledger: {{topology: multi-write, routes: ["/**"]}}}}
"""


def fulmar(*arguments, code=0):
    """stdout of the command, which ends with this code."""
    p = subprocess.run([lib.FULMAR, "journal", *map(str, arguments)], capture_output=True, text=True,
                       timeout=60)
    check_equal(p.returncode, code, f"exit code of journal {arguments}, which says {p.stderr!r}")
    return p.stdout, p.stderr


def entries(file, *arguments):
    document = json.loads(fulmar("list", "--file", file, "-o", "json", *arguments)[0])
    check_equal(document["schema"], "fulmar.journal/1", "schema")
    check_equal(document["service"], "bank", "service")
    return document["entries"], document["live"]


def start(stage, name, file, in_flight=32, count=0, body=400):
    return stage.start(name, [TOOL, file, name, in_flight, count, body])


def acknowledged(process):
    """Two sets of numbers: intents and outcomes. A line that the kill cut off does not count."""
    said = {"intent": set(), "outcome": set()}
    for line in process.log.read_text(errors="replace").split("\n")[:-1]:
        what, _, number = line.partition(" ")
        if what in said:
            said[what].add(int(number))
    return said["intent"], said["outcome"]


def check_entry(e):
    """Is it what the driver can have sent? Its number."""
    prefix, _, number = e["key"].rpartition("-")
    n = int(number)
    check(e["state"] in STATES, f"state of {e}")
    check_equal(e["context"], CONTEXTS[n % 3], f"context of {e}")
    check_equal((e["cell"], e["epoch"], e["tries"]), (n % 64, n + 1, 1), f"cell, epoch, tries of {e}")
    if e["state"] == "done":
        check(n % 16 != 15, f"the outcome of {e} was invented")
        check_equal(e["status"], 200 + n % 300, f"status of {e}")
    else:
        check_equal((e["status"], e["answer_bytes"]), (None, None), f"answer of {e}")
    return prefix, n


def check_life(found, name, intents, outcomes, over):
    """Everything that the life `name` had acknowledged is there, and nothing is twice."""
    seen = {}
    for e in found:
        prefix, n = check_entry(e)
        if prefix == name:
            check(n not in seen, f"{e['key']} is there twice")
            seen[n] = e["state"]
    lost = intents - seen.keys()
    check(not lost, f"{len(lost)} acknowledged intents of {name} are lost: {sorted(lost)[:5]}")
    for n in outcomes:
        expected = "unknown" if n % 16 == 15 else "done"
        check_equal(seen[n], expected, f"acknowledged outcome of {name}-{n}")
    if over:
        left = [n for n, state in seen.items() if state == "in-flight"]
        check(not left, f"of {name}, which is over, {left[:5]} are in flight")
    return len(seen)


def kill_at_random_points(stage, rounds, seed):
    """kill -9 while commands are under way, again and again on one journal."""
    dice = random.Random(seed)
    file = stage.path("journal.db")
    last, total = None, 0
    for i in range(rounds):
        process = start(stage, f"life{i}", file, in_flight=dice.choice((1, 8, 64)))
        wait_until("it begins", lambda: process.log.stat().st_size > 0 or not process.is_alive())
        check(process.is_alive(), f"it has ended: {process.output()[-300:]}")
        time.sleep(dice.random() ** 2 * 0.15)
        process.kill()
        intents, outcomes = acknowledged(process)
        total += len(intents)
        found, live = entries(file, "--limit", 1000000)
        check(not live, "a dead journal is said to be live")
        check_life(found, f"life{i}", intents, outcomes, over=False)
        for n in dice.sample(sorted(intents), min(2, len(intents))):  # by its key, wherever that stands
            said = fulmar("show", CONTEXTS[n % 3], f"life{i}-{n}", "--file", file, "-o", "json")[0]
            check_equal(check_entry(json.loads(said)["entries"][0])[1], n, "what is there of a key")
        if last:
            check_life(found, *last, over=True)
        last = (f"life{i}", intents, outcomes)
        if i % 20 == 19:  # else each list is longer than the one before
            for suffix in ("", "-wal", "-shm", ".lock"):
                pathlib.Path(f"{file}{suffix}").unlink(missing_ok=True)
            last = None
    check(total > rounds * 20, f"only {total} commands in {rounds} lives: this shows nothing")
    return total


def test_kill_loses_nothing_that_was_acknowledged(stage):
    """kill -9 at random points; FM_KILLS says how often."""
    kill_at_random_points(stage, ROUNDS, int(os.environ.get("FM_SEED", "20261121")))


def test_one_writer_at_a_time(stage):
    """A second process is refused while the first one lives, and not after it was killed."""
    file = stage.path("journal.db")
    first = start(stage, "first", file)
    wait_until("it begins", lambda: first.log.stat().st_size > 0)
    second = start(stage, "second", file, count=1)
    check_equal(second.wait(), 1, "exit code of the second")
    check("another process" in second.output(), second.output())
    first.kill()
    third = start(stage, "third", file, count=1)
    check_equal(third.wait(), 0, f"exit code of the third: {third.output()}")


def test_list_and_show_beside_the_writer(stage):
    """What the command prints, while the journal is written and afterwards."""
    file = stage.path("journal.db")
    writer = start(stage, "w", file, in_flight=8)
    wait_until("some are done", lambda: "outcome 40\n" in writer.output())
    for _ in range(5):
        found, live = entries(file, "--limit", 200)
        check(live, "a journal that is written is not live")
        check_equal(len(found), 200 if len(found) > 200 else len(found), "limit")
        seqs = [e["seq"] for e in found]
        check_equal(seqs, sorted(seqs, reverse=True), "order")
        for e in found:
            check_entry(e)
    check_equal({e["context"] for e in entries(file, "cards")[0]}, {"cards"}, "contexts")
    check_equal({e["state"] for e in entries(file, "--state", "unknown")[0]}, {"unknown"}, "states")
    writer.kill()

    one = json.loads(fulmar("show", "cards", "w-1", "--file", file, "-o", "json")[0])["entries"]
    check_equal(len(one), 1, "entries of one key")
    check_entry(one[0])
    check_equal(one[0]["head"], "X: y\r\n", "head")
    check_equal(one[0]["body"], ("answer 1. " * 40)[:400], "body")
    check_equal(one[0]["answer_bytes"], 406, "bytes")
    check_equal(len(one[0]["request_hash"]), 64, "hash")
    check(one[0]["settled_at"] >= one[0]["accepted_at"] > "2020", "times")

    table, said = fulmar("list", "--file", file, "--limit", 3)
    check_equal(len(table.splitlines()), 4, "lines of the table")
    check("no daemon" in said, f"nobody says that it is dead: {said!r}")
    text = fulmar("show", "cards", "w-1", "--file", file)[0]
    check("answer 1. " in text and "status        201" in text, text)
    yaml = fulmar("list", "--file", file, "--limit", 1, "-o", "yaml")[0]
    check('schema: "fulmar.journal/1"' in yaml, yaml)


def test_what_is_not_there(stage):
    """Exit codes, and the journal of a host of the configuration."""
    config = stage.write("fulmar.yaml", CONFIG.format(dir=stage.dir, port=lib.free_port()))
    fulmar("list", "-c", config, "--host", "west-1", code=69)
    file = stage.path("state/west-1/journal.db")
    file.parent.mkdir(parents=True)
    check_equal(start(stage, "x", file, count=20).wait(), 0, "exit code of the writer")
    check_equal(fulmar("list", "-c", config, "--host", "west-1")[0].count("x-"), 20, "entries")
    said = fulmar("show", "ledger", "nobody", "-c", config, "--host", "west-1", "-o", "json", code=2)[0]
    check_equal(json.loads(said)["schema"], "fulmar.error/1", "what is said of a key that is not there")
    fulmar("list", "-c", stage.path("none.yaml"), code=78)
    fulmar("list", "--file", file, "--state", "lost", code=64)
    fulmar("list", "--file", file, "--limit", "0", code=64)
    fulmar("show", "ledger", "--file", file, code=64)
    fulmar("list", "--file", stage.write("letter.db", "this is no database at all\n" * 50), code=1)


if __name__ == "__main__":
    lib.main(globals())
