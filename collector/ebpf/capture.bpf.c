// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Counts every packet at the two hooks of an interface. A guest in the house: it writes nothing
 * to the packet, and what it returns lets the next program run (TCX_NEXT is TC_ACT_UNSPEC).
 *
 * One copy of the programs is loaded for each network namespace, with its number as a constant,
 * and a second one where the namespace has interfaces without link header.
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

/* The number of the network namespace. */
volatile const __u32 NETNS = 0;

static __always_inline int capture(struct __sk_buff *skb, __u16 direction)
{
	struct packet packet = {};

	packet.key.ifindex = skb->ifindex;
	packet.key.scope = NETNS << 1 | direction;
	if (!parse_direct(skb, &packet))
		parse_indirect(skb, &packet);
	count(&packet, skb->len);
	return NEXT;
}

SEC("classifier")
int whyflow_ingress(struct __sk_buff *skb)
{
	return capture(skb, SCOPE_INGRESS);
}

SEC("classifier")
int whyflow_egress(struct __sk_buff *skb)
{
	return capture(skb, SCOPE_EGRESS);
}

/* Attached nowhere: the loader runs it to learn what the jiffies and the clock say together. */
SEC("classifier")
int whyflow_clock(struct __sk_buff *skb)
{
	struct control *page = control_page();

	if (page) {
		page->clock_jiffies = bpf_jiffies64();
		page->clock_ns = bpf_ktime_get_ns();
	}
	return NEXT;
}
