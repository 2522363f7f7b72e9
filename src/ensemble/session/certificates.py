"""A certificate authority of one's own and a certificate of it, for a first set-up."""

from __future__ import annotations

__all__ = ["Certificates", "certificates", "make"]

import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ensemble.model.errors import InputError


class Certificates(NamedTuple):
    """A certificate authority and one certificate of it, each as PEM. The authority's own key is not kept."""

    authority: bytes
    certificate: bytes
    key: bytes


def certificates(names: Sequence[str], issuer: str, days: int = 365) -> Certificates:
    """Make a certificate for `names` (host names and addresses), valid for `days`, signed by an authority made for it.

    `issuer` is the name of the authority, for people.
    """
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer[:64])])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    end = begin + datetime.timedelta(days=days)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        return made.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)

    identity = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    authority = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identity, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    own = (
        builder(name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([_alternative(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificates(authority.public_bytes(pem), own.public_bytes(pem), secret)


def make(folder: Path, hosts: Sequence[str] = (), days: int = 365) -> None:
    """Write `ca.pem`, `server.pem` and `server.key` (0600). The CA's own key is not kept: it signs this once.

    Raises `InputError` when a file is there already or cannot be written.
    """
    names = list(hosts) or [socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    made = certificates(names, f"ensemble-server of {socket.gethostname()[:40]}", days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in (
            ("server.key", made.key),
            ("server.pem", made.certificate),
            ("ca.pem", made.authority),
        ):
            mode = 0o600 if file == "server.key" else 0o644
            with os.fdopen(os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                out.write(data)
    except FileExistsError as error:
        raise InputError(f"{error.filename} is there already; nothing was overwritten") from error
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
