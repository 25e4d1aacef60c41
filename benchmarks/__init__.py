"""Benchmarks: what leases cost, beside the bare calls, a naive counter and two peers, in one run.

    scripts/bench                     everything, some seven minutes: table, JSON, plots
    scripts/bench single waiting      some parts
    scripts/bench --engine embedded   on another engine than ministack

Laws of this house:

- Absolute times on shared machines mean little. What is compared runs interleaved, round by round, in one run, each
  contender in a process of its own, and ratios are quoted.
- Requests are counted where botocore sends them, and their capacity by DynamoDB's published rules. A contender's own
  idea of what it does counts for nothing.
- A goal that is missed is printed like one that is met.

Rooms, from the top: `__main__`; `parts`, one for each question; `goals`, `report`, `plots`, `cost`; `company`, which
starts contenders; `contender`, the process they run in; `contenders`; `meter`, `figures`.
"""
