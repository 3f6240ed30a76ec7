//! An HTTP server that follows a script, byte by byte.

use crate::headwater::own_address;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// A step after a request. After the last step the connection is closed.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Waits until the client has gone.
    Hold,
}

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub path: String,
    /// Decoded; the values of a name that comes several times with `|` between.
    pub query: BTreeMap<String, String>,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
}

pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` says what is done for the n-th request, counted from 0.
    pub fn start(mut answer: impl FnMut(usize, &Request) -> Vec<Step> + Send + 'static) -> Server {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, ended) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (taken, stop) = (Arc::clone(&requests), Arc::clone(&ended));
        let serve = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                let Some(request) = Request::read(&stream) else { continue };
                let number = taken.lock().unwrap().len();
                taken.lock().unwrap().push(request.clone());
                let steps = answer(number, &request);
                // So that a client who holds on to one connection can ask on another.
                std::thread::spawn(move || carry_out(stream, steps));
            }
        };
        Server { address, requests, ended, thread: Some(std::thread::spawn(serve)) }
    }

    /// Does the same for every request.
    pub fn always(steps: Vec<Step>) -> Server {
        Server::start(move |_, _| steps.clone())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn carry_out(mut stream: TcpStream, steps: Vec<Step>) {
    for step in steps {
        let done = match step {
            Step::Send(bytes) => stream.write_all(&bytes),
            Step::Wait(time) => {
                sleep(time);
                Ok(())
            }
            Step::Hold => stream.read(&mut [0]).map(|_| ()),
        };
        if done.is_err() {
            return;
        }
    }
    let _gone = stream.shutdown(Shutdown::Write);
    // Closing with bytes unread would reset the connection, and what has been sent with it.
    let _rest = stream.read_to_end(&mut Vec::new());
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Request> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let target = lines.next()?.split(' ').nth(1)?.to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut request = Request { path: path.to_owned(), ..Request::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            let value = decoded(value);
            let values = request.query.entry(name.to_owned());
            values.and_modify(|values| *values = format!("{values}|{value}")).or_insert(value);
        }
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Some(request)
    }

    pub fn asked(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// How a client recognises the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    /// By the end of the connection, so that a cut looks like an end.
    Close,
}

/// A successful answer, each line of the body a chunk of its own.
pub fn streamed(lines: &[String], framing: Framing) -> Vec<u8> {
    let mut answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n".to_owned();
    match framing {
        Framing::Chunked => {
            answer += "transfer-encoding: chunked\r\n\r\n";
            for line in lines {
                answer += &format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
            }
            answer += "0\r\n\r\n";
        }
        Framing::Close => {
            answer += "connection: close\r\n\r\n";
            lines.iter().for_each(|line| answer += &format!("{line}\n"));
        }
    }
    answer.into_bytes()
}

/// An answer with headers and a body of known length.
pub fn answered(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .into_bytes(),
    )]
}
