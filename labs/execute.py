"""Run labs from top to bottom and store their outputs, as they are committed.

python labs/execute.py            every lab
python labs/execute.py 02         those whose name starts so

They run in an empty folder, where nobody has predicted anything. Widgets are dropped (they are
megabytes, and don't come back; the words beside them stay), as is what differs from run to run and
nobody reads: execution times, the versions in the metadata.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

LABS = Path(__file__).parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute(path: Path) -> None:
    """Execute one notebook in place; raises nbclient's CellExecutionError at the first error."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata = nbformat.NotebookNode(
        kernelspec=KERNEL, language_info={"name": "python", "file_extension": ".py"}
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    nbformat.write(notebook, path)


def main(prefixes: list[str]) -> None:
    """Execute the labs that start with one of the prefixes; all without any."""
    for path in sorted(LABS.glob("*.ipynb")):
        if not prefixes or path.name.startswith(tuple(prefixes)):
            started = time.perf_counter()
            execute(path)
            size = path.stat().st_size / 1000
            print(f"{path.name}: {time.perf_counter() - started:.1f} s, {size:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
