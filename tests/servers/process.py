"""Child processes: real servers, and tidegate in front of them. Each is stopped by its own process id."""

import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PLACE = REPOSITORY / "target" / "servers"
# Where proxies are set, they are not for 127.0.0.1.
ENVIRONMENT = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def output(*command, timeout=300):
    """What a command prints; an error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT)
    if done.returncode != 0:
        raise AssertionError(f"{command} failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Child:
    """A process that is stopped at the end of a `with` block, and whose output is kept."""

    def __init__(self, *command, name, cwd=None, env=None):
        self.name = name
        self.lines = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**ENVIRONMENT, **(env or {})},
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def find(self, matches, what, seconds=20):
        """The first line for which `matches` is true, waited for."""
        deadline = time.monotonic() + seconds
        with self.news:
            while True:
                found = next((line for line in self.lines if matches(line)), None)
                if found is not None:
                    return found
                if not self.reader.is_alive() or not self.news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{self.name}: no {what} in\n" + "\n".join(self.lines[-50:]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server(Child):
    """A server that listens on `port` of 127.0.0.1 once it is entered."""

    def __init__(self, *command, port, name, patience=60, **how):
        super().__init__(*command, name=name, **how)
        self.port = port
        self.patience = patience

    def __enter__(self):
        deadline = time.monotonic() + self.patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise AssertionError(f"{self.name} does not listen:\n" + "\n".join(self.lines[-50:])) from None
                time.sleep(0.05)


def fastapi():
    """The FastAPI server of fastapi/app.py."""
    port = free_port()
    command = [PLACE / "fastapi/bin/uvicorn", "app:app", "--port", port, "--log-level", "warning"]
    return Server(*command, port=port, name="uvicorn", cwd=REPOSITORY / "tests/servers/fastapi")


class Tidegate(Child):
    """tidegate with a configuration, listening on a port of its choice."""

    def __init__(self, binary, config, env=None):
        self.config = config
        self.directory = tempfile.TemporaryDirectory()
        file = Path(self.directory.name) / "config.toml"
        file.write_text(config)
        super().__init__(binary, "--config", file, name="tidegate", env=env)
        ready = self.find(lambda line: " ready on " in line, "ready line")
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", ready).group(1))
        self.seen = 0

    def access(self, path):
        """The next access line of a request for `path`."""
        seen = self.seen

        def matches(line):
            nonlocal seen
            index = self.lines.index(line)
            seen = index + 1
            return index >= self.seen and "target=access" in line and re.search(rf" path={re.escape(path)}( |$)", line)

        line = self.find(matches, f"access line of {path}")
        self.seen = seen
        return line

    def __exit__(self, *details):
        super().__exit__(*details)
        self.directory.cleanup()
