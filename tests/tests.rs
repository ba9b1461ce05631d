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
// TLS towards clients: versions, and handshakes that hold nobody up.
mod tls;
// What upstreams in the field really send, and what a client must see of it.
mod zoo;
// Every upstream format: captures, cuts, and the page that is made from them.
mod formats;
// What is no stream: byte for byte, in constant memory, at the pace of the slower side.
mod passthrough;
// Heads both ways: hop-by-hop fields, who is told what, routes and paths.
mod headers;
// Credentials put in and taken out, client keys, and secrets that are never seen again.
mod auth;
// Everything that can go wrong with one upstream: what the client sees, what the log says.
mod outcomes;
// Clients that leave, and upstreams that are left within 100 ms.
mod disconnect;
// Signals: streams finish, or end with an error when the time is up.
mod drain;
// Connections that are used again, requests that are not sent twice.
mod retry;
// Commands, exit codes, messages, the ready line.
mod cli;
// The pure core names nothing that acts.
mod layering;
// Golden configurations: what `check` says to them.
mod config;
// config.toml.example: generated, complete, and showing the true defaults.
mod example;
// The READMEs: what they show works, in both languages.
mod readme;
