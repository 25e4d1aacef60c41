"""Which tests are to notice a change of a module."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.mutant import PACKAGE, ROOT

API_TESTS: tuple[str, ...] = (
    *("tests/test_smoke.py", "tests/test_lease_holding.py", "tests/test_lease_losing.py", "tests/test_lease_serial.py"),
    *("tests/test_rate_limiter.py", "tests/test_rate_limiter_waiting.py", "tests/test_rate_limiter_faults.py"),
    *("tests/test_rate_steering.py", "tests/test_limited_by_key.py"),
    *("tests/test_token_bucket.py", "tests/test_sliding_window.py", "tests/test_timing.py", "tests/test_surface.py"),
    *("tests/test_from_the_seed.py", "tests/operations", "tests/aio", "tests/test_simulation.py"),
)
"""What the public API promises; tried where a module's own tests notice nothing."""

_ELSEWHERE = {
    "_protocol/messages.py": ("tests/protocol", "tests/dynamodb/test_answers.py"),
    "_protocol/records.py": ("tests/protocol", "tests/dynamodb/test_answers.py"),
    "_protocol/outcomes.py": ("tests/protocol",),
    "_protocol/rates/messages.py": ("tests/protocol/rates", "tests/dynamodb"),
    "_protocol/rates/records.py": ("tests/protocol/rates", "tests/dynamodb"),
    "_operations/rates/booking.py": ("tests/test_rate_limiter_waiting.py", "tests/test_rate_limiter_faults.py"),
    "_operations/rates/preparing.py": ("tests/operations/rates", "tests/test_rate_steering.py"),
    "_operations/rates/policy.py": ("tests/test_rate_steering.py", "tests/operations/rates/test_booking.py"),
    "_operations/rates/steer.py": ("tests/test_rate_steering.py",),
    "_operations/maintain.py": ("tests/test_token_bucket.py",),
    "_runtime/acquiring.py": ("tests/test_leader.py", "tests/test_lambda_handler.py"),
    "_runtime/invocations.py": ("tests/test_lambda_handler.py",),
    "_runtime/leadership.py": ("tests/test_leader.py", "tests/aio/test_leader.py"),
    "_runtime/arguments.py": ("tests/test_arguments.py",),
    "_runtime/belongs_here.py": ("tests/test_blocks.py",),
    "_runtime/block.py": ("tests/test_blocks.py",),
    "_runtime/callables.py": ("tests/runtime/test_decorators.py", "tests/test_arguments.py"),
    "_runtime/listing.py": ("tests/operations/test_listing.py",),
    "_runtime/mistaken.py": ("tests/test_blocks.py",),
    "_runtime/origin.py": ("tests/test_dropped.py",),
    "_runtime/own_holders.py": ("tests/test_dropped.py",),
    "_runtime/clock.py": ("tests/state/test_service_time.py",),
    "_runtime/event_calls.py": ("tests/runtime/test_events.py", "tests/runtime/test_troubles.py"),
    "_runtime/endings.py": ("tests/runtime/test_exits.py",),
    "_runtime/held_lease.py": ("tests/test_lease_holding.py", "tests/test_lease_losing.py", "tests/test_dropped.py"),
    "_runtime/lease_end.py": (
        "tests/test_lease_serial.py",
        "tests/test_lease_ended_here.py",
        "tests/test_interrupts.py",
    ),
    "_runtime/loss.py": ("tests/test_lease_losing.py", "tests/test_lease_ended_here.py"),
    "_runtime/owed_release.py": ("tests/test_interrupts.py", "tests/operations/test_acquire_errors.py"),
    "_runtime/resetting.py": ("tests/test_lease_ended_here.py", "tests/aio/test_ended_here.py"),
    "_runtime/bucket_arguments.py": ("tests/test_arguments.py",),
    "_runtime/hits_core.py": ("tests/adapters/test_limits.py", "tests/operations/test_hits.py"),
    "_runtime/give_back.py": ("tests/test_interrupts.py", "tests/operations/test_acquire_errors.py"),
    "_runtime/holds_nothing.py": ("tests/test_sliding_window.py", "tests/test_token_bucket.py"),
    "_runtime/instrumentation.py": ("tests/runtime/test_events.py",),
    "_runtime/parallel.py": ("tests/test_interrupts.py", "tests/operations/test_acquire_errors.py"),
    "_runtime/process.py": ("tests/runtime/test_crashes.py", "tests/runtime/test_heartbeat.py"),
    "_runtime/telling.py": ("tests/runtime/test_telling.py", "tests/faults/test_telling.py"),
    "_runtime/rates/steering.py": ("tests/test_rate_steering.py", "tests/cli/test_rate.py"),
    "_runtime/rates/stored_rate.py": ("tests/cli/test_rate.py",),
    "_runtime/shared_time.py": ("tests/runtime/test_crashes.py",),
    "_runtime/stored_bucket.py": ("tests/cli/test_run.py",),
    "_runtime/window_core.py": ("tests/test_sliding_window.py", "tests/aio/test_sliding_window.py"),
    "_runtime/together_core.py": ("tests/test_together.py", "tests/aio/test_together.py"),
    "_protocol/closing.py": ("tests/operations/test_hold_at_least.py",),
    "_state/closed_slots.py": ("tests/operations/test_hold_at_least.py",),
    "_state/offset.py": ("tests/state/test_service_time.py",),
    "_state/words.py": ("tests/test_sliding_window.py",),
    "_state/rates/key_book.py": ("tests/test_rate_limiter.py", "tests/test_rate_limiter_waiting.py"),
    "_state/rates/booking.py": ("tests/test_rate_limiter.py", "tests/test_rate_limiter_waiting.py"),
    "adapters/_http.py": ("tests/adapters/test_http.py",),
    "adapters/_middleware.py": ("tests/adapters/test_middleware.py",),
    "adapters/asgi.py": ("tests/adapters/test_asgi.py", "tests/adapters/test_middleware.py"),
    "adapters/wsgi.py": ("tests/adapters/test_wsgi.py", "tests/adapters/test_middleware.py"),
    "aio/inbox.py": ("tests/adapters/test_asgi.py",),
    "aio/key_limiter.py": ("tests/aio/test_rate_steering.py", "tests/aio/test_rate_limiter.py"),
    "aio/acquiring.py": ("tests/test_blocks.py",),
    "cli/loss_log.py": ("tests/cli/test_run.py",),
    "cli/cgroup.py": ("tests/cli/test_watchdog.py", "tests/cli/test_run.py"),
    "cli/columns.py": ("tests/cli/test_fitting.py", "tests/cli/test_queue_table.py", "tests/cli/test_commands.py"),
    "cli/completion.py": ("tests/cli/test_parsing.py",),
    "cli/conform/command.py": ("tests/cli/test_parsing.py",),
    "cli/seeing/commands.py": ("tests/cli/test_parsing.py",),
    "cli/command_group.py": ("tests/cli/test_watchdog.py", "tests/cli/test_run.py"),
    "cli/deferred.py": ("tests/cli/test_imports.py", "tests/cli/test_parsing.py"),
    "cli/exits.py": ("tests/cli/test_parsing.py", "tests/cli/test_run.py", "tests/cli/test_commands.py"),
    "cli/lease.py": ("tests/cli/test_commands.py", "tests/cli/test_operators.py"),
    "cli/lookup.py": ("tests/cli/test_commands.py", "tests/cli/test_operators.py"),
    "cli/main.py": ("tests/cli/test_parsing.py", "tests/cli/test_abbreviations.py", "tests/cli/test_commands.py"),
    "cli/nesting.py": ("tests/cli/test_run.py", "tests/cli/test_limit.py"),
    **{
        f"cli/options/{name}.py": ("tests/cli/test_parsing.py",)  # all help pages
        for name in ("lead", "lease", "limit", "operate", "rate", "run", "setup", "status", "template", "where")
    },
    "cli/operate.py": ("tests/cli/test_operators.py", "tests/cli/test_commands.py"),
    "cli/processes.py": ("tests/cli/test_watchdog.py", "tests/cli/test_run.py"),
    "cli/release.py": ("tests/cli/test_commands.py",),
    "cli/screen.py": ("tests/cli/test_waiting.py", "tests/cli/test_streams.py"),
    "cli/setup.py": ("tests/cli/test_commands.py", "tests/cli/test_template.py"),
    "cli/status.py": ("tests/cli/test_commands.py", "tests/cli/test_queue_table.py"),
    "cli/terminal.py": ("tests/cli/test_waiting.py", "tests/cli/test_slot_wait.py"),
    "cli/asked_bucket.py": ("tests/cli/test_run.py",),
    "cli/config_file.py": ("tests/cli/test_defaults.py",),
    "cli/known_names.py": ("tests/cli/test_commands.py", "tests/cli/test_limit.py"),
    "cli/pages.py": ("tests/cli/test_parsing.py",),
    "cli/rate_output.py": ("tests/cli/test_rate.py",),
    "cli/supervisor.py": ("tests/cli/test_watchdog.py", "tests/cli/test_run.py"),
    "dynamodb/dropping.py": ("tests/conformance/test_own_table.py",),
    "dynamodb/foreign.py": ("tests/dynamodb/rates/test_expressions.py", "tests/dynamodb/test_answers.py"),
    "dynamodb/placeholders.py": ("tests/dynamodb",),
    "dynamodb/rates/answers.py": ("tests/dynamodb/rates/test_expressions.py",),
    "dynamodb/rates/expressions.py": ("tests/dynamodb/rates/test_expressions.py",),
    "dynamodb/rates/items.py": ("tests/dynamodb/rates/test_expressions.py",),
    "dynamodb/raw.py": ("tests/conformance",),
    "dynamodb/given.py": ("tests/test_arguments.py",),
    "local/waiting.py": ("tests/local/test_engine_successor.py",),
    "__main__.py": ("tests/cli/test_commands.py",),
    "_numbers.py": (
        "tests/test_arguments.py",
        "tests/protocol/rates/test_validation.py",
        "tests/cli/test_formatting.py",  # durations
    ),
    "bucket.py": ("tests/operations",),
    "errors.py": ("tests/test_surface.py",),
    "events.py": ("tests/runtime/test_events.py",),
    "key_limiter.py": ("tests/test_rate_steering.py", "tests/test_limited_by_key.py", "tests/test_rate_limiter.py"),
    "rate_events.py": ("tests/runtime/rates/test_reporter.py",),
    "lease.py": ("tests/runtime/test_renewer.py",),
    "models.py": ("tests/test_timing.py", "tests/operations/test_status.py", "tests/operations/test_resize.py"),
    "otel.py": ("tests/runtime/test_events.py", "tests/runtime/rates/test_reporter.py"),
    "signals.py": ("tests/runtime/test_exits.py",),
}
"""Tests of modules besides those that mirror their path."""

