from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from headrace.admission.retry import RetryPolicy
from headrace.assembly import open_race
from headrace.errors import StoppedError
from headrace.records import Kind, Result, Status, Strategy
from headrace.settings import CacheSettings, FallbackSettings, KeySettings, PoolSettings, ProviderSettings, RunSettings, Settings
from headrace.simulator.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

# Waiting is the admission's business and tested there in virtual time.
AT_ONCE = RetryPolicy(base_s=0.0)
NEIGHBOURS = 3

GIVEN_UP = {
    # fault: kind, status, retryable, attempts
    "request_timeout": (Kind.TIMEOUT, 408, True, 4),
    "conflict": (Kind.SERVER_ERROR, 409, True, 4),
    "overloaded": (Kind.OVERLOADED, 503, True, 4),
    "server_error": (Kind.SERVER_ERROR, 500, True, 4),
    "bad_gateway": (Kind.SERVER_ERROR, 502, True, 4),
    "gateway_timeout": (Kind.SERVER_ERROR, 504, True, 4),
    "cloudflare_524": (Kind.SERVER_ERROR, 524, True, 4),
    "error_in_200": (Kind.SERVER_ERROR, 200, True, 4),
    "html_200": (Kind.BAD_ANSWER, 200, True, 4),
    "deep_json": (Kind.BAD_ANSWER, 200, True, 4),
    "empty_data": (Kind.BAD_ANSWER, 200, True, 4),
    "wrong_count": (Kind.BAD_ANSWER, 200, True, 4),
    "wrong_size": (Kind.BAD_ANSWER, 200, True, 4),
    "missing_b64": (Kind.BAD_ANSWER, 200, True, 4),
    "broken_base64": (Kind.BAD_ANSWER, 200, True, 4),
    "truncated_json": (Kind.BAD_ANSWER, 200, True, 4),
    "truncated_png": (Kind.BAD_ANSWER, 200, True, 4),
    "oversized": (Kind.BAD_ANSWER, 200, True, 4),
    "gzip": (Kind.BAD_ANSWER, 200, True, 4),
    "url_instead": (Kind.BAD_ANSWER, 200, True, 4),
    "disconnect": (Kind.NETWORK, None, True, 4),
    "reset": (Kind.NETWORK, None, True, 4),
    "stall": (Kind.TIMEOUT, None, True, 4),
    "invalid_value": (Kind.BAD_REQUEST, 400, False, 1),
    "unknown_parameter": (Kind.BAD_REQUEST, 400, False, 1),
    "model_not_found": (Kind.MODEL_NOT_FOUND, 400, False, 1),
    "moderation_blocked": (Kind.MODERATION_BLOCKED, 400, False, 1),
    "content_policy_violation": (Kind.CONTENT_POLICY_VIOLATION, 400, False, 1),
}
PACED = (
    "rate_limited",
    "rate_limited_message_only",
    "rate_limited_old",
    "rate_limited_date",
    "rate_limited_nonsense",
    "slow_down",
)
NO_PICTURE = ("html_200", "deep_json", "empty_data", "error_in_200")
HARMLESS = ("bare_list", "data_url", "slow_body", "wrong_format")
BENCHES_THE_KEY = {
    "auth": "Incorrect API key provided",
    "forbidden": "Your organization must be verified",
    "wrong_url": "Invalid URL",
}
BENCHES_THE_POOL = {
    "insufficient_quota": "You exceeded your current quota",
    "credit_balance_exhausted": "You have no credits remaining",
    "organization_spend_limit_exceeded": "Your organization has reached its spend limit",
    "project_spend_limit_exceeded": "Your project has reached its spend limit",
    "organization_usage_limit_exceeded": "Your organization has reached its usage limit",
    "billing_hard_limit_reached": "Billing hard limit has been reached",
}
BENCHES = BENCHES_THE_KEY | BENCHES_THE_POOL


def test_the_tables_here_hold_every_fault() -> None:
    assert {*GIVEN_UP, *PACED, *HARMLESS, *BENCHES} == set(FAULTS)


@attrs.frozen
class Ran:
    """What came of one line."""

    result: Result
    """Of the prompt that the fault is for."""
    neighbours: Sequence[Result]
    stopped: str | None
    states: Mapping[str, str]
    """Pool -> its state at the end."""


