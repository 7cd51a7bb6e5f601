"""Fetching pictures by HTTP, as `still` and `stream` do it: standard library only, basic and digest passwords.

A redirect may lead to another http(s) address, but the password does not go along to another host. Proxies of the
environment are not used: cameras stand in the local network.
"""

import http.client
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import IO, cast
from urllib.parse import urlsplit, urlunsplit

from edge_agent.errors import SourceError

_AGENT = "edge-agent"
_BY_STATUS = {
    401: "give username and password_file",
    403: "this user may not see it; check username and password_file",
    404: "check the path in `url`",
}
_MAX_PASSWORD_BYTES = 4096


class Web:
    """Opens one URL, again and again."""

    def __init__(self, url: str, username: str | None, password_file: Path | None, timeout_s: float) -> None:
        self._url = url
        self._shown = shown(url)
        self._timeout_s = timeout_s
        self._opener = urllib.request.OpenerDirector()  # build_opener's would follow to ftp, too
        for handler in (
            urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
            urllib.request.UnknownHandler(),
        ):  # fmt: skip
            self._opener.add_handler(handler)
        if username is not None:
            passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            passwords.add_password(None, url, username, read_password(password_file))
            self._opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))
            self._opener.add_handler(_Digest(passwords))

    def open(self, headers: dict[str, str] | None = None) -> HTTPResponse | None:
        """The answer, its headers read. None: not modified. Close it.

        Raises:
            SourceError: it cannot be had now.
        """
        request = urllib.request.Request(self._url, headers={"User-Agent": _AGENT, **(headers or {})})  # noqa: S310  # http or https: the configuration is checked, and the opener knows no other
        try:
            return cast(HTTPResponse, self._opener.open(request, timeout=self._timeout_s))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.NOT_MODIFIED:
                return None
            hint = _BY_STATUS.get(error.code)
            raise SourceError(f"{self._shown} answers {error.code} {error.reason}", hint=hint) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise trouble(self._url, error) from error


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """Tries a password once: the library's own does so six times, upon which many a camera locks the user out."""

    def http_error_401(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> HTTPResponse | None:
        if req.has_header("Authorization"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        fp.close()  # which the library leaves open
        answer: HTTPResponse | None = super().http_error_401(req, fp, code, msg, headers)
        return answer


def trouble(url: str, error: Exception) -> SourceError:
    """What to say of a fetch or a read that has failed."""
    url = shown(url)
    reason = getattr(error, "reason", error)
    if isinstance(reason, SSLCertVerificationError):
        text = f"its certificate is not trusted: {reason.verify_message}"
        return SourceError(
            f"{url}: {text}", hint="install its certificate on this device, or use http:// in your network"
        )
    if isinstance(reason, TimeoutError):
        return SourceError(f"{url}: no answer in time", hint="is the camera on, and `url` right?")
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return SourceError(f"{url}: {text}", hint="is the camera on, and `url` right?")


def shown(url: str) -> str:
    """A URL as it may be told: what stands behind the ? may be a password, too."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def read_password(file: Path | None) -> str:
    """The first line of a file; without a file, an empty password.

    Raises:
        SourceError: it cannot be read.
    """
    if file is None:
        return ""
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_PASSWORD_BYTES)
        return content.decode("utf-8").split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        raise SourceError(
            f"{file}: {error.strerror or error}", hint="check `password_file` and who may read it"
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is not text in UTF-8", hint="put the password into its first line") from error
