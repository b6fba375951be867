"""The codec of H.248 text in one place: see `decode` and `encode`."""

from pcscf.h248.decode import MAX_MESSAGE, decode_untrusted, is_known_header_untrusted
from pcscf.h248.encode import (
    encode_compact,
    encode_pretty,
    encode_request,
    write_actions,
    write_reply,
    write_reply_actions,
)
from pcscf.h248.usual import MAX_TRANSACTIONS
from pcscf.h248.values import MAX_NESTING

__all__ = [
    "MAX_MESSAGE",
    "MAX_NESTING",
    "MAX_TRANSACTIONS",
    "decode_untrusted",
    "encode_compact",
    "encode_pretty",
    "encode_request",
    "is_known_header_untrusted",
    "write_actions",
    "write_reply",
    "write_reply_actions",
]
