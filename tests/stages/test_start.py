"""The first and last moments of a command: its launcher's death, signals, locale, streams, memory."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BAD_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DVC_STAGE", "LC_ALL", "PYTHONUTF8")}
    return kept | {"PYTHONPATH": str(ROOT), **more}


def python(program: str, *args: str, shell: str = "", **more: str) -> Done:
    """The program in a process of its own; ``shell`` is put behind it, e.g. a redirection."""
    command: list[str] = [sys.executable, "-c", textwrap.dedent(program), *args]
    if shell:
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(command, env=environment(**more), capture_output=True, encoding="utf-8", timeout=120)


def gsa(*args: str, shell: str = "", **more: str) -> Done:
    return python("from stages.cli import app; app()", *args, shell=shell, **more)


SIGNALLED = """
    import os, sys
    when, number = sys.argv[1], int(sys.argv[2])

    class Killer:  # asked for every module that is imported
        @staticmethod
        def find_spec(name, path, target=None):
            if name == when:
                os.kill(os.getpid(), number)

    sys.meta_path.insert(0, Killer)
    sys.argv = ["gsa", "pretrain"]
    from stages.cli import app
    app()
"""


DELETED = """
    import os, signal
    from gsa.startup import begin

    class Slow:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    begin()
    del (slow := [Slow()])[0]
    print("went on")
"""


def test_a_signal_while_an_object_is_deleted_is_one_line_and_75() -> None:
    done = python(DELETED)
    line = "StoppedError: stopped by SIGTERM; the same command starts over\n"
    assert (done.returncode, done.stdout, done.stderr) == (75, "", line)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["typer", "gsa.config", "torch", "pandas"])
def test_a_signal_while_it_imports_is_one_line_and_75(module: str, number: signal.Signals) -> None:
    done = python(SIGNALLED, module, str(int(number)))
    assert done.returncode == 75
    assert done.stderr == f"StoppedError: stopped by {number.name}; the same command starts over\n"


def test_a_signal_before_the_output_is_opened_is_that_line_even_where_it_is_caught() -> None:
    """As where an environment of the user's is made, whatever fails in it is an error of the user's."""
    done = python(
        """
        import os, signal
        import stages.commands, stages.tasks
        from gsa.errors import ParamsError
        from stages.cli import app
        import sys

        def wrapped(*args):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception as error:
                raise ParamsError("your environment cannot be made") from error

        stages.tasks.import_plugin = wrapped
        sys.argv = ["gsa", "tasks", "--plugin", "x"]
        app()
        """
    )
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "StoppedError: stopped by SIGTERM; the same command starts over\n"


PARENT = """
    import os, subprocess, sys, time
    script = f"sleep {sys.argv[1]}; exec \\"$@\\""
    child = subprocess.Popen(["sh", "-c", script, "sh", sys.executable, "-c", sys.argv[2]])
    print(child.pid, flush=True)
    time.sleep(60)
