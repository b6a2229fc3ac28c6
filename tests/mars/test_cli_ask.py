"""`mars ask`, `mars chat` and an interrupted `mars ingest`: what a user types, and what comes back."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from mars import CheckpointSaver
from mars.cli import main
from mars.cli.ask import UNANSWERED
from mars.holding import thread_of
from mars.persistence.leases import Leases

TALK = '{"text": "I moved to Bern last week.", "speaker": "ann", "time": "2023-05-08"}\n'
MARS = "import sys; from mars.cli import main; sys.exit(main())"


@pytest.fixture
def db(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a memory that holds one turn of Ann's, with no settings in the environment."""
    for name in ("DB", "NAMESPACE", "EMBEDDER", "PRESET", "SYNCHRONOUS", "MODEL"):
        monkeypatch.delenv(f"MARS_{name}", raising=False)
    (tmp_path / "talk.jsonl").write_text(TALK, encoding="utf-8")
    path = str(tmp_path / "life.db")
    assert main(["ingest", str(tmp_path / "talk.jsonl"), "-f", "jsonl", "-n", "ann", "--db", path]) == 0
    capfd.readouterr()
    return path


@pytest.mark.parametrize("words", ["ann moved to Bern", "Describe the weather on the moon."])
def test_what_is_not_stored_is_not_noted(db: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    """`mars ask` takes words without a question mark as a question too, and never says that it noted them."""
    assert main(["ask", words, "-n", "ann", "--db", db, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["answer"] != "Noted."
    assert bool(result["sources"]) == ("Bern" in words)


def test_a_read_only_memory_can_be_asked(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The answer comes although nothing can be strengthened; to remember the turn is an error."""
    shut = f"sqlite:///file:{db}?mode=ro&uri=true"
    assert main(["ask", "Where did Ann move?", "-n", "ann", "--db", shut, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["approved"]
    assert main(["ask", "Where did Ann move?", "-n", "ann", "--db", shut, "--remember"]) == 2
    assert "read-only" in capfd.readouterr().err


def test_an_empty_question_is_refused(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A blank question is one line on stderr and exit code 2."""
    assert main(["ask", "  ", "-n", "ann", "--db", db]) == 2
    assert "empty" in capfd.readouterr().err


def test_the_model_comes_from_the_environment(
    db: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MARS_MODEL serves where no --model is given."""
    monkeypatch.setenv("MARS_MODEL", "nonsense")
    assert main(["ask", "Where is Ann?", "-n", "ann", "--db", db]) == 2
    assert "nonsense" in capfd.readouterr().err
    assert main(["ask", "Where is Ann?", "-n", "ann", "--db", db, "--model", "reader"]) == 0


@pytest.mark.parametrize("words", [["ask", "Where did Ann move?", "-n", "ann", "--wait"], ["chat", "--user", "ann"]])
def test_a_conversation_that_a_killed_process_holds_is_waited_for(
    db: str, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """`mars chat` says that it waits, and for whom, and so does `mars ask --wait`; without it, the error names it."""
    asked = ["ask", "Where did Ann move?", "-n", "ann", "--db", db, "--conversation", "c"]
    assert main(asked) == 0
    anyio.run(_held, db, 600.0)
    capfd.readouterr()
    assert main(asked) == 2
    refused = capfd.readouterr().err
    assert "process 4711" in refused
    assert "--wait" in refused
    command = [sys.executable, "-c", MARS, *words, "--db", db, "--conversation", "c"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write("Where did Ann move?\n")
        running.stdin.close()
        told = ""
        while "waiting" not in told and (line := running.stderr.readline()):
            told += line
        assert "4711" in told
        anyio.run(_held, db, 0.0)
        assert running.stdout is not None
        shown = running.stdout.read()
    assert (running.returncode, "Bern" in shown) == (0, True)


async def _held(path: str, seconds: float) -> None:
    """Let a process that does not renew its lease have Ann's conversation for so long."""
    async with CheckpointSaver.open(f"sqlite:///{path}") as saver:
        thread = thread_of(("ann",), "c")
        await saver.database.write(lambda wire: Leases(wire).take(thread, 1, "4711", seconds))


def test_a_mistyped_command_of_chat_is_not_remembered(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In `mars chat` an unknown word after a slash is named with what can be typed, and nothing is stored."""
    command = [sys.executable, "-c", MARS, "chat", "--user", "bob", "--db", db]
    ended = subprocess.run(command, input="/help\n", capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == ""
    assert "/help is no command: /memories" in ended.stderr
    assert main(["memory", "namespaces", "--json", "--db", db]) == 0
    assert json.loads(capfd.readouterr().out) == [{"namespace": ["ann"], "records": 1}]


def test_a_line_that_cannot_be_stored_does_not_end_the_chat(db: str) -> None:
    """In `mars chat` a line that is no text is an error of one line, and the next line is answered."""
    command = [sys.executable, "-c", MARS, "chat", "--user", "ann", "--db", db]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(
        command, env=strict, input=b"\xff\nWhere did I move?\n", capture_output=True, timeout=60, check=True
    )
    assert b"lone surrogate" in ended.stderr
    assert b"Bern" in ended.stdout


def test_a_terminal_without_utf8_is_served(db: str) -> None:
    """Where stdout holds ASCII only, `mars ask` prints its answer all the same, and its JSON loses no character."""
    command = [sys.executable, "-c", MARS, "ask", "Where did Ann move?", "-n", "ann", "--user", "zo\u00eb", "--db", db]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for more in ([], ["--json"]):
        ended = subprocess.run([*command, *more], env=ascii_only, capture_output=True, timeout=60, check=True)
        assert b"Bern" in ended.stdout
        assert ended.stdout.isascii()


def test_an_interrupted_ingest_says_what_stays(tmp_path: Path) -> None:
    """Ctrl-C during `mars ingest` ends with code 130 and one line that says how to go on."""
    lines = (json.dumps({"text": f"Turn {number} about tea, rain and the garden."}) for number in range(30_000))
    (tmp_path / "long.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ["ingest", "long.jsonl", "-f", "jsonl", "-n", "ann", "--db", "life.db"]
    # Shells let what they put into the background ignore SIGINT, and children inherit that.
    listening = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {MARS}"
    command = [sys.executable, "-c", listening, *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not _rows(tmp_path / "life.db"):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=60)[1]
    assert running.returncode == 130, told
    assert told == "interrupted: what was added stays, and the same command adds the rest\n"
    assert 0 < _rows(tmp_path / "life.db") < 30_000


def _rows(path: Path) -> int:
    """Return how many records a memory holds by now; 0 before it has its tables."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            return int(reader.execute("SELECT count(*) FROM mars_records").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_budget_ends_a_question_early(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    """With its reason and what was spent; the reader costs nothing, so that a budget of cost holds for it."""
    asked = ["ask", "Where did Ann move?", "-n", "ann", "--db", db]
    assert main([*asked, "--max-calls", "0"]) == UNANSWERED
    shown, told = capfd.readouterr()
    assert "budget_exhausted" in shown
    assert "0 calls" in shown
    assert "error: no answer: the turn's budget of calls (0) is used up" in told
    assert "--max-calls" in told
    assert main([*asked, "--max-calls", "0", "--json"]) == UNANSWERED
    shown, told = capfd.readouterr()
    assert json.loads(shown)["status"] == "budget_exhausted"
    assert "error: no answer: the turn's budget of calls (0) is used up" in told
    assert main([*asked, "--max-cost", "0.01", "--max-tokens", "100000", "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["status"], result["usage"]["calls"], result["usage"]["cost"]) == ("completed", 1, 0.0)
    assert main([*asked, "--max-calls", "-1"]) == 2
    assert "calls must be 0 or more" in capfd.readouterr().err


def test_what_ends_without_an_answer_has_a_status_of_its_own(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where it is told again, or finished later; a budget that left a draft is answered, and so is Not known."""
    asked = ["ask", "Where did Ann move?", "-n", "ann", "--db", db, "--conversation", "mail", "--key", "17"]
    assert main([*asked, "--max-calls", "0"]) == UNANSWERED
    assert "another --key" in capfd.readouterr().err
    assert main(asked) == UNANSWERED  # the same turn is told
    assert main(["resume", "mail", "--db", db]) == UNANSWERED
    capfd.readouterr()
    assert main(["conversations", "mail", "--db", db]) == 0  # only shown
    assert "no answer" not in capfd.readouterr().err
    assert main(["ask", "Who is Bo?", "-n", "ann", "--db", db, "--max-calls", "1"]) == 0
    shown, told = capfd.readouterr()
    assert "Not known." in shown
    assert "no answer" not in told


def test_a_key_asks_once(db: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In a conversation of a name; asked again, the same turn is told, and another question under it refused."""
    asked = ["ask", "Where did Ann move?", "-n", "ann", "--db", db, "--json", "--conversation", "mail", "--key", "17"]
    turns = []
    for _ in range(2):
        assert main(asked) == 0
        turns.append(json.loads(capfd.readouterr().out))
    assert "Bern" in turns[0]["answer"]
    assert turns[0]["turn"] == turns[1]["turn"]
    assert main(["conversations", "--db", db, "--json"]) == 0
    assert [(one["name"], one["turns"]) for one in json.loads(capfd.readouterr().out)] == [("mail", 1)]
    assert main([*asked[:1], "Where does Bo live?", *asked[2:]]) == 2
    assert "stands for another task" in capfd.readouterr().err
    assert main(["ask", "Where did Ann move?", "-n", "ann", "--db", db, "--key", "17"]) == 2
    assert "name that, too" in capfd.readouterr().err
