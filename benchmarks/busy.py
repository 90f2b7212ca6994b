"""How long a short fit takes on a quiet and on a busy machine, whether waiting threads spin or not.

    python benchmarks/busy.py [--rounds 3] [--load 3]

Whole processes in turn: `evp` as it is, and its commands called without `settle_openmp`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from evpcli.engine.compute.usable_cpus import count_usable_cpus

AS_IT_IS = "from evpcli.cli import run; run()"
SPINNING = "import sys; from evpcli.cli import main; sys.exit(main(sys.argv[1:]))"
SPINNER = "import sys\nwhile True: pass"
WORDS = ("fit", "-d", "digits", "-b", "mini", "--epochs", "5")


def main() -> None:
    """Print one row a condition."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="pairs that count")
    parser.add_argument("--load", type=int, default=3, help="busy neighbours for each usable CPU")
    options = parser.parse_args()
    print("| machine | threads spin, s | threads wait, s | ratio |")
    print("|---|---|---|---|")
    for name, load in (("quiet", 0), (f"busy, {options.load} neighbours a CPU", options.load)):
        pairs = measure_pairs(options.rounds, load * count_usable_cpus())
        spinning, waiting = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(mine / theirs for theirs, mine in pairs)
        print(f"| {name} | {spinning:.1f} | {waiting:.1f} | {ratio:.2f} |", flush=True)


def measure_pairs(rounds: int, neighbours: int) -> list[tuple[float, float]]:
    """Seconds of both ways in turn, beside so many processes that only count."""
    spinners = [subprocess.Popen([sys.executable, "-c", SPINNER]) for _ in range(neighbours)]
    try:
        return [(time_fit(SPINNING), time_fit(AS_IT_IS)) for _ in range(rounds)]
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def time_fit(code: str) -> float:
    """Seconds of one process that trains and measures a small prompt in a fresh home."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    with tempfile.TemporaryDirectory() as home:
        begin = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", code, *WORDS],
            env=kept | {"EVP_HOME": home},
            check=True,
            capture_output=True,
        )
        return time.monotonic() - begin


if __name__ == "__main__":
    main()
