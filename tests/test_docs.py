"""The documentation: every example runs, every program works, every name is explained.

A page's ``python`` blocks run one after the other, as they stand. Feeds that they open are led to a
simulated exchange that is let live, then drops the connection once. Then the feed is closed, and
the example has to end by itself.
"""

import ast
import asyncio
import importlib.util
import inspect
import pkgutil
import re
import runpy
import ssl
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from inspect import signature
from itertools import zip_longest
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
import trio
import trustme

import topone_anyio
import topone_asyncio
import topone_nats
import topone_threads
import topone_trio
from topone_proto import (
    Balance,
    BalanceUpdate,
    Credentials,
    Disconnected,
    Event,
    FetchDelayed,
    Gap,
    Order,
    OrderUpdate,
    SessionConfig,
    Side,
)
from topone_proto.account import (
    AccountConfig,
    AccountEvent,
    BalanceChanged,
    DelayCause,
    FetchKind,
    Knowledge,
    OrderChanged,
    Reading,
    Resynced,
)
from topone_proto.adapters import AsyncAccount
from topone_proto.exchange import DropConnections, HttpConfig
from topone_simulator import Simulator, run_in_thread, serve

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# These have tests of their own, which look at what the examples do.
ELSEWHERE = {
    "own-http-client.md": "test_http_connections.py",
    "conformance.md": "test_conformance.py",
    "market-data.md": "test_market_feeds.py",
    "metrics.md": "test_metrics.py",
    "relay-buses.md": "buses/test_bus_access.py",
    "testing.md": "test_strategies.py",
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *DOCS.glob("*.md")]
    if BLOCK.search(path.read_text("utf-8")) and path.name not in ELSEWHERE
)
QUICK = SessionConfig(retry_first=0.01, retry_base=0.01)
# Nothing lags here, and nobody but the example asks.
PROMPT = AccountConfig(
    answer_lag=0.0,
    retry_first=0.01,
    retry_cap=0.05,
    order_calls_per_minute=1000,
)
PATIENT = HttpConfig(order_calls=1000, token_interval=0.1)


