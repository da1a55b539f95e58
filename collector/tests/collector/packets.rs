//! Frames as packet libraries build them, and as nobody should: each is counted, under the right
//! key.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use etherparse::{
    EtherType, IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber,
    Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder, UdpHeader, VlanId,
};
use schemas::{Direction, Protocol, TcpFlags, Tuple};

use crate::seen::{Seen, addr, id_of};
use crate::world::{World, can_run, inside, run};

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [192, 0, 2, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TO: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn a6() -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    address[15] = 1;
    address
}

fn b6() -> [u8; 16] {
    let mut address = a6();
    address[15] = 2;
    address
}

/// A frame, what it is counted under, and the flags of its row.
struct Case {
    name: &'static str,
    frame: Vec<u8>,
    tuple: Tuple,
    flags: TcpFlags,
    /// Bytes that the kernel takes off the frame before the hook: an outer VLAN tag.
    stripped: u64,
}

fn case(name: &'static str, frame: Vec<u8>, tuple: Tuple) -> Case {
    Case { name, frame, tuple, flags: TcpFlags::default(), stripped: 0 }
}

fn flagged(case: Case, flags: TcpFlags) -> Case {
    Case { flags, ..case }
}

fn tagged(case: Case) -> Case {
    Case { stripped: 4, ..case }
}

fn four(protocol: Protocol, src_port: u16, dst_port: u16) -> Tuple {
    Tuple { src: addr("192.0.2.1"), dst: addr("192.0.2.2"), src_port, dst_port, protocol }
}

fn six(protocol: Protocol, src_port: u16, dst_port: u16) -> Tuple {
    Tuple { src: addr("2001:db8::1"), dst: addr("2001:db8::2"), src_port, dst_port, protocol }
}

fn frame_of(ethertype: u16) -> Tuple {
    Tuple { protocol: Protocol(ethertype), ..Tuple::default() }
}

fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn ethernet(ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(TO);
    frame.extend(MAC);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(body);
    frame
}

fn ipv4(protocol: IpNumber, payload: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut header = Ipv4Header::new(length, 64, protocol, A, B).unwrap();
    change(&mut header);
    header.set_payload_len(payload.len()).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = built(|to| header.write(to).unwrap());
    bytes.extend(payload);
    bytes
}

fn ipv6(next: IpNumber, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: u16::try_from(payload.len()).unwrap(),
        next_header: next,
        hop_limit: 64,
        source: a6(),
        destination: b6(),
        ..Ipv6Header::default()
    };
    let mut bytes = built(|to| header.write(to).unwrap());
    bytes.extend(payload);
    bytes
}

fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let header = UdpHeader {
        source_port: src,
        destination_port: dst,
        length: u16::try_from(8 + payload.len()).unwrap(),
        checksum: 0,
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(payload);
    bytes
}

/// IPv6 with hop-by-hop options, destination options and routing before UDP.
fn extended() -> Vec<u8> {
    let raw = |next| Ipv6RawExtHeader::new_raw(next, &[0; 14]).unwrap();
    let extensions = Ipv6Extensions {
        hop_by_hop_options: Some(raw(IpNumber(0))),
        destination_options: Some(raw(IpNumber(0))),
        ..Ipv6Extensions::default()
    };
    let mut extensions = extensions;
    let first = extensions.set_next_headers(IpNumber::UDP);
    let mut payload = built(|to| extensions.write(to, first).unwrap());
    payload.extend(udp(7, 8, b"after extensions"));
    ipv6(first, &payload)
}

fn fragment6(offset: u16, more: bool, id: u32, payload: &[u8]) -> Vec<u8> {
    let offset = IpFragOffset::try_new(offset).unwrap();
    let header = Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, id);
    let mut body = header.to_bytes().to_vec();
    body.extend(payload);
    ipv6(IpNumber::IPV6_FRAGMENTATION_HEADER, &body)
}

fn fragment4(offset: u16, more: bool, id: u16, payload: &[u8]) -> Vec<u8> {
    ipv4(IpNumber::UDP, payload, |header| {
        header.identification = id;
        header.more_fragments = more;
        header.dont_fragment = false;
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
    })
}

