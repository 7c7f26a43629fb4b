//! What is said on port 80 while certificates are ordered: the files of open challenges, and nothing else.
//!
//! Pure: bytes in, bytes out. Who calls it reads, writes, closes, and has the deadlines. Nothing of a request comes back
//! in an answer.

use super::Challenges;
use crate::tls::Http01;

/// A request head may be this long, in bytes: a directory's has some two hundred.
const LARGEST: usize = 8 << 10;
/// RFC 8555, section 8.3.
const FOLDER: &str = "/.well-known/acme-challenge/";

/// Answers an HTTP/1 request of which these are all bytes so far. A body, which nobody sends, is not waited for.
pub fn http01(read: &[u8], challenges: &Challenges) -> Http01 {
    let Some(head) = head(read) else {
        return if read.len() < LARGEST { Http01::More } else { answer(431, "The request is too long.\n") };
    };
    let request = std::str::from_utf8(head).ok().and_then(parse);
    let Some(Request { is_get, host, path }) = request else { return answer(400, "This is no HTTP request.\n") };
    let token = path.strip_prefix(FOLDER).filter(|token| is_get && is_token(token));
    match token.and_then(|token| challenges.key_authorization(host, token)) {
        Some(key_authorization) => answer(200, &key_authorization),
        None => answer(404, "There is nothing here.\n"),
    }
}

/// Whether these bytes can be the beginning of a directory's request, or are: it sends the origin form.
pub(super) fn may_begin(read: &[u8]) -> bool {
    let begin = ["GET ", FOLDER].concat();
    let most = begin.len().min(read.len());
    read.len() < LARGEST && read.get(..most) == begin.as_bytes().get(..most)
}

struct Request<'a> {
    is_get: bool,
    /// Without a port.
    host: &'a str,
    path: &'a str,
}

/// Up to the empty line that ends it. A line may end without a CR (RFC 9112, section 2.2).
fn head(read: &[u8]) -> Option<&[u8]> {
    let read = read.get(..LARGEST.min(read.len()))?;
    let mut begin = 0;
    for (at, _) in read.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line = read.get(begin..at)?;
        if begin > 0 && (line.is_empty() || line == b"\r") {
            return read.get(..begin);
        }
        begin = at + 1;
    }
    None
}

fn parse(head: &str) -> Option<Request<'_>> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic());
    if words.next().is_some() || !is_method || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return None;
    }
    let mut host = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        // A space before the colon, or a folded line: RFC 9112, sections 5.1 and 5.2, want them refused.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        // More than one is refused (section 3.2).
        if name.eq_ignore_ascii_case("host") && host.replace(value.trim_matches([' ', '\t'])).is_some() {
            return None;
        }
    }
    let mut host = host?;
    let path = match target.strip_prefix("http://") {
        // The absolute form: its host is the one (section 3.2.2).
        Some(rest) => {
            let slash = rest.find('/')?;
            host = rest.get(..slash)?;
            rest.get(slash..)?
        }
        None if target.starts_with('/') => target,
        None => return None,
    };
    Some(Request { is_get: method == "GET", host: without_port(host)?, path })
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (!name.is_empty() && is_name && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// The alphabet of base64url (RFC 8555, section 8.3).
pub(super) fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn answer(status: u16, body: &str) -> Http01 {
    let (reason, kind) = match status {
        200 => ("OK", "application/octet-stream"),
        404 => ("Not Found", "text/plain"),
        431 => ("Request Header Fields Too Large", "text/plain"),
        _ => ("Bad Request", "text/plain"),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes();
    if status == 200 { Http01::Shown(answer) } else { Http01::Refused(answer) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn says(request: &str) -> String {
        let challenges = Challenges::default();
        let _held = challenges.hold_file("a.example", "to-k_en", "to-k_en.print");
        match http01(request.as_bytes(), &challenges) {
            Http01::More => "more".to_owned(),
            Http01::Shown(bytes) | Http01::Refused(bytes) => String::from_utf8(bytes).unwrap(),
        }
    }

    fn get(path: &str, host: &str) -> String {
        says(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n"))
    }

    #[test]
    fn the_file_of_an_open_challenge_is_there() {
        let path = "/.well-known/acme-challenge/to-k_en";
        for host in ["a.example", "A.EXAMPLE", "a.example:80", "a.example."] {
            let answer = get(path, host);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert!(answer.contains("\r\nContent-Length: 13\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\nto-k_en.print"), "{answer}");
        }
        assert!(says(&format!("GET http://a.example{path} HTTP/1.1\nHost: b\n\n")).contains(" 200 "));
    }

    #[test]
    fn everything_else_is_not() {
        let path = "/.well-known/acme-challenge/to-k_en";
        for answer in [
            get(path, "b.example"),
            get(&format!("{path}/"), "a.example"),
            get(&format!("{path}?x=y"), "a.example"),
            get("/.well-known/acme-challenge/", "a.example"),
            get("/.well-known/acme-challenge/<script>", "a.example"),
            get("/", "a.example"),
            says(&format!("HEAD {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")),
        ] {
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
            assert!(!answer.contains("script"), "{answer}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for request in [
            "\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{16}\u{3}\u{1}\n\n",
        ] {
            assert!(says(request).starts_with("HTTP/1.1 400 "), "{request:?}");
        }
    }

    #[test]
    fn a_head_is_waited_for_and_bounded() {
        let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(says(&whole[..length]), "more", "{length}");
        }
        assert!(says(whole).contains(" 404 "));
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(LARGEST));
        assert!(says(&long).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn who_cannot_be_a_directory_is_known_from_the_first_bytes() {
        let whole = b"GET /.well-known/acme-challenge/to-k_en HTTP/1.1\r\n";
        for length in 0..whole.len() {
            assert!(may_begin(&whole[..length]), "{length}");
        }
        for other in ["P", "GET / HTTP/1.1", "GET /.well-known/security.txt", "\u{16}\u{3}", "get /.well-known/"] {
            assert!(!may_begin(other.as_bytes()), "{other}");
        }
        assert!(!may_begin(&[&whole[..40], &[b'x'; LARGEST]].concat()), "nobody waits for more than can be looked at");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            http01(&bytes, &Challenges::default());
        }
    }
}
