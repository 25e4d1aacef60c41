"""The whole table."""

from tests.mutants import (
    acquiring,
    answers,
    conforming,
    deciding,
    guarding,
    holding,
    operating,
    processes,
    rates,
    renewing,
    requests,
    signing,
    time,
    wire,
)
from tests.mutants.mutant import Chapter

CHAPTERS: tuple[Chapter, ...] = (
    requests.CONDITIONS,
    requests.EDGES,
    requests.EFFECTS,
    answers.ANSWERS,
    wire.WIRE,
    time.BOUNDS,
    time.MARGINS,
    signing.SIGNATURES,
    deciding.DECISIONS,
    deciding.WAITING,
    deciding.AMBIGUITY,
    holding.BELIEF,
    processes.PROCESSES,
    acquiring.ACQUIRING,
    guarding.GUARDS,
    renewing.RENEWING,
    renewing.BATCHES,
    renewing.TROUBLES,
    operating.OPERATING,
    rates.RATES,
    conforming.CONFORMING,
)
