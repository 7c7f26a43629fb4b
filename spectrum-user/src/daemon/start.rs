//! From a configuration to a running daemon, in the order in which nothing is ever half there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use spectrum_common::layout::Owner;
use tokio::sync::{mpsc, watch};

use super::{
    Call, GeoReport, OPERATOR, Source, Standing, View, Wishes, calls, geo,
    logins::{self, LOGIN},
    mitigation::Auto,
    protection::Watch,
    require,
    rules::with_kept_rules,
    samples::Samples,
    servers::Servers,
};
use crate::{
    config::Config,
    dataplane::{
        diagnostics::{Diagnostics, KernelLog},
        instance::{KernelInstance, Report},
        netlink::{InterfaceWatch, Netlink},
    },
    geo::Databases,
    listen::Listeners,
    model::{DesiredState, Node},
    proxy::{AccessRules, AppTable, Arrivals, Telemetry, Workers},
    rules::{Book, LeftOut},
    state,
    telemetry::{EventLog, Metrics},
};

/// Everything that runs.
pub struct Running {
    pub(super) source: Source,
    pub(super) node: Node,
    pub(super) geo: Arc<Databases>,
    pub(super) kernel: KernelInstance,
    pub(super) netlink: Netlink,
    pub(super) table: watch::Sender<Arc<AppTable>>,
    pub(super) telemetry: Telemetry,
    pub(super) workers: Workers,
    pub(super) samples: Samples,
    pub(super) diagnostics: Diagnostics,
    pub(super) interfaces: InterfaceWatch,
    pub(super) servers: Servers,
    pub(super) protection: Watch,
    pub(super) book: Book,
    /// Kept rules that mean nothing under this file.
    pub(super) left_out: Vec<LeftOut>,
    pub(super) auto: Auto,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) view: Arc<View>,
    pub(super) drain: Duration,
    /// A worker has ended by a bug.
    pub(super) failed: bool,
}

impl Running {
    pub fn events(&self) -> &EventLog {
        &self.telemetry.events
    }

    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The last steps: what the kernel holds, what listens, what is written.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self {
            mut kernel, netlink, servers, telemetry, samples, diagnostics, interfaces, protection, view, ..
        } = self;
        drop((samples, diagnostics, interfaces, view));
        servers.end().await;
        protection.end(&mut kernel, &telemetry.events);
        telemetry.events.close();
        kernel.release(&netlink).await?;
        Ok(())
    }
}

pub(super) async fn start(source: Source, kernel_log: KernelLog, wishes: &Wishes) -> anyhow::Result<Running> {
    let config = source.read()?;
    require()?;
    let mut desired = desired(&config)?;
    let geo = geo::find(&config, &Arc::default()).await?.databases;
    let node = config.node.clone();
    let (book, left_out) = with_kept_rules(&mut desired, &node)?;
    refuse_cutting_off(&desired, &geo, wishes)?;
    let netlink = Netlink::open().context("open netlink")?;
    let kernel = KernelInstance::open(&node.instance, Owner::Run, kernel_log.level())?;
    if kernel.adopted() {
        log::info!("took over the pins in {}", kernel.pins().directory().display());
    }
    let mut starting = Starting { kernel, netlink };
    match starting.serve(source, node, geo, desired, (book, left_out)).await {
        Ok(join) => {
            let running = join(starting);
            running.tell_rules();
            Ok(running)
        }
        Err(error) => {
            starting.undo().await;
            Err(error)
        }
    }
}

/// Refuses to cut off who starts this from a shell. A service manager has no connection, and a service that does not
/// start is worse for everybody else: then it is only told.
fn refuse_cutting_off(desired: &DesiredState, geo: &Databases, wishes: &Wishes) -> anyhow::Result<()> {
    let rules = AccessRules::new(&desired.rules);
    let standing = Standing { applications: &desired.applications, rules: &rules, table: &geo.table };
    if !wishes.force {
        standing.refuse(None, &desired.rules, &wishes.operator, OPERATOR)?;
    }
    for cut in standing.cut_off(None, &logins::addresses()) {
        log::warn!("{}", cut.message(&desired.rules, LOGIN));
    }
    Ok(())
}

/// The state that a configuration asks for on this host, with its addresses kept.
pub(super) fn desired(config: &Config) -> anyhow::Result<DesiredState> {
    Ok(state::desired_kept(config, &state::host_addresses()?)?)
}