class Life:
    """A life of a feed before it is closed: updates, the loss of its connection, a gap, and updates
    again. An account has healed its gap before that."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._updates = 0
        self.is_broken = self.is_mended = self.is_over = False

    def goes_on(self, event: Event | AccountEvent) -> bool:
        match event:
            case OrderUpdate() | BalanceUpdate() | OrderChanged() | BalanceChanged():
                self._updates += 1
                if self._updates == 3:
                    self._simulator.inject(DropConnections())
            case Disconnected():
                self.is_broken = True
            case Gap() | Resynced() if self.is_broken:
                self.is_mended, self._updates = True, 3
            case _:
                pass
        self.is_over = self.is_over or (self.is_mended and self._updates >= 6)
        return not self.is_over


class Guided:
    """A feed, or an account, that is closed when its life is over. It lives while it is iterated
    over."""

    def __init__(self, feed: Any, begin: Callable[[], Life]) -> None:
        self._feed = feed
        self._begin = begin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def __iter__(self) -> Iterator[Event]:
        life = self._begin()
        for event in self._feed:
            if not life.goes_on(event):
                self._feed.close()
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        life = self._begin()
        async for event in self._feed:
            if not life.goes_on(event):
                await self._feed.close()
            yield event


class Exchange:
    """The exchange that every ``open_feed`` and ``open_account`` of an example leads to."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.lives: list[Life] = []

    def lead_here(self, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        open_feed, open_account = module.open_feed, module.open_account

        def settings(given: dict[str, Any]) -> dict[str, Any]:
            return {"config": QUICK, **given, "url": self.simulator.url}

        def opened(*keys: Credentials, **given: Any) -> Any:
            # One place for all accounts of a page, as there is by default: one token serves them.
            given = {"account_config": PROMPT, "cache": "account.json", **settings(given)}
            keys = (self.simulator.credentials,) if keys else ()
            return open_account(*keys, **{**given, "http_url": self.simulator.http_url})

        def life() -> Life:
            self.lives.append(Life(self.simulator))
            return self.lives[-1]

        @asynccontextmanager
        async def guided(**given: Any) -> AsyncIterator[Guided]:
            async with open_feed(**settings(given)) as feed:
                yield Guided(feed, life)

        @contextmanager
        def guided_in_threads(**given: Any) -> Iterator[Guided]:
            with open_feed(**settings(given)) as feed:
                yield Guided(feed, life)

        @asynccontextmanager
        async def guided_account(*keys: Credentials, **given: Any) -> AsyncIterator[Guided]:
            async with opened(*keys, **given) as account:
                yield Guided(account, life)

        @contextmanager
        def guided_account_in_threads(*keys: Credentials, **given: Any) -> Iterator[Guided]:
            with opened(*keys, **given) as account:
                yield Guided(account, life)

        in_threads = module is topone_threads
        feed = guided_in_threads if in_threads else guided
        account = guided_account_in_threads if in_threads else guided_account
        monkeypatch.setattr(module, "open_feed", feed)
        monkeypatch.setattr(module, "open_account", account)


class HttpError(Exception):
    pass


class Http:
    """The exchange over HTTP. The first call fails, as calls do."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._calls = 0

    def _call(self) -> None:
        self._calls += 1
        if self._calls == 1:
            raise HttpError

    async def open_orders(self) -> list[Order]:
        self._call()
        return [order for order in self._simulator.orders.values() if order.is_open]

    async def orders_by_id(self, ids: tuple[int, ...]) -> list[Order]:
        self._call()
        return [order for order in self._simulator.orders.values() if order.id in ids]

    async def balances(self, assets: tuple[str, ...] | None) -> list[Balance]:
        self._call()
        known = self._simulator.balances.values()
        return [balance for balance in known if assets is None or balance.asset in assets]


def names_of(simulator: Simulator) -> dict[str, Any]:
    """Return the names a reader has in mind: nothing that the package would have to supply."""
    return {
        "__name__": "page",
        "HttpError": HttpError,
        "http": Http(simulator),
        "show": print,
        "decide": lambda *_: None,
        "token": "demo",
        "tokens": {"one": "demo", "two": "demo"},
    }


def run_block(code: CodeType, names: dict[str, Any]) -> None:
    """Run a block, in an event loop if it awaits something at its top."""
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, names)
    elif "topone_asyncio" in code.co_names:
        asyncio.run(eval(code, names))
    else:
        trio.run(lambda: eval(code, names))


def is_for_now(block: tuple[int, str]) -> bool:
    """False for a block of functions only, which a page may explain behind what calls them."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return not all(isinstance(statement, functions) for statement in ast.parse(block[1]).body)


def sleep_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits before a question is asked again."""
    sleep = trio.sleep
    monkeypatch.setattr(trio, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOPONE_TOKEN", "demo")
    Path("token.txt").write_text("demo\n", "utf-8")
    sleep_less(monkeypatch)
    authority = trustme.CA()
    authority.cert_pem.write_to_path("company-ca.pem")
    context = None
    text = (ROOT / page).read_text("utf-8")
    if "company-ca.pem" in text:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    with run_in_thread(rate=100.0, ssl_context=context, http_config=PATIENT) as simulator:
        monkeypatch.setenv("TOPONE_APP_ID", simulator.credentials.app_id)
        monkeypatch.setenv("TOPONE_APP_KEY", simulator.credentials.reveal())
        exchange = Exchange(simulator)
        for module in (topone_anyio, topone_trio, topone_asyncio, topone_threads):
            exchange.lead_here(module, monkeypatch)
        names = names_of(simulator)
        for number, block in sorted(enumerate(BLOCK.findall(text), 1), key=is_for_now):
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            run_block(compile(block, f"{page}, block {number}", "exec", flags), names)
    assert all(life.is_broken and life.is_mended and life.is_over for life in exchange.lives)
    assert len(exchange.lives) >= len(re.findall("in (?:feed|account):", text))


# --- The programs


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "programs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BOTS = ["bot_trio", "bot_asyncio", "bot_threads"]


def run_bot(name: str, simulator: Simulator, decide: Callable[[Any], None]) -> None:
    """Let a bot follow the simulator's account until the account ends."""
    module = program(name)

    def opened() -> Any:
        return module.open_account(
            simulator.credentials,
            url=simulator.url,
            http_url=simulator.http_url,
            config=QUICK,
            account_config=PROMPT,
            cache=None,
        )

    async def follow() -> None:
        async with opened() as account:
            await module.follow(account, decide)

    match name:
        case "bot_trio":
            trio.run(follow)
        case "bot_asyncio":
            asyncio.run(follow())
        case _:
            with opened() as account:
                module.follow(account, decide)


class Enough(Exception):
    """The bot has seen what it was to see."""


@pytest.mark.parametrize("name", BOTS)
def test_a_bot_finds_what_it_missed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake of its strategy, here the judge's ``Enough``, ends it as well."""

    printed: list[str] = []

    def decide(account: Any) -> None:
        assert account.is_whole
        printed.append(capsys.readouterr().out)
        if not simulator.orders:
            simulator.inject(DropConnections())
            # The gateway forgets its clients at once, so none of them is told.
            simulator.live(lambda account, now: account.place("ETH/BTC", Side.BUY, Decimal(1), now))
        elif "orders: whole; changes that HTTP told: 1\n" in "".join(printed):
            truth = simulator.truth()
            assert account.open_orders() == Reading(truth.open_orders, Knowledge.WHOLE)
            assert account.balances() == Reading(truth.balances, Knowledge.WHOLE)
            raise Enough

    with run_in_thread(http_config=PATIENT) as simulator:
        with pytest.raises(Enough):
            run_bot(name, simulator, decide)
        assert len(simulator.handshakes) == 2
        assert simulator.overruns == 0


def test_the_test_of_a_bot_is_passed_by_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "programs")
    program("test_bot").test_it_finds_what_it_missed()


