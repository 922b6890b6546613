from __future__ import annotations

from datetime import date
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import UsageError
from headrace.estimate import estimate
from headrace.models import AUTO, Limits, article_tokens, catalogue
from headrace.records import Prompt, Request
from headrace.sizes import parse_size
from headrace.tokens import prompt_tokens

NAMES = tuple(catalogue().models)
QUALITIES = ("low", "medium", "high", "xhigh", "max")
REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")

# Published numbers, and those of the vendor's calculator: by family, size and quality in the order of QUALITIES.
EXPECTED: dict[str, dict[str, tuple[int, ...]]] = {
    "gpt-image-1": {"1024x1024": (272, 1056, 4160), "1024x1536": (408, 1584, 6240), "1536x1024": (400, 1568, 6208)},
    "gpt-image-2": {
        "1024x1024": (196, 1756, 7024),
        "1024x1536": (158, 1372, 5488),
        "1536x1024": (158, 1372, 5488),
        "1536x864": (120, 1078, 4312),
        "2048x2048": (397, 3568, 14272),
        "2560x1440": (205, 1843, 7370),
        "3840x2160": (371, 3336, 13342),
    },
    "gpt-image-2.5-flare": {
        "1024x1024": (196, 439, 1756, 3122, 7024),
        "1024x1536": (158, 343, 1372, 2459, 5488),
        "1536x1024": (158, 343, 1372, 2459, 5488),
        "1536x864": (120, 280, 1078, 1917, 4312),
        "2048x2048": (397, 892, 3568, 6343, 14272),
        "2560x1440": (205, 478, 1843, 3276, 7370),
        "3840x2160": (371, 865, 3336, 5930, 13342),
    },
}
FAMILIES = {
    "gpt-image-1": ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"),
    "gpt-image-2": ("gpt-image-2",),
    "gpt-image-2.5-flare": ("gpt-image-2.5-flare", "gpt-image-2.5-sunburst", "gpt-image-2.6-flare", "gpt-image-2.6-sunburst"),
}
sizes = st.tuples(st.integers(1, 99_999), st.integers(1, 99_999)).map(lambda pair: f"{pair[0]}x{pair[1]}")
near_sizes = st.tuples(st.integers(20, 260), st.integers(20, 260)).map(lambda pair: f"{16 * pair[0]}x{16 * pair[1]}")
any_size = (
    sizes | near_sizes | st.sampled_from([AUTO, "512x512", "256x256", "1792x1024", "1x99999", "99999x1", "3840x3840"]) | st.text(max_size=9)
)


def test_every_model_is_checked_here() -> None:
    assert {name for names in FAMILIES.values() for name in names} == set(NAMES)


@pytest.mark.parametrize(("family", "size"), [(family, size) for family, table in EXPECTED.items() for size in table])
def test_a_picture_takes_the_tokens_that_the_vendor_bills(family: str, size: str) -> None:
    for name in FAMILIES[family]:
        model = catalogue().model(name)
        found = tuple(model.output_tokens(attrs.evolve(REQUEST, model=name, size=size, quality=quality)) for quality in model.qualities)
        assert found == EXPECTED[family][size]


@pytest.mark.parametrize(
    ("name", "size", "cents"),
    [
        ("gpt-image-2", "1024x1024", (0.6, 5.3, 21.1)),
        ("gpt-image-2", "1536x1024", (0.5, 4.1, 16.5)),
        ("gpt-image-1.5", "1024x1024", (0.9, 3.4, 13.3)),
        ("gpt-image-1.5", "1024x1536", (1.3, 5.0, 20.0)),
        ("gpt-image-1", "1024x1024", (1.1, 4.2, 16.7)),
        ("gpt-image-1", "1024x1536", (1.6, 6.3, 25.0)),
        ("gpt-image-1-mini", "1024x1536", (0.3, 1.3, 5.0)),
        ("gpt-image-2.5-flare", "1024x1024", (0.59, 1.32, 5.27, 9.37, 21.07)),
        ("gpt-image-2.6-sunburst", "1024x1024", (0.59, 1.32, 5.27, 9.37, 21.07)),
    ],
)
def test_a_picture_costs_what_the_vendor_publishes(name: str, size: str, cents: tuple[float, ...]) -> None:
    model = catalogue().model(name)
    found = [100 * (model.cost_usd(0, model.picture_tokens(size, quality)) or 0.0) for quality in model.qualities]
    assert found == pytest.approx(cents, abs=0.07 if name < "gpt-image-2.5" else 0.006)


