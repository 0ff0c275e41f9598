package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/net"
)

// socketTypes in the order in which they are listed everywhere.
var socketTypes = []string{"tcp", "tcp6", "udp", "udp6"}

func isUDP(socketType string) bool { return strings.HasPrefix(socketType, "udp") }

// statusNone is the status of every UDP socket, and of a TCP socket only where a
// record has none.
const statusNone = "NONE"

// statusBound is the status of a TCP socket that has a port and neither listens
// nor connects. Only some systems list those.
const statusBound = "BOUND"

// statuses are the canonical names, as they stand in performance data. The TCP
// ones are those of RFC 9293, section 3.3.2, as Linux spells them in
// include/net/tcp_states.h without the prefix TCP_.
var statuses = []string{
	statusBound, "CLOSE", "CLOSE_WAIT", "CLOSING", "DELETE_TCB", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2",
	"IDLE", "LAST_ACK", "LISTEN", statusNone, "SYN_RECV", "SYN_SENT", "TIME_WAIT",
}

// otherSpellings maps what some systems write to the canonical name.
var otherSpellings = map[string]string{
	"CLOSED": "CLOSE", "DELETE": "DELETE_TCB", "FIN_WAIT_1": "FIN_WAIT1", "FIN_WAIT_2": "FIN_WAIT2",
	"SYN_RECEIVED": "SYN_RECV", "SYN_RCVD": "SYN_RECV", "ESTAB": "ESTABLISHED", "LISTENING": "LISTEN",
}

// canonicalStatus returns the canonical name for any spelling of a status, and
// whether it is a known one. An unknown one comes back in upper case.
func canonicalStatus(spelling string) (name string, known bool) {
	name = strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToUpper(spelling))
	if canonical, known := allSpellings()[name]; known {
		return canonical, true
	}
	return name, false
}

// allSpellings maps every spelling to the canonical name, also without
// underscores: PowerShell writes SynReceived.
var allSpellings = sync.OnceValue(func() map[string]string {
	all := maps.Clone(otherSpellings)
	for _, status := range statuses {
		all[status] = status
	}
	for spelling, canonical := range maps.Clone(all) {
		all[strings.ReplaceAll(spelling, "_", "")] = canonical
	}
	return all
})

// readStatus returns the status of a socket of the type, from the spelling of a
// tool or of a recording.
func readStatus(socketType, spelling string) string {
	if isUDP(socketType) || spelling == "" {
		return statusNone
	}
	name, _ := canonicalStatus(spelling)
	return givenName(name)
}

// checkStatus returns an error where a live system, in runtime.GOOS's spelling,
// never lists sockets in the status.
func checkStatus(system, status string) error {
	name := strings.ToLower(status)
	switch {
	case status == statusBound || status == "IDLE":
		return fmt.Errorf("sockets in the status %s are not counted on any system: leave it out", name)
	case status == "DELETE_TCB" && system != "windows":
		return fmt.Errorf("only Windows has sockets in the status %s: leave it out", name)
	case usesLsof(system) && slices.Contains(unheldStatuses, status):
		return fmt.Errorf("lsof, which lists the sockets on this system, has only those that a process holds, and next to none in %s is held: leave it out", name)
	}
	return nil
}

// statusesOf returns the statuses that a live system lists.
func statusesOf(system string) []string {
	return slices.DeleteFunc(slices.Clone(statuses), func(status string) bool { return checkStatus(system, status) != nil })
}

// unheldStatuses are those of sockets that no process holds. SYN_RECV is that of
// connections that nobody could accept yet. A program is through with those in
// the others: it has closed them. One that has only shut them down holds them
// still, mostly for as long as it takes the peer to answer: lsof lists those,
// and they count, but their number says nothing of how many there are.
//
// FIN_WAIT1 and FIN_WAIT2 are not among them: a program may hold a connection
// that it has shut down for as long as the peer goes on sending.
var unheldStatuses = []string{"CLOSING", "LAST_ACK", "SYN_RECV", "TIME_WAIT"}

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

