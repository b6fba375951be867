"""Scenarios: SIPp as UE and as core around a real P-CSCF, and what must have been seen (`scenarios/README.md`)."""
