"""Media security to the access edge: what was agreed, what is decided per m-line, and what becomes of the SDP. Pure."""
