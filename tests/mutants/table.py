"""The whole table."""

from tests.mutants import (
    acquiring,
    answers,
    deciding,
    guarding,
    holding,
    operating,
    processes,
    rates,
    renewing,
    requests,
    searching,
    time,
)
from tests.mutants.mutant import Chapter

CHAPTERS: tuple[Chapter, ...] = (
    requests.CONDITIONS,
    requests.EDGES,
    requests.EFFECTS,
    answers.ANSWERS,
    time.BOUNDS,
    time.MARGINS,
    deciding.DECISIONS,
    deciding.WAITING,
    deciding.AMBIGUITY,
    holding.BELIEF,
    processes.PROCESSES,
    acquiring.ACQUIRING,
    searching.SEARCHING,
    guarding.GUARDS,
    renewing.RENEWING,
    renewing.BATCHES,
    renewing.TROUBLES,
    operating.OPERATING,
    rates.RATES,
)
