"""Signed bundles: who signed is found by OpenSSH itself, and whatever was changed since is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import edgesnn
from edgesnn.bundle.signature import NAMESPACE, SIGNATURE_NAME, VARIABLE, require_signer, sign_bundle
from edgesnn.errors import BundleError, UsageError
from tests.support.bundles import shared_bundle

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")


def make_key(path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("maker", "other"):
        make_key(folder / name)
    (folder / "signers").write_text(f"build@example {(folder / 'maker.pub').read_text()}")
    return folder


@pytest.fixture
def bundle(tmp_path):
    return edgesnn.Bundle(shutil.copytree(shared_bundle(), tmp_path / "bundle"))


def test_a_signed_bundle_is_opened_and_its_signer_known(bundle, keys, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(keys / "signers"))
    with pytest.raises(BundleError, match="is not signed"):
        edgesnn.open_bundle(bundle.path)
    sign_bundle(bundle, keys / "maker")
    assert edgesnn.open_bundle(bundle.path).name == bundle.name
    assert require_signer(bundle, keys / "signers") == "build@example"
    # and by whoever has ssh-keygen alone
    command = ["ssh-keygen", "-Y", "verify", "-f", keys / "signers", "-I", "build@example", "-n", NAMESPACE]
    manifest = (bundle.path / "manifest.json").read_bytes()
    command += ["-s", bundle.path / SIGNATURE_NAME]
    assert subprocess.run(command, input=manifest, capture_output=True, check=False).returncode == 0


def test_a_signature_by_nobody_of_the_list_is_refused(bundle, keys):
    sign_bundle(bundle, keys / "other")
    with pytest.raises(BundleError, match="is signed by nobody of"):
        require_signer(bundle, keys / "signers")
    sign_bundle(bundle, keys / "maker")  # replaces it
    assert require_signer(bundle, keys / "signers") == "build@example"


def test_a_manifest_that_was_changed_with_its_files_is_found(bundle, keys, monkeypatch):
    sign_bundle(bundle, keys / "maker")
    manifest = bundle.path / "manifest.json"
    document = json.loads(manifest.read_text())
    document["name"] = "another"
    manifest.write_text(json.dumps(document))
    assert edgesnn.open_bundle(bundle.path).name == "another"  # hashes alone do not show it
    monkeypatch.setenv(VARIABLE, str(keys / "signers"))
    with pytest.raises(BundleError, match="is not of this manifest"):
        edgesnn.open_bundle(bundle.path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n", b"\x00" * 1000])
def test_damaged_signatures_are_refused(bundle, keys, content):
    (bundle.path / SIGNATURE_NAME).write_bytes(content)
    with pytest.raises(BundleError, match="signed by nobody of"):
        require_signer(bundle, keys / "signers")


def test_a_signature_for_another_purpose_is_refused(bundle, keys):
    manifest = (bundle.path / "manifest.json").read_bytes()
    command = ["ssh-keygen", "-Y", "sign", "-f", keys / "maker", "-n", "git"]
    signed = subprocess.run(command, input=manifest, capture_output=True, check=True).stdout
    (bundle.path / SIGNATURE_NAME).write_bytes(signed)
    with pytest.raises(BundleError, match="is not of this manifest"):
        require_signer(bundle, keys / "signers")


def test_students_that_carry_no_signature_are_refused_where_one_is_asked_for(keys, monkeypatch, edgesnn_here):
    monkeypatch.setenv(VARIABLE, str(keys / "signers"))
    ended = edgesnn_here("generate", "reference", "Hello")
    assert ended.exit_code == 1 and "carries no signature" in ended.stderr and "edgesnn sign" in ended.stderr


def test_the_command_signs_and_says_what_is_wrong(bundle, keys, tmp_path, edgesnn_here):
    ended = edgesnn_here("sign", bundle.path, "--key", keys / "maker", "--json")
    assert ended.exit_code == 0 and ended.document["signature"] == SIGNATURE_NAME
    assert require_signer(bundle, keys / "signers") == "build@example"
    assert edgesnn_here("sign", bundle.path, "--key", tmp_path / "none").exit_code == 2
    (tmp_path / "text").write_text("no key")
    ended = edgesnn_here("sign", bundle.path, "--key", tmp_path / "text")
    assert ended.exit_code == 2 and "does not sign" in ended.stderr


def test_a_list_that_is_missing_and_a_missing_program_are_errors(bundle, keys, monkeypatch):
    monkeypatch.setenv(VARIABLE, "nowhere")
    with pytest.raises(UsageError, match="names no file"):
        edgesnn.open_bundle(bundle.path)
    monkeypatch.setenv(VARIABLE, str(keys / "signers"))
    sign_bundle(bundle, keys / "maker")
    monkeypatch.setenv("PATH", str(Path(keys)))
    with pytest.raises(UsageError, match="need ssh-keygen"):
        edgesnn.open_bundle(bundle.path)
