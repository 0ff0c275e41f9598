package main

import (
	"errors"
	"fmt"
	"math"
	stdnet "net"
	"strconv"
	"strings"
)

// ephemeralLabel names the ephemeral ports in performance data.
const ephemeralLabel = "ephemeral_ports"

// limit is something that runs out, in percent of what there is.
type limit interface {
	group() string         // by which thresholds name it
	tally() *tally         // of what uses it up
	figure(*counts) figure // the fullest one
}

// portSpace is the ports that the kernel picks for outgoing connections.
type portSpace struct {
	portRange             // net.ipv4.ip_local_port_range, for IPv6 too
	reserved  []portRange // net.ipv4.ip_local_reserved_ports
}

func (p portSpace) has(port uint32) bool {
	if !p.portRange.has(port) {
		return false
	}
	for _, reserved := range p.reserved {
		if reserved.has(port) {
			return false
		}
	}
	return true
}

func (p portSpace) size() (ports int) {
	for port := p.first; port <= p.last; port++ {
		if p.has(port) {
			ports++
		}
	}
	return ports
}

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

// ephemeralPorts judges how far the ports for outgoing TCP connections are used
// up from one local address towards one peer: a port can be used again for
// another peer, so this is what runs out.
type ephemeralPorts struct {
	spaces map[uint64]portSpace // by network namespace
	names  map[uint64]string    // of the namespaces, empty where there is only one
}

// ephemeralBy is what the ports are counted by. An IPv6 socket with an IPv4 peer
// takes its port from the same ones, so the types are added up.
var ephemeralBy = grouping{byLocalAddress, byRemoteAddress, byRemotePort}

func (ephemeralPorts) group() string { return ephemeralGroup }

func (e ephemeralPorts) tally() *tally {
	return &tally{
		includes: func(socketType, status string) bool {
			// SYN_RECV comes from the peer.
			return !isUDP(socketType) && status != "LISTEN" && status != "CLOSE" && status != "SYN_RECV"
		},
		fields: ephemeralBy.fields() | fieldLocalPort | fieldNetns | fieldDirection,
		asks: func(s *Socket) answer {
			if isUDP(s.Proto) || s.Status == "LISTEN" || s.Status == "CLOSE" || s.Status == "SYN_RECV" || s.Direction == directionIn || !e.spaces[s.NetnsID].has(s.Laddr.Port) {
				return no
			}
			return yes
		},
		key: func(to []byte, s *Socket) []byte {
			to = append(strconv.AppendUint(to, s.NetnsID, 10), keySeparator...)
			return ephemeralBy.key(to, s)
		},
	}
}

// figure returns the fullest use of the ports.
func (e ephemeralPorts) figure(found *counts) figure {
	used, size, in, peer, fullest := 0, 0, "", "", ""
	for id, space := range e.spaces { // where no connection is outgoing
		if name := e.names[id]; size == 0 || name < in {
			size, in = space.size(), name
		}
	}
	sizes := map[uint64]int{}
	for _, r := range found.rows {
		values := strings.Split(r.key, keySeparator)
		id, _ := strconv.ParseUint(values[0], 10, 64)
		if sizes[id] == 0 {
			sizes[id] = e.spaces[id].size()
		}
		ours, theirs, to := r.known*size, used*sizes[id], stdnet.JoinHostPort(values[2], values[3])
		if ours > theirs || ours == theirs && to < peer {
			used, size, in, peer, fullest = r.known, sizes[id], e.names[id], to, r.key
		}
	}
	one := figure{name: "ephemeral ports", label: ephemeralLabel, unit: "%", max: 100, sockets: used, users: e.tally()}
	one.users.asks = func(s *Socket) answer {
		if string(e.tally().key(nil, s)) != fullest {
			return no
		}
		return e.tally().asks(s)
	}
	one.value = math.Round(1000*float64(used)/float64(size)) / 10
	one.text = fmt.Sprintf("ephemeral ports: %d%% of %d", int(one.value), size)
	if peer != "" {
		one.text += " to " + peer
	}
	if in != "" {
		one.text += " in " + cleanName(in)
	}
	return one
}