_FOLDERS = {"cli/conform": "conformance", "cli/options": "cli"}
"""Packages whose tests are in a folder of another name: `conform` holds the engines and the simulator to its probes, and
options are tested with what they are options of."""


def mirrored_tests(path: Path) -> tuple[str, ...]:
    """The tests of a module, given by its path in the repository: those that mirror its path, or else its layer's."""
    module, layer = path.relative_to(PACKAGE), _layer(path)
    folder = ROOT / "tests" / layer
    mirrored = [str(test.relative_to(ROOT)) for test in sorted(folder.glob(f"test_{module.stem.strip('_')}*.py"))]
    own = (*mirrored, *_ELSEWHERE.get(module.as_posix(), ()))
    if own or not layer:
        return own
    return (f"tests/{layer}",) if folder.exists() else (f"tests/test_{layer}.py",)


def layer_tests(path: Path) -> tuple[str, ...]:
    """The tests of a module's layer; none for a public module, which is of no layer."""
    layer = _layer(path)
    return (f"tests/{layer}",) if layer and (ROOT / "tests" / layer).exists() else ()


def _layer(path: Path) -> str:
    parent = path.relative_to(PACKAGE).parent
    return _FOLDERS.get(parent.as_posix(), str(parent).replace("_", "").replace(".", ""))
