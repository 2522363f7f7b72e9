"""The cluster's certificate authority, certificates and kubeconfigs, made by openssl."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kubernetes_cluster.layout import Layout
from kubernetes_cluster.words import Failure

DAYS = "3650"
NO_DEFAULTS = "[req]\ndistinguished_name=subject\n[subject]\n"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files are `NAME.crt` and `NAME.key` in the cluster's `pki` folder."""

    layout: Layout
    name: str = "ca"

    def path(self, file: str) -> str:
        """The path of a file in the `pki` folder."""
        return str(self.layout.folder / "pki" / file)

    def create(self) -> None:
        """Make the authority's own certificate, unless it is there."""
        self._request(self.name, f"/CN=ensemble-{self.name}", ("basicConstraints=critical,CA:TRUE",))

    def issue(self, name: str, subject: str, addresses: tuple[str, ...] = ()) -> None:
        """Make a certificate for a client, and for a server at `addresses` (IP addresses or host names)."""
        names = ",".join(f"{'IP' if one.replace('.', '').isdigit() else 'DNS'}:{one}" for one in addresses)
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            f"extendedKeyUsage=clientAuth{',serverAuth' if addresses else ''}",
        ]
        if names:
            extensions.append(f"subjectAltName={names}")
        self._request(name, subject, tuple(extensions), "-CA", self.path(f"{self.name}.crt"), "-CAkey",
                      self.path(f"{self.name}.key"))  # fmt: skip

    def _request(self, name: str, subject: str, extensions: tuple[str, ...], *signed_by: str) -> None:
        if Path(self.path(f"{name}.crt")).exists():
            return
        words = [word for extension in extensions for word in ("-addext", extension)]
        openssl("req", "-x509", "-config", "/dev/stdin", "-days", DAYS, *KEY, "-subj", subject, *words, *signed_by,
                "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.crt"))  # fmt: skip

    def kubeconfig(self, file: Path, name: str) -> None:
        """Write a kubeconfig that holds the certificate `name`, complete in one file."""
        data = {key: base64.b64encode(Path(self.path(path)).read_bytes()).decode() for key, path in (
            ("authority", f"{self.name}.crt"), ("certificate", f"{name}.crt"), ("key", f"{name}.key"))}  # fmt: skip
        cluster = {"server": self.layout.server, "certificate-authority-data": data["authority"]}
        user = {"client-certificate-data": data["certificate"], "client-key-data": data["key"]}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "ensemble", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "ensemble", "context": {"cluster": "ensemble", "user": name}}],
            "current-context": "ensemble",
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(config, indent=2))


def signing_key(file: Path) -> None:
    """Make the key that signs the tokens of ServiceAccounts, unless it is there."""
    if not file.exists():
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(file))


def openssl(*words: str) -> None:
    """Run openssl, with no configuration of this machine's; raises `Failure` with its message."""
    done = subprocess.run(["openssl", *words], input=NO_DEFAULTS, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"openssl {words[0]} failed: {done.stderr.strip()}")
