"""What the benchmarks share: processes, ports, CPU accounting, peers, reports. Stdlib only."""
