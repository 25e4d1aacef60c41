"""The whole table."""

from tests.guards import batches, deciding, holding, operating, rates, requests, several, telling, time
from tests.guards.guard import Chapter

CHAPTERS: tuple[Chapter, ...] = (
    requests.CONDITIONS,
    requests.EDGES,
    requests.EFFECTS,
    time.CLOCKS,
    time.MARGINS,
    deciding.DECISIONS,
    deciding.AMBIGUITY,
    deciding.WAITING,
    holding.BELIEF,
    holding.LEASES,
    holding.HEARTBEATS,
    batches.BATCHES,
    holding.PROCESSES,
    several.SEVERAL,
    several.REVOKING,
    operating.OPERATING,
    telling.TELLING,
    telling.TOKENS,
    rates.RATES,
)
