#!/usr/bin/env python3
"""The smallest useful file, in front of two plain HTTP servers of Python, as a new user would try it."""

import sys

import lib
import world
from lib import check, check_equal, wait_until

# As in the documentation; the last two keys only keep the test out of the way of this machine's own.
SMALLEST = """\
fulmar: 1
service: shop
edge: {{listen: [{{address: "127.0.0.1:{port}"}}], admin: "127.0.0.1:{admin}"}}
regions: {{west: {{apps: ["127.0.0.1:{west}"]}}, north: {{apps: ["127.0.0.1:{north}"]}}}}
contexts: {{shop: {{topology: multi-write, routes: ["/**"]}}}}
state: "{state}"
"""
RATE = 100  # what two python3 -m http.server can bear, one of them dead


class Server:
    """python3 -m http.server with a page of its own."""

    def __init__(self, stage, name):
        self.stage, self.name, self.port = stage, name, lib.free_port()
        stage.write(f"{name}/index.html", f"hello from {name}\n")
        self.start()

    def start(self):
        self.process = self.stage.start_until(self.name, [
            sys.executable, "-m", "http.server", self.port, "--bind", "127.0.0.1",
            "--directory", self.stage.path(self.name)], self.port)


def test_one_of_two_dies(stage):
    """Each server is killed and restarted under load: no request fails."""
    west, north = Server(stage, "west"), Server(stage, "north")
    port, admin = lib.free_port(), lib.free_port()
    conf = stage.write("fulmar.yaml", SMALLEST.format(
        port=port, admin=admin, west=west.port, north=north.port, state=stage.path("state")))
    stage.fulmar("edge", "edge", "-c", conf, port=port)
    check_equal(lib.get(port, "/nothing").status, 404, "a page that no server has")
    load = world.Load(stage, port, 6, rate=RATE, path="/")

    def serves(name):
        answer = lib.get(port, "/")
        check_equal(answer.status, 200, "answer meanwhile")
        return answer.body == f"hello from {name}\n".encode()

    for dies, lives in ((west, north), (north, west)):
        wait_until(f"{dies.name} serves", lambda dies=dies: serves(dies.name), seconds=60, every=0.02)
        dies.process.kill()
        check(serves(lives.name), f"{lives.name} does not serve for {dies.name}")
        world.sleep(1)
        check(serves(lives.name), f"{lives.name} does not serve for {dies.name}")
        dies.start()
    wait_until("north serves again", lambda: serves("north"), seconds=60, every=0.02)
    load.wait_all_served()


if __name__ == "__main__":
    lib.main(globals())
