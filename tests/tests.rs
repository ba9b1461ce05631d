//! The program from outside: the real binary between a scripted upstream and raw clients.
#![expect(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "one test binary: a failed assumption is a failed test, and nothing is exported"
)]

mod support;

// The support code against itself: what everything below stands on.
mod harness;

// An event reaches the client before the next one exists, over every transport.
mod flush;
// Streams that leave without hyper, which no client can tell.
mod takeover;
// TLS towards clients: versions, and handshakes that hold nobody up.
mod tls;
// What upstreams in the field really send, and what a client must see of it.
mod zoo;
// Every upstream format: captures, cuts, and the page that is made from them.
mod formats;
// Every dialect: streams cut at every byte, errors told once, the first content, and the page made from the table.
mod dialects;
// What a route changes in events: end markers, cumulative text, size, pace.
mod shapes;
// What clients are written: lines, one answer put together, whole answers taken apart, and who gets which.
mod bridges;
// What each kind of client gets: profiles, forms of heartbeats, errors inside a stream.
mod profiles;
// What is no stream: byte for byte, in constant memory, at the pace of the slower side.
mod passthrough;
// Heads both ways: hop-by-hop fields, who is told what, routes and paths.
mod headers;
// Credentials put in and taken out, client keys, and secrets that are never seen again.
mod auth;
// Requests that no careful client sends, over HTTP/1.1: what the client sees, what goes up, what the log says.
mod malformed;
// The same over HTTP/2.
mod malformed_h2;
// Clients that take their time: named timeouts, bounded memory.
mod slow_clients;
// Counts, as a monitoring system reads them.
mod metrics;
// Clients that send, open or ask for more than anybody needs.
mod floods;
// Everything that can go wrong with one upstream: what the client sees, what the log says.
mod outcomes;
// Handshakes that end HTTP on a connection: what goes up, what comes back, what is refused.
mod upgrade;
// What follows an upgrade: bytes both ways, ends, timeouts, memory.
mod tunnel;
// Both directions of one exchange at the same time, and answers that come early.
mod duplex;
// Trailers, both ways.
mod trailers;
// Interim responses: what becomes of 1xx.
mod informational;
// HTTP/1.1 upstreams that are hostile or odd: one table.
mod hostile_upstreams;
// HTTP/2 upstreams that are hostile: one table, frame by frame.
mod hostile_upstreams_h2;
// Content codings that came unasked: decoded per flush, bounded, or passed.
mod encodings;
// Clients that leave, and upstreams that are left within 100 ms.
mod disconnect;
// Signals: streams finish, or end with an error when the time is up.
mod drain;
// Heads that are held back until something came, and heads that go before there is an answer.
mod heads;
// Connections that are used again, requests that are not sent twice.
mod retry;
// The unit as systemd reads it, what systemd is told, and the system calls that the unit allows.
mod systemd;
// Commands, exit codes, messages, the ready line.
mod cli;
// `tidegate demo`: messy before tidegate, clean behind it, and every line that it prints works.
mod demo;
// The pure core names nothing that acts.
mod layering;
// docs/security.md: its tables are the tests, its bounds the key table.
mod security;
// Golden configurations: what `check` says to them.
mod config;
// config.toml.example: generated, complete, and showing the true defaults.
mod example;
// docs/config.md and docs/errors.md: generated, complete, and true.
mod manual;
// The READMEs and the manual: what they show is typed, and works, in both languages.
mod readme;
// docs/clients.md, in both languages: the code is that of the tests, the configurations are valid.
mod clients_doc;
// The recipe for nginx, for real.
mod behind_nginx;
