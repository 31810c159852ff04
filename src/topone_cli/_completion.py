"""Values of options for a shell to complete. typer finds a callback's argument by its name."""

from collections.abc import Callable, Iterable

from topone_cli._topics import PRIVATE_TOPICS

__all__ = ["complete_fault", "complete_topics", "one_of"]


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes one of some words."""
    known = tuple(words)
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def complete_topics(incomplete: str) -> list[str]:
    """Return the lists of topics that ``incomplete`` may become. Each topic is in a list once."""
    *before, last = incomplete.split(",")
    left = [topic.name for topic in PRIVATE_TOPICS if topic.name not in before]
    return [",".join([*before, name]) for name in left if name.startswith(last)]


def complete_fault(incomplete: str) -> list[str]:
    """Return the faults that ``incomplete`` may become or, behind a fault's name, its settings."""
    # No other command needs the exchange's faults.
    from topone_cli._faults import FAULTS, settings_of

    name, space, rest = incomplete.partition(" ")
    if not space:
        return [fault for fault in FAULTS if fault.startswith(incomplete)]
    if name not in FAULTS:
        return []
    *before, last = rest.split(" ")
    given = {word.partition("=")[0] for word in before}
    left = [setting for setting in settings_of(name) if setting not in given]
    return [" ".join([name, *before, f"{each}="]) for each in left if each.startswith(last)]