fn plain() -> Vec<Case> {
    let ethernet2 = || PacketBuilder::ethernet2(MAC, TO);
    let syn = built(|to| {
        ethernet2().ipv4(A, B, 64).tcp(1, 2, 77, 1_024).syn().write(to, b"").unwrap();
    });
    let syn_ack = built(|to| {
        ethernet2().ipv6(a6(), b6(), 64).tcp(3, 4, 77, 1_024).syn().ack(9).write(to, b"").unwrap();
    });
    let echo = built(|to| {
        ethernet2().ipv4(A, B, 64).icmpv4_echo_request(4_321, 1).write(to, b"ping").unwrap();
    });
    let unreachable =
        Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
    let unreachable = built(|to| {
        ethernet2().ipv4(A, B, 64).icmpv4(unreachable).write(to, &[0; 28]).unwrap();
    });
    let echo6 = Icmpv6Type::EchoReply(IcmpEchoHeader { id: 99, seq: 1 });
    let echo6 = built(|to| {
        ethernet2().ipv6(a6(), b6(), 64).icmpv6(echo6).write(to, b"pong").unwrap();
    });
    let sctp = [0x12, 0x34, 0x00, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4];
    let (tcp, udp_) = (Protocol::TCP, Protocol::UDP);
    vec![
        flagged(case("a SYN", syn, four(tcp, 1, 2)), TcpFlags(0x102)),
        flagged(case("a SYN with ACK", syn_ack, six(tcp, 3, 4)), TcpFlags(0x212)),
        case(
            "UDP",
            ethernet(0x0800, &ipv4(IpNumber::UDP, &udp(5, 6, b"x"), |_| {})),
            four(udp_, 5, 6),
        ),
        case("an echo request", echo, four(Protocol::ICMP, 4_321, 8 << 8)),
        case("an unreachable port", unreachable, four(Protocol::ICMP, 0, 3 << 8 | 3)),
        case("an ICMPv6 echo reply", echo6, six(Protocol::ICMPV6, 99, 129 << 8)),
        case(
            "SCTP",
            ethernet(0x0800, &ipv4(IpNumber::SCTP, &sctp, |_| {})),
            four(Protocol::SCTP, 0x1234, 80),
        ),
        case(
            "a protocol without ports",
            ethernet(0x0800, &ipv4(IpNumber(89), &[1, 2, 3, 4], |_| {})),
            four(Protocol(89), 0, 0),
        ),
        case("ARP", ethernet(0x0806, &[0; 28]), frame_of(0x0806)),
        case("LLDP", ethernet(0x88cc, &[2, 7, 4]), frame_of(0x88cc)),
        case("a frame with a length", ethernet(38, &[0x42; 38]), frame_of(0x05ff)),
    ]
}

fn wrapped() -> Vec<Case> {
    let vlan = |id: u16| VlanId::try_new(id).unwrap();
    let inner = |to: &mut Vec<u8>, double: bool| {
        let builder = PacketBuilder::ethernet2(MAC, TO);
        if double {
            let builder = builder.double_vlan(vlan(5), vlan(6));
            builder.ipv4(A, B, 9).udp(23, 24).write(to, b"two").unwrap();
        } else {
            builder.single_vlan(vlan(5)).ipv4(A, B, 9).udp(21, 22).write(to, b"one").unwrap();
        }
    };
    let options = ipv4(IpNumber::UDP, &udp(25, 26, b"options"), |header| {
        header.options = Ipv4Options::from([1_u8; 24]);
    });
    let vlan_frame = {
        let mut body = 5_u16.to_be_bytes().to_vec();
        body.extend(EtherType::ARP.0.to_be_bytes());
        body.extend([0; 28]);
        ethernet(0x8100, &body)
    };
    let udp_ = Protocol::UDP;
    vec![
        tagged(case("a VLAN tag", built(|to| inner(to, false)), four(udp_, 21, 22))),
        tagged(case("two VLAN tags", built(|to| inner(to, true)), four(udp_, 23, 24))),
        tagged(case("ARP in a VLAN", vlan_frame, frame_of(0x0806))),
        case("IPv4 options", ethernet(0x0800, &options), four(udp_, 25, 26)),
        case("IPv6 extension headers", ethernet(0x86dd, &extended()), six(udp_, 7, 8)),
    ]
}

