//! The command line of grantd and its client library.
