// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Folds the kernel's own reports of dropped packets by flow, interface, network namespace, reason
 * and place. A drop is ours when its namespace is watched, or when it fell at the far end of a
 * veth whose near end is in a watched namespace.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"

/* Only the fields in use, found in the running kernel by their names. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct rtnl_link_ops {
	const char *kind;
};
struct net_device {
	possible_net_t nd_net;
	int ifindex;
	const struct rtnl_link_ops *rtnl_link_ops;
};
struct sock_common {
	possible_net_t skc_net;
};
struct sock {
	struct sock_common __sk_common;
};
struct dst_entry {
	struct net_device *dev;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned long _nfct;
	unsigned int len;
	int skb_iif;
	__be16 protocol;
	__u16 network_header;
	__u16 mac_header;
	unsigned int tail;
	unsigned char *head;
	unsigned char *data;
};
union nf_inet_addr {
	__u32 all[4];
};
union nf_conntrack_man_proto {
	__be16 all;
};
struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
};
struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
	} dst;
};
struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};
struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
};
#pragma clang attribute pop

/* Reads a header of a dropped packet, no further than the packet's linear part goes. */
struct headers {
	const unsigned char *head;
	__u32 tail;
};

static __always_inline long load(const struct headers *from, __u32 at, void *to, __u32 length)
{
	if (at + length > from->tail)
		return -1;
	return bpf_probe_read_kernel(to, length, from->head + at);
}

#define SOURCE struct headers
#define LOAD(from, offset, to, length) load(from, offset, to, length)
#include "parse.h"

char LICENSE[] SEC("license") = "GPL";

#define PTR_MASK (~7UL)
#define CTINFO_MASK 7UL
#define CTINFO_REPLY 3
#define DST_NOREF 1UL
#define NO_MAC_HEADER 0xffff
#define DEVICE_ALIGN 32

/* Reasons that, without a device, are a socket's own tidying, not a drop. */
volatile const __u32 REASON_NOT_SPECIFIED = ~0U;
volatile const __u32 REASON_QUEUE_PURGE = ~0U;
/* Whether the tracepoint names the receiving socket (Linux 6.11). */
volatile const __u32 HAS_RECEIVER = 0;
volatile const __u32 TIME_SHIFT = 0;

/* Network namespaces that are watched, by inode: their numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct drop_key);
	__type(value, struct dropped);
} drops_0 SEC(".maps"), drops_1 SEC(".maps");

static __always_inline __u32 number_of(const struct net *net)
{
	__u32 inode = net->ns.inum;
	__u32 *number = inode ? bpf_map_lookup_elem(&watched, &inode) : 0;

	return number ? *number : 0;
}

static __always_inline __u32 number_of_read(struct net *net)
{
	__u32 inode = BPF_CORE_READ(net, ns.inum);
	__u32 *number = inode ? bpf_map_lookup_elem(&watched, &inode) : 0;

	return number ? *number : 0;
}

/* The near end of a veth. Its pointer is the first thing in the far end's private part, which
 * follows the device (drivers/net/veth.c, netdev_priv()). */
static __always_inline struct net_device *near_end(struct net_device *device)
{
	__u64 size = bpf_core_type_size(struct net_device);
	struct net_device *peer = 0;
	char kind[5] = {};
	const char *name = BPF_CORE_READ(device, rtnl_link_ops, kind);

	if (!name || bpf_probe_read_kernel_str(kind, sizeof(kind), name) != 5)
		return 0;
	if (kind[0] != 'v' || kind[1] != 'e' || kind[2] != 't' || kind[3] != 'h')
		return 0;
	size = (size + DEVICE_ALIGN - 1) & ~(__u64)(DEVICE_ALIGN - 1);
	bpf_probe_read_kernel(&peer, sizeof(peer), (void *)device + size);
	return peer;
}

/* Where the packet was; false when it is none of ours. */
static __always_inline bool locate(struct sk_buff *skb, struct sock *receiver,
				   struct flow_key *key, __u32 *is_far)
{
	struct net_device *device = skb->dev, *peer;
	__u32 incoming = skb->skb_iif, number = 0;
	int ifindex = 0;

	if (device) {
		number = number_of(device->nd_net.net);
		ifindex = device->ifindex;
	}
	if (!ifindex) {
		struct dst_entry *dst = (void *)(skb->_skb_refdst & ~DST_NOREF);

		device = dst ? BPF_CORE_READ(dst, dev) : 0;
		if (device) {
			number = number_of_read(BPF_CORE_READ(device, nd_net.net));
			ifindex = BPF_CORE_READ(device, ifindex);
		}
	}
	if (!ifindex && receiver)
		number = number_of_read(BPF_CORE_READ(receiver, __sk_common.skc_net.net));
	if (!ifindex && !number)
		number = number_of_read(BPF_CORE_READ(skb, sk, __sk_common.skc_net.net));
	if (number) {
		key->ifindex = incoming ? incoming : ifindex;
		key->scope = number << 1 | (incoming ? SCOPE_INGRESS : SCOPE_EGRESS);
		return true;
	}
	peer = device ? near_end(device) : 0;
	if (!peer)
		return false;
	number = number_of_read(BPF_CORE_READ(peer, nd_net.net));
	key->ifindex = BPF_CORE_READ(peer, ifindex);
	key->scope = number << 1 | (incoming ? SCOPE_EGRESS : SCOPE_INGRESS);
	*is_far = 1;
	return number != 0;
}

