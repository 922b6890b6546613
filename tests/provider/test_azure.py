from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from headrace.endpoints import endpoints_of, form_of
from headrace.errors import UsageError
from headrace.provider.client import Client
from headrace.provider.failures import Reply, problem_of
from headrace.provider.forms import VENDOR_FORM, AzureForm
from headrace.provider.memory import ByteBudget
from headrace.provider.told import told_of
from headrace.records import Kind, Request
from headrace.secret import Secret
from headrace.settings import AlternativeSettings, ProviderSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.records import Problem

KEY = "canary-0123456789abcdef0123456789"
REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
FORM = AzureForm(api_version="2025-04-01-preview", deployments={"gpt-image-2": "pictures"})
AZURE = {"kind": "azure", "base_url": "https://studio.example.com"}


def asked(*requests: Request, form: AzureForm = FORM, key: str = KEY, **limits: Any) -> list[Reply | Problem]:
    """What a simulated Azure answers, one after the other."""
    pools = (SimulatedPool(name="resource", keys=(KEY,), **({"images_per_minute": None} | limits)),)
    world = World(SimulatorSettings(pools=pools, latency_s=0, pictures="template", deployments={"pictures": "gpt-image-2"}))
    answers = []

    async def main() -> None:
        client = Client(base_url="http://127.0.0.1", secret=Secret(key), timeout_s=300, app=make_app(world), form=form)
        for request in requests:
            with ByteBudget(2**26).lease() as lease:
                answers.append(await client.post(request, lease))
        await client.aclose()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return answers


def problem(reply: Reply | Problem) -> Problem:
    assert isinstance(reply, Reply)
    assert KEY not in bytes(reply.body).decode()
    return problem_of(reply)


