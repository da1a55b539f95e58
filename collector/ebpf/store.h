/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The store: an open-addressed table in a mapped array, so that a hot packet costs one look at
 * one cache line and a drain no system call. A place is claimed by compare-and-swap to busy,
 * filled, and published by an exchange of its tag; places are only emptied by the loader, in a
 * half that nothing writes to any more. What meets a busy place or a full run goes to a hash map,
 * and what that cannot take to the overflow counters: no packet is left out of all three.
 */
#ifndef WHYFLOW_STORE_H
#define WHYFLOW_STORE_H

/* Places in one half, less one; a power of two less one. */
volatile const __u32 PLACES_MASK = 0;
/* log2 of the jiffies in one unit of time. */
volatile const __u32 TIME_SHIFT = 0;
/* So that nobody can choose flows that share a place. */
volatile const __u64 SEED = 0;

#define TOP(word) (((__u16 *)&(word))[3])
#define READ(word) (*(volatile typeof(word) *)&(word))

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

static __always_inline __u64 hash_of(const struct flow_key *key)
{
	__u64 ports = *(const __u64 *)&key->src_port;
	__u64 hash = SEED;

	hash = mix(hash, key->src[1] ^ key->dst[0]);
	hash = mix(hash, key->dst[1] + key->src[0]);
	return mix(hash, ports ^ (__u64)key->ifindex << 16);
}

static __always_inline bool is_same(const struct flow_key *a, const struct flow_key *b)
{
	return *(const __u64 *)&a->tag == *(const __u64 *)&b->tag && a->src[1] == b->src[1] &&
	       a->dst[1] == b->dst[1] &&
	       *(const __u64 *)&a->src_port == *(const __u64 *)&b->src_port &&
	       a->src[0] == b->src[0] && a->dst[0] == b->dst[0];
}

static __always_inline void add(__u64 *packets, __u64 *bytes, __u64 length, __u16 flags, __u16 now)
{
	__sync_fetch_and_add(packets, 1);
	__sync_fetch_and_add(bytes, length);
	if (flags & ~READ(TOP(*packets)))
		__sync_fetch_and_or(packets, (__u64)flags << 48);
	/* Another CPU's time of now is as good as ours. */
	if (READ(TOP(*bytes)) != now)
		READ(TOP(*bytes)) = now;
}

/* A SYN without ACK opens a connection unless it repeats the last one. */
static __always_inline void open(struct opening *opening, const struct packet *packet)
{
	if (opening->opened && opening->last_isn == packet->isn)
		return;
	if (!opening->opened)
		opening->first_isn = packet->isn;
	opening->last_isn = packet->isn;
	__sync_fetch_and_add(&opening->opened, 1);
}

static __always_inline void begin(struct opening *opening, const struct packet *packet)
{
	bool opens = packet->flags & FLAG_SYN_ONLY;

	opening->first_ns = bpf_ktime_get_ns();
	opening->first_isn = opens ? packet->isn : 0;
	opening->last_isn = opening->first_isn;
	opening->opened = opens;
	opening->unused = 0;
}

static __noinline long spill(struct packet *packet, __u64 length, __u16 now, __u32 half)
{
	struct control *page = control_page();
	void *map = half ? (void *)&spilled_1 : (void *)&spilled_0;
	struct spilled *known, new = {};

	if (page)
		__sync_fetch_and_add(&page->spilled[half & 1], 1);
	known = bpf_map_lookup_elem(map, &packet->key);
	if (!known) {
		new.packets = 1 | (__u64)packet->flags << 48;
		new.bytes = length | (__u64)now << 48;
		begin(&new.opening, packet);
		if (!bpf_map_update_elem(map, &packet->key, &new, BPF_NOEXIST))
			return 0;
		known = bpf_map_lookup_elem(map, &packet->key);
	}
	if (!known)
		return overflow(&packet->key, length, OVERFLOW_NO_PLACE);
	add(&known->packets, &known->bytes, length, packet->flags, now);
	if (packet->flags & FLAG_SYN_ONLY)
		open(&known->opening, packet);
	return 0;
}

/* Fills a place that this program has just claimed. */
static __always_inline void fill(struct place *place, const struct packet *packet, __u64 length,
				 __u16 now)
{
	place->key.ifindex = packet->key.ifindex;
	place->key.src[0] = packet->key.src[0];
	place->key.src[1] = packet->key.src[1];
	place->key.dst[0] = packet->key.dst[0];
	place->key.dst[1] = packet->key.dst[1];
	*(__u64 *)&place->key.src_port = *(const __u64 *)&packet->key.src_port;
	place->packets = 1 | (__u64)packet->flags << 48;
	place->bytes = length | (__u64)now << 48;
	begin(&place->opening, packet);
	__sync_lock_test_and_set(&place->key.tag, packet->key.tag);
}

/* Counts a packet at a hook that is new, so that the loader can tell what came before. */
static __noinline long settle(const struct flow_key *flow, __u64 bytes)
{
	struct overflow_key key = {
		.ifindex = flow->ifindex,
		.scope = flow->scope,
		.reason = OVERFLOW_SETTLING,
	};
	struct overflow *known = bpf_map_lookup_elem(&overflows, &key);

	if (known) {
		__sync_fetch_and_add(&known->packets, 1);
		__sync_fetch_and_add(&known->bytes, bytes);
	}
	return 0;
}

static __always_inline void count(struct packet *packet, __u64 length)
{
	struct control *page = control_page();
	__u16 now = bpf_jiffies64() >> TIME_SHIFT;
	__u64 hash = hash_of(&packet->key);
	__u32 start = hash >> 32, half;

	if (!page)
		return;
	half = READ(page->generation) & 1;
	if (READ(page->settling))
		settle(&packet->key, length);
	packet->key.tag = (__u32)hash | 1;
#pragma unroll
	for (int i = 0; i < PROBES_MAX; i++) {
		__u32 index = ((start + i) & PLACES_MASK) + (half ? PLACES_MASK + 1 : 0);
		struct place *place = bpf_map_lookup_elem(&places, &index);
		__u32 tag;

		if (!place)
			break;
		tag = READ(place->key.tag);
		if (tag == TAG_EMPTY) {
			tag = __sync_val_compare_and_swap(&place->key.tag, TAG_EMPTY, TAG_BUSY);
			if (tag == TAG_EMPTY) {
				fill(place, packet, length, now);
				return;
			}
		}
		if (tag == TAG_BUSY)
			break;
		if (tag != packet->key.tag || !is_same(&place->key, &packet->key))
			continue;
		add(&place->packets, &place->bytes, length, packet->flags, now);
		if (packet->flags & FLAG_SYN_ONLY)
			open(&place->opening, packet);
		return;
	}
	spill(packet, length, now, half);
}

#endif
