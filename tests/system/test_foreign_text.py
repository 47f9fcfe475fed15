#!/usr/bin/env python3
"""What dependencies say is shown to people; it can break neither a document nor a terminal."""

import json
import subprocess

import lib
from lib import check, check_equal, wait_until

SAYS = r"\033[2J\377\376 schlecht \342\202\254 \302\233"  # as printf(1) takes it
SHOWN = "?[2J?? schlecht \u20ac ??"


def start(stage):
    ports = {name: lib.free_port() for name in ("edge", "edge_admin", "peer", "admin", "app")}
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    conf = {
        "fulmar": 1, "service": "text", "state": str(stage.path("state-{host}")),
        "edge": {"workers": 1, "listen": [{"address": at["edge"]}]},
        "hosts": {"edge-1": {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                             "admin": at["edge_admin"]},
                  "west-1": {"region": "west", "roles": ["health"], "address": "127.0.0.1",
                             "peer": at["peer"], "admin": at["admin"]}},
        "regions": {"west": {"apps": [at["app"]], "checks": {
            "dependency": {"command": ["/bin/sh", "-c", f"printf '{SAYS}'; exit 1"],
                           "interval": "100ms", "timeout": "5s",
                           "max-age": "30s"}}}},
        "contexts": {"all": {"topology": "multi-write", "routes": ["/**"],
                             "needs": ["dependency"]}},
    }
    path = stage.write("fulmar.yaml", json.dumps(conf))
    stage.fulmar("west-1", "agent", "-c", path, "--host", "west-1", port=ports["admin"])
    stage.fulmar("edge-1", "edge", "-c", path, "--host", "edge-1", port=ports["edge_admin"])
    return path, ports


def test_what_a_command_says(stage):
    """It is in the health document and in the edge's evidence, with its worst bytes replaced."""
    path, ports = start(stage)

    def health():
        return lib.get(ports["peer"], "/health/deep").json()

    wait_until("the check has failed", lambda: health()["checks"]["dependency"]["state"] == "bad")
    doc = health()
    check("all" in doc["contexts"], f"the context is missing: {doc}")
    check(SHOWN in doc["contexts"]["all"]["why"], doc["contexts"]["all"]["why"])
    check(SHOWN in doc["checks"]["dependency"]["last_error"], doc["checks"]["dependency"])

    def slot():
        return lib.get(ports["edge_admin"], "/status").json()["regions"][0]["contexts"][0]

    wait_until("the edge has heard", lambda: slot()["health"] == "down")
    check(SHOWN in slot()["probe"], slot()["probe"])
    for host in ("edge-1", "west-1"):
        done = subprocess.run([lib.FULMAR, "status", "-c", path, "--host", host],
                              capture_output=True, check=False, timeout=30)
        check_equal(done.returncode, 0, f"exit code of status of {host}")
        check("schlecht" in done.stdout.decode(), done.stdout)
        check(b"\033" not in done.stdout, f"an escape in {done.stdout!r}")


if __name__ == "__main__":
    lib.main(globals())
