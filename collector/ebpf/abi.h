/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the kernel programs and the loader both read and write. `src/abi.rs` has the same layouts
 * and asserts their sizes; raise WHYFLOW_ABI with every change.
 */
#ifndef WHYFLOW_ABI_H
#define WHYFLOW_ABI_H

#define WHYFLOW_ABI 1

/* How far an insertion looks for an empty place before it goes to the fallback. */
#define PROBES_MAX 8

/* States of `flow_key.tag`; any other value is odd: a hash with its lowest bit set. */
#define TAG_EMPTY 0
#define TAG_BUSY 2

/* Why a packet could not be attributed to a flow. */
#define OVERFLOW_NO_PLACE 0 /* neither in the table nor in the fallback */
#define OVERFLOW_NO_DROP_PLACE 1 /* a drop; the packet itself was counted where it came in */
#define OVERFLOW_SETTLING 2 /* no overflow: everything that passes a hook that is new */

/* Above the eight TCP flags: combinations that an OR would hide, and what is not known. */
#define FLAG_SYN_ONLY 0x100
#define FLAG_SYN_ACK 0x200
#define FLAG_PORTS_UNKNOWN 0x400

/* The direction in the lowest bit of `flow_key.scope`; above it the namespace's number. */
#define SCOPE_INGRESS 0
#define SCOPE_EGRESS 1

/* One 5-tuple at one interface in one direction. Ports are in host order. */
struct flow_key {
	__u32 tag;
	__u32 ifindex;
	__u64 src[2];
	__u64 dst[2];
	__u16 src_port;
	__u16 dst_port;
	__u16 protocol; /* IP protocol, or EtherType, or 0x05ff for LLC */
	__u16 scope;
};

/* What is touched only at insertion and on SYN. */
struct opening {
	__u64 first_ns;
	__u32 first_isn;
	__u32 last_isn;
	__u32 opened; /* SYNs without ACK whose sequence number differs from the one before */
	__u32 unused;
};

/* A place of the table: one cache line for every packet, and a second one beside it, on the same
 * page, for the first. */
struct place {
	struct flow_key key;
	__u64 packets; /* TCP flags in the top 16 bits */
	__u64 bytes; /* time of the last packet in the top 16 bits, in units of 2^TIME_SHIFT jiffies */
	struct opening opening;
	__u64 unused[5];
};

/* What the fallback map holds for a key. */
struct spilled {
	__u64 packets; /* as in struct place */
	__u64 bytes;
	struct opening opening;
};

struct overflow_key {
	__u32 ifindex;
	__u16 scope;
	__u16 reason;
};

/* Grows for ever; never cleared. */
struct overflow {
	__u64 packets;
	__u64 bytes;
};

/* Packets of one 5-tuple that were dropped for one reason at one place. */
struct drop_key {
	struct flow_key flow; /* tag 0 */
	__u64 location;
	__u32 reason;
	__u32 is_far; /* seen at the far end of a veth whose near end is in a watched namespace */
};

struct dropped {
	__u64 packets; /* as in struct place */
	__u64 bytes;
	__u64 first_ns;
	/* What the sender asked for, before destination NAT; `has_original` 1 when it differs. */
	__u64 original_src[2];
	__u64 original_dst[2];
	__u16 original_src_port;
	__u16 original_dst_port;
	__u32 has_original;
};

/* The ports of a datagram whose first fragment was seen. */
struct fragment_key {
	__u64 src[2];
	__u64 dst[2];
	__u32 id;
	__u16 protocol;
	__u16 scope;
};

struct fragment_ports {
	__u16 src_port;
	__u16 dst_port;
};

/* One element, pinned and mapped. A cache line each for what the loader writes, for the
 * generation, for what the programs write, and for the clock. */
struct control {
	__u32 abi;
	__u32 incarnation; /* raised at each start of an agent */
	__u64 object_hash; /* of the drops program that is attached */
	__u64 seed; /* of the table's hash */
	__u64 base_generation; /* the first generation of these maps */
	__u64 next_interface; /* the next number to hand out */
	__u64 began_ns[2]; /* when each half began to be written, monotonic */
	__u64 unused0;

	__u64 generation; /* the half being written is its lowest bit */
	__u64 settling; /* hooks that are new, and whose packets are counted once more */
	__u64 unused1[6];

	__u64 spilled[2]; /* packets that went to the fallback, by half */
	__u64 lost_packets; /* that not even an overflow counter could be had for */
	__u64 lost_bytes;
	__u64 unused2[4];

	__u64 clock_jiffies; /* written by the clock program when it is run */
	__u64 clock_ns;
	__u64 unused3[6];
};

#endif