def test_text_costs_too_and_an_unknown_price_is_none() -> None:
    assert catalogue().model("gpt-image-2").cost_usd(1_000_000, 0) == 5.0
    assert catalogue().model("gpt-image-1-mini").cost_usd(1_000_000, 1_000_000) == 10.0
    assert catalogue().model("somebody-elses").cost_usd(1, 1) is None


def test_n_pictures_take_n_times_the_tokens_and_auto_counts_as_the_dearest() -> None:
    model = catalogue().model("gpt-image-2")
    assert model.output_tokens(attrs.evolve(REQUEST, n=10)) == 1960
    assert model.output_tokens(attrs.evolve(REQUEST, quality=AUTO)) == 7024
    assert model.output_tokens(attrs.evolve(REQUEST, size=AUTO, quality=AUTO)) == 7024
    assert catalogue().model("gpt-image-1").output_tokens(attrs.evolve(REQUEST, size=AUTO, quality=AUTO)) == 6240


@pytest.mark.parametrize("name", NAMES)
@given(size=any_size)
def test_the_nearest_size_is_one_that_the_model_makes(name: str, size: str) -> None:
    model = catalogue().model(name)
    request = attrs.evolve(REQUEST, model=name, size=size)
    problem = model.problem(request)
    nearest = model.nearest_size(size)
    assert model.problem(attrs.evolve(request, size=nearest)) is None
    if problem is None and size != AUTO:
        assert parse_size(nearest) == parse_size(size)
    elif problem is not None:
        assert repr(nearest) in problem
        assert len(problem.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
@given(quality=st.sampled_from([*QUALITIES, AUTO, "standard", "hd", "ultra", ""]) | st.text(max_size=5))
def test_the_nearest_quality_is_one_that_the_model_has(name: str, quality: str) -> None:
    model = catalogue().model(name)
    request = attrs.evolve(REQUEST, model=name, quality=quality)
    nearest = model.nearest_quality(quality)
    assert model.problem(attrs.evolve(request, quality=nearest)) is None
    problem = model.problem(request)
    if problem is not None:
        assert repr(nearest) in problem
    elif quality != AUTO:
        assert nearest == quality


@pytest.mark.parametrize(("quality", "nearest"), [("hihg", "high"), ("meduim", "medium"), ("xhihg", "high"), ("HD", "low"), ("hd", "high")])
def test_the_nearest_quality_is_the_one_that_was_meant(quality: str, nearest: str) -> None:
    assert catalogue().model("gpt-image-2").nearest_quality(quality) == nearest


@pytest.mark.parametrize(("size", "nearest"), [("1024x1024x", "1024x1024"), ("1536x1024 ", "1536x1024"), ("1024*1536", "1024x1536")])
def test_the_nearest_size_of_what_is_none_goes_by_its_letters(size: str, nearest: str) -> None:
    for name in ("gpt-image-1", "gpt-image-2"):
        assert catalogue().model(name).nearest_size(size) == nearest


@pytest.mark.parametrize("name", NAMES)
@given(size=near_sizes | st.just(AUTO))
def test_the_smallest_size_keeps_the_shape_is_accepted_and_costs_no_more(name: str, size: str) -> None:
    model = catalogue().model(name)
    if model.problem(attrs.evolve(REQUEST, model=name, size=size)) is not None:
        return
    small = model.smallest_size(size)
    assert model.problem(attrs.evolve(REQUEST, model=name, size=small)) is None
    if size != AUTO:
        (width, height), (less_wide, less_high) = parse_size(size), parse_size(small)
        assert (width > height) >= (less_wide > less_high)
        assert (width < height) >= (less_wide < less_high)
        assert less_wide * less_high <= max(width * height, 700_000)


@pytest.mark.parametrize("name", NAMES)
def test_qualities_go_down_one_by_one_and_each_costs_less(name: str) -> None:
    model = catalogue().model(name)
    for size in ("1024x1024", "1536x1024"):
        tokens = [model.picture_tokens(size, quality) for quality in model.qualities]
        assert tokens == sorted(set(tokens))
    assert [model.lower_quality(quality) for quality in model.qualities] == [None, *model.qualities[:-1]]
    assert model.lower_quality(AUTO) == model.qualities[-2]
    assert model.lower_quality("ultra") is None


@pytest.mark.parametrize(
    ("size", "nearest"),
    [("512x512", "816x816"), ("1792x1024", "1792x1024"), ("1000x1000", "1008x1008"), ("5000x5000", "2880x2880"), ("nonsense", "1024x1024")],
)
def test_the_nearest_size_keeps_the_shape(size: str, nearest: str) -> None:
    assert catalogue().model("gpt-image-2").nearest_size(size) == nearest
    assert catalogue().model("gpt-image-1").nearest_size("1792x1024") == "1536x1024"
    assert catalogue().model("gpt-image-1").nearest_size("512x512") == "1024x1024"


@pytest.mark.parametrize(
    "size",
    ["1024x1024", "3840x2160", "2160x3840", "816x816", "1408x480", "480x1440", "2880x2880", AUTO],
)
def test_sizes_within_the_rules_are_accepted(size: str) -> None:
    accepted = catalogue().model("gpt-image-2").problem(attrs.evolve(REQUEST, size=size)) is None
    width, height = parse_size(size)
    assert accepted is (655_360 <= width * height <= 8_294_400 and max(width, height) <= 3 * min(width, height))


@pytest.mark.parametrize(
    "size",
    [
        "512x512",
        "1000x1024",
        "1024x1000",
        "3856x2160",
        "3840x1264",
        "1536x496",
        "2896x2880",
        "1024X1024",
        "1024x1024\n",
        " 1024x1024",
        "01024x1024",
        "1\u066024x1024",
        "1024x1\u096624",
        "\uff11024x1024",
        "1024",
        "x",
        "",
        "0x0",
        "-16x16",
        "1024x1024x1024",
        "1e3x1024",
        "Auto",
    ],
)
def test_sizes_outside_of_the_rules_are_refused(size: str) -> None:
    for name in NAMES:
        assert catalogue().model(name).problem(attrs.evolve(REQUEST, model=name, size=size)) is not None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n": 0}, "from 1 to 10"),
        ({"n": 11}, "from 1 to 10"),
        ({"output_compression": -1, "output_format": "webp"}, "from 0 to 100"),
        ({"output_compression": 101, "output_format": "webp"}, "from 0 to 100"),
        ({"output_compression": 50}, "jpeg and webp"),
        ({"output_format": "gif"}, "png, jpeg, webp"),
        ({"background": "transparent", "output_format": "jpeg"}, "png or webp"),
        ({"quality": "xhigh"}, "'high'"),
        ({"quality": "hd"}, "'high'"),
        ({"quality": "standard"}, "'medium'"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_what_it_can(fields: dict[str, Any], says: str) -> None:
    problem = catalogue().model("gpt-image-2").problem(attrs.evolve(REQUEST, **fields))
    assert problem is not None
    assert says in problem


@pytest.mark.parametrize(
    "fields",
    [
        {"output_compression": 0, "output_format": "jpeg"},
        {"background": "transparent", "output_format": "webp"},
        {"background": "transparent"},
        {"quality": AUTO},
        {"n": 10},
    ],
)
def test_what_a_model_can_do_is_accepted(fields: dict[str, Any]) -> None:
    for name in NAMES:
        assert catalogue().model(name).problem(attrs.evolve(REQUEST, model=name, **fields)) is None


def test_models_retire_on_their_day() -> None:
    model = catalogue().model
    assert [name for name in NAMES if model(name).retired(date(2026, 11, 23))] == ["gpt-image-1"]
    assert not model("gpt-image-1").retired(date(2026, 10, 22))
    assert model("gpt-image-1").retired(date(2026, 10, 23))
    retired = [name for name in NAMES if model(name).retired(date(2026, 12, 1))]
    assert retired == ["gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"]
    assert model("chatgpt-image-latest").retired(date(2026, 12, 1))
    assert not model("gpt-image-2").retired(date.max)
    assert all(catalogue().models[str(model(name).successor)].shutdown is None for name in retired)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("gpt-image-1.5-2025-12-16", "gpt-image-1.5"),
        ("chatgpt-image-latest", "gpt-image-1.5"),
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
        ("gpt-image-2.5-flare-2026-09-08", "gpt-image-2.5-flare"),
        ("gpt-image-2.5-sunburst-2026-09-08", "gpt-image-2.5-sunburst"),
    ],
)
def test_a_dated_name_is_the_same_model_under_its_own_name(alias: str, name: str) -> None:
    found = catalogue().model(alias)
    assert found.name == alias
    assert attrs.evolve(found, name=name) == catalogue().model(name)