async def ran(folder: Path, base_url: str, environ: Mapping[str, str], marker: str, **options: Any) -> Ran:
    pools = options.pop("pools", {"studio": "FIRST"})
    settings = Settings(
        provider=ProviderSettings(base_url=base_url, timeout_s=1.0 if "stall" in marker else 10.0),
        pool=tuple(PoolSettings(name=name) for name in pools),
        key=tuple(KeySettings(name=f"{name}-a", pool=name, env=variable) for name, variable in pools.items()),
        cache=CacheSettings(policy="off"),
        fallback=FallbackSettings(ladder=options.pop("ladder", ())),
        run=RunSettings(out_dir=str(folder)),
    )
    found: list[Result] = []
    stopped = None
    plain = [f"{folder.name} cat {n}" for n in range(NEIGHBOURS)]
    prompts = [plain[0], {"prompt": f"{folder.name} {marker}", "id": "marked", **options}, *plain[1:]]
    async with open_race(settings, environ=environ) as race:
        race.primary = attrs.evolve(race.primary, retry=AT_ONCE)
        async with race.results(prompts) as results:
            try:
                async for result in results:
                    found.append(result)  # noqa: PERF401 - those before an error count
            except StoppedError as error:
                stopped = str(error)
        states = {pool.name: pool.state for pool in race.statistics()}
    by_id = {result.id: result for result in found}
    assert len(by_id) == len(found) == len(prompts) or stopped is not None
    return Ran(by_id.pop("marked"), tuple(by_id.values()), stopped, states)


@pytest.fixture(scope="module")
def outcomes(base_url: str, key: str, second_key: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Ran]:
    """Every fault for ever, and those that pass after two calls or one; all beside each other, each in a line of its own."""
    environ = {"FIRST": key, "SECOND": second_key}
    found: dict[str, Ran] = {}

    async def one(name: str, marker: str, **options: Any) -> None:
        folder = tmp_path_factory.mktemp(name.replace("*", "-"))
        found[name] = await ran(folder, base_url, environ, marker, **options)

    async def everything() -> None:
        with trio.fail_after(40):
            async with trio.open_nursery() as beside:
                for fault in PACED:
                    times = 1 if fault in ("rate_limited_date", "rate_limited_old") else 2  # these ask for seconds
                    beside.start_soon(one, f"{fault}*2", f"[[fault:{fault}*{times}]]")
                async with trio.open_nursery() as nursery:
                    for fault in (*GIVEN_UP.keys() - {"stall"}, *HARMLESS, *BENCHES):
                        nursery.start_soon(one, fault, f"[[fault:{fault}]]")
                    for fault in GIVEN_UP.keys() - {"stall"}:
                        nursery.start_soon(one, f"{fault}*2", f"[[fault:{fault}*2]]")
                    for fault in BENCHES:
                        nursery.start_soon(
                            _partial(one, f"{fault}*1", f"[[fault:{fault}*1]]", pools={"studio": "FIRST", "other": "SECOND"})
                        )
                # These have a short time limit: when the machine is busy, their neighbours would not keep to it.
                beside.start_soon(one, "stall", "[[fault:stall]]")
                beside.start_soon(one, "stall*2", "[[fault:stall*2]]")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        trio.run(everything)
    return found


