/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The maps, shared by every copy of the programs through their pins. The sizes here are least
 * ones: the loader sets them.
 */
#ifndef WHYFLOW_MAPS_H
#define WHYFLOW_MAPS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

/* Two halves, one after the other. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct place);
} places SEC(".maps");

/* The fallback's two halves: a full run of places, or a place that is being filled. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct spilled);
} spilled_0 SEC(".maps"), spilled_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct overflow_key);
	__type(value, struct overflow);
} overflows SEC(".maps");

static __always_inline struct control *control_page(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* Counts a packet that has found no place. */
static __noinline long overflow(const struct flow_key *flow, __u64 bytes, __u32 reason)
{
	struct overflow_key key = {
		.ifindex = flow->ifindex,
		.scope = flow->scope,
		.reason = reason,
	};
	struct overflow one = { .packets = 1, .bytes = bytes };
	struct overflow *known = bpf_map_lookup_elem(&overflows, &key);
	struct control *page;

	if (!known) {
		if (!bpf_map_update_elem(&overflows, &key, &one, BPF_NOEXIST))
			return 0;
		known = bpf_map_lookup_elem(&overflows, &key);
	}
	if (known) {
		__sync_fetch_and_add(&known->packets, 1);
		__sync_fetch_and_add(&known->bytes, bytes);
		return 0;
	}
	page = control_page();
	if (page) {
		__sync_fetch_and_add(&page->lost_packets, 1);
		__sync_fetch_and_add(&page->lost_bytes, bytes);
	}
	return 0;
}

#endif