def test_the_default_model_is_alive() -> None:
    default = catalogue().models[catalogue().default]
    assert default.shutdown is None


@given(name=st.text(), size=any_size, quality=st.text(max_size=8), n=st.integers(1, 10))
def test_an_unknown_model_is_passed_on_and_still_estimated(name: str, size: str, quality: str, n: int) -> None:
    model = catalogue().model(f"x-{name}")
    request = Request(prompt="a", model=model.name, size=size, quality=quality, n=n, output_format="svg")
    assert model.problem(request) is None
    estimated = estimate(Prompt(seq=0, id="0", request=request), request, "vendor")
    assert estimated.output_tokens >= 0
    assert estimated.cost_usd is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", ["speed", "balanced", "quality"])
def test_a_profile_asks_every_model_for_what_it_can_do(profile: str, name: str) -> None:
    model = catalogue().model(name)
    chosen = catalogue().profile(profile, model)
    assert model.problem(attrs.evolve(REQUEST, model=name, **chosen)) is None
    assert chosen["quality"] == {"speed": "low", "balanced": "medium", "quality": "high"}[profile]


def test_profiles_do_not_leak_from_one_model_into_the_next() -> None:
    table, free = catalogue().model("gpt-image-1"), catalogue().model("gpt-image-2")
    assert catalogue().profile("speed", table)["size"] == "1024x1024"
    assert catalogue().profile("speed", free)["size"] == "816x816"
    assert catalogue().profile("speed", catalogue().model("unknown"))["size"] == "512x512"
    with pytest.raises(UsageError, match="speed, balanced, quality"):
        catalogue().profile("sped", free)