// socket is one socket: gopsutil's record, and what the reader made of it.
// Readers fill in what the tallies ask for: Status is canonical, the addresses
// are in their usual form. Names are hidden or nothing where there is none to
// tell, and empty where nobody asked.
type socket struct {
	net.ConnectionStat
	proto     string        // one of socketTypes
	owner                   // of a connection that nobody has accepted, that of its listener
	netns     string        // the name of the network namespace
	netnsID   uint64        // tells network namespaces of the same name apart
	direction string        // directionIn, directionOut, directionListen, or nothing
	listener  string        // the address of the listener that directionIn came in on, "" for any
	idle      time.Duration // since the last data, negative where the kernel keeps no times
	left      time.Duration // of TIME_WAIT
	queue     uint32        // of a listener: connections that nobody has accepted
	backlog   uint32        // of a listener: how many it takes, less one
	device    uint32        // that it is bound to, 0 for any

	isWaiting bool // nobody has accepted it yet
	isNamed   bool // it was made from the name of a group, which may be in any case

	key     []byte // of its group, made once for all tallies that ask for it
	isKeyed bool
}

// owner is whose a socket is.
type owner struct {
	process string   // the names of the holders, each once, joined by +
	holders []holder // the processes that hold it, where they can be told
	user    string   // who made it
	unit    string   // the systemd unit or the container that made it
}

// holder is a process that holds a socket.
type holder struct {
	pid  int32
	name string
	user string // that it runs as
}

// Values of socket.direction.
const (
	directionIn     = "in"     // the local port is one that is listened on
	directionOut    = "out"    // it is not
	directionListen = "listen" // it listens itself
)

// listeners are the sockets that listen.
type listeners map[listener]waitingRoom

type listener struct {
	socketType string // a connection has the type of its listener
	address    string // "" for any, hidden where that is not told
	port       uint32
}

// waitingRoom is who listens at the same place (SO_REUSEPORT, SO_BINDTODEVICE).
type waitingRoom struct {
	all     owner // who may have a half-open connection
	waiting owner // who may have one that nobody has accepted
	queue   uint32
}

// add adds one more that listens. Connections wait only where the queue is not empty.
func (w waitingRoom) add(s *socket) waitingRoom {
	w.all = w.all.or(s.owner)
	switch {
	case w.queue == 0 && s.queue > 0:
		w.waiting = s.owner
	case w.queue == 0 || s.queue > 0: // both are empty, or neither is
		w.waiting = w.waiting.or(s.owner)
	}
	w.queue = max(w.queue, s.queue)
	return w
}

// or returns the owner of what is one's or the other's.
func (o owner) or(other owner) owner {
	if o.process != other.process {
		o.process, o.holders = hidden, nil
	}
	if o.user != other.user {
		o.user = hidden
	}
	if o.unit != other.unit {
		o.unit = hidden
	}
	return o
}

func isAnyAddress(text string) bool { return text == "0.0.0.0" || text == "::" || text == "*" }

// orient tells the direction of a socket. Those that listen must come first. A
// connection that no process holds and that is no orphan waits to be accepted:
// it has the owner of its listener.
func (l listeners) orient(s *socket, isHeld bool) {
	s.listener, s.isWaiting = "", false
	anywhere := listener{s.proto, "", s.Laddr.Port}
	here := listener{s.proto, s.Laddr.IP, s.Laddr.Port}
	untold := listener{socketType: s.proto, address: hidden}
	isUntold := s.Laddr.IP == hidden || s.Laddr.Port >= portHidden
	switch {
	case s.Status == "LISTEN":
		s.direction = directionListen
		if isUntold {
			here = untold
		} else if isAnyAddress(s.Laddr.IP) {
			here = anywhere
		}
		if others, isThere := l[here]; isThere {
			l[here] = others.add(s)
		} else {
			l[here] = waitingRoom{s.owner, s.owner, s.queue}
		}
		return
	case isUDP(s.proto) && s.Raddr.Port == 0:
		s.direction = nothing
		return
	case isUntold:
		s.direction = hidden
		return
	}
	s.direction = directionOut
	if _, isThere := l[untold]; isThere {
		s.direction = hidden
	}
	for _, each := range []listener{here, anywhere} {
		if with, isThere := l[each]; isThere {
			s.direction, s.listener = directionIn, each.address
			s.isWaiting = !isHeld && (s.Status == "ESTABLISHED" || s.Status == "CLOSE_WAIT" || s.Status == "SYN_RECV")
			switch {
			case s.isWaiting && s.Status == "SYN_RECV":
				s.owner = with.all
			case s.isWaiting:
				s.owner = with.waiting
			}
			return
		}
	}
}

type portRange struct{ first, last uint32 }

func (r portRange) has(port uint32) bool { return r.first <= port && port <= r.last }
