//! What an operator asks of the key-service and the store without a running gateway: each command connects as the gateway
//! of its configuration does.

pub mod rewrap;
pub mod seal_secret;

use std::io;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::keys::{Directory, Keys, Unusable};
use crate::metrics::Metrics;

fn runtime() -> io::Result<Runtime> {
    // A second installation in one process changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Builder::new_current_thread().enable_all().build()
}

/// Must be called on the runtime.
fn keys(config: &Config) -> Result<Keys, Unusable> {
    let metrics = Metrics::new(&[], Counter::default());
    let directory = Arc::new(Directory::new(String::new()));
    Keys::connect(&config.keys, directory, metrics)
}
