#!/usr/bin/python3
"""Starting where the machine gives little: few descriptors, a taken port, closed standard
descriptors. What cannot start says why and ends; it never crashes."""

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


if __name__ == "__main__":
    lib.main(globals())
