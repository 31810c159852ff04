"""The file of ``topone relay``: what it may say, and the sentence about each mistake."""

import os
from pathlib import Path

import pytest

from topone_accounts import FileStore, default_path
from topone_cli._keys import store_in_file
from topone_cli._relay_file import RelayFile, read_relay_file
from topone_proto import (
    BALANCE,
    DEFAULT_URL,
    ORDERS,
    PUBLIC_URL,
    ConfigurationError,
    Credentials,
    DeliveryPolicy,
    kline,
)
from topone_proto.adapters import HttpEndpoint
from topone_proto.relay import RelayConfig

KEYS = Credentials("an-id", "a-5ecret-key")
BUS = '[bus]\nurl = "nats://bus.example"\n'
MARKET = '[accounts.candles]\ntopics = ["kline_BTC/USDT_1m"]\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    keys = tmp_path / "keys.json"
    keys.write_text('{"app_id": "an-id", "app_key": "a-5ecret-key"}')
    keys.chmod(0o600)
    return tmp_path


def read(home: Path, text: str, warnings: list[str] | None = None) -> RelayFile:
    path = home / "accounts.toml"
    path.write_text(text)
    found = [] if warnings is None else warnings
    file = read_relay_file(path, found.append)
    assert warnings is not None or not found
    return file


def test_the_shortest_file_follows_an_account_of_the_exchange(home: Path) -> None:
    store_in_file(HttpEndpoint(), KEYS, "main")
    file = read(home, f"{BUS}[accounts.main]\n")
    assert (file.bus.urls, file.config) == (["nats://bus.example"], RelayConfig())
    [entry] = file.entries
    assert (entry.name, entry.topics, entry.url) == ("main", (BALANCE, ORDERS), DEFAULT_URL)
    assert (entry.credentials, entry.token, entry.is_market) == (KEYS, None, False)
    # The programs of this machine share a token.
    assert isinstance(entry.local, FileStore)
    assert entry.local.path == default_path("an-id", HttpEndpoint())
    assert "5ecret" not in repr(file)


def test_a_long_file_says_everything(home: Path) -> None:
    (home / "token").write_text("topapi:5ecret")
    file = read(
        home,
        f"""
[bus]
url = ["nats://a.example", "nats://b.example"]
user = "relay"
password_file = "secrets/password"
creds_file = "/etc/nats.creds"

[relay]
ttl = 20
margin = 4.5

[defaults]
keys_file = "keys.json"
cache = "memory"
url = "wss://other.example/ws/user/"
account = {{ audit_interval = 600 }}

[accounts.main]

[accounts.desk-2]
topics = ["orders"]
cache = "cache/desk-2.json"
http_url = "https://http.example"
origin = "https://other.example"
session = {{ capacity = 50, delivery = "conflate" }}

[accounts.local]
url = "ws://10.0.0.1/"
insecure = true

{MARKET}
url = "{PUBLIC_URL}"
""",
    )
    bus = file.bus
    assert bus.urls == ["nats://a.example", "nats://b.example"]
    assert (bus.user, bus.password_file) == ("relay", str(home / "secrets/password"))
    assert (bus.creds_file, bus.ca_file) == ("/etc/nats.creds", None)
    assert (file.config.ttl, file.config.margin) == (20.0, 4.5)
    main, desk, local, candles = file.entries
    assert (main.credentials, main.local, main.http_url) == (KEYS, None, "https://other.example")
    assert main.account_config is not None
    assert main.account_config.audit_interval == 600
    assert (desk.topics, desk.http_url) == ((ORDERS,), "https://http.example")
    assert isinstance(desk.local, FileStore)
    assert desk.local.path == home / "cache" / "desk-2.json"
    assert desk.origin == "https://other.example"
    assert desk.config is not None
    assert (desk.config.capacity, desk.config.delivery) == (50, DeliveryPolicy.CONFLATE)
    assert local.http_url == "http://10.0.0.1"
    assert (candles.topics, candles.is_market) == ((kline("BTC/USDT", "1m"),), True)
    assert candles.credentials is None


