//! The HTTP API's types and problem details; serde only.
