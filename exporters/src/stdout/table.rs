//! Flows as a table for people, one line each: time, action, source, destination, service, port,
//! reporter, bytes and the reason.
//!
//! It works on a stream, so the widths come from the terminal and not from the rows. What is too
//! long is cut with `…`, but never the reason of a denial or of a disagreement: it goes on in the
//! next line.

use std::fmt::Write as _;
use std::io::IsTerminal;

use schemas::json::FlowJson;
use schemas::{Outcome, Reporter, Verdict};

/// How wide a table is when nobody says so.
const WIDTH: usize = 120;

/// The narrowest that still shows every column.
const WIDTH_MIN: usize = 80;

/// A table of this width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    width: usize,
    colours: bool,
    columns: Columns,
}

/// Widths of the columns that depend on the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    name: usize,
    service: usize,
    reason: usize,
}

#[derive(Clone, Copy)]
enum Colour {
    Red,
    Green,
    Yellow,
    Dim,
}

const TIME: usize = 8;
const ACTION: usize = 8;
const PORT: usize = 11;
const REPORTER: usize = 3;
const BYTES: usize = 7;
/// A space after each of the eight columns before the reason.
const GAPS: usize = 8;

// === impl Table ===

impl Table {
    /// As wide as the terminal behind standard output, in colours if it is one and `NO_COLOR` is
    /// not set.
    #[must_use]
    pub fn for_stdout() -> Self {
        let size = terminal_size::terminal_size();
        let width = size.map_or(WIDTH, |(terminal_size::Width(width), _)| width.into());
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::new(width, colours)
    }

    /// Of this width in characters.
    #[must_use]
    pub fn new(width: usize, colours: bool) -> Self {
        let width = width.max(WIDTH_MIN);
        let rest = width - (TIME + ACTION + PORT + REPORTER + BYTES + GAPS);
        // Two names, a service and the reason share what is left.
        let name = (rest * 2 / 7).clamp(10, 32);
        let service = (rest / 8).clamp(6, 20);
        let columns = Columns { name, service, reason: rest - 2 * name - service };
        Self { width, colours, columns }
    }

    /// The names of the columns, as a line.
    #[must_use]
    pub fn header(&self) -> String {
        let Columns { name, service, .. } = self.columns;
        let line = format!(
            "{:TIME$} {:ACTION$} {:name$} {:name$} {:service$} {:PORT$} {:REPORTER$} {:>BYTES$} {}",
            "TIME", "ACTION", "SOURCE", "DESTINATION", "SERVICE", "PORT", "BY", "BYTES", "REASON",
        );
        format!("{}\n", self.paint(Colour::Dim, &line))
    }

    /// A flow, as one line or as many as its reason needs.
    #[must_use]
    pub fn row(&self, flow: &FlowJson) -> String {
        let Columns { name, service, reason } = self.columns;
        let called = flow.service.as_ref().map_or_else(String::new, |service| {
            if *service.namespace == *flow.destination.namespace {
                return service.name.to_string();
            }
            format!("{}/{}", service.namespace, service.name)
        });
        let reporter = if flow.reporter == Reporter::Src { "src" } else { "dst" };
        let mut line = format!(
            "{} {} {} {} {} {} {reporter:REPORTER$} {:>BYTES$} ",
            fit(&time_of_day(flow), TIME),
            self.action(flow),
            fit(&flow.source.to_string(), name),
            fit(&flow.destination.to_string(), name),
            fit(&called, service),
            fit(&port(flow), PORT),
            bytes(flow.counters.bytes()),
        );
        let text = clean(&said(flow));
        let must_be_whole = flow.disagreement.is_some() || flow.action != Verdict::Allow;
        if text.chars().count() <= reason || !must_be_whole {
            let shown = fit(&text, reason);
            let _infallible = writeln!(line, "{}", self.reason(flow, shown.trim_end()));
            return line;
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        for part in wrap(&text, self.width - TIME - 3) {
            let _infallible = writeln!(line, "{:TIME$}   {}", "", self.reason(flow, &part));
        }
        line
    }

    /// The reason stands out where somebody should read it.
    fn reason(&self, flow: &FlowJson, text: &str) -> String {
        match colour(flow) {
            Colour::Green => text.to_owned(),
            colour => self.paint(colour, text),
        }
    }

    /// The action, marked where it is not what happened or where the row is not final.
    fn action(&self, flow: &FlowJson) -> String {
        let mark = match (flow.disagreement.is_some(), flow.open) {
            (true, _) => "!",
            (false, true) => "+",
            (false, false) => "",
        };
        let padded = format!("{:ACTION$}", format!("{}{mark}", short(flow.action)));
        self.paint(colour(flow), &padded)
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Red => "1;31",
            Colour::Green => "32",
            Colour::Yellow => "1;33",
            Colour::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Red is denied or dropped, yellow is doubtful.
fn colour(flow: &FlowJson) -> Colour {
    match flow.action {
        _ if flow.disagreement.is_some() => Colour::Yellow,
        Verdict::Deny => Colour::Red,
        Verdict::Allow if flow.outcome == Outcome::Dropped => Colour::Red,
        Verdict::Allow => Colour::Green,
        Verdict::Unknown | Verdict::Incomplete => Colour::Yellow,
    }
}

/// An action in at most seven characters: a mark may follow.
fn short(action: Verdict) -> &'static str {
    match action {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Unknown => "unknown",
        Verdict::Incomplete => "incompl",
    }
}

/// `08:30:15`, of the first packet; UTC.
fn time_of_day(flow: &FlowJson) -> String {
    let text = flow.first_seen.to_string();
    text.get(11..19).unwrap_or_default().to_owned()
}

/// `tcp/8080`, `icmp/8.0`, or the protocol alone.
fn port(flow: &FlowJson) -> String {
    let protocol = flow.protocol;
    match (flow.destination.port, flow.icmp) {
        (Some(port), _) => format!("{protocol}/{port}"),
        (None, Some(icmp)) => format!("{protocol}/{}.{}", icmp.r#type, icmp.code),
        (None, None) => protocol.to_string(),
    }
}

/// The disagreement first, then the sentence; without either, what became of it.
fn said(flow: &FlowJson) -> String {
    let disagreement = flow.disagreement.as_deref().unwrap_or_default();
    let parts: Vec<&str> =
        [disagreement, &flow.sentence].into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { flow.outcome.to_string() } else { parts.join("; ") }
}

/// `987`, `12.3k`, `4.5M`: at most seven characters.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, letter)) => {
            format!("{}.{}{letter}", count / unit, count % unit / (unit / 10))
        }
        None => count.to_string(),
    }
}

/// Exactly so wide: padded, or cut with `…`.
fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// What a terminal could take for a command is shown as `·`.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// Lines of at most this width, broken at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let room = lines.last().map_or(0, |line| width.saturating_sub(line.chars().count() + 1));
        let is_first = lines.last().is_some_and(String::is_empty);
        if !is_first && word.chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
