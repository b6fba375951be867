"""The one tree of errors.

Every error knows what the peer gets: a SIP status, or an H.248 error code. `hint` is for a person: what to do about it.

    PcscfError
    ├── SipError                    status, reason        (RFC 3261 §21)
    │   ├── MalformedMessage            400
    │   ├── VersionNotSupported         505
    │   ├── UnsupportedScheme           416
    │   ├── UnsupportedExtension        420  + Unsupported
    │   ├── TooManyHops                 483
    │   ├── LoopDetected                482
    │   ├── MessageTooLarge             513
    │   ├── NotRegistered               403
    │   ├── Forbidden                   403
    │   ├── UserUnknown                 404
    │   ├── FlowFailed                  430
    │   ├── DialogUnknown               481
    │   ├── BodyNotSupported            415  + Accept, Accept-Encoding
    │   ├── MalformedSdp                400
    │   ├── MediaNotAcceptable          488
    │   ├── SecurityAgreementRequired   494
    │   ├── RequestTimeout              408
    │   ├── TemporarilyUnavailable      480
    │   ├── RequestTerminated           487
    │   ├── RequestPending              491
    │   ├── BadAnswer                   502
    │   ├── NextHopTimeout              504
    │   ├── GatewayUnavailable          503  + Retry-After
    │   └── InternalFailure             500
    ├── H248Error                   code                  (H.248.8)
    │   └── H248SyntaxError             400/403/…, line, column
    └── ConfigError                 file, line
"""

from __future__ import annotations

from typing import ClassVar


class PcscfError(Exception):
    """Root of the tree. `what` says what is wrong; `hint` says what a person can do about it."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class SipError(PcscfError):
    """An error that ends a SIP request with `status` and `reason`; `what` travels in a Warning 399 (RFC 3261 §20.43)."""

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "Server Internal Error"

    request: object | None = None
    """Set by the SIP parser: what could be read of a request (pcscf.sip.message.Request), so that it can be answered."""

    def headers(self) -> list[tuple[str, str]]:
        """Header fields that the response must carry besides the Warning."""
        return []


class MalformedMessage(SipError):
    status, reason = 400, "Bad Request"


class VersionNotSupported(SipError):
    status, reason = 505, "Version Not Supported"


class UnsupportedScheme(SipError):
    status, reason = 416, "Unsupported URI Scheme"


class UnsupportedExtension(SipError):
    """`tokens`: the option tags of Proxy-Require that we do not know (RFC 3261 §16.3 step 5)."""

    status, reason = 420, "Bad Extension"

    def __init__(self, tokens: list[str]) -> None:
        super().__init__(f"extension not supported: {', '.join(tokens)}")
        self.tokens = tokens

    def headers(self) -> list[tuple[str, str]]:
        return [("Unsupported", ", ".join(self.tokens))]


class TooManyHops(SipError):
    status, reason = 483, "Too Many Hops"


class LoopDetected(SipError):
    status, reason = 482, "Loop Detected"


class MessageTooLarge(SipError):
    status, reason = 513, "Message Too Large"


class Forbidden(SipError):
    status, reason = 403, "Forbidden"


class NotRegistered(Forbidden):
    """A request of a UE that has no registration on this flow (TS 24.229 §5.2.6.3)."""


class UserUnknown(SipError):
    status, reason = 404, "Not Found"


class FlowFailed(SipError):
    """The flow of the binding is gone (RFC 5626 §5.3.1)."""

    status, reason = 430, "Flow Failed"


class DialogUnknown(SipError):
    status, reason = 481, "Call/Transaction Does Not Exist"


class BodyNotSupported(SipError):
    status, reason = 415, "Unsupported Media Type"

    def headers(self) -> list[tuple[str, str]]:
        return [("Accept", "application/sdp, multipart/mixed"), ("Accept-Encoding", "identity")]


class MalformedSdp(SipError):
    """`line` is the 1-based line of the session description that cannot be read."""

    status, reason = 400, "Bad Request"

    def __init__(self, what: str, *, line: int = 0, hint: str = "") -> None:
        super().__init__(f"SDP line {line}: {what}" if line else f"SDP: {what}", hint=hint)
        self.line = line


class MediaNotAcceptable(SipError):
    """No line of the offer can be honoured; the reason of the plan is the text of the Warning."""

    status, reason = 488, "Not Acceptable Here"


class SecurityAgreementRequired(SipError):
    """Security-Verify differs from what we sent (RFC 3329 §2.3.1).

    security_server: the unmodified list. require: the option tags that the UE itself used for the agreement.
    """

    status, reason = 494, "Security Agreement Required"

    def __init__(self, what: str, security_server: list[str], require: list[str]) -> None:
        super().__init__(what)
        self.security_server = security_server
        self.require = require

    def headers(self) -> list[tuple[str, str]]:
        return [("Require", ", ".join(self.require)), *(("Security-Server", entry) for entry in self.security_server)]


class RequestTimeout(SipError):
    status, reason = 408, "Request Timeout"


class TemporarilyUnavailable(SipError):
    status, reason = 480, "Temporarily Unavailable"


class RequestTerminated(SipError):
    status, reason = 487, "Request Terminated"


class RequestPending(SipError):
    status, reason = 491, "Request Pending"


class BadAnswer(SipError):
    """The far end answered with what cannot be read; the caller did nothing wrong."""

    status, reason = 502, "Bad Gateway"


class NextHopTimeout(SipError):
    status, reason = 504, "Server Time-out"


class GatewayUnavailable(SipError):
    """No gateway, a full one, or one that did not answer in time. `retry_after` in seconds."""

    status, reason = 503, "Service Unavailable"

    def __init__(self, what: str, *, retry_after: int = 5, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.retry_after = retry_after

    def headers(self) -> list[tuple[str, str]]:
        return [("Retry-After", str(self.retry_after))]


class InternalFailure(SipError):
    status, reason = 500, "Server Internal Error"


class H248Error(PcscfError):
    """An error that the H.248 peer gets as an Error descriptor with `code` (H.248.8)."""

    def __init__(self, code: int, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.code = code


class H248SyntaxError(H248Error):
    """Text that is not H.248. `line` and `column` count from 1. `transaction_id` is 0 while none was read.

    `in_reply`: it stands in a reply, a Pending or an acknowledgement, which is never answered (RFC 3525 §8.2.2).
    """

    def __init__(
        self, code: int, what: str, *, line: int, column: int, transaction_id: int = 0, in_reply: bool = False
    ) -> None:
        super().__init__(code, f"line {line}, column {column}: {what}")
        self.line = line
        self.column = column
        self.transaction_id = transaction_id
        self.in_reply = in_reply


class ConfigError(PcscfError):
    """A configuration that cannot be used: `file`, `line` (from 1, 0 = the whole file), what, and what to write instead."""

    def __init__(self, what: str, *, file: str = "", line: int = 0, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.what}" + (f"\n    {self.hint}" if self.hint else "")
