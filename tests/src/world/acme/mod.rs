//! A certificate authority with an ACME directory (RFC 8555), small and strict: it really looks at what is shown to it, and
//! can be told to fail.
//!
//! It runs in this process, in the network namespace of the thread that starts it. Deliberately not here: revocation,
//! other identifiers than names, other account keys than ECDSA P-256.

mod authority;
mod book;
mod jws;
mod look;
mod serve;
pub mod shows;

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use authority::Authority;
use book::Book;
use tokio::{runtime::Builder, sync::oneshot};

/// The running directory; dropping it ends it.
pub struct Directory {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    authority: Authority,
    book: Mutex<Book>,
}

/// What it does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes the request and never answers.
    Hang,
    /// Status 500, without a problem document.
    Broken,
    /// Status 200, and not a word of JSON.
    Garbage,
    /// It says that the nonce is none.
    BadNonce,
    /// Too much was asked, come back after so many seconds.
    RateLimited(u64),
    /// Status 503, come back after so many seconds.
    Unavailable(u64),
}

/// Where a name is, for the directory: it asks no name server.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub address: IpAddr,
    /// 443 and 80, unless the test has no right to them.
    pub tls: u16,
    pub http: u16,
}

impl Directory {
    /// Port 0: any.
    pub fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("bind the directory's port");
        listener.set_nonblocking(true).expect("a listener need not block");
        let address = listener.local_addr().expect("it has an address");
        let authority = Authority::new(address.ip());
        let shared = Arc::new(Shared { address, authority, book: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve::serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        self.shared.url("directory")
    }

    /// PEM of its authority: for its own certificate and for those that it issues.
    pub fn root(&self) -> &str {
        self.shared.authority.root()
    }

    pub fn resolve(&self, host: &str, place: Place) {
        self.book().places.insert(host.to_owned(), place);
    }

    /// The next requests of this path, so many, meet this. Paths: `directory`, `nonce`, `account`, `order`, `orders/`,
    /// `authorization/`, `challenge/`, `finalize/`, `certificate/`.
    pub fn fail(&self, path: &'static str, fault: Fault, times: usize) {
        self.book().faults.push((path, fault, times));
    }

    /// Nothing fails any more.
    pub fn behave(&self) {
        self.book().faults.clear();
    }

    /// Certificates from now on are good for so long, from the moment that its clock shows: this machine's, moved ahead.
    pub fn issue(&self, life: Duration, ahead: Duration) {
        let mut book = self.book();
        (book.life, book.ahead) = (life, ahead);
    }

    /// Whether it takes its time before it looks at what is shown: orders stay open meanwhile.
    pub fn wait(&self, waits: bool) {
        self.book().waits = waits;
    }

    /// Of the newest order for this name.
    pub fn token(&self, host: &str) -> Option<String> {
        self.book().orders.iter().rev().find(|order| order.host == host).map(|order| order.token.clone())
    }

    /// Accounts need this binding from now on (RFC 8555, section 7.3.4).
    pub fn bind_accounts(&self, key_id: &str, key: &[u8]) {
        self.book().external = Some((key_id.to_owned(), key.to_vec()));
    }

    /// As after a loss of everything: nobody has an account.
    pub fn forget_accounts(&self) {
        self.book().accounts.clear();
    }

    /// How many requests there were of this path, however they ended.
    pub fn asked(&self, path: &str) -> usize {
        self.book().asked.get(path).copied().unwrap_or(0)
    }

    pub fn accounts(&self) -> usize {
        self.book().accounts.len()
    }

    /// Of the accounts, in their order.
    pub fn contacts(&self) -> Vec<Vec<String>> {
        self.book().accounts.values().map(|account| account.contact.clone()).collect()
    }

    pub fn issued(&self) -> usize {
        self.book().certificates.len()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }
}

impl Shared {
    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with it")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the directory has panicked");
        }
    }
}
