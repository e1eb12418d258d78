"""All benchmarks, one after the other: python -m benchmarks [NAME ...]."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HELPERS = {
    "__init__",
    "__main__",
    "common",
    "compression_peers",
    "hosts",
    "leftovers",
    "message_peers",
    "parameter_server_peers",
}
NAMES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in HELPERS)


def main(chosen: list[str]) -> int:
    """Run the benchmarks of these names, or all; the number of those that failed."""
    unknown = set(chosen) - set(NAMES)
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 1
    failed = []
    for name in chosen or NAMES:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
