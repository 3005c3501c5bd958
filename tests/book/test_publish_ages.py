"""Ages go to the Hub, leave this machine only when every byte is there, and come back whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from book import publish_cli
from selves.cli import run_command
from selves.lineage import find_age, list_ages
from selves.settings import House
from tests.hub_double.client import environment, point_at
from tests.hub_double.server import Hub
from training import ages
from training.hub import may_write
from training.receipts import read_deleted, read_receipts

YOUNG, OLD, CHAT = "tiny@base-000004", "tiny@base-000016", "tiny@chat-000008"
AGES = ("base-000000", "base-000004", "base-000016", "chat-000008")
REPO = "anna/tiny"
Run = Callable[..., int]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def run(hub: Hub, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `selves publish` or `selves ages`, as anna, against the Hub of this test."""
    point_at(hub, hub.add_user("anna"), tmp_path / "hf", monkeypatch)
    monkeypatch.setenv("SELVES_HOME", str(house.home))
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "none.toml"))

    def call(command: str, *argv: str) -> int:
        return run_command({"publish": publish_cli.main, "ages": ages.main}[command], argv)

    return call


def here(house: House) -> list[str]:
    return [age.card.address for age in list_ages(house.checkpoints)]


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_age_is_a_revision_that_transformers_loads(run: Run, hub: Hub, house: House) -> None:
    from transformers import AutoModelForCausalLM

    assert run("publish", "ages", "tiny") == 0
    repo = hub.repo(REPO)
    assert repo.private
    assert set(repo.branches) == {"main", *AGES}
    for age in AGES:
        sent = hub.files(REPO, age)
        local = folder_bytes(house.checkpoints / "tiny" / age)
        assert {name: sent[name] for name in local} == local
        assert sent.keys() - local.keys() == {".gitattributes", "README.md"}
    model = AutoModelForCausalLM.from_pretrained(REPO, revision="base-000004")
    local = AutoModelForCausalLM.from_pretrained(house.checkpoints / "tiny" / "base-000004")
    assert model.lm_head.weight.equal(local.lm_head.weight)
    newest = AutoModelForCausalLM.from_pretrained(REPO)
    assert not newest.lm_head.weight.equal(local.lm_head.weight)


def test_cards_tell_what_an_age_is_and_hostile_words_stay_words(run: Run, hub: Hub) -> None:
    assert run("publish", "ages", "tiny") == 0
    card = hub.files(REPO, "base-000000")["README.md"].decode()
    assert 'revision="base-000000"' in card
    assert f"]({hub.url}/{REPO}/tree/main)" in card
    assert r"| bits per byte | 8\.000 |" in card
    assert "<script>" not in card
    assert "&lt;script&gt;" in card
    main = hub.files(REPO)["README.md"].decode()
    assert all(f"`{age}`" in main for age in AGES)
    assert "\u202e" not in main + hub.files(REPO, "base-000004")["README.md"].decode()
    manifest = json.loads(hub.files(REPO)["selves.json"])
    assert manifest["ages"][YOUNG]["commit"] == hub.repo(REPO).branches["base-000004"]
    assert "metrics.jsonl" in hub.files(REPO)


def test_publishing_again_sends_nothing_and_a_new_age_alone(run: Run, hub: Hub) -> None:
    assert run("publish", "ages", YOUNG, OLD) == 0
    before = dict(hub.repo(REPO).branches)
    hub.requests.clear()
    assert run("publish", "ages", YOUNG, OLD) == 0
    assert hub.repo(REPO).branches == before
    assert not [path for method, path in hub.requests if method == "PUT" or "/commit/" in path]
    assert run("publish", "ages", "tiny") == 0
    assert {name: hub.repo(REPO).branches[name] for name in ("base-000004", "base-000016")} == {
        name: before[name] for name in ("base-000004", "base-000016")
    }
    assert {"base-000000", "chat-000008"} <= set(hub.repo(REPO).branches)
    newest = hub.files(REPO)["model.safetensors"]
    assert newest == hub.files(REPO, "chat-000008")["model.safetensors"]
    assert run("publish", "ages", YOUNG) == 0
    assert hub.files(REPO)["model.safetensors"] == newest, "main stays the newest that is there"


