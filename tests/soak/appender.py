#!/usr/bin/env python3
"""A client of a PostgreSQL group that appends: every append has a number of its own, is sent once, and what came of
it is written down.

    appender.py OUT KEY DSN

A line of OUT is one append: {"k", "n", "o": acknowledged|unknown|failed, "sent", "over" (CLOCK_BOOTTIME)}; of one
that was acknowledged also what the server answered: "pos" in the list of its key, "prev", the number before it there,
"line", the timeline of the server, and "at", its data directory. Failed are those that the server refused, or that
were never sent. Speaks by libpq, so that no answer is waited for longer than this says."""

import ctypes
import ctypes.util
import json
import select
import signal
import sys
import time

OUT, KEY, DSN = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ANSWER_S, CONNECT_S, PAUSE_S, REFUSED_S = 3.0, 3.0, 0.004, 0.05
APPEND = ("insert into t (k, n, pos, prev) select {k}, {n}, coalesce(max(pos), 0) + 1, coalesce(max(n), 0) from t"
          " where k = {k} returning pos, prev, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,"
          " current_setting('data_directory')")
SEVERITY = ord("V")  # PG_DIAG_SEVERITY_NONLOCALIZED
TUPLES_OK, POLL_READING, POLL_WRITING, POLL_OK = 2, 1, 2, 3

pq = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
for function, result, arguments in (
        ("PQconnectStart", "p", "s"), ("PQconnectPoll", "i", "p"), ("PQstatus", "i", "p"), ("PQsocket", "i", "p"),
        ("PQfinish", None, "p"), ("PQsendQuery", "i", "ps"), ("PQconsumeInput", "i", "p"), ("PQisBusy", "i", "p"),
        ("PQgetResult", "p", "p"), ("PQresultStatus", "i", "p"), ("PQgetvalue", "s", "pii"), ("PQclear", None, "p"),
        ("PQresultErrorField", "s", "pi"), ("PQsetNoticeProcessor", "p", "ppp")):
    kinds = {"p": ctypes.c_void_p, "s": ctypes.c_char_p, "i": ctypes.c_int}
    getattr(pq, function).restype = kinds.get(result)
    getattr(pq, function).argtypes = [kinds[a] for a in arguments]


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Connection:
    """One at a time; `open` is false where it could not be made, or has ended."""

    def __init__(self):
        self.noticed = False  # a commit whose wait was cancelled comes with a warning
        self._take_notice = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)(self._notice)
        self.handle = pq.PQconnectStart(DSN.encode())
        self.open = False
        end = now() + CONNECT_S
        state = POLL_WRITING
        while state in (POLL_READING, POLL_WRITING) and now() < end:
            if self._wait(end, state == POLL_WRITING):
                state = pq.PQconnectPoll(self.handle)
        self.open = state == POLL_OK
        pq.PQsetNoticeProcessor(self.handle, self._take_notice, None)

    def _notice(self, _, text):
        self.noticed |= text.startswith(b"WARNING")

    def _wait(self, end, to_write=False):
        fd = pq.PQsocket(self.handle)
        if fd < 0:
            time.sleep(0.01)
            return True
        try:
            return any(select.select([] if to_write else [fd], [fd] if to_write else [], [], max(0.0, end - now())))
        except InterruptedError:
            return False

    def close(self):
        self.open = False
        pq.PQfinish(self.handle)

    def append(self, n):
        """(outcome, what the server answered)"""
        self.noticed = False
        if not pq.PQsendQuery(self.handle, APPEND.format(k=KEY, n=n).encode()):
            self.open = False
            return "unknown", {}
        end = now() + ANSWER_S
        outcome, answer = "unknown", {}
        while now() < end:
            if pq.PQisBusy(self.handle):
                if not self._wait(end):
                    continue
                if not pq.PQconsumeInput(self.handle):
                    break
                continue
            result = pq.PQgetResult(self.handle)
            if not result:
                return ("unknown" if self.noticed else outcome), answer
            outcome, answer = self._read(result)
            pq.PQclear(result)
        self.open = False
        return ("unknown" if outcome == "acknowledged" else outcome), answer

    @staticmethod
    def _read(result):
        if pq.PQresultStatus(result) == TUPLES_OK:
            value = [pq.PQgetvalue(result, 0, i).decode() for i in range(4)]
            return "acknowledged", {"pos": int(value[0]), "prev": int(value[1]), "line": int(value[2]), "at": value[3]}
        refused = pq.PQresultErrorField(result, SEVERITY) == b"ERROR"
        return ("failed" if refused else "unknown"), {}


def main():
    running = True

    def end(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, end)
    n, connection = 0, None
    with open(OUT, "a", buffering=1, encoding="utf-8") as out:
        while running:
            if not connection or not connection.open:
                if connection:
                    connection.close()
                connection = Connection()
                if not connection.open:
                    time.sleep(REFUSED_S)
                    continue
            n += 1
            sent = now()
            outcome, answer = connection.append(n)
            out.write(json.dumps({"k": KEY, "n": n, "o": outcome, "sent": sent, "over": now(), **answer}) + "\n")
            if outcome == "failed":
                connection.open = False
            time.sleep(PAUSE_S if outcome == "acknowledged" else REFUSED_S)


main()
