"""No spelling and no half of a token passes the redactor; everything else does."""

import base64
import gc
import html
import json
import string
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from topone_proto import Balance, BalanceUpdate, Endpoint, Malformed, Response, Token, Topic
from topone_proto.secrets.masking import Masker
from topone_proto.secrets.redaction import HIDDEN, LAYERS, MAX_TOKENS, Redactor
from topone_proto.session.endpoint import DEFAULT_URL

SECRET = "topapi:0123456789/abc+def=="
TOKEN = Token(SECRET)
REDACTOR = Redactor(TOKEN)

PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
# Nothing that a beginning or an end of these has is in the words around them.
TOKENS = st.builds(
    "{}{}".format,
    st.sampled_from(["topapi:", "", "Q:"]),
    st.text(string.ascii_uppercase + string.digits + "-._~/+=", min_size=8, max_size=20).map(
        "QZ7~{}~9WX".format
    ),
)
WORDS = st.text("abcdefghij klmnoprstuvwyz(){}[],;", max_size=30)


def spelled_json(character: str) -> st.SearchStrategy[str]:
    number = ord(character)
    forms = [f"\\u{number:04x}", f"\\u{number:04X}", f"\\x{number:02x}", character]
    if character in '"\\/':
        forms.append(f"\\{character}")
    return st.sampled_from(forms if character not in '"\\' else forms[:-2] + forms[-1:])


def spelled_url(character: str) -> st.SearchStrategy[str]:
    number = ord(character)
    plain = [] if character == "%" else [character]
    return st.sampled_from([f"%{number:02x}", f"%{number:02X}", *plain])


def spelled_html(character: str) -> st.SearchStrategy[str]:
    number = ord(character)
    plain = [] if character == "&" else [character]
    forms = [f"&#{number};", f"&#x{number:x};", f"&#X{number:X};", f"&#00{number};"]
    return st.sampled_from([*forms, html.escape(character), *plain])


@st.composite
def spellings(draw: st.DrawFn, secret: str) -> str:
    """The token, escaped once or several times, each character of it in its own way."""
    text = secret
    for spelled in draw(
        st.lists(st.sampled_from([spelled_json, spelled_url, spelled_html]), max_size=2)
    ):
        text = "".join(draw(spelled(character)) for character in text)
    return text


def undone(text: str) -> set[str]:
    """A text and what it stands for, by what others make of escapes."""
    texts = {text}
    for _ in range(4):
        texts |= {html.unescape(each) for each in texts}
        for each in tuple(texts):
            with_quotes = each if each.startswith('"') else f'"{each}"'
            try:
                texts.add(str(json.loads(with_quotes)))
            except ValueError:
                continue
    return texts


@given(data=st.data(), secret=TOKENS, before=WORDS, after=WORDS)
def test_every_spelling_is_removed(
    data: st.DataObject, secret: str, before: str, after: str
) -> None:
    text = data.draw(spellings(secret))
    redactor = Redactor(Token(secret))
    assert redactor.redact(f"{before}{text}{after}") == f"{before}{HIDDEN}{after}"
    assert redactor.redact(f'{{"msg":"{before}{text}"}}') == f'{{"msg":"{before}{HIDDEN}"}}'


@given(st.text(PRINTABLE, min_size=1), st.text(), st.text())
@example("0:", "%4", "")
@example("topapi:4b:cdefghijkl", "%", "")
def test_any_printable_token_is_removed_from_anywhere(secret: str, before: str, after: str) -> None:
    redactor = Redactor(Token(secret))
    for spelling in (secret, quote(secret, safe=":"), quote(secret, safe="")):
        redacted = redactor.redact(f"{before}{spelling}{after}")
        assert HIDDEN in redacted
        # A token such as "*" is in every redacted text.
        assert spelling not in redacted or spelling in f"{before}{HIDDEN}{after}"


