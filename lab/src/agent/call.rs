//! Calls, again and again.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::counted::Counted;
use super::log::{CallOutcome, Side};
use super::tally::Tally;
use super::{Caller, http, tcp, udp};
use crate::calls::{Call, Target};

/// Makes the call as often as it says.
pub(super) async fn repeat(caller: Caller, call: Call) {
    let mut tick = interval(call.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held = None;
    let mut made = 0;
    while call.times.is_none_or(|times| made < times) {
        tick.tick().await;
        if call.hold {
            held = hold(&caller, &call, held).await;
        } else {
            once(&caller, &call).await;
        }
        made += 1;
    }
    if let Some((_, tally)) = held {
        caller.log.close(&tally, Some(CallOutcome::Answered), "");
    }
}

async fn once(caller: &Caller, call: &Call) {
    if let Target::Dns { name } = &call.target {
        // What was answered is in the log.
        caller.resolver.ask(name, call.ipv6).await.map(drop).unwrap_or_default();
        return;
    }
    let Some((host, to)) = destination(caller, call).await else { return };
    match &call.target {
        Target::Http { path, .. } => http::get(caller, to, host, path, call).await,
        Target::Udp { .. } => udp::call(caller, to, call).await,
        Target::Tcp { .. } => {
            if let Some((_, tally)) = message(caller, to, call, None).await {
                caller.log.close(&tally, Some(CallOutcome::Answered), "");
            }
        }
        Target::Dns { .. } => {}
    }
}

/// One message on the connection that is held, or on a new one.
async fn hold(
    caller: &Caller,
    call: &Call,
    held: Option<(Counted, Arc<Tally>)>,
) -> Option<(Counted, Arc<Tally>)> {
    let to = match &held {
        Some((_, tally)) => tally.remote?,
        None => destination(caller, call).await?.1,
    };
    message(caller, to, call, held).await
}

/// Sends and gets one message; gives the connection back if it is still good.
async fn message(
    caller: &Caller,
    to: SocketAddr,
    call: &Call,
    held: Option<(Counted, Arc<Tally>)>,
) -> Option<(Counted, Arc<Tally>)> {
    let (mut stream, tally) = match held {
        Some(held) => held,
        None => tcp::connect(caller, to, &call.target.to_string(), call.timeout).await?,
    };
    let exchange = tcp::exchange(&mut stream, call.bytes);
    let (outcome, detail) = match tokio::time::timeout(call.timeout, exchange).await {
        Ok(Ok(())) => return Some((stream, tally)),
        Ok(Err(error)) => (CallOutcome::Broken, error.to_string()),
        Err(_) => (CallOutcome::TimedOut, String::new()),
    };
    caller.log.close(&tally, Some(outcome), &detail);
    None
}

/// The host as written and where it is; a name that nobody knows is in the log.
async fn destination<'a>(caller: &Caller, call: &'a Call) -> Option<(&'a str, SocketAddr)> {
    let (Target::Http { host, port, .. } | Target::Tcp { host, port } | Target::Udp { host, port }) =
        &call.target
    else {
        return None;
    };
    if let Some(address) = caller.resolver.resolve(host, call.ipv6).await {
        return Some((host, SocketAddr::new(address, *port)));
    }
    let protocol = if matches!(call.target, Target::Udp { .. }) { "udp" } else { "tcp" };
    let mut tally = Tally::new(Side::Client, protocol);
    tally.target = call.target.to_string();
    caller.log.fail(&tally, CallOutcome::NoSuchName, "");
    None
}
