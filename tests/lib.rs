//! Black-box tests: the built binaries over the real socket, with real third parties.