/// What must be undone if a later step fails.
struct Starting {
    kernel: KernelInstance,
    netlink: Netlink,
}

/// Puts everything together once nothing can fail any more.
type Join = Box<dyn FnOnce(Starting) -> Running>;

impl Starting {
    async fn serve(
        &mut self,
        source: Source,
        node: Node,
        geo: Arc<Databases>,
        desired: DesiredState,
        (book, left_out): (Book, Vec<LeftOut>),
    ) -> anyhow::Result<Join> {
        let workers = worker_count(&node);
        let listeners = Listeners::bind(workers)?;
        report_limits(&listeners, &desired);
        let first = listeners.sockets.first().context("no worker")?;
        self.kernel.listen(first)?;
        let protection = Watch::begin(&node.instance, &mut self.kernel)?;
        let listening: SocketAddr = first.local_addr().context("the listening socket's address")?;

        let metrics = Metrics::new(workers);
        let events = EventLog::start(node.events.as_ref())?;
        let telemetry = Telemetry { metrics: metrics.clone(), events, arrivals: Arrivals::new(workers) };
        let table = Arc::new(AppTable::new(&desired, Arc::clone(&geo), None, &metrics));
        let (table, tables) = watch::channel(table);
        let workers = Workers::start(listeners.sockets, &tables, &telemetry)?;

        // Before the rules that ask it.
        let geo_bytes = self.kernel.set_geo(&geo.table, node.geo.memory)?;
        let report = self.kernel.reconcile(&desired, &self.netlink).await?;
        report_foreign(&report);
        self.kernel.attach(&node.filter, &self.netlink).await?;
        for attached in self.kernel.attached() {
            log::info!("XDP on {}: {}", attached.interface, attached.mode.as_str());
            if let Some(shortfall) = attached.shortfall() {
                log::warn!("{shortfall}");
            }
        }

        let samples = Samples::open(self.kernel.pins())?;
        let diagnostics = self.kernel.diagnostics()?;
        let interfaces = InterfaceWatch::open().context("watch the network interfaces")?;
        let (callers, calls) = calls::calls();
        let view = Arc::new(View::new(
            &node,
            self.kernel.pins(),
            metrics,
            telemetry.events.clone(),
            listening,
            self.kernel.attached(),
        )?);
        view.applied(Arc::new(desired), &report);
        view.geo(&geo, GeoReport::new(&geo, &node.geo, geo_bytes, None));
        let servers = Servers::start(&node, &view, &callers).await?;
        if let Some(socket) = servers.socket() {
            self.kernel.announce(socket)?;
        }
        view.set_ready(true);
        let drain = node.drain;
        Ok(Box::new(move |Self { kernel, netlink }| Running {
            source,
            node,
            geo,
            kernel,
            netlink,
            table,
            telemetry,
            workers,
            samples,
            diagnostics,
            interfaces,
            servers,
            protection,
            book,
            left_out,
            auto: Auto::default(),
            calls,
            view,
            drain,
            failed: false,
        }))
    }

    /// A start that failed leaves what it found: pins that were adopted keep filtering, new ones go.
    async fn undo(self) {
        let Self { kernel, netlink } = self;
        if kernel.adopted() {
            log::warn!(
                "the pins in {} were there before and stay: they keep filtering",
                kernel.pins().directory().display()
            );
            return;
        }
        if let Err(error) = kernel.remove(&netlink).await {
            log::warn!("the start that failed left something behind: {:#}", anyhow::Error::new(error));
        }
    }
}

pub(super) fn report_foreign(report: &Report) {
    for pool in &report.foreign_routes {
        log::warn!("another route makes pool {pool} local: it is used, and left alone when this ends");
    }
}

fn report_limits(listeners: &Listeners, desired: &DesiredState) {
    if let Some(somaxconn) = listeners.somaxconn {
        log::info!("net.core.somaxconn limits the listen backlog to {somaxconn}");
    }
    let wants_ipv6 = desired.applications.iter().flat_map(|app| &app.addresses).any(std::net::IpAddr::is_ipv6);
    if wants_ipv6 && !listeners.ipv6 {
        log::warn!("this kernel has no IPv6: the IPv6 edge addresses of the configuration are not served");
    }
}

/// One thread per core where the file does not say.
fn worker_count(node: &Node) -> usize {
    match node.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}
