package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	stdnet "net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// portSpace is the ports that the kernel picks by itself, and when it takes one
// again.
type portSpace struct {
	name      string        // of the network namespace, "" where there is only one
	portRange               // net.ipv4.ip_local_port_range, for IPv6 too
	reserved  []portRange   // net.ipv4.ip_local_reserved_ports
	reuse     int           // net.ipv4.tcp_tw_reuse: 0 never, 1 always, 2 on loopback; 0 without timestamps
	delay     time.Duration // how long a connection is in TIME_WAIT before its port is taken again
}

func (p portSpace) has(port uint32) bool {
	return p.portRange.has(port) && !slices.ContainsFunc(p.reserved, func(r portRange) bool { return r.has(port) })
}

func (p portSpace) size() (ports int) {
	for port := p.first; port <= p.last; port++ {
		if p.has(port) {
			ports++
		}
	}
	return ports
}

// isFree tells whether connect() takes the port of a connection in TIME_WAIT
// again (tcp_twsk_unique in net/ipv4/tcp_ipv4.c).
func (p portSpace) isFree(s *socket) bool {
	isLoopback := func(address string) bool { return address == "::1" || strings.HasPrefix(address, "127.") }
	isReused := p.reuse == 1 || p.reuse == 2 && (isLoopback(s.Laddr.IP) || isLoopback(s.Raddr.IP))
	return s.Status == "TIME_WAIT" && isReused && timeWait-s.left > p.delay
}

// timeWait is how long a connection stays in TIME_WAIT (TCP_TIMEWAIT_LEN in
// include/net/tcp.h).
const timeWait = time.Minute

// parsePortSpace reads net.ipv4.ip_local_port_range and
// net.ipv4.ip_local_reserved_ports.
func parsePortSpace(limits, reserved string) (portSpace, error) {
	ports, ok := parsePortRange(strings.Join(strings.Fields(limits), "-"))
	if !ok {
		return portSpace{}, fmt.Errorf("net.ipv4.ip_local_port_range is no range: %s", quote(limits))
	}
	space := portSpace{portRange: ports}
	for item := range strings.SplitSeq(reserved, ",") {
		if reserved == "" {
			break
		}
		ports, ok := parsePortRange(item)
		if !ok {
			return portSpace{}, fmt.Errorf("net.ipv4.ip_local_reserved_ports is no list of ports: %s", quote(reserved))
		}
		space.reserved = append(space.reserved, ports)
	}
	if space.size() == 0 {
		return portSpace{}, errors.New("net.ipv4.ip_local_port_range and net.ipv4.ip_local_reserved_ports leave no ephemeral ports")
	}
	return space, nil
}

// ephemeralPorts judges how far the ports are used up that the kernel picks: for
// TCP from one local address towards one peer, as a port can be used again for
// another peer, and for UDP at all.
type ephemeralPorts map[uint64]portSpace // by network namespace

func (ephemeralPorts) row() limitRow { return limitEphemeral }

// What a port is held by.
const (
	heldByBind = "bind" // connect() passes over it, whoever the peer is
	heldByUDP  = "udp"
	heldByPeer = "peer"
)

// holding tells what holds the port of the socket, "" where it is none of the
// ports, or free for others.
func (e ephemeralPorts) holding(s *socket) string {
	space, isRead := e[s.netnsID]
	switch {
	case !isRead || !space.has(s.Laddr.Port):
		return ""
	case isUDP(s.proto):
		return heldByUDP
	case s.Status == statusBound || s.Status == "LISTEN":
		return heldByBind
	case s.Status == "CLOSE" || s.Status == "SYN_RECV" || s.direction == directionIn || space.isFree(s):
		return ""
	}
	return heldByPeer
}

