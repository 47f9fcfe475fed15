#!/usr/bin/env python3
"""Clients of the teller: commands with keys, and queries, at a rate, to edges in turn, for as long as it lives.

    teller_load.py OUT RATE EDGE[,EDGE...] [ledger|cards|both]

An edge is ADDRESS:PORT. A line of OUT is one command as its client saw it, when it is over:
{"key", "path", "edge", "sent", "over" (CLOCK_BOOTTIME), "outcome": acknowledged|refused|unknown, "status",
"problem", "tries"}, or one query: {"query": path, ...}. An unknown outcome is tried again with its key, twice;
what came of the last try counts, and once unknown a refusal is no proof."""

import asyncio
import json
import random
import sys
import time
import uuid

OUT, RATE, EDGES = sys.argv[1], float(sys.argv[2]), sys.argv[3].split(",")
WHAT = sys.argv[4] if len(sys.argv) > 4 else "both"
TIMEOUT_S = 15.0
out = open(OUT, "a", buffering=1, encoding="utf-8")


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def exchange(edge, text):
    host, port = edge.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text.encode())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        length = [int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        body = (await reader.readexactly(length[0])).decode("latin-1") if length else ""
        return status, body
    finally:
        writer.close()


async def ask(edge, text):
    """(status or 0, problem or why)"""
    try:
        status, body = await asyncio.wait_for(exchange(edge, text), TIMEOUT_S)
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError) as e:
        return (-1 if isinstance(e, ConnectionRefusedError) else 0), type(e).__name__
    problem = ""
    if status >= 400:
        try:
            problem = json.loads(body).get("type", "")
        except ValueError:
            problem = body[:80]
    return status, problem


def verdict(status, problem):
    if 200 <= status < 300:
        return "acknowledged"
    if status == -1 or (status in (421, 503) and problem.startswith("urn:fulmar:")):
        return "refused"  # certainly not executed
    if status == 504 and problem == "urn:fulmar:deadline":
        return "refused"
    return "unknown"


async def command(n):
    key = uuid.uuid4().hex
    kind = WHAT if WHAT != "both" else random.choice(("ledger", "cards"))
    path = f"/{kind}/{n % 50}/pay"
    sent, tries, unknown = now(), 0, False
    while True:
        tries += 1
        edge = random.choice(EDGES)
        status, problem = await ask(edge, f"POST {path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n"
                                          f"Idempotency-Key: {key}\r\nContent-Length: 2\r\n\r\nhi")
        outcome = verdict(status, problem)
        unknown |= outcome == "unknown"
        if outcome == "acknowledged" or not unknown or tries == 3:
            break
        await asyncio.sleep(0.2)
    if unknown and outcome != "acknowledged":
        outcome = "unknown"
    out.write(json.dumps({"key": key, "path": path, "edge": edge, "sent": sent, "over": now(), "outcome": outcome,
                          "status": status, "problem": problem, "tries": tries}) + "\n")


async def query(n):
    kind = WHAT if WHAT != "both" else random.choice(("ledger", "cards"))
    path, edge, sent = f"/{kind}/{n % 50}", random.choice(EDGES), now()
    status, problem = await ask(edge, f"GET {path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n")
    out.write(json.dumps({"query": path, "edge": edge, "sent": sent, "over": now(), "status": status,
                          "problem": problem}) + "\n")


async def main():
    n, begun, tasks = 0, time.monotonic(), set()
    while True:
        await asyncio.sleep(max(0.0, begun + n / RATE - time.monotonic()))
        n += 1
        if len(tasks) > 4000:
            continue
        task = asyncio.ensure_future(query(n) if n % 4 == 0 else command(n))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
