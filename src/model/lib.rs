//! The words of grantd as types: pure, no I/O, no clock.
