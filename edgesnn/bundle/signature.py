"""Who made a bundle: OpenSSH signatures of its manifest, which has the hash of every other file.

Keys, agents and lists of signers are those that people already sign commits with: ``ssh-keygen -Y`` (OpenSSH
8.2 or newer) signs and verifies, and ``man ssh-keygen`` describes the list under ALLOWED SIGNERS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from edgesnn.bundle.bundle import MANIFEST_NAME, Bundle
from edgesnn.errors import BundleError, UsageError
from edgesnn.scratch import ScratchFolder
from edgesnn.whole_files import write_whole

SIGNATURE_NAME = f"{MANIFEST_NAME}.sig"
#: Names a list of signers: while it is set, nothing is run that none of them signed.
VARIABLE = "EDGESNN_ALLOWED_SIGNERS"
#: What a signature is for; one made for anything else is refused.
NAMESPACE = "edgesnn-bundle"
INSTALL = "install it: apt install openssh-client"


def sign_bundle(bundle: Bundle, key: Path) -> Path:
    """Sign a bundle's manifest.

    Args:
        bundle: The bundle; its hashes were verified when it was opened.
        key: A private SSH key, or the public half of one that ssh-agent holds. ssh-keygen asks for a
            passphrase itself.

    Returns:
        The signature's file, ``manifest.json.sig`` in the bundle; one that was there is replaced.

    Raises:
        UsageError: The key is missing or cannot sign, or there is no ssh-keygen.
        OutputError: The file cannot be written.
    """
    if not key.is_file():
        raise UsageError(
            f"there is no key '{key}'", remedy="ssh-keygen -t ed25519 -f FILE makes one, or name yours"
        )
    manifest = (bundle.path / MANIFEST_NAME).read_bytes()
    done = _keygen("sign", "-f", str(key), "-n", NAMESPACE, given=manifest)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise UsageError(
            f"the key '{key}' does not sign",
            actual=_last(done.stderr),
            remedy="name a private key, or a public one whose private half ssh-agent holds",
        )
    write_whole(bundle.path / SIGNATURE_NAME, done.stdout)
    return bundle.path / SIGNATURE_NAME


def allowed_signers() -> Path | None:
    """The list of signers that `VARIABLE` names, or None where nothing has to be signed.

    Raises:
        UsageError: It names no file.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    if not Path(named).is_file():
        raise UsageError(f"{VARIABLE} names no file", actual=named)
    return Path(named)


def require_signer(bundle: Bundle, signers: Path) -> str:
    """Who signed a bundle.

    Args:
        bundle: The bundle.
        signers: A list as OpenSSH has it: a name, then a key, a line each.

    Returns:
        The name that the list has for the key.

    Raises:
        BundleError: It is not signed, or by no one of the list, or was changed since.
        UsageError: There is no ssh-keygen.
    """
    manifest = (bundle.path / MANIFEST_NAME).read_bytes()
    try:
        signature = (bundle.path / SIGNATURE_NAME).read_bytes()
    except OSError:
        raise BundleError(
            f"bundle '{bundle.path}' is not signed",
            limit=f"a signature by one of '{signers}' ({VARIABLE})",
            remedy="edgesnn sign BUNDLE --key FILE",
        ) from None
    with ScratchFolder("signature") as scratch:  # what was read is what is looked at
        kept = scratch.path / SIGNATURE_NAME
        kept.write_bytes(signature)
        names = _keygen("find-principals", "-s", str(kept), "-f", str(signers), given=manifest)
        found = names.stdout.decode("utf-8", "replace").splitlines()
        if names.returncode != 0 or not found:
            raise BundleError(
                f"bundle '{bundle.path}' is signed by nobody of '{signers}'", actual=_last(names.stderr)
            )
        arguments = ("-f", str(signers), "-I", found[0], "-n", NAMESPACE, "-s", str(kept))
        done = _keygen("verify", *arguments, given=manifest)
    if done.returncode != 0:
        raise BundleError(
            f"the signature of bundle '{bundle.path}' is not of this manifest",
            actual=_last(done.stdout) or _last(done.stderr),
            remedy="get the bundle again, or sign it anew after you looked at what changed",
        )
    return found[0]


def _keygen(what: str, *arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UsageError("signatures need ssh-keygen, which is not here", remedy=INSTALL)
    return subprocess.run([program, "-Y", what, *arguments], input=given, capture_output=True, check=False)


def _last(output: bytes) -> str | None:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else None
