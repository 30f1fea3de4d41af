//! Test support: fault-injecting provider, proxy that delays, breaks and lies, conformance suite.
