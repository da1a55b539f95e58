//! Every packet is in a row, and in one only.

use std::net::UdpSocket;

use schemas::{Direction, Protocol, Tuple};

use crate::seen::{Carried, Seen, addr};
use crate::world::{World, can_run, inside};

#[test]
fn one_packet_is_one_row_at_each_hook() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    let pod = world.pod(&node, 1);
    let mut seen = Seen::default();
    running.until_attached(&[(&node, "pod-1")]);
    let port = inside(&pod, || {
        let socket = UdpSocket::bind("10.77.1.2:0").unwrap();
        socket.send_to(b"hello", "10.77.1.1:9").unwrap();
        socket.local_addr().unwrap().port()
    });
    let tuple = Tuple {
        src: addr("10.77.1.2"),
        dst: addr("10.77.1.1"),
        src_port: port,
        dst_port: 9,
        protocol: Protocol::UDP,
    };
    seen.read_until(&mut running, |seen| {
        seen.sum_of(&tuple, Direction::Ingress) == Carried { packets: 1, bytes: 14 + 20 + 8 + 5 }
    });
    seen.read_until_exact(&mut running, &[(&node, "pod-1")]);
    seen.finish(running);
}