def test_a_token_of_ones_own_is_read_again_before_every_dial(home: Path) -> None:
    (home / "token").write_text("topapi:5ecret")
    (home / "token").chmod(0o600)
    [entry] = read(home, f'{BUS}[accounts.main]\ntoken_file = "token"').entries
    assert callable(entry.token)
    assert entry.credentials is None


@pytest.mark.skipif(os.name != "posix", reason="modes say nothing there")
def test_keys_that_others_can_read_are_complained_of(home: Path) -> None:
    (home / "keys.json").chmod(0o644)
    warnings: list[str] = []
    read(home, f'{BUS}[accounts.main]\nkeys_file = "keys.json"', warnings)
    [warning] = warnings
    assert f"chmod 600 {home / 'keys.json'}" in warning


KEYED = f'{BUS}[accounts.a]\nkeys_file = "keys.json"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "accounts: there are none; add a table"),
        ("accounts = [5]", "accounts: there are none"),
        ("nonsense", "it is not TOML: .*at end of document"),
        (MARKET, "bus: bus is missing; add it"),
        ("[bus]\nurl = 5\n" + MARKET, "bus.url: it has the wrong type; write a text, or a list of"),
        ('[bus]\nurl = ["a", 5]\n' + MARKET, "bus.url: it has the wrong type; write a text, or a"),
        (
            BUS + "urrl = 1\n" + MARKET,
            r"bus: urrl is not a key of this table \(is it url\?\); use ur",
        ),
        (BUS + "[relay]\nttl = true\n" + MARKET, "relay.ttl: it has the wrong type; write a numbe"),
        (BUS + "[relay]\nttl = 2\n" + MARKET, "relay: a lease that is used for 0 s .*; raise ttl"),
        (BUS + "[accounts]\na = 5", "a.*: it has the wrong type; write a table"),
        (
            BUS + '[accounts."a b"]',
            "accounts.a b: this is not a name of an account; use at most 64",
        ),
        (BUS + "[accounts.a]", "accounts.a: keys: none are stored .*topone login --account a"),
        (BUS + "[accounts.a]\ntopics = 5", "accounts.a.topics: .*write a list of texts"),
        (
            KEYED + 'topics = ["balances"]',
            r"accounts.a.topics: .*\(is it balance\?\); use names su",
        ),
        (
            KEYED + 'topics = ["\\n"]',
            "accounts.a.topics: one of them is not a topic; use names such",
        ),
        (KEYED + 'topics = ["orders", "deals_A/B"]', "no topics that one WebSocket serves; use BA"),
        (KEYED + "topics = []", "accounts.a: .*no topics that one WebSocket serves"),
        (KEYED + 'token_file = "t"', "accounts.a: keys_file: there is a token_file as well; leave"),
        (KEYED + 'session = { delivery = "no" }', "accounts.a.session: 'no' is no policy; use one"),
        (KEYED + 'url = "http://a.example"', "accounts.a: url: .*wss://"),
        (KEYED + 'url = "ws://a.example/"', "accounts.a: .*insecure = true"),
        (KEYED + 'http_url = "http://a.example"', "accounts.a: http_url: .*insecure = true"),
        (
            BUS + '[accounts.a]\nkeys_file = "none"',
            "none cannot be read .*topone login --account a",
        ),
        (
            KEYED + f'url = "wss://a.example/?token=topapi:{"x" * 40}"',
            "could be a token; leave",
        ),
        (BUS + '[accounts.a]\napp_key = "a-5ecret"', "app_key: no secret belongs into this file; "),
        (BUS + "x = 1\n" * 200_000, "it is larger than 1 MiB"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_do(home: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        read(home, text)
    assert str(caught.value).startswith(f"{home / 'accounts.toml'}: ")
    assert "5ecret" not in str(caught.value)
    assert "x" * 20 not in str(caught.value)


def test_a_file_that_is_no_file_says_so(home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(No such file"):
        read_relay_file(home / "none.toml", len)
    (home / "accounts.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not TOML in UTF-8"):
        read_relay_file(home / "accounts.toml", len)