func (e ephemeralPorts) tally() *tally {
	return &tally{
		includes: func(_, status string) bool { return status != "CLOSE" && status != "SYN_RECV" },
		fields:   fieldLocalAddress | fieldLocalPort | fieldRemoteAddress | fieldRemotePort | fieldNetns | fieldDirection | fieldBound,
		bounds:   func(netnsID uint64) []bound { return []bound{{ports: []portRange{e[netnsID].portRange}}} },
		asks:     func(s *socket) answer { return sure(e.holding(s) != "") },
		key: func(to []byte, s *socket) []byte {
			holding := e.holding(s)
			to = append(append(to, holding...), keySeparator...)
			to = append(strconv.AppendUint(to, s.netnsID, 10), keySeparator...)
			if holding != heldByPeer {
				return strconv.AppendUint(to, uint64(s.Laddr.Port), 10)
			}
			to = append(append(to, s.Raddr.IP...), keySeparator...)
			to = append(byRemotePort.append(to, s), keySeparator...)
			to = append(append(to, s.Laddr.IP...), keySeparator...)
			return strconv.AppendUint(to, uint64(s.device), 10)
		},
	}
}

// figure returns the fullest use of the ports.
func (e ephemeralPorts) figure(found *counts) figure {
	var fullest use
	for i, each := range e.uses(found) {
		ours, theirs := each.used*fullest.size, fullest.used*each.size
		if i == 0 || ours > theirs || ours == theirs && each.text < fullest.text && ours > 0 {
			fullest = each
		}
	}
	if fullest.used == 0 { // nothing holds a port
		fullest.text = ""
	}
	subject := fmt.Sprint(fullest.size) + fullest.text
	if name := e[fullest.id].name; name != "" {
		subject += " in " + cleanName(name)
	}
	one := limitEphemeral.percentage(float64(fullest.used), float64(fullest.size), subject)
	one.sockets, one.users = fullest.used, e.tally()
	isUse, key := one.users.asks, one.users.key
	one.users.asks = func(s *socket) answer { return sure(isUse(s) != no && fullest.isOf(string(key(nil, s)))) }
	return one
}

// inOrder returns the network namespaces by their names.
func (e ephemeralPorts) inOrder() []uint64 {
	return slices.SortedFunc(maps.Keys(e), func(a, b uint64) int { return cmp.Or(cmp.Compare(e[a].name, e[b].name), cmp.Compare(a, b)) })
}

// use is how many ports are gone for whoever wants one.
type use struct {
	id         uint64 // of the network namespace
	used, size int
	text       string
	peer       string // the key of the connections to the peer, "" for UDP
}

// isOf tells whether sockets with the key are among those that use the ports.
func (u use) isOf(key string) bool {
	values := strings.SplitN(key, keySeparator, 3)
	isHere := values[1] == strconv.FormatUint(u.id, 10)
	return key == u.peer || isHere && (u.peer == "" && values[0] == heldByUDP || u.peer != "" && values[0] == heldByBind)
}

// uses adds up the ports that are held for everybody, and those for each peer.
func (e ephemeralPorts) uses(found *counts) (all []use) {
	forAll, datagrams, sizes := map[uint64]int{}, map[uint64]int{}, map[uint64]int{}
	for id, space := range e {
		sizes[id] = space.size()
	}
	for _, r := range found.rows {
		values := strings.SplitN(r.key, keySeparator, 3)
		id, _ := strconv.ParseUint(values[1], 10, 64)
		switch values[0] {
		case heldByBind:
			forAll[id]++
		case heldByUDP:
			datagrams[id]++
		}
	}
	for _, id := range e.inOrder() {
		size := sizes[id]
		all = append(all, use{id: id, used: min(datagrams[id], size), size: size, text: " for UDP"})
		if forAll[id] > 0 {
			all = append(all, use{id: id, used: min(forAll[id], size), size: size, text: " for any peer", peer: heldByBind})
		}
	}
	for _, r := range found.rows {
		values := strings.Split(r.key, keySeparator)
		if values[0] != heldByPeer {
			continue
		}
		id, _ := strconv.ParseUint(values[1], 10, 64)
		all = append(all, use{
			id: id, used: min(r.known+forAll[id], sizes[id]), size: sizes[id], peer: r.key,
			text: " to " + stdnet.JoinHostPort(values[2], values[3]),
		})
	}
	return all
}
