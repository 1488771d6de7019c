//! What this host shares with others: the coordinator, and the pools.
//!
//! Owns asking once whether there is a coordinator of this version, and whether a pool is likely a mistyped one. Changes nothing there.

use super::Row;
use crate::cli::client::Client;
use crate::cli::exit;
use crate::config::Config;
use crate::worker::lonely;
use coordinator::Coordinator as _;
use coordinator::Error;
use model::names::Pool;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// How long the coordinator may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks it.
pub(super) async fn rows(config: &Config, client: &Client) -> Vec<Row> {
    let row = |code, says| Row::of_host("coordinator", code, format!("{}: {says}", client.url()));
    let asked = async {
        client.coordinator().pauses().await?;
        lonely::pools(client.coordinator(), &config.host, &own(config)).await
    };
    match timeout(PATIENCE, asked).await {
        Err(_elapsed) => vec![row(exit::FAILED, format!("no answer within {PATIENCE:?}"))],
        Ok(Err(error)) => vec![row(exit::FAILED, told(&error))],
        Ok(Ok(lonely)) => {
            let mut rows = vec![row(exit::OK, "it answers".to_owned())];
            rows.extend(lonely.iter().map(|lonely| Row::of_host("pools", exit::OK, lonely.to_string()).warning()));
            rows
        }
    }
}

fn own(config: &Config) -> BTreeSet<Pool> {
    config.services.values().flat_map(|service| service.pools.clone()).collect()
}

/// What came, and what it means.
fn told(error: &Error) -> String {
    match error {
        Error::Corrupt(_) => format!("{error}; is that a lock server, and of this version?"),
        other => other.to_string(),
    }
}
