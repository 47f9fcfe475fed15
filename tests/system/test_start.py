#!/usr/bin/env python3
"""Daemons that cannot start: they say why and leave nothing behind, wherever it was that they
failed."""

import json

import lib
from lib import check, check_equal


def configuration(stage):
    """An edge and an agent on one machine, with free ports."""
    def at():
        return f"127.0.0.1:{lib.free_port()}"

    conf = {
        "fulmar": 1, "service": "start", "state": str(stage.path("state-{host}")),
        "edge": {"workers": 2, "listen": [{"address": at()}]},
        "hosts": {"edge-1": {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                             "admin": at()},
                  "west-1": {"region": "west", "roles": ["gate", "health"],
                             "address": "127.0.0.1", "gate": at(), "peer": at(), "admin": at()}},
        "regions": {"west": {"apps": [at()]}},
        "contexts": {"all": {"topology": "multi-write", "routes": ["/**"]}},
    }
    return stage.write("fulmar.yaml", json.dumps(conf))


def starts_with(stage, path, role, host, files):
    """Does it start with so many file descriptors? Where it does not, it has said why."""
    daemon = stage.start(f"{role}-{files}", [
        "/bin/sh", "-c", f'ulimit -n {files} && exec "$@"', "sh",
        lib.FULMAR, role, "-c", path, "--host", host])
    lib.wait_until(f"{role} with {files} descriptors has started or given up",
                   lambda: not daemon.is_alive() or f"{role}_started" in daemon.output())
    if daemon.is_alive():
        check_equal(daemon.stop(), 0, "exit code")
        return True
    check_equal(daemon.wait(), 1, f"exit code with {files} descriptors")
    check(f"fulmar {role}: " in daemon.output() and "Too many open files" in daemon.output(),
          f"with {files} descriptors it says {daemon.output()!r}")
    return False


def out_of_descriptors(stage, role, host):
    path = configuration(stage)
    refused = 0
    for files in range(6, 64):
        if starts_with(stage, path, role, host, files):
            break
        refused += 1
    check(4 < refused < 57, f"{refused} attempts were refused")


def test_an_edge_without_descriptors_says_so(stage):
    """Whichever descriptor is the one too many, the message names the limit."""
    out_of_descriptors(stage, "edge", "edge-1")


def test_an_agent_without_descriptors_says_so(stage):
    """The same of an agent with a gate and checks."""
    out_of_descriptors(stage, "agent", "west-1")


if __name__ == "__main__":
    lib.main(globals())
