/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * From an skb at a hook to a flow key: what is where it mostly is, by direct access, and all else
 * through a helper.
 */
#ifndef WHYFLOW_PACKET_H
#define WHYFLOW_PACKET_H

/* TCX_NEXT, which is TC_ACT_UNSPEC: the next program decides. */
#define NEXT (-1)

/* Length of the link header: 14, or 0 for devices that have none. */
volatile const __u32 LINK_HEADER = ETH_HEADER;

/* Everything that is not where it mostly is, read through a helper. */
static __noinline long parse_indirect(struct __sk_buff *skb, struct packet *packet)
{
	__u32 at = LINK_HEADER;
	__be16 type = skb->protocol;
	__u16 host;

	if (LINK_HEADER && LOAD(skb, LINK_HEADER - 2, &type, 2))
		type = 0;
	host = bpf_ntohs(type);
#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++) {
		if (host != ETH_VLAN && host != ETH_QINQ && host != ETH_QINQ_OLD)
			break;
		if (LOAD(skb, at + 2, &type, 2))
			break;
		host = bpf_ntohs(type);
		at += 4;
	}
	parse_network(skb, packet, at, host);
	return 0;
}

/* Ports, and TCP's flags and sequence number, of a header that is in reach. */
static __always_inline bool parse_ports(const __u8 *head, const void *end, __u8 protocol,
					struct packet *packet)
{
	if (protocol == IP_TCP) {
		if ((void *)head + 14 > end)
			return false;
		packet->flags = tcp_flags(head[13]);
		packet->isn = bpf_ntohl(*(__be32 *)(head + 4));
	} else if (protocol != IP_UDP) {
		return false;
	}
	packet->key.src_port = bpf_ntohs(*(__be16 *)head);
	packet->key.dst_port = bpf_ntohs(*(__be16 *)(head + 2));
	packet->key.protocol = protocol;
	return true;
}

/* TCP and UDP in plain IPv4 or IPv6; false, and nothing set that would stay, for all else. */
static __always_inline bool parse_direct(struct __sk_buff *skb, struct packet *packet)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ipv4_header *four = data + LINK_HEADER;
	const struct ipv6_header *six = data + LINK_HEADER;
	__be16 type = skb->protocol;

	if ((void *)four + sizeof(*four) + 8 > end)
		return false;
	if (LINK_HEADER)
		type = *(const __be16 *)(data + LINK_HEADER - 2);
	if (type == bpf_htons(ETH_IP)) {
		__u16 length = bpf_ntohs(four->length);

		if (four->version_ihl != 0x45 || four->fragment & bpf_htons(0x3fff) ||
		    (length && length < sizeof(*four) + 14 - (four->protocol != IP_TCP) * 6))
			return false;
		if (!parse_ports((void *)(four + 1), end, four->protocol, packet))
			return false;
		set_ipv4(packet->key.src, four->src);
		set_ipv4(packet->key.dst, four->dst);
		return true;
	}
	if (type == bpf_htons(ETH_IPV6)) {
		__u16 length;

		if ((void *)six + sizeof(*six) + 8 > end || (*(__u8 *)six) >> 4 != 6)
			return false;
		length = bpf_ntohs(six->length);
		if ((length && length < 14 - (six->next != IP_TCP) * 6) ||
		    !parse_ports((void *)(six + 1), end, six->next, packet))
			return false;
		set_ipv6(packet->key.src, six->src);
		set_ipv6(packet->key.dst, six->dst);
		return true;
	}
	return false;
}

#endif
