package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/shirou/gopsutil/v3/net"
)

// EphemeralPorts is how far the ports for outgoing TCP connections are used up
// from one local address towards one peer: a port can be used again for another
// peer, so this is what runs out.
type EphemeralPorts struct {
	Used int
	Size int    // how many ports there are
	Peer string // address and port, "" where no connection is outgoing
	In   string // the network namespace, "" where there is only one
}

// percent returns the share in use, to a tenth.
func (p EphemeralPorts) percent() float64 {
	return math.Round(1000*float64(p.Used)/float64(p.Size)) / 10
}

func (p EphemeralPorts) text() string {
	text := fmt.Sprintf("ephemeral ports: %d%% of %d", int(p.percent()), p.Size)
	if p.Peer != "" {
		text += " to " + p.Peer
	}
	if p.In != "" {
		text += " in " + p.In
	}
	return text
}

// portSpace is the ports that the kernel picks for outgoing connections.
type portSpace struct {
	portRange             // net.ipv4.ip_local_port_range, for IPv6 too
	reserved  []portRange // net.ipv4.ip_local_reserved_ports
}

func (s portSpace) has(port uint32) bool {
	if port < s.first || port > s.last {
		return false
	}
	for _, reserved := range s.reserved {
		if reserved.first <= port && port <= reserved.last {
			return false
		}
	}
	return true
}

func (s portSpace) size() int {
	size := 0
	for port := s.first; port <= s.last; port++ {
		if s.has(port) {
			size++
		}
	}
	return size
}

// ephemeralPorts returns the fullest use of ephemeral ports, of all the network
// namespaces that the configuration asks for. It looks at all TCP connections,
// whatever else is selected. parts returns the sockets to read for a
// configuration.
func ephemeralPorts(parts func(Config) []part, config Config) (*EphemeralPorts, error) {
	listening, err := listeners(parts, config)
	if err != nil {
		return nil, err
	}
	config = config.everything()
	config.Selection.Types = []string{"tcp", "tcp6"}
	config.Selection.Statuses = []string{ // every one but LISTEN, CLOSE and SYN_RECV, which comes from the peer
		"ESTABLISHED", "SYN_SENT", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE_WAIT", "LAST_ACK", "CLOSING",
	}
	config.By = Grouping{byLocalAddress, byRemoteAddress, byRemotePort}

	// An IPv6 socket with an IPv4 peer takes its port from the same ones, so the
	// connections are added up over the types of a network namespace.
	type share struct {
		space uint64
		local string
		peer  peer
	}
	used := map[share]int{}
	spaces := map[uint64]portSpace{}
	var fullest *EphemeralPorts
	for _, part := range parts(config) {
		space, known := spaces[part.space]
		if !known {
			space, err = part.ports()
			if errors.Is(err, errVanished) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if space.size() == 0 {
				return nil, errors.New("net.ipv4.ip_local_port_range and net.ipv4.ip_local_reserved_ports leave no ephemeral ports")
			}
			spaces[part.space] = space
		}
		tally := config.tally()
		tally.accepts = func(record net.ConnectionStat) (bool, error) {
			return space.has(record.Laddr.Port) && !listening.accepted(part.space, record), nil
		}
		counts, _, failures := read(part, tally.of)
		if counts == nil {
			return nil, unreadable(part, failures)
		}
		candidate := EphemeralPorts{Size: space.size()}
		if part.netns != "" {
			candidate.In = outsideName(part.netns)
		}
		if fullest == nil {
			fullest = new(EphemeralPorts)
			*fullest = candidate
		}
		for k, sockets := range counts.all() {
			if !config.selects(k) {
				continue
			}
			user := share{part.space, k.localAddress, peer{k.remoteAddress, k.portPair.remote}}
			used[user] += sockets
			candidate.Used, candidate.Peer = used[user], user.peer.text()
			if candidate.isFuller(*fullest) {
				*fullest = candidate
			}
		}
	}
	return fullest, nil
}

// isFuller tells whether a larger share of the ports is in use; equal ones are
// in the order of their peers.
func (p EphemeralPorts) isFuller(other EphemeralPorts) bool {
	ours, theirs := int64(p.Used)*int64(other.Size), int64(other.Used)*int64(p.Size)
	return ours > theirs || ours == theirs && ours > 0 && p.Peer < other.Peer
}

// listenerSet has the addresses and ports that connections come in on.
type listenerSet map[listener]bool

type listener struct {
	space   uint64 // the network namespace
	family  uint32 // a connection has the family of its listener
	address string // "" for any
	port    uint32
}

// accepted tells whether the connection came in on a listening port.
func (s listenerSet) accepted(space uint64, record net.ConnectionStat) bool {
	return s[listener{space, record.Family, "", record.Laddr.Port}] || s[listener{space, record.Family, record.Laddr.IP, record.Laddr.Port}]
}

// listeners reads the listening TCP sockets.
func listeners(parts func(Config) []part, config Config) (listenerSet, error) {
	config = config.everything()
	config.Selection = Selection{Types: []string{"tcp", "tcp6"}, Statuses: []string{"LISTEN"}}
	config.By = Grouping{byStatus, byLocalAddress, byLocalPort}
	set := listenerSet{}
	for _, part := range parts(config) {
		counts, _, failures := read(part, config.tally().of)
		if counts == nil {
			return nil, unreadable(part, failures)
		}
		for k := range counts.all() {
			if !config.selects(k) {
				continue
			}
			address := k.localAddress
			switch address {
			case "0.0.0.0", "::", "*":
				address = ""
			}
			set[listener{part.space, k.family, address, k.portPair.local}] = true
		}
	}
	return set, nil
}