ENCODERS: dict[str, tuple[Callable[[str], str], int]] = {
    "json": (json.dumps, LAYERS),
    "php": (lambda text: json.dumps(text).replace("/", "\\/"), LAYERS),
    "url": (lambda text: quote(text, safe=""), LAYERS),
    "html": (html.escape, LAYERS),
    "json in url": (lambda text: quote(json.dumps(text), safe=""), LAYERS // 2),
    "all json": (lambda text: "".join(f"\\u{ord(character):04x}" for character in text), 3),
    "all url": (lambda text: "".join(f"%{ord(character):02X}" for character in text), 4),
}


@pytest.mark.parametrize(
    ("encode", "times"),
    [
        pytest.param(encode, times, id=f"{name}, {times} times")
        for name, (encode, most) in ENCODERS.items()
        for times in range(1, most + 1)
    ],
)
def test_escapes_of_escapes(encode: Callable[[str], str], times: int) -> None:
    text = SECRET
    for _ in range(times):
        text = encode(text)
    redacted = REDACTOR.redact(f"see {text} there")
    assert HIDDEN in redacted
    assert redacted.startswith("see ")
    assert redacted.endswith(" there")
    assert not any("789" in each or "abc" in each for each in undone(redacted))


@pytest.mark.parametrize("encode", [json.dumps, lambda text: json.dumps(json.dumps(text)), quote])
def test_a_token_with_what_looks_like_an_escape(encode: Callable[[str], str]) -> None:
    """Each kind is undone by itself: this token is no more once all of them are."""
    secret = '%41"&#65;"/\\'
    redacted = Redactor(Token(secret)).redact(f"see {encode(secret)} there")
    assert HIDDEN in redacted
    assert "41" not in redacted


@given(text=st.text(), secret=TOKENS)
def test_a_text_without_a_token_is_the_very_same(text: str, secret: str) -> None:
    secret = "".join(character for character in secret if character not in text)
    if len(secret) >= 8:
        assert Redactor(Token(secret)).redact(text) is text


@pytest.mark.parametrize(
    "text",
    [
        "nothing to hide",
        "",
        "topapi:",
        "the token begins with topapi: and more",
        '{"price":"0.123456","amount":"1234567.89","id":"3456789"}',
        "topapi",
        "100%, or \\u00e9 and &eacute; and %zz &# \\",
        "abd+def",
        "%7f and &#12; and \\u007f",
    ],
)
def test_what_only_looks_like_a_token_stays(text: str) -> None:
    assert REDACTOR.redact(text) is text


def test_the_url_of_a_dial() -> None:
    url = Endpoint().dial_url(TOKEN)
    expected = f"GET {DEFAULT_URL}?token=*** failed, ***"
    assert REDACTOR.redact(f"GET {url} failed, {SECRET}") == expected


# --- pieces --------------------------------------------------------------------------------------

LONG = "topapi:" + "a1B2c3D4e5F6g7H8i9J0" + "kLmNoPqRsTuVwXyZ"


@pytest.mark.parametrize("secret", [LONG, LONG.removeprefix("topapi:"), LONG[:19]])
def test_both_halves_are_removed_wherever_they_are_cut(secret: str) -> None:
    redactor = Redactor(Token(secret))
    public = len("topapi:") if secret.startswith("topapi:") else 0
    middle = public + (len(secret) - public) // 2
    for half in (secret[:middle], secret[middle:]):
        assert redactor.redact(f"one {half} of two") == f"one {HIDDEN} of two"


@pytest.mark.parametrize("length", range(4, len(LONG)))
def test_a_token_that_is_cut_off_is_removed(length: int) -> None:
    bare = LONG.removeprefix("topapi:")
    for secret, start in ((LONG, 8), (bare, 4)):
        redactor = Redactor(Token(secret))
        if start <= length < len(secret):
            assert redactor.redact(f"cut: {secret[:length]}") == f"cut: {HIDDEN}"
            assert redactor.redact(f'{{"msg":"{secret[:length]}"}}') == f'{{"msg":"{HIDDEN}"}}'
        if length <= len(bare):
            assert redactor.redact(f"{secret[-length:]} was cut") == f"{HIDDEN} was cut"
            assert redactor.redact(f'["{secret[-length:]}", 1]') == f'["{HIDDEN}", 1]'


@pytest.mark.parametrize("cut", ["\\", "\\u", "\\u0", "\\u00", "\\u006", "%", "%6", "&#1"])
def test_a_cut_within_an_escape(cut: str) -> None:
    bare = LONG.removeprefix("topapi:")
    redactor = Redactor(Token(bare))
    assert redactor.redact(f"cut: {bare[:5]}{cut}") == f"cut: {HIDDEN}{cut}"


@pytest.mark.parametrize("rest", ["u0075", "0075", "75", "5", "75;"])
def test_a_beginning_within_an_escape(rest: str) -> None:
    bare = LONG.removeprefix("topapi:")
    redactor = Redactor(Token(bare))
    assert redactor.redact(f"{rest}{bare[-5:]} end") == f"{rest}{HIDDEN} end"


@given(data=st.data(), secret=TOKENS)
def test_a_run_of_eight_is_removed_in_any_spelling(data: st.DataObject, secret: str) -> None:
    bare = secret.rpartition(":")[2]
    start = data.draw(st.integers(0, len(bare) - 8))
    run = bare[start : data.draw(st.integers(start + 8, len(bare)))]
    spelled = data.draw(spellings(run))
    if not run.isdigit():
        redacted = Redactor(Token(secret)).redact(f"a ({spelled}) b")
        assert redacted == f"a ({HIDDEN}) b"


def test_the_public_part_with_one_character_is_enough_anywhere() -> None:
    assert REDACTOR.redact("about topapi:0 and more") == f"about {HIDDEN} and more"


def test_digits_alone_are_a_run_from_twelve_on() -> None:
    redactor = Redactor(Token("topapi:012345678901234567890"))
    assert redactor.redact('{"ts":12345678901}') == '{"ts":12345678901}'
    assert redactor.redact('{"ts":123456789012}') == f'{{"ts":{HIDDEN}}}'


# --- tokens --------------------------------------------------------------------------------------


def test_the_latest_tokens_are_remembered() -> None:
    redactor = Redactor()
    secrets = [f"topapi:{number:02}{'xyzq' * 4}" for number in range(MAX_TOKENS + 1)]
    for secret in secrets[:-1]:
        assert redactor.add(Token(secret))
    # Used once more: the second is the oldest now.
    redactor.add(Token(secrets[0]))
    redactor.add(Token(secrets[-1]))
    assert redactor.tokens == tuple(map(Token, [*secrets[2:-1], secrets[0], secrets[-1]]))


def test_what_is_no_token_is_not_looked_for() -> None:
    unusable: list[Any] = ["", " ", "a b", "é", None, 5]
    redactor = Redactor(*map(Token, unusable))
    assert redactor.tokens == ()
    assert redactor.redact("a b é 5") == "a b é 5"
    assert not redactor.add(Token(""))


def test_nothing_is_removed_once_all_is_forgotten() -> None:
    redactor = Redactor(TOKEN)
    assert not redactor.is_clean(SECRET)
    redactor.forget()
    assert redactor.redact(SECRET) == SECRET
    assert redactor.is_clean(SECRET)
    redactor.add(TOKEN)
    assert not redactor.is_clean(SECRET)


def test_names_are_looked_at_once_and_never_too_many_are_kept() -> None:
    redactor = Redactor(TOKEN)
    assert all(redactor.is_clean(f"COIN{number}") for number in range(10_000))
    assert redactor.is_clean("COIN1")
    assert sum(type(each) is str for each in gc.get_referents(*gc.get_referents(redactor))) < 5000


def test_a_redactor_shows_no_token() -> None:
    masker = Masker()
    masker.add(TOKEN)
    for each in (REDACTOR, masker):
        for text in (repr(each), str(each), pretty_repr(each)):
            assert "0123" not in text
    tokens = next(each for each in gc.get_referents(REDACTOR) if isinstance(each, dict))
    assert "0123" not in repr(tokens)

    def fail(redactor: Redactor) -> None:
        raise KeyError(repr(redactor))

    with pytest.raises(KeyError) as caught:
        fail(REDACTOR)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown.stack = traceback.StackSummary.from_list(shown.stack[1:])
    assert "0123456789/abc" not in "".join(shown.format())


# --- values --------------------------------------------------------------------------------------


def test_every_text_of_a_value_is_cleaned() -> None:
    data = {"a": [SECRET, {SECRET: 1, "b": (SECRET, None)}], "n": 1.5, "t": True}
    response = Response(SECRET, f"x{SECRET}", 1, SECRET, None, data)
    assert REDACTOR.clean(response) == Response(
        HIDDEN,
        f"x{HIDDEN}",
        1,
        HIDDEN,
        None,
        {"a": [HIDDEN, {HIDDEN: 1, "b": (HIDDEN, None)}], "n": 1.5, "t": True},
    )
    malformed = Malformed("r", f"$.{SECRET}", SECRET, 5, (Topic(f"x_{SECRET}"), Topic("orders")))
    clean = REDACTOR.clean(malformed)
    assert clean == Malformed(
        "r", f"$.{HIDDEN}", HIDDEN, 5, (Topic(f"x_{HIDDEN}"), Topic("orders"))
    )


def test_a_clean_value_is_the_very_same() -> None:
    from decimal import Decimal  # noqa: PLC0415 - here only

    update = BalanceUpdate(Balance("ETH", Decimal(1), Decimal(0)), 5)
    response = Response("1", None, 0, "OK", 5, {"a": [1, {"b": float("nan")}]})
    for value in (update, response, 5, None, [1, "x"], {"a": ()}):
        assert REDACTOR.clean(value) is value
    changed = attrs.evolve(update, balance=attrs.evolve(update.balance, asset=SECRET))
    assert REDACTOR.clean(changed).balance.asset == HIDDEN


def test_nothing_is_looked_at_too_deep() -> None:
    deep: Any = SECRET
    for _ in range(100_000):
        deep = [deep]
    assert SECRET not in repr(REDACTOR.clean([deep])[0][0])


# --- the cost ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece",
    [
        "\\",
        "%25",
        "&#37;",
        "\\u005cu005c",
        "%",
        "&",
        "&#0000",
        "topapi:",
        "0",
        SECRET[:-1],
        "\\u0025",
    ],
)
def test_the_work_grows_no_faster_than_the_text(piece: str) -> None:
    """Counted in calls, which no other program can disturb."""
    lines = [work(piece * (size // len(piece))) for size in (2000, 4000, 8000)]
    assert lines[2] <= 2.5 * lines[1] + 1000
    assert lines[1] <= 2.5 * lines[0] + 1000


def work(text: str) -> int:
    import sys  # noqa: PLC0415 - here only

    count = 0

    def trace(*_: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        REDACTOR.redact(text)
    finally:
        sys.setprofile(before)
    return count


# --- stand-ins -----------------------------------------------------------------------------------


@given(data=st.data(), secret=TOKENS, before=WORDS, after=WORDS)
def test_whoever_redacts_a_stand_in_gets_what_redacting_the_token_gives(
    data: st.DataObject, secret: str, before: str, after: str
) -> None:
    masker = Masker()
    stand_in = masker.stand_in(Token(secret))
    piece = data.draw(st.just(secret) | st.sampled_from([secret[:-3], secret[12:], secret[3:13]]))
    text = f"{before}{data.draw(spellings(piece))}{after}"
    masked = masker.mask(text)
    assert len(masked) == len(text)
    assert Redactor(Token(stand_in)).redact(masked) == Redactor(Token(secret)).redact(text)
    if piece == secret:
        assert Redactor(Token(secret)).redact(masked) == masked


def test_a_stand_in_has_the_same_escapes() -> None:
    masker = Masker()
    stand_in = masker.stand_in(TOKEN)
    for encode in (json.dumps, quote, html.escape):
        assert masker.mask(encode(SECRET)) == encode(stand_in)
    assert masker.stand_in(TOKEN) == stand_in
    # All else in it is the same for every token.
    assert set(stand_in.removeprefix("topapi:")) <= set(
        ":/+=HIDEhideLKlkNOnoGPQRSTUVWXYJZMfgpqrstvwyjzm"
    )


def test_base64_is_not_looked_for() -> None:
    """Said on the security page; a change of it is a change of that page."""
    text = base64.b64encode(SECRET.encode()).decode()
    assert REDACTOR.redact(text) is text


@pytest.mark.parametrize("seven", ["%37", "\\u0037", "&#x37;", "\\x37"])
def test_a_digit_that_is_escaped_with_itself_has_a_whole_escape_as_its_stand_in(seven: str) -> None:
    # Where this escape is not undone, its last character is the digit as well.
    token = Token("Qz7~cW9QUFKO")
    text = f"what \\u0051z{seven}~cW9Q%55FKO"
    masker = Masker()
    stand_in = Token(masker.stand_in(token))
    assert Redactor(token).redact(text) == f"what {HIDDEN}"
    assert Redactor(stand_in).redact(masker.mask(text)) == f"what {HIDDEN}"


@pytest.mark.parametrize(
    "secret", ["EmwwSJAJ7K:nzUtP9x2a8hpjEA", "k7:nzUtP9x2a8hpjEA", "AB:nzUtP9x"]
)
def test_a_stand_in_has_a_public_part_only_if_its_token_has(secret: str) -> None:
    masker = Masker()
    stand_in = Token(masker.stand_in(Token(secret)))
    for length in range(1, len(secret)):
        for text in (f" {secret[:length]} ", f" {secret[length:]} "):
            masked = masker.mask(text)
            assert Redactor(stand_in).redact(masked) == Redactor(Token(secret)).redact(text)


def test_a_token_with_an_entity_of_html_in_it_is_found() -> None:
    token = "topapi:a&b<c" + "d" * 20
    redactor = Redactor(Token(token))
    assert "dddd" not in redactor.redact(html.escape(token))
