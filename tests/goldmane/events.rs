//! Server-sent events as their readers see them: curl, and the EventSource of a real browser that
//! loses its connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, start};

/// Ends what it holds.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A program's lines as they come.
fn lines(command: &mut Command) -> (Ended, Receiver<String>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = sync_channel(1_024);
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (Ended(child), receiver)
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(Duration::from_mins(2)).expect("a line in time")
}

/// The headers at once, then the flow, and where nothing comes a comment, so that nobody on the way
/// takes the stream for dead.
#[test]
fn curl_reads_flows_as_events_and_a_heartbeat() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let state = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&state);
    let url = format!("http://{}/api/v1/stream?dest_name=cart-*&action=deny", daemon.http);
    let (_curl, told) = lines(Command::new("curl").args(["-sSNi", &url]));
    let mut head = Vec::new();
    loop {
        let line = next(&told);
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    for wanted in [
        "HTTP/1.1 200 OK",
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
    ] {
        assert!(head.iter().any(|line| line == wanted), "{wanted}: {head:?}");
    }
    assert_eq!(next(&told), "retry: 2000");
    assert!(next(&told).starts_with("id: "));
    daemon.client(&python, "push", start());
    let mut told_lines = std::iter::repeat_with(|| next(&told));
    let data = told_lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    let flow: Value = serde_json::from_str(&data).unwrap();
    assert_eq!((&flow["action"], &flow["source_name"]), (&"Deny".into(), &"pub".into()));
    while next(&told) != ": still here" {}
}

/// Hands bytes on, both ways, until it is cut.
struct Wire {
    address: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
    /// The heads of requests.
    asked: Arc<Mutex<String>>,
}

impl Wire {
    fn to(daemon: &Daemon) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, asked) =
            (Arc::<Mutex<Vec<TcpStream>>>::default(), Arc::<Mutex<String>>::default());
        let (to, held, heard) = (daemon.http.clone(), open.clone(), asked.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&to).unwrap();
                held.lock()
                    .unwrap()
                    .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (from, back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let heard = heard.clone();
                std::thread::spawn(move || {
                    copy(from, server, |bytes| {
                        heard.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
                    });
                });
                std::thread::spawn(move || copy(back, client, |_| {}));
            }
        });
        Self { address, open, asked }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // It may be gone already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, heard: impl Fn(&[u8])) {
    let mut bytes = [0; 16 * 1_024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        heard(&bytes[..read]);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The other end may be gone already.
    drop(to.shutdown(Shutdown::Both));
}

/// Nine flows come; the connection breaks; what comes late of each while it is broken is told when
/// the browser is back, by itself and with the id of the last event, and nothing is told twice.
#[test]
fn a_browsers_event_source_goes_on_where_its_connection_broke() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let Some(playwright) = testing::playwright("a browser's EventSource") else { return };
    let state = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&state);
    let wire = Wire::to(&daemon);
    let (_browser, told) = lines(
        Command::new("node")
            .args(["tests/readers/eventsource.js", &format!("http://{}", wire.address)])
            .env("NODE_PATH", playwright.join("node_modules")),
    );
    assert_eq!(next(&told), "open");
    let event = || -> Value {
        let events = std::iter::repeat_with(|| next(&told)).filter(|line| line != "open");
        serde_json::from_str(&events.take(1).next().unwrap()).unwrap()
    };
    let start = start();
    daemon.client(&python, "push", start);
    let first: Vec<Value> = (0..9).map(|_| event()).collect();
    assert!(first.iter().all(|event| event["flow"]["correction"].is_null()), "{first:?}");
    wire.cut();
    // A second later in the same windows: other flows of them.
    daemon.client(&python, "push", start + 1);
    let late: Vec<Value> = (0..9).map(|_| event()).collect();
    assert!(late.iter().all(|event| event["flow"]["correction"] == true), "{late:?}");
    let all = first.iter().chain(&late).map(|event| event["id"].to_string());
    assert_eq!(
        all.collect::<std::collections::BTreeSet<_>>().len(),
        18,
        "each has an id of its own"
    );
    let asked = wire.asked.lock().unwrap().to_ascii_lowercase();
    assert!(asked.contains("last-event-id: "), "{asked}");
}