fn fragments() -> Vec<Case> {
    let udp_ = Protocol::UDP;
    let unknown = TcpFlags::PORTS_UNKNOWN;
    let first = udp(31, 32, &[1; 16]);
    let first6 = udp(33, 34, &[1; 16]);
    vec![
        case(
            "a first fragment",
            ethernet(0x0800, &fragment4(0, true, 700, &first)),
            four(udp_, 31, 32),
        ),
        case(
            "a later fragment",
            ethernet(0x0800, &fragment4(3, false, 700, &[2; 30])),
            four(udp_, 31, 32),
        ),
        flagged(
            case(
                "a fragment alone",
                ethernet(0x0800, &fragment4(3, false, 701, &[2; 31])),
                four(udp_, 0, 0),
            ),
            unknown,
        ),
        case(
            "a first IPv6 fragment",
            ethernet(0x86dd, &fragment6(0, true, 9, &first6)),
            six(udp_, 33, 34),
        ),
        case(
            "a later IPv6 fragment",
            ethernet(0x86dd, &fragment6(3, false, 9, &[2; 32])),
            six(udp_, 33, 34),
        ),
        flagged(
            case(
                "an IPv6 fragment alone",
                ethernet(0x86dd, &fragment6(3, true, 8, &[2; 40])),
                six(udp_, 0, 0),
            ),
            unknown,
        ),
    ]
}

fn broken() -> Vec<Case> {
    let unknown = TcpFlags::PORTS_UNKNOWN;
    let whole = ipv4(IpNumber::TCP, &[0; 20], |_| {});
    let mut short = whole.clone();
    // Its length says that the header is all there is; what follows is padding.
    short[2..4].copy_from_slice(&20_u16.to_be_bytes());
    let mut wrong_version = whole.clone();
    wrong_version[0] = 0x65;
    let mut small_header = whole.clone();
    small_header[0] = 0x44;
    let endless = {
        let mut payload = Vec::new();
        // Each says that another of its kind follows.
        payload.extend([0_u8; 160]);
        ipv6(IpNumber(0), &payload)
    };
    let cut = &whole[..24];
    let hop_by_hop_alone = ipv6(IpNumber(0), &[17, 200, 0, 0, 0, 0, 0, 0]);
    vec![
        case("no IP header at all", ethernet(0x0800, &[0x45, 0, 0]), frame_of(0x0800)),
        case("a wrong version", ethernet(0x0800, &wrong_version), frame_of(0x0800)),
        case("a header too small", ethernet(0x0800, &small_header), frame_of(0x0800)),
        case("IPv6 cut off", ethernet(0x86dd, &[0x60; 30]), frame_of(0x86dd)),
        flagged(
            case("no TCP header", ethernet(0x0800, &short), four(Protocol::TCP, 0, 0)),
            unknown,
        ),
        flagged(case("TCP cut off", ethernet(0x0800, cut), four(Protocol::TCP, 0, 0)), unknown),
        case("headers without end", ethernet(0x86dd, &endless), six(Protocol(0), 0, 0)),
        flagged(
            case(
                "a header beyond the end",
                ethernet(0x86dd, &hop_by_hop_alone),
                six(Protocol::UDP, 0, 0),
            ),
            unknown,
        ),
    ]
}

/// Sends each frame alone, reads until it is counted, and looks at its row.
#[test]
fn every_frame_is_counted_under_its_key() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    // Nothing speaks unless it is asked to.
    run(&format!("ip -n {node} link set pod-1 addrgenmode none"));
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1")]);
    let id = id_of(&running, &node, "pod-1");
    let socket = inside(&pod, || packet_socket("eth0"));
    let cases = [plain(), wrapped(), fragments(), broken()];
    for case in cases.iter().flatten() {
        socket.send(&case.frame);
        let mut seen = Seen::default();
        let is_it = |row: &&schemas::Observation| {
            row.tuple == case.tuple && row.direction == Direction::Ingress && row.interface == id
        };
        seen.read_until(&mut running, |seen| {
            seen.rows.iter().filter(|row| row.drop.is_none()).any(|row| is_it(&row))
        });
        let row = seen.rows.iter().filter(|row| row.drop.is_none()).find(is_it).unwrap();
        let bytes = case.frame.len() as u64 - case.stripped;
        // The kernel sends no frame shorter than its header; a veth pads none.
        assert_eq!((row.packets, row.bytes), (1, bytes), "{}: {row:?}", case.name);
        assert_eq!(row.tcp_flags, case.flags, "{}", case.name);
        assert_eq!(row.opened, u32::from(case.name == "a SYN"), "{}", case.name);
    }
    Seen::default().finish(running);
}

