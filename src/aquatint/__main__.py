"""Run the project with ``python -m aquatint``, as ``kedro run`` does."""

import sys
from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    """Configure the package and hand the arguments to Kedro's run command."""
    configure_project(Path(__file__).parent.name)
    run = find_run_command(Path(__file__).parent.name)
    run(sys.argv[1:], standalone_mode=True)


if __name__ == "__main__":
    main()
