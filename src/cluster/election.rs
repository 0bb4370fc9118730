//! Which of several replicas does what only one is to do: the one that leads.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::MANAGER;
use super::lease::{Candidate, until};
use super::progress::Progress;

/// How long giving the lease back may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// This replica's run for the lease. Dropping it ends the run at once; the lease then lasts until it runs out.
#[derive(Debug)]
pub struct Election {
    leading: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    run: JoinHandle<()>,
}

impl Election {
    /// Runs for the lease in `namespace` as soon as the watches are in step: who leads has to know the world. Has to be
    /// called within a Tokio runtime.
    pub fn start(client: Client, namespace: &str, progress: Arc<Progress>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (leads, leading) = watch::channel(false);
        let candidate = Candidate::new(client, namespace, MANAGER);
        let run = tokio::spawn(async move {
            let mut stopping = stopped.clone();
            tokio::select! {
                () = progress.until_synced() => candidate.run(leads, stopped).await,
                () = until(&mut stopping) => {}
            }
        });
        Self { leading, stop, run }
    }

    /// Whether this replica leads, and every change of that.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Gives the lease back. Whoever did something as the leader has to have ended before.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        // It does not take long, and its failure is its own.
        let _ = tokio::time::timeout(PATIENCE, &mut self.run).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.run.abort();
    }
}
