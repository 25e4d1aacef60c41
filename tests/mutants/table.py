"""The whole table."""

from tests.mutants import answers, deciding, holding, rates, requests, restructured, time
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
    holding.PROCESSES,
    restructured.ACQUIRING,
    restructured.RENEWING,
    restructured.BATCHES,
    restructured.PROCESS,
    restructured.OPERATING,
    rates.RATES,
)
