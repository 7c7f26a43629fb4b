//! The control socket and the metrics listener.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{Call, View};
use crate::{
    api::{self, Lasting},
    dataplane::lock::fresh_socket,
    model::Node,
};

/// Scrapers connect anew.
const SCRAPING: Lasting = Lasting::AtMost(Duration::from_mins(5));
/// How long the last answers may take to be written.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Sockets that nobody is answered on yet.
pub(super) struct Prepared {
    controls: Vec<Control>,
    metrics: Option<(SocketAddr, TcpListener)>,
}

/// A control socket that is not in its place yet: the place may still be a predecessor's.
struct Control {
    path: PathBuf,
    listener: UnixListener,
}

/// Running servers.
pub(super) struct Servers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// The connections that are open.
    open: TaskTracker,
    sockets: Vec<Socket>,
    /// Another descriptor of the listener for metrics.
    metrics: Option<(SocketAddr, OwnedFd)>,
    view: Arc<View>,
    callers: mpsc::Sender<Call>,
}

/// A socket's place, and which one it was when this process put it there.
struct Socket {
    path: PathBuf,
    inode: Option<u64>,
}

impl Prepared {
    /// Opens everything; `inherited` is a listener for metrics of a predecessor.
    pub(super) async fn new(node: &Node, inherited: Option<(SocketAddr, OwnedFd)>) -> anyhow::Result<Self> {
        let mut controls = Vec::new();
        for path in &node.api {
            controls.push(Control::bind(path).with_context(|| format!("listen on {}", path.display()))?);
        }
        let metrics = match (node.metrics, inherited) {
            (Some(wanted), Some((address, listener))) if wanted == address => {
                let listener = std::net::TcpListener::from(listener);
                Some((wanted, TcpListener::from_std(listener).context("take over the listener for metrics")?))
            }
            (Some(address), _) => {
                let listener = TcpListener::bind(address).await;
                Some((address, listener.with_context(|| format!("listen on {address} for metrics"))?))
            }
            (None, _) => None,
        };
        Ok(Self { controls, metrics })
    }

    /// Puts the sockets into their places, and answers.
    pub(super) fn serve(self, view: &Arc<View>, callers: &mpsc::Sender<Call>) -> anyhow::Result<Servers> {
        let Self { controls, metrics } = self;
        let mut servers = Servers {
            stop: watch::channel(false).0,
            tasks: Vec::new(),
            open: TaskTracker::new(),
            sockets: Vec::new(),
            metrics: None,
            view: Arc::clone(view),
            callers: callers.clone(),
        };
        for control in controls {
            servers.control(control)?;
        }
        if let Some((address, listener)) = metrics {
            servers.metrics = Some((address, listener.as_fd().try_clone_to_owned()?));
            servers.serve(listener, api::metrics_router(view), SCRAPING);
        }
        Ok(servers)
    }
}

impl Control {
    fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let fresh = fresh_socket(path);
        // The instance's lock is ours: whatever stands there belongs to a process that is gone.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        let control = Self { path: path.to_owned(), listener };
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660))?;
        Ok(control)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // It is not there any more once it is in its place.
        let _ = fs::remove_file(fresh_socket(&self.path));
    }
}

impl Servers {
    /// The socket takes its place: who connects meanwhile finds the one before or this one.
    fn control(&mut self, control: Control) -> anyhow::Result<()> {
        let path = control.path.clone();
        fs::rename(fresh_socket(&path), &path).with_context(|| format!("listen on {}", path.display()))?;
        self.sockets.push(Socket { inode: inode(&path), path });
        let router = api::control_router(&self.view, &self.callers);
        let fresh = control.listener.as_fd().try_clone_to_owned()?;
        drop(control);
        let listener = UnixListener::from_std(fresh.into())?;
        self.serve(listener, router, Lasting::Unbounded);
        Ok(())
    }

    fn serve(&mut self, listener: impl axum::serve::Listener, router: axum::Router, lasting: Lasting) {
        let (open, stop) = (self.open.clone(), self.stop.subscribe());
        self.tasks.push(tokio::spawn(api::serve(listener, router, lasting, open, stop)));
    }

    /// Where the command line finds this daemon.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.sockets.first().map(|socket| socket.path.as_path())
    }

    /// Another descriptor of the listener for metrics, and its address.
    pub(super) fn metrics(&self) -> io::Result<Option<(SocketAddr, OwnedFd)>> {
        let Some((address, listener)) = &self.metrics else { return Ok(None) };
        Ok(Some((*address, listener.try_clone()?)))
    }

    /// Puts new sockets where a successor that failed had put its own.
    pub(super) fn come_back(&mut self) -> anyhow::Result<()> {
        let taken: Vec<PathBuf> = self
            .sockets
            .extract_if(.., |socket| inode(&socket.path) != socket.inode)
            .map(|socket| socket.path)
            .collect();
        for path in taken {
            self.control(Control::bind(&path).with_context(|| format!("listen on {}", path.display()))?)?;
        }
        Ok(())
    }

    /// Takes away what a successor left that was killed before it put its sockets into their places.
    pub(super) fn tidy(&self) {
        for socket in &self.sockets {
            let _ = fs::remove_file(fresh_socket(&socket.path));
        }
    }

    /// Answers nobody new. The sockets' places are a successor's.
    pub(super) async fn leave(&mut self) {
        self.stop.send_replace(true);
        self.sockets.clear();
        self.metrics = None;
        for task in self.tasks.drain(..) {
            let _ = task.await;
        }
    }

    /// Waits for the last answers to be written, for as long as that takes usually.
    pub(super) async fn answered(self) {
        self.open.close();
        let _ = timeout(LAST_ANSWERS, self.open.wait()).await;
    }

    pub(super) async fn end(mut self) {
        self.tidy();
        let sockets = std::mem::take(&mut self.sockets);
        self.leave().await;
        for socket in sockets {
            let _ = fs::remove_file(socket.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}
