"""The bus that the file of a relay names, as the libraries of the buses are asked for it."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

import topone_nats
import topone_redis
from topone_cli._relay_bus import open_bus, shown_bus
from topone_cli._relay_file import BusTable
from topone_proto import ConfigurationError

Asked = list[tuple[Any, dict[str, Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """All that was asked for."""
    found: Asked = []
    for module in (topone_nats, topone_redis):
        monkeypatch.setattr(module, "connect", lambda url, **more: found.append((url, more)))
    return found


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    certificate = authority.issue_cert("relay.example")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    (tmp_path / "secret").write_text("5ecret\n\n")
    return {name: str(tmp_path / name) for name in ("ca", "cert", "key", "secret", "none")}


def test_nats_is_asked_by_its_names(asked: Asked, files: dict[str, str]) -> None:
    open_bus(BusTable(url="nats://a.example"), "bus")
    open_bus(
        BusTable(
            url=["tls://a.example", "tls://b.example"],
            prefix="desk",
            user="relay",
            password_file=files["secret"],
            ca_file=files["ca"],
            cert_file=files["cert"],
            key_file=files["key"],
        ),
        "bus",
    )
    open_bus(
        BusTable(
            url="nats://a.example",
            token_file=files["secret"],
            creds_file=files["ca"],
            nkey_file=files["key"],
        ),
        "bus",
    )
    shortest, longest, others = asked
    assert shortest == (["nats://a.example"], {})
    urls, options = longest
    assert urls == ["tls://a.example", "tls://b.example"]
    assert isinstance(options.pop("tls"), ssl.SSLContext)
    assert options == {"prefix": "desk", "user": "relay", "password": "5ecret"}
    assert others[1] == {
        "token": "5ecret",
        "user_credentials": files["ca"],
        "nkeys_seed": files["key"],
    }


def test_redis_is_asked_by_its_names(asked: Asked, files: dict[str, str]) -> None:
    table = BusTable(
        url="rediss://a.example/3",
        prefix="desk",
        user="relay",
        password_file=files["secret"],
        ca_file=files["ca"],
    )
    open_bus(table, "bus")
    assert asked == [
        (
            "rediss://a.example/3",
            {
                "prefix": "desk",
                "username": "relay",
                "password": "5ecret",
                "ssl_ca_certs": files["ca"],
            },
        )
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "kafka://a"}, r"bus\.url: it is not a known message bus; use \"nats://"),
        ({"url": []}, r"bus\.url: it is not a known message bus"),
        ({"url": ["redis://a", "redis://b"]}, r"bus\.url: it is not a known message bus"),
        ({"url": ["nats://a", "redis://b"]}, r"bus\.url: it is not a known message bus"),
        ({"url": "redis://a", "creds_file": "secret"}, "bus: creds_file: only NATS has such a th"),
        ({"url": "redis://a", "ca_file": "none"}, "bus: ca_file: .*none cannot be read .*; check"),
        ({"url": "nats://a", "nkey_file": "none"}, "bus: nkey_file: .*none cannot be read"),
        ({"url": "nats://a", "password_file": "none"}, "bus: password_file: .*none cannot be read"),
        ({"url": "nats://a", "ca_file": "none"}, "bus: ca_file: .*none cannot be read"),
        (
            {"url": "nats://a", "ca_file": "secret"},
            "bus: ca_file, .*not certificates with their key",
        ),
    ],
)
@pytest.mark.usefixtures("asked")
def test_what_cannot_be_used_is_named(
    files: dict[str, str], given: dict[str, Any], said: str
) -> None:
    members: dict[str, Any] = {key: files.get(str(at), at) for key, at in given.items()}
    table = BusTable(**members)
    with pytest.raises(ConfigurationError, match=said) as caught:
        open_bus(table, "bus")
    assert "5ecret" not in str(caught.value)


def test_a_password_in_a_url_is_not_shown() -> None:
    table = BusTable(url=["nats://relay:5ecret@a.example:4222", "nats://b.example"])
    assert shown_bus(table) == "nats://a.example:4222, nats://b.example"
