//! A ClientHello byte by byte, for what no library sends.

/// Bytes as a record of this kind.
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("it is short").to_be_bytes();
    [&[kind, 3, 1], &length[..], body].concat()
}

/// A hello of TLS 1.2 and 1.3 with these parts.
pub struct Hello {
    pub version: [u8; 2],
    pub session: Vec<u8>,
    pub suites: Vec<u16>,
    pub compression: Vec<u8>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Default for Hello {
    fn default() -> Self {
        Self::new()
    }
}

impl Hello {
    /// One with nothing wrong.
    pub fn new() -> Self {
        let share = [&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat();
        Self {
            version: [3, 3],
            session: vec![7; 32],
            suites: vec![0x1301, 0x1303, 0xc02b, 0xc02f],
            compression: vec![0],
            extensions: vec![
                (10, vec![0, 2, 0, 29]),
                (13, vec![0, 4, 4, 3, 8, 4]),
                (43, vec![4, 3, 4, 3, 3]),
                (51, share),
                (23, vec![]),
            ],
        }
    }

    /// The record of one that is odd in something.
    pub fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut hello = Self::new();
        change(&mut hello);
        record(0x16, &hello.message())
    }

    /// One of a version before 1.2, which knows none of these extensions.
    pub fn old(minor: u8) -> Vec<u8> {
        Self::with(|hello| {
            hello.version = [3, minor];
            hello.suites = vec![0xc013, 0x002f];
            hello.only(&[10]);
        })
    }

    /// Leaves all other extensions out.
    pub fn only(&mut self, kinds: &[u16]) {
        self.extensions.retain(|(kind, _)| kinds.contains(kind));
    }

    /// Sets an extension, or leaves it out.
    pub fn set(&mut self, kind: u16, body: Option<Vec<u8>>) {
        self.extensions.retain(|(known, _)| *known != kind);
        self.extensions.extend(body.map(|body| (kind, body)));
    }

    /// Without the head of a record.
    pub fn message(&self) -> Vec<u8> {
        let short = |length: usize| u16::try_from(length).expect("it is short").to_be_bytes();
        let mut body = self.version.to_vec();
        body.extend([5; 32]);
        body.push(u8::try_from(self.session.len()).expect("it is short"));
        body.extend(&self.session);
        body.extend(short(2 * self.suites.len()));
        body.extend(self.suites.iter().flat_map(|suite| suite.to_be_bytes()));
        body.push(u8::try_from(self.compression.len()).expect("it is short"));
        body.extend(&self.compression);
        let extension = |(kind, body): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &short(body.len()), body].concat();
        let extensions: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
        body.extend(short(extensions.len()));
        body.extend(extensions);
        [&[1, 0][..], &short(body.len()), &body].concat()
    }
}
