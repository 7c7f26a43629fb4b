//! The control socket and the metrics listener.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{Call, View};
use crate::{
    api::{self, Lasting},
    model::Node,
};

/// Scrapers connect anew.
const SCRAPING: Lasting = Lasting::AtMost(Duration::from_mins(5));

/// Running servers.
pub(super) struct Servers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl Servers {
    pub(super) async fn start(node: &Node, view: &Arc<View>, callers: &mpsc::Sender<Call>) -> anyhow::Result<Self> {
        let (stop, _) = watch::channel(false);
        let mut servers = Self { stop, tasks: Vec::new(), sockets: Vec::new() };
        for path in &node.api {
            servers.control(path, view, callers).with_context(|| format!("listen on {}", path.display()))?;
        }
        if let Some(address) = node.metrics {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("listen on {address} for metrics"))?;
            servers.serve(listener, api::metrics_router(view), SCRAPING);
        }
        Ok(servers)
    }

    fn control(&mut self, path: &PathBuf, view: &Arc<View>, callers: &mpsc::Sender<Call>) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        // The instance's lock is ours: whatever socket stands here belongs to a process that is gone.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        self.sockets.push(path.clone());
        self.serve(listener, api::control_router(view, callers), Lasting::Unbounded);
        Ok(())
    }

    fn serve(&mut self, listener: impl axum::serve::Listener, router: axum::Router, lasting: Lasting) {
        let mut stopped = self.stop.subscribe();
        self.tasks.push(tokio::spawn(async move {
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            tokio::select! {
                _ = api::serve(listener, router, lasting) => {}
                () = stop => {}
            }
        }));
    }

    /// Where the command line finds this daemon.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.sockets.first().map(PathBuf::as_path)
    }

    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
        for socket in self.sockets {
            let _ = fs::remove_file(socket);
        }
    }
}
