/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * From a packet to a flow key, with every header in its place or not: VLAN tags in the frame,
 * IPv4 options, IPv6 extension headers, fragments, truncation. The file that includes this says
 * how bytes are read: LOAD(from, offset, to, length) is 0 when all of them are there, and `from`
 * is a SOURCE.
 *
 * The steps are global functions: the verifier then looks at each alone and once, where it would
 * else follow every path through every extension header (200,000 instructions and more).
 */
#ifndef WHYFLOW_PARSE_H
#define WHYFLOW_PARSE_H

#define ETH_HEADER 14
#define ETH_IP 0x0800
#define ETH_IPV6 0x86dd
#define ETH_VLAN 0x8100
#define ETH_QINQ 0x88a8
#define ETH_QINQ_OLD 0x9100
#define ETH_LEAST 0x0600 /* below it the field is a length (IEEE 802.3) */
#define LLC 0x05ff

#define IP_ICMP 1
#define IP_TCP 6
#define IP_UDP 17
#define IP_ICMPV6 58
#define IP_SCTP 132

#define IP_HOPOPTS 0
#define IP_ROUTING 43
#define IP_FRAGMENT 44
#define IP_AH 51
#define IP_DSTOPTS 60
#define IP_MOBILITY 135
#define IP_HIP 139
#define IP_SHIM6 140

#define EXTENSIONS_MAX 8
#define TAGS_MAX 4

#define TCP_SYN 0x02
#define TCP_ACK 0x10

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 check;
	__be32 src;
	__be32 dst;
};

struct ipv6_header {
	__be32 version_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	/* Of 4 byte alignment on the wire. */
	__be32 src[4];
	__be32 dst[4];
};

struct packet {
	struct flow_key key;
	__u32 isn;
	__u16 flags;
	__u16 unused;
};

