//! Requests and answers of the directory (RFC 8555, section 7).

use std::{convert::Infallible, future::pending, net::TcpListener, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{
    Fault, Shared,
    book::{Account, End, KINDS, Order, Shown, token},
    jws::{Key, Signed, decode},
    look::look,
};

const NONCE: &str = "replay-nonce";

type Answer = Response<Full<Bytes>>;

/// A refusal: status, type, detail.
struct No(u16, &'static str, String);

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.authority.tls));
    // Dropping it ends them.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(request, &shared).await) }
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let fault = shared.book().fault(&path);
    let answered = match fault {
        Some(fault) => fail(fault).await,
        None => route(request, &path, shared).await,
    };
    let mut answer = answered.unwrap_or_else(|No(status, kind, detail)| {
        let problem =
            json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status });
        json_answer(status, &problem)
    });
    let nonce = shared.book().nonce().parse().expect("a nonce is ASCII");
    answer.headers_mut().insert(NONCE, nonce);
    answer
}

async fn fail(fault: Fault) -> Result<Answer, No> {
    let later = |seconds: u64, mut answer: Answer| {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        Ok(answer)
    };
    let kind =
        |kind: &str| json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "as the test wants" });
    match fault {
        Fault::Hang => pending().await,
        Fault::Broken => Ok(plain(500, "<html>broken</html>")),
        Fault::Garbage => Ok(plain(200, "\u{1}<html>")),
        Fault::BadNonce => Err(No(400, "badNonce", "as the test wants".to_owned())),
        Fault::RateLimited(seconds) => later(seconds, json_answer(429, &kind("rateLimited"))),
        Fault::Unavailable(seconds) => later(seconds, plain(503, "busy")),
    }
}

async fn route(request: Request<Incoming>, path: &str, shared: &Arc<Shared>) -> Result<Answer, No> {
    match (request.method(), path) {
        (&Method::GET, "directory") => Ok(json_answer(200, &directory(shared))),
        (&Method::HEAD, "nonce") => Ok(plain(200, "")),
        (&Method::POST, _) => post(request, path, shared).await,
        _ => Err(No(405, "malformed", "another method".to_owned())),
    }
}

fn directory(shared: &Shared) -> Value {
    let is_bound = shared.book().external.is_some();
    json!({
        "newNonce": shared.url("nonce"),
        "newAccount": shared.url("account"),
        "newOrder": shared.url("order"),
        "revokeCert": shared.url("revoke"),
        "keyChange": shared.url("key"),
        "meta": { "externalAccountRequired": is_bound },
    })
}

async fn post(request: Request<Incoming>, path: &str, shared: &Arc<Shared>) -> Result<Answer, No> {
    if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != "application/jose+json") {
        return Err(No(415, "malformed", "the body must be application/jose+json".to_owned()));
    }
    let body =
        Limited::new(request.into_body(), 1 << 20).collect().await.map_err(|error| malformed(error.to_string()))?;
    let signed = Signed::parse(&body.to_bytes()).map_err(malformed)?;
    let nonce = signed.header["nonce"].as_str().unwrap_or_default();
    if !shared.book().nonces.remove(nonce) {
        return Err(No(400, "badNonce", "this nonce is used, or was never handed out".to_owned()));
    }
    if signed.header["url"] != shared.url(path) {
        return Err(No(403, "unauthorized", "the signature is for another URL".to_owned()));
    }
    if path == "account" {
        return new_account(&signed, shared);
    }
    let account = account(&signed, shared)?;
    let mut parts = path.splitn(3, '/');
    let kind = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|number| number.parse::<usize>().ok());
    match (kind, number, parts.next()) {
        ("accounts", Some(number), None) if number == account => update_account(&signed, account, shared),
        ("order", None, None) => new_order(&signed, account, shared),
        ("certificate", Some(number), None) => {
            let chain = shared.book().certificates.get(number).cloned().ok_or_else(nothing)?;
            Ok(plain(200, &chain))
        }
        ("challenge", Some(number), Some(kind)) => challenge(number, kind, account, shared),
        ("orders", Some(number), None) => of_order(number, account, shared, |order| {
            let described = order.describe(number, |path| shared.url(path));
            if let End::Processing(certificate) = order.end {
                order.end = End::Valid(certificate);
            }
            Ok(json_answer(200, &described))
        }),
        ("authorization", Some(number), None) => of_order(number, account, shared, |order| {
            Ok(json_answer(200, &order.describe_authorization(number, |path| shared.url(path))))
        }),
        ("finalize", Some(number), None) => finalize(number, &signed, account, shared),
        _ => Err(nothing()),
    }
}

fn new_account(signed: &Signed, shared: &Shared) -> Result<Answer, No> {
    let key = Key::of(&signed.header["jwk"]).map_err(malformed)?;
    signed.is_by(&key).map_err(malformed)?;
    let mut book = shared.book();
    if let Some((key_id, secret)) = &book.external {
        let binding = &signed.payload["externalAccountBinding"];
        if binding.is_null() {
            return Err(No(403, "externalAccountRequired", "an external account is needed".to_owned()));
        }
        let binding = Signed::of(binding).map_err(malformed)?;
        binding.is_by_secret(secret).map_err(|why| No(403, "unauthorized", why))?;
        let bound = Key::of(&binding.payload).map_err(malformed)?;
        if binding.header["kid"] != **key_id || bound != key || binding.header["url"] != shared.url("account") {
            return Err(No(403, "unauthorized", "the binding is of something else".to_owned()));
        }
    }
    if signed.payload["termsOfServiceAgreed"] != true {
        return Err(No(403, "userActionRequired", "the terms are not agreed to".to_owned()));
    }
    let contact = contact(&signed.payload)?;
    let number = book.number();
    book.accounts.insert(number, Account { key, contact });
    let described = json!({ "status": "valid" });
    Ok(at(&shared.url(&format!("accounts/{number}")), json_answer(201, &described)))
}

