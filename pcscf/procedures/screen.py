"""What must not pass the edge, and what we vouch for (TS 24.229 §4.4 and §5.2.6, RFC 3325 §5, RFC 3329 §2.3.1)."""

from __future__ import annotations

from pcscf.errors import BodyNotSupported, MalformedMessage, SecurityAgreementRequired, UnsupportedExtension
from pcscf.mediasec.agree import OPTION_TAGS, Verdict, server_list, verify
from pcscf.mediasec.rewrite import without_e2ae
from pcscf.procedures.binding import Binding
from pcscf.sip.body import drop_body, edit_descriptions_untrusted
from pcscf.sip.headers import parse_name_addr
from pcscf.sip.message import Message, Request, Response
from pcscf.sip.uri import Uri, same_uri

NEVER_FROM_UE = frozenset({
    "p-asserted-identity", "p-preferred-identity", "p-charging-vector", "p-charging-function-addresses", "p-visited-network-id",
    "p-served-user", "p-profile-key", "p-early-media", "feature-caps", "response-source", "restoration-info",
    "attestation-info", "origination-id", "security-client", "security-verify", "security-server",
})
NEVER_TO_UE = frozenset({
    "p-charging-vector", "p-charging-function-addresses", "p-visited-network-id", "p-access-network-info",
    "security-server", "security-client", "security-verify",
})
KNOWN_EXTENSIONS = frozenset({"sec-agree", "mediasec", "path", "outbound", "gruu"})


def check_extensions(request: Request) -> None:
    """Refuse what Proxy-Require asks of us and we do not know (RFC 3261 §16.3 step 5). Raises UnsupportedExtension."""
    unknown = [tag for tag in request.values("Proxy-Require") if tag.lower() not in KNOWN_EXTENSIONS]
    if unknown:
        raise UnsupportedExtension(unknown)


def check_security_verify(request: Request, binding: Binding) -> None:
    """Compare Security-Verify of a request other than REGISTER with what this UE was sent (RFC 3329 §2.3.1).

    Raises SecurityAgreementRequired with the unmodified list. A UE that sends none is held by its registration alone.
    """
    entries = request.get_all("Security-Verify")
    if entries and tuple(entries) != binding.sent and verify(entries, list(binding.sent)) is not Verdict.MATCH:
        sent = list(binding.sent) or server_list(sorted(binding.agreed.net))
        raise altered_verify(request, sent)


def altered_verify(request: Request, security_server: list[str]) -> SecurityAgreementRequired:
    """The 494 for a Security-Verify that is not what we sent; its Require repeats the tags that the UE used."""
    tags = [tag.lower() for name in ("Require", "Proxy-Require") for tag in request.values(name)]
    used: list[str] = [tag for tag in sorted(OPTION_TAGS) if tag in tags]
    return SecurityAgreementRequired(
        "Security-Verify is not what this registration was told", security_server, used or ["sec-agree"])


def strip_from_ue(request: Request) -> None:
    """Remove what a UE cannot say to the core, and the option tags of our own agreement with it."""
    request.remove_all(NEVER_FROM_UE)
    strip_agreement_tags(request)


def strip_to_ue(message: Message) -> None:
    """Remove what the trust domain keeps to itself."""
    message.remove_all(NEVER_TO_UE)
    if not message.has("Privacy"):
        return
    if "id" in {value.strip().lower() for line in message.get_all("Privacy") for value in line.split(";")}:
        message.remove("P-Asserted-Identity")


def strip_agreement_tags(request: Request) -> None:
    """Take sec-agree and mediasec out of Require and Proxy-Require; a field left empty goes (RFC 3329 §2.3.1)."""
    for name in ("Require", "Proxy-Require"):
        if not request.has(name):
            continue
        tags = request.values(name)
        kept = [tag for tag in tags if tag.lower() not in OPTION_TAGS]
        if len(kept) != len(tags):
            request.set_values(name, [", ".join(kept)] if kept else [])


def strip_e2ae(message: Message) -> None:
    """Take 3ge2ae out of descriptions that nobody negotiates, as in OPTIONS (RFC 3264 §9): it is between UE and edge alone.

    All else stays octet by octet. Raises BodyNotSupported where a description that has it may be hidden.
    """
    if message.body and b"3ge2ae" in message.body.lower():
        edit_descriptions_untrusted(message, without_e2ae)


def strip_e2ae_of_response(response: Response) -> None:
    """The same for what cannot be refused: a body that may hide it goes as a whole."""
    try:
        strip_e2ae(response)
    except BodyNotSupported:
        drop_body(response)


def asserted_identity(request: Request, binding: Binding) -> str:
    """The identity we vouch for: preferred if registered, else that of From if registered, else the default (RFC 3325 §5).

    Looked at before `strip_from_ue`. "" when the registrar named none.
    """
    hints = [*request.values("P-Preferred-Identity"), *request.values("P-Asserted-Identity"), *request.values("From")]
    for hint in hints:
        registered = registered_identity(hint, binding)
        if registered:
            return registered
    return binding.identities[0] if binding.identities else ""


def registered_identity(hint: str, binding: Binding) -> str:
    """The registered identity that `hint`, an address of the UE's, names; "" where it names none. Raises MalformedMessage."""
    wanted = parse_name_addr(hint).uri_parsed
    for identity in binding.identities:
        if _names(identity, wanted):
            return identity
    return ""


def _names(identity: str, wanted: Uri) -> bool:
    try:
        return same_uri(parse_name_addr(identity).uri_parsed, wanted)
    except MalformedMessage:
        return False   # what the registrar wrote is not the UE's fault