def test_a_model_is_asked_for_through_its_deployment_with_the_key_in_azures_header(on_the_wire: Callable[..., None]) -> None:
    async def test(wire: Any) -> None:
        port = wire.client._url
        wire.client = Client(base_url=port, secret=Secret(wire.key), timeout_s=5, form=FORM)
        await wire.post(attrs.evolve(REQUEST, n=2))
        head, _, body = wire.seen[0].partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == "POST /v1/openai/deployments/pictures/images/generations?api-version=2025-04-01-preview HTTP/1.1"
        assert f"api-key: {wire.key}" in lines
        assert b"authorization" not in head.lower()
        assert json.loads(body)["model"] == "pictures"

    on_the_wire(test, ["read", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"])


def test_a_model_without_a_deployment_of_its_own_is_asked_for_by_its_name() -> None:
    answer, gone = asked(REQUEST, attrs.evolve(REQUEST, model="a?b"), form=attrs.evolve(FORM, deployments={}))
    assert isinstance(answer, Reply)
    assert answer.status == 200
    assert "apim-request-id" in answer.headers
    assert "openai-organization" not in answer.headers
    # A name goes into the path as one part of it.
    assert (problem(gone).kind, problem(gone).status) == (Kind.MODEL_NOT_FOUND, 404)


def test_the_refusal_of_a_call_too_many_names_requests_and_when_to_come_back() -> None:
    *_, refused = asked(REQUEST, REQUEST, requests_per_minute=1)
    assert isinstance(refused, Reply)
    refusal = told_of(refused).refusal
    assert refusal is not None
    assert (refusal.resource, refusal.limit) == ("requests", None)
    assert (problem(refused).kind, problem(refused).retry_after_s) == (Kind.RATE_LIMITED, 60)


@pytest.mark.parametrize(
    ("prompt", "kind", "status"),
    [
        ("[[fault:content_policy_violation]]", Kind.CONTENT_POLICY_VIOLATION, 400),
        ("[[fault:moderation_blocked]]", Kind.MODERATION_BLOCKED, 400),
        ("[[fault:forbidden]]", Kind.FORBIDDEN, 403),
        ("[[fault:model_not_found]]", Kind.MODEL_NOT_FOUND, 404),
        ("[[fault:wrong_url]]", Kind.NOT_FOUND, 404),
        ("[[fault:rate_limited_message_only]]", Kind.RATE_LIMITED, 429),
    ],
)
def test_errors_in_azures_words_are_known(prompt: str, kind: Kind, status: int) -> None:
    (answer,) = asked(attrs.evolve(REQUEST, prompt=prompt))
    found = problem(answer)
    assert (found.kind, found.status) == (kind, status)
    assert found.retry_after_s == (1 if kind is Kind.RATE_LIMITED else None)


@pytest.mark.parametrize("code", ["content_filter", "contentFilter"])
def test_what_its_filter_stops_is_not_asked_again(code: str) -> None:
    found = problem_of(Reply(400, {}, json.dumps({"error": {"code": code, "message": "filtered", "type": None}}).encode()))
    assert (found.kind, found.retryable) == (Kind.CONTENT_POLICY_VIOLATION, False)


def test_a_wrong_key_and_a_call_without_a_version_are_refused() -> None:
    (wrong,) = asked(REQUEST, key="canary-of-somebody-else")
    (missing,) = asked(REQUEST, form=attrs.evolve(FORM, api_version=""))
    assert problem(wrong).kind is Kind.AUTH
    assert problem(missing).kind is Kind.NOT_FOUND


@pytest.mark.parametrize(
    ("url", "kind", "azure"),
    [
        ("https://studio.openai.azure.com", None, True),
        ("https://studio.cognitiveservices.azure.com", None, True),
        ("https://studio.openai.azure.com/openai/v1", None, False),
        ("https://openai.azure.com.example.com", None, False),
        ("https://api.openai.com/v1", None, False),
        ("https://gateway.example.com/pictures", "azure", True),
        ("https://studio.openai.azure.com", "openai", False),
    ],
)
def test_whose_form_it_is_goes_by_the_host_unless_the_settings_say(url: str, kind: str | None, azure: bool) -> None:
    provider = ProviderSettings(base_url=url, kind=kind)
    assert isinstance(form_of(provider, url), AzureForm) == azure
    assert azure or form_of(provider, url) == VENDOR_FORM


def test_the_fallback_may_be_azure_too_and_both_take_the_endpoint_with_or_without_openai_at_its_end() -> None:
    other = AZURE | {"base_url": f"{AZURE['base_url']}/openai/", "model": "gpt-image-2", "key": [{"name": "b", "env": "KEY"}]}
    settings = Settings.from_dict({"provider": AZURE, "key": [{"name": "a", "env": "KEY"}], "fallback": {"alternative": other}})
    for endpoint in endpoints_of(settings, {"KEY": KEY}):
        assert endpoint is not None
        assert endpoint.url == "https://studio.example.com"
        assert endpoint.form == AzureForm(api_version=AlternativeSettings(base_url="https://a", model="b").api_version)


def test_the_vendors_path_at_azures_host_is_refused() -> None:
    settings = Settings.from_dict({"provider": {"base_url": "https://studio.openai.azure.com/v1/"}})
    with pytest.raises(UsageError, match="endpoint alone"):
        endpoints_of(settings, {"OPENAI_API_KEY": KEY})


@pytest.mark.parametrize("path", ["/openai/deployments/pictures", "/openai/v1"])
def test_a_url_that_is_more_than_azures_endpoint_is_refused(path: str) -> None:
    settings = Settings.from_dict({"provider": AZURE | {"base_url": AZURE["base_url"] + path}})
    with pytest.raises(UsageError, match="endpoint alone"):
        endpoints_of(settings, {"OPENAI_API_KEY": KEY})


@pytest.mark.parametrize("name", ["two words", "sk-canary-0123456789", "", "a\nb"])
def test_a_deployments_name_is_no_key_and_can_be_sent(name: str) -> None:
    with pytest.raises(UsageError, match="deployments has to be"):
        Settings.from_dict({"provider": {"deployments": {"gpt-image-2": name}}})


def test_deployments_are_a_table_of_names() -> None:
    with pytest.raises(UsageError, match=r"provider\.deployments: \['x'\] is not a table"):
        Settings.from_dict({"provider": {"deployments": ["x"]}})
