//! From a configuration to a running daemon, in the order in which nothing is ever half there.

use std::sync::Arc;

use anyhow::Context as _;
use spectrum_common::layout::Owner;
use tokio::sync::watch;

use super::{
    Blocked, GeoReport, OPERATOR, Running, Source, Standing, View, Wishes,
    acme::Acme,
    calls, geo,
    logins::{self, LOGIN},
    mitigation::Auto,
    operators,
    protection::Watch,
    require,
    responders::{Looks, respond},
    rules::with_rules,
    samples::Samples,
    servers::Prepared,
    succession::{Draining, Succession},
    tls,
};
use crate::{
    config::Config,
    dataplane::{
        diagnostics::KernelLog,
        instance::{KernelInstance, Report},
        netlink::{InterfaceWatch, Netlink},
    },
    geo::Databases,
    handover::{Down, Program},
    listen::{Listeners, Sources},
    model::{AutoRules, DesiredState, Node},
    origins::Keeper,
    proxy::{AccessRules, AppTable, Arrivals, Telemetry, Workers},
    rules::{self, Book, Kept, LeftOut},
    state::{self, Assigned},
    telemetry::{EventLog, Metrics},
};

pub(super) async fn start(source: Source, kernel_log: KernelLog, wishes: &Wishes) -> anyhow::Result<Running> {
    let mut succession = Succession::begin().await?;
    match Box::pin(try_start(source, kernel_log, wishes, &mut succession)).await {
        Ok(mut running) => {
            running.tell_rules();
            running.predecessors = succession.serving().await;
            running.view.predecessors(running.predecessors.iter().map(Draining::seen).collect());
            Ok(running)
        }
        Err(error) => {
            succession.fail(&error);
            Err(error)
        }
    }
}

async fn try_start(
    source: Source,
    kernel_log: KernelLog,
    wishes: &Wishes,
    succession: &mut Succession,
) -> anyhow::Result<Running> {
    let program = Program::own().context("find out how this process was started")?;
    let config = source.read()?;
    require()?;
    succession.check(&config.node)?;
    let state::Plan { mut desired, assigned } = plan(&config)?;
    let geo = geo::find(&config, &Arc::default()).await?.databases;
    let node = config.node.clone();
    let auto = auto_rules(succession, &desired, &node);
    let (book, left_out) = with_rules(&mut desired, &node, &auto)?;
    refuse_cutting_off(&desired, &geo, wishes, succession)?;
    let netlink = Netlink::open().context("open netlink")?;
    let (owner, level) = (Owner::Run, kernel_log.level());
    let kernel = match succession.estate.lock.as_ref() {
        Some(lock) => KernelInstance::share(&node.instance, owner, level, lock.try_clone()?)?,
        None => KernelInstance::open(&node.instance, owner, level)?,
    };
    if kernel.adopted() && !succession.is_one() {
        log::info!("took over the pins in {}", kernel.pins().directory().display());
    }
    let mut starting = Starting { kernel, netlink, assigned };
    match starting.serve((source, program), node, geo, desired, (book, left_out), succession).await {
        Ok(join) => Ok(join(starting)),
        Err(error) => {
            if !succession.is_one() {
                starting.undo().await;
            }
            Err(error)
        }
    }
}

/// Rules that a predecessor made by itself, where this file wants any.
fn auto_rules(succession: &Succession, desired: &DesiredState, node: &Node) -> Vec<Kept> {
    if node.shield.auto.rules == AutoRules::Off {
        return Vec::new();
    }
    rules::unpack(&succession.estate.notes.auto_rules, &desired.zones, &node.geo).rules
}

/// Refuses to cut off who starts this from a shell, or who asked for the upgrade. A service manager has no connection, and a
/// service that does not start is worse for everybody else: then it is only told.
///
/// What a successor has inherited of a shell says where somebody was who started the first process, long ago.
fn refuse_cutting_off(
    desired: &DesiredState,
    geo: &Databases,
    wishes: &Wishes,
    succession: &Succession,
) -> anyhow::Result<()> {
    let rules = AccessRules::new(&desired.rules);
    let standing = Standing { applications: &desired.applications, rules: &rules, table: &geo.table };
    if succession.was_begun_by_one() {
        operators::refuse_cutting_off(&succession.estate.notes.operators, standing, &desired.rules)?;
    } else if !wishes.force {
        standing.refuse(&Blocked::default(), &desired.rules, &wishes.operator, OPERATOR)?;
    }
    for cut in standing.cut_off(&Blocked::default(), &logins::addresses()) {
        log::warn!("{}", cut.message(&desired.rules, LOGIN));
    }
    Ok(())
}

