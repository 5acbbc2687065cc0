"""A process without a second OpenSSL."""

from __future__ import annotations

import subprocess
import sys

from meshca.agent.lean import import_asyncio_alone


def run(code: str) -> str:
    """What a fresh process prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_agents_process_loads_no_openssl_of_the_system() -> None:
    """Neither by asyncio nor by hashlib, with everything that a running agent imports."""
    shown = run(
        "from meshca.agent.lean import import_asyncio_alone\n"
        "import sys\n"
        "done = import_asyncio_alone()\n"
        "import meshca.agent.process\n"
        "print(done, [name for name in ('ssl', '_ssl', '_hashlib') if name in sys.modules])"
    )
    assert shown == "True []"


def test_hashes_are_the_same_without_it() -> None:
    """Python has its own."""
    code = "import hashlib; print(hashlib.sha256(b'x').hexdigest())"
    assert run(f"from meshca.agent.lean import import_asyncio_alone; import_asyncio_alone(); {code}") == run(code)


def test_who_needs_ssl_can_still_import_it() -> None:
    """It was hidden for a moment only."""
    shown = run(
        "from meshca.agent.lean import import_asyncio_alone\n"
        "import_asyncio_alone()\n"
        "import ssl\n"
        "print(ssl.PROTOCOL_TLS_CLIENT.name)"
    )
    assert shown == "PROTOCOL_TLS_CLIENT"


def test_it_does_nothing_when_it_is_too_late() -> None:
    """As here, where pytest has imported everything."""
    import ssl

    assert not import_asyncio_alone()
    assert sys.modules["ssl"] is ssl


def test_a_python_without_hashes_of_its_own_keeps_openssls() -> None:
    """Some distributions build it so."""
    shown = run(
        "import importlib.util, sys\n"
        "from meshca.agent.lean import import_asyncio_alone\n"
        "importlib.util.find_spec = lambda name: None\n"
        "import_asyncio_alone()\n"
        "print([name for name in ('ssl', '_hashlib') if name in sys.modules])"
    )
    assert shown == "['_hashlib']"
