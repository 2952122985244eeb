"""One authority, a certificate per component, and the kubeconfigs that hold them."""

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from barecluster.layout import NODES, SERVICE_ADDRESS

_LIFETIME = datetime.timedelta(days=365)
_API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


class Authority:
    """Signs, and writes what it signed into one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._name = _distinguished_name("barecluster")
        self._key = _write_key(directory / "ca.key")
        self.certificate = self._sign(self._name, self._key.public_key(), authority=True).public_bytes(Encoding.PEM)
        (directory / "ca.crt").write_bytes(self.certificate)

    def issue(
        self, name: str, user: str, group: str | None = None, hosts: Sequence[str] = (), addresses: Sequence[str] = ()
    ) -> None:
        """Writes NAME.crt and NAME.key for a user of the API; hosts and addresses make it a server's too."""
        key = _write_key(self._directory / f"{name}.key")
        alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        certificate = self._sign(_distinguished_name(user, group), key.public_key(), alternatives)
        (self._directory / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        alternatives: Sequence[x509.GeneralName] = (),
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))  # clocks that are set back
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if not authority:
            usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def make_certificates(directory: Path, api_addresses: Sequence[str]) -> None:
    """Everything a cluster needs; api_addresses are those the API server is reached by."""
    authority = Authority(directory)
    authority.issue("kube-apiserver", "kube-apiserver", hosts=_API_NAMES, addresses=(*api_addresses, SERVICE_ADDRESS))
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    authority.issue("admin", "admin", "system:masters")
    for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        authority.issue(component, f"system:{component}")
    for node in NODES:
        authority.issue(
            f"kubelet-{node.name}", f"system:node:{node.name}", "system:nodes", (node.name,), (node.address,)
        )
    service_accounts = _write_key(directory / "service-accounts.key").public_key()
    (directory / "service-accounts.pub").write_bytes(
        service_accounts.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def write_kubeconfig(path: Path, pki: Path, name: str, server: str, cluster: str) -> None:
    """A kubeconfig for the certificate NAME.crt, to the API server at this URL; readable by its owner only."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": _data(pki / "ca.crt")}}
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _data(pki / f"{name}.crt"),
                    "client-key-data": _data(pki / f"{name}.key"),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": name}}],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _distinguished_name(user: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)
