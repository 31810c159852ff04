"""Runs a target under atheris for so many minutes, from the corpus that is kept beside this file.

What breaks a target is written into that corpus, where the tests find it from then on.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import atheris

with atheris.instrument_imports(include=["topone_proto"]):
    from fuzz.targets import TARGETS

_HERE: Final = Path(__file__).parent


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long; 20 unless given")
    parser.add_argument(
        "--found", type=Path, help="a folder for inputs that reach something new; else forgotten"
    )
    chosen = parser.parse_args()
    corpus = _HERE / "corpus" / chosen.target
    found = chosen.found or Path(tempfile.mkdtemp(prefix="fuzz-"))
    found.mkdir(parents=True, exist_ok=True)
    target: Any = TARGETS[chosen.target]
    atheris.Setup(
        [
            sys.argv[0],
            str(found),
            str(corpus),
            f"-max_total_time={round(60 * chosen.minutes)}",
            f"-dict={_HERE / 'dictionary.txt'}",
            f"-artifact_prefix={corpus}/",
            "-max_len=4096",
            "-timeout=10",
            "-print_final_stats=1",
        ],
        target,
    )
    atheris.Fuzz()


main()