/// The state that a configuration asks for on this host, and the addresses to be kept with it.
pub(super) fn plan(config: &Config) -> anyhow::Result<state::Plan> {
    let mut plan = state::plan(config, &state::host_addresses()?)?;
    respond(&mut plan.desired, &config.node);
    Ok(plan)
}

/// What must be undone if a later step fails.
struct Starting {
    kernel: KernelInstance,
    netlink: Netlink,
    assigned: Assigned,
}

/// Puts everything together once nothing can fail any more.
type Join = Box<dyn FnOnce(Starting) -> Running>;

impl Starting {
    async fn serve(
        &mut self,
        (source, program): (Source, Program),
        node: Node,
        geo: Arc<Databases>,
        desired: DesiredState,
        (book, left_out): (Book, Vec<LeftOut>),
        succession: &mut Succession,
    ) -> anyhow::Result<Join> {
        let worker_count = worker_count(&node);
        let listeners = Listeners::inherit(std::mem::take(&mut succession.estate.listeners), worker_count)?;
        report_limits(&listeners, &desired);
        let address = listeners.address().context("the listening socket's address")?;
        let listening = listeners.duplicates().context("duplicate the listening sockets")?;
        let first = listening.first().context("no listening socket")?;
        let prepared = Prepared::new(&node, succession.estate.metrics.take()).await?;

        let metrics = Metrics::new(worker_count);
        let events = EventLog::start(node.events.as_ref())?;
        let telemetry = Telemetry { metrics: metrics.clone(), events, arrivals: Arrivals::new(worker_count) };
        let acme = Acme::of(&node);
        let (shared, store) = tls::open(&node, acme.as_ref());
        let table = Arc::new(AppTable::new(&desired, Arc::clone(&geo), &shared, None, &metrics));
        let (table, tables) = watch::channel(table);
        let sources = Sources::new(&node.sources);
        let keeper = Keeper::start(tables.clone(), sources.clone(), &node.state_dir.join("origins.json"))
            .context("start the thread that keeps origins")?;
        let workers = Workers::start(listeners.shares(worker_count), &tables, &telemetry, &sources)?;
        let mut protection = Watch::new(&node.instance);

        // From here on somebody would notice.
        succession.changing().await?;
        let kept = self.assigned.keep()?;
        self.kernel.listen(first)?;
        if !succession.is_one() {
            protection.begin(&node.instance, &mut self.kernel)?;
        }
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
            tables,
            address,
            self.kernel.attached(),
        )?);
        view.applied(Arc::new(desired), &report);
        view.geo(&geo, GeoReport::new(&geo, &node.geo, geo_bytes, None));

        match succession.ready().await? {
            Some(state) => protection.resume(&state),
            // It was killed, and has left everything as it was.
            None if succession.is_one() => {
                // Too late to fail for it.
                if let Err(error) = protection.begin(&node.instance, &mut self.kernel) {
                    log::error!("{error:#}");
                }
            }
            None => {}
        }
        let servers = prepared.serve(&view, &callers)?;
        if let Some(socket) = servers.socket() {
            self.kernel.announce(socket)?;
        }
        let (acme_keeper, wanted) = acme.map(|acme| acme.keep(&table.borrow())).transpose()?.unzip();
        if let (Some(keeper), Some(acme)) = (&acme_keeper, &node.tls.acme) {
            view.acme(keeper.reports(), acme.challenge);
        }
        let tls_keeper = tls::keep(&table.subscribe(), store, shared, &telemetry.events, wanted)?;
        kept.confirm();
        leave_out(&table.borrow(), &succession.estate.notes.down);
        workers.open();
        view.set_ready(true);
        let drain = node.drain;
        Ok(Box::new(move |Self { kernel, netlink, assigned }| Running {
            source,
            program,
            upgrade: None,
            successor: None,
            predecessors: Vec::new(),
            listening,
            node,
            geo,
            kernel,
            netlink,
            assigned,
            table,
            telemetry,
            workers,
            keeper,
            tls_keeper,
            acme_keeper,
            samples,
            diagnostics,
            interfaces,
            servers,
            protection,
            book,
            left_out,
            auto: Auto::default(),
            looks: Looks::default(),
            calls,
            view,
            drain,
            failed: false,
        }))
    }

    /// A start that failed leaves what it found: pins that were adopted keep filtering, new ones go.
    async fn undo(self) {
        let Self { kernel, netlink, .. } = self;
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

/// Origins that a predecessor found down are not found out about by this process's first clients.
fn leave_out(table: &AppTable, down: &[Down]) {
    for Down { application, origin } in down {
        if let Some(app) = application.parse().ok().and_then(|id| table.app(id)) {
            app.origins.leave_out(origin);
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
