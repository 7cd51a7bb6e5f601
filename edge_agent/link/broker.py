"""The broker as values: where it is, who we are to it, and in plain words why it would not have us.

Reads the password file and builds the TLS context, because both can be wrong before anything is sent. Talking to
the broker is left to `mqtt`.
"""

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.config.agent import MqttConfig
from edge_agent.errors import LinkError

CONNECT_TIMEOUT_S = 10.0
_PLAIN_PORT, _TLS_PORT = 1883, 8883


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """All that a connection needs. With `tls` the broker's certificate and name are always verified."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None  # None: the system's certificate authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 30

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def read_settings(config: MqttConfig) -> BrokerSettings:
    """The settings of a configuration, its password read from its file (one trailing line end is not part of it).

    Raises:
        LinkError: the password file cannot be read.
    """
    parts = urlsplit(config.url)
    tls = parts.scheme == "mqtts"
    return BrokerSettings(
        host=parts.hostname or "",
        port=parts.port or (_TLS_PORT if tls else _PLAIN_PORT),
        tls=tls,
        username=config.username,
        password=None if config.password_file is None else _read_password(config.password_file),
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
        keepalive_s=config.keepalive_s,
    )


def tls_context(settings: BrokerSettings) -> ssl.SSLContext:
    """A context that verifies the broker and shows our certificate where there is one.

    Raises:
        LinkError: a certificate or key file is missing or unusable.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise LinkError(
            f"the CA file {settings.ca_file} cannot be used: {_words(error)}",
            hint="it must hold the broker's certificate authority in PEM form",
        ) from error
    context.sslsocket_class = _HandshakeSocket
    if settings.cert_file is None:
        return context
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise LinkError(
            f"the client certificate {settings.cert_file} with key {settings.key_file} cannot be used: {_words(error)}",
            hint="both must be PEM files that belong together, the key without a passphrase",
        ) from error
    return context


def unreachable(settings: BrokerSettings, error: OSError | ValueError) -> LinkError:
    """Why there is no connection at all."""
    match error:
        case ssl.SSLCertVerificationError():
            text, hint = f"its certificate is not trusted: {error.verify_message}", _certificate_hint(settings, error)
        case ssl.SSLError():
            text = f"TLS failed: {error.reason or error}"
            hint = (
                "is this a TLS port? A broker that wants a client certificate needs --cert/--key (cert_file, key_file)"
            )
        case socket.gaierror():
            text, hint = "this name cannot be resolved", "check the host name and the network"
        case ConnectionRefusedError():
            text = "nothing listens there (connection refused)"
            hint = "is the broker running, and is the port right? mqtt:// means 1883, mqtts:// 8883 unless it is given"
        case TimeoutError():
            text = f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
            hint = "check the address and the firewall; a TLS port needs mqtts://, a plain one mqtt://"
        case ConnectionError():  # reset or cut off while shaking hands
            text = f"it closed the connection at once ({_words(error)})"
            hint = "a TLS port needs mqtts://, a plain one mqtt://; the broker's log says more"
        case _:
            text, hint = _words(error), "check the address and the network"
    return LinkError(f"cannot reach the broker {settings.url}: {text}", hint=hint)


def refused(settings: BrokerSettings, name: str) -> LinkError:
    """Why the broker answered our CONNECT with a no; `name` as MQTT 5 calls it."""
    who = f"user {settings.username!r}" if settings.username else "an anonymous user"
    hints = {
        "Bad user name or password": "check the user name and the password file",
        "Not authorized": "check the user name and the password file, and whether the broker allows this user at all",
        "Banned": "the broker has banned this client; ask its operator",
        "Client identifier not valid": "the broker does not like the device id as a client id; see its log",
        "Server unavailable": "the broker is there but not ready; try again",
    }
    hint = hints.get(name, "the broker's log says more")
    if not settings.username and "user name" in hint:
        hint = "this broker wants a user name and a password (--user, --password-file; username, password_file)"
    return LinkError(f"the broker {settings.url} refused {who}: {name.lower()}", hint=hint)


def closed_early(settings: BrokerSettings, reason: str) -> LinkError:
    """It took the connection and closed it without an answer: with TLS 1.3 that is how a certificate is refused."""
    if not settings.tls:
        hint = "is this a TLS port? Then use mqtts://; the broker's log says more"
    elif settings.cert_file is None:
        hint = "it probably wants a client certificate: pass --cert and --key (cert_file, key_file)"
    else:
        hint = (
            f"it probably does not accept the client certificate {settings.cert_file}: not signed by its CA, or revoked"
        )
    return LinkError(f"the broker {settings.url} closed the connection before answering ({reason})", hint=hint)


class _HandshakeSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the signature of the base class
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _read_password(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LinkError(
            f"the password file {path} cannot be read: {_words(error)}",
            hint="it must hold the password alone, readable for the user that runs this",
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _certificate_hint(settings: BrokerSettings, error: ssl.SSLCertVerificationError) -> str:
    message = error.verify_message.lower()
    if "mismatch" in message or "not valid for" in message:
        return f"the certificate is for another name than {settings.host!r}: use the name it was issued for"
    if "expired" in message or "not yet valid" in message:
        return "check the clock of this machine, then the certificate"
    return "pass the certificate authority that signed it with --ca (ca_file)"


def _no_passphrase() -> str:
    """OpenSSL would otherwise ask on the terminal, and a service has none."""
    raise ValueError("the key is protected by a passphrase")


def _words(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
