//! The servers that stores are tested with: each on free ports of the loopback, in a folder of its own, gone with its value.

use crate::cases::Server;
use coordinator::store::Store;
use coordinator::store::memory::MemoryServer;
use std::sync::Arc;

/// No server at all.
pub(crate) struct Memory(MemoryServer);

impl Server for Memory {
    const RESTART_MAY_LACK: bool = true;

    async fn start() -> Memory {
        Memory(MemoryServer::default())
    }

    fn open(&self, domain: &str) -> Arc<dyn Store> {
        Arc::new(self.0.open(domain))
    }

    async fn kill(&mut self) {
        self.0.stop();
    }

    async fn restart(&mut self) {
        self.0.start();
    }
}
