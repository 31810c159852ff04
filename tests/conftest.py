"""Settings for every test: how hard the property tests try.

``pytest --hypothesis-profile=deep`` looks for longer than a test run should take.
"""

import os
import signal

import pytest
from hypothesis import Phase, settings

# No deadlines: a test that fails because the machine is busy says nothing about the code.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
# A failure is all that is asked for here, and not its smallest example, which takes long to find.
settings.register_profile(
    "mutation",
    deadline=None,
    max_examples=15,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.register_profile("deep", deadline=None, max_examples=10_000, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# Who was started in the background or by nohup ignores these signals, and so do all its children.
for name in ("SIGINT", "SIGHUP", "SIGQUIT"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        is_interrupt = number is signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Make three processes for two cores of ``-n auto``: tests wait a third of their time."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)
