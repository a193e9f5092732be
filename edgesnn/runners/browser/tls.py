"""A certificate that lasts for one session, so that a phone may use what browsers keep for https."""

from __future__ import annotations

import datetime
import ipaddress
import ssl

from edgesnn.errors import missing_extra
from edgesnn.scratch import ScratchFolder

_DAYS = 2


def session_certificate(host: str) -> tuple[ssl.SSLContext, str]:
    """Make a self-signed certificate and a context that uses it; no key is kept.

    Args:
        host: Address or name that it is for.

    Returns:
        The context, and the certificate's SHA-256 fingerprint as browsers show it.

    Raises:
        MissingExtraError: ``cryptography`` is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise missing_extra("cryptography", "phone", "https for target 'browser'") from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgesnn, one session")])
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A phone's clock may be behind this computer's.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Python's ssl takes certificates from files only; the folder is private and gone at the end of the block.
    with ScratchFolder("tls") as scratch:
        path = scratch.path / "session.pem"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    digest = certificate.fingerprint(hashes.SHA256()).hex().upper()
    return context, ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
