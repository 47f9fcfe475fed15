#!/usr/bin/env python3
"""What core's machines were asked and answered while agents held, lost, moved and failed over is recorded, and fed
through the same objects once more: they say the same."""

import os
import pathlib
import re
import signal
import subprocess

import lib
from lib import check, check_equal, wait_until
from test_authority import PATIENCE_S, Realm

BUILD = pathlib.Path(os.environ.get("FULMAR_BUILD", pathlib.Path(lib.FULMAR).parent))
REPLAY = BUILD / "src" / "trace" / "fulmar-replay"


class Recorded(Realm):
    """A realm whose agents record, each into a file of its own."""

    def start(self, *names):
        for name in names or self.hosts:
            port = int(self.hosts[name]["admin"].split(":")[1])
            self.processes[name] = self.stage.fulmar(name, "agent", "-c", self.conf, "--host", name, port=port,
                                                     env={"FULMAR_RECORD": str(self.trace(name))})

    def trace(self, name):
        return self.stage.path(f"{name}.trace")


def replay(*files):
    """(exit code, what it says)"""
    if not os.access(REPLAY, os.X_OK):
        raise lib.Skip(f"{REPLAY} is not built (meson option `tests`)")
    p = subprocess.run([str(x) for x in (REPLAY, *files)], capture_output=True, text=True, timeout=60, check=False)
    check("runtime error" not in p.stderr, f"undefined behaviour: {p.stderr[-500:]}")
    return p.returncode, p.stdout


def move(realm, asked, to):
    """A planned move of the ledger, as soon as the heir is heard."""
    def taken():
        status, doc = realm.ask(asked, "POST", "/ops/move", {"reason": "a test", "by": "tester", "context": "ledger",
                                                             "to": to})
        check(status in (202, 409), f"move to {to}: {status}, {doc}")
        return status == 202 and doc
    ident = wait_until(f"a move to {to} is taken", taken, PATIENCE_S, every=0.1)["id"]
    realm.wait_for_op(asked, ident, "done")
    realm.wait_for("ledger", to)


def live_through_something(realm):
    """A planned move, the death of who holds, a failover, a return, and home again."""
    move(realm, "east-1", "north")
    realm.kill("north-1")
    del realm.processes["north-1"]
    realm.wait_for("ledger", "west")
    realm.start("north-1")
    move(realm, "west-1", "north")
    realm.processes["west-1"].signal(signal.SIGHUP)
    move(realm, "west-1", "west")


def test_recorded_traces_replay(stage):
    """Every step of every agent comes out as it did; what is changed in a trace is found."""
    realm = Recorded(stage, contexts={
        "ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"]},
        "cards": {"topology": "affinity", "cells": 4, "key": {"path": "card"}, "routes": ["/cards/{card}/**"]}}).begin()
    live_through_something(realm)
    realm.judge()
    for name, process in realm.processes.items():
        check_equal(process.stop(), 0, f"exit code of {name}")
    files = {name: realm.trace(name) for name in ("west-1", "north-1", "east-1")}
    text = {name: path.read_text() for name, path in files.items()}
    for name, path in files.items():
        check_equal(path.stat().st_mode & 0o777, 0o600, f"mode of {path.name}")
        code, said = replay(path)
        print(f"# {said.strip()}, {path.stat().st_size >> 10} KiB", flush=True)
        check_equal(code, 0, f"replay of {name}: {said[:2000]}")
    for machine in ("authority", "office", "failover", "move"):
        check(re.search(rf"^{machine} \d+ step .* => ", text["west-1"], re.M), f"west-1 recorded no step of {machine}")
    check("state=completing" in text["west-1"] and "why=acquired" in text["west-1"], "no failover was recorded")
    check_equal(text["north-1"].count("fulmar-trace 1\n"), 2, "lives of north-1")
    look_for_changes(stage, text["west-1"])
    secrets = [word for word in ("ledger", "west", "north", "127.0.0.1") if word in "".join(text.values())]
    check(not secrets, f"there are names in a trace: {secrets}")


def look_for_changes(stage, text):
    """A trace with a step less, another moment, another answer, or a word that is none."""
    lines = text.splitlines(keepends=True)
    acquired = next(i for i, line in enumerate(lines) if "why=acquired" in line)
    changed = {
        "a step less": lines[:acquired] + lines[acquired + 1:],
        "another answer": [*lines[:acquired], lines[acquired].replace("why=acquired", "why=released"), *lines[acquired + 1:]],
        "another moment": [re.sub(r"now=(\d+)", lambda m: f"now={int(m[1]) + 10 ** 10}", line) if i == acquired else line
                           for i, line in enumerate(lines)],
        "no word": [*lines[:acquired], lines[acquired].replace(" kind=", " kin="), *lines[acquired + 1:]],
        "no beginning": lines[1:],
        "nothing": []}
    for what, news in changed.items():
        path = stage.write("changed.trace", "".join(news))
        code, said = replay(path)
        check_equal(code, 1, f"replay with {what}: {said[-300:]}")
    check("no line of a trace" in replay(stage.write("x.trace", "".join(changed["no word"])))[1], "the reason")


if __name__ == "__main__":
    lib.main(globals())
