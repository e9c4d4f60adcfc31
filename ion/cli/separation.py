"""What separates the user who asks from governance's keys and decisions, or, asked by governance, from its hands."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ion.agent.files import takes_group
from ion.cli.examination import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ion.home import Home

_HOW = "docs/how-to/separate-hands.md has the layout"
_CODE = ("policies", "sensors", "resources", "gov_assets", "workspace.yaml")
_SHOWN = 3


def separation(home: Home) -> list[Finding]:
    """Look at everything that must be governance's own, with the eyes of the user who asks.

    Raises:
        IonError: ``bad-store-url``.
    """
    if home.hand:
        return [_user(home), *_seen_by_a_hand(home), _own_folder(home), *_code_locations()]
    return [_user(home), *_seen_by_governance(home), _hands(home), *_code_locations()]


def _user(home: Home) -> Finding:
    role = f"hands facts over as {home.hand}" if home.hand else "opens the store, as governance does"
    found = f"{_name(os.geteuid())}, {role}"
    advice = "root may do everything: ask as the user in question"
    return Finding("user", ok=os.geteuid() != 0, needed=True, found=found, advice=advice)


# A hand: nothing of governance's may be within reach -------------------------------------------------


def _seen_by_a_hand(home: Home) -> Iterator[Finding]:
    keys = [path for path in _private_keys(home) if os.access(path, os.R_OK)]
    yield _out_of_reach("keys", keys, "can be read", "the private keys cannot be read")
    store = home.root / "store.db"
    open_store = [path for path in (store,) if os.access(path, os.R_OK)]
    yield _out_of_reach("store", open_store + _replaceable(store), "is open to this user", "out of reach")
    trust = [home.trust_document, home.root_public]
    yield _out_of_reach("trust", _replaceable(*trust), "can be replaced", "whom to trust cannot be changed")
    pointers = _below(home.root / "serving")
    changeable = _replaceable(home.root / "serving", *pointers)
    yield _out_of_reach("pointers", changeable, "can be replaced", "what serves cannot be changed")
    folders = _artifact_folders(home)
    mine = [path for path in folders if path.stat().st_uid == os.geteuid() or not path.stat().st_mode & stat.S_ISVTX]
    lacking = "" if folders and all(os.access(path, os.W_OK) for path in folders) else "; this user cannot add any"
    kept = "what others added cannot be removed" + lacking
    yield _out_of_reach("artifacts", mine, "lets this user remove what others added", kept)
    fine = "what governance runs cannot be changed"
    yield _out_of_reach("code", _replaceable(*_code()), "is run by governance, and can be changed", fine)


def _out_of_reach(name: str, reached: Iterable[Path], problem: str, fine: str) -> Finding:
    found = list(dict.fromkeys(reached))
    return Finding(name, not found, needed=True, found=f"{_some(found)} {problem}" if found else fine, advice=_HOW)


def _own_folder(home: Home) -> Finding:
    spool = home.spool
    if not os.access(spool, os.W_OK | os.X_OK):
        found = f"{spool} is not there for this user"
        return Finding("hand", ok=False, needed=True, found=found, advice=_HOW)
    open_now = [path for path in (home.own, spool) if path.stat().st_mode & 0o007]
    handed = takes_group(spool)
    found = f"{spool}, taken over by group {_group(spool.stat().st_gid)}"
    if open_now:
        found = f"{_some(open_now)} can be used by everybody"
    elif not handed:
        found = f"governance cannot take facts over from {spool} (its group may not write)"
    return Finding("hand", not open_now and handed, needed=True, found=found, advice=_HOW)


# Governance: what is its own must not be open to others ----------------------------------------------


def _seen_by_governance(home: Home) -> Iterator[Finding]:
    yield _closed("keys", _private_keys(home), 0o077, "this user's alone")
    store = [path for path in (home.root / f"store.db{end}" for end in ("", "-wal", "-shm")) if path.exists()]
    yield _closed("store", store, 0o077, "this user's alone" if store else "not a file here: the database decides")
    trust = [path for path in (home.trust_document.parent, home.trust_document, home.root_public) if path.exists()]
    yield _closed("trust", trust, 0o022, "changed by this user alone")
    serving = home.root / "serving"
    yield _closed("pointers", [serving, *_below(serving)], 0o022, "changed by this user alone")
    folders = _artifact_folders(home)
    loose = [path for path in folders if path.stat().st_uid != os.geteuid() or not path.stat().st_mode & stat.S_ISVTX]
    if len(folders) < 256 or loose:  # noqa: PLR2004 - two hexadecimal digits
        found = "their folders are not all this user's and sticky: who makes one may remove what others add"
        yield Finding("artifacts", ok=False, needed=True, found=found, advice=_HOW)
    else:
        yield Finding("artifacts", ok=True, needed=True, found="everybody adds, nobody else removes")
    yield _closed("code", _code(), 0o022, "changed by root or this user alone")


def _closed(name: str, paths: Iterable[Path], others: int, fine: str) -> Finding:
    found = [path for path in paths if path.exists() and (_modes_for_others(path) & others or _foreign(path))]
    told = f"{_some(found)}: other users may {'read or change' if others & 0o044 else 'change'} it" if found else fine
    return Finding(name, not found, needed=True, found=told, advice=_HOW)


def _modes_for_others(path: Path) -> int:
    """Return the mode bits that let others in; those of a group with no other member let nobody in."""
    found = path.stat()
    mode = found.st_mode & 0o077
    return mode & 0o007 if _only_mine(found.st_gid) else mode


def _foreign(path: Path) -> bool:
    return path.stat().st_uid not in {0, os.geteuid()}


def _hands(home: Home) -> Finding:
    found = sorted(path for path in home.hands.iterdir() if path.is_dir()) if home.hands.is_dir() else []
    if not found:
        told = "there are none: whoever trains does it as this user, who can sign"
        return Finding("hands", ok=False, needed=True, found=told, advice=_HOW)
    troubles = [f"hands/ can be written by others ({home.hands})"] if _modes_for_others(home.hands) & 0o022 else []
    for hand in found:
        status = hand.lstat()
        if status.st_uid in {0, os.geteuid()}:
            troubles.append(f"{hand.name} belongs to {_name(status.st_uid)}: it is no other user's")
        elif status.st_mode & 0o007:
            troubles.append(f"{hand.name} can be used by everybody")
        elif not os.access(hand / "spool", os.R_OK | os.W_OK | os.X_OK):
            troubles.append(f"{hand.name}: this user cannot take over from {hand / 'spool'}")
    told = "; ".join(troubles) or ", ".join(f"{hand.name} of {_name(hand.lstat().st_uid)}" for hand in found)
    return Finding("hands", not troubles, needed=True, found=told, advice=_HOW)


# Dagster ---------------------------------------------------------------------------------------------


def _code_locations() -> Iterator[Finding]:
    path = Path("workspace.yaml")
    if not path.is_file():
        yield Finding("code locations", ok=True, needed=False, found="no workspace.yaml in this folder")
        return
    import yaml  # type: ignore[import-untyped]  # comes with dagster

    try:
        entries = yaml.safe_load(path.read_text("utf-8"))["load_from"]
        servers = [entry.get("grpc_server") for entry in entries]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        yield Finding("code locations", ok=False, needed=True, found="workspace.yaml cannot be read")
        return
    for entry, server in zip(entries, servers, strict=True):
        yield _code_server(server) if isinstance(server, dict) else _started_by_dagster(entry)


def _started_by_dagster(entry: dict[str, object]) -> Finding:
    kind, details = next(iter(entry.items()))
    named = details.get("location_name") if isinstance(details, dict) else None
    found = f"{named or kind} is loaded by Dagster itself, as its user; a server of its own separates it"
    return Finding("code locations", ok=False, needed=True, found=found, advice=_HOW)


def _code_server(server: dict[str, object]) -> Finding:
    name, socket = str(server.get("location_name", "")), server.get("socket")
    if not isinstance(socket, str):
        found = f"{name} listens on port {server.get('port')}: any user of that machine can use it"
        advice = "give it a socket in a folder that only Dagster's user may enter"
        return Finding("code locations", ok=False, needed=True, found=found, advice=advice)
    path = Path(socket)
    with suppress(OSError):
        if os.access(path, os.W_OK) and path.stat().st_uid != os.geteuid():
            found = f"{name}: this user can use the server of {_name(path.stat().st_uid)}"
            return Finding("code locations", ok=False, needed=True, found=found, advice=_HOW)
    return Finding("code locations", ok=True, needed=True, found=f"{name} at {socket}")


# Files -----------------------------------------------------------------------------------------------


def _code() -> list[Path]:
    package = Path(__file__).parents[1]
    settings = Path(os.environ.get("DAGSTER_HOME") or ".", "dagster.yaml")  # it names classes to load
    here = [path for path in (*map(Path, _CODE), settings) if path.exists()]
    folders = [package, *(path for path in here if path.is_dir())]
    return [Path(sys.prefix), *here, package, *(path for folder in folders for path in folder.rglob("*.py"))]


def _private_keys(home: Home) -> list[Path]:
    """Return the folder of the keys, those in it that its mode does not protect, and those kept elsewhere."""
    named = [urlsplit(uri) for uri in (home.decision_key_uri, home.ledger_key_uri)]
    elsewhere = [Path(unquote(uri.path)) for uri in named if uri.scheme == "file"]
    inside = _below(home.keys) if home.keys.exists() and _modes_for_others(home.keys) & 0o011 else []
    return [home.keys, *inside, *(path for path in elsewhere if path.parent != home.keys)]


def _artifact_folders(home: Home) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in (home.artifacts / "sha256").iterdir() if path.is_dir())
    return []


def _below(folder: Path) -> list[Path]:
    """Return what is in a folder, as far as this user can see."""
    with suppress(OSError):
        return sorted(folder.rglob("*"))
    return []


def _replaceable(*paths: Path) -> list[Path]:
    """Return those of ``paths`` that this user can write, or put another file in place of."""
    found = []
    for path in paths:
        with suppress(OSError):
            around = path.resolve().parent
            there = around.stat()
            sticky = there.st_mode & stat.S_ISVTX and os.geteuid() not in {there.st_uid, path.stat().st_uid}
            if os.access(path, os.W_OK) or (os.access(around, os.W_OK | os.X_OK) and not sticky):
                found.append(path)
    return found


def _only_mine(group: int) -> bool:
    """Tell whether nobody else is in a group, as far as the system's lists say."""
    me = _name(os.geteuid())
    with suppress(KeyError):
        if set(grp.getgrgid(group).gr_mem) - {me}:
            return False
    if any(user.pw_gid == group and user.pw_uid != os.geteuid() for user in pwd.getpwall()):
        return False
    return group == os.getegid()


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _group(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(str(path) for path in paths[:_SHOWN]) + more
