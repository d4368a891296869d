//! The key-service, seen from outside: one binary, one file per behaviour.
