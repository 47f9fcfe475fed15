"""The figures of the failover bench from small made-up logs."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from .evidence import Figures, Line, Moments, Request, figures, read_record, read_requests

MS = 1_000_000
FAULT, HEALED, END = 1000 * MS, 4000 * MS, 6000 * MS


def ok(at_ms: int, took_ms: int = 1, origin: str = "w") -> Request:
    return Request(at_ms * MS, (at_ms + took_ms) * MS, "ok", 200, origin)


def bad(at_ms: int, took_ms: int = 500, status: int = 504) -> Request:
    return Request(at_ms * MS, (at_ms + took_ms) * MS, "status", status, "-")


def line(name: str, received_ms: int, executed_ms: int | None = None, outcome: str = "applied") -> Line:
    return Line((received_ms if executed_ms is None else executed_ms) * MS, received_ms * MS, False,
                outcome, name)


def judge(requests: dict[str, Request], west: list[Line], north: list[Line] | None = None,
          frozen: bool = False, dead: bool = False, behind_gate: bool = False) -> Figures:
    return figures(requests, west, north or [], Moments(FAULT, HEALED, frozen, dead), behind_gate)


class ClientSide(unittest.TestCase):
    def test_gap_is_the_longest_time_without_a_success_after_the_fault(self) -> None:
        f = judge({"a": ok(500), "b": ok(1009), "c": bad(1100), "d": ok(1399), "e": ok(1600)}, [])
        self.assertEqual(f.longest_gap_ms, 390.0)
        self.assertEqual((f.requests, f.failed, f.failed_by), (5, 1, {"504": 1}))

    def test_slowest_success_counts_from_its_schedule(self) -> None:
        f = judge({"a": ok(500, 3), "b": ok(900, 350)}, [])
        self.assertEqual((f.calm_slowest_ms, f.slowest_ok_ms, f.slow_over_100ms), (3.0, 350.0, 1))

    def test_share_of_west_is_of_the_calm_time(self) -> None:
        f = judge({"a": ok(500), "b": ok(600, origin="n"), "c": ok(2000, origin="n")}, [])
        self.assertEqual(f.calm_west_share, 0.5)


class BadRegion(unittest.TestCase):
    def sent(self, *times_ms: int) -> Figures:
        names = {f"r{t}": t for t in times_ms}
        return judge({n: ok(t) for n, t in names.items()}, [line(n, t) for n, t in names.items()])

    def test_detected_at_the_last_request_before_the_first_silence(self) -> None:
        f = self.sent(900, 1005, 1015, 2000, 3000, 4500)
        self.assertEqual((f.detected_ms, f.quiet_ms), (15.0, 2000.0))
        self.assertEqual((f.sent_in_outage, f.sent_after_detection), (4, 2))

    def test_without_a_silence_all_of_the_outage_counts(self) -> None:
        f = self.sent(*range(1000, 4010, 10))
        self.assertIsNone(f.detected_ms)
        self.assertEqual((f.sent_in_outage, f.sent_after_detection), (299, 299))

    def test_no_traffic_is_quiet_at_once(self) -> None:
        f = self.sent(500)
        self.assertEqual((f.quiet_ms, f.detected_ms, f.sent_after_detection), (0.0, 0.0, 0))

    def test_what_cannot_be_seen_is_unknown(self) -> None:
        for kind in ({"dead": True}, {"frozen": True, "behind_gate": True}):
            f = judge({"a": ok(1)}, [line("a", 1)], **kind)
            self.assertIsNone(f.quiet_ms)


class Executions(unittest.TestCase):
    def test_twice_across_regions(self) -> None:
        requests = {"a": ok(1100), "b": ok(1200), "c": ok(1300)}
        f = judge(requests, [line("a", 1100), line("b", 1200)],
                  [line("a", 1150), line("b", 1250, outcome="replayed"), line("c", 1300)])
        self.assertEqual((f.executed_twice, f.applied_twice), (2, 1))

    def test_refused_and_dropped_are_no_executions(self) -> None:
        f = judge({"a": ok(1100)}, [line("a", 1100, outcome="refused"), line("a", 1100, outcome="dropped")],
                  [line("a", 1101)])
        self.assertEqual((f.executed_twice, f.unaccounted), (0, 0))

    def test_a_success_that_nobody_executed_is_unaccounted(self) -> None:
        self.assertEqual(judge({"a": ok(1100)}, []).unaccounted, 1)

    def test_zombie_is_failed_for_the_client_and_executed_after_waking(self) -> None:
        requests = {"z": bad(1100), "hedged": ok(1200, origin="n"), "new": bad(4100)}
        west = [line("z", 1100, 4001), line("hedged", 1200, 4001), line("new", 4100)]
        f = judge(requests, west, [line("hedged", 1210)], frozen=True)
        self.assertEqual((f.zombies, f.executed_after_waking), (1, 2))
        self.assertIsNone(judge(requests, west).zombies)


class Files(unittest.TestCase):
    def test_a_record_ends_where_the_mapping_is_empty(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "record"
            path.write_bytes(b"5000000 99 2000000 t applied id-1 POST\n7 99 -1 h executed - GET\n\0\0\0")
            first, second = read_record(path)
        self.assertEqual(first, Line(5 * MS, 3 * MS, False, "applied", "id-1"))
        self.assertEqual((second.health, second.received_ns), (True, 7))

    def test_requests(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requests"
            path.write_text("id-1 10 11 20 ok 200 w\nid-2 30 0 30 backlog 0 -\n")
            requests = read_requests(path)
        self.assertEqual(requests["id-1"], Request(10, 20, "ok", 200, "w"))
        self.assertFalse(requests["id-2"].ok)


if __name__ == "__main__":
    unittest.main()
