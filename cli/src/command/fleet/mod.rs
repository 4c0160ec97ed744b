//! The words of fleets.

pub(crate) mod agent;
mod agent_file;
pub(crate) mod console;
pub(crate) mod deploy;
pub(crate) mod explain;
pub(crate) mod http;
pub(crate) mod invoke;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod models;
pub(crate) mod nodes;
pub(crate) mod policy;
pub(crate) mod scheduler;
pub(crate) mod stand;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod up;
mod watch;

use crate::{
    fleet::Client,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, runtime},
};

/// Does something with a connection to the scheduler; Ctrl-C ends it.
///
/// # Errors
/// Its own, or of the connection.
fn with_client<T>(work: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let interrupt = Interrupt::watch()?;
        let client = interrupt.unless(Client::connect()).await?;
        let done = interrupt.unless(work(&client)).await;
        client.leave().await;
        done
    });
    runtime.shutdown_timeout(SHUTDOWN);
    done
}
