"""Execute every notebook top to bottom, in its own kernel; any error fails. With --write, keep the outputs.

python notebooks/run.py [--write] [NOTEBOOK ...]
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

WIDGET = "application/vnd.jupyter.widget-view+json"


def run(path: Path, write: bool) -> str | None:
    """Execute one notebook; the error as text, or None."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources)
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    if write:
        # A progress bar's widget is nothing without its kernel.
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:
            if "outputs" in cell:
                cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        nbformat.write(notebook, path)
    return None


def main() -> int:
    arguments = [a for a in sys.argv[1:] if a != "--write"]
    paths = [Path(a) for a in arguments] or sorted(Path(__file__).parent.glob("*.ipynb"))
    failed = 0
    for path in paths:
        error = run(path.resolve(), "--write" in sys.argv)
        print(f"{path.name}: {'ok' if error is None else error}")
        failed += error is not None
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
