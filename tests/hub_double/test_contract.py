"""The Hub double keeps to what the real huggingface_hub and transformers ask of a Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_double.client import point_at
from tests.hub_double.server import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def api(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    point_at(hub, hub.add_user("anna"), tmp_path / "hf", monkeypatch)
    return HfApi()


def commit(api: HfApi, repo: str, **files: bytes) -> str:
    operations = [CommitOperationAdd(name.replace("__", "."), data) for name, data in files.items()]
    return api.create_commit(repo, operations, commit_message="more").oid  # type: ignore[no-any-return]


def test_a_folder_goes_up_and_comes_down_whole_and_verified(api: HfApi, hub: Hub, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "README.md").write_text("---\nlicense: mit\n---\n# Ember\n")
    (source / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (source / "deep" / "empty.txt").write_text("")
    api.create_repo("anna/ember")
    made = api.upload_folder(repo_id="anna/ember", folder_path=source)
    came = Path(snapshot_download("anna/ember", local_dir=tmp_path / "came"))
    for file in ("README.md", "model.safetensors", "deep/empty.txt"):
        assert (came / file).read_bytes() == (source / file).read_bytes()
    checked = api.verify_repo_checksums("anna/ember", revision=made.oid, local_dir=came)
    assert (checked.mismatches, checked.missing_paths, checked.extra_paths) == ([], [], [])
    (came / "model.safetensors").write_bytes(b"\1" + (came / "model.safetensors").read_bytes()[1:])
    checked = api.verify_repo_checksums("anna/ember", revision=made.oid, local_dir=came)
    assert [wrong["path"] for wrong in checked.mismatches] == ["model.safetensors"]


def test_branches_tags_and_commits_are_revisions(api: HfApi) -> None:
    api.create_repo("anna/ember")
    first = commit(api, "anna/ember", words__txt=b"one")
    api.create_branch("anna/ember", branch="base-000004", revision=first)
    api.create_branch("anna/ember", branch="base-000004", exist_ok=True)
    api.create_tag("anna/ember", tag="ed-1", revision=first)
    second = commit(api, "anna/ember", words__txt=b"two")
    for revision, words in (("base-000004", "one"), ("ed-1", "one"), (first, "one"), ("main", "two")):
        assert Path(api.hf_hub_download("anna/ember", "words.txt", revision=revision)).read_text() == words
    assert [c.commit_id for c in api.list_repo_commits("anna/ember")][:2] == [second, first]
    refs = api.list_repo_refs("anna/ember")
    assert ({b.name for b in refs.branches}, {t.name for t in refs.tags}) == (
        {"main", "base-000004"},
        {"ed-1"},
    )


def test_a_commit_may_delete_and_changes_nothing_when_it_is_refused(api: HfApi, hub: Hub) -> None:
    api.create_repo("anna/ember")
    commit(api, "anna/ember", a__txt=b"a", b__txt=b"b")
    api.create_commit("anna/ember", [CommitOperationDelete("a.txt")], commit_message="less")
    before = hub.files("anna/ember")
    assert set(before) == {".gitattributes", "b.txt"}
    with pytest.raises(EntryNotFoundError):
        api.create_commit("anna/ember", [CommitOperationDelete("a.txt")], commit_message="less")
    hub.fail("POST", "/commit/", 403, message="over quota")
    with pytest.raises(HfHubHTTPError, match="over quota"):
        commit(api, "anna/ember", c__txt=b"c")
    with pytest.raises(ValueError, match="front matter"):
        commit(api, "anna/ember", README__md=b"---\n: :\n\tx\n---\n")
    assert hub.files("anna/ember") == before


def test_what_is_not_there_or_not_allowed_has_its_own_error(
    api: HfApi, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create_repo("anna/ember")
    api.create_repo("anna/secret", private=True)
    for call, error in (
        (lambda: api.model_info("anna/none"), RepositoryNotFoundError),
        (lambda: api.model_info("anna/ember", revision="none"), RevisionNotFoundError),
        (lambda: api.hf_hub_download("anna/ember", "none.txt"), EntryNotFoundError),
        (lambda: api.create_repo("berta/ember"), HfHubHTTPError),
        (lambda: api.create_repo("anna/ember"), HfHubHTTPError),
        (lambda: HfApi(token="hf_wrong").whoami(), HfHubHTTPError),
        (lambda: HfApi(token=hub.add_user("anna", writes=False)).create_repo("anna/x"), HfHubHTTPError),
        (lambda: HfApi(token=hub.add_user("berta")).model_info("anna/secret"), RepositoryNotFoundError),
    ):
        with pytest.raises(error):
            call()
    commit(api, "anna/ember", words__txt=b"one")
    api.update_repo_settings("anna/ember", gated="auto")
    with pytest.raises(GatedRepoError):
        HfApi(token=hub.add_user("berta")).hf_hub_download("anna/ember", "words.txt")


def test_injected_refusals_are_ridden_out_by_the_client(api: HfApi, hub: Hub) -> None:
    api.create_repo("anna/ember")
    hub.fail("PUT", "/lfs/", 503, times=2)
    hub.fail("POST", "/preupload/", 503)
    commit(api, "anna/ember", model__safetensors=b"weights")
    assert hub.files("anna/ember")["model.safetensors"] == b"weights"


def test_a_model_is_loaded_by_its_revision(api: HfApi, checkpoints: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    api.create_repo("anna/tiny")
    for age in ("base-000000", "base-000004"):
        api.create_branch("anna/tiny", branch=age)
        api.upload_folder(repo_id="anna/tiny", folder_path=checkpoints / "tiny" / age, revision=age)
        model = AutoModelForCausalLM.from_pretrained("anna/tiny", revision=age)
        local = AutoModelForCausalLM.from_pretrained(checkpoints / "tiny" / age)
        assert model.lm_head.weight.equal(local.lm_head.weight)
        assert AutoTokenizer.from_pretrained("anna/tiny", revision=age).encode("Hi")


def test_data_sets_spaces_and_collections_are_there_too(api: HfApi) -> None:
    api.create_repo("anna/talk", repo_type="dataset")
    api.create_repo("anna/site", repo_type="space", space_sdk="static")
    shelf = api.create_collection("Ember's life", exists_ok=True)
    assert api.create_collection("Ember's life", exists_ok=True).slug == shelf.slug
    for kind, name in (("dataset", "anna/talk"), ("space", "anna/site"), ("space", "anna/site")):
        api.add_collection_item(shelf.slug, name, kind, exists_ok=True)  # type: ignore[arg-type]
    assert [item.item_id for item in api.get_collection(shelf.slug).items] == ["anna/talk", "anna/site"]
    assert api.space_info("anna/site").sdk == "static"
