"""The state of the source, from a real git."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ion.agent.code import code_state, project_of
from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.testing import committed_code

if TYPE_CHECKING:
    from pathlib import Path


def git(project: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", project, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "project" / "gov_assets" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "model.py").write_text("rate = 1\n")
    (tmp_path / "project" / "policies").mkdir()
    return tmp_path / "project"


def committed(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")


def test_without_git_the_digest_of_the_source_stands_in(project: Path) -> None:
    state = code_state(project, ("gov_assets",))
    assert (state["git"], state["files"]) == (False, 2)
    assert "commit" not in state
    (project / "gov_assets" / "inner" / "model.py").write_text("rate = 2\n")
    assert code_state(project, ("gov_assets",))["source_digest"] != state["source_digest"]


def test_the_lock_file_is_named_where_there_is_one(project: Path) -> None:
    assert "lock" not in code_state(project, ("gov_assets",))
    (project / "requirements").mkdir()
    (project / "requirements" / "main.txt").write_text("numpy==2.1.3\n")
    assert code_state(project, ("gov_assets",))["lock"] == digest_bytes(b"numpy==2.1.3\n")


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("https://user:secret@example.org/a/b.git?token=1", "https://example.org/a/b.git"),
        ("ssh://git@example.org:2222/a.git", "ssh://example.org:2222/a.git"),
        ("git@example.org:a/b.git", "ssh://example.org/a/b.git"),
        ("/srv/git/a.git", ""),
        ("../a.git", ""),
        ("file:///srv/git/a.git", ""),
        ("http://[::1", ""),
    ],
)
def test_the_remote_is_named_without_secrets_and_paths_of_the_machine(project: Path, remote: str, told: str) -> None:
    committed(project)
    assert "remote" not in code_state(project, ("gov_assets",))
    git(project, "remote", "add", "origin", remote)
    assert code_state(project, ("gov_assets",)).get("remote", "") == told


def test_who_wrote_the_commit_is_named(project: Path) -> None:
    assert "author" not in code_state(project, ("gov_assets",))
    committed(project)
    assert code_state(project, ("gov_assets",))["author"] == "test@example.invalid"


def test_a_committed_source_is_clean_and_a_changed_one_is_dirty(project: Path) -> None:
    committed(project)
    state = committed_code(project, "gov_assets")
    assert (state["git"], state["dirty"], len(str(state["commit"]))) == (True, False, 40)
    (project / "notes.txt").write_text("not source")
    assert code_state(project, ("gov_assets",))["dirty"] is False
    (project / "gov_assets" / "inner" / "model.py").write_text("rate = 2\n")
    assert code_state(project, ("gov_assets",))["dirty"] is True


@pytest.mark.parametrize("ignored", [False, True])
def test_a_new_file_makes_the_source_dirty_ignored_or_not(project: Path, *, ignored: bool) -> None:
    committed(project)
    if ignored:
        (project / ".gitignore").write_text("new.py\n")
        git(project, "add", ".gitignore")
        git(project, "commit", "-qm", "ignore")
    (project / "gov_assets" / "inner" / "new.py").write_text("rate = 3\n")
    assert code_state(project, ("gov_assets",))["dirty"] is True


def test_a_repository_without_a_commit_is_dirty(project: Path) -> None:
    git(project, "init", "-q")
    state = code_state(project, ("gov_assets",))
    assert (state["commit"], state["dirty"]) == ("", True)


def test_a_repository_git_cannot_be_asked_about_is_dirty_not_absent(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for "no git here", the source's digest would stand in for the commit, and be approved."""
    committed(project)
    monkeypatch.setenv("PATH", str(tmp_path))
    state = code_state(project, ("gov_assets",))
    assert (state["git"], state["dirty"]) == (True, True)


def test_the_variables_of_a_git_hook_do_not_mislead(project: Path, tmp_path: Path) -> None:
    committed(project)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    before = code_state(project, ("gov_assets",))
    os.environ["GIT_DIR"] = str(other / ".git")
    try:
        assert code_state(project, ("gov_assets",)) == before
    finally:
        del os.environ["GIT_DIR"]


def test_the_code_location_is_the_package_and_what_stands_beside_it(project: Path) -> None:
    (project / "gov_assets" / "inner" / "__init__.py").touch()
    assert project_of(project / "gov_assets" / "inner" / "model.py") == (project, ("gov_assets", "policies"))
    with pytest.raises(IonError) as caught:
        project_of(project / "gone.py")
    assert caught.value.code == "no-source"
