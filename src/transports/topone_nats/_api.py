"""JetStream's requests that a bus needs: publish with conditions, read a subject's last message."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from nats.aio.msg import Msg

from topone_nats._connection import Connection
from topone_proto._values import value
from topone_relay._bus import BusRefused, BusUnavailable
from topone_relay._json import entry_of

__all__ = ["Api", "ApiError", "NoResponders", "Stored", "WrongSequence", "failure_of"]

_PREFIX = "$JS.API"
_WRONG_SEQUENCE = {10071, 10164}
_TOO_LARGE = 10054
_NO_RESPONDERS = "503"
STREAM_NOT_FOUND = 10059
_MESSAGE_NOT_FOUND = 10037


class ApiError(Exception):
    """JetStream's answer that it cannot do what was asked."""

    def __init__(self, code: int, number: int, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.number = number
        self.description = description


class WrongSequence(Exception):
    """The last message of the subject is not the expected one."""


class NoResponders(Exception):
    """No stream takes this subject."""


@value
class Stored:
    """A message as a stream holds it."""

    seq: int
    """The number of the message in its stream."""
    headers: Mapping[str, str]
    """The headers that it was published with, by name."""
    data: bytes
    """The bytes as they were published."""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    stream: str = ""
    error: _Error | None = None


def failure_of(call: str, error: ApiError) -> BusUnavailable | BusRefused:
    """Return what an answer of JetStream means to the caller."""
    text = f"JetStream says {error.number}: {error.description}"
    if error.number == _TOO_LARGE:
        return BusRefused(
            call,
            text,
            "raise the stream's max_msg_size, or lower RelayConfig.max_message_size",
        )
    # A server that is starting, is full or has lost its leader gets over it, or is helped.
    if error.code in {500, 503} or "exceed" in error.description:
        return BusUnavailable(call, text)
    return BusRefused(call, text, "check the streams of the bus against the page on setting it up")


class Api:
    """Requests over whatever connection is open."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.timeout = connection.patience

    async def ask(self, call: str, name: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request of JetStream's API.

        Raises:
            ApiError: the answer is an error.
        """
        answer = await self._request(call, f"{_PREFIX}.{name}", msgspec.json.encode(question))
        if _status(answer) == _NO_RESPONDERS:
            raise BusUnavailable(call, "JetStream does not answer; is it enabled at the server?")
        body = entry_of(answer.data, dict[str, Any])
        if body is None:
            raise BusUnavailable(call, "the answer was none of JetStream's")
        if (error := body.get("error")) is not None:
            raise ApiError(
                error.get("code", 0), error.get("err_code", 0), error.get("description", "")
            )
        return body

    async def put(
        self,
        call: str,
        subject: str,
        data: bytes,
        *,
        last: int | None = None,
        stream: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Store a message and return its sequence number.

        Args:
            call: The call of the bus, for errors.
            subject: The subject.
            data: The message.
            last: The sequence number that the last message of the subject must have, 0 for none.
            stream: The stream that the number has to be one of; None if it does not matter.
            headers: Further headers.

        Raises:
            WrongSequence: another message is the last one.
            NoResponders: no stream takes the subject.
            BusRefused: another stream takes it.
        """
        conditions = dict(headers or {})
        if last is not None:
            conditions["Nats-Expected-Last-Subject-Sequence"] = str(last)
        link = self.connection.open_link or await self.connection.link(call)
        answer = await link.request(call, subject, data, conditions or None)
        if _status(answer) == _NO_RESPONDERS:
            raise NoResponders
        ack = entry_of(answer.data, _Ack)
        if ack is None:
            raise BusUnavailable(call, "the answer was no acknowledgement")
        if ack.error is None:
            # As a header it would be sent on to every reader.
            if stream is not None and ack.stream != stream:
                raise BusRefused(
                    call,
                    f"stream {ack.stream!r} takes what is meant for {stream!r}",
                    "let no other stream have the subjects of the relay",
                )
            return ack.seq
        if ack.error.err_code in _WRONG_SEQUENCE:
            raise WrongSequence
        raise failure_of(call, ApiError(ack.error.code, ack.error.err_code, ack.error.description))

    async def last(self, call: str, stream: str, subject: str) -> Stored | None:
        """Return the last message of a subject, as the stream's leader has it.

        Raises:
            ApiError: there is no such stream.
        """
        try:
            body = await self.ask(call, f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.number == _MESSAGE_NOT_FOUND:
                return None
            raise
        message = body["message"]
        return Stored(
            message["seq"],
            _headers(base64.b64decode(message.get("hdrs", ""))),
            base64.b64decode(message.get("data", "")),
        )

    async def glance(self, call: str, stream: str, subject: str) -> Stored | None:
        """Return the last message of a subject, as some server of the stream has it, which can be a
        little behind. Needs a permission for this subject only, but a stream that is there."""
        answer = await self._request(call, f"{_PREFIX}.DIRECT.GET.{stream}.{subject}", b"")
        if _status(answer) is not None:
            return None
        headers = answer.headers or {}
        return Stored(int(headers.get("Nats-Sequence", "0")), headers, answer.data)

    async def _request(self, call: str, subject: str, data: bytes) -> Msg:
        link = self.connection.open_link or await self.connection.link(call)
        return await link.request(call, subject, data, None)


def _status(answer: Msg) -> str | None:
    return answer.headers.get("Status") if answer.headers else None


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): text.strip() for name, colon, text in pairs if colon}
