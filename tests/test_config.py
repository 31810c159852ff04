"""Settings that are refused, and the words of a refusal."""

from math import inf, nan
from typing import Any

import attrs
import pytest

from topone_proto.errors import ConfigurationError, TopOneError
from topone_proto.session.config import DeliveryPolicy, SessionConfig

FIELDS = attrs.fields_dict(SessionConfig)
TIMES = sorted(name for name, field in FIELDS.items() if "float" in str(field.type))
COUNTS = sorted(name for name, field in FIELDS.items() if "int" in str(field.type))
OPTIONAL = {name for name, field in FIELDS.items() if "None" in str(field.type)}


def refusal(**settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        SessionConfig(**settings)
    return caught.value


def test_every_setting_has_a_test_here() -> None:
    assert {*TIMES, *COUNTS, "lang", "delivery"} == set(FIELDS)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("seconds", [0, -1, -0.0, nan, -inf, "5", True, False])
def test_a_time_is_finite_and_positive(name: str, seconds: object) -> None:
    error = refusal(**{name: seconds})
    assert error.setting == f"SessionConfig.{name}"
    assert error.problem == f"{seconds!r} is no time to wait"
    assert "greater than zero" in error.remedy


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [0, -1, 1.5, nan, "5", True, False])
def test_a_count_is_a_whole_number_of_at_least_one(name: str, count: object) -> None:
    error = refusal(**{name: count})
    assert error.setting == f"SessionConfig.{name}"
    assert repr(count) in error.problem
    assert "at least 1" in error.remedy


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("seconds", [2_000_001, 1e300, inf, 10**400, 10**5000], ids=range(5))
def test_a_time_is_no_longer_than_a_platform_can_wait(name: str, seconds: float) -> None:
    error = refusal(**{name: seconds})
    assert error.setting == f"SessionConfig.{name}"
    assert "longer than a platform can wait" in error.problem
    assert "at most 2000000 seconds" in error.remedy
    assert len(str(error)) < 300
    others: dict[str, Any] = {"retry_cap": 2_000_000}
    if name == "ping_interval":
        others = {"silence_timeout": None}
    assert getattr(SessionConfig(**{**others, name: 2_000_000}), name) == 2_000_000


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [2**31, 10**400, 10**5000], ids=range(3))
def test_a_count_is_one_that_every_library_takes(name: str, count: int) -> None:
    error = refusal(**{name: count})
    assert error.setting == f"SessionConfig.{name}"
    assert "at most 2147483647" in error.remedy
    assert getattr(SessionConfig(**{name: 2**31 - 1}), name) == 2**31 - 1  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("setting", "settings", "remedy"),
    [
        ("silence_timeout", {"ping_interval": None, "silence_timeout": None}, "set ping_interval"),
        ("silence_timeout", {"silence_timeout": 10}, "above ping_interval"),
        ("silence_timeout", {"ping_interval": 170}, "above ping_interval"),
        ("silence_timeout", {"ping_interval": 200}, "above ping_interval"),
        ("ping_interval", {"ping_interval": 0.0009}, "at least 0.001 s"),
        ("ping_interval", {"ping_interval": 5e-324}, "or None"),
        ("retry_first", {"retry_first": 31}, "raise SessionConfig.retry_cap"),
        ("retry_base", {"retry_cap": 0.5}, "raise SessionConfig.retry_cap"),
    ],
)
def test_what_cannot_work_together_is_refused(
    setting: str, settings: dict[str, Any], remedy: str
) -> None:
    error = refusal(**settings)
    assert error.setting == f"SessionConfig.{setting}"
    assert remedy in error.remedy


def test_what_works_together_is_not_refused() -> None:
    SessionConfig(ping_interval=20, silence_timeout=20.1)
    SessionConfig(ping_interval=None, silence_timeout=1)
    SessionConfig(ping_interval=0.001)
    SessionConfig(ping_interval=500, silence_timeout=None)
    SessionConfig(retry_first=1, retry_base=1, retry_cap=1)


@pytest.mark.parametrize("name", [*TIMES, *COUNTS])
def test_none_only_where_it_has_a_meaning(name: str) -> None:
    if name in OPTIONAL:
        assert getattr(SessionConfig(**{name: None}), name) is None  # type: ignore[arg-type]  # by name
    else:
        assert refusal(**{name: None}).setting == f"SessionConfig.{name}"


@pytest.mark.parametrize("name", [*TIMES, *COUNTS])
def test_one_is_enough(name: str) -> None:
    others: dict[str, Any] = {"ping_interval": None} if name == "silence_timeout" else {}
    assert getattr(SessionConfig(**{**others, name: 1}), name) == 1


@pytest.mark.parametrize("policy", DeliveryPolicy)
def test_a_policy_may_be_given_by_its_word(policy: DeliveryPolicy) -> None:
    assert SessionConfig(delivery=policy.value).delivery is policy


def test_an_unknown_policy_is_refused() -> None:
    error = refusal(delivery="drop")
    assert error.setting == "SessionConfig.delivery"
    assert "'drop'" in error.problem
    assert "block, conflate" in error.remedy


def test_a_language_is_text() -> None:
    error = refusal(lang=7)
    assert error.setting == "SessionConfig.lang"
    assert error.problem == "7 is no text"
    assert "zh-CN" in error.remedy


def test_a_language_that_no_frame_can_carry_is_refused() -> None:
    error = refusal(lang="\ud800")
    assert error.setting == "SessionConfig.lang"
    assert str(error).isascii()


def test_the_documented_defaults() -> None:
    config = SessionConfig()
    assert config.lang == "zh-CN"
    assert config.ack_timeout == 10.0
    assert config.rate_limit_wait >= 60.0
    assert config.silence_timeout is not None
    assert config.silence_timeout < 180.0, "the exchange drops a silent client after three minutes"
    assert config.delivery is DeliveryPolicy.BLOCK


def test_a_config_is_frozen_and_compares_by_content() -> None:
    config = SessionConfig(ack_timeout=3.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.ack_timeout = 4.0  # type: ignore[misc]  # that it is frozen is the test
    assert config == SessionConfig(ack_timeout=3.0) != SessionConfig()
    assert hash(config) == hash(SessionConfig(ack_timeout=3.0))


def test_a_configuration_error_says_setting_problem_and_remedy() -> None:
    error = ConfigurationError(setting="url", problem="it is wrong", remedy="write it right")
    assert str(error) == "url: it is wrong; write it right"
    assert (error.setting, error.problem, error.remedy) == ("url", "it is wrong", "write it right")
    assert isinstance(error, ValueError)
    assert isinstance(error, TopOneError)
