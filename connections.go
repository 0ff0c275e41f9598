package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/net"
)

// socketTypes in the order in which they are listed everywhere.
var socketTypes = []string{"tcp", "tcp6", "udp", "udp6"}

func isUDP(socketType string) bool { return strings.HasPrefix(socketType, "udp") }

// statusNone is the status of every UDP socket, and of a TCP socket only where a
// record has none.
const statusNone = "NONE"

// statuses are the canonical names, as they stand in performance data. The TCP
// ones are those of RFC 9293, section 3.3.2, as Linux spells them in
// include/net/tcp_states.h without the prefix TCP_.
var statuses = []string{
	"BOUND", "CLOSE", "CLOSE_WAIT", "CLOSING", "DELETE_TCB", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2",
	"IDLE", "LAST_ACK", "LISTEN", statusNone, "SYN_RECV", "SYN_SENT", "TIME_WAIT",
}

// otherSpellings maps what some systems write to the canonical name.
var otherSpellings = map[string]string{
	"CLOSED": "CLOSE", "DELETE": "DELETE_TCB", "FIN_WAIT_1": "FIN_WAIT1", "FIN_WAIT_2": "FIN_WAIT2",
	"SYN_RECEIVED": "SYN_RECV", "SYN_RCVD": "SYN_RECV",
}

// canonicalStatus returns the canonical name for any spelling of a status, and
// whether it is a known one. An unknown one comes back in upper case.
func canonicalStatus(spelling string) (name string, known bool) {
	name = strings.ReplaceAll(strings.ReplaceAll(strings.ToUpper(spelling), "-", "_"), " ", "_")
	if canonical, found := otherSpellings[name]; found {
		name = canonical
	}
	return name, slices.Contains(statuses, name)
}

// checkStatus returns an error where a live system, in runtime.GOOS's spelling,
// never lists sockets in the status.
func checkStatus(system, status string) error {
	name := strings.ToLower(status)
	switch {
	case status == "BOUND" || status == "IDLE":
		return fmt.Errorf("no supported system has sockets in the status %s: leave it out", name)
	case status == "DELETE_TCB" && system != "windows":
		return fmt.Errorf("only Windows has sockets in the status %s: leave it out", name)
	case usesLsof(system) && (status == "TIME_WAIT" || status == "SYN_RECV"):
		return fmt.Errorf("lsof, which lists the sockets on this system, leaves out those in %s: leave it out too", name)
	}
	return nil
}

// statusesOf returns the statuses that a live system lists.
func statusesOf(system string) []string {
	return slices.DeleteFunc(slices.Clone(statuses), func(status string) bool { return checkStatus(system, status) != nil })
}

// usesLsof tells whether the sockets of the system are listed by lsof.
func usesLsof(system string) bool { return system == "darwin" || system == "freebsd" }

// Numbers in connection records. AF_INET and the socket types are the same on
// all systems, AF_INET6 is not, and recordings keep the number of the system
// that they were made on.
const (
	afInet     = 2 // AF_INET
	sockStream = 1 // SOCK_STREAM
	sockDgram  = 2 // SOCK_DGRAM
)

var afInet6 = []uint32{
	10, // Linux
	23, // Windows
	30, // macOS
	28, // FreeBSD
	24, // OpenBSD, NetBSD
}

// typeOf returns the name of the type for the numbers of a connection
// record, "" for what is neither TCP nor UDP over IPv4 or IPv6. The names are
// constants: a name that is put together would be allocated for each socket.
func typeOf(family, number uint32) string {
	isIPv6 := family != afInet
	switch {
	case isIPv6 && !slices.Contains(afInet6, family):
		return ""
	case number == sockStream && isIPv6:
		return "tcp6"
	case number == sockStream:
		return "tcp"
	case number == sockDgram && isIPv6:
		return "udp6"
	case number == sockDgram:
		return "udp"
	}
	return ""
}

// Values of what cannot be told.
const (
	hidden  = "?" // there is one, but this user may not see it, or the record does not carry it
	nothing = "-" // there is none: no process holds the socket, or it has no peer
)

// portHidden stands for a port that a record does not carry.
const portHidden = 1 << 16

// Socket is one socket: gopsutil's record, and what the reader made of it.
// Readers fill in what the tallies ask for: Status is canonical, the addresses
// are in their usual form. Names are hidden or nothing where there is none to
// tell, and empty where nobody asked.
type Socket struct {
	net.ConnectionStat
	Proto   string // one of socketTypes
	Process string
	User    string
	Netns   string        // the name of the network namespace
	NetnsID uint64        // tells network namespaces of the same name apart
	Idle    time.Duration // since the last traffic, negative where the kernel keeps no times
	CameIn  bool          // the local port is one that is listened on
	isNamed bool          // it was made from the name of a group, which may be in any case
}

// listeners are the addresses and ports that connections come in on.
type listeners map[listener]bool

type listener struct {
	socketType string // a connection has the type of its listener
	address    string // "" for any
	port       uint32
}

// add notes a socket that listens.
func (l listeners) add(s *Socket) {
	if s.Status != "LISTEN" {
		return
	}
	address := s.Laddr.IP
	switch address {
	case "0.0.0.0", "::", "*":
		address = ""
	}
	l[listener{s.Proto, address, s.Laddr.Port}] = true
}

// accepted tells whether the connection came in on a port that is listened on.
func (l listeners) accepted(s *Socket) bool {
	return l[listener{s.Proto, "", s.Laddr.Port}] || l[listener{s.Proto, s.Laddr.IP, s.Laddr.Port}]
}

type portRange struct{ first, last uint32 }

func (r portRange) has(port uint32) bool { return r.first <= port && port <= r.last }

// parsePortRange reads a number from 0 to 65535 or a range of them.
func parsePortRange(text string) (ports portRange, ok bool) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	return portRange{uint32(low), uint32(high)}, errors.Join(err1, err2) == nil && low <= high
}
