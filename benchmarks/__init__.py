"""Benchmarks: what leases cost, next to bare boto3 calls, a naive counter and other libraries, in one run.

    scripts/bench                     everything, some seven minutes: table, JSON, plots
    scripts/bench single waiting      some parts
    scripts/bench --engine embedded   on another engine than ministack

Invariants:

- Absolute times on shared machines mean little. So everything that is compared runs interleaved, round by round, in one
  run, each contender in a process of its own, and we quote ratios.
- Requests are counted where botocore sends them, and their capacity by DynamoDB's published rules. What a contender
  reports about itself is not used.
- A missed goal is printed like one that is met.

Modules, from the top: `__main__`; `parts`, one for each question; `goals`, `report`, `plots`, `cost`; `company`, which
starts contenders; `contender`, the process in which one runs; `contenders`; `meter`, `figures`.
"""
