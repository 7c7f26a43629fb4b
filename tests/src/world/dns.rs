//! A name server that says what it is told to, and counts who asks: on loopback of a namespace, over UDP and TCP.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{CNAME, SRV},
    },
};
use nix::mount::{MsFlags, mount};

use super::namespace::Namespace;
use crate::wait;

/// The running server; it ends with the process.
pub struct Dns(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    names: HashMap<String, Says>,
    asked: HashMap<String, usize>,
}

/// What it says of a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These, with this life in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// These; of the other family, that.
    Half(Vec<IpAddr>, u32, Box<Says>),
    /// Priority, weight, port, target.
    Services(Vec<(u16, u16, u16, &'static str)>, u32),
    /// It is another name for this one, of which is said what is said of it.
    Alias(&'static str, u32),
    /// The name is there, and has no such record.
    Nothing,
    NoSuchName,
    Failure,
    Refused,
    /// It does not answer.
    Silence,
}

/// More does not fit into a datagram: the rest is asked for over TCP.
const DATAGRAM: usize = 1232;

impl Dns {
    /// Starts it and makes it the namespace's resolver.
    pub fn start(namespace: &Namespace) -> Self {
        let server = Self::start_at(namespace, Ipv4Addr::LOCALHOST);
        // One attempt of a second: what a test waits for in vain, it waits for shortly.
        Self::configure(namespace, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        server
    }

    /// Starts one that nobody knows of.
    pub fn start_at(namespace: &Namespace, address: Ipv4Addr) -> Self {
        let book = Arc::<Mutex<Book>>::default();
        let (udp, tcp) = namespace.run(move || {
            let udp = UdpSocket::bind((address, 53)).expect("bind port 53");
            (udp, TcpListener::bind((address, 53)).expect("bind port 53"))
        });
        let (of_udp, of_tcp) = (Arc::clone(&book), Arc::clone(&book));
        thread::spawn(move || over_udp(&udp, &of_udp));
        thread::spawn(move || over_tcp(&tcp, &of_tcp));
        Self(book)
    }

    /// What programs of the namespace find in `/etc/resolv.conf`.
    pub fn configure(namespace: &Namespace, resolv_conf: &str) {
        replace(namespace, "resolv.conf", resolv_conf);
    }

    /// What they find in `/etc/hosts`.
    pub fn hosts(namespace: &Namespace, hosts: &str) {
        replace(namespace, "hosts", hosts);
    }

    pub fn say(&self, name: &str, says: Says) {
        self.book().names.insert(name.to_owned(), says);
    }

    pub fn say_addresses(&self, name: &str, addresses: &[IpAddr], ttl: u32) {
        self.say(name, Says::Addresses(addresses.to_vec(), ttl));
    }

    /// Waits for the next one.
    pub fn await_question(&self, name: &str) {
        let before = self.asked(name);
        wait::within(Duration::from_secs(90), || (self.asked(name) > before).then_some(())).expect("nobody asks");
    }

    /// How often a name was asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.book().asked.get(name).copied().unwrap_or(0)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("nobody panics with it")
    }
}

fn replace(namespace: &Namespace, name: &'static str, contents: &str) {
    // A file of its own each time: nothing can be mounted over one that is there no more.
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let file = namespace.write(&format!("{}.{name}", FILES.fetch_add(1, Relaxed)), contents);
    let none = None::<&str>;
    let place = format!("/etc/{name}");
    let mounted = namespace.run(move || mount(Some(&file), &*place, none, MsFlags::MS_BIND, none));
    mounted.unwrap_or_else(|error| panic!("put another {name} in the host's place: {error}"));
}

fn over_udp(socket: &UdpSocket, book: &Mutex<Book>) {
    let mut question = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        let Some(answer) = answer(&question[..length], book) else { continue };
        let bytes = answer.to_vec().expect("it can be written");
        let bytes = if bytes.len() > DATAGRAM { answer.truncate().to_vec().expect("it can be written") } else { bytes };
        drop(socket.send_to(&bytes, client));
    }
}

fn over_tcp(listener: &TcpListener, book: &Arc<Mutex<Book>>) {
    for client in listener.incoming().map_while(Result::ok) {
        let book = Arc::clone(book);
        thread::spawn(move || serve(client, &book));
    }
}

fn serve(mut client: TcpStream, book: &Mutex<Book>) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    loop {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut question)?;
        let Some(answer) = answer(&question, book) else { continue };
        let bytes = answer.to_vec().expect("it can be written");
        let length = u16::try_from(bytes.len()).expect("it fits into a message");
        client.write_all(&[&length.to_be_bytes(), &*bytes].concat())?;
    }
}

/// None: silence.
fn answer(question: &[u8], book: &Mutex<Book>) -> Option<Message> {
    let question = Message::from_vec(question).expect("resolvers ask in good order");
    let query = question.queries.first().expect("a question").clone();
    let mut name = query.name().clone();
    let mut says = {
        let mut book = book.lock().expect("nobody panics with it");
        *book.asked.entry(plain(&name)).or_default() += 1;
        book.says(&name)
    };
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    if let Some(edns) = question.edns.clone() {
        answer.set_edns(edns);
    }
    // As a resolver does it: with the records at the end of the aliases.
    while let Says::Alias(target, ttl) = says {
        let target = Name::from_ascii(format!("{target}.")).expect("a name");
        answer.add_answer(Record::from_rdata(name, ttl, RData::CNAME(CNAME(target.clone()))));
        says = book.lock().expect("nobody panics with it").says(&target);
        name = target;
    }
    fill(&mut answer, &name, query.query_type(), says)?;
    Some(answer)
}

impl Book {
    fn says(&self, name: &Name) -> Says {
        self.names.get(&plain(name)).cloned().unwrap_or(Says::NoSuchName)
    }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_lowercase()
}

fn fill(answer: &mut Message, name: &Name, kind: RecordType, says: Says) -> Option<()> {
    let record = |ttl, data| Record::from_rdata(name.clone(), ttl, data);
    match says {
        Says::Silence => return None,
        Says::Failure => answer.metadata.response_code = ResponseCode::ServFail,
        Says::Refused => answer.metadata.response_code = ResponseCode::Refused,
        Says::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
        Says::Half(addresses, ttl, other) => {
            let is_told = addresses.iter().any(|address| address.is_ipv6() == (kind == RecordType::AAAA));
            let says = if is_told { Says::Addresses(addresses, ttl) } else { *other };
            return fill(answer, name, kind, says);
        }
        Says::Addresses(addresses, ttl) => {
            for address in addresses {
                let data = match (address, kind) {
                    (IpAddr::V4(v4), RecordType::A) => RData::A(v4.into()),
                    (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(v6.into()),
                    _ => continue,
                };
                answer.add_answer(record(ttl, data));
            }
        }
        Says::Services(services, ttl) if kind == RecordType::SRV => {
            for (priority, weight, port, target) in services {
                let target = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))).expect("a name");
                answer.add_answer(record(ttl, RData::SRV(SRV::new(priority, weight, port, target))));
            }
        }
        Says::Nothing | Says::Services(..) | Says::Alias(..) => {}
    }
    Some(())
}