def test_tiers_are_the_vendors_table_and_the_articles() -> None:
    vendors = {tier: (catalogue().tier(tier).images_per_minute, catalogue().tier(tier).tokens_per_minute) for tier in range(1, 6)}
    assert vendors == {1: (5, 100_000), 2: (20, 250_000), 3: (50, 800_000), 4: (150, 3_000_000), 5: (250, 8_000_000)}
    assert catalogue().tier("3") == catalogue().tier(3)
    assert all(catalogue().tier(tier).requests_per_minute is catalogue().tier(tier).max_concurrency is None for tier in range(1, 6))
    assert catalogue().tier("article-2025-07/2") == Limits(requests_per_minute=50, tokens_per_minute=150_000, max_concurrency=5)
    for unknown in (0, 6, "0", "free", "article-2025-07/5"):
        with pytest.raises(UsageError, match="article-2025-07/1"):
            catalogue().tier(unknown)


@pytest.mark.parametrize(
    ("size", "quality", "prompt", "tokens"),
    [
        ("1024x1024", "medium", "one", 5_013),
        ("1024x1024", "low", "a b c", 2_539),
        ("1024x1024", "high", "", 10_000),
        ("512x512", "low", "", 625),
    ],
)
def test_the_articles_estimator_is_the_articles(size: str, quality: str, prompt: str, tokens: int) -> None:
    request = attrs.evolve(REQUEST, size=size, quality=quality, prompt=prompt)
    assert article_tokens(request) == tokens
    assert estimate(Prompt(seq=0, id="0", request=request), request, "article").output_tokens == tokens


def test_an_estimate_is_text_in_and_pictures_out() -> None:
    request = attrs.evolve(REQUEST, n=2)
    estimated = estimate(Prompt(seq=0, id="0", request=request), request, "vendor")
    assert (estimated.input_tokens, estimated.output_tokens) == (prompt_tokens("a fox"), 392)
    assert estimated.tokens == estimated.input_tokens + 392
    assert estimated.cost_usd == pytest.approx((estimated.input_tokens * 5 + 392 * 30) / 1e6)
