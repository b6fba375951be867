"""The transports of Iq: whole H.248 messages over UDP, TCP and TLS (RFC 3525 Annex D), and over SCTP (H.248.4)."""