/* Where parsing is, between the headers. */
struct cursor {
	__u32 at;
	__u32 end; /* by the IP header's length; 0 where it says none */
	__u32 fragment_id;
	__u16 protocol;
	__u8 is_fragment;
	__u8 is_later;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

static __always_inline void set_ipv4(__u64 to[2], __be32 address)
{
	to[0] = 0;
	to[1] = (__u64)address << 32 | 0xffff0000;
}

static __always_inline void set_ipv6(__u64 to[2], const __be32 from[4])
{
	to[0] = (__u64)from[1] << 32 | from[0];
	to[1] = (__u64)from[3] << 32 | from[2];
}

/* The OR of these says both what was seen and whether one packet opened or accepted. */
static __always_inline __u16 tcp_flags(__u8 flags)
{
	__u16 both = flags & (TCP_SYN | TCP_ACK);

	if (both == TCP_SYN)
		return flags | FLAG_SYN_ONLY;
	if (both == (TCP_SYN | TCP_ACK))
		return flags | FLAG_SYN_ACK;
	return flags;
}

static __always_inline void remember_fragment(const struct packet *packet,
					      const struct cursor *cursor)
{
	struct fragment_key key = {
		.src = { packet->key.src[0], packet->key.src[1] },
		.dst = { packet->key.dst[0], packet->key.dst[1] },
		.id = cursor->fragment_id,
		.protocol = cursor->protocol,
		.scope = packet->key.scope >> 1,
	};
	struct fragment_ports ports = {
		.src_port = packet->key.src_port,
		.dst_port = packet->key.dst_port,
	};

	bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
}

static __always_inline void inherit_ports(struct packet *packet, const struct cursor *cursor)
{
	struct fragment_key key = {
		.src = { packet->key.src[0], packet->key.src[1] },
		.dst = { packet->key.dst[0], packet->key.dst[1] },
		.id = cursor->fragment_id,
		.protocol = cursor->protocol,
		.scope = packet->key.scope >> 1,
	};
	struct fragment_ports *ports = bpf_map_lookup_elem(&fragments, &key);

	if (!ports) {
		packet->flags = FLAG_PORTS_UNKNOWN;
		return;
	}
	packet->key.src_port = ports->src_port;
	packet->key.dst_port = ports->dst_port;
}

static __always_inline bool holds(const struct cursor *cursor, __u32 length)
{
	return !cursor->end || cursor->at + length <= cursor->end;
}

/* Ports, TCP flags and sequence number, ICMP type, code and echo identifier. */
__noinline int parse_transport(SOURCE *from, struct packet *packet, struct cursor *cursor)
{
	__u8 head[14] = {};
	bool is_icmp, has_ports;
	__u16 protocol;

	if (!from || !packet || !cursor)
		return 0;
	protocol = cursor->protocol;
	is_icmp = protocol == IP_ICMP || protocol == IP_ICMPV6;
	has_ports = protocol == IP_TCP || protocol == IP_UDP || protocol == IP_SCTP;
	packet->key.protocol = protocol;
	if (!is_icmp && !has_ports)
		return 0;
	if (cursor->is_later) {
		inherit_ports(packet, cursor);
		return 0;
	}
	if (!holds(cursor, 8) || LOAD(from, cursor->at, head, 8)) {
		packet->flags = FLAG_PORTS_UNKNOWN;
		return 0;
	}
	if (is_icmp) {
		__u8 echo = protocol == IP_ICMP ? head[0] == 8 || head[0] == 0 :
						  head[0] == 128 || head[0] == 129;

		packet->key.dst_port = head[0] << 8 | head[1];
		if (echo)
			packet->key.src_port = head[4] << 8 | head[5];
	} else {
		packet->key.src_port = head[0] << 8 | head[1];
		packet->key.dst_port = head[2] << 8 | head[3];
	}
	if (protocol == IP_TCP && holds(cursor, 14) && !LOAD(from, cursor->at, head, 14)) {
		packet->flags = tcp_flags(head[13]);
		packet->isn = (__u32)head[4] << 24 | (__u32)head[5] << 16 | (__u32)head[6] << 8 |
			      head[7];
	}
	if (cursor->is_fragment)
		remember_fragment(packet, cursor);
	return 0;
}

/* 1 when it is an IPv4 header, and the cursor is behind it. */
__noinline int parse_ipv4(SOURCE *from, struct packet *packet, struct cursor *cursor)
{
	struct ipv4_header ip;
	__u32 length, header;
	__u16 fragment;

	if (!from || !packet || !cursor)
		return 0;
	if (LOAD(from, cursor->at, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4)
		return 0;
	header = (ip.version_ihl & 15) * 4;
	length = bpf_ntohs(ip.length);
	if (header < sizeof(ip) || (length && length < header))
		return 0;
	set_ipv4(packet->key.src, ip.src);
	set_ipv4(packet->key.dst, ip.dst);
	fragment = bpf_ntohs(ip.fragment);
	cursor->is_fragment = (fragment & 0x3fff) != 0;
	cursor->is_later = (fragment & 0x1fff) != 0;
	cursor->fragment_id = ip.id;
	cursor->protocol = ip.protocol;
	/* Packets above 64 KiB, made of segments on the way, say 0. */
	cursor->end = length ? cursor->at + length : 0;
	cursor->at += header;
	return 1;
}

static __always_inline bool is_extension(__u16 next)
{
	return next == IP_HOPOPTS || next == IP_ROUTING || next == IP_FRAGMENT || next == IP_AH ||
	       next == IP_DSTOPTS || next == IP_MOBILITY || next == IP_HIP || next == IP_SHIM6;
}

/* 1 when there was an extension header, and the cursor is behind it. */
__noinline int skip_extension(SOURCE *from, struct cursor *cursor)
{
	__u8 head[8];
	__u16 next;

	if (!from || !cursor)
		return 0;
	next = cursor->protocol;
	if (!is_extension(next) || cursor->is_later)
		return 0;
	/* Cut off inside its headers: the protocol is that of the last one named. */
	if (!holds(cursor, sizeof(head)) || LOAD(from, cursor->at, head, sizeof(head)))
		return 0;
	cursor->protocol = head[0];
	if (next == IP_FRAGMENT) {
		__u16 offset = head[2] << 8 | head[3];

		cursor->is_fragment = (offset & 0xfff9) != 0;
		cursor->is_later = (offset & 0xfff8) != 0;
		__builtin_memcpy(&cursor->fragment_id, head + 4, 4);
		cursor->at += 8;
	} else if (next == IP_AH) {
		cursor->at += (head[1] + 2) * 4;
	} else {
		cursor->at += (head[1] + 1) * 8;
	}
	return 1;
}

/* 1 when it is an IPv6 header, and the cursor is behind it and its extensions. */
__noinline int parse_ipv6(SOURCE *from, struct packet *packet, struct cursor *cursor)
{
	struct ipv6_header ip;
	__u32 length;

	if (!from || !packet || !cursor)
		return 0;
	if (LOAD(from, cursor->at, &ip, sizeof(ip)) || (*(__u8 *)&ip) >> 4 != 6)
		return 0;
	set_ipv6(packet->key.src, ip.src);
	set_ipv6(packet->key.dst, ip.dst);
	length = bpf_ntohs(ip.length);
	cursor->at += sizeof(ip);
	cursor->end = length ? cursor->at + length : 0;
	cursor->protocol = ip.next;
#pragma unroll
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (!skip_extension(from, cursor))
			break;
	}
	return 1;
}

/* From the network header on. What is not IP, or not whole enough to be, is a frame. */
static __always_inline void parse_network(SOURCE *from, struct packet *packet, __u32 at, __u16 type)
{
	struct cursor cursor = { .at = at };
	int is_ip = 0;

	if (type == ETH_IP)
		is_ip = parse_ipv4(from, packet, &cursor);
	else if (type == ETH_IPV6)
		is_ip = parse_ipv6(from, packet, &cursor);
	if (is_ip)
		parse_transport(from, packet, &cursor);
	else
		packet->key.protocol = type < ETH_LEAST ? LLC : type;
}

#endif