#[test]
fn a_device_without_link_header_is_read_from_its_ip_header() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let mut tunnel = inside(&node, || tun("pod-tun"));
    // What the kernel sends of its own accord is not in a tunnel's counters before it is read.
    run(&format!("ip -n {node} link set pod-tun addrgenmode none up"));
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-tun")]);
    let packets = [
        (ipv4(IpNumber::UDP, &udp(41, 42, b"in a tunnel"), |_| {}), four(Protocol::UDP, 41, 42)),
        (extended(), six(Protocol::UDP, 7, 8)),
        (ipv6(IpNumber::UDP, &udp(43, 44, b"too")), six(Protocol::UDP, 43, 44)),
    ];
    let mut seen = Seen::default();
    for (packet, tuple) in packets {
        tunnel.write_all(&packet).unwrap();
        seen.read_until(&mut running, |seen| {
            seen.sum_of(&tuple, Direction::Ingress).bytes == packet.len() as u64
        });
    }
    // What goes out is counted by the device only when somebody reads it.
    let id = id_of(&running, &node, "pod-tun");
    let ingress = seen.by_interface()[&(id, Direction::Ingress)];
    assert_eq!(ingress, crate::seen::counters(&node, "pod-tun").0);
    seen.finish(running);
}

#[test]
fn headers_built_by_the_library_read_as_the_library_reads_them() {
    // The cases above are what they say: the library agrees about the plain ones.
    for case in plain().iter().chain(&fragments()) {
        let Ok(sliced) = etherparse::PacketHeaders::from_ethernet_slice(&case.frame) else {
            continue;
        };
        if let Some(etherparse::NetHeaders::Ipv4(header, _)) = sliced.net {
            assert_eq!(header.source, A, "{}", case.name);
            assert_eq!(u16::from(header.protocol.0), case.tuple.protocol.0, "{}", case.name);
        }
    }
    assert!(matches!(
        IpHeaders::from_slice(&extended()),
        Ok((IpHeaders::Ipv6(..), payload)) if payload.ip_number == IpNumber::UDP
    ));
}

struct PacketSocket {
    fd: OwnedFd,
    ifindex: u32,
}

impl PacketSocket {
    #[expect(unsafe_code, reason = "a packet socket's address has no safe form")]
    fn send(&self, frame: &[u8]) {
        let mut address: nix::libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(nix::libc::AF_PACKET).unwrap();
        address.sll_ifindex = i32::try_from(self.ifindex).unwrap();
        let length = u32::try_from(size_of_val(&address)).unwrap();
        // SAFETY: the frame and the address outlive the call.
        let sent = unsafe {
            nix::libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                length,
            )
        };
        assert_eq!(
            sent,
            isize::try_from(frame.len()).unwrap(),
            "{}",
            std::io::Error::last_os_error()
        );
    }
}

#[expect(unsafe_code, reason = "nix has no packet sockets that are not told a protocol")]
fn packet_socket(interface: &str) -> PacketSocket {
    // SAFETY: a new socket, owned from here on. Protocol 0 receives nothing.
    let fd = unsafe {
        OwnedFd::from_raw_fd(nix::libc::socket(nix::libc::AF_PACKET, nix::libc::SOCK_RAW, 0))
    };
    let ifindex = nix::net::if_::if_nametoindex(interface).unwrap();
    PacketSocket { fd, ifindex }
}

#[expect(unsafe_code, reason = "a tunnel is made by ioctl(2)")]
fn tun(name: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: zeroes are a request without name or flags.
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = nix::libc::IFF_TUN | nix::libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap();
    // SAFETY: the request outlives the call.
    let made =
        unsafe { nix::libc::ioctl(file.as_raw_fd(), nix::libc::TUNSETIFF, &raw mut request) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    file
}
