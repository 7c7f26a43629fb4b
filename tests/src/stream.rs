//! Many bytes through a connection, compared one by one at its other end.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
};

use crate::wait;

/// Random bytes, repeated at a prime length so that no buffer's size hides a shift, a loss or a repetition.
#[derive(Clone)]
pub struct Stream {
    period: Arc<Vec<u8>>,
    length: usize,
}

const PERIOD: usize = 1_048_573;

impl Stream {
    /// A stream of `length` bytes.
    fn random(length: usize) -> Self {
        let mut bytes = vec![0; PERIOD];
        File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        Self { period: bytes.into(), length }
    }

    /// Carries one of `length` bytes each way at once between both ends of a connection, to the end.
    pub fn both_ways(length: usize, client: TcpStream, origin: TcpStream) {
        let (up, down) = (Self::random(length), Self::random(length));
        let ends = [
            up.clone().send(client.try_clone().unwrap()),
            down.clone().send(origin.try_clone().unwrap()),
            up.verify(origin),
            down.verify(client),
        ];
        for end in ends {
            end.join().unwrap();
        }
    }

    /// Sends it, and closes that direction.
    fn send(self, mut to: TcpStream) -> JoinHandle<()> {
        thread::spawn(move || {
            let mut left = self.length;
            while left > 0 {
                let part = left.min(PERIOD);
                to.write_all(&self.period[..part]).unwrap();
                left -= part;
            }
            to.shutdown(Shutdown::Write).unwrap();
        })
    }

    /// Reads to the end; panics where a byte is another, or there are more or fewer of them.
    fn verify(self, mut from: TcpStream) -> JoinHandle<()> {
        thread::spawn(move || {
            from.set_read_timeout(Some(wait::DEADLINE)).unwrap();
            let mut part = vec![0; PERIOD];
            let mut left = self.length;
            while left > 0 {
                let length = left.min(PERIOD);
                from.read_exact(&mut part[..length]).unwrap();
                assert!(
                    part[..length] == self.period[..length],
                    "bytes differ within {length} at {}",
                    self.length - left
                );
                left -= length;
            }
            assert_eq!(from.read(&mut part).unwrap(), 0, "nothing follows");
        })
    }
}
