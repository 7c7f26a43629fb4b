//! The file of an open challenge, on a port 80 that an application has (HTTP-01: RFC 8555, section 8.3).
//!
//! While an order is open, and only then, the first bytes of clients are looked at and left where they are: who asks for the
//! file gets it, and everybody else goes to the application, byte for byte.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    AppTable, EdgeAddr, connection::Connection, outcome::Failure, patience::unless_ended, responder::said, tls,
};
use crate::{
    model::AcmeChallenge,
    tls::{Challenged, Http01},
};

/// How long a client is waited for that has not said yet what it wants. A directory says it at once, and a client of a
/// protocol in which the origin speaks first waits for this long, while an order is open.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between looks at a request that is not whole. It is nearly always one segment.
const AGAIN: Duration = Duration::from_millis(10);
/// As much of a request as is looked at.
const MOST: usize = 8 << 10;

/// Who knows of the challenges, if a directory may come here for a file now.
pub(super) fn asked(table: &AppTable, edge: EdgeAddr) -> Option<Arc<dyn Challenged>> {
    if edge.port() != AcmeChallenge::Http01.port() {
        return None;
    }
    let challenged = table.tls().challenges.as_ref()?;
    challenged.has_file(&|host| table.is_of(host, edge.ip())).then(|| Arc::clone(challenged))
}

/// Fails with how it ended where the client was answered; else nothing was read of it.
pub(super) async fn answer(
    challenged: &dyn Challenged,
    connection: &Connection,
    client: &TcpStream,
) -> Result<(), Failure> {
    let looking = timeout(PATIENCE, look(challenged, client));
    let Ok(Some(file)) = unless_ended(connection, pin!(looking)).await? else { return Ok(()) };
    let failure = said(client, &file, Failure::Challenge);
    if !failure.resets_client() {
        tls::farewell(client).await;
    }
    Err(failure)
}

/// The file that the client asks for. None: it asks for something else, or its side broke, which whoever serves it finds out.
async fn look(challenged: &dyn Challenged, client: &TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; MOST];
    loop {
        // Readiness stays as it is where there are bytes, so that whoever reads them next need not wait for others.
        let length = client.peek(&mut bytes).await.ok().filter(|length| *length > 0)?;
        let seen = bytes.get(..length)?;
        if !challenged.may_begin_http01(seen) {
            return None;
        }
        match challenged.http01(seen) {
            Http01::Shown(file) => return Some(file),
            Http01::Refused(_) => return None,
            Http01::More => sleep(AGAIN).await,
        }
    }
}
