//! `spectrum unwrap`: beside an origin that reads no PROXY header, takes the header off and connects in the client's name.
//!
//! The service sees a connection from the client's own address, although it comes over loopback: the socket is bound to
//! that address (`IP_TRANSPARENT`), and a rule sends the service's answers back to this host (`way`). What Cloudflare's mmproxy does.
//!
//! Deliberately not here: the header's bytes (`proxy::header`), moving bytes (`proxy`), XDP, and the daemon: an origin
//! needs nothing else of this program.

mod keeper;
mod own;
mod read;
mod serve;
mod settings;
mod tally;
mod way;

use std::{rc::Rc, time::Duration};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{
    task::{JoinError, JoinSet, LocalSet},
    time::timeout,
};

pub use self::{
    keeper::{VERB as KEEPER, keep},
    settings::{InvalidServices, Services, Settings},
};
use self::{serve::Server, tally::Tally, way::Way};
use crate::{
    listen::{Accepted, Acceptor, Admission, Budget, plain_listening_socket},
    service::{Stop, notify},
};

/// Serves until SIGTERM or SIGINT, then lets open connections finish; a second signal ends them at once.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let budget = Budget::claim().context("cannot raise the limit of open files")?;
    let listener = plain_listening_socket(settings.listen).with_context(|| {
        format!("cannot listen on {}: give --listen an address and port of this host that is free", settings.listen)
    })?;
    let places = settings.connections.map_or(budget.connections, |wanted| wanted.get().min(budget.connections));
    let acceptor = Acceptor::new(vec![listener], Admission::new(places))?;
    let (listen, to, drain) = (settings.listen, settings.to, settings.drain);
    let server = Server::new(settings, Admission::new(budget.pipes)).context("cannot open a netlink socket")?;
    let way = Way::open(to.iter()).await?;
    notify(&[NotifyState::Ready]);
    log::info!("{listen} -> {to}, at most {places} connections");

    let server = Rc::new(server);
    let mut open = JoinSet::new();
    LocalSet::new()
        .run_until(async {
            accept(acceptor, &server, &mut open, &mut stop).await;
            finish(&mut open, drain, &mut stop).await;
        })
        .await;
    way.close().await
}

/// Until told to stop; what the kernel has accepted by then is served, too.
async fn accept(mut acceptor: Acceptor, server: &Rc<Server>, open: &mut JoinSet<()>, stop: &mut Stop) {
    loop {
        tokio::select! {
            biased;
            () = stop.told() => break,
            Some(ended) = open.join_next(), if !open.is_empty() => tell(ended),
            accepted = acceptor.accept() => take(accepted, server, open),
        }
    }
    acceptor.into_queued().for_each(|accepted| take(accepted, server, open));
}

fn take(accepted: Accepted, server: &Rc<Server>, open: &mut JoinSet<()>) {
    match accepted {
        Accepted::Connection(arrival) => {
            let server = Rc::clone(server);
            open.spawn_local(async move { server.serve(arrival).await });
        }
        Accepted::Shed(_) => server.tally.turned_away("every place is taken (--max-connections, LimitNOFILE=)"),
    }
}

/// One connection's bug ends that one alone, and is told.
fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        log::error!("a connection was reset by a bug of this program: {error}");
    }
}

/// Lets what is open finish, and resets what is left.
async fn finish(open: &mut JoinSet<()>, drain: Duration, stop: &mut Stop) {
    notify(&[NotifyState::Stopping]);
    log::info!("stopping: {} open connections have {} to finish", open.len(), humantime::format_duration(drain));
    tokio::select! {
        _ = timeout(drain, async {
            while let Some(ended) = open.join_next().await {
                tell(ended);
            }
        }) => {}
        () = stop.told() => {}
    }
    if !open.is_empty() {
        log::info!("{} connections are reset", open.len());
    }
    open.shutdown().await;
}
