#!/usr/bin/python3
"""Starting where the machine gives little: few descriptors, a taken port, closed standard
descriptors. What cannot start says why and ends; it never crashes."""

import json
import os
import socket

import lib
from lib import check, check_equal


def config(stage, port):
    return str(stage.write("fulmar.yaml", f"""
fulmar: 1
service: shop
state: {stage.path("state")}
edge: {{listen: [{{address: "127.0.0.1:{port}"}}], admin: "127.0.0.1:{lib.free_port()}"}}
regions: {{west: {{apps: ["localhost:9"]}}, north: {{apps: ["127.0.0.1:9"]}}}}
contexts: {{shop: {{topology: multi-write, routes: ["/**"]}}}}
"""))


def start(stage, name, shell, port):
    """The edge behind a line of shell, as `exec`."""
    line = f'{shell} exec "$0" edge --config "$1"'
    return stage.start(name, ["sh", "-c", line, lib.FULMAR, config(stage, port)])


def test_few_descriptors_are_an_error_and_no_crash(stage):
    """An edge needs about twenty; with each smaller number it says what it could not do."""
    refused = 0
    for n in range(5, 25):
        port = lib.free_port()
        edge = start(stage, f"edge-{n}", f"ulimit -n {n};", port)
        lib.wait_until(f"the edge with {n} descriptors is up or over",
                       lambda: not edge.is_alive() or lib.listens(port))
        if edge.is_alive():
            edge.kill()
            continue
        refused += 1
        check_equal(edge.wait(), 1, f"exit code with {n} descriptors: {edge.output()[-300:]}")
        check("fulmar" in edge.output(), f"{n} descriptors: it does not say why")
    check(refused >= 5, f"only {refused} were too few")


def test_a_taken_port_is_an_error_and_no_crash(stage):
    """Also while names are being looked up: answers that come too late find nobody."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for i in range(10):
            edge = start(stage, f"edge-{i}", "", port)
            check_equal(edge.wait(), 1, "exit code")
            check(f"127.0.0.1:{port}" in edge.output(), f"it does not name the port: {edge.output()}")


def test_closed_descriptors_are_not_taken_by_others(stage):
    """A log never goes into a file or connection that happened to get number 2."""
    port = lib.free_port()
    edge = start(stage, "edge", "exec 0<&- 2>&-;", port)
    lib.wait_until("the edge listens", lambda: lib.listens(port) or not edge.is_alive())
    check(edge.is_alive(), "it has ended")
    for fd in (0, 2):
        check_equal(os.readlink(f"/proc/{edge.pid}/fd/{fd}"), "/dev/null", f"descriptor {fd}")
    check_equal(edge.stop(), 0, "exit code")


def test_an_agent_without_descriptors_says_so(stage):
    """An agent has a gate, checks and a peer port to open, too."""
    def at():
        return f"127.0.0.1:{lib.free_port()}"

    path = stage.write("agent.yaml", json.dumps({
        "fulmar": 1, "service": "shop", "state": str(stage.path("state-{host}")),
        "edge": {"workers": 2, "listen": [{"address": at()}]},
        "hosts": {"west-1": {"region": "west", "roles": ["gate", "health"],
                             "address": "127.0.0.1", "gate": at(), "peer": at(), "admin": at()}},
        "regions": {"west": {"apps": [at()]}},
        "contexts": {"all": {"topology": "multi-write", "routes": ["/**"]}},
    }))
    refused = 0
    for n in range(6, 64):
        agent = stage.start(f"agent-{n}", [
            "sh", "-c", f'ulimit -n {n} && exec "$0" agent -c "$1" --host west-1', lib.FULMAR, path])
        lib.wait_until(f"the agent with {n} descriptors is up or over",
                       lambda: not agent.is_alive() or "agent_started" in agent.output())
        if agent.is_alive():
            check_equal(agent.stop(), 0, "exit code")
            break
        refused += 1
        check_equal(agent.wait(), 1, f"exit code with {n} descriptors: {agent.output()[-300:]}")
        check("fulmar agent: " in agent.output() and "Too many open files" in agent.output(),
              f"with {n} descriptors it says {agent.output()!r}")
    check(4 < refused < 57, f"{refused} were too few")


if __name__ == "__main__":
    lib.main(globals())