fn contact(payload: &Value) -> Result<Vec<String>, No> {
    let contact: Vec<String> = serde_json::from_value(payload["contact"].clone()).unwrap_or_default();
    if contact.iter().all(|url| url.starts_with("mailto:")) {
        return Ok(contact);
    }
    Err(No(400, "unsupportedContact", "only mailto: is supported".to_owned()))
}

fn update_account(signed: &Signed, account: usize, shared: &Shared) -> Result<Answer, No> {
    let contact = contact(&signed.payload)?;
    if let Some(account) = shared.book().accounts.get_mut(&account) {
        account.contact = contact;
    }
    Ok(json_answer(200, &json!({ "status": "valid" })))
}

/// Whose request it is.
fn account(signed: &Signed, shared: &Shared) -> Result<usize, No> {
    let kid = signed.header["kid"].as_str().ok_or_else(|| malformed("no kid".to_owned()))?;
    let number = kid.strip_prefix(&shared.url("accounts/")).and_then(|number| number.parse().ok());
    let book = shared.book();
    let known = number.and_then(|number| Some((number, book.accounts.get(&number)?)));
    let (number, account) = known.ok_or_else(|| No(400, "accountDoesNotExist", "who is that?".to_owned()))?;
    signed.is_by(&account.key).map_err(|why| No(403, "unauthorized", why))?;
    Ok(number)
}

fn new_order(signed: &Signed, account: usize, shared: &Shared) -> Result<Answer, No> {
    let [name] = &**signed.payload["identifiers"].as_array().ok_or_else(|| malformed("no identifiers".to_owned()))?
    else {
        return Err(malformed("one name at a time".to_owned()));
    };
    let host = name["value"].as_str().filter(|_| name["type"] == "dns").unwrap_or_default().to_owned();
    if host.is_empty() || host.contains('*') {
        return Err(No(400, "rejectedIdentifier", "such a name is not certified".to_owned()));
    }
    let mut book = shared.book();
    let number = book.orders.len();
    let order = Order { account, host, token: token(), shown: Shown::Pending, end: End::Open };
    let described = order.describe(number, |path| shared.url(path));
    book.orders.push(order);
    Ok(at(&shared.url(&format!("orders/{number}")), json_answer(201, &described)))
}

fn challenge(number: usize, kind: &str, account: usize, shared: &Arc<Shared>) -> Result<Answer, No> {
    let kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(nothing)?;
    of_order(number, account, shared, |order| {
        if let Shown::Pending = order.shown {
            order.shown = Shown::Processing(kind);
            tokio::spawn(judge(number, kind, Arc::clone(shared)));
        }
        Ok(json_answer(200, &order.describe_challenge(number, kind, |path| shared.url(path))))
    })
}

/// Looks at what is shown, and notes what it saw.
async fn judge(number: usize, kind: &'static str, shared: Arc<Shared>) {
    while shared.book().waits {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (host, token, shown, place) = {
        let book = shared.book();
        let order = &book.orders[number];
        let Some(account) = book.accounts.get(&order.account) else { return };
        let place = book.places.get(&order.host).copied();
        (order.host.clone(), order.token.clone(), account.key.authorize(&order.token), place)
    };
    let outcome = match place {
        Some(place) => look(kind, &host, &token, &shown, place).await,
        None => Some(format!("DNS problem: NXDOMAIN looking up A for {host}")),
    };
    shared.book().orders[number].shown = match outcome {
        None => Shown::Valid(kind),
        Some(detail) => {
            Shown::Invalid(kind, json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": detail }))
        }
    };
}

fn finalize(number: usize, signed: &Signed, account: usize, shared: &Shared) -> Result<Answer, No> {
    let request = decode(signed.payload["csr"].as_str().unwrap_or_default()).map_err(malformed)?;
    let (life, ahead, certificate) = {
        let book = shared.book();
        (book.life, book.ahead, book.certificates.len())
    };
    let (answer, chain) = of_order(number, account, shared, |order| {
        if order.status() != "ready" {
            return Err(No(403, "orderNotReady", format!("the order is {}", order.status())));
        }
        let chain = shared.authority.sign(&request, &order.host, life, ahead);
        let chain = chain.map_err(|why| No(400, "badCSR", why))?;
        order.end = End::Processing(certificate);
        Ok((json_answer(200, &order.describe(number, |path| shared.url(path))), chain))
    })?;
    shared.book().certificates.push(chain);
    Ok(answer)
}

fn of_order<T>(
    number: usize,
    account: usize,
    shared: &Shared,
    then: impl FnOnce(&mut Order) -> Result<T, No>,
) -> Result<T, No> {
    let mut book = shared.book();
    then(book.orders.get_mut(number).filter(|order| order.account == account).ok_or_else(nothing)?)
}

fn malformed(why: String) -> No {
    No(400, "malformed", why)
}

fn nothing() -> No {
    No(404, "malformed", "there is nothing there".to_owned())
}

fn at(url: &str, mut answer: Answer) -> Answer {
    answer.headers_mut().insert(LOCATION, url.parse().expect("a URL is ASCII"));
    answer
}

fn json_answer(status: u16, value: &Value) -> Answer {
    plain(status, &value.to_string())
}

fn plain(status: u16, text: &str) -> Answer {
    Response::builder().status(status).body(Full::from(text.to_owned())).expect("a status is one")
}
