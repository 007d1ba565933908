"""The benchmarks by name, or all of them one after the other.

python -m benchmarks all [--quick]
python -m benchmarks NAME [options]
"""

import argparse
import ast
import pathlib
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks._machine import RESULTS
from benchmarks._measure import table


FOLDER = pathlib.Path(__file__).parent
# They take about ten minutes or more each.
BY_NAME_ONLY = ("claims", "comparison", "hypergradients", "targets", "transfer_depth")


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; 0 if nothing failed."""
    summaries = benchmarks()
    if arguments and arguments[0] in summaries:
        name, sys.argv[1:] = arguments[0], arguments[1:]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
        return 0
    width = max(map(len, summaries))
    lines = [
        f"  {name:{width}}  {text}" + " Not in all: long." * (name in BY_NAME_ONLY)
        for name, text in summaries.items()
    ]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="python -m benchmarks all [--quick]\n       python -m benchmarks NAME [options]",
        description="Measure this library beside others, and write benchmarks/results/NAME.json.",
        epilog="\n".join(["names:", *lines, "", "`NAME --help` shows the options of one."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=["all", *summaries], metavar="all | NAME", help="see below")
    parser.add_argument(
        "--quick", action="store_true", help="less of each, to results/quick: ten minutes in all"
    )
    quick = ["--quick"] * parser.parse_args(arguments).quick
    return run_all(
        {
            name: [sys.executable, "-m", f"benchmarks.{name}", *quick]
            for name in summaries
            if name not in BY_NAME_ONLY
        }
    )


def benchmarks() -> dict[str, str]:
    """Name -> first line of every module with a ``main``, read without running them."""
    found = {}
    files = {path.stem: path for path in FOLDER.glob("[!_]*.py")}
    folders = {path.parent.name: path for path in FOLDER.glob("*/__main__.py")}
    for name, path in sorted((files | folders).items()):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {part.name for part in module.body if isinstance(part, ast.FunctionDef)}
        if "main" in functions:
            found[name] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def run_all(commands: Mapping[str, Sequence[str]]) -> int:
    """Run each to its end, whatever became of those before; 1 if any has failed."""
    rows = {}
    for number, (name, command) in enumerate(commands.items(), 1):
        say(f"[{number}/{len(commands)}] {name}")
        before, begin = results(), time.perf_counter()
        code = subprocess.run(command, cwd=FOLDER.parent, check=False).returncode
        took = time.perf_counter() - begin
        ending = "done" if code == 0 else f"failed with exit code {code}"
        written = [path for path, changed in results().items() if before.get(path) != changed]
        files = ", ".join(str(path.relative_to(FOLDER.parent)) for path in written)
        rows[name] = {"seconds": round(took), "ending": ending, "files": files}
        say(f"[{number}/{len(commands)}] {name}: {ending} after {took:.0f} s\n")
    say(table(rows))
    failed = [name for name, row in rows.items() if row["ending"] != "done"]
    if failed:
        say(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


def results() -> dict[pathlib.Path, int]:
    """When each file of results was last written."""
    return {path: path.stat().st_mtime_ns for path in RESULTS.rglob("*") if path.is_file()}


def say(text: str) -> None:
    """Print at once, between what the benchmarks print."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
