//! The log: set up once, one access line per request.
