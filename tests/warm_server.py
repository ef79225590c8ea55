"""Commands that begin with everything imported: ``python warm_server.py <socket> <process>``.

Imports the project and what it stands on once, and forks itself for each command asked for, until
the process given by its number is gone. The counterpart in a test is ``warm_python``.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
from pathlib import Path


def import_all():
    import torch
    import transformers
    from kedro.framework.cli import cli, project, starters, utils  # noqa: F401

    import aquatint

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(aquatint.__path__, "aquatint."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    aquatint.training.matrix_products.multiply_by_onednn()
    for name in ("InternVL", "Qwen2VL", "Qwen2_5_VL"):
        getattr(transformers, f"{name}ForConditionalGeneration")
    # Where Python writes no bytecode, each command would parse again what its nodes reach.
    for pipeline in aquatint.pipeline_registry.register_pipelines().values():
        for node in pipeline.nodes:
            aquatint.source_digest.source_digest(node.func)


def serve(place, guardian):
    """Give each connection's command a process, and return in that process alone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen(64)
    listener.settimeout(1.0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while is_alive(guardian):
        reap()
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            return supervise(connection)
        connection.close()
    sys.exit()


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def reap():
    """Take note of the children that have told how their commands ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def supervise(connection):
    """Fork the command and tell its number, then how it ended; return in the command alone."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("r") as lines:
        request = json.loads(lines.readline())
    child = os.fork()
    if child == 0:
        connection.close()
        settle(request, files)
        return request["arguments"]
    for file in files:
        os.close(file)
    tell(connection, child)
    _, status = os.waitpid(child, 0)
    tell(connection, os.waitstatus_to_exitcode(status))
    os._exit(0)


def tell(connection, number):
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone
        connection.sendall(f"{number}\n".encode())


def settle(request, files):
    """Take the place, the variables and the files of the command; in a session of its own."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])


def execute(arguments):
    """Do as ``python <arguments>``."""
    sys.modules["__main__"] = type(sys)("__main__")
    if arguments[:2] == ["-m", "kedro"]:
        from kedro.framework.cli.cli import main

        sys.argv, sys.path[0] = ["kedro", *arguments[2:]], str(Path.cwd())
        main()
    elif arguments[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
        exec(compile(arguments[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.path[0] = ""
    import_all()
    gc.collect()
    gc.freeze()
    execute(serve(sys.argv[1], int(sys.argv[2])))
