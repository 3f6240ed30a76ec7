//! A receiver for sinks: it records the changes that it takes, and fails as a test wants it to.

use crate::headwater::own_address;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Take,
    /// Takes the changes, and says that it has not.
    TakeAndFail,
    /// Takes the changes, and closes the connection.
    TakeAndLeave,
    Fail,
}

pub struct Receiver {
    pub address: SocketAddr,
    /// The changes that it took, in order.
    pub received: Arc<Mutex<Vec<Value>>>,
    pub failed: Arc<AtomicU64>,
}

impl Receiver {
    /// `judge`: what becomes of a request, by its number of changes.
    pub fn start(judge: impl FnMut(u64) -> Answer + Send + 'static) -> Receiver {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (received, failed) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<AtomicU64>::default());
        let judge = Arc::new(Mutex::new(judge));
        let receiver = Receiver { address, received: Arc::clone(&received), failed: Arc::clone(&failed) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (judge, received, failed) = (Arc::clone(&judge), Arc::clone(&received), Arc::clone(&failed));
                thread::spawn(move || {
                    // A process that was killed leaves it at that.
                    let _gone = serve(stream.unwrap(), &*judge, &received, &failed);
                });
            }
        });
        receiver
    }
}

fn serve(
    stream: TcpStream,
    judge: &Mutex<impl FnMut(u64) -> Answer>,
    received: &Mutex<Vec<Value>>,
    failed: &AtomicU64,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let changes = body["changes"].as_array().unwrap();
        let answer = (judge.lock().unwrap())(changes.len() as u64);
        if answer != Answer::Fail {
            received.lock().unwrap().extend(changes.iter().cloned());
        }
        if answer != Answer::Take {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Answer::Take => stream.get_mut().write_all(b"HTTP/1.1 204 taken\r\n\r\n")?,
            Answer::TakeAndLeave => return Ok(()),
            Answer::TakeAndFail | Answer::Fail => {
                stream.get_mut().write_all(b"HTTP/1.1 500 broken\r\ncontent-length: 0\r\n\r\n")?;
            }
        }
    }
}