/* What the sender asked for, where destination NAT has changed it already. */
static __always_inline void read_original(struct sk_buff *skb, const struct flow_key *key,
					  struct dropped *value)
{
	__u64 tracked = skb->_nfct;
	struct nf_conn *entry = (void *)(tracked & PTR_MASK);
	__u32 src[4], dst[4];
	__u16 dst_port;

	if (!bpf_core_type_exists(struct nf_conn) || !entry ||
	    (tracked & CTINFO_MASK) >= CTINFO_REPLY)
		return;
	BPF_CORE_READ_INTO(&src, entry, tuplehash[0].tuple.src.u3.all);
	BPF_CORE_READ_INTO(&dst, entry, tuplehash[0].tuple.dst.u3.all);
	if (key->src[0] || (__u32)key->src[1] != 0xffff0000) {
		set_ipv6(value->original_src, src);
		set_ipv6(value->original_dst, dst);
	} else {
		set_ipv4(value->original_src, src[0]);
		set_ipv4(value->original_dst, dst[0]);
	}
	value->original_src_port = key->src_port;
	dst_port = key->dst_port;
	if (key->protocol == IP_TCP || key->protocol == IP_UDP || key->protocol == IP_SCTP) {
		value->original_src_port =
			bpf_ntohs(BPF_CORE_READ(entry, tuplehash[0].tuple.src.u.all));
		dst_port = bpf_ntohs(BPF_CORE_READ(entry, tuplehash[0].tuple.dst.u.all));
	}
	value->original_dst_port = dst_port;
	value->has_original = value->original_dst[0] != key->dst[0] ||
			      value->original_dst[1] != key->dst[1] || dst_port != key->dst_port ||
			      value->original_src[0] != key->src[0] ||
			      value->original_src[1] != key->src[1] ||
			      value->original_src_port != key->src_port;
}

/* From the link header, where there is one, to the end. */
static __always_inline __u64 length_of(struct sk_buff *skb)
{
	__s64 at = skb->data - skb->head, mac = skb->mac_header, start = at;

	if (mac != NO_MAC_HEADER && mac < at)
		start = mac;
	else if (skb->network_header < at)
		start = skb->network_header;
	return skb->len + (at - start);
}

static __noinline long fold(struct drop_key *key, struct dropped *value, __u64 length, __u16 flags)
{
	__u16 now = bpf_jiffies64() >> TIME_SHIFT;
	struct control *page = control_page();
	struct dropped *known;
	void *map;

	if (!page)
		return 0;
	map = *(volatile __u64 *)&page->generation & 1 ? (void *)&drops_1 : (void *)&drops_0;
	known = bpf_map_lookup_elem(map, key);
	if (!known) {
		value->packets = 1 | (__u64)flags << 48;
		value->bytes = length | (__u64)now << 48;
		value->first_ns = bpf_ktime_get_ns();
		if (!bpf_map_update_elem(map, key, value, BPF_NOEXIST))
			return 0;
		known = bpf_map_lookup_elem(map, key);
	}
	if (!known)
		return overflow(&key->flow, length, OVERFLOW_NO_DROP_PLACE);
	__sync_fetch_and_add(&known->packets, 1);
	__sync_fetch_and_add(&known->bytes, length);
	__sync_fetch_and_or(&known->packets, (__u64)flags << 48);
	((volatile __u16 *)&known->bytes)[3] = now;
	return 0;
}

SEC("tp_btf/kfree_skb")
int whyflow_drops(__u64 *arguments)
{
	struct sk_buff *skb = (void *)arguments[0];
	struct sock *receiver = 0;
	struct packet packet = {};
	struct dropped value = {};
	struct drop_key key = {};
	struct headers headers;
	__u32 reason = arguments[2];
	__u16 type = bpf_ntohs(skb->protocol);

	if (!type)
		return 0;
	if (!skb->dev && (reason == REASON_NOT_SPECIFIED || reason == REASON_QUEUE_PURGE))
		return 0;
	if (HAS_RECEIVER)
		receiver = (void *)arguments[3];
	if (!locate(skb, receiver, &packet.key, &key.is_far))
		return 0;
	headers.head = skb->head;
	headers.tail = skb->tail;
	parse_network(&headers, &packet, skb->network_header, type);
	key.flow = packet.key;
	key.location = arguments[1];
	key.reason = reason;
	read_original(skb, &packet.key, &value);
	fold(&key, &value, length_of(skb), packet.flags);
	return 0;
}