def test_a_dry_run_asks_nobody(run: Run, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("publish", "ages", "tiny", "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["repo"], [row["revision"] for row in said["ages"]]) == ("YOU/tiny", list(AGES))
    assert not any(row["sent"] for row in said["ages"])
    assert hub.requests == []


def test_a_cut_connection_is_gone_on_from(run: Run, hub: Hub, house: House) -> None:
    hub.fail("POST", "/commit/base-000016", 503)
    assert run("publish", "ages", "tiny") == 1
    assert [r.what for r in read_receipts(house.checkpoints / "tiny")] == ["tiny@base-000000", YOUNG]
    put = [path for method, path in hub.requests if method == "PUT"]
    assert len(put) == 3
    assert run("publish", "ages", "tiny") == 0
    assert len([path for method, path in hub.requests if method == "PUT"]) == 4
    assert len(read_receipts(house.checkpoints / "tiny")) == 4


def test_a_commit_whose_answer_was_lost_is_not_made_twice(run: Run, hub: Hub, house: House) -> None:
    hub.fail("POST", "/commit/base-000004", 503, applied=True)
    assert run("publish", "ages", YOUNG) == 1
    assert read_receipts(house.checkpoints / "tiny") == []
    made = hub.repo(REPO).branches["base-000004"]
    assert run("publish", "ages", YOUNG) == 0
    assert hub.repo(REPO).branches["base-000004"] == made
    (receipt,) = read_receipts(house.checkpoints / "tiny")
    assert receipt.commit == made


@pytest.mark.parametrize(
    ("method", "pattern", "status", "message", "complaint"),
    [
        ("POST", "/commit/", 403, "You have exceeded your private storage limit", "make room on the Hub"),
        ("POST", "/repos/create", 403, "no rights", "use a token that may write there"),
        ("POST", "/preupload/", 429, "slow down", "asks for patience"),
        ("PUT", "/lfs/", 500, "oh", "run the same command again"),
        ("GET", "/whoami-v2", 401, "Invalid token", "the token is wrong or expired"),
        ("POST", "/commit/", 412, "changed", "somebody else changed it"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(
    run: Run,
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
    method: str,
    pattern: str,
    status: int,
    message: str,
    complaint: str,
) -> None:
    hub.fail(method, pattern, status, times=99, message=message)
    assert run("publish", "ages", YOUNG) == 1
    said = capsys.readouterr().err
    assert complaint in said
    assert "Traceback" not in said


def test_without_a_token_or_with_one_that_only_reads_nothing_is_made(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.add_user("anna", writes=False))
    assert run("publish", "ages", YOUNG) == 1
    assert "token" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    assert run("publish", "ages", YOUNG) == 1
    assert "there is no Hugging Face token" in capsys.readouterr().err
    assert hub.world.repos == {}


def test_a_hub_that_cannot_be_reached_is_said_plainly(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert run("publish", "ages", YOUNG) == 1
    assert "run the same command again" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run("publish", "ages", YOUNG) == 1
    assert "unset HF_HUB_OFFLINE" in capsys.readouterr().err
    for name in ("a/b/c", "anna/two words", "-x"):
        assert run("publish", "ages", YOUNG, f"--to={name}", "--dry-run") == 2
        assert "is no name of a repository" in capsys.readouterr().err
    assert hub.requests == []


def test_a_name_that_is_taken_is_not_written_over(
    run: Run, hub: Hub, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(REPO)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="poem.txt", repo_id=REPO)
    assert run("publish", "ages", "tiny") == 1
    assert "the name anna/tiny is taken: it holds poem.txt" in capsys.readouterr().err
    assert set(hub.repo(REPO).branches) == {"main"}
    assert run("publish", "ages", "tiny", "--to", "other") == 0
    card = house.checkpoints / "tiny" / "base-000004" / "age.json"
    said = json.loads(card.read_text()) | {"weights_sha256": "0" * 64}
    card.write_text(json.dumps(said))
    capsys.readouterr()
    assert run("publish", "ages", YOUNG, "--to", "other") == 1
    assert f"holds another {YOUNG} already" in capsys.readouterr().err


def test_a_damaged_age_is_not_sent(
    run: Run, hub: Hub, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(house.checkpoints / "tiny" / "base-000004" / "model.safetensors")
    assert run("publish", "ages", YOUNG) == 1
    assert "is damaged" in capsys.readouterr().err
    assert hub.world.big == {}


def test_an_age_on_the_hub_may_go_still_lists_and_comes_back(
    run: Run, hub: Hub, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = house.checkpoints / "tiny" / "base-000004"
    before = folder_bytes(folder)
    assert run("publish", "ages", "tiny") == 0
    assert run("ages", "prune", YOUNG, "--on-hub", "--read-back", "--yes") == 0
    assert not folder.exists()
    assert (house.checkpoints / "tiny" / ".away" / "base-000004" / "config.json").exists()
    capsys.readouterr()
    assert run("ages", "list") == 0
    assert f"(on the Hub: {REPO})" in capsys.readouterr().out
    assert run("ages", "show", YOUNG) == 1
    assert f"selves ages fetch {YOUNG}" in capsys.readouterr().err
    assert run("publish", "ages", "tiny") == 0
    assert "| `base-000004` | 0 | 7.000 |" in hub.files(REPO)["README.md"].decode().replace("\\", "")
    assert run("ages", "fetch", YOUNG) == 0
    assert folder_bytes(folder) == before
    find_age(house.checkpoints, YOUNG).verify()
    assert not (house.checkpoints / "tiny" / ".away" / "base-000004").exists()
    capsys.readouterr()
    assert run("ages", "list") == 0
    assert "on the Hub" not in capsys.readouterr().out


def test_what_was_never_published_does_not_go(
    run: Run, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    before = here(house)
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 1
    assert f"these were not published: {YOUNG}" in capsys.readouterr().err
    assert here(house) == before


def test_a_flipped_byte_keeps_an_age_here(
    run: Run, hub: Hub, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = house.checkpoints / "tiny" / "base-000004" / "model.safetensors"
    assert run("publish", "ages", "tiny") == 0
    good = weights.read_bytes()
    flip(weights)
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 1
    assert "is damaged" in capsys.readouterr().err
    weights.write_bytes(good)
    flip(house.checkpoints / "tiny" / "base-000004" / "age.json", at=-2, to=b" ")
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 1
    assert YOUNG in here(house)


def test_a_byte_flipped_on_the_hub_is_seen_by_reading_back(
    run: Run, hub: Hub, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("publish", "ages", "tiny") == 0
    sha256 = find_age(house.checkpoints, YOUNG).card.weights_sha256
    sent = hub.world.big[sha256]
    hub.world.big[sha256] = bytes([sent[0] ^ 1]) + sent[1:]
    assert run("ages", "prune", YOUNG, "--on-hub", "--read-back", "--yes") == 1
    assert "is not what was sent there" in capsys.readouterr().err
    assert YOUNG in here(house)
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 0
    assert run("ages", "fetch", YOUNG) == 1
    assert YOUNG not in here(house)
    hub.world.big[sha256] = sent
    assert run("ages", "fetch", YOUNG) == 0
    assert YOUNG in here(house)


def test_a_commit_that_is_gone_from_the_hub_keeps_an_age_here(run: Run, hub: Hub, house: House) -> None:
    assert run("publish", "ages", "tiny") == 0
    del hub.world.repos["model", REPO]
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 1
    assert YOUNG in here(house)


def test_an_upload_that_is_killed_leaves_everything_here_and_is_gone_on_from(
    run: Run, hub: Hub, house: House, tmp_path: Path
) -> None:
    before = {age: folder_bytes(house.checkpoints / "tiny" / age) for age in AGES}
    extra = environment(hub, hub.add_user("anna"), tmp_path) | {"SELVES_HOME": str(house.home)}
    with hub.held("PUT", "/lfs/") as arrived:
        child = subprocess.Popen(
            [sys.executable, "-m", "selves", "publish", "ages", "tiny"],
            env={**os.environ, **extra},
        )
        assert arrived.wait(240)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert {age: folder_bytes(house.checkpoints / "tiny" / age) for age in AGES} == before
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 1
    assert len(here(house)) == 4
    assert run("publish", "ages", "tiny") == 0
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 0


def test_what_nobody_sent_is_nobodys_to_delete(run: Run, hub: Hub) -> None:
    from huggingface_hub import HfApi

    assert run("publish", "ages", "tiny") == 0
    for revision in ("main", "base-000004"):
        HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="LICENSE", repo_id=REPO, revision=revision)
    assert run("publish", "ages", "tiny") == 0
    assert hub.files(REPO)["LICENSE"] == hub.files(REPO, "base-000004")["LICENSE"] == b"mine"


def test_what_the_newest_age_had_and_the_next_has_not_goes_from_main(
    run: Run, hub: Hub, house: House
) -> None:
    (house.checkpoints / "tiny" / "base-000016" / "extra.json").write_text("{}")
    assert run("publish", "ages", YOUNG, OLD) == 0
    assert "extra.json" in hub.files(REPO)
    assert run("publish", "ages", CHAT) == 0
    assert "extra.json" not in hub.files(REPO)
    assert "extra.json" in hub.files(REPO, "base-000016")
    assert not {"extra.json", "selves.json"} & hub.files(REPO, "chat-000008").keys()


def test_a_squashed_repository_of_somebody_is_taken(
    run: Run, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(REPO)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="poem.txt", repo_id=REPO)
    hub.repo(REPO).squash()
    assert run("publish", "ages", "tiny") == 1
    assert "the name anna/tiny is taken" in capsys.readouterr().err
    assert "poem.txt" in hub.files(REPO)


def test_an_age_comes_back_though_its_history_was_squashed(run: Run, hub: Hub, house: House) -> None:
    before = folder_bytes(house.checkpoints / "tiny" / "base-000004")
    assert run("publish", "ages", "tiny") == 0
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 0
    hub.repo(REPO).squash("base-000004")
    assert run("ages", "fetch", YOUNG) == 0
    assert folder_bytes(house.checkpoints / "tiny" / "base-000004") == before


def test_what_came_before_the_connection_was_cut_is_not_fetched_again(
    run: Run, hub: Hub, house: House
) -> None:
    before = folder_bytes(house.checkpoints / "tiny" / "base-000004")
    assert run("publish", "ages", "tiny") == 0
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 0
    (house.checkpoints / "tiny" / ".away" / "base-000004" / "tokenizer.json").unlink()
    hub.fail("HEAD", "tokenizer.json", 404)
    assert run("ages", "fetch", YOUNG) == 1
    assert YOUNG not in here(house)
    hub.requests.clear()
    assert run("ages", "fetch", YOUNG) == 0
    assert not [path for _, path in hub.requests if path.endswith("model.safetensors")]
    assert folder_bytes(house.checkpoints / "tiny" / "base-000004") == before


@pytest.mark.parametrize("name", [".notes", "folder"])
def test_what_was_not_sent_with_an_age_keeps_it_here(
    run: Run, house: House, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run("publish", "ages", YOUNG) == 0
    mine = house.checkpoints / "tiny" / "base-000004" / name
    mine.write_text("mine") if name == ".notes" else mine.mkdir()
    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 1
    assert "move it somewhere else first" in capsys.readouterr().err
    assert mine.exists()


def test_what_was_published_is_listed_and_put_into_a_collection(
    run: Run, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("publish", "ages", YOUNG, "--public", "--collection", "A life") == 0
    assert run("publish", "ages", YOUNG, "--collection", "A life") == 0
    assert not hub.repo(REPO).private
    (shelf,) = hub.world.collections.values()
    assert [item["id"] for item in shelf["items"]] == [REPO]
    capsys.readouterr()
    assert run("publish", "list", "--json") == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["what"], line["repo"], line["called_back"]) == (YOUNG, REPO, False)


def test_a_revision_is_taken_off_the_hub_but_no_age_that_is_there_alone(
    run: Run, hub: Hub, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = house.checkpoints / "tiny"
    assert run("publish", "ages", "tiny") == 0
    assert run("publish", "delete", "bert/tiny", "--yes") == 2
    assert run("publish", "delete", REPO, "--revision", "main", "--yes") == 2
    hub.fail("DELETE", r"/branch/", status=503, applied=True)
    assert run("publish", "delete", REPO, "--revision", "base-000000", "--yes") == 1, "nobody answered"
    assert run("publish", "delete", REPO, "--revision", "base-000000", "--yes") == 0, "it is gone already"
    assert set(hub.repo(REPO).branches) == {"main", *AGES} - {"base-000000"}
    assert [receipt.what for receipt in read_deleted(folder)] == ["tiny@base-000000"]
    assert "tiny@base-000000" not in {receipt.what for receipt in read_receipts(folder)}

    assert run("ages", "prune", YOUNG, "--on-hub", "--yes") == 0
    capsys.readouterr()
    assert run("publish", "delete", REPO, "--yes") == 1
    assert f"{YOUNG} is there alone" in capsys.readouterr().err
    assert run("ages", "fetch", YOUNG) == 0
    assert run("publish", "delete", REPO, "--yes") == 0
    assert hub.world.repos == {}
    assert read_receipts(folder) == []


def test_what_a_token_cannot_see_is_not_taken_for_gone(
    run: Run,
    hub: Hub,
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = house.checkpoints / "tiny"
    assert run("publish", "ages", YOUNG) == 0
    sent = read_receipts(folder)
    for token, why in ((hub.add_user("bert"), "may not write there"), (None, "no Hugging Face token")):
        point_at(hub, token, tmp_path / "hf", monkeypatch)
        assert run("publish", "delete", REPO, "--yes") == 1
        assert why in capsys.readouterr().err
        assert read_receipts(folder) == sent
    assert hub.repo(REPO)

    hub.world.repos.clear()
    point_at(hub, hub.add_user("anna", writes=False), tmp_path / "hf", monkeypatch)
    assert run("publish", "delete", REPO, "--yes") == 1
    point_at(hub, hub.add_user("anna"), tmp_path / "hf", monkeypatch)
    assert run("publish", "delete", REPO, "--yes") == 0, "its owner deleted it on its page"
    assert read_receipts(folder) == []


@pytest.mark.parametrize(
    ("namespace", "token", "may"),
    [
        ("anna", {"role": "write"}, True),
        ("club", {"role": "write"}, True),
        ("bert", {"role": "write"}, False),
        ("anna", {"role": "read"}, False),
        ("anna", ["repo.content.read", "repo.write"], True),
        ("anna", ["repo.content.read"], False),
        ("club", ["repo.write"], False),
    ],
)
def test_a_token_writes_where_its_owner_and_its_role_let_it(
    namespace: str, token: dict[str, str] | list[str], may: bool
) -> None:
    if isinstance(token, list):
        scopes = [{"entity": {"type": "user", "name": "anna"}, "permissions": token}]
        told: dict[str, object] = {"role": "fineGrained", "fineGrained": {"scoped": scopes}}
    else:
        told = {**token}
    who = {"name": "anna", "orgs": [{"name": "club"}], "auth": {"accessToken": told}}
    assert may_write(who, f"{namespace}/tiny") is may


def flip(file: Path, at: int = -1, to: bytes = b"") -> None:
    data = bytearray(file.read_bytes())
    data[at:] = (to or bytes([data[at] ^ 1])) + data[len(data) + at + 1 :]
    file.write_bytes(bytes(data))
