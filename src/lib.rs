//! tidegate

pub mod auth;
pub mod bridge;
pub mod codec;
pub mod config;
pub mod dialect;
pub mod format;
pub mod log;
pub mod proxy;
pub mod relay;
pub mod route;
pub mod server;
pub mod stream;
pub mod upstream;