def test_the_test_of_a_bot_is_failed_by_one_that_never_doubts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def follow(account: AsyncAccount, decide: Callable[[AsyncAccount], None]) -> None:
        async for _ in account:
            decide(account)

    monkeypatch.syspath_prepend(DOCS / "programs")
    module = program("test_bot")
    monkeypatch.setattr(module, "follow", follow)
    with pytest.raises(AssertionError):
        module.test_it_finds_what_it_missed()


@pytest.mark.parametrize("name", BOTS)
def test_a_bot_whose_keys_are_refused_fails_as_a_program(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TOPONE_APP_KEY", "mistyped")
    with run_in_thread() as simulator:
        monkeypatch.setenv("TOPONE_APP_ID", simulator.credentials.app_id)
        done = subprocess.run(
            [
                sys.executable,
                DOCS / "programs" / f"{name}.py",
                simulator.url,
                simulator.http_url,
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=60.0,
        )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("the account has ended: ")
    assert "check the app id and the app key" in line


class Delayed:
    """An account that has to wait before it asks."""

    is_whole = False
    told = FetchDelayed(FetchKind.TOKEN, DelayCause.BACKOFF, 12.3)

    def __iter__(self) -> Iterator[FetchDelayed]:
        yield self.told

    async def __aiter__(self) -> AsyncIterator[FetchDelayed]:
        yield self.told


@pytest.mark.parametrize("name", BOTS)
def test_a_bot_says_that_it_has_to_wait(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    followed = program(name).follow(Delayed(), lambda _: pytest.fail("the account is not whole"))
    if followed is not None:
        asyncio.run(followed)
    assert capsys.readouterr().out == "asks over HTTP in 12 s at the earliest: backoff\n"


ENDED_BY_CTRL_C = [
    *((name, "url") for name in (*BOTS, "recipe_uvloop")),
    ("recipe_zmq", "address"),
    ("relay_dashboard", "bus"),
    ("relay_node", "node", "bus"),
    ("relay_strategy", "bus"),
]


@pytest.mark.parametrize("argv", ENDED_BY_CTRL_C, ids=lambda argv: argv[0])
def test_a_program_that_ctrl_c_ends_leaves_no_traceback(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any, **_: Any) -> None:
        for each in given:
            if inspect.iscoroutine(each):
                each.close()
        raise KeyboardInterrupt

    monkeypatch.setenv("TOPONE_APP_ID", "id")
    monkeypatch.setenv("TOPONE_APP_KEY", "key")
    monkeypatch.setattr(sys, "argv", [*argv])
    monkeypatch.setattr(asyncio, "run", interrupted)
    monkeypatch.setattr(asyncio.Runner, "run", interrupted)
    monkeypatch.setattr(trio, "run", interrupted)
    monkeypatch.setattr(topone_threads, "open_account", interrupted)
    monkeypatch.setattr(topone_nats, "open_feed", interrupted)
    try:
        runpy.run_path(str(DOCS / "programs" / f"{argv[0]}.py"), run_name="__main__")
    except KeyboardInterrupt:
        pytest.fail("Python would print a traceback")


@pytest.mark.parametrize("name", BOTS)
def test_a_bot_is_a_screen_and_no_more(name: str) -> None:
    lines = (DOCS / "programs" / f"{name}.py").read_text("utf-8").splitlines()
    assert len(lines) <= 48


def test_the_embedding_page_shows_the_whole_program() -> None:
    source = (ROOT / "examples" / "poller.py").read_text("utf-8")
    steps = re.findall(r"# (step \d: .*)", source)
    page = (DOCS / "embedding.md").read_text("utf-8")
    assert steps
    assert all(f':start-after: "# {step}\\n"' in page for step in steps)


def test_the_pages_with_tests_of_their_own_are_run_there() -> None:
    for page, test in ELSEWHERE.items():
        assert page in (ROOT / "tests" / test).read_text("utf-8")
        assert BLOCK.search((DOCS / page).read_text("utf-8"))


# --- The names

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# All that is shipped, but for the command: nobody imports that.
PACKAGES = [
    importlib.import_module(Path(path).name)
    for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    if not path.endswith("topone_cli")
]


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The public packages' own files. What a private one holds may be exported by its package."""
    for package in PACKAGES:
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            yield f"{package.__name__}/{path.name}", ast.parse(path.read_text("utf-8"))


def exported(tree: ast.Module) -> set[str]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return set(ast.literal_eval(value))
            case _:
                pass
    return set()


def unexplained(body: list[ast.stmt], names: set[str] | None) -> Iterator[str]:
    """Return the public names here without a docstring. None: every name without an underscore."""
    for statement, after in zip_longest(body, body[1:]):
        match statement:
            case ast.ClassDef(name=name) if is_public(name, names):
                if ast.get_docstring(statement) is None:
                    yield name
                for inner in unexplained(statement.body, None):
                    yield f"{name}.{inner}"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                # An overload says nothing, and what overrides says what the overridden does.
                has_more = any(
                    ast.unparse(each) in {"overload", "override", f"{name}.setter"}
                    for each in statement.decorator_list
                )
                if is_public(name, names) and ast.get_docstring(statement) is None and not has_more:
                    yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if is_public(name, names) and not (
                    isinstance(after, ast.Expr) or says_itself(statement.value)
                ):
                    yield name
            case _:
                pass


def is_public(name: str, names: set[str] | None) -> bool:
    return not name.startswith("_") if names is None else name in names


def says_itself(value: ast.expr | None) -> bool:
    """True for the member of an enum whose value is a sentence about it."""
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and " " in value.value


def test_every_public_name_and_field_is_explained() -> None:
    found = {
        f"{path}: {name}"
        for path, tree in sources()
        for name in unexplained(tree.body, exported(tree))
    }
    assert found == set()


QUESTIONS = {
    "What",
    "How",
    "Who",
    "Where",
    "When",
    "Which",
    "Why",
    "Whether",
    "Whoever",
    "Whatever",
}
ROOTS = ("src", "tests", "benchmarks", "docs", "examples", "fuzz")


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of modules, classes, functions and attributes, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        yield statement.lineno, text
                    case _:
                        pass


@pytest.mark.parametrize("root", ROOTS)
def test_a_docstring_begins_with_a_thing_or_a_deed(root: str) -> None:
    """One that begins as a question does has to be read twice."""
    found = [
        f"{path}:{line}: {text.splitlines()[0]}"
        for path in sorted((DOCS.parent / root).rglob("*.py"))
        for line, text in docstrings(ast.parse(path.read_text("utf-8")))
        if re.split(r"\W", text.lstrip(), maxsplit=1)[0] in QUESTIONS
    ]
    assert found == []


def test_every_public_module_says_what_may_live_in_it() -> None:
    missing = [path for path, tree in sources() if not ast.get_docstring(tree)]
    assert missing == []


def test_the_simulator_in_a_thread_takes_what_the_simulator_takes() -> None:
    assert signature(run_in_thread).parameters == signature(serve).parameters


def test_what_is_drawn_of_the_code_is_drawn_of_all_of_it() -> None:
    """Pages name what they show by its name; nothing new may be left out."""
    pages = "".join(path.read_text("utf-8") for path in DOCS.glob("*.md"))
    shown = set(re.findall(r"automodule:: (topone_[\w.]+)", pages))
    public = {
        module.name
        for package in PACKAGES
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if "._" not in module.name and ".testing" not in module.name
    }
    assert public | {package.__name__ for package in PACKAGES} - {"topone_proto"} <= shown


def test_every_picture_is_shown_and_every_picture_shown_is_there() -> None:
    pages = (page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
    shown = {
        name
        for page in (ROOT / "README.md", *pages)
        for name in re.findall(r"_static/([\w-]+\.svg)", page.read_text("utf-8"))
    }
    assert shown == {picture.name for picture in (DOCS / "_static").glob("*.svg")}
