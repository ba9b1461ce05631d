//! Which route a request takes: pure, over (host, method, path).