def _partial(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    return lambda: function(*arguments, **options)


def is_picture(result: Result) -> bool:
    return result.status is Status.OK and result.strategy is Strategy.PRIMARY and len(result.images) == 1 and result.error is None


@pytest.mark.parametrize("fault", GIVEN_UP)
def test_a_fault_that_stays_ends_its_prompt_and_no_other(outcomes: Mapping[str, Ran], fault: str) -> None:
    kind, status, retryable, attempts = GIVEN_UP[fault]
    result = outcomes[fault].result
    assert result.error is not None
    assert (result.status, result.strategy, result.images) == (Status.FAILED, None, ())
    assert (result.error.kind, result.error.status, result.error.retryable) == (kind, status, retryable)
    assert (result.attempts, result.key, result.usage) == (attempts, "studio-a", None)
    # A picture that came and cannot be used was made and billed.
    assert result.cost_usd is not None
    assert (result.cost_usd > 0) is (kind is Kind.BAD_ANSWER and fault not in NO_PICTURE)
    assert result.error.message
    assert all(map(is_picture, outcomes[fault].neighbours))
    assert outcomes[fault].stopped is None


@pytest.mark.parametrize("fault", [fault for fault, (_, _, _, attempts) in GIVEN_UP.items() if attempts > 1])
def test_a_fault_that_passes_after_two_calls_ends_well_with_the_third(outcomes: Mapping[str, Ran], fault: str) -> None:
    result = outcomes[f"{fault}*2"].result
    assert is_picture(result)
    assert result.attempts == 3
    assert all(map(is_picture, outcomes[f"{fault}*2"].neighbours))


@pytest.mark.parametrize("fault", [fault for fault, (_, _, _, attempts) in GIVEN_UP.items() if attempts == 1])
def test_what_can_never_succeed_is_not_asked_twice_even_if_it_would_pass(outcomes: Mapping[str, Ran], fault: str) -> None:
    result = outcomes[f"{fault}*2"].result
    assert (result.status, result.attempts) == (Status.FAILED, 1)


@pytest.mark.parametrize("fault", PACED)
def test_a_refusal_for_pace_uses_no_attempt(outcomes: Mapping[str, Ran], fault: str) -> None:
    result = outcomes[f"{fault}*2"].result
    assert is_picture(result)
    assert result.attempts == 1
    assert result.waited_s > 0.2
    assert all(map(is_picture, outcomes[f"{fault}*2"].neighbours))


@pytest.mark.parametrize("fault", HARMLESS)
def test_an_odd_answer_with_a_whole_picture_is_taken(outcomes: Mapping[str, Ran], fault: str) -> None:
    result = outcomes[fault].result
    assert is_picture(result)
    assert result.attempts == 1
    assert result.images[0].format == ("jpeg" if fault == "wrong_format" else "png")
    assert result.cost_usd is not None
    assert result.cost_usd > 0
    assert all(map(is_picture, outcomes[fault].neighbours))


@pytest.mark.parametrize("fault", BENCHES)
def test_what_benches_the_only_key_or_pool_stops_the_run(outcomes: Mapping[str, Ran], fault: str) -> None:
    outcome = outcomes[fault]
    result = outcome.result
    assert result.error is not None
    assert (result.status, result.error.kind, result.error.status, result.error.retryable) == (Status.SKIPPED, Kind.NO_POOL, None, True)
    assert (result.attempts, result.cost_usd) == (0, 0.0)
    who = "key studio-a" if fault in BENCHES_THE_KEY else "pool studio"
    assert outcome.stopped is not None
    assert who in outcome.stopped
    assert BENCHES[fault] in outcome.stopped
    assert outcome.states["studio"].startswith("benched: ")
    # What was under way when the pool was benched has its picture.
    assert all(is_picture(each) or each.status is Status.SKIPPED for each in outcome.neighbours)


@pytest.mark.parametrize("fault", BENCHES)
def test_what_benches_one_of_two_pools_sends_its_prompt_to_the_other(outcomes: Mapping[str, Ran], fault: str) -> None:
    outcome = outcomes[f"{fault}*1"]
    assert is_picture(outcome.result)
    assert outcome.result.attempts == 1
    benched = [name for name, state in outcome.states.items() if state.startswith("benched")]
    assert len(benched) == 1
    assert outcome.result.key != f"{benched[0]}-a"
    assert all(map(is_picture, outcome.neighbours))
    assert outcome.stopped is None


def test_a_prompt_that_is_given_up_is_made_smaller(
    tmp_path: Path, base_url: str, key: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def main() -> None:
        marker = "[[fault:server_error*4]]"
        outcome = await ran(tmp_path, base_url, {"FIRST": key}, marker, ladder=("reduced_quality",), quality="medium")
        result = outcome.result
        assert (result.status, result.strategy, result.quality) == (Status.OK, Strategy.REDUCED_QUALITY, "low")
        assert (result.attempts, result.size) == (5, "1024x1024")
        assert world.bill[f"{tmp_path.name} {marker}"] == 1
        assert all(map(is_picture, outcome.neighbours))

    trio.run(main)


@pytest.mark.parametrize("fault", ["moderation_blocked", "content_policy_violation", "invalid_value"])
def test_what_policy_or_the_request_itself_forbids_is_not_asked_again_in_other_words(
    tmp_path: Path, base_url: str, key: str, world: World, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def main() -> None:
        marker = f"[[fault:{fault}]]"
        outcome = await ran(tmp_path, base_url, {"FIRST": key}, marker, ladder=("reduced_quality",), quality="high")
        assert (outcome.result.status, outcome.result.attempts) == (Status.FAILED, 1)
        assert world.calls(f"{tmp_path.name} {marker}") == 1

    trio.run(main)


@pytest.mark.parametrize("fault", BENCHES)
def test_exit_status_3_comes_with_one_line_that_names_who_cannot_work_and_why(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path, fault: str
) -> None:
    (tmp_path / "in").write_text(f"{tmp_path} [[fault:{fault}]]\n" + "".join(f"{tmp_path} cat {n}\n" for n in range(20)))
    ended = headrace("run", "in", "--max-in-flight", "1")
    assert ended.returncode == 3
    who = "key default" if fault in BENCHES_THE_KEY else "pool default"
    *_, last = ended.stderr.splitlines()
    assert last.startswith(f"headrace: no key can work any more: {who}: {BENCHES[fault]}")
    assert "Traceback" not in ended.stderr
    lines = lines_of(ended.stdout)
    # The prompts behind it are not read any more.
    assert 1 <= len(lines) <= 3
    assert {line["status"] for line in lines} == {"skipped"}
