#!/usr/bin/env python3
"""An application for the tests of authority: it writes down each command that it gets, with the authority that
came along, and applies each key once, in a database that all regions share.

    teller.py ADDRESS PORT REGION LOG DATABASE [DELAY_MS]

A line of the log: {"at": seconds of CLOCK_BOOTTIME, "region", "path", "key", "authority", "mode"}."""

import http.server
import json
import sqlite3
import sys
import threading
import time

ADDRESS, PORT, REGION, LOG, DATABASE = sys.argv[1:6]
DELAY_S = float(sys.argv[6]) / 1000 if len(sys.argv) > 6 else 0.0
log = open(LOG, "a", buffering=1, encoding="utf-8")
lock = threading.Lock()
local = threading.local()


def database():
    if not hasattr(local, "db"):
        local.db = sqlite3.connect(DATABASE, timeout=30, isolation_level=None)
        local.db.execute("PRAGMA synchronous=OFF")
    return local.db


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Region", REGION)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, f"{REGION} {self.headers.get('Fulmar-Mode')}")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = self.headers.get("Idempotency-Key") or ""
        authority = (self.headers.get("Fulmar-Authority") or "").strip()
        line = json.dumps({"at": time.clock_gettime(time.CLOCK_BOOTTIME), "region": REGION, "path": self.path,
                           "key": key, "authority": authority, "mode": self.headers.get("Fulmar-Mode")})
        with lock:
            log.write(line + "\n")
        if DELAY_S:
            time.sleep(DELAY_S)
        database().execute("INSERT INTO applied VALUES(?,?,?,?,1) ON CONFLICT(key) DO UPDATE SET times=times+1",
                           (key, REGION, self.path, authority))
        self.answer(201, f"applied by {REGION} under {authority}")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server((ADDRESS, int(PORT)), Handler).serve_forever()
