// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * For tests and benches alone: an empty program, a guest that counts what passes it, and the
 * capture with an ordinary HASH map instead of the mapped table.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"

#define SOURCE struct __sk_buff
#define LOAD(from, offset, to, length) bpf_skb_load_bytes(from, offset, to, length)
#include "parse.h"
#include "store.h"
#include "packet.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct overflow);
} guest SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key);
	__type(value, struct spilled);
} flows SEC(".maps");

SEC("classifier")
int whyflow_empty(struct __sk_buff *skb)
{
	return NEXT;
}

SEC("classifier")
int whyflow_empty_egress(struct __sk_buff *skb)
{
	return NEXT;
}

SEC("classifier")
int whyflow_guest(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct overflow *counter = bpf_map_lookup_elem(&guest, &zero);

	if (counter) {
		__sync_fetch_and_add(&counter->packets, 1);
		__sync_fetch_and_add(&counter->bytes, skb->len);
	}
	return NEXT;
}

static __always_inline int capture_hash(struct __sk_buff *skb, __u16 direction)
{
	struct packet packet = {};
	__u16 now = bpf_jiffies64() >> TIME_SHIFT;
	struct spilled *known, new = {};

	packet.key.ifindex = skb->ifindex;
	packet.key.scope = direction;
	if (!parse_direct(skb, &packet))
		parse_indirect(skb, &packet);
	known = bpf_map_lookup_elem(&flows, &packet.key);
	if (!known) {
		new.packets = 1 | (__u64)packet.flags << 48;
		new.bytes = skb->len | (__u64)now << 48;
		begin(&new.opening, &packet);
		bpf_map_update_elem(&flows, &packet.key, &new, BPF_NOEXIST);
		return NEXT;
	}
	add(&known->packets, &known->bytes, skb->len, packet.flags, now);
	if (packet.flags & FLAG_SYN_ONLY)
		open(&known->opening, &packet);
	return NEXT;
}

SEC("classifier")
int whyflow_hash_in(struct __sk_buff *skb)
{
	return capture_hash(skb, SCOPE_INGRESS);
}

SEC("classifier")
int whyflow_hash_out(struct __sk_buff *skb)
{
	return capture_hash(skb, SCOPE_EGRESS);
}