"""

CHILD = """
import time
from gsa.startup import begin
begin()
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("variable", ["DVC_STAGE", "TORCHELASTIC_RUN_ID"])
@pytest.mark.parametrize("delay", ["0", "1"])
def test_a_launcher_that_dies_takes_the_command_with_it_also_before_its_first_line(delay: str, variable: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), delay, CHILD]
    with subprocess.Popen(
        command, env=environment(**{variable: "x"}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None and launcher.stderr is not None
        child = int(launcher.stdout.readline())
        if delay == "0":
            assert launcher.stdout.readline() == "begun\n"
        launcher.kill()
        began = time.monotonic()
        assert "begun" not in launcher.stdout.read()  # comes back when the child, which shares the pipe, has ended
        assert time.monotonic() - began < 30
        assert "Traceback" not in launcher.stderr.read() or delay == "0"
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() - began < 30
        time.sleep(0.05)


def test_without_a_launcher_it_outlives_its_parent() -> None:
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(PARENT),
        "1",
        "from gsa.startup import begin; begin(); print('on')",
    ]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
        assert parent.stdout.read() == "on\n"


def test_whatever_the_locale_files_and_names_are_utf_8(tmp_path: Path) -> None:
    """Folder and file names, what is printed, and what a library opens without naming an encoding."""
    folder = tmp_path / "Bär"
    code = """
        import sys
        from gsa.startup import begin
        begin()
        import os
        folder = sys.argv[1]
        os.mkdir(folder)
        open(folder + "/\\u00f6.txt", "w").write("\\u2192")
        print(folder, open(folder + "/\\u00f6.txt").read())
        """
    for locale in (BAD_LOCALE, {**BAD_LOCALE, "LC_ALL": "POSIX"}, {}):
        done = python(code, str(folder), **locale)
        assert (done.returncode, done.stdout) == (0, f"{folder} →\n"), done.stderr
        assert (folder / "ö.txt").read_bytes() == "→".encode()
        (folder / "ö.txt").unlink()
        folder.rmdir()


def test_a_code_stamp_does_not_depend_on_the_locale() -> None:
    program = "from gsa.runs.code_stamp import code_stamp; print(code_stamp('pretrain'), code_stamp('report'))"
    stamps = [python(program, **locale).stdout for locale in (BAD_LOCALE, {"PYTHONUTF8": "1"})]
    assert stamps[0] == stamps[1] != ""


@pytest.mark.parametrize(
    ("shell", "code"),
    [(">&-", 0), (">&- 2>&-", 0), ("<&- >&- 2>&-", 0), ("| true; exit ${PIPESTATUS[0]}", 0), (">/dev/full", 0)],
)
def test_a_lost_stdout_changes_no_exit_code(shell: str, code: int) -> None:
    done = gsa("tasks", "quadruped", shell=shell)
    assert done.returncode == code and done.stderr == ""


@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", "2> >(true)", ">&- 2>&-"])
def test_a_lost_stderr_changes_no_exit_code(shell: str) -> None:
    done = gsa("tasks", "no-such-task-in-the-world", shell=shell)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_files_do_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = f"""
        from gsa.startup import begin
        begin()
        import os
        file = open({str(tmp_path / "data")!r}, "w")
        print("lost")
        os.write(2, b"lost too")
        file.write("whole")
        """
    assert python(code, shell="<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "data").read_text() == "whole"


@pytest.mark.parametrize("megabytes", [300, 600, 1000, 1500])
def test_too_little_memory_is_one_line_and_5_and_quick(tmp_path: Path, megabytes: int) -> None:
    """Wherever it runs out: while it imports, in an allocation, where a thread should start."""
    code = """
        import sys
        sys.argv = ["gsa", "pretrain"]
        from stages.cli import app
        import stages.pretrain

        def pretrain():
            import torch, threading
            threading.Thread(target=print).start()
            torch.zeros(10**12)

        stages.pretrain.pretrain = pretrain
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (int(%d) << 20, int(%d) << 20))
        app()
        """
    done = python(code % (megabytes, megabytes), OMP_NUM_THREADS="1")
    assert done.returncode == 5, done.stderr[-2000:]
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("ResourceError: out of memory: ")
    assert "this process may have" in done.stderr


AT_THE_END = """
    import atexit, os, signal, sys
    atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
    sys.argv = ["gsa", "profile", "--help"]
    from stages.cli import app
    app()
"""


def test_a_signal_after_the_work_changes_nothing() -> None:
    done = python(AT_THE_END)
    assert (done.returncode, done.stderr) == (0, "")


SWALLOWED = """
    import os, signal, sys
    from gsa.startup import begin
    begin()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Exception:
        print("went on")
"""


def test_a_library_that_catches_exceptions_does_not_swallow_a_stop() -> None:
    assert "went on" not in python(SWALLOWED).stdout
