"""TLS without I/O, against a server side of the same kind."""

import ssl
from contextlib import suppress

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from topone_websockets._tls import Tls

CA = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CA.issue_cert("exchange.example").configure_cert(SERVER)
TRUSTING = ssl.create_default_context()
CA.configure_trust(TRUSTING)


class Server:
    """The other side, and what it has to say."""

    def __init__(self) -> None:
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = SERVER.wrap_bio(self._received, self._sent, server_side=True)

    def hear(self, data: bytes) -> None:
        self._received.write(data)

    def says(self) -> bytes:
        return self._sent.read()

    def shake_hands(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()


def shaken() -> tuple[Tls, Server]:
    client, server = Tls(TRUSTING, "exchange.example"), Server()
    while said := client.to_send():
        server.hear(said)
        server.shake_hands()
        answer = server.says()
        for start in range(0, len(answer), 100):
            assert list(client.receive(answer[start : start + 100])) == []
    return client, server


@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=4), st.data())
def test_however_the_bytes_come_it_reads_the_same(texts: list[bytes], data: st.DataObject) -> None:
    client, server = shaken()
    for text in texts:
        server.tls.write(text)
    wire = server.says()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) if a < b]
    assert b"".join(plain for piece in pieces for plain in client.receive(piece)) == b"".join(texts)


@given(st.binary(min_size=1, max_size=40_000))
def test_what_is_sent_arrives(text: bytes) -> None:
    client, server = shaken()
    server.hear(client.to_send(text))
    arrived = b""
    while len(arrived) < len(text):
        arrived += server.tls.read(len(text))
    assert arrived == text
    assert client.to_send() == b""


def test_the_end_comes_behind_what_was_said() -> None:
    client, server = shaken()
    server.tls.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    assert list(client.receive(server.says())) == [b"last", b""]


def test_a_connection_that_is_cut_off_has_ended() -> None:
    client, server = shaken()
    server.tls.write(b"last")
    said = server.says()
    assert list(client.receive(said[:-1])) == []
    assert list(client.receive(b"")) == [b""]
    assert client.error is None


def test_a_garbled_record_is_the_end() -> None:
    client, server = shaken()
    server.tls.write(b"last")
    said = server.says()
    assert list(client.receive(said[:-1] + bytes([said[-1] ^ 1]))) == [b""]


def test_an_alert_is_the_end_and_is_kept() -> None:
    client, server = shaken()
    server.tls.write(b"last")
    said = server.says()
    assert list(client.receive(said[:-1] + bytes([said[-1] ^ 1]))) == [b""]
    assert client.error is not None


def test_what_is_said_before_there_is_a_connection_waits_for_it() -> None:
    client, server = Tls(TRUSTING, "exchange.example"), Server()
    said = client.to_send(b"early")
    while said:
        server.hear(said)
        server.shake_hands()
        list(client.receive(server.says()))
        said = client.to_send()
    assert server.tls.read() == b"early"


@pytest.mark.parametrize("context", [TRUSTING, ssl.create_default_context()], ids=["name", "ca"])
def test_a_certificate_that_is_not_the_hosts_is_refused_and_the_peer_is_told(
    context: ssl.SSLContext,
) -> None:
    client, server = Tls(context, "other.example"), Server()
    server.hear(client.to_send())
    server.shake_hands()
    with pytest.raises(ssl.SSLCertVerificationError):
        list(client.receive(server.says()))
    assert client.has_to_send
    server.hear(client.to_send())
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        server.tls.do_handshake()


def test_a_peer_that_hangs_up_in_the_handshake_ends_it() -> None:
    client = Tls(TRUSTING, "exchange.example")
    with pytest.raises(ssl.SSLError):
        list(client.receive(b""))


def test_what_was_said_early_goes_out_though_the_server_has_the_last_word() -> None:
    """In TLS 1.2 nothing else is left to send then, which would take it along."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = Tls(context, "exchange.example"), Server()
    said = client.to_send(b"early")
    while said:
        server.hear(said)
        server.shake_hands()
        list(client.receive(server.says()))
        said = client.to_send() if client.has_to_send else b""
    assert server.tls.read() == b"early"
    assert not client.has_to_send
